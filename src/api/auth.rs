//! Who asks: a bearer token, or a person on the machine through the Unix socket.
//!
//! The socket trusts the kernel's word about its peer: root and the daemon's own user may do everything. Anybody else on
//! it, and everybody on TCP, needs a token. Forwarding headers are not read: whoever can reach the listener could write
//! them.

use axum::http::HeaderMap;

use super::problem::Failure;
use crate::app::{Actor, App};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP: nothing is known.
    Tcp,
    /// Over the Unix socket, with the user that the kernel names.
    Unix {
        /// Its user.
        uid: u32,
        /// Whether that user may do everything.
        trusted: bool,
    },
}

/// The actor of a request.
pub(super) async fn actor(app: &App, peer: Peer, headers: &HeaderMap) -> Result<Actor, Failure> {
    match (headers.get("authorization"), peer) {
        // A token given on the socket is meant: it narrows what its bearer may do.
        (Some(value), _) => {
            let text = value.to_str().unwrap_or_default();
            let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(Failure::TokenMissing);
            }
            Ok(app.authenticate(token.trim()).await?)
        }
        (None, Peer::Unix { uid, trusted: true }) => Ok(Actor::operator(uid)),
        (None, _) => Err(Failure::TokenMissing),
    }
}

//! A UDP client on loopback: sends a request, again when nothing comes, and waits for the reply that belongs to it.
//!
//! BRASes and CPEs do the same (RFC 5080 §2.2.1, RFC 2131 §4.1), only more slowly.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::DemoFailure;
use crate::limits::DATAGRAM_BYTES_MAX;

/// How long one copy of a request is waited for.
const REPLY_WAIT: Duration = Duration::from_secs(2);
/// Copies of a request.
const COPIES: u32 = 3;

/// One client port.
pub(super) struct Endpoint {
    socket: UdpSocket,
}

impl Endpoint {
    /// A port that the kernel chooses. Takes a running tokio runtime.
    #[expect(
        clippy::disallowed_methods,
        reason = "a client's socket, as a BRAS or relay has one; the daemon's are in `net`"
    )]
    pub(super) fn new() -> Result<Self, DemoFailure> {
        let failed = |source| DemoFailure::Io { doing: "open a UDP port on 127.0.0.1".to_owned(), source };
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Self { socket: UdpSocket::from_std(socket).map_err(failed)? })
    }

    /// The first datagram from `server` that `is_reply` accepts.
    pub(super) async fn ask(
        &self,
        server: SocketAddr,
        request: &[u8],
        what: &'static str,
        is_reply: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>, DemoFailure> {
        let failed = |source| DemoFailure::Io { doing: format!("talk {what} to {server}"), source };
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        for _ in 0..COPIES {
            self.socket.send_to(request, server).await.map_err(failed)?;
            let deadline = Instant::now() + REPLY_WAIT;
            while let Ok(received) = timeout_at(deadline, self.socket.recv_from(&mut buffer)).await {
                let (len, from) = received.map_err(failed)?;
                let reply = buffer.get(..len).unwrap_or_default();
                if from == server && is_reply(reply) {
                    return Ok(reply.to_vec());
                }
            }
        }
        Err(DemoFailure::Silence { what, server, seconds: REPLY_WAIT.as_secs() * u64::from(COPIES) })
    }
}

//! What a lease is bound to on the client's side.
//!
//! RFC 2131 §4.2: the client identifier (option 61) when the client sends one, else hardware type and
//! address. RFC 2132 §9.14 for the form of the identifier, of which nothing is assumed: it is compared as
//! bytes.
//!
//! It does not say which service the client belongs to: the line may outrank it.

use super::{Message, OptionBytes};

/// The identity a client gives itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKey<'a> {
    /// Option 61, at least one byte.
    ClientId(OptionBytes<'a>),
    /// No usable option 61: the hardware address, at least one byte.
    Hardware {
        /// Hardware type; 1 is Ethernet.
        htype: u8,
        /// Hardware address, 1 to 16 bytes.
        chaddr: &'a [u8],
    },
}

impl<'a> ClientKey<'a> {
    /// The key of the client that sent `message`; none when it gives neither identifier nor address.
    pub fn of(message: &Message<'a>) -> Option<Self> {
        if let Some(id) = message.client_id().filter(|id| !id.is_empty()) {
            return Some(Self::ClientId(id));
        }
        let chaddr = message.chaddr();
        (!chaddr.is_empty()).then_some(Self::Hardware { htype: message.htype(), chaddr })
    }
}

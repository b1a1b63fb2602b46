//! Where a reply goes.
//!
//! ```text
//!                      giaddr set ── relay, port 67 or the port the request came from (RFC 8357)
//!                      DHCPNAK ───── broadcast
//!  else, first match:  ciaddr set ── that address
//!                      B flag ────── broadcast
//!                      otherwise ─── yiaddr at the client's hardware address
//! ```
//!
//! RFC 2131 §4.1 (the rule), §4.3.2 (a DHCPNAK), §4.3.5 (an answer to DHCPINFORM goes to its ciaddr, relay or
//! not); RFC 8357 for the relay's port.
//!
//! Invariant: a pure function of the request's header and the kind of reply.
//!
//! It does not check that giaddr or ciaddr are addresses we serve: the core has, before it made a reply.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{Message, ReplyKind};

/// UDP port of servers and relays.
pub const SERVER_PORT: u16 = 67;
/// UDP port of clients.
pub const CLIENT_PORT: u16 = 68;

/// Where a reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the relay.
    Relay(SocketAddrV4),
    /// To a client that has its address and answers ARP for it.
    Unicast(SocketAddrV4),
    /// To all on the client's link: 255.255.255.255, port 68.
    Broadcast,
    /// To a client that has no address yet: this one, port 68, in a frame to the request's `chaddr`, without
    /// ARP. A server that cannot make such frames broadcasts (RFC 2131 §4.1).
    UnicastLink(Ipv4Addr),
}

/// Where the reply `kind` to `request` goes.
///
/// `source` is where the datagram came from; `relay_source_port` is what option 82 says (RFC 8357).
pub fn destination(
    request: &Message<'_>,
    kind: ReplyKind,
    source: SocketAddrV4,
    relay_source_port: bool,
) -> Destination {
    let (ciaddr, giaddr) = (request.ciaddr(), request.giaddr());
    let to_client = |address| Destination::Unicast(SocketAddrV4::new(address, CLIENT_PORT));
    if matches!(kind, ReplyKind::InformAck { .. }) && !ciaddr.is_unspecified() {
        return to_client(ciaddr);
    }
    if !giaddr.is_unspecified() {
        let port = if relay_source_port { source.port() } else { SERVER_PORT };
        return Destination::Relay(SocketAddrV4::new(giaddr, port));
    }
    match kind {
        ReplyKind::Nak => Destination::Broadcast,
        _ if !ciaddr.is_unspecified() => to_client(ciaddr),
        // A DHCPINFORM must have a ciaddr; failing that, its source is the next best (RFC 2131 §4.4.3).
        ReplyKind::InformAck { .. } if !source.ip().is_unspecified() => to_client(*source.ip()),
        ReplyKind::InformAck { .. } => Destination::Broadcast,
        _ if request.broadcast() || request.chaddr().is_empty() => Destination::Broadcast,
        ReplyKind::Offer { yiaddr, .. } | ReplyKind::Ack { yiaddr, .. } => Destination::UnicastLink(yiaddr),
    }
}

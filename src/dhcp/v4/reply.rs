//! What a client is told, and where the answer goes.
//!
//! Last stage before the codec. RFC 2131 §4.3.1 (table 3), RFC 2132 §9.8 (the client's order of options), RFC 3442
//! (classless static routes), RFC 3046 §2.2 and RFC 6607 §7 (echo of option 82), RFC 8357 (the relay's port).
//!
//! Options come in the client's order, then those without which the line does not work: subnet mask, routes, router,
//! name servers. A client without a parameter list gets everything that its network has. Bytes that the operator gave for
//! an option replace what would be derived for it.
//!
//! Invariants: mask, routes and router are in every answer that gives options, or there is no answer; a NAK carries none.
//! No allocation.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use super::place::Place;
use super::request::{Reason, Request};
use super::wire::{
    Destination, OptionSet, RelayAgent, RelayEcho, ReplyHead, ReplyKind, ReplyWriter, code, destination,
};
use crate::limits::DHCP4_MESSAGE_BYTES_MAX;
use crate::model::Prefix;
use crate::snapshot::types::Network;

/// What no client can do without, in the order in which it is added: RFC 3442 wants the routes read before the router.
const ALWAYS: [u8; 4] = [code::SUBNET_MASK, code::CLASSLESS_STATIC_ROUTE, code::ROUTER, code::DOMAIN_SERVER];
/// What else a network may have for a client that does not say what it wants.
const CONFIGURED: [u8; 4] =
    [code::DOMAIN_NAME, code::MTU_INTERFACE, code::BROADCAST_ADDRESS, code::NTP_SERVERS];
/// Options without which an answer does more harm than silence.
const MANDATORY: [u8; 3] = [code::SUBNET_MASK, code::CLASSLESS_STATIC_ROUTE, code::ROUTER];

/// Writes the answer to `out`; its length, or why there is none.
pub fn write(
    request: &Request<'_>,
    place: &Place<'_>,
    kind: ReplyKind,
    out: &mut [u8],
) -> Result<usize, Reason> {
    let mut echo = [0; DHCP4_MESSAGE_BYTES_MAX];
    let head = ReplyHead {
        kind,
        server_id: place.server_id()?,
        siaddr: Ipv4Addr::UNSPECIFIED,
        relay_echo: relay_echo(request, place, &mut echo),
    };
    // Only when the client's own order leaves no room for what it cannot do without is that put first.
    match write_in_order(request, place, &head, false, out)? {
        Some(len) => Ok(len),
        None => write_in_order(request, place, &head, true, out)?.ok_or("reply-too-large"),
    }
}

/// Where the answer goes; none to a client that no relay speaks for and that has no address.
pub fn address(request: &Request<'_>, kind: ReplyKind, source: SocketAddrV4) -> Option<SocketAddr> {
    let relay_port = request.relay_agent.is_some_and(|agent| agent.relay_source_port());
    match destination(request.message, kind, source, relay_port) {
        Destination::Relay(to) | Destination::Unicast(to) => Some(to.into()),
        Destination::Broadcast | Destination::UnicastLink(_) => None,
    }
}

/// Option 82 goes back as it came, without the VSS-Control of a relay whose virtual subnet was used.
fn relay_echo<'e>(request: &Request<'_>, place: &Place<'_>, room: &'e mut [u8]) -> RelayEcho<'e> {
    match request.relay_agent.filter(RelayAgent::vss_control) {
        Some(agent) if place.by_virtual_subnet => {
            agent.without_vss_control(room).map_or(RelayEcho::AsReceived, RelayEcho::Value)
        }
        _ => RelayEcho::AsReceived,
    }
}

fn write_in_order(
    request: &Request<'_>,
    place: &Place<'_>,
    head: &ReplyHead<'_>,
    mandatory_first: bool,
    out: &mut [u8],
) -> Result<Option<usize>, Reason> {
    let mut writer = ReplyWriter::new(request.message, head, out).map_err(|_| "reply-too-large")?;
    if head.kind == ReplyKind::Nak {
        writer.option(code::DHCP_MESSAGE, b"this address is not yours here");
        return Ok(Some(writer.finish().len));
    }
    let client_address = match head.kind {
        ReplyKind::InformAck { ciaddr } => ciaddr,
        other => other.yiaddr(),
    };
    let prefix = place.network.prefix_of(client_address.into());
    if prefix.is_none() && !head.kind.yiaddr().is_unspecified() {
        return Err("address-off-network");
    }
    let options = Options { network: place.network, prefix };
    let mut written = OptionSet::EMPTY;
    let mut value = Value { room: [0; DHCP4_MESSAGE_BYTES_MAX], len: 0 };
    let mut add = |code: u8| {
        value.len = 0;
        if !written.contains(code) && options.value(code, &mut value) {
            written.insert(code);
            writer.option(code, value.bytes());
        }
    };
    if mandatory_first {
        MANDATORY.into_iter().for_each(&mut add);
    }
    if let Some(list) = request.message.parameter_list() {
        list.bytes().for_each(&mut add);
    } else {
        ALWAYS.into_iter().chain(CONFIGURED).for_each(&mut add);
        place.network.options.iter().for_each(|(code, _)| add(*code));
    }
    ALWAYS.into_iter().for_each(&mut add);
    let done = writer.finish();
    let complete = !MANDATORY.iter().any(|code| done.dropped.contains(*code));
    Ok(complete.then_some(done.len))
}

/// The options of a network, for a client in one of its prefixes.
struct Options<'n> {
    network: &'n Network,
    prefix: Option<Prefix>,
}

impl Options<'_> {
    /// Puts the value of an option into `value`; false when the network has none.
    fn value(&self, code: u8, value: &mut Value) -> bool {
        if let Some((_, bytes)) = self.network.options.iter().find(|(given, _)| *given == code) {
            return value.add(bytes);
        }
        let spec = &self.network.spec;
        match code {
            code::SUBNET_MASK => self.mask().is_some_and(|mask| value.address(mask)),
            code::ROUTER => self.gateways().fold(false, |_, gateway| value.address(gateway)),
            code::DOMAIN_SERVER => self.network.dns_v4.iter().fold(false, |_, server| value.address(*server)),
            code::DOMAIN_NAME => spec.domain.as_ref().is_some_and(|domain| value.add(domain.as_bytes())),
            code::MTU_INTERFACE => spec.mtu.is_some_and(|mtu| value.add(&mtu.to_be_bytes())),
            code::BROADCAST_ADDRESS => self.broadcast().is_some_and(|address| value.address(address)),
            code::NTP_SERVERS => spec.ntp.iter().fold(false, |_, server| value.address(*server)),
            code::CLASSLESS_STATIC_ROUTE => self.routes(value),
            _ => false,
        }
    }

    fn mask(&self) -> Option<Ipv4Addr> {
        let host_bits = 32 - u32::from(self.prefix?.len());
        Some(Ipv4Addr::from(u32::MAX.checked_shl(host_bits).unwrap_or(0)))
    }

    fn broadcast(&self) -> Option<Ipv4Addr> {
        // A /31 or /32 has none (RFC 3021 §2.1).
        self.prefix.filter(|prefix| prefix.len() < 31).map(|prefix| Ipv4Addr::from(prefix.last() as u32))
    }

    /// The gateways on the client's own subnet, for a network may have several; all when none is.
    fn gateways(&self) -> impl Iterator<Item = Ipv4Addr> {
        let near =
            |gateway: &Ipv4Addr| self.prefix.is_some_and(|prefix| prefix.contains(Prefix::v4(*gateway)));
        let all = &self.network.spec.gateways;
        let any_near = all.iter().any(near);
        all.iter().copied().filter(move |gateway| !any_near || near(gateway))
    }

    /// Clients that take these routes ignore the router option, so the default route is one of them (RFC 3442).
    fn routes(&self, value: &mut Value) -> bool {
        let routes = self.network.routes();
        if routes.is_empty() {
            return false;
        }
        let default = !routes.iter().any(|route| route.to.prefix() == 0);
        let gateway = self.gateways().next().filter(|_| default);
        let default_added = gateway.is_none_or(|gateway| value.route(0, Ipv4Addr::UNSPECIFIED, gateway));
        default_added && routes.iter().all(|route| value.route(route.to.prefix(), route.to.ip(), route.via))
    }
}

/// The value of one option under construction.
struct Value {
    room: [u8; DHCP4_MESSAGE_BYTES_MAX],
    len: usize,
}

impl Value {
    /// Appends bytes; false when there is no room, which is more than any message has.
    fn add(&mut self, bytes: &[u8]) -> bool {
        let end = self.len + bytes.len();
        let Some(room) = self.room.get_mut(self.len..end) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.len = end;
        true
    }

    fn address(&mut self, address: Ipv4Addr) -> bool {
        self.add(&address.octets())
    }

    /// Width, the significant octets of the destination, next hop (RFC 3442).
    fn route(&mut self, width: u8, to: Ipv4Addr, via: Ipv4Addr) -> bool {
        let octets = to.octets();
        let significant = octets.get(..usize::from(width.div_ceil(8))).unwrap_or(&octets);
        self.add(&[width]) && self.add(significant) && self.address(via)
    }

    fn bytes(&self) -> &[u8] {
        self.room.get(..self.len).unwrap_or_default()
    }
}

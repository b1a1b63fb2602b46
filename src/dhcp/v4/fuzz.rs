//! The body of every fuzzing run of the DHCPv4 core: one datagram, and the laws that must hold.
//!
//! A library function, so that a seeded test on the stable toolchain and a coverage-guided run call the same code. It
//! asserts; nothing on the packet path calls it. The datagram is heard as it is, and then as if whoever was given an address
//! last had sent it about that address, so that what comes after a lease is reached too.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;

use parking_lot::Mutex;

use super::core::{Dhcp4Core, Pending};
use super::wire::{Message, MessageType, Op};
use crate::hostile::Site;
use crate::model::Kind;

/// The relay whose option 82 counts.
pub const TRUSTED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// A relay that passes on what CPEs send.
pub const UNTRUSTED: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// The server.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 67);
/// Where requests name the addresses they are about: ciaddr, and the value of a first option 50 behind option 53.
const CIADDR: Range<usize> = 12..16;
const REQUESTED: Range<usize> = 245..249;
const GIADDR: Range<usize> = 24..28;
const CHADDR: Range<usize> = 28..34;

const OBJECTS: &[(Kind, &str, &str)] = &[
    (
        Kind::Network,
        "home",
        r#"{"prefixes": ["10.0.0.0/24"], "gateways": ["10.0.0.1"], "dns": ["192.0.2.5"], "lease_time": 600,
            "routes": [{"to": "172.16.0.0/12", "via": "10.0.0.2"}], "domain": "isp.example"}"#,
    ),
    (
        Kind::Network,
        "guests",
        r#"{"prefixes": ["10.1.0.0/24"], "gateways": ["10.1.0.1"], "authoritative": true, "lease_time": 300,
            "unknown_clients": {"pool_class": "guests"}}"#,
    ),
    (Kind::Network, "blue", r#"{"prefixes": ["10.0.0.0/24"], "vrf": "blue", "gateways": ["10.0.0.1"]}"#),
    (Kind::Pool, "home-pool", r#"{"network": "home", "class": "home", "ranges": ["10.0.0.10-10.0.0.19"]}"#),
    (Kind::Pool, "blue-pool", r#"{"network": "blue", "class": "home", "ranges": ["10.0.0.10-10.0.0.19"]}"#),
    (
        Kind::Pool,
        "guest-pool",
        r#"{"network": "guests", "class": "guests", "ranges": ["10.1.0.10-10.1.0.99"]}"#,
    ),
    (Kind::Plan, "basic", r#"{"pool_class_v4": "home"}"#),
    (Kind::Relay, "olt", r#"{"addresses": ["10.0.0.1"], "network": "home"}"#),
    (Kind::Relay, "switch", r#"{"addresses": ["10.1.0.1"], "trust_option82": false}"#),
    (Kind::Service, "jan", r#"{"subscriber": "somebody", "plan": "basic", "max_sessions": 2}"#),
    (
        Kind::Access,
        "jan-line",
        r#"{"service": "jan", "type": "ipoe_opt82", "circuit_id": "port 1", "network": "home"}"#,
    ),
    (Kind::Service, "eva", r#"{"subscriber": "somebody", "plan": "basic"}"#),
    (Kind::Access, "eva-mac", r#"{"service": "eva", "type": "ipoe_mac", "mac": "02:00:5e:00:53:11"}"#),
];

/// An address and who was given it.
#[derive(Clone, Copy, Debug)]
struct Given {
    address: Ipv4Addr,
    device: [u8; 6],
    relay: Ipv4Addr,
}

/// A node that hears whatever comes.
#[derive(Debug)]
pub struct Node {
    site: Site,
    core: Dhcp4Core,
    /// The address that was offered last and the one that was leased last, each with its client.
    given: [Mutex<Given>; 2],
}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}

impl Node {
    /// A node with a small installation.
    pub fn new() -> Self {
        let nobody = Given { address: Ipv4Addr::new(10, 0, 0, 10), device: [2; 6], relay: TRUSTED };
        let given = [nobody; 2].map(Mutex::new);
        Self { site: Site::new(OBJECTS), core: Dhcp4Core::new(), given }
    }

    /// Reasons of the decisions taken so far: how far the requests came.
    pub fn reasons(&self) -> BTreeSet<&'static str> {
        self.site.reasons()
    }

    /// Hears a datagram as it is, and as if those who were given an address last had sent it.
    ///
    /// # Panics
    ///
    /// When a law is broken, which is what the caller is looking for.
    pub fn hear(&self, bytes: &[u8]) {
        self.site.advance(701);
        let giaddr = bytes.get(GIADDR).and_then(|giaddr| <[u8; 4]>::try_from(giaddr).ok());
        self.hear_from(giaddr.map_or(TRUSTED, Ipv4Addr::from), bytes);
        for given in &self.given {
            let given = *given.lock();
            for (field, direct) in [(REQUESTED, false), (CIADDR, false), (CIADDR, true)] {
                let (source, giaddr) =
                    if direct { (given.address, Ipv4Addr::UNSPECIFIED) } else { (given.relay, given.relay) };
                let told = [
                    (field, &given.address.octets()[..]),
                    (CHADDR, &given.device),
                    (GIADDR, &giaddr.octets()),
                ];
                if let Some(bytes) = with(bytes, &told) {
                    self.hear_from(source, &bytes);
                }
            }
        }
    }

    fn hear_from(&self, source: Ipv4Addr, bytes: &[u8]) {
        let source = SocketAddr::from((source, 67));
        let local = IpAddr::V4(SERVER);
        let Some((reply, outgoing)) = self.site.hear(&self.core, bytes, source, local, Pending::copy_to)
        else {
            return;
        };
        assert_eq!(outgoing.from, local, "a reply leaves from where the request came to");
        let (Ok(asked), Ok(answer)) = (Message::parse(bytes), Message::parse(&reply)) else {
            panic!("a reply to what is no message, or that is none");
        };
        assert_eq!((asked.op(), answer.op()), (Op::Request, Op::Reply));
        assert_eq!((asked.xid(), asked.chaddr()), (answer.xid(), answer.chaddr()));
        let is_to_client = outgoing.to.ip() == IpAddr::V4(asked.ciaddr());
        assert!(
            !asked.giaddr().is_unspecified() || is_to_client,
            "no relay, so only to whoever has an address"
        );
        assert!(answer.server_id().is_some(), "a reply names its server");
        match answer.message_type() {
            Some(kind @ (MessageType::Offer | MessageType::Ack)) if answer.lease_secs().is_some() => {
                let [a, b, c, host] = answer.yiaddr().octets();
                assert!(a == 10 && b < 2 && c == 0 && (10..100).contains(&host), "an address of no pool");
                let [offered, leased] = &self.given;
                let given = if kind == MessageType::Ack { leased } else { offered };
                if let Ok(device) = answer.chaddr().try_into() {
                    let relay = if b == 0 { TRUSTED } else { UNTRUSTED };
                    *given.lock() = Given { address: answer.yiaddr(), device, relay };
                }
            }
            Some(MessageType::Ack) => assert!(answer.yiaddr().is_unspecified(), "an inform gets no address"),
            Some(MessageType::Nak) => assert!(!asked.giaddr().is_unspecified(), "a NAK goes through a relay"),
            other => panic!("{other:?} is no reply"),
        }
    }
}

/// The bytes with others in these places; none when they are too few.
fn with(bytes: &[u8], told: &[(Range<usize>, &[u8])]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    for (place, value) in told {
        bytes.get_mut(place.clone())?.copy_from_slice(value);
    }
    Some(bytes)
}

/// Hears one datagram on a node of its own.
///
/// # Panics
///
/// When a law is broken, which is what the caller is looking for.
pub fn fuzz_core(bytes: &[u8]) {
    let node = Node::new();
    node.hear(bytes);
    node.hear(bytes);
}

//! The body of every fuzzing run of the RADIUS cores: one datagram, both ports, and the laws that must hold.
//!
//! A library function, so that a seeded test on the stable toolchain and a coverage-guided run call the same code. It
//! asserts; nothing on the packet path calls it. The datagram is heard as it is, and then with its attributes signed anew,
//! so that what lies behind the signature is reached too.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use super::duplicate::DuplicateCache;
use super::port::Port;
use super::signatures::Signatures;
use super::wire::attribute::kind;
use super::wire::class::ClassKey;
use super::wire::encode::{PacketWriter, Signing};
use super::wire::integrity::{SharedKey, Signature};
use super::wire::packet::{Code, Packet};
use super::{AcctCore, AuthCore, HeldReply};
use crate::hostile::Site;
use crate::limits::RADIUS_PACKET_BYTES_MAX;
use crate::model::Kind;
use crate::pipeline::Protocol;
use crate::secret::Secret;

/// Shared secret of the NAS.
pub const SECRET: &str = "canary-shared";
/// Password of the login `jan`, and fixed password of IPoE.
pub const PASSWORD: &str = "canary-password";
/// Where the NAS sends from.
const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Where it is heard.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

const OBJECTS: &[(Kind, &str, &str)] = &[
    (
        Kind::Network,
        "home",
        r#"{"prefixes": ["10.0.0.0/24", "2001:db8::/32"], "dns": ["192.0.2.5", "2001:db8::5"]}"#,
    ),
    (Kind::Pool, "home-pool", r#"{"network": "home", "class": "home", "ranges": ["10.0.0.10-10.0.0.19"]}"#),
    (
        Kind::Pool,
        "pd-pool",
        r#"{"network": "home", "class": "pd", "ranges": ["2001:db8:8000::/48"], "prefix_len": 56}"#,
    ),
    (
        Kind::Plan,
        "basic",
        r#"{"pool_class_v4": "home", "pool_class_pd": "pd", "rate_up": 5000000, "reply_message": "hello"}"#,
    ),
    (
        Kind::Nas,
        "bras",
        r#"{"addresses": ["192.0.2.1"], "secret": "canary-shared", "previous_secret": "canary-previous",
            "require_message_authenticator": "no", "ipoe_password": "canary-password", "vendor": "mikrotik"}"#,
    ),
    (Kind::Service, "jan", r#"{"subscriber": "somebody", "plan": "basic", "max_sessions": 2}"#),
    (
        Kind::Access,
        "jan-login",
        r#"{"service": "jan", "type": "pppoe", "login": "jan", "password": "canary-password"}"#,
    ),
    (Kind::Service, "tv", r#"{"subscriber": "somebody", "plan": "basic"}"#),
    (
        Kind::Access,
        "tv-line",
        r#"{"service": "tv", "type": "ipoe_opt82", "circuit_id": "port 1", "network": "home"}"#,
    ),
    (
        Kind::Access,
        "tv-mac",
        r#"{"service": "tv", "type": "ipoe_mac", "mac": "02:00:5e:00:53:11", "bind_vlan": 7}"#,
    ),
];

/// A node that hears whatever comes.
#[derive(Debug)]
pub struct Node {
    site: Site,
    auth: AuthCore,
    acct: AcctCore,
    keys: Vec<SharedKey>,
    class: Arc<ClassKey>,
    port: AtomicU16,
}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}

impl Node {
    /// A node with a small installation.
    pub fn new() -> Self {
        let class = Arc::new(ClassKey::new(&Secret::new("canary-class")));
        let duplicates = Arc::new(DuplicateCache::new(1_024));
        Self {
            site: Site::new(OBJECTS),
            auth: AuthCore::new(Arc::clone(&class), Arc::clone(&duplicates))
                .learning(Arc::new(Signatures::default())),
            acct: AcctCore::new(Arc::clone(&class), duplicates),
            keys: [SECRET, "canary-previous"].map(|secret| SharedKey::new(Secret::new(secret))).into(),
            class,
            port: AtomicU16::new(0),
        }
    }

    /// The same node, whose cores do not look ahead before they decide.
    #[must_use]
    pub fn without_looking_ahead(mut self) -> Self {
        self.site = self.site.without_looking_ahead();
        self
    }

    /// A number in which every decision and reply so far counts: equal for two nodes that decided alike.
    pub fn digest(&self) -> u32 {
        self.site.digest()
    }

    /// Reasons of the decisions taken so far: how far the requests came.
    pub fn reasons(&self) -> BTreeSet<&'static str> {
        self.site.reasons()
    }

    /// Hears a datagram on both ports, as it is and signed anew.
    ///
    /// # Panics
    ///
    /// When a law is broken, which is what the caller is looking for.
    pub fn hear(&self, bytes: &[u8]) {
        self.site.advance(701);
        self.hear_as_it_is(bytes);
        let Ok(packet) = Packet::parse(bytes) else {
            return;
        };
        if let Some(signed) = self.signed_anew(&packet, Code::ACCESS_REQUEST) {
            self.hear_as_it_is(&signed);
        }
        if let Some(signed) = self.signed_anew(&packet, Code::ACCOUNTING_REQUEST) {
            self.hear_as_it_is(&signed);
        }
    }

    /// The packet's attributes in a request that the NAS signed; a Class of one byte becomes the one issued last.
    fn signed_anew(&self, packet: &Packet<'_>, code: Code) -> Option<Vec<u8>> {
        let mut buffer = [0; RADIUS_PACKET_BYTES_MAX];
        let mut writer = if code == Code::ACCESS_REQUEST {
            let authenticator = *packet.authenticator();
            PacketWriter::access_request(&mut buffer, packet.identifier(), authenticator, Signing::First)
        } else {
            PacketWriter::request(&mut buffer, code, packet.identifier(), Signing::Omitted)
        }
        .ok()?;
        let issued = self.site.issued().map(|session| *self.class.issue(session.0).bytes());
        for attribute in packet.attributes().filter(|known| known.kind != kind::MESSAGE_AUTHENTICATOR) {
            let value = match (attribute.kind, attribute.value.len(), &issued) {
                (kind::CLASS, 1, Some(class)) => class,
                _ => attribute.value,
            };
            writer.raw(attribute.kind, value).ok()?;
        }
        writer.finish(self.keys.first()?).ok().map(<[u8]>::to_vec)
    }

    /// From a port of its own, for another request may have had this authenticator; then once more, as a retransmission.
    fn hear_as_it_is(&self, bytes: &[u8]) {
        let port = self.port.fetch_add(1, Ordering::Relaxed);
        let source = SocketAddr::from((SOURCE, port));
        for _ in 0..2 {
            self.admit(&self.auth, &self.auth.port, bytes, source);
            self.admit(&self.acct, &self.acct.port, bytes, source);
        }
    }

    fn admit<P: Protocol<Pending = HeldReply>>(
        &self,
        core: &P,
        port: &Port,
        bytes: &[u8],
        source: SocketAddr,
    ) {
        let heard = self.site.hear(core, bytes, source, LOCAL, |pending, out| port.finish(pending, out));
        if let Some((reply, outgoing)) = heard {
            assert_eq!((outgoing.to, outgoing.from), (source, LOCAL));
            self.check_reply(bytes, &reply);
        }
    }

    fn check_reply(&self, request: &[u8], reply: &[u8]) {
        let (Ok(asked), Ok(packet)) = (Packet::parse(request), Packet::parse(reply)) else {
            panic!("a reply to what is no packet, or that is none");
        };
        assert_eq!((packet.identifier(), packet.bytes().len()), (asked.identifier(), reply.len()));
        let auth = asked.code() == Code::ACCESS_REQUEST;
        let verified =
            self.keys.iter().find_map(|key| key.verify_response(&packet, asked.authenticator()).ok());
        let Some(signature) = verified else { panic!("a reply that does not verify") };
        let first = packet.attributes().next().map(|attribute| attribute.kind);
        let signed =
            signature == Signature::MessageAuthenticator && first == Some(kind::MESSAGE_AUTHENTICATOR);
        assert!(signed || !auth, "a reply to an Access-Request without Message-Authenticator first");
        let echoed = packet.attributes().any(|attribute| attribute.kind == kind::USER_NAME);
        assert!(!echoed, "what a subscriber may choose comes back in a reply");
        let states = |packet: &Packet<'_>| -> Vec<Vec<u8>> {
            packet.all(kind::PROXY_STATE).map(|state| state.value.to_vec()).collect()
        };
        assert_eq!(states(&asked), states(&packet));
    }
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

//! The body of every fuzzing run of the RADIUS cores: one datagram, both ports, and the laws that must hold.
//!
//! A library function, so that a seeded test on the stable toolchain and a coverage-guided run call the same code. It
//! asserts; nothing on the packet path calls it. The datagram is heard as it is, and then with its attributes signed anew,
//! so that what lies behind the signature is reached too.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::duplicate::DuplicateCache;
use super::wire::attribute::kind;
use super::wire::class::ClassKey;
use super::wire::encode::{PacketWriter, Signing};
use super::wire::integrity::{SharedKey, Signature};
use super::wire::packet::{Code, Packet};
use super::{AcctCore, AuthCore};
use crate::decision::{Decision, Outcome};
use crate::ids::{SeededEntropy, TenantId, Uid};
use crate::journal::record::Record;
use crate::ledger::Ledger;
use crate::limits::RADIUS_PACKET_BYTES_MAX;
use crate::model::object::Envelope;
use crate::model::{Kind, Object, Problems, Ref, Spec};
use crate::pipeline::{Datagram, Protocol, Verdict, World};
use crate::secret::Secret;
use crate::snapshot::Snapshot;
use crate::time::{Moment, Stamp, Tick};

/// Part of every secret of the installation: it must not come out anywhere.
const CANARY: &str = "canary-";
/// Shared secret of the NAS.
pub const SECRET: &str = "canary-shared";
/// Password of the login `jan`, and fixed password of IPoE.
pub const PASSWORD: &str = "canary-password";
/// Where the NAS sends from.
const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

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
    snapshot: Snapshot,
    ledger: Ledger,
    auth: AuthCore,
    acct: AcctCore,
    entropy: SeededEntropy,
    keys: Vec<SharedKey>,
    class: Arc<ClassKey>,
    clock: AtomicU64,
    port: AtomicU16,
    sequence: AtomicU64,
    /// A Class that was issued here, for requests to carry.
    issued: Mutex<Option<Uid>>,
    reasons: Mutex<BTreeSet<&'static str>>,
    /// Checksum over all reasons and replies so far.
    digest: AtomicU32,
    /// Whether the cores look ahead before they decide, as they do for a batch.
    looks_ahead: bool,
}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}

impl Node {
    /// A node with a small installation.
    ///
    /// # Panics
    ///
    /// When the installation written here is wrong.
    #[expect(
        clippy::expect_used,
        reason = "the installation is written here: it is right, or the test says so"
    )]
    pub fn new() -> Self {
        let id = |at: usize| Uid(0x0190_0000_0000_7000_8000_0000_0000_0000 + at as u128 + 1);
        let named = |name: &str| OBJECTS.iter().position(|(_, known, _)| *known == name).map(id);
        let objects: Vec<Object> = OBJECTS
            .iter()
            .enumerate()
            .map(|(at, (kind, name, json))| {
                let value = serde_json::from_str(json).expect("JSON");
                let mut spec = Spec::decode(*kind, &value, "", &mut Problems::default()).expect("a spec");
                for (_, kind, reference) in spec.refs_mut() {
                    if let Ref::External { id, .. } = reference
                        && let Some(uid) = named(id)
                    {
                        *reference = Ref::Id(kind, uid);
                    }
                }
                Object { envelope: envelope(*kind, id(at), name), spec }
            })
            .collect();
        let snapshot = Snapshot::of(&objects, 1);
        let ledger = Ledger::new();
        ledger.set_pools(snapshot.pools().map(|pool| &**pool), &|_, _| true);
        let class = Arc::new(ClassKey::new(&Secret::new("canary-class")));
        let cache = || Arc::new(DuplicateCache::new(256));
        Self {
            auth: AuthCore::new(Arc::clone(&class), cache()),
            acct: AcctCore::new(Arc::clone(&class), cache()),
            snapshot,
            ledger,
            entropy: SeededEntropy::new(1),
            keys: [SECRET, "canary-previous"].map(|secret| SharedKey::new(Secret::new(secret))).into(),
            class,
            clock: AtomicU64::new(1_800_000_000_000),
            port: AtomicU16::new(0),
            sequence: AtomicU64::new(0),
            issued: Mutex::new(None),
            reasons: Mutex::new(BTreeSet::new()),
            digest: AtomicU32::new(0),
            looks_ahead: true,
        }
    }

    /// The same node, which does not look ahead.
    #[must_use]
    pub fn without_looking_ahead(mut self) -> Self {
        self.looks_ahead = false;
        self
    }

    /// A number in which all decisions and replies so far count: equal for two nodes that decided alike.
    pub fn digest(&self) -> u32 {
        self.digest.load(Ordering::Relaxed)
    }

    /// Reasons of the decisions taken so far: how far the requests came.
    pub fn reasons(&self) -> BTreeSet<&'static str> {
        self.reasons.lock().clone()
    }

    /// Hears a datagram on both ports, as it is and signed anew.
    ///
    /// # Panics
    ///
    /// When a law is broken, which is what the caller is looking for.
    pub fn hear(&self, bytes: &[u8]) {
        self.clock.fetch_add(700, Ordering::Relaxed);
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
        let issued = self.issued.lock().map(|session| *self.class.issue(session).bytes());
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
            self.admit(&self.auth, bytes, source, |pending| pending.reply.to_vec());
            self.admit(&self.acct, bytes, source, |pending| pending.reply.to_vec());
        }
    }

    fn admit<P: Protocol>(
        &self,
        core: &P,
        bytes: &[u8],
        source: SocketAddr,
        held: impl Fn(&P::Pending) -> Vec<u8>,
    ) {
        let stamp = Stamp(self.clock.load(Ordering::Relaxed));
        let at = Moment { stamp, tick: Tick(stamp.0 * 1_000_000) };
        let datagram = Datagram { bytes, source, local: source.ip(), at };
        let world = World {
            snapshot: &self.snapshot,
            ledger: &self.ledger,
            entropy: &self.entropy,
            journal_available: !stamp.0.is_multiple_of(11),
        };
        let mut out = [0; RADIUS_PACKET_BYTES_MAX];
        if self.looks_ahead {
            core.look_ahead(&self.snapshot, &self.ledger, &mut [(bytes, source)].into_iter());
        }
        let admitted = core.admit(&world, &datagram, &mut out);
        Self::check_decision(&admitted.decision);
        self.count(admitted.decision.reason.as_bytes());
        self.reasons.lock().insert(admitted.decision.reason);
        match admitted.verdict {
            Verdict::Discard { write } => {
                assert_eq!(admitted.decision.outcome, Outcome::Discarded);
                self.apply(&write);
            }
            Verdict::Send { reply, write } => {
                assert_ne!(admitted.decision.outcome, Outcome::Discarded);
                assert_eq!((reply.to, reply.from), (source, source.ip()));
                self.check_reply(bytes, out.get(..reply.len).unwrap_or_default());
                self.apply(&write);
            }
            Verdict::Wait { wait_for, write, pending } => {
                assert!(world.journal_available, "nothing waits for a journal that takes nothing");
                assert!(!wait_for.is_empty(), "what waits has something to wait for");
                self.apply(&write);
                if stamp.0.is_multiple_of(5) {
                    self.ledger.abort(&wait_for);
                    core.fail(&pending);
                    return;
                }
                self.apply(&wait_for);
                self.check_reply(bytes, &held(&pending));
            }
        }
    }

    fn apply(&self, records: &[Record]) {
        for record in records {
            self.ledger.apply(self.sequence.fetch_add(1, Ordering::Relaxed) + 1, record);
            if let Record::Grant(grant) = record {
                *self.issued.lock() = Some(grant.session.0);
            }
        }
        let conflicts = self.ledger.counters().conflicts.load(Ordering::Relaxed);
        assert_eq!(conflicts, 0, "no address is granted twice");
    }

    fn check_decision(decision: &Decision) {
        assert_ne!(decision.reason, "undecided");
        let texts = [&decision.login, &decision.line, &decision.detail];
        assert!(texts.iter().all(|text| !holds_canary(text)), "a secret in a decision");
    }

    fn count(&self, bytes: &[u8]) {
        let before = self.digest.load(Ordering::Relaxed);
        self.digest.store(crc32c::crc32c_append(before, bytes), Ordering::Relaxed);
    }

    fn check_reply(&self, request: &[u8], reply: &[u8]) {
        self.count(reply);
        assert!(!holds_canary(reply), "a secret in a reply");
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

fn holds_canary(bytes: &[u8]) -> bool {
    bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
}

fn envelope(kind: Kind, id: Uid, name: &str) -> Envelope {
    Envelope {
        kind,
        id,
        tenant: TenantId::DEFAULT,
        source: None,
        external_id: Some(name.to_owned()),
        generation: 1,
        source_version: None,
        labels: std::collections::BTreeMap::new(),
        annotations: std::collections::BTreeMap::new(),
        created_at: Stamp::ZERO,
        updated_at: Stamp::ZERO,
        updated_by: String::new(),
        deleted_at: None,
        seq: 1,
    }
}

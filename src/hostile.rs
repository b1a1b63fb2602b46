//! What every fuzzing run of a core stands on: a small installation, a node's memory, and the laws of all cores.
//!
//! A library module, so that a seeded test on the stable toolchain and a coverage-guided run call the same code. It asserts;
//! nothing on the packet path calls it. What is kept from request to request is what a daemon keeps: the ledger, swept as
//! time goes on, and the ring of decisions.
//!
//! Whoever drives it sends the datagrams: [`crate::radius::fuzz`], [`crate::dhcp::v4::fuzz`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::decision::{Decision, DecisionRing, Outcome};
use crate::ids::{SeededEntropy, SessionId, TenantId, Uid};
use crate::journal::record::Record;
use crate::ledger::{Ledger, SHARDS};
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::model::object::Envelope;
use crate::model::{Kind, Object, Problems, Ref, Spec};
use crate::pipeline::{Datagram, Outgoing, Protocol, Verdict, World};
use crate::snapshot::Snapshot;
use crate::time::{Moment, Stamp, Tick};

/// Part of every secret of an installation: it must not come out anywhere.
pub const CANARY: &str = "canary-";
/// Decisions kept: few, so that the ring is full early and goes round often.
const DECISIONS: usize = 4_096;
/// Records that one sweep may make.
const SWEEP_RECORDS_MAX: usize = 64;

/// A node that hears whatever comes.
#[derive(Debug)]
pub struct Site {
    snapshot: Snapshot,
    ledger: Ledger,
    entropy: SeededEntropy,
    clock: AtomicU64,
    sequence: AtomicU64,
    decisions: DecisionRing,
    /// Session of the newest grant that has one.
    issued: Mutex<Option<SessionId>>,
    reasons: Mutex<BTreeSet<&'static str>>,
    /// Checksum over all reasons and replies so far.
    digest: AtomicU32,
    looks_ahead: bool,
}

impl Site {
    /// A node with these objects: kind, name and spec in JSON, referring to each other by name.
    ///
    /// # Panics
    ///
    /// When the objects are wrong: they are written beside the test that needs them.
    pub fn new(objects: &[(Kind, &str, &str)]) -> Self {
        let objects = compiled(objects);
        let snapshot = Snapshot::of(&objects, 1);
        let ledger = Ledger::new();
        ledger.set_pools(snapshot.pools().map(|pool| &**pool), &|_, _| true);
        Self {
            snapshot,
            ledger,
            entropy: SeededEntropy::new(1),
            clock: AtomicU64::new(1_800_000_000_000),
            sequence: AtomicU64::new(0),
            decisions: DecisionRing::new(1, DECISIONS),
            issued: Mutex::new(None),
            reasons: Mutex::new(BTreeSet::new()),
            digest: AtomicU32::new(0),
            looks_ahead: true,
        }
    }

    /// The same node, whose cores do not look ahead before they decide.
    #[must_use]
    pub fn without_looking_ahead(mut self) -> Self {
        self.looks_ahead = false;
        self
    }

    /// A number in which every decision and reply so far counts: equal for two nodes that decided alike.
    pub fn digest(&self) -> u32 {
        self.digest.load(Ordering::Relaxed)
    }

    /// Reasons of the decisions taken so far: how far the requests came.
    pub fn reasons(&self) -> BTreeSet<&'static str> {
        self.reasons.lock().clone()
    }

    /// The session of the newest grant that was made for one.
    pub fn issued(&self) -> Option<SessionId> {
        *self.issued.lock()
    }

    /// Lets time go on, and sweeps one shard of the ledger. The step is prime to the numbers by which [`Site::hear`] lets the
    /// journal fail, or it would fail always or never.
    ///
    /// # Panics
    ///
    /// When a law is broken.
    pub fn advance(&self, millis: u64) {
        let now = self.clock.fetch_add(millis, Ordering::Relaxed) + millis;
        let records = self.ledger.sweep(now as usize % SHARDS, Stamp(now), SWEEP_RECORDS_MAX);
        if self.journal_available() {
            self.apply(&records);
        } else {
            self.ledger.abort(&records);
        }
        self.ledger.forget_restarts(Stamp(now.saturating_sub(120_000)));
    }

    /// Lets `core` decide about a datagram and does what the verdict says; the reply that leaves, if one does. One in eleven
    /// moments the journal takes nothing, and of what waits for it one in five fails.
    ///
    /// # Panics
    ///
    /// When a law is broken, which is what the caller is looking for.
    pub fn hear<P: Protocol>(
        &self,
        core: &P,
        bytes: &[u8],
        source: SocketAddr,
        local: IpAddr,
        finish: impl Fn(&P::Pending, &mut [u8]) -> Option<Outgoing>,
    ) -> Option<(Vec<u8>, Outgoing)> {
        let stamp = Stamp(self.clock.load(Ordering::Relaxed));
        let at = Moment { stamp, tick: Tick(stamp.0 * 1_000_000) };
        let datagram = Datagram { bytes, source, local, at };
        let world = World {
            snapshot: &self.snapshot,
            ledger: &self.ledger,
            entropy: &self.entropy,
            journal_available: self.journal_available(),
        };
        let mut out = [0; DATAGRAM_BYTES_MAX];
        if self.looks_ahead {
            core.look_ahead(&self.snapshot, &self.ledger, &mut [(bytes, source)].into_iter());
        }
        let admitted = core.admit(&world, &datagram, &mut out);
        let outcome = admitted.decision.outcome;
        self.note(admitted.decision);
        let outgoing = match admitted.verdict {
            Verdict::Discard { write } => {
                assert_eq!(outcome, Outcome::Discarded);
                self.apply(&write);
                return None;
            }
            Verdict::Send { reply, write } => {
                self.apply(&write);
                reply
            }
            Verdict::Wait { wait_for, write, pending } => {
                assert!(world.journal_available, "nothing waits for a journal that takes nothing");
                assert!(!wait_for.is_empty(), "what waits has something to wait for");
                self.apply(&write);
                if stamp.0.is_multiple_of(5) {
                    self.ledger.abort(&wait_for);
                    core.fail(&pending);
                    return None;
                }
                self.apply(&wait_for);
                finish(&pending, &mut out)?
            }
        };
        assert_ne!(outcome, Outcome::Discarded);
        let reply = out.get(..outgoing.len).unwrap_or_default();
        assert!(!holds_canary(reply), "a secret in a reply");
        self.count(reply);
        Some((reply.to_vec(), outgoing))
    }

    fn journal_available(&self) -> bool {
        !self.clock.load(Ordering::Relaxed).is_multiple_of(11)
    }

    fn note(&self, decision: Decision) {
        assert_ne!(decision.reason, "undecided");
        let texts = [&decision.login, &decision.line, &decision.detail];
        assert!(texts.iter().all(|text| !holds_canary(text)), "a secret in a decision");
        self.count(decision.reason.as_bytes());
        self.reasons.lock().insert(decision.reason);
        self.decisions.push(0, decision);
    }

    fn count(&self, bytes: &[u8]) {
        let before = self.digest.load(Ordering::Relaxed);
        self.digest.store(crc32c::crc32c_append(before, bytes), Ordering::Relaxed);
    }

    fn apply(&self, records: &[Record]) {
        for record in records {
            self.ledger.apply(self.sequence.fetch_add(1, Ordering::Relaxed) + 1, record);
            if let Record::Grant(grant) = record
                && grant.session != SessionId::default()
            {
                *self.issued.lock() = Some(grant.session);
            }
        }
        let conflicts = self.ledger.counters().conflicts.load(Ordering::Relaxed);
        assert_eq!(conflicts, 0, "no address is granted twice");
    }
}

fn holds_canary(bytes: &[u8]) -> bool {
    bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
}

/// Objects of the default tenant, referring to each other by name.
#[expect(
    clippy::expect_used,
    reason = "the installation is written beside its test: it is right, or the test says so"
)]
pub(crate) fn compiled(objects: &[(Kind, &str, &str)]) -> Vec<Object> {
    let id = |at: usize| Uid(0x0190_0000_0000_7000_8000_0000_0000_0000 + at as u128 + 1);
    let named = |name: &str| objects.iter().position(|(_, known, _)| *known == name).map(id);
    let compile = |(at, (kind, name, json)): (usize, &(Kind, &str, &str))| {
        let value = serde_json::from_str(json).expect("JSON");
        let mut problems = Problems::default();
        let mut spec = Spec::decode(*kind, &value, "", &mut problems)
            .unwrap_or_else(|| panic!("{name} is wrong: {problems:?}"));
        for (_, kind, reference) in spec.refs_mut() {
            if let Ref::External { id, .. } = reference
                && let Some(uid) = named(id)
            {
                *reference = Ref::Id(kind, uid);
            }
        }
        Object { envelope: envelope(*kind, id(at), name), spec }
    };
    objects.iter().enumerate().map(compile).collect()
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
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        created_at: Stamp::ZERO,
        updated_at: Stamp::ZERO,
        updated_by: String::new(),
        deleted_at: None,
        seq: 1,
    }
}

//! One node in a transcript: desired state, ledger, journal and clock, whatever protocol it speaks.
//!
//! - `network|pool|plan|service|access|nas|relay NAME {json}` writes an object, references being names; `delete NAME`;
//! - `client NAME field=value …` names fields for use in packets;
//! - `wait 900s`, `wait 300ms`, `sweep`, `restart` (the ledger is rebuilt from the journal);
//! - `journal refuses|takes|fails|holds|commits`;
//! - `show NAME`: what the ledger has for a service.
#![expect(clippy::unwrap_used, reason = "only tests call it: a panic is a failed test")]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use lastmile::decision::Decision;
use lastmile::ids::{SeededEntropy, TenantId, Uid};
use lastmile::journal::Durable;
use lastmile::journal::record::{Holder, Record};
use lastmile::ledger::Ledger;
use lastmile::model::object::Envelope;
use lastmile::model::{Kind, Object, Problems, Ref, Spec};
use lastmile::pipeline::{Datagram, Outgoing, Protocol, Verdict, World};
use lastmile::snapshot::Snapshot;
use lastmile::time::{Moment, Stamp, Tick};

use super::record::{Names, Writer, describe};

const START: Stamp = Stamp::from_secs(1_800_000_000);

/// A datagram to the server.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) bytes: Vec<u8>,
    pub(crate) source: SocketAddr,
    pub(crate) local: IpAddr,
}

/// Tells a reply in words.
pub(crate) type Tell = Rc<dyn Fn(&Outgoing, &[u8], &mut Names) -> String>;

/// Answers when the records are durable, or forgets when they never will be.
type Answer = Box<dyn FnOnce(Option<Durable>, &mut Names) -> Vec<String>>;

/// What waits for a journal that holds.
struct Held {
    records: Vec<Record>,
    answer: Option<Answer>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Takes,
    Refuses,
    FailsOnce,
    Holds,
}

pub(crate) struct Node {
    /// Fields for use in packets.
    pub(crate) clients: HashMap<String, String>,
    now: Stamp,
    objects: BTreeMap<String, Object>,
    names: Names,
    snapshot: Snapshot,
    ledger: Ledger,
    entropy: SeededEntropy,
    writer: Writer,
    mode: Mode,
    held: VecDeque<Held>,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self {
            clients: HashMap::new(),
            now: START,
            objects: BTreeMap::new(),
            names: Names::default(),
            snapshot: Snapshot::empty(),
            ledger: Ledger::new(),
            entropy: SeededEntropy::new(1),
            writer: Writer::new(),
            mode: Mode::Takes,
            held: VecDeque::new(),
        }
    }

    #[allow(dead_code, reason = "DHCP packets carry no clock")]
    pub(crate) const fn now(&self) -> Stamp {
        self.now
    }

    #[allow(dead_code, reason = "only RADIUS learns of its clients")]
    pub(crate) const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What must hold whatever the transcript was.
    pub(crate) fn check(&self) {
        let counters = self.ledger.counters();
        assert_eq!(counters.conflicts.load(std::sync::atomic::Ordering::Relaxed), 0, "address granted twice");
    }

    /// Does one line, if it is one that every protocol has; what came of it.
    pub(crate) fn step(&mut self, verb: &str, rest: &str) -> Option<Vec<String>> {
        match verb {
            "delete" => {
                self.objects.remove(rest).unwrap();
                self.compile();
            }
            "client" => {
                let (name, fields) = rest.split_once(' ').unwrap();
                self.clients.insert(name.to_owned(), fields.to_owned());
            }
            "wait" => {
                let millis = rest.strip_suffix("ms").map(|millis| millis.parse::<u64>().unwrap());
                let secs = || rest.strip_suffix('s').unwrap().parse::<u64>().unwrap() * 1000;
                self.now.0 += millis.unwrap_or_else(secs);
            }
            "sweep" => return Some(self.sweep()),
            "restart" => {
                self.ledger = Ledger::new();
                self.compile();
                for (sequence, record) in self.writer.committed() {
                    self.ledger.apply(*sequence, record);
                }
            }
            "journal" => return Some(self.journal(rest)),
            "show" => return Some(self.show(rest)),
            _ => self.put(Kind::from_name(verb)?, rest),
        }
        Some(Vec::new())
    }

    fn put(&mut self, kind: Kind, rest: &str) {
        let (name, json) = rest.split_once(' ').unwrap();
        let mut value: serde_json::Value =
            serde_json::from_str(json).unwrap_or_else(|error| panic!("{name}: {error}"));
        if kind == Kind::Service {
            value.as_object_mut().unwrap().entry("subscriber").or_insert("somebody".into());
        }
        let mut problems = Problems::default();
        let spec = Spec::decode(kind, &value, "", &mut problems);
        let mut spec = spec.unwrap_or_else(|| panic!("{name}: {problems:?}"));
        let id = self.names.id(name);
        for (_, kind, reference) in spec.refs_mut() {
            if let Ref::External { id, .. } = reference
                && let Some(uid) = self.names.known(id)
            {
                *reference = Ref::Id(kind, uid);
            }
        }
        let envelope = Envelope {
            kind,
            id,
            tenant: TenantId::DEFAULT,
            source: None,
            external_id: Some(name.to_owned()),
            generation: 1,
            source_version: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            created_at: START,
            updated_at: self.now,
            updated_by: "transcript".to_owned(),
            deleted_at: None,
            seq: 1,
        };
        self.objects.insert(name.to_owned(), Object { envelope, spec });
        self.compile();
    }

    fn compile(&mut self) {
        self.snapshot = Snapshot::of(self.objects.values(), self.snapshot.seq() + 1);
        self.ledger.set_pools(self.snapshot.pools().map(|pool| &**pool), &|_, _| true);
    }

    fn journal(&mut self, what: &str) -> Vec<String> {
        let mut outcomes = Vec::new();
        self.mode = match what {
            "refuses" => Mode::Refuses,
            "takes" => Mode::Takes,
            "fails" => Mode::FailsOnce,
            "holds" => Mode::Holds,
            "commits" => {
                while let Some(held) = self.held.pop_front() {
                    outcomes.extend(self.commit(held));
                }
                Mode::Takes
            }
            other => panic!("journal {other}?"),
        };
        outcomes
    }

    fn sweep(&mut self) -> Vec<String> {
        let records: Vec<Record> = (0..self.ledger.shard_count())
            .flat_map(|shard| self.ledger.sweep(shard, self.now, 100))
            .collect();
        let outcomes = self.tell("write", &records);
        self.write(records);
        outcomes
    }

    fn show(&mut self, name: &str) -> Vec<String> {
        let holder = self.names.known(name).and_then(|id| self.ledger.holder(Holder(id.0)));
        let slots = holder.iter().flat_map(|holder| &holder.slots);
        let tell = |slot: &lastmile::ledger::Slot| {
            let mut text = format!("slot {}", slot.number);
            for grant in &slot.grants {
                let how = if grant.live { "has" } else { "had" };
                let _ = write!(text, ", {how} {}", grant.prefix);
            }
            if let Some(session) = &slot.session {
                let id = self.names.session(session.id);
                let (up, down) = (session.octets_in, session.octets_out);
                let _ = write!(text, ", {id} for {} s, {up} up {down} down", session.session_time);
            }
            if let Some(pending) = &slot.pending {
                let _ = write!(text, ", awaits {}", self.names.session(pending.session));
            }
            text
        };
        slots.map(tell).collect()
    }

    /// Gives a core a datagram; the decision, the reply, and the records.
    pub(crate) fn receive<P>(&mut self, core: &Rc<P>, sent: &Sent, tell: &Tell) -> Vec<String>
    where
        P: Protocol + 'static,
        P::Pending: 'static,
    {
        let tick = Tick(self.now.since(START) * 1_000_000);
        let at = Moment { stamp: self.now, tick };
        let datagram = Datagram { bytes: &sent.bytes, source: sent.source, local: sent.local, at };
        let world = World {
            snapshot: &self.snapshot,
            ledger: &self.ledger,
            entropy: &self.entropy,
            journal_available: self.mode != Mode::Refuses,
        };
        let mut out = [0; 4096];
        let admitted = core.admit(&world, &datagram, &mut out);
        let mut outcomes = vec![self.verdict(&admitted.decision)];
        let (reply, wait_for, write, pending) = match admitted.verdict {
            Verdict::Discard { write } => (None, Vec::new(), write, None),
            Verdict::Send { reply, write } => (Some(reply), Vec::new(), write, None),
            Verdict::Wait { wait_for, write, pending } => (None, wait_for, write, Some(pending)),
        };
        if let Some(reply) = reply {
            outcomes.push(tell(&reply, &out[..reply.len], &mut self.names));
        }
        outcomes.extend(self.tell("write", &write));
        self.write(write);
        if let Some(pending) = pending {
            outcomes.extend(self.tell("wait for", &wait_for));
            let (core, tell) = (Rc::clone(core), Rc::clone(tell));
            let answer = move |durable: Option<Durable>, names: &mut Names| {
                let Some(durable) = durable else {
                    core.fail(&pending);
                    return vec!["the journal failed: silence".to_owned()];
                };
                let mut out = [0; 4096];
                let reply = core.finish(&pending, durable, &mut out).unwrap();
                vec![tell(&reply, &out[..reply.len], names)]
            };
            outcomes.extend(self.waited(Held { records: wait_for, answer: Some(Box::new(answer)) }));
        }
        outcomes
    }

    fn waited(&mut self, held: Held) -> Vec<String> {
        match self.mode {
            Mode::Takes => self.commit(held),
            Mode::Holds => {
                self.held.push_back(held);
                Vec::new()
            }
            Mode::FailsOnce => {
                self.mode = Mode::Takes;
                self.ledger.abort(&held.records);
                held.answer.unwrap()(None, &mut self.names)
            }
            Mode::Refuses => panic!("something waits for a journal that takes nothing"),
        }
    }

    fn commit(&mut self, held: Held) -> Vec<String> {
        let durable = self.apply(held.records);
        match (held.answer, durable) {
            (Some(answer), Some(durable)) => answer(Some(durable), &mut self.names),
            _ => Vec::new(),
        }
    }

    fn write(&mut self, records: Vec<Record>) {
        match self.mode {
            Mode::Holds => self.held.push_back(Held { records, answer: None }),
            // Whoever was answered keeps what it has until the journal takes records again.
            Mode::Refuses => self.ledger.hold(&records, self.now.plus_secs(3_600)),
            Mode::Takes | Mode::FailsOnce => drop(self.apply(records)),
        }
    }

    fn apply(&mut self, records: Vec<Record>) -> Option<Durable> {
        let mut last = None;
        for record in records {
            let (sequence, durable) = self.writer.write(&record);
            self.ledger.apply(sequence, &record);
            last = Some(durable);
        }
        last
    }

    fn tell(&mut self, how: &str, records: &[Record]) -> Vec<String> {
        let tell = |record: &Record| format!("{how} {}", describe(record, self.now, &mut self.names));
        records.iter().map(tell).collect()
    }

    fn verdict(&self, decision: &Decision) -> String {
        let mut text = format!("{} {} {}", decision.message, decision.outcome.name(), decision.reason);
        let mut add = |what: &str, value: String| {
            if !value.is_empty() {
                let _ = write!(text, ", {what} {value}");
            }
        };
        let id = |id: Uid| if id == Uid::NIL { String::new() } else { self.names.of(id.0) };
        let from = if decision.message.starts_with("DHCP") { "relay" } else { "nas" };
        add("service", id(decision.service));
        add(from, id(decision.nas));
        add("line", String::from_utf8_lossy(&decision.line).into_owned());
        add("address", decision.prefix.map(|prefix| prefix.to_string()).unwrap_or_default());
        add("detail", self.names.in_words(&String::from_utf8_lossy(&decision.detail)));
        text
    }
}

//! One node in a test: desired state, ledger, core, journal and clock.
#![expect(clippy::unwrap_used, reason = "only tests call it: a panic is a failed test")]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use lastmile::decision::Decision;
use lastmile::dhcp::v4::core::{Dhcp4Core, Pending};
use lastmile::dhcp::v4::wire::Message;
use lastmile::ids::{Entropy, SeededEntropy, TenantId, Uid};
use lastmile::journal::Durable;
use lastmile::journal::record::Record;
use lastmile::ledger::Ledger;
use lastmile::model::object::Envelope;
use lastmile::model::{Kind, Object, Problems, Ref, Spec};
use lastmile::pipeline::{Datagram, Outgoing, Protocol, Verdict, World};
use lastmile::snapshot::Snapshot;
use lastmile::time::{Moment, Stamp, Tick};

use super::packet::{self, Sent};
use super::record::{Writer, describe};

const START: Stamp = Stamp::from_secs(1_800_000_000);

/// What waits for a journal that holds.
struct Held {
    records: Vec<Record>,
    pending: Option<Pending>,
    request: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Takes,
    Refuses,
    FailsOnce,
    Holds,
}

pub(crate) struct Node {
    now: Stamp,
    objects: BTreeMap<String, Object>,
    ids: HashMap<String, Uid>,
    clients: HashMap<String, String>,
    snapshot: Snapshot,
    ledger: Ledger,
    core: Dhcp4Core,
    writer: Writer,
    mode: Mode,
    held: VecDeque<Held>,
    heard: Vec<Sent>,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self {
            now: START,
            objects: BTreeMap::new(),
            ids: HashMap::new(),
            clients: HashMap::new(),
            snapshot: Snapshot::empty(),
            ledger: Ledger::new(),
            core: Dhcp4Core::new(),
            writer: Writer::new(),
            mode: Mode::Takes,
            held: VecDeque::new(),
            heard: Vec::new(),
        }
    }

    /// What must hold whatever the transcript was.
    pub(crate) fn check(&self) {
        let counters = self.ledger.counters();
        assert_eq!(counters.conflicts.load(std::sync::atomic::Ordering::Relaxed), 0, "address granted twice");
    }

    /// Hears everything again with bytes changed, which must end in a decision and never in anything worse.
    pub(crate) fn hear_garbled(&mut self, entropy: &dyn Entropy, times: usize) {
        for sent in std::mem::take(&mut self.heard) {
            for _ in 0..times {
                let mut garbled = sent.clone();
                let len = garbled.bytes.len();
                for _ in 0..=entropy.u64() % 3 {
                    let random = entropy.u64();
                    // Most changes go where the options are.
                    let from = if random.is_multiple_of(4) || len <= 240 { 0 } else { 240 };
                    let at = from + (random >> 8) as usize % (len - from).min(80);
                    garbled.bytes[at] = (random >> 40) as u8;
                }
                let outcomes = self.receive(&garbled);
                assert!(!outcomes[0].contains("undecided"), "{}", outcomes[0]);
            }
        }
    }

    /// Does one line; what came of it.
    pub(crate) fn step(&mut self, line: &str) -> Vec<String> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "client" => {
                let (name, fields) = rest.split_once(' ').unwrap();
                self.clients.insert(name.to_owned(), fields.to_owned());
                Vec::new()
            }
            "delete" => {
                self.objects.remove(rest).unwrap();
                self.compile();
                Vec::new()
            }
            "wait" => {
                let secs: u64 = rest.strip_suffix('s').unwrap().parse().unwrap();
                self.now = self.now.plus_secs(secs);
                Vec::new()
            }
            "sweep" => self.sweep(),
            "restart" => {
                self.ledger = Ledger::new();
                self.compile();
                for (sequence, record) in self.writer.committed() {
                    self.ledger.apply(*sequence, record);
                }
                Vec::new()
            }
            "journal" => self.journal(rest),
            "bytes" => {
                let bytes = packet::octets(rest).unwrap();
                let sent =
                    Sent { bytes, source: "10.0.0.1:67".parse().unwrap(), local: packet::SERVER.into() };
                self.receive(&sent)
            }
            _ => match Kind::from_name(verb) {
                Some(kind) => {
                    self.put(kind, rest);
                    Vec::new()
                }
                None => self.receive(&packet::parse(line, &self.clients)),
            },
        }
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
        let next = Uid(0x0190_0000_0000_7000_8000_0000_0000_0000 + self.ids.len() as u128 + 1);
        let id = *self.ids.entry(name.to_owned()).or_insert(next);
        for (_, kind, reference) in spec.refs_mut() {
            if let Ref::External { id, .. } = reference
                && let Some(uid) = self.ids.get(id)
            {
                *reference = Ref::Id(kind, *uid);
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
        let outcomes = records.iter().map(|record| self.describe("write", record)).collect();
        self.write(records);
        outcomes
    }

    fn receive(&mut self, sent: &Sent) -> Vec<String> {
        self.heard.push(sent.clone());
        let at = Moment { stamp: self.now, tick: Tick(0) };
        let datagram = Datagram { bytes: &sent.bytes, source: sent.source, local: sent.local, at };
        let entropy = SeededEntropy::new(1);
        let world = World {
            snapshot: &self.snapshot,
            ledger: &self.ledger,
            entropy: &entropy,
            journal_available: self.mode != Mode::Refuses,
        };
        let mut out = [0; 1500];
        let admitted = self.core.admit(&world, &datagram, &mut out);
        let mut outcomes = vec![self.verdict(&admitted.decision)];
        let request = sent.bytes.clone();
        let (reply, wait_for, write, pending) = match admitted.verdict {
            Verdict::Discard { write } => (None, Vec::new(), write, None),
            Verdict::Send { reply, write } => (Some(reply), Vec::new(), write, None),
            Verdict::Wait { wait_for, write, pending } => (None, wait_for, write, Some(pending)),
        };
        if let Some(reply) = reply {
            outcomes.push(packet::describe(&request, &reply, &out));
        }
        outcomes.extend(write.iter().map(|record| self.describe("write", record)));
        self.write(write);
        if let Some(pending) = pending {
            outcomes.extend(wait_for.iter().map(|record| self.describe("wait for", record)));
            let held = Held { records: wait_for, pending: Some(pending), request };
            outcomes.extend(self.waited(held));
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
                self.core.fail(held.pending.as_ref().unwrap());
                vec!["the journal failed: silence".to_owned()]
            }
            Mode::Refuses => panic!("something waits for a journal that takes nothing"),
        }
    }

    fn commit(&mut self, mut held: Held) -> Vec<String> {
        let durable = self.apply(std::mem::take(&mut held.records));
        let (Some(pending), Some(durable)) = (held.pending, durable) else {
            return Vec::new();
        };
        let mut out = [0; 1500];
        let reply: Outgoing = self.core.finish(&pending, durable, &mut out).unwrap();
        vec![packet::describe(&held.request, &reply, &out)]
    }

    fn write(&mut self, records: Vec<Record>) {
        match self.mode {
            Mode::Holds => self.held.push_back(Held { records, pending: None, request: Vec::new() }),
            Mode::Refuses => assert!(records.is_empty(), "written to a journal that takes nothing"),
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

    fn describe(&self, how: &str, record: &Record) -> String {
        format!("{how} {}", describe(record, self.now, &|id| self.name(id)))
    }

    fn name(&self, id: u128) -> String {
        let named = self.ids.iter().find(|(_, uid)| uid.0 == id);
        named.map_or_else(|| "a client without a service".to_owned(), |(name, _)| name.clone())
    }

    fn verdict(&self, decision: &Decision) -> String {
        let mut text = format!("{} {} {}", decision.message, decision.outcome.name(), decision.reason);
        let mut add = |what: &str, value: String| {
            if !value.is_empty() {
                let _ = write!(text, ", {what} {value}");
            }
        };
        let id = |id: Uid| if id == Uid::NIL { String::new() } else { self.name(id.0) };
        add("service", id(decision.service));
        add("relay", id(decision.nas));
        add("line", String::from_utf8_lossy(&decision.line).into_owned());
        add("address", decision.prefix.map(|prefix| prefix.to_string()).unwrap_or_default());
        let mut detail = String::from_utf8_lossy(&decision.detail).into_owned();
        for (name, uid) in &self.ids {
            detail = detail.replace(&Kind::Service.format_id(*uid), name);
        }
        add("detail", detail);
        text
    }
}

/// The addresses of a message, for descriptions.
pub(crate) fn shown(message: &Message<'_>) -> Vec<(&'static str, Ipv4Addr)> {
    [("yiaddr", message.yiaddr()), ("ciaddr", message.ciaddr())]
        .into_iter()
        .filter(|(_, address)| IpAddr::V4(*address) != IpAddr::V4(Ipv4Addr::UNSPECIFIED))
        .collect()
}

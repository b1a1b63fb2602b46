//! Journal records in words, and a journal that a test turns by hand.
#![expect(clippy::unwrap_used, reason = "only tests call it: a panic is a failed test")]

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use lastmile::ids::{SeededEntropy, SessionId, Uid};
use lastmile::journal::record::{Record, Role, SessionRecord};
use lastmile::journal::{
    CommitFailure, CommittedBatch, Config, Durable, Journal, Lane, MemoryDisk, Sequence, Sink, Stepper,
    Surroundings, Ticket, recover,
};
use lastmile::limits;
use lastmile::model::Kind;
use lastmile::time::{ManualClock, Stamp};

/// Names of objects, and numbers of sessions in the order in which they come up.
#[derive(Default)]
pub(crate) struct Names {
    ids: HashMap<String, Uid>,
    sessions: Vec<SessionId>,
}

impl Names {
    /// The id of a name, a new one if it has none.
    pub(crate) fn id(&mut self, name: &str) -> Uid {
        let next = Uid(0x0190_0000_0000_7000_8000_0000_0000_0000 + self.ids.len() as u128 + 1);
        *self.ids.entry(name.to_owned()).or_insert(next)
    }

    pub(crate) fn known(&self, name: &str) -> Option<Uid> {
        self.ids.get(name).copied()
    }

    pub(crate) fn of(&self, id: u128) -> String {
        let named = self.ids.iter().find(|(_, uid)| uid.0 == id);
        named.map_or_else(|| "a client without a service".to_owned(), |(name, _)| name.clone())
    }

    pub(crate) fn session(&mut self, id: SessionId) -> String {
        let number = self.sessions.iter().position(|known| *known == id).unwrap_or_else(|| {
            self.sessions.push(id);
            self.sessions.len() - 1
        });
        format!("session {}", number + 1)
    }

    /// The text with names in place of ids of services.
    pub(crate) fn in_words(&self, text: &str) -> String {
        let replace =
            |text: String, (name, uid): (&String, &Uid)| text.replace(&Kind::Service.format_id(*uid), name);
        self.ids.iter().fold(text.to_owned(), replace)
    }
}

/// A record in words; stamps relative to `now`.
pub(crate) fn describe(record: &Record, now: Stamp, names: &mut Names) -> String {
    match record {
        Record::Grant(grant) => {
            let what = if grant.renewal { "renewal" } else { "grant" };
            let mut text =
                format!("{what} of {} to {} slot {}", grant.prefix, names.of(grant.holder.0), grant.slot);
            if grant.ends_at != Stamp::MAX {
                let _ = write!(text, " for {} s", grant.ends_at.since(now) / 1000);
            }
            if grant.role != Role::V4 {
                let _ = write!(text, " as {:?}", grant.role);
            }
            if !grant.line.is_empty() || grant.lease.is_some() {
                let _ = write!(text, ", line \"{}\"", String::from_utf8_lossy(&grant.line));
            }
            if let Some(lease) = &grant.lease {
                let _ = write!(text, ", {} bytes of option 82", lease.relay_agent.len());
            }
            text
        }
        Record::Release(release) => {
            let holder = names.of(release.holder.0);
            format!("release of {} by {holder}: {}", release.prefix, release.reason.name())
        }
        Record::Session(session) => session_in_words(session, now, names),
        Record::Nas(nas) => {
            format!("{} {}", names.of(nas.nas.0.0), if nas.on { "restarted" } else { "goes down" })
        }
        Record::Start(_) => "start".to_owned(),
        Record::Hold(_) => "hold".to_owned(),
        Record::Learned(learned) => format!("learned from node {}", learned.node),
    }
}

fn session_in_words(session: &SessionRecord, now: Stamp, names: &mut Names) -> String {
    let (id, holder) = (names.session(session.session), names.of(session.holder.0));
    let mut text = format!("{:?} of {id} of {holder} slot {}", session.event, session.slot);
    let _ = write!(text, ", {} s", session.session_time);
    if session.octets_in + session.octets_out > 0 {
        let _ = write!(text, ", {} up {} down", session.octets_in, session.octets_out);
    }
    let before = |at: Stamp| match (at <= now, now.since(at) + at.since(now)) {
        (_, 0) => "now".to_owned(),
        (true, millis) => format!("{} s ago", millis / 1000),
        (false, millis) => format!("in {} s", millis / 1000),
    };
    let _ = write!(text, ", began {}", before(session.started_at));
    if session.event_at != now {
        let _ = write!(text, ", happened {}", before(session.event_at));
    }
    if session.cause != 0 {
        let _ = write!(text, ", cause {}", session.cause);
    }
    for prefix in &session.addresses {
        let _ = write!(text, ", at {prefix}");
    }
    text
}

/// A journal in memory, turned by hand.
pub(crate) struct Writer {
    lane: Lane,
    stepper: Stepper,
    _journal: Journal,
    delivered: Arc<Mutex<Vec<(u64, Durable)>>>,
    committed: Vec<(u64, Record)>,
}

struct Deliver(Arc<Mutex<Vec<(u64, Durable)>>>);

impl Sink for Deliver {
    fn committed(&mut self, batch: &CommittedBatch<'_>) {
        let mut delivered = self.0.lock().unwrap();
        delivered.extend(batch.iter().map(|record| (record.sequence().0, record.durable())));
    }

    fn failed(&mut self, _tickets: &[Ticket], why: &CommitFailure) {
        panic!("{why}");
    }
}

impl Writer {
    pub(crate) fn new() -> Self {
        let disk: Arc<MemoryDisk> = Arc::new(MemoryDisk::new(1));
        let segment_bytes = limits::JOURNAL_SEGMENT_BYTES_MIN;
        let config = Config { segment_bytes, ..Config::of_node(1, 1, 1) };
        let recovered = recover(disk.as_ref(), &config, Sequence::ZERO, &mut |_| Ok(())).unwrap();
        let delivered = Arc::default();
        let surroundings = Surroundings {
            disk,
            clock: Arc::new(ManualClock::at(Stamp::from_secs(1))),
            entropy: Arc::new(SeededEntropy::new(1)),
            sink: Box::new(Deliver(Arc::clone(&delivered))),
        };
        let (journal, mut lanes, stepper) = Journal::stepped(config, recovered, surroundings).unwrap();
        Self { lane: lanes.remove(0), stepper, _journal: journal, delivered, committed: Vec::new() }
    }

    /// Commits a record; its sequence and the proof.
    pub(crate) fn write(&mut self, record: &Record) -> (u64, Durable) {
        let submitted = self
            .lane
            .submit(record.kind(), record.version(), Some(Ticket(1)), |buffer| record.encode(buffer));
        submitted.unwrap();
        self.stepper.settle();
        let (sequence, durable) = self.delivered.lock().unwrap().pop().unwrap();
        self.committed.push((sequence, record.clone()));
        (sequence, durable)
    }

    /// All records, in order.
    pub(crate) fn committed(&self) -> &[(u64, Record)] {
        &self.committed
    }
}

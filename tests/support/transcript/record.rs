//! Journal records in words, and a journal that a test turns by hand.
#![expect(clippy::unwrap_used, reason = "only tests call it: a panic is a failed test")]

use std::sync::{Arc, Mutex};

use lastmile::ids::SeededEntropy;
use lastmile::journal::record::{Record, VERSION};

use lastmile::journal::{
    CommitFailure, CommittedBatch, Config, Durable, Journal, Lane, MemoryDisk, Sequence, Sink, Stepper,
    Surroundings, Ticket, recover,
};
use lastmile::limits;
use lastmile::time::{ManualClock, Stamp};

/// A record in words; stamps relative to `now`.
pub(crate) fn describe(record: &Record, now: Stamp, name: &dyn Fn(u128) -> String) -> String {
    match record {
        Record::Grant(grant) => {
            let what = if grant.renewal { "renewal" } else { "grant" };
            let remembered = grant.lease.as_ref().map_or(0, |lease| lease.relay_agent.len());
            format!(
                "{what} of {} to {} slot {} for {} s, line \"{}\", {remembered} bytes of option 82",
                grant.prefix,
                name(grant.holder.0),
                grant.slot,
                grant.ends_at.since(now) / 1000,
                String::from_utf8_lossy(&grant.line),
            )
        }
        Record::Release(release) => {
            format!("release of {} by {}: {}", release.prefix, name(release.holder.0), release.reason.name())
        }
        other => format!("{other:?}"),
    }
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
        let submitted =
            self.lane.submit(record.kind(), VERSION, Some(Ticket(1)), |buffer| record.encode(buffer));
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

//! The applier: copies the journal into storage, at leisure and exactly once.
//!
//! Reads what is durable, folds a stretch into rows ([`crate::history`]), gives it to storage in one transaction together with
//! the position reached, and only then lets the journal go. With the database gone it waits and tries again: the journal
//! grows on disk, bounded and alarmed, and nothing is lost or counted twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::history::Collector;
use crate::journal::record::{KIND_FIRST, Record};
use crate::journal::tail::{Reader, TailError};
use crate::journal::{Journal, Sequence};
use crate::limits::{
    APPLIER_READ_BYTES_MAX, APPLIER_READ_RECORDS_MAX, APPLIER_RECORDS_MAX, APPLIER_ROWS_MAX,
};
use crate::model::observed::ObservedBatch;
use crate::storage::{Storage, StorageError};
use crate::telemetry::http::Health;
use crate::telemetry::metrics::Metrics;

/// What the applier works with.
#[derive(Clone)]
pub struct Applier {
    /// Number of this node.
    pub node: u16,
    /// Where to.
    pub storage: Arc<dyn Storage>,
    /// Where from.
    pub journal: Arc<Journal>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where trouble is shown.
    pub health: Arc<Health>,
    /// Newest sequence known to storage.
    pub applied: Arc<AtomicU64>,
    /// Set once: apply what is durable, then end.
    pub stopping: Arc<AtomicBool>,
}

impl std::fmt::Debug for Applier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Applier").field("node", &self.node).finish_non_exhaustive()
    }
}

/// First pause after a failure; doubled up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);

impl Applier {
    /// Runs until told to stop, on a thread of its own; `runtime` drives the storage calls.
    pub fn run(self, runtime: &tokio::runtime::Handle) {
        // Before anything may be let go, storage must say how far it got. Until then the hold keeps everything.
        let hold = self.journal.hold("applier", Sequence::ZERO);
        let Some(from) = self.position(runtime) else { return };
        let mut reader = self.journal.reader("applier", Sequence(from));
        drop(hold);
        let mut retry = RETRY_FIRST;
        loop {
            let collected = self.collect(&mut reader);
            let Some(batch) = collected else {
                if self.stopping.load(Ordering::Acquire) {
                    return;
                }
                reader.wait(Some(Duration::from_millis(250)));
                continue;
            };
            if !self.write(runtime, &batch, &mut retry) {
                return;
            }
            self.applied.store(batch.through, Ordering::Release);
            if let Err(error) = reader.release(Sequence(batch.through)) {
                tracing::warn!(%error, "applied journal segments could not be removed");
            }
        }
    }

    fn position(&self, runtime: &tokio::runtime::Handle) -> Option<u64> {
        let mut retry = RETRY_FIRST;
        loop {
            match runtime.block_on(self.storage.applied_sequence(self.node)) {
                Ok(position) => {
                    self.applied.store(position, Ordering::Release);
                    return Some(position);
                }
                Err(error) => {
                    self.trouble(&error);
                    if self.stopping.load(Ordering::Acquire) {
                        return None;
                    }
                    pause(&mut retry);
                }
            }
        }
    }

    /// The next stretch of the journal; `None` when there is nothing new.
    fn collect(&self, reader: &mut Reader) -> Option<ObservedBatch> {
        let collector = Collector::new(self.node, self.applied.load(Ordering::Acquire));
        next_batch(collector.for_others(self.storage.is_shared()), reader).unwrap_or_else(|error| {
            tracing::error!(%error, "the journal cannot be read for storage");
            self.metrics.applier_errors.inc();
            None
        })
    }

    /// Writes a batch, however long it takes; false when stopped first.
    fn write(&self, runtime: &tokio::runtime::Handle, batch: &ObservedBatch, retry: &mut Duration) -> bool {
        loop {
            match runtime.block_on(self.storage.apply_observed(batch.clone())) {
                Ok(_) => {
                    self.metrics.applier_records.inc_by(batch.through - batch.after);
                    self.health.set_degraded("storage", None);
                    *retry = RETRY_FIRST;
                    return true;
                }
                Err(error) => {
                    self.trouble(&error);
                    if self.stopping.load(Ordering::Acquire) {
                        return false;
                    }
                    pause(retry);
                }
            }
        }
    }

    fn trouble(&self, error: &StorageError) {
        self.metrics.applier_errors.inc();
        self.health.set_degraded("storage", Some(error.to_string()));
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(%error, cause, "storage does not take observed state; the journal keeps it");
    }
}

/// What the journal holds beyond where storage, and so the collector, stands: all of it when that is little, a longer stretch
/// the further storage is behind. The reader's own position will not do for that: it moves over the journal's own records,
/// such as the mark of a clean end, without giving anything out.
fn next_batch(mut collector: Collector, reader: &mut Reader) -> Result<Option<ObservedBatch>, TailError> {
    let mut records = 0;
    while records < APPLIER_RECORDS_MAX && collector.rows() < APPLIER_ROWS_MAX {
        let read = match reader.read(APPLIER_READ_RECORDS_MAX, APPLIER_READ_BYTES_MAX) {
            // What was read before is written first; the next read meets the error again.
            Err(_) if records > 0 => break,
            read => read?,
        };
        if read.is_empty() {
            break;
        }
        records += read.len() as u64;
        for item in read.iter() {
            add(&mut collector, &item);
        }
    }
    Ok((records > 0).then(|| collector.finish()))
}

fn add(collector: &mut Collector, item: &crate::journal::Record<'_>) {
    if item.kind < KIND_FIRST {
        collector.skip(item.sequence.0);
        return;
    }
    match Record::decode(item.kind, item.version, item.payload) {
        Ok(record) => collector.add(item.sequence.0, &record),
        Err(error) => {
            tracing::error!(sequence = item.sequence.0, %error, "a journal record was left out of storage");
            collector.skip(item.sequence.0);
        }
    }
}

/// A pause between attempts on a thread that does nothing else.
fn pause(retry: &mut Duration) {
    std::thread::sleep(*retry);
    *retry = (*retry * 2).min(RETRY_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SeededEntropy;
    use crate::journal::record::StartRecord;
    use crate::journal::{
        CommitFailure, CommittedBatch, Config, Lane, MemoryDisk, Sink, Stepper, Surroundings, Ticket, recover,
    };
    use crate::time::{ManualClock, Stamp};

    struct Deaf;

    impl Sink for Deaf {
        fn committed(&mut self, _: &CommittedBatch<'_>) {}
        fn failed(&mut self, _: &[Ticket], _: &CommitFailure) {}
    }

    fn start(disk: &MemoryDisk, seed: u64) -> (Journal, Lane, Stepper) {
        let segment_bytes = crate::limits::JOURNAL_SEGMENT_BYTES_MIN;
        let config = Config { segment_bytes, ..Config::of_node(1, 1, 1) };
        let recovered = recover(disk, &config, Sequence::ZERO, &mut |_| Ok(())).unwrap();
        let surroundings = Surroundings {
            disk: Arc::new(disk.clone()),
            clock: Arc::new(ManualClock::at(Stamp::from_secs(1_000))),
            entropy: Arc::new(SeededEntropy::new(seed)),
            sink: Box::new(Deaf),
        };
        let (journal, mut lanes, stepper) = Journal::stepped(config, recovered, surroundings).unwrap();
        (journal, lanes.pop().unwrap(), stepper)
    }

    fn write(lane: &Lane, stepper: &mut Stepper) {
        let record = Record::Start(StartRecord { at: Stamp::from_secs(1_000), hold_until: Stamp::ZERO });
        let ticket = Some(Ticket(0));
        lane.submit(record.kind(), record.version(), ticket, |buffer| record.encode(buffer)).unwrap();
        stepper.settle();
    }

    #[test]
    fn what_is_longer_than_one_read_becomes_one_batch_that_ends_where_the_journal_does() {
        let (journal, lane, mut stepper) = start(&MemoryDisk::new(1), 1);
        for _ in 0..=APPLIER_READ_RECORDS_MAX {
            write(&lane, &mut stepper);
        }
        let durable = journal.durable().0;
        assert!(durable > APPLIER_READ_RECORDS_MAX as u64);
        let mut reader = journal.reader("applier", Sequence::ZERO);
        let batch = next_batch(Collector::new(1, 0), &mut reader).unwrap().unwrap();
        assert_eq!((batch.after, batch.through), (0, durable));
        assert!(next_batch(Collector::new(1, durable), &mut reader).unwrap().is_none());
    }

    #[test]
    fn the_first_batch_after_a_clean_stop_follows_what_storage_has() {
        let disk = MemoryDisk::new(1);
        let (journal, lane, mut stepper) = start(&disk, 1);
        write(&lane, &mut stepper);
        let applied = journal.durable().0;
        journal.request_shutdown();
        stepper.settle();
        drop((journal, lane, stepper));

        let (journal, lane, mut stepper) = start(&disk, 2);
        let mut reader = journal.reader("applier", Sequence(applied));
        assert!(
            next_batch(Collector::new(1, applied), &mut reader).unwrap().is_none(),
            "nothing but the mark of the clean end"
        );
        write(&lane, &mut stepper);
        let batch = next_batch(Collector::new(1, applied), &mut reader).unwrap().unwrap();
        assert_eq!((batch.after, batch.through), (applied, journal.durable().0));
    }
}

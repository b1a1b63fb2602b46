//! Numbers the journal keeps about itself.
//!
//! Place in the path: counted by the commit thread, read by telemetry, `status` and health checks.
//!
//! Invariants: counting takes no lock and allocates nothing. Numbers read together may be of slightly different
//! moments.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::COMMIT_BATCH_RECORDS_MAX;

use super::token::{Sequence, Unavailable};

/// Classes of batch size: 1, 2-3, 4-7, and so on; the last holds the largest permitted batch.
pub const BATCH_SIZE_CLASSES: usize = COMMIT_BATCH_RECORDS_MAX.ilog2() as usize + 1;

/// The journal's numbers at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Newest sequence known to be on disk.
    pub durable: Sequence,
    /// Segments on disk, without the spare.
    pub segments: usize,
    /// Bytes of all segments on disk, without the spare.
    pub segment_bytes: u64,
    /// Whether a segment is filled ahead.
    pub spare_ready: bool,
    /// Records committed since the start.
    pub records: u64,
    /// Bytes committed since the start, framing included.
    pub record_bytes: u64,
    /// Group commits since the start, each one write and one sync.
    pub syncs: u64,
    /// Writes or syncs of records that failed since the start; each cost a segment.
    pub commits_failed: u64,
    /// Records that nobody waited for and that were dropped by a failure, since the start.
    pub unwaited_dropped: u64,
    /// Duration of the newest write and sync, in nanoseconds.
    pub last_sync_ns: u64,
    /// Records submitted and not yet committed or failed.
    pub in_flight: usize,
    /// Number of batches by size: class `i` counts batches of `2^i` to `2^(i+1) - 1` records.
    pub batch_sizes: [u64; BATCH_SIZE_CLASSES],
    /// Why records are refused at present, if they are.
    pub unavailable: Option<Unavailable>,
}

/// What the commit thread counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) records: AtomicU64,
    pub(super) record_bytes: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) commits_failed: AtomicU64,
    pub(super) unwaited_dropped: AtomicU64,
    pub(super) last_sync_ns: AtomicU64,
    batch_sizes: [AtomicU64; BATCH_SIZE_CLASSES],
}

impl Counters {
    pub(super) fn committed(&self, records: usize, bytes: usize, sync_ns: u64) {
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.record_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.last_sync_ns.store(sync_ns, Ordering::Relaxed);
        let class = records.checked_ilog2().unwrap_or(0) as usize;
        if let Some(count) = self.batch_sizes.get(class.min(BATCH_SIZE_CLASSES - 1)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn batch_sizes(&self) -> [u64; BATCH_SIZE_CLASSES] {
        std::array::from_fn(|class| {
            self.batch_sizes.get(class).map_or(0, |count| count.load(Ordering::Relaxed))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_counted_by_powers_of_two() {
        let counters = Counters::default();
        for records in [1, 2, 3, 4, COMMIT_BATCH_RECORDS_MAX] {
            counters.committed(records, 0, 0);
        }
        let sizes = counters.batch_sizes();
        assert_eq!((sizes[0], sizes[1], sizes[2]), (1, 2, 1));
        assert_eq!(sizes[BATCH_SIZE_CLASSES - 1], 1);
    }
}

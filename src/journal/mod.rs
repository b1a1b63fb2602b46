//! The journal: this node's durable log, and the only source of "it is on disk".
//!
//! Place in the path: after *allocate*, before *encode*. What a reply promises waits here for one sync that it shares
//! with everything else that arrived meanwhile; after the commit the applier copies records into storage at leisure.
//!
//! ```text
//!  workers ─ lane ─┐               ┌─► Sink: ledger applies, replies leave (Durable)
//!  workers ─ lane ─┼─► commit ─► write, fdatasync ─► segment files ─► tail::Reader ─► applier ─► storage
//!  workers ─ lane ─┘      ▲                               │
//!                       spare, filled ahead               └─► recover, at start
//! ```
//!
//! RFC 2866 §4.1 and RFC 2131 §3.1 ask for the order of commit and reply.
//!
//! Invariants: a record reported committed is never lost, reordered or repeated under another sequence, whatever
//! process, power or (one) file fails; a record reported failed does not come back, unless it was reported in doubt
//! and nothing was committed after it; queues, memory and disk use are bounded.
//!
//! Not here: what payloads mean (`record`), and which state they change.
//!
//! | file | what |
//! |---|---|
//! | `token` | sequences, tickets, `Durable`, the sink |
//! | `frame`, `segment` | the bytes of records and files |
//! | `disk`, `memory` | the file layer, and one that forgets |
//! | `lane` | how workers submit |
//! | `commit`, `batch`, `spare`, `run` | group commit, the segment filled ahead, threads |
//! | `recover`, `walk`, `cursor` | reading back |
//! | `tail`, `shelf` | reading on, and releasing |
//! | `stats` | numbers |

mod batch;
mod commit;
mod cursor;
mod disk;
mod frame;
mod lane;
mod memory;
pub mod record;
mod recover;
mod run;
mod segment;
mod shelf;
mod spare;
mod stats;
pub mod tail;
mod token;
mod walk;

use std::time::Duration;

pub use commit::Turn;
pub use disk::{DirectoryLock, Disk, DiskFile, LockError, RealDisk};
pub use frame::{KIND_FIRST, PAYLOAD_BYTES_MAX};
pub use lane::{Group, Lane, Refused};
pub use memory::{Fault, MemoryDisk, Operation};
pub use recover::{LastRecord, Lost, RecoverError, Recovered, VisitError, recover};
pub use run::{Journal, StartError, Stepper, Surroundings};
pub use segment::FileError;
pub use stats::{BATCH_SIZE_CLASSES, Stats};
pub use token::{
    CommitFailure, Committed, CommittedBatch, CommittedIter, Durable, Record, Sequence, Sink, Ticket,
    Unavailable,
};

use crate::limits;

/// How a node's journal is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This node.
    pub node: u16,
    /// The epoch under which this node writes; never lower than one it wrote under before.
    pub epoch: u32,
    /// Length of a segment file, in bytes.
    pub segment_bytes: u64,
    /// All segments on disk together, in bytes; at least three segments.
    pub backlog_bytes_max: u64,
    /// Longest time a record without a ticket stays unwritten.
    pub flush_after: Duration,
    /// Time between two attempts to write again while unavailable.
    pub probe_after: Duration,
    /// Lanes to make, one for each thread that submits.
    pub lanes: usize,
    /// Records that may be in flight at once.
    pub queue_records_max: usize,
    /// Payload bytes that may be in flight at once.
    pub queue_bytes_max: usize,
    /// Whether recovery goes on past damage, reporting what is lost, instead of refusing.
    pub accept_loss: bool,
}

impl Config {
    /// The defaults for one node.
    pub const fn of_node(node: u16, epoch: u32, lanes: usize) -> Self {
        Self {
            node,
            epoch,
            segment_bytes: limits::JOURNAL_SEGMENT_BYTES_DEFAULT,
            backlog_bytes_max: limits::JOURNAL_BACKLOG_BYTES_DEFAULT,
            flush_after: Duration::from_millis(limits::JOURNAL_FLUSH_AFTER_MS),
            probe_after: Duration::from_millis(limits::JOURNAL_PROBE_AFTER_MS),
            lanes,
            queue_records_max: limits::COMMITS_IN_FLIGHT_MAX,
            queue_bytes_max: limits::COMMIT_QUEUE_BYTES_MAX,
            accept_loss: false,
        }
    }

    /// Refuses what is out of bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        let segment = limits::JOURNAL_SEGMENT_BYTES_MIN..=limits::JOURNAL_SEGMENT_BYTES_MAX;
        if !segment.contains(&self.segment_bytes) {
            return Err(ConfigError::SegmentBytes(self.segment_bytes));
        }
        if self.backlog_bytes_max / 3 < self.segment_bytes {
            return Err(ConfigError::BacklogBytes {
                backlog_bytes: self.backlog_bytes_max,
                segment_bytes: self.segment_bytes,
            });
        }
        if !(1..=limits::JOURNAL_LANES_MAX).contains(&self.lanes) {
            return Err(ConfigError::Lanes(self.lanes));
        }
        let records = 1..=limits::COMMITS_IN_FLIGHT_MAX;
        let bytes = PAYLOAD_BYTES_MAX..=limits::COMMIT_QUEUE_BYTES_MAX;
        if !records.contains(&self.queue_records_max) || !bytes.contains(&self.queue_bytes_max) {
            return Err(ConfigError::Queue { records: self.queue_records_max, bytes: self.queue_bytes_max });
        }
        Ok(())
    }
}

/// What is out of bounds in a [`Config`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The segment length.
    #[error(
        "journal segments of {0} bytes: permitted are {min} to {max}",
        min = limits::JOURNAL_SEGMENT_BYTES_MIN,
        max = limits::JOURNAL_SEGMENT_BYTES_MAX
    )]
    SegmentBytes(u64),
    /// The backlog.
    #[error(
        "a journal backlog of {backlog_bytes} bytes has no room for three segments of {segment_bytes}: raise it"
    )]
    BacklogBytes {
        /// The backlog.
        backlog_bytes: u64,
        /// The segment length.
        segment_bytes: u64,
    },
    /// The number of lanes.
    #[error("{0} journal lanes: permitted are 1 to {max}", max = limits::JOURNAL_LANES_MAX)]
    Lanes(usize),
    /// The queue.
    #[error(
        "a commit queue of {records} records and {bytes} bytes is empty, too small for one record, or too large"
    )]
    Queue {
        /// Records.
        records: usize,
        /// Bytes.
        bytes: usize,
    },
}

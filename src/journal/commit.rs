//! Group commit: takes what has arrived, writes once, syncs once, delivers all.
//!
//! Place in the path: between the lanes and the sink. [`Committer::turn`] is the whole of it, one step at a time and
//! without a thread, so that tests and simulations can drive it; `run` puts it on its thread.
//!
//! Invariants:
//! - the sink gets a batch only after its one write and one sync succeeded, in sequence order;
//! - after a failed write or sync the segment is never written again. A new segment with the failed batch's first
//!   sequence supersedes whatever of the batch reached the disk, and only then are its waiters told that it failed.
//!   When no new segment can be made they are told that the outcome is in doubt, and nothing else is committed
//!   before such a segment exists;
//! - a segment that begins after a restart repeats the last batch found, because nobody knows whether that batch
//!   was synced; everything before it was, for a batch is written only after the one before it is on disk.
//!
//! Not here: what records mean; retrying a failed batch (its senders retry).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::ids::Entropy;
use crate::limits::COMMIT_BATCH_BYTES_MAX;
use crate::time::{Clock, Tick};

use super::Config;
use super::batch::Batch;
use super::disk::{DirectoryLock, Disk, DiskFile};
use super::frame::{KIND_CLEAN_END, KIND_REOPENED, SegmentId};
use super::lane::{Closing, Intake, LaneBuffer};
use super::segment::{self, FileError, Header, RECORDS_AT};
use super::shelf::{Shelf, Shelved};
use super::spare::{Spares, Supply};
use super::stats::Counters;
use super::tail::Progress;
use super::token::{CommitFailure, CommittedBatch, Record, Sequence, Sink, Ticket, Unavailable};
use super::walk::Unproven;

/// What lanes, readers, holders and the commit thread share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) intake: Arc<Intake>,
    pub(super) shelf: Shelf,
    pub(super) spares: Spares,
    pub(super) counters: Counters,
    pub(super) progress: Progress,
}

/// What a turn did, and when the next is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Something was done; take the next turn at once.
    Worked,
    /// Nothing to do until a record comes, or until this tick.
    Idle {
        /// When a turn is due although nothing came.
        until: Option<Tick>,
        /// Whether a record without a ticket is no reason to take a turn earlier.
        waited_only: bool,
    },
    /// The journal is closed; there will be no more to do.
    Done,
}

/// The commit loop.
pub(super) struct Committer {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    sink: Box<dyn Sink>,
    active: Option<Active>,
    /// Sequence of the next record.
    next: Sequence,
    /// What the first segment must repeat; empty once it exists.
    unproven: Unproven,
    taken: VecDeque<Taken>,
    /// How many taken records have a ticket.
    taken_waited: usize,
    idle_buffers: Vec<LaneBuffer>,
    batch: Batch,
    tickets: Vec<Ticket>,
    flush_due: Option<Tick>,
    /// While nothing can be written: when to try again.
    probe_at: Option<Tick>,
    spare_retry: Tick,
    outcome: Option<Result<(), CommitFailure>>,
    _lock: Box<dyn DirectoryLock>,
}

struct Active {
    file: Arc<dyn DiskFile>,
    name: String,
    id: SegmentId,
    /// Where the next batch begins.
    offset: u64,
}

/// A lane's buffer, partly committed.
struct Taken {
    buffer: LaneBuffer,
    entry: usize,
    byte: usize,
}

/// Why a segment or a commit could not be had.
#[derive(Debug, thiserror::Error)]
enum CommitError {
    #[error("the segments on disk reach the permitted backlog; the applier is behind")]
    BacklogFull,
    #[error(transparent)]
    File(#[from] FileError),
}

impl CommitError {
    fn reason(&self) -> Unavailable {
        match self {
            Self::BacklogFull => Unavailable::BacklogFull,
            Self::File(error) => Unavailable::of_error(&error.source),
        }
    }
}

impl Committer {
    /// Takes up the journal where recovery left it, and tries at once to begin a segment. If that fails the journal
    /// begins unavailable and tries again like any other.
    pub(super) fn begin(
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        sink: Box<dyn Sink>,
        next: Sequence,
        unproven: Unproven,
        lock: Box<dyn DirectoryLock>,
    ) -> Self {
        let mut committer = Self {
            shared,
            clock,
            entropy,
            sink,
            active: None,
            next,
            unproven,
            taken: VecDeque::new(),
            taken_waited: 0,
            idle_buffers: Vec::new(),
            batch: Batch::default(),
            tickets: Vec::new(),
            flush_due: None,
            probe_at: None,
            spare_retry: Tick::default(),
            outcome: None,
            _lock: lock,
        };
        if let Err(error) = committer.open_segment() {
            committer.become_unavailable(&error);
        }
        committer
    }

    /// Does what is due.
    pub(super) fn turn(&mut self) -> Turn {
        if self.outcome.is_some() {
            return Turn::Done;
        }
        // Before the lanes are emptied: what was submitted before the end was asked for is then met.
        let closing = self.shared.intake.closing();
        let nudged = self.shared.intake.take_nudge();
        self.collect();
        if closing == Closing::AtOnce {
            let why = CommitFailure {
                reason: Unavailable::ShutDown,
                detail: "the journal was stopped".to_owned(),
                unwaited: 0,
                in_doubt: false,
            };
            return self.end(Err(why));
        }
        // A segment that was only too full for a batch is good enough for the mark of a clean end.
        let marking = closing == Closing::Cleanly && self.active.is_some();
        if let Some(probe_at) = self.probe_at.filter(|_| !marking)
            && let Err(turn) = self.probe(closing, nudged, probe_at)
        {
            return turn;
        }
        self.care_for_spare();
        self.work(closing)
    }

    /// How the journal ended, once it has.
    pub(super) fn outcome(&self) -> Option<&Result<(), CommitFailure>> {
        self.outcome.as_ref()
    }

    fn work(&mut self, closing: Closing) -> Turn {
        if self.taken.is_empty() {
            self.flush_due = None;
            return match closing {
                Closing::Cleanly => self.mark_end(),
                _ => Turn::Idle { until: None, waited_only: false },
            };
        }
        if self.taken_waited == 0 && closing == Closing::No {
            let now = self.clock.now().tick;
            let flush_after_ms = self.shared.config.flush_after.as_millis() as u64;
            let due = *self.flush_due.get_or_insert_with(|| now.plus_millis(flush_after_ms));
            let queued: usize = self.taken.iter().map(|taken| taken.buffer.bytes.len()).sum();
            if now < due && queued < COMMIT_BATCH_BYTES_MAX / 2 {
                return Turn::Idle { until: Some(due), waited_only: true };
            }
        }
        self.flush_due = None;
        self.assemble();
        self.commit_batch();
        Turn::Worked
    }

    fn collect(&mut self) {
        let Self { shared, idle_buffers, taken, taken_waited, .. } = self;
        shared.intake.collect(
            || idle_buffers.pop().unwrap_or_default(),
            |buffer| {
                *taken_waited += buffer.waited;
                taken.push_back(Taken { buffer, entry: 0, byte: 0 });
            },
        );
    }

    /// Frames as many taken records as one batch may have.
    fn assemble(&mut self) {
        self.batch.clear();
        let id = self.active.as_ref().map_or(SegmentId::default(), |active| active.id);
        while let Some(taken) = self.taken.front_mut() {
            while let Some(queued) = taken.buffer.entries.get(taken.entry) {
                let payload_bytes = queued.payload_bytes as usize;
                if !self.batch.has_room(payload_bytes) {
                    return;
                }
                let end = taken.byte + payload_bytes;
                let record = Record {
                    sequence: self.next.plus(self.batch.entries.len() as u64),
                    kind: queued.kind,
                    version: queued.version,
                    payload: taken.buffer.bytes.get(taken.byte..end).unwrap_or_default(),
                };
                self.batch.push(&id, record, queued.ticket);
                self.taken_waited -= usize::from(queued.ticket.is_some());
                taken.entry += 1;
                taken.byte = end;
            }
            if let Some(mut spent) = self.taken.pop_front() {
                spent.buffer.clear();
                self.idle_buffers.push(spent.buffer);
            }
        }
    }

    fn commit_batch(&mut self) {
        if let Err(error) = self.make_room() {
            // Not a byte of it was written: it failed for certain.
            self.fail_batch(&error, false);
            self.become_unavailable(&error);
            return;
        }
        if let Err(error) = self.write_batch() {
            self.shared.counters.commits_failed.fetch_add(1, Ordering::Relaxed);
            self.active = None;
            match self.open_segment() {
                Ok(()) => self.fail_batch(&error, false),
                Err(no_segment) => {
                    self.fail_batch(&error, true);
                    self.become_unavailable(&no_segment);
                }
            }
            return;
        }
        let committed = CommittedBatch::of_synced(&self.batch.bytes, &self.batch.entries);
        self.next = committed.last().next();
        self.sink.committed(&committed);
        self.settle_batch();
        self.shared.progress.advance(self.next.before());
    }

    /// Makes sure that the batch fits the active segment. A batch that moves to another segment is framed anew, for
    /// its checksums cover the segment's id.
    fn make_room(&mut self) -> Result<(), CommitError> {
        let wanted = self.batch.bytes.len() as u64;
        let fits = self
            .active
            .as_ref()
            .is_some_and(|active| active.offset + wanted <= self.shared.config.segment_bytes);
        if fits {
            return Ok(());
        }
        self.open_segment()?;
        if let Some(active) = &self.active {
            self.batch.reframe(&active.id);
        }
        Ok(())
    }

    /// One write, one sync.
    fn write_batch(&mut self) -> Result<(), CommitError> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        let began = self.clock.now().tick;
        active
            .file
            .write_at(active.offset, &self.batch.bytes)
            .map_err(FileError::of("write", &active.name))?;
        active.file.sync_data().map_err(FileError::of("sync", &active.name))?;
        let sync_ns = self.clock.now().tick.since(began);
        active.offset += self.batch.bytes.len() as u64;
        self.shared.counters.committed(self.batch.entries.len(), self.batch.bytes.len(), sync_ns);
        Ok(())
    }

    /// Begins a segment at the next sequence, or, the first time, at the last batch that recovery found.
    fn open_segment(&mut self) -> Result<(), CommitError> {
        let shared = Arc::clone(&self.shared);
        let first = self.unproven.first().unwrap_or(self.next);
        let segment_bytes = shared.config.segment_bytes;
        if !shared.shelf.admits(first, segment_bytes, shared.config.backlog_bytes_max) {
            return Err(CommitError::BacklogFull);
        }
        let file = shared.spares.take_or_make(shared.disk.as_ref())?;
        let mut id = SegmentId::default();
        self.entropy.fill(&mut id);
        let header = Header { node: shared.config.node, epoch: shared.config.epoch, id, first };
        let repeated = self.unproven.framed(&id, KIND_CLEAN_END, KIND_REOPENED);
        let name = segment::publish(shared.disk.as_ref(), file.as_ref(), &header, &repeated)?;
        shared.shelf.add(Shelved {
            first,
            name: name.clone(),
            id: Some(id),
            bytes: segment_bytes,
            set_aside: false,
        });
        self.unproven = Unproven::default();
        self.active = Some(Active { file, name, id, offset: RECORDS_AT + repeated.len() as u64 });
        shared.progress.advance(self.next.before());
        self.care_for_spare();
        Ok(())
    }

    /// Asks for a spare when there is none and the backlog permits one; after a failure not before a while.
    fn care_for_spare(&mut self) {
        let shared = &self.shared;
        let due = match shared.spares.supply() {
            Supply::Cared => return,
            Supply::None => true,
            Supply::Failed => self.spare_retry <= self.clock.now().tick,
        };
        let config = &shared.config;
        let room = shared.shelf.admits(Sequence::ZERO, config.segment_bytes, config.backlog_bytes_max);
        if due && room {
            let retry_ms = config.probe_after.as_millis() as u64;
            self.spare_retry = self.clock.now().tick.plus_millis(retry_ms);
            shared.spares.want();
        }
    }

    /// Tells the sink that the assembled batch is not committed.
    fn fail_batch(&mut self, error: &CommitError, in_doubt: bool) {
        self.tickets.clear();
        self.tickets.extend(self.batch.entries.iter().filter_map(|entry| entry.ticket));
        let unwaited = self.batch.entries.len() - self.tickets.len();
        self.tell_failed(error.reason(), error.to_string(), unwaited, in_doubt);
        self.settle_batch();
    }

    fn settle_batch(&mut self) {
        let records = self.batch.entries.len();
        self.shared.intake.settle(records, self.batch.payload_bytes);
        self.batch.clear();
    }

    /// Refuses from now on; what is queued was never written and fails for certain.
    fn become_unavailable(&mut self, error: &CommitError) {
        let probe_ms = self.shared.config.probe_after.as_millis() as u64;
        self.probe_at = Some(self.clock.now().tick.plus_millis(probe_ms));
        self.shared.intake.refuse(error.reason());
        self.collect();
        self.fail_taken(error.reason(), &error.to_string());
    }

    fn fail_taken(&mut self, reason: Unavailable, detail: &str) {
        self.tickets.clear();
        let (mut records, mut bytes) = (0, 0);
        for mut taken in std::mem::take(&mut self.taken) {
            let rest = taken.buffer.entries.get(taken.entry..).unwrap_or_default();
            records += rest.len();
            bytes += taken.buffer.bytes.len() - taken.byte;
            self.tickets.extend(rest.iter().filter_map(|queued| queued.ticket));
            taken.buffer.clear();
            self.idle_buffers.push(taken.buffer);
        }
        self.taken_waited = 0;
        if records > 0 {
            let unwaited = records - self.tickets.len();
            self.tell_failed(reason, detail.to_owned(), unwaited, false);
            self.shared.intake.settle(records, bytes);
        }
    }

    fn tell_failed(&mut self, reason: Unavailable, detail: String, unwaited: usize, in_doubt: bool) {
        self.shared.counters.unwaited_dropped.fetch_add(unwaited as u64, Ordering::Relaxed);
        let why = CommitFailure { reason, detail, unwaited, in_doubt };
        self.sink.failed(&self.tickets, &why);
    }

    /// Tries to write again, when it is time, when space was released, and a last time at the end.
    fn probe(&mut self, closing: Closing, nudged: bool, probe_at: Tick) -> Result<(), Turn> {
        let due = nudged || closing != Closing::No || probe_at <= self.clock.now().tick;
        if !due {
            return Err(Turn::Idle { until: Some(probe_at), waited_only: false });
        }
        match self.open_segment() {
            Ok(()) => {
                self.probe_at = None;
                self.shared.intake.accept();
                Ok(())
            }
            Err(error) => {
                self.become_unavailable(&error);
                if closing == Closing::No {
                    return Err(Turn::Worked);
                }
                let why = CommitFailure {
                    reason: error.reason(),
                    detail: error.to_string(),
                    unwaited: 0,
                    in_doubt: false,
                };
                Err(self.end(Err(why)))
            }
        }
    }

    /// Writes the mark of a clean end. It is a batch of its own, so that it proves all before it to be on disk.
    fn mark_end(&mut self) -> Turn {
        self.batch.clear();
        let id = self.active.as_ref().map_or(SegmentId::default(), |active| active.id);
        let mark = Record { sequence: self.next, kind: KIND_CLEAN_END, version: 1, payload: &[] };
        self.batch.push(&id, mark, None);
        let written = self.make_room().and_then(|()| self.write_batch());
        self.batch.clear();
        let outcome = written.map_err(|error| CommitFailure {
            reason: error.reason(),
            detail: error.to_string(),
            unwaited: 0,
            in_doubt: false,
        });
        self.end(outcome)
    }

    fn end(&mut self, outcome: Result<(), CommitFailure>) -> Turn {
        if let Err(why) = &outcome {
            self.fail_taken(why.reason, &why.detail);
        }
        self.active = None;
        self.outcome = Some(outcome);
        self.shared.spares.close();
        self.shared.progress.close();
        Turn::Done
    }
}

/// How long to sleep from `now` until `until`.
pub(super) fn time_left(now: Tick, until: Tick) -> Duration {
    Duration::from_nanos(until.since(now))
}

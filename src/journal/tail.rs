//! Reads committed records while the journal is running.
//!
//! Place in the path: between the journal and the applier, which copies records into storage at its own pace, and
//! the checkpoint, which only holds.
//!
//! Invariants: a reader never gives out a record beyond the durable sequence, and none twice; memory is bounded by
//! the caller's limits, one record and one chunk. A holder's records stay on disk until it releases them.
//!
//! Not here: where the applier stands after a restart; it says so when it opens its reader.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::commit::Shared;
use super::cursor::{Ahead, Cursor, Step};
use super::frame::{KIND_FIRST, SegmentId};
use super::segment::{FileError, HEADER_USED_BYTES, Header, RECORDS_AT};
use super::shelf::Shelved;
use super::token::{Record, Sequence};

/// Why a reader cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// A file operation failed; the same call may succeed later.
    #[error("the journal cannot be read on")]
    File(#[from] FileError),
    /// A committed record does not read back. Start again with recovery, which says what is lost.
    #[error("journal file {file} is damaged at offset {offset}: record {sequence} does not read back")]
    Corrupt {
        /// The file.
        file: String,
        /// Where the record should be, in bytes.
        offset: u64,
        /// The record's sequence.
        sequence: Sequence,
    },
    /// The record at the reader's position was released, or never was in this journal.
    #[error("journal record {wanted} is not on disk any more; the oldest is {oldest}")]
    Released {
        /// The record wanted next.
        wanted: Sequence,
        /// The oldest there is.
        oldest: Sequence,
    },
}

/// Keeps records on disk. Dropping it keeps the hold, so that a holder that failed can resume by the same name.
pub struct Holder {
    shared: Arc<Shared>,
    name: &'static str,
}

impl Holder {
    pub(super) fn new(shared: &Arc<Shared>, name: &'static str, from: Sequence) -> Self {
        shared.shelf.hold(name, from);
        Self { shared: Arc::clone(shared), name }
    }

    /// Says that records up to and including `up_to` are not needed any more, and deletes the segments that no
    /// holder needs. Returns how many were deleted. A journal whose backlog was full is told to try again.
    pub fn release(&self, up_to: Sequence) -> Result<usize, FileError> {
        let up_to = up_to.min(self.shared.progress.durable());
        let outcome = self.shared.shelf.release(self.shared.disk.as_ref(), self.name, up_to);
        self.shared.intake.nudge();
        outcome
    }

    /// Gives up the hold for good.
    pub fn retire(self) {
        self.shared.shelf.retire(self.name);
    }
}

/// A position in the running journal.
pub struct Reader {
    holder: Holder,
    next: Sequence,
    place: Option<Place>,
    payloads: Vec<u8>,
    records: Vec<TailEntry>,
}

/// The segment being read.
struct Place {
    segment: Shelved,
    /// First sequence of the successor.
    bound: Option<Sequence>,
    /// `None` when the segment's header is lost.
    cursor: Option<Cursor>,
}

struct TailEntry {
    sequence: Sequence,
    kind: u8,
    version: u8,
    payload: Range<usize>,
}

/// Records as read, in sequence order.
pub struct TailBatch<'a> {
    payloads: &'a [u8],
    records: &'a [TailEntry],
}

impl<'a> TailBatch<'a> {
    /// Number of records; zero when nothing new is durable.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing new was found.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records.
    pub fn iter(&self) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let payloads = self.payloads;
        self.records.iter().map(move |entry| Record {
            sequence: entry.sequence,
            kind: entry.kind,
            version: entry.version,
            payload: payloads.get(entry.payload.clone()).unwrap_or_default(),
        })
    }
}

impl Reader {
    pub(super) fn new(holder: Holder, from: Sequence) -> Self {
        Self { holder, next: from.next(), place: None, payloads: Vec::new(), records: Vec::new() }
    }

    /// Everything up to this sequence was given out, or was none of the caller's.
    pub fn position(&self) -> Sequence {
        self.next.before()
    }

    /// Reads on: at most `records_max` records and `bytes_max` payload bytes, but at least one record if one is
    /// durable.
    pub fn read(&mut self, records_max: usize, bytes_max: usize) -> Result<TailBatch<'_>, TailError> {
        self.payloads.clear();
        self.records.clear();
        let durable = self.holder.shared.progress.durable();
        if durable < self.next {
            return Ok(self.batch());
        }
        self.find_place(true)?;
        while self.records.len() < records_max && self.next <= durable {
            match self.advance(bytes_max) {
                Ok(true) => {}
                Ok(false) => break,
                // What was read before is given out first; the next call meets the error again.
                Err(_) if !self.records.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(self.batch())
    }

    /// Waits until something new is durable, the journal ends or the time is over; may return early. Returns
    /// whether something new is durable.
    pub fn wait(&self, at_most: Option<Duration>) -> bool {
        let progress = &self.holder.shared.progress;
        progress.wait(self.next, at_most)
    }

    /// See [`Holder::release`].
    pub fn release(&self, up_to: Sequence) -> Result<usize, FileError> {
        self.holder.release(up_to)
    }

    /// Gives up the position and its hold for good.
    pub fn retire(self) {
        self.holder.retire();
    }

    fn batch(&self) -> TailBatch<'_> {
        TailBatch { payloads: &self.payloads, records: &self.records }
    }

    /// One step, in the segment that has the next record. Returns whether to go on.
    fn advance(&mut self, bytes_max: usize) -> Result<bool, TailError> {
        let moved_on =
            self.place.as_ref().is_none_or(|place| place.bound.is_some_and(|bound| bound <= self.next));
        if moved_on {
            self.find_place(false)?;
        }
        self.step(bytes_max)
    }

    /// Makes sure that the place is the segment that has the next record. Asked anew for every call: meanwhile
    /// a newer segment may supersede the rest of this one.
    fn find_place(&mut self, reread: bool) -> Result<(), TailError> {
        let shelf = &self.holder.shared.shelf;
        let Some((segment, bound)) = shelf.covering(self.next) else {
            let oldest = shelf.oldest().unwrap_or(Sequence::ZERO);
            // The missing beginning of a journal was reported by recovery, which refused unless it was accepted.
            if self.holder.shared.config.accept_loss && self.next < oldest {
                self.next = oldest;
                return self.find_place(reread);
            }
            let wanted = self.next;
            return Err(TailError::Released { wanted, oldest });
        };
        if let Some(place) = self.place.as_mut().filter(|place| place.segment == segment) {
            place.bound = bound;
            if reread && let Some(cursor) = &mut place.cursor {
                cursor.forget_ahead();
            }
            return Ok(());
        }
        let cursor = match segment.id {
            Some(id) => Some(open(&self.holder.shared, &segment, id)?),
            None => None,
        };
        self.place = Some(Place { segment, bound, cursor });
        Ok(())
    }

    /// Takes one record, or passes damage whose loss was accepted. Returns whether to go on.
    fn step(&mut self, bytes_max: usize) -> Result<bool, TailError> {
        let Some(place) = &mut self.place else {
            return Ok(false);
        };
        let Some(cursor) = &mut place.cursor else {
            return Ok(pass(&mut self.next, place.bound));
        };
        let offset = cursor.offset();
        let name = &place.segment.name;
        match cursor.step().map_err(FileError::of("read", name))? {
            // Before the position where this reader began.
            Step::Frame(frame) if frame.record.sequence < self.next => Ok(true),
            Step::Frame(frame) if frame.record.sequence == self.next => {
                let record = frame.record;
                if !self.records.is_empty() && self.payloads.len() + record.payload.len() > bytes_max {
                    cursor.seek(offset);
                    return Ok(false);
                }
                if record.kind >= KIND_FIRST {
                    let start = self.payloads.len();
                    self.payloads.extend_from_slice(record.payload);
                    self.records.push(TailEntry {
                        sequence: record.sequence,
                        kind: record.kind,
                        version: record.version,
                        payload: start..self.payloads.len(),
                    });
                }
                self.next = self.next.next();
                Ok(true)
            }
            Step::Frame(_) | Step::Bad | Step::End if !place.segment.set_aside => {
                Err(TailError::Corrupt { file: name.clone(), offset, sequence: self.next })
            }
            Step::Frame(_) | Step::Bad | Step::End => {
                cursor.seek(offset);
                let before = place.bound.unwrap_or(Sequence(u64::MAX));
                let ahead =
                    cursor.look_ahead(self.next, before, |_| true).map_err(FileError::of("read", name))?;
                let Ahead::Found { offset, sequence } = ahead else {
                    return Ok(pass(&mut self.next, place.bound));
                };
                self.next = sequence;
                cursor.seek(offset);
                Ok(true)
            }
        }
    }
}

/// Goes to the next segment, past the lost end of one. Returns whether there is a next one.
fn pass(next: &mut Sequence, bound: Option<Sequence>) -> bool {
    if let Some(bound) = bound {
        *next = bound;
    }
    bound.is_some()
}

fn open(shared: &Shared, segment: &Shelved, id: SegmentId) -> Result<Cursor, TailError> {
    let name = &segment.name;
    let file = shared.disk.open(name).map_err(FileError::of("open", name))?;
    let mut start = [0; HEADER_USED_BYTES];
    file.read_at(0, &mut start).map_err(FileError::of("read", name))?;
    // A segment with a durable record is never replaced, so another id is damage.
    if Header::decode(&start).is_ok_and(|header| header.id == id) {
        Ok(Cursor::new(file, id, RECORDS_AT))
    } else {
        Err(TailError::Corrupt { file: name.clone(), offset: 0, sequence: segment.first })
    }
}

/// How far the journal is durable, and a way to wait for more.
#[derive(Debug)]
pub(super) struct Progress {
    durable: AtomicU64,
    closed: Mutex<bool>,
    moved: Condvar,
}

impl Progress {
    pub(super) fn new(durable: Sequence) -> Self {
        Self { durable: AtomicU64::new(durable.0), closed: Mutex::new(false), moved: Condvar::new() }
    }

    pub(super) fn durable(&self) -> Sequence {
        Sequence(self.durable.load(Ordering::Acquire))
    }

    pub(super) fn advance(&self, durable: Sequence) {
        self.durable.fetch_max(durable.0, Ordering::AcqRel);
        // Between a waiter's look and its sleep the lock is held, so the wake-up cannot fall in between.
        drop(self.closed.lock());
        self.moved.notify_all();
    }

    pub(super) fn close(&self) {
        *self.closed.lock() = true;
        self.moved.notify_all();
    }

    fn wait(&self, wanted: Sequence, at_most: Option<Duration>) -> bool {
        let mut closed = self.closed.lock();
        while self.durable() < wanted && !*closed {
            match at_most {
                Some(at_most) => {
                    self.moved.wait_for(&mut closed, at_most);
                    break;
                }
                None => self.moved.wait(&mut closed),
            }
        }
        self.durable() >= wanted
    }
}

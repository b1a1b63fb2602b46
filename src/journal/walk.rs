//! One pass over all segments: visits what is wanted and judges what does not read.
//!
//! Place in the path: the middle of recovery, between opening the files and setting damaged ones aside. The rules
//! it follows are in `recover`.
//!
//! Invariants: the sequence that must come next only rises; what it passes without visiting is reported lost.

use std::sync::Arc;

use super::cursor::{Ahead, Cursor, Step};
use super::frame::{self, FRAME_BYTES_MIN, Frame, KIND_FIRST, SegmentId};
use super::recover::{Found, LastRecord, Lost, RecoverError, VisitError};
use super::segment::{self, FileError, RECORDS_AT};
use super::token::{Record, Sequence};

/// One pass over all segments.
pub(super) struct Walk<'v> {
    pub(super) accept_loss: bool,
    pub(super) from: Sequence,
    pub(super) visit: &'v mut dyn FnMut(Record<'_>) -> Result<(), VisitError>,
    /// The sequence that must come next.
    pub(super) next: Sequence,
    pub(super) last: Option<LastRecord>,
    pub(super) torn_bytes: u64,
    pub(super) unproven: Unproven,
    pub(super) lost: Vec<Lost>,
    /// By segment: whether its loss is accepted, before or now.
    pub(super) set_aside: Vec<bool>,
}

/// What to do where no record is.
enum Judged {
    /// The segment has nothing more.
    Over,
    /// Its records go on behind lost ones, at this offset.
    GoOn(u64),
}

impl Walk<'_> {
    pub(super) fn all(&mut self, found: &[Found]) -> Result<(), RecoverError> {
        // A segment whose successor begins no later than the first wanted record has nothing to say.
        let wanted = self.from.next();
        let begin = found.iter().skip(1).take_while(|segment| segment.first <= wanted).count();
        for (index, segment) in found.iter().enumerate().skip(begin) {
            // Later ones cannot begin too late: reading the one before ended at its successor's first sequence.
            if index == begin && segment.first > wanted {
                self.gap(segment, wanted)?;
            }
            self.next = segment.first;
            self.unproven.clear();
            let bound = found.get(index + 1).map(|successor| successor.first);
            match segment.id {
                Some(id) => self.one(index, segment, id, bound)?,
                None => self.unreadable(index, segment, bound),
            }
        }
        self.behind(found)
    }

    /// Reads one segment up to `bound`, the first sequence of its successor.
    fn one(
        &mut self,
        index: usize,
        segment: &Found,
        id: SegmentId,
        bound: Option<Sequence>,
    ) -> Result<(), RecoverError> {
        let mut cursor = Cursor::new(Arc::clone(&segment.file), id, RECORDS_AT);
        while bound.is_none_or(|bound| self.next < bound) {
            let offset = cursor.offset();
            let step = cursor.step().map_err(FileError::of("read", &segment.name))?;
            match step {
                Step::Frame(frame) if frame.record.sequence == self.next => {
                    self.take(&frame, bound.is_none())?;
                }
                Step::Frame(_) | Step::Bad | Step::End => {
                    cursor.seek(offset);
                    match self.judge(index, segment, &mut cursor, bound)? {
                        Judged::Over => return Ok(()),
                        Judged::GoOn(offset) => cursor.seek(offset),
                    }
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, frame: &Frame<'_>, newest: bool) -> Result<(), RecoverError> {
        let record = frame.record;
        if record.sequence > self.from && record.kind >= KIND_FIRST {
            (self.visit)(record)
                .map_err(|source| RecoverError::Visit { sequence: record.sequence, source })?;
        }
        if newest {
            self.unproven.push(frame);
        }
        self.last =
            Some(LastRecord { sequence: record.sequence, kind: record.kind, version: record.version });
        self.next = record.sequence.next();
        Ok(())
    }

    /// Decides what it means that record `next` is not where the cursor is.
    fn judge(
        &mut self,
        index: usize,
        segment: &Found,
        cursor: &mut Cursor,
        bound: Option<Sequence>,
    ) -> Result<Judged, RecoverError> {
        let missing = self.next;
        let beyond = bound.unwrap_or_else(|| missing.plus(records_at_most(segment.bytes)));
        let read = FileError::of("read", &segment.name);
        let proof = match bound {
            // It was synced before the successor was made.
            Some(_) => cursor.look_ahead(missing, beyond, |_| true),
            None => cursor.look_ahead(missing, beyond, |frame| frame.batch_first() > missing),
        };
        let ahead = proof.map_err(read)?;
        let loss = match (ahead, bound) {
            (Ahead::Nothing { written_bytes }, None) => {
                self.torn_bytes = written_bytes;
                return Ok(Judged::Over);
            }
            (Ahead::Nothing { written_bytes: 0 }, Some(_)) => {
                return self.ended_early(index, segment, missing, beyond);
            }
            (Ahead::Found { offset, sequence }, _) if offset == cursor.offset() => {
                RecoverError::Gap { file: segment.name.clone(), expected: missing, found: sequence }
            }
            (Ahead::Found { .. } | Ahead::Nothing { .. }, _) => RecoverError::Corrupt {
                file: segment.name.clone(),
                offset: cursor.offset(),
                sequence: missing,
            },
        };
        if !self.accepts(index) {
            return Err(loss);
        }
        // Not the proof but the first record after the damage, which may be of the damaged commit itself.
        let ahead =
            cursor.look_ahead(missing, beyond, |_| true).map_err(FileError::of("read", &segment.name))?;
        self.unproven.clear();
        let Ahead::Found { offset, sequence } = ahead else {
            self.lose(&segment.name, missing, beyond.before());
            self.next = beyond;
            return Ok(Judged::Over);
        };
        self.lose(&segment.name, missing, sequence.before());
        self.next = sequence;
        Ok(Judged::GoOn(offset))
    }

    /// A segment ends cleanly, but its successor begins later than it should.
    fn ended_early(
        &mut self,
        index: usize,
        segment: &Found,
        missing: Sequence,
        beyond: Sequence,
    ) -> Result<Judged, RecoverError> {
        if !self.accepts(index) {
            return Err(RecoverError::Gap {
                file: segment::file_name(beyond),
                expected: missing,
                found: beyond,
            });
        }
        self.lose(&segment.name, missing, beyond.before());
        self.next = beyond;
        Ok(Judged::Over)
    }

    /// A segment whose header is damaged, which is accepted.
    fn unreadable(&mut self, index: usize, segment: &Found, bound: Option<Sequence>) {
        let beyond = bound.unwrap_or_else(|| segment.first.plus(records_at_most(segment.bytes)));
        self.accepts(index);
        if segment.first < beyond {
            self.lose(&segment.name, segment.first, beyond.before());
        }
        self.next = beyond;
    }

    /// The beginning of the journal is missing.
    fn gap(&mut self, segment: &Found, expected: Sequence) -> Result<(), RecoverError> {
        if !self.accept_loss {
            return Err(RecoverError::Gap { file: segment.name.clone(), expected, found: segment.first });
        }
        self.lose(&segment.name, expected, segment.first.before());
        Ok(())
    }

    /// The journal must reach the position it is read from.
    fn behind(&mut self, found: &[Found]) -> Result<(), RecoverError> {
        let last = if found.is_empty() { Sequence::ZERO } else { self.next.before() };
        if last >= self.from {
            return Ok(());
        }
        let newest = found.len().checked_sub(1);
        let accepted = newest.map_or(self.accept_loss, |index| self.accepts(index));
        if !accepted {
            return Err(RecoverError::Behind { last, from: self.from });
        }
        let name = newest.and_then(|index| found.get(index)).map_or("", |segment| &segment.name);
        self.lose(name, last.next(), self.from);
        self.unproven.clear();
        self.next = self.from.next();
        Ok(())
    }

    /// Whether damage in this segment is accepted; if so it is set aside.
    fn accepts(&mut self, index: usize) -> bool {
        match self.set_aside.get_mut(index) {
            Some(set_aside) => {
                *set_aside |= self.accept_loss;
                *set_aside
            }
            None => false,
        }
    }

    fn lose(&mut self, file: &str, first: Sequence, last: Sequence) {
        if last > self.from {
            self.lost.push(Lost { file: file.to_owned(), first: first.max(self.from.next()), last });
        }
    }
}

/// How many records a file of this length can hold.
fn records_at_most(file_bytes: u64) -> u64 {
    file_bytes.saturating_sub(RECORDS_AT) / FRAME_BYTES_MIN as u64 + 1
}

/// The records of the last group commit found. Whether they were synced nobody knows: the page cache may show what
/// the device does not have. The first new segment repeats them.
#[derive(Debug, Default)]
pub(super) struct Unproven {
    first: Sequence,
    payloads: Vec<u8>,
    records: Vec<(u8, u8, usize)>,
}

impl Unproven {
    pub(super) fn first(&self) -> Option<Sequence> {
        (!self.records.is_empty()).then_some(self.first)
    }

    /// The records as frames of the segment `id`, with records of kind `replaced` turned into kind `by`.
    pub(super) fn framed(&self, id: &SegmentId, replaced: u8, by: u8) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.payloads.len() + self.records.len() * FRAME_BYTES_MIN);
        let mut at = 0;
        for (place, (kind, version, payload_bytes)) in self.records.iter().enumerate() {
            let record = Record {
                sequence: self.first.plus(place as u64),
                kind: if *kind == replaced { by } else { *kind },
                version: *version,
                payload: self.payloads.get(at..at + payload_bytes).unwrap_or_default(),
            };
            frame::encode(&mut bytes, id, record, place as u16);
            at += payload_bytes;
        }
        bytes
    }

    fn clear(&mut self) {
        self.payloads.clear();
        self.records.clear();
    }

    fn push(&mut self, frame: &Frame<'_>) {
        if frame.place == 0 {
            self.clear();
        }
        if self.records.is_empty() {
            self.first = frame.record.sequence;
        }
        self.payloads.extend_from_slice(frame.record.payload);
        let Record { kind, version, payload, .. } = frame.record;
        self.records.push((kind, version, payload.len()));
    }
}

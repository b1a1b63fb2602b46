//! Walks the frames of one segment, and finds the next one after damage.
//!
//! Place in the path: under recovery and the tail reader.
//!
//! Invariants: memory is bounded by one chunk and one record whatever the file holds; offsets only rise, except by
//! [`Cursor::seek`]; bytes read ahead are never trusted after [`Cursor::forget_ahead`].

use std::io;
use std::sync::Arc;

use crate::limits::JOURNAL_RECORD_BYTES_MAX;

use super::disk::DiskFile;
use super::frame::{self, Decoded, Frame, SegmentId};
use super::token::Sequence;

/// Bytes read from the file at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes compared with zeros at once.
const BLOCK_BYTES: usize = 256;

/// A position in a segment.
pub(super) struct Cursor {
    file: Arc<dyn DiskFile>,
    id: SegmentId,
    offset: u64,
    buffer: Vec<u8>,
    /// Offset in the file of the buffer's first byte.
    base: u64,
}

/// What lies at the position.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// A record; the position is now after it.
    Frame(Frame<'a>),
    /// Zeros or the end of the file.
    End,
    /// Bytes that are no record of this segment.
    Bad,
}

/// What lies after a place without a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    /// A wanted record.
    Found {
        /// Where it begins.
        offset: u64,
        /// Its sequence.
        sequence: Sequence,
    },
    /// None; this many bytes from the position on are not zero.
    Nothing {
        /// Distance from the position to the end of the last byte that is not zero.
        written_bytes: u64,
    },
}

impl Cursor {
    pub(super) fn new(file: Arc<dyn DiskFile>, id: SegmentId, offset: u64) -> Self {
        Self { file, id, offset, buffer: Vec::new(), base: offset }
    }

    /// Offset of the next frame.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes to another offset.
    pub(super) fn seek(&mut self, offset: u64) {
        self.offset = offset;
        self.forget_ahead();
    }

    /// Drops what was read ahead, because the file may have been written since.
    pub(super) fn forget_ahead(&mut self) {
        self.buffer.clear();
        self.base = self.offset;
    }

    /// Reads what lies here and moves past it if it is a record.
    pub(super) fn step(&mut self) -> io::Result<Step<'_>> {
        self.have(frame::FRAME_HEADER_BYTES)?;
        if let Decoded::Short(wanted) = frame::decode(self.ahead(), &self.id) {
            self.have(wanted)?;
        }
        let start = (self.offset - self.base) as usize;
        let ahead = self.buffer.get(start..).unwrap_or_default();
        match frame::decode(ahead, &self.id) {
            Decoded::Frame(frame) => {
                self.offset += frame.bytes as u64;
                Ok(Step::Frame(frame))
            }
            Decoded::End => Ok(Step::End),
            // A file that ends within a length of zeros was cut there; that is an end like any other.
            Decoded::Short(_) if ahead.iter().all(|byte| *byte == 0) => Ok(Step::End),
            Decoded::Short(_) | Decoded::Bad => Ok(Step::Bad),
        }
    }

    /// Looks for a frame at or after this position whose sequence lies in `after..before` (both exclusive) and which
    /// `wanted` accepts. The position stays.
    pub(super) fn look_ahead(
        &mut self,
        after: Sequence,
        before: Sequence,
        wanted: impl Fn(&Frame<'_>) -> bool,
    ) -> io::Result<Ahead> {
        let mut at = self.offset;
        let mut written_end = at;
        let mut window = vec![0; CHUNK_BYTES + JOURNAL_RECORD_BYTES_MAX];
        loop {
            let read = self.file.read_at(at, &mut window)?;
            let seen = window.get(..read).unwrap_or_default();
            let last = read < window.len();
            // Positions beyond this one may hold a frame that the window cuts off.
            let tried = if last { read } else { CHUNK_BYTES };
            let mut position = 0;
            while let Some(found) = next_written(seen, position).filter(|found| *found < tried) {
                let rest = seen.get(found..).unwrap_or_default();
                if frame::claimed_sequence(rest).is_some_and(|claim| after < claim && claim < before)
                    && let Decoded::Frame(frame) = frame::decode(rest, &self.id)
                    && wanted(&frame)
                {
                    return Ok(Ahead::Found { offset: at + found as u64, sequence: frame.record.sequence });
                }
                position = found + 1;
            }
            if let Some(written) = last_written(seen) {
                written_end = at + written as u64 + 1;
            }
            if last {
                let written_bytes = written_end - self.offset;
                return Ok(Ahead::Nothing { written_bytes });
            }
            at += tried as u64;
        }
    }

    fn ahead(&self) -> &[u8] {
        self.buffer.get((self.offset - self.base) as usize..).unwrap_or_default()
    }

    /// Reads on until `wanted` bytes lie ahead or the file ends.
    fn have(&mut self, wanted: usize) -> io::Result<()> {
        if self.ahead().len() >= wanted {
            return Ok(());
        }
        let consumed = ((self.offset - self.base) as usize).min(self.buffer.len());
        self.buffer.drain(..consumed);
        self.base = self.offset;
        let kept = self.buffer.len();
        self.buffer.resize(kept + CHUNK_BYTES.max(wanted), 0);
        let target = self.buffer.get_mut(kept..).unwrap_or_default();
        let outcome = self.file.read_at(self.base + kept as u64, target);
        self.buffer.truncate(kept + outcome.as_ref().map_or(0, |read| *read));
        outcome.map(drop)
    }
}

/// The first position at or after `from` where a frame may begin: one byte before a written byte at the earliest,
/// because the low byte of a length may be zero.
fn next_written(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let block = rest.get(..BLOCK_BYTES).unwrap_or(rest);
        if *block == [0; BLOCK_BYTES] {
            at += BLOCK_BYTES;
            continue;
        }
        match block.iter().position(|byte| *byte != 0) {
            Some(written) => return Some((at + written).saturating_sub(1).max(from)),
            None => at += block.len(),
        }
    }
}

fn last_written(bytes: &[u8]) -> Option<usize> {
    let mut end = bytes.len();
    while end >= BLOCK_BYTES && bytes.get(end - BLOCK_BYTES..end) == Some(&[0; BLOCK_BYTES][..]) {
        end -= BLOCK_BYTES;
    }
    bytes.get(..end)?.iter().rposition(|byte| *byte != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::disk::Disk;
    use crate::journal::memory::MemoryDisk;
    use crate::journal::token::Record;

    const ID: SegmentId = [1; 16];

    fn frame_of(sequence: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let record = Record { sequence: Sequence(sequence), kind: 9, version: 1, payload };
        frame::encode(&mut bytes, &ID, record, 0);
        bytes
    }

    fn cursor(contents: &[u8]) -> Cursor {
        let disk = MemoryDisk::new(0);
        disk.put("a", contents);
        Cursor::new(disk.open("a").unwrap(), ID, 0)
    }

    #[test]
    fn a_record_is_found_behind_damage_at_any_distance() {
        // A length whose low byte is zero, at distances around the chunk and block borders.
        let frame = frame_of(7, &[3; 240]);
        assert_eq!(frame[0], 0);
        let borders = [0, BLOCK_BYTES, CHUNK_BYTES, CHUNK_BYTES + JOURNAL_RECORD_BYTES_MAX];
        for border in borders {
            for distance in border.saturating_sub(3).max(1)..border + 3 {
                let mut contents = vec![0; distance];
                contents[0] = 0xff;
                contents.extend_from_slice(&frame);
                contents.extend_from_slice(&[0; 700]);
                let found = cursor(&contents).look_ahead(Sequence(6), Sequence(8), |_| true);
                let (offset, sequence) = (distance as u64, Sequence(7));
                assert_eq!(found.unwrap(), Ahead::Found { offset, sequence });
                let none = cursor(&contents).look_ahead(Sequence(7), Sequence(9), |_| true);
                let written_bytes = (distance + frame.len()) as u64;
                assert_eq!(none.unwrap(), Ahead::Nothing { written_bytes });
            }
        }
    }

    #[test]
    fn a_walk_meets_every_record_whatever_the_chunk_cuts() {
        let mut contents = Vec::new();
        for sequence in 0..200 {
            contents.extend_from_slice(&frame_of(sequence, &vec![9; 37 * sequence as usize]));
        }
        let mut cursor = cursor(&contents);
        for sequence in 0..200 {
            assert!(
                matches!(cursor.step().unwrap(), Step::Frame(frame) if frame.record.sequence.0 == sequence)
            );
        }
        assert!(matches!(cursor.step().unwrap(), Step::End));
    }
}

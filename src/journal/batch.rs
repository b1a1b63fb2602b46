//! A group commit in the making: framed records, ready to be written at once.
//!
//! Place in the path: filled by the commit thread from the lanes; its bytes go to the segment, then to the sink.
//!
//! Invariants: at most [`COMMIT_BATCH_RECORDS_MAX`] records and [`COMMIT_BATCH_BYTES_MAX`] bytes, so that it fits an
//! empty segment of any permitted length.

use crate::limits::{COMMIT_BATCH_BYTES_MAX, COMMIT_BATCH_RECORDS_MAX};

use super::frame::{self, FRAME_BYTES_MIN, SegmentId};
use super::token::{Entry, Record, Ticket};

/// Records of one commit.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
    pub(super) payload_bytes: usize,
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.payload_bytes = 0;
    }

    pub(super) fn has_room(&self, payload_bytes: usize) -> bool {
        self.entries.len() < COMMIT_BATCH_RECORDS_MAX
            && self.bytes.len() + payload_bytes + FRAME_BYTES_MIN <= COMMIT_BATCH_BYTES_MAX
    }

    pub(super) fn push(&mut self, id: &SegmentId, record: Record<'_>, ticket: Option<Ticket>) {
        let place = self.entries.len() as u16;
        let (start, end) = frame::encode(&mut self.bytes, id, record, place);
        self.payload_bytes += record.payload.len();
        self.entries.push(Entry {
            sequence: record.sequence,
            kind: record.kind,
            version: record.version,
            ticket,
            payload_start: start as u32,
            payload_end: end as u32,
        });
    }

    /// The same records at the same places, with the checksums of another segment.
    pub(super) fn reframe(&mut self, id: &SegmentId) {
        frame::reseal(&mut self.bytes, id, self.entries.iter().map(|entry| entry.payload_end as usize));
    }
}

//! The frame around one journal record: length, place, sequence, checksum.
//!
//! Place in the path: the commit thread writes frames, recovery and the tail reader take them apart.
//!
//! ```text
//!  0        4    5    6     8               16                      16+n     20+n
//!  +--------+----+----+-----+----------------+------------------------+--------+
//!  | length |kind|ver |place|    sequence    |    payload, n bytes    | crc32c |   little endian
//!  +--------+----+----+-----+----------------+------------------------+--------+
//!           |<------------------------- length = 16 + n -------------------->|
//!  |<--------- crc32c over segment id (16 bytes), then these -------->|
//! ```
//!
//! `length` counts everything after itself, so an empty payload has length 16 and the zero of an unwritten
//! segment can only mean "end of written data".
//!
//! `place` is the number of records before this one in the same group commit. Recovery needs it to tell a torn
//! batch from damage: a power cut keeps any subset of the sectors of the one batch that was not synced, so a bad
//! record may well be followed by good ones *of its own batch*; a good record of a *later* batch proves that the
//! bad one had been synced, for a batch is written only after the one before it is on disk.
//!
//! Invariants: [`decode`] is total; a frame is accepted only with the id of the segment it lies in, so neither a
//! stale record of another file nor payload bytes that imitate a frame ever pass.

use crate::limits::JOURNAL_RECORD_BYTES_MAX;

use super::token::{Record, Sequence};

/// Bytes before the payload.
pub(super) const FRAME_HEADER_BYTES: usize = 16;
/// Bytes a frame adds to its payload.
pub(super) const FRAME_BYTES_MIN: usize = FRAME_HEADER_BYTES + CRC_BYTES;
/// Largest payload, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = JOURNAL_RECORD_BYTES_MAX - FRAME_BYTES_MIN;
/// Kinds below this one belong to the journal itself.
pub const KIND_FIRST: u8 = 8;
/// The journal's own record at the end of a clean shutdown.
pub(super) const KIND_CLEAN_END: u8 = 0;
/// The journal's own record that takes the place of a clean end once the journal is in use again.
pub(super) const KIND_REOPENED: u8 = 1;

const LENGTH_BYTES: usize = 4;
const CRC_BYTES: usize = 4;

/// Random identity of a segment: part of every checksum in it.
pub(super) type SegmentId = [u8; 16];

/// A frame taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) record: Record<'a>,
    /// Records before this one in its group commit.
    pub(super) place: u16,
    /// Bytes of the whole frame.
    pub(super) bytes: usize,
}

impl Frame<'_> {
    /// The first sequence of the group commit this record was written in.
    pub(super) fn batch_first(&self) -> Sequence {
        Sequence(self.record.sequence.0.saturating_sub(u64::from(self.place)))
    }
}

/// What the bytes at a record's offset are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoded<'a> {
    /// A whole record of this segment.
    Frame(Frame<'a>),
    /// Nothing was written here.
    End,
    /// Something was written here, and it is not a whole record of this segment.
    Bad,
    /// This many bytes are needed to tell.
    Short(usize),
}

/// Appends one frame to `out`. The caller has checked that the payload is at most [`PAYLOAD_BYTES_MAX`].
/// Returns where the payload lies in `out`.
pub(super) fn encode(out: &mut Vec<u8>, id: &SegmentId, record: Record<'_>, place: u16) -> (usize, usize) {
    let start = out.len();
    let length = (record.payload.len() + FRAME_BYTES_MIN - LENGTH_BYTES) as u32;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[record.kind, record.version]);
    out.extend_from_slice(&place.to_le_bytes());
    out.extend_from_slice(&record.sequence.0.to_le_bytes());
    let payload_start = out.len();
    out.extend_from_slice(record.payload);
    let payload_end = out.len();
    let crc = checksum(id, out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_le_bytes());
    (payload_start, payload_end)
}

/// Gives the frames in `bytes`, whose payloads end at `payload_ends`, the checksums of another segment.
pub(super) fn reseal(bytes: &mut [u8], id: &SegmentId, payload_ends: impl Iterator<Item = usize>) {
    let mut start = 0;
    for end in payload_ends {
        let crc = checksum(id, bytes.get(start..end).unwrap_or_default());
        if let Some(place) = bytes.get_mut(end..end + CRC_BYTES) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        start = end + CRC_BYTES;
    }
}

/// Takes apart the frame at the beginning of `bytes`, of which more may exist.
pub(super) fn decode<'a>(bytes: &'a [u8], id: &SegmentId) -> Decoded<'a> {
    let Some((length, _)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Decoded::Short(LENGTH_BYTES);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 {
        return Decoded::End;
    }
    let total = length.saturating_add(LENGTH_BYTES);
    if !(FRAME_BYTES_MIN..=JOURNAL_RECORD_BYTES_MAX).contains(&total) {
        return Decoded::Bad;
    }
    let Some(frame) = bytes.get(..total) else {
        return Decoded::Short(total);
    };
    checked(frame, id).map_or(Decoded::Bad, Decoded::Frame)
}

fn checked<'a>(frame: &'a [u8], id: &SegmentId) -> Option<Frame<'a>> {
    let (covered, crc) = frame.split_last_chunk::<CRC_BYTES>()?;
    if checksum(id, covered) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (head, payload) = covered.split_first_chunk::<FRAME_HEADER_BYTES>()?;
    let [_, _, _, _, kind, version, place_low, place_high, sequence @ ..] = *head;
    Some(Frame {
        record: Record { sequence: Sequence(u64::from_le_bytes(sequence)), kind, version, payload },
        place: u16::from_le_bytes([place_low, place_high]),
        bytes: frame.len(),
    })
}

/// A cheap look at the sequence a frame at the beginning of `bytes` would have, before its checksum is computed.
/// `None` when no frame can begin here.
pub(super) fn claimed_sequence(bytes: &[u8]) -> Option<Sequence> {
    let (head, _) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>()?;
    let [l0, l1, l2, l3, _, _, _, _, sequence @ ..] = *head;
    let total = (u32::from_le_bytes([l0, l1, l2, l3]) as usize).saturating_add(LENGTH_BYTES);
    (FRAME_BYTES_MIN..=JOURNAL_RECORD_BYTES_MAX)
        .contains(&total)
        .then_some(Sequence(u64::from_le_bytes(sequence)))
}

fn checksum(id: &SegmentId, covered: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(id), covered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: SegmentId = [7; 16];

    fn framed(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let record = Record { sequence: Sequence(0x0102_0304_0506_0708), kind: 9, version: 2, payload };
        encode(&mut bytes, &ID, record, 3);
        bytes
    }

    #[test]
    fn a_frame_has_the_documented_layout() {
        let bytes = framed(b"abc");
        assert_eq!(bytes.len(), 3 + FRAME_BYTES_MIN);
        assert_eq!(bytes[..16], [19, 0, 0, 0, 9, 2, 3, 0, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(&bytes[16..19], b"abc");
    }

    #[test]
    fn a_frame_of_another_segment_never_passes() {
        assert_eq!(decode(&framed(b"abc"), &[8; 16]), Decoded::Bad);
    }

    #[test]
    fn an_empty_payload_is_not_the_end_of_the_data() {
        let bytes = framed(b"");
        assert!(matches!(decode(&bytes, &ID), Decoded::Frame(frame) if frame.record.payload.is_empty()));
        assert_eq!(decode(&[0; 20], &ID), Decoded::End);
    }

    #[test]
    fn every_single_bit_flip_is_noticed() {
        let bytes = framed(b"abc");
        for position in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[position / 8] ^= 1 << (position % 8);
            assert!(!matches!(decode(&flipped, &ID), Decoded::Frame(_)), "bit {position}");
        }
    }

    proptest! {
        #[test]
        fn any_payload_reads_back(payload in proptest::collection::vec(any::<u8>(), 0..600), place in any::<u16>()) {
            let record = Record { sequence: Sequence(5), kind: 8, version: 1, payload: &payload };
            let mut bytes = Vec::new();
            let (start, end) = encode(&mut bytes, &ID, record, place);
            prop_assert_eq!(&bytes[start..end], &payload[..]);
            prop_assert_eq!(claimed_sequence(&bytes), Some(Sequence(5)));
            let total = bytes.len();
            prop_assert_eq!(decode(&bytes, &ID), Decoded::Frame(Frame { record, place, bytes: total }));
            prop_assert!(matches!(decode(&bytes[..total - 1], &ID), Decoded::Short(_)));
        }

        #[test]
        fn arbitrary_bytes_are_never_a_record(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(!matches!(decode(&bytes, &ID), Decoded::Frame(_)));
        }
    }
}

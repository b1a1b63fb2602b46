//! A segment: its name, its header, and how one comes into being.
//!
//! Place in the path: the commit thread makes segments through here; recovery and the tail reader open them.
//!
//! ```text
//!  00000000000000000042.journal          the number is the first sequence it may hold
//!  +---------+---------+------+-------+------------+----------------+--------+-----------+------------------
//!  | LASTMJRN| version | node | epoch | segment id | first sequence | crc32c | zeros ... | records, zeros ..
//!  +---------+---------+------+-------+------------+----------------+--------+-----------+------------------
//!  0         8        10     12      16           32               40       44          4096
//! ```
//!
//! Little endian. The header's fields and its checksum keep these places in every format version, so that an older
//! program can tell a newer format from a damaged header.
//!
//! Invariants: a file has a `.journal` name only after its zeros, its header and the records it must begin with are
//! on the device, so a bad header is always damage, never a torn start. Once named, a segment supersedes every
//! record at or beyond its first sequence in the segments before it: that is how a failed batch is revoked.
//!
//! Not here: records, and when a new segment is due.

use std::io;
use std::sync::Arc;

use crate::limits::JOURNAL_HEADER_BYTES;

use super::disk::{Disk, DiskFile};
use super::frame::SegmentId;
use super::token::Sequence;

/// The format this program writes.
pub(super) const FORMAT_VERSION: u16 = 1;
/// Where the first record lies.
pub(super) const RECORDS_AT: u64 = JOURNAL_HEADER_BYTES as u64;
/// The segment made ahead, before its first sequence is known.
pub(super) const SPARE_NAME: &str = "next.spare";

const MAGIC: [u8; 8] = *b"LASTMJRN";
/// Bytes of the header that mean something.
pub(super) const HEADER_USED_BYTES: usize = 44;
const HEADER_COVERED_BYTES: usize = 40;
/// Zeros written in one call.
const FILL_CHUNK_BYTES: usize = 1024 * 1024;

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) node: u16,
    pub(super) epoch: u32,
    pub(super) id: SegmentId,
    pub(super) first: Sequence,
}

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// Too short, or not what a journal begins with, or its checksum is wrong.
    Damaged(&'static str),
    /// Undamaged, in a format this program does not know.
    Newer(u16),
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_USED_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_USED_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.node.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&self.first.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let mut header = [0; HEADER_USED_BYTES];
        header.copy_from_slice(&bytes);
        header
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let Some((covered, rest)) = bytes.split_first_chunk::<HEADER_COVERED_BYTES>() else {
            return Err(HeaderFault::Damaged("the file is shorter than a header"));
        };
        let Some((crc, _)) = rest.split_first_chunk::<4>() else {
            return Err(HeaderFault::Damaged("the file is shorter than a header"));
        };
        if !covered.starts_with(&MAGIC) {
            return Err(HeaderFault::Damaged("it does not begin like a journal"));
        }
        if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
            return Err(HeaderFault::Damaged("the header's checksum is wrong"));
        }
        let [_, _, _, _, _, _, _, _, v0, v1, fields @ ..] = *covered;
        match u16::from_le_bytes([v0, v1]) {
            0 => Err(HeaderFault::Damaged("format version 0 does not exist")),
            1 => Ok(Self::fields_of_version_1(fields)),
            newer => Err(HeaderFault::Newer(newer)),
        }
    }

    fn fields_of_version_1(fields: [u8; 30]) -> Self {
        let [n0, n1, e0, e1, e2, e3, rest @ ..] = fields;
        let mut id = SegmentId::default();
        let (id_bytes, first_bytes) = rest.split_at(id.len());
        id.copy_from_slice(id_bytes);
        let mut first = [0; 8];
        first.copy_from_slice(first_bytes);
        Self {
            node: u16::from_le_bytes([n0, n1]),
            epoch: u32::from_le_bytes([e0, e1, e2, e3]),
            id,
            first: Sequence(u64::from_le_bytes(first)),
        }
    }
}

/// The name of the segment that begins with `first`.
pub(super) fn file_name(first: Sequence) -> String {
    format!("{:020}.journal", first.0)
}

/// The name of a damaged segment after its loss was accepted: no longer written about as an error, still read for
/// the records before and after the damage.
pub(super) fn set_aside_name(name: &str) -> String {
    format!("{name}.corrupt")
}

/// The first sequence in a segment's name, and whether it was set aside. `None` for files that are no segments.
pub(super) fn parse_name(name: &str) -> Option<(Sequence, bool)> {
    let (name, set_aside) = match name.strip_suffix(".corrupt") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let digits = name.strip_suffix(".journal")?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((Sequence(digits.parse().ok()?), set_aside))
}

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {file}: {source}")]
pub struct FileError {
    /// What was tried.
    pub operation: &'static str,
    /// The file, within the journal directory.
    pub file: String,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl FileError {
    pub(super) fn of(operation: &'static str, file: &str) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self { operation, file, source }
    }
}

/// Makes the file of a segment to come, `bytes` long, all zeros and all on the device, so that commits overwrite
/// allocated blocks and need no metadata sync. A whole one left by an earlier process is used; on failure nothing is
/// left behind.
///
/// Each piece is synced before the next is written: one sync at the end would put tens of megabytes in front of a
/// commit that happens to come then.
pub(super) fn make_spare(disk: &dyn Disk, bytes: u64) -> Result<Arc<dyn DiskFile>, FileError> {
    if let Some(left) = left_spare(disk, bytes) {
        return Ok(left);
    }
    match disk.remove(SPARE_NAME) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(FileError::of("remove", SPARE_NAME)(error)),
    }
    let file = disk.create(SPARE_NAME).map_err(FileError::of("make", SPARE_NAME))?;
    if let Err(error) = zero_fill(file.as_ref(), bytes) {
        // What it took is given back, for the disk may be full; the next attempt removes a leftover.
        let _ = disk.remove(SPARE_NAME);
        return Err(FileError::of("fill ahead", SPARE_NAME)(error));
    }
    Ok(file)
}

/// The spare of an earlier process, if it is whole. Reading it is much faster than filling another, and a start has
/// no time to lose. Anything odd about it only means that it is made anew.
fn left_spare(disk: &dyn Disk, bytes: u64) -> Option<Arc<dyn DiskFile>> {
    let file = disk.reopen(SPARE_NAME).ok()?;
    if file.bytes().ok()? != bytes {
        return None;
    }
    let zeros = vec![0; FILL_CHUNK_BYTES];
    let mut chunk = vec![0; FILL_CHUNK_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let read = file.read_at(offset, &mut chunk).ok()?;
        if read == 0 || chunk.get(..read) != zeros.get(..read) {
            return None;
        }
        offset += read as u64;
    }
    file.sync_data().ok()?;
    Some(file)
}

fn zero_fill(file: &dyn DiskFile, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; FILL_CHUNK_BYTES.min(bytes as usize)];
    let mut offset = 0;
    while offset < bytes {
        let wanted = (bytes - offset).min(zeros.len() as u64);
        let piece = zeros.get(..wanted as usize).unwrap_or(&zeros);
        file.write_at(offset, piece)?;
        file.sync_data()?;
        offset += wanted;
    }
    Ok(())
}

/// Turns the spare into the segment `header` describes, beginning with the frames in `initial`. When this returns,
/// the segment and its name are on the device; when it fails, the name may or may not exist, and the caller
/// replaces it with the next attempt, which has the same first sequence.
pub(super) fn publish(
    disk: &dyn Disk,
    spare: &dyn DiskFile,
    header: &Header,
    initial: &[u8],
) -> Result<String, FileError> {
    let name = file_name(header.first);
    spare.write_at(0, &header.encode()).map_err(FileError::of("write the header of", &name))?;
    if !initial.is_empty() {
        spare.write_at(RECORDS_AT, initial).map_err(FileError::of("write", &name))?;
    }
    spare.sync_data().map_err(FileError::of("sync the header of", &name))?;
    disk.rename(SPARE_NAME, &name).map_err(FileError::of("name", &name))?;
    disk.sync_dir().map_err(FileError::of("sync the directory of", &name))?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::memory::{Fault, MemoryDisk, Operation};

    fn header() -> Header {
        Header { node: 3, epoch: 9, id: [5; 16], first: Sequence(42) }
    }

    #[test]
    fn a_header_reads_back_and_every_bit_flip_in_it_is_noticed() {
        let bytes = header().encode();
        assert_eq!(Header::decode(&bytes), Ok(header()));
        for position in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[position / 8] ^= 1 << (position % 8);
            assert!(matches!(Header::decode(&flipped), Err(HeaderFault::Damaged(_))), "bit {position}");
        }
        assert!(Header::decode(&bytes[..43]).is_err());
    }

    #[test]
    fn only_an_undamaged_header_is_called_newer() {
        let mut bytes = header().encode();
        bytes[8] = 2;
        assert!(matches!(Header::decode(&bytes), Err(HeaderFault::Damaged(_))));
        let crc = crc32c::crc32c(&bytes[..40]);
        bytes[40..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&bytes), Err(HeaderFault::Newer(2)));
    }

    #[test]
    fn a_whole_spare_is_used_again_and_any_other_is_made_anew() {
        let disk = MemoryDisk::new(0);
        disk.fail(Fault { operation: Operation::Create, after: 1, times: 99, error: io::ErrorKind::Other });
        make_spare(&disk, 3000).unwrap();
        let again = make_spare(&disk, 3000).unwrap();
        again.write_at(2999, &[1]).unwrap();
        assert!(make_spare(&disk, 3000).is_err(), "it is not all zeros");
        disk.heal();
        make_spare(&disk, 2000).unwrap();
        let other = make_spare(&disk, 3000).unwrap();
        assert_eq!(other.bytes().unwrap(), 3000);
        assert_eq!(disk.contents(SPARE_NAME), Some(vec![0; 3000]));
    }

    #[test]
    fn names_carry_the_first_sequence() {
        let name = file_name(Sequence(42));
        assert_eq!(name, "00000000000000000042.journal");
        assert_eq!(parse_name(&name), Some((Sequence(42), false)));
        assert_eq!(parse_name(&set_aside_name(&name)), Some((Sequence(42), true)));
        for other in [
            "42.journal",
            "journal.lock",
            SPARE_NAME,
            "99999999999999999999.journal",
            "+0000000000000000042.journal",
        ] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}

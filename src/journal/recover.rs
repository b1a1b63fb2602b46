//! Reads the journal back after a stop, and tells a torn end from damage.
//!
//! Place in the path: at start, before any worker: the visitor applies each record to the ledger.
//!
//! What is found, and what it means:
//! - zeros, or bytes that are no record, in the newest segment with no record of a *later group commit* behind
//!   them: the end of the data, perhaps torn by a power cut. Records of the same commit behind them are part of
//!   the tear, for the sectors of one unsynced write survive independently;
//! - the same with a record of a later commit behind, or in a segment that is not the newest before its successor's
//!   first sequence: damage, refused, naming file, offset and sequence. With `accept_loss` the file is set aside
//!   under another name, is read on before and behind the damage, now and later, and the lost range is reported;
//! - anything at or beyond the first sequence of a newer segment: superseded, a commit that failed or the part that
//!   a restart repeated; ignored, torn or not.
//!
//! Invariants: records are visited in rising order without an unreported gap; memory is bounded by one chunk and one
//! commit; nothing is written, and files are renamed only with `accept_loss`, after all was read.
//!
//! Not here: which records matter to whom; the journal's own records are not visited.

use std::fmt;
use std::sync::Arc;

use super::Config;
use super::disk::{DirectoryLock, Disk, DiskFile, LockError};
use super::frame::{KIND_CLEAN_END, SegmentId};
use super::segment::{self, FileError, HEADER_USED_BYTES, Header, HeaderFault};
use super::shelf::Shelved;
use super::token::{Record, Sequence};
use super::walk::{Unproven, Walk};

/// What a visitor may fail with; recovery stops there.
pub type VisitError = Box<dyn std::error::Error + Send + Sync>;

/// Why the journal cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// Another process has the directory, or it cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file operation failed.
    #[error("the journal cannot be read")]
    File(#[from] FileError),
    /// The file has no usable header, although files get their names only after their headers are on disk.
    #[error("journal file {file}: {what}; its records are lost: restore it, or start once with accept_loss")]
    HeaderDamaged {
        /// The file.
        file: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The file is empty, although files get their names only after they are filled.
    #[error("journal file {file} is empty; its records are lost: restore it, or start once with accept_loss")]
    EmptyFile {
        /// The file.
        file: String,
    },
    /// The file has a format this program does not know.
    #[error("journal file {file} has format {found}: it was written by a newer lastmile; start that version")]
    NewerVersion {
        /// The file.
        file: String,
        /// Its format version.
        found: u16,
    },
    /// The file was written by another node.
    #[error(
        "journal file {file} belongs to node {found}, this is node {expected}: check node id and state directory"
    )]
    WrongNode {
        /// The file.
        file: String,
        /// The node that wrote it.
        found: u16,
        /// This node.
        expected: u16,
    },
    /// A later file has an older epoch: files of two installations were mixed.
    #[error(
        "journal file {file} has epoch {found}, a file before it {before}: files of two journals are mixed"
    )]
    EpochBack {
        /// The file.
        file: String,
        /// Its epoch.
        found: u32,
        /// The epoch before.
        before: u32,
    },
    /// A record that had been synced does not read back.
    #[error(
        "journal file {file} is damaged at offset {offset}: record {sequence} does not read back; restore the \
         file, or start once with accept_loss"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// Where the record should be, in bytes.
        offset: u64,
        /// The record's sequence.
        sequence: Sequence,
    },
    /// Records are missing before a file or a record.
    #[error(
        "journal file {file} goes on with record {found}, but record {expected} was expected: restore the missing \
         file, or start once with accept_loss"
    )]
    Gap {
        /// The file that begins, or goes on, too late.
        file: String,
        /// The first missing sequence.
        expected: Sequence,
        /// The first sequence after the gap.
        found: Sequence,
    },
    /// The journal ends before the position it shall be read from: it is an older copy, or was removed.
    #[error(
        "the journal ends at record {last}, but record {from} was taken from it before: restore the journal, or \
         start once with accept_loss"
    )]
    Behind {
        /// The newest record found; zero when there is no file.
        last: Sequence,
        /// The position asked for.
        from: Sequence,
    },
    /// The visitor could not take a record.
    #[error("journal record {sequence} cannot be applied")]
    Visit {
        /// The record.
        sequence: Sequence,
        /// What the visitor said.
        #[source]
        source: VisitError,
    },
}

/// A range of records that is gone, its loss accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The file they were in, or after which they are missing, under the name it had.
    pub file: String,
    /// First lost sequence.
    pub first: Sequence,
    /// Last sequence that may be lost. When the damaged file is the newest this is the most it could hold, and new
    /// records begin after it, so that no sequence is used twice.
    pub last: Sequence,
}

/// The newest record found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRecord {
    /// Its sequence.
    pub sequence: Sequence,
    /// Its kind; 0..=7 are the journal's own.
    pub kind: u8,
    /// Version of its payload.
    pub version: u8,
}

/// A journal that was read back and can be started.
///
/// The records of the last commit found were visited although nobody knows whether they were synced. The started
/// journal first repeats them in a new segment; until [`super::Journal::durable`] reaches them (at once, unless no
/// segment can be made) another power cut may take them away, and nothing should be promised on their strength.
pub struct Recovered {
    /// Sequence the next record gets.
    pub next: Sequence,
    /// Whether the journal ended by a clean shutdown (or never began), so that not even a record that nobody waited
    /// for is missing.
    pub clean: bool,
    /// The newest record, the journal's own included.
    pub last: Option<LastRecord>,
    /// Bytes of a torn commit at the end, which were never acknowledged.
    pub torn_bytes: u64,
    /// Epoch of the newest segment.
    pub newest_epoch: Option<u32>,
    /// What is gone, in order; empty without `accept_loss`.
    pub lost: Vec<Lost>,
    pub(super) segments: Vec<Shelved>,
    pub(super) unproven: Unproven,
    pub(super) lock: Box<dyn DirectoryLock>,
}

impl fmt::Debug for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovered")
            .field("next", &self.next)
            .field("clean", &self.clean)
            .field("last", &self.last)
            .field("torn_bytes", &self.torn_bytes)
            .field("newest_epoch", &self.newest_epoch)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

/// Takes the directory and gives `visit` every record after `from`, in order.
pub fn recover(
    disk: &dyn Disk,
    config: &Config,
    from: Sequence,
    visit: &mut dyn FnMut(Record<'_>) -> Result<(), VisitError>,
) -> Result<Recovered, RecoverError> {
    let lock = disk.lock()?;
    let found = open_all(disk, config)?;
    let mut walk = Walk {
        accept_loss: config.accept_loss,
        from,
        visit,
        next: from.next(),
        last: None,
        torn_bytes: 0,
        unproven: Unproven::default(),
        lost: Vec::new(),
        set_aside: found.iter().map(|segment| segment.set_aside || segment.id.is_none()).collect(),
    };
    walk.all(&found)?;
    let newest_epoch = found.iter().rev().find_map(|segment| segment.epoch);
    let clean = match (walk.last, found.last()) {
        (_, None) => walk.lost.is_empty(),
        (Some(last), Some(newest)) => {
            last.kind == KIND_CLEAN_END
                && last.sequence >= newest.first
                && last.sequence.next() == walk.next
                && walk.torn_bytes == 0
        }
        (None, Some(_)) => false,
    };
    let set_aside = walk.set_aside;
    let mut recovered = Recovered {
        next: walk.next,
        clean,
        last: walk.last,
        torn_bytes: walk.torn_bytes,
        newest_epoch,
        lost: walk.lost,
        segments: Vec::new(),
        unproven: walk.unproven,
        lock,
    };
    recovered.segments = shelve(disk, found, &set_aside)?;
    Ok(recovered)
}

/// A segment file before it is read.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) first: Sequence,
    pub(super) set_aside: bool,
    pub(super) bytes: u64,
    /// `None` when the header is damaged and that is accepted.
    pub(super) id: Option<SegmentId>,
    pub(super) epoch: Option<u32>,
    pub(super) file: Arc<dyn DiskFile>,
}

/// Opens every segment and checks its header.
fn open_all(disk: &dyn Disk, config: &Config) -> Result<Vec<Found>, RecoverError> {
    let names = disk.list().map_err(FileError::of("list", "the directory"))?;
    let mut named: Vec<(Sequence, bool, String)> = names
        .into_iter()
        .filter_map(|name| segment::parse_name(&name).map(|(first, set_aside)| (first, !set_aside, name)))
        .collect();
    named.sort();
    let mut found: Vec<Found> = Vec::with_capacity(named.len());
    let mut newest_epoch = 0;
    for (first, in_use, name) in named {
        let segment = open_one(disk, config, first, !in_use, name)?;
        if let Some(epoch) = segment.epoch {
            if epoch < newest_epoch {
                return Err(RecoverError::EpochBack {
                    file: segment.name,
                    found: epoch,
                    before: newest_epoch,
                });
            }
            newest_epoch = epoch;
        }
        found.push(segment);
    }
    Ok(found)
}

fn open_one(
    disk: &dyn Disk,
    config: &Config,
    first: Sequence,
    set_aside: bool,
    name: String,
) -> Result<Found, RecoverError> {
    let file = disk.open(&name).map_err(FileError::of("open", &name))?;
    let bytes = file.bytes().map_err(FileError::of("measure", &name))?;
    let mut start = [0; HEADER_USED_BYTES];
    let read = file.read_at(0, &mut start).map_err(FileError::of("read", &name))?;
    let tolerated = set_aside || config.accept_loss;
    let header = match Header::decode(start.get(..read).unwrap_or_default()) {
        Ok(header) if header.node != config.node => {
            return Err(RecoverError::WrongNode { file: name, found: header.node, expected: config.node });
        }
        Ok(header) if header.first == first => Some(header),
        Err(HeaderFault::Newer(found)) => return Err(RecoverError::NewerVersion { file: name, found }),
        Ok(_) | Err(HeaderFault::Damaged(_)) if tolerated => None,
        Err(HeaderFault::Damaged(_)) if bytes == 0 => return Err(RecoverError::EmptyFile { file: name }),
        Err(HeaderFault::Damaged(what)) => return Err(RecoverError::HeaderDamaged { file: name, what }),
        Ok(_) => {
            let what = "it was given another name than its first sequence";
            return Err(RecoverError::HeaderDamaged { file: name, what });
        }
    };
    Ok(Found {
        name,
        first,
        set_aside,
        bytes,
        id: header.map(|header| header.id),
        epoch: header.map(|header| header.epoch),
        file,
    })
}

/// Renames what is newly set aside, and makes the shelf.
fn shelve(disk: &dyn Disk, found: Vec<Found>, set_aside: &[bool]) -> Result<Vec<Shelved>, RecoverError> {
    let mut renamed = false;
    let mut shelf = Vec::with_capacity(found.len());
    for (segment, set_aside) in found.into_iter().zip(set_aside) {
        let mut name = segment.name;
        if *set_aside && !segment.set_aside {
            let aside = segment::set_aside_name(&name);
            disk.rename(&name, &aside).map_err(FileError::of("set aside", &name))?;
            name = aside;
            renamed = true;
        }
        shelf.push(Shelved {
            first: segment.first,
            name,
            id: segment.id,
            bytes: segment.bytes,
            set_aside: *set_aside,
        });
    }
    if renamed {
        disk.sync_dir().map_err(FileError::of("sync", "the directory"))?;
    }
    Ok(shelf)
}

//! What the journal hands out: sequences, tickets, and the proof that a record is on disk.
//!
//! Place in the path: between *allocate* and *encode*. A worker submits a record with a [`Ticket`]; after the
//! group commit the [`Sink`] receives the record back in sequence order, and only from it a [`Durable`] can be
//! taken. Whatever sends a reply that grants something asks for a `Durable` by value, so a reply before the
//! commit does not compile (RFC 2866 §4.1 and RFC 2131 §3.1 ask for that order).
//!
//! Invariants: a `Durable` is made by the journal alone, from a record whose batch was written and synced; each
//! sequence is handed to the sink at most once and in rising order.
//!
//! Not here: files, threads and what a payload means.

use std::fmt;

/// Position of a record in this node's journal. The first record has sequence 1; 0 is "before everything".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before the first record.
    pub const ZERO: Self = Self(0);

    /// The sequence after this one, saturating.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The sequence before this one; zero stays zero.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// This sequence moved `records` later, saturating.
    #[must_use]
    pub const fn plus(self, records: u64) -> Self {
        Self(self.0.saturating_add(records))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The submitter's own number for a record it waits for; opaque to the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// Proof that one record is on disk: written and synced in a segment whose directory entry is synced too.
///
/// What replies asks for one by value:
///
/// ```
/// use lastmile::journal::{Committed, Durable, Record, Sequence};
///
/// fn reply(proof: Durable) -> Sequence {
///     proof.sequence()
/// }
/// ```
///
/// It cannot be made outside the journal, neither as a literal nor by a constructor, and it is not `Clone`:
///
/// ```compile_fail,E0451
/// use lastmile::journal::{Durable, Sequence};
/// let forged = Durable { sequence: Sequence(1) };
/// ```
///
/// ```compile_fail,E0624
/// use lastmile::journal::{Durable, Sequence};
/// let forged = Durable::of_committed(Sequence(1));
/// ```
///
/// ```compile_fail,E0599
/// fn twice(one: lastmile::journal::Durable) -> (lastmile::journal::Durable, lastmile::journal::Durable) {
///     (one.clone(), one)
/// }
/// ```
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a durable record that nothing replies to was committed for nobody"]
pub struct Durable {
    sequence: Sequence,
}

impl Durable {
    const fn of_committed(sequence: Sequence) -> Self {
        Self { sequence }
    }

    /// The sequence of the record that is on disk.
    pub const fn sequence(&self) -> Sequence {
        self.sequence
    }
}

/// One record as recovery and the tail reader give it out; the payload's meaning depends on kind and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Position in the journal.
    pub sequence: Sequence,
    /// What the record is; 0..=7 belong to the journal itself and are never given out.
    pub kind: u8,
    /// Version of the payload's encoding.
    pub version: u8,
    /// The payload as submitted.
    pub payload: &'a [u8],
}

/// One record of a committed batch.
///
/// Only the journal makes one; copying its contents into a literal does not compile, else a [`Durable`] could be
/// forged through it:
///
/// ```compile_fail,E0451
/// use lastmile::journal::{Committed, Record, Sequence};
/// let record = Record { sequence: Sequence(1), kind: 8, version: 1, payload: &[] };
/// let forged = Committed { record, ticket: None };
/// ```
#[derive(Debug)]
pub struct Committed<'a> {
    record: Record<'a>,
    ticket: Option<Ticket>,
}

impl<'a> Committed<'a> {
    /// The record itself.
    pub const fn record(&self) -> Record<'a> {
        self.record
    }

    /// Position in the journal.
    pub const fn sequence(&self) -> Sequence {
        self.record.sequence
    }

    /// What the record is.
    pub const fn kind(&self) -> u8 {
        self.record.kind
    }

    /// Version of the payload's encoding.
    pub const fn version(&self) -> u8 {
        self.record.version
    }

    /// The payload as submitted.
    pub const fn payload(&self) -> &'a [u8] {
        self.record.payload
    }

    /// The submitter's number, when somebody waits for this record.
    pub const fn ticket(&self) -> Option<Ticket> {
        self.ticket
    }

    /// Takes the proof that this record is on disk.
    pub const fn durable(&self) -> Durable {
        Durable::of_committed(self.record.sequence)
    }
}

/// Where one record of an assembled batch lies in the batch's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) sequence: Sequence,
    pub(super) kind: u8,
    pub(super) version: u8,
    pub(super) ticket: Option<Ticket>,
    pub(super) payload_start: u32,
    pub(super) payload_end: u32,
}

/// A batch that is on disk, in sequence order.
#[derive(Debug)]
pub struct CommittedBatch<'a> {
    bytes: &'a [u8],
    entries: &'a [Entry],
}

impl<'a> CommittedBatch<'a> {
    pub(super) const fn of_synced(bytes: &'a [u8], entries: &'a [Entry]) -> Self {
        Self { bytes, entries }
    }

    /// Number of records; never zero.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the batch holds no record; the journal hands out none such.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The sequence of the newest record.
    pub fn last(&self) -> Sequence {
        self.entries.last().map_or(Sequence::ZERO, |entry| entry.sequence)
    }

    /// The records in sequence order.
    pub fn iter(&self) -> CommittedIter<'a> {
        CommittedIter { bytes: self.bytes, entries: self.entries.iter() }
    }
}

impl<'a> IntoIterator for &CommittedBatch<'a> {
    type Item = Committed<'a>;
    type IntoIter = CommittedIter<'a>;

    fn into_iter(self) -> CommittedIter<'a> {
        self.iter()
    }
}

/// Iterator over a [`CommittedBatch`].
#[derive(Debug)]
pub struct CommittedIter<'a> {
    bytes: &'a [u8],
    entries: std::slice::Iter<'a, Entry>,
}

impl<'a> Iterator for CommittedIter<'a> {
    type Item = Committed<'a>;

    fn next(&mut self) -> Option<Committed<'a>> {
        let entry = self.entries.next()?;
        let payload =
            self.bytes.get(entry.payload_start as usize..entry.payload_end as usize).unwrap_or_default();
        Some(Committed {
            record: Record { sequence: entry.sequence, kind: entry.kind, version: entry.version, payload },
            ticket: entry.ticket,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl ExactSizeIterator for CommittedIter<'_> {}

/// Why the journal takes no records at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Unavailable {
    /// All permitted segments are on disk and none is released; the applier is behind.
    BacklogFull = 1,
    /// The file system has no space for a new segment.
    DiskFull = 2,
    /// The file system is mounted read only.
    ReadOnly = 3,
    /// The disk returned another error.
    DiskError = 4,
    /// The journal is shut down or stopped.
    ShutDown = 5,
}

impl Unavailable {
    /// The name used in discard reasons, events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BacklogFull => "journal-backlog-full",
            Self::DiskFull => "journal-disk-full",
            Self::ReadOnly => "journal-read-only",
            Self::DiskError => "journal-disk-error",
            Self::ShutDown => "journal-shut-down",
        }
    }

    pub(super) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::BacklogFull),
            2 => Some(Self::DiskFull),
            3 => Some(Self::ReadOnly),
            4 => Some(Self::DiskError),
            5 => Some(Self::ShutDown),
            _ => None,
        }
    }

    pub(super) fn of_error(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull,
            std::io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::DiskError,
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why records that were waited for are not committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal did not commit ({reason}): {detail}")]
pub struct CommitFailure {
    /// What kind of failure it was.
    pub reason: Unavailable,
    /// What failed, on which file, and the system's words for it.
    pub detail: String,
    /// Records of the same failure that nobody waited for and that are therefore dropped without a ticket.
    pub unwaited: usize,
    /// Whether the records may still come back: they were (partly) written, and no newer segment could be made to
    /// supersede them. They come back only if the daemon ends before it commits anything else, never beside a
    /// record committed later.
    pub in_doubt: bool,
}

/// Where the commit thread delivers outcomes. It runs on that thread: what it does delays the next commit, and a
/// panic in it ends the process, because the ledger would no longer be what the journal says.
pub trait Sink: Send {
    /// A batch is on disk; its records come in sequence order, right after those of the batch before.
    fn committed(&mut self, batch: &CommittedBatch<'_>);

    /// These records are not committed and nothing of their batch was delivered.
    fn failed(&mut self, tickets: &[Ticket], why: &CommitFailure);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_its_code() {
        for reason in [
            Unavailable::BacklogFull,
            Unavailable::DiskFull,
            Unavailable::ReadOnly,
            Unavailable::DiskError,
            Unavailable::ShutDown,
        ] {
            assert_eq!(Unavailable::from_code(reason as u8), Some(reason));
        }
        assert_eq!(Unavailable::from_code(0), None);
    }
}

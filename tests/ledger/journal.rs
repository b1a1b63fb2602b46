//! A journal as the ledger sees it: a queue that commits in order, fails, or is cut off by a crash; and recovery from it.

use std::collections::VecDeque;
use std::sync::Arc;

use lastmile::ids::PoolId;
use lastmile::journal::record::{Record, StartRecord};
use lastmile::ledger::Ledger;
use lastmile::snapshot::types::Pool;
use lastmile::time::Stamp;

/// Records submitted together.
#[derive(Clone, Debug)]
pub struct Submission<P> {
    pub records: Vec<Record>,
    /// Whether somebody is told of the outcome.
    pub waited: bool,
    /// When it was decided.
    pub at: Stamp,
    /// What the waiting side does then.
    pub then: P,
}

#[derive(Clone, Debug)]
pub struct Journal<P = ()> {
    pub committed: Vec<(u64, Record)>,
    pub queue: VecDeque<Submission<P>>,
}

impl<P> Default for Journal<P> {
    fn default() -> Self {
        Self { committed: Vec::new(), queue: VecDeque::new() }
    }
}

impl<P> Journal<P> {
    pub fn last(&self) -> u64 {
        self.committed.last().map_or(0, |(sequence, _)| *sequence)
    }

    /// Commits one record and lets it take effect, twice: the second time must change nothing.
    pub fn commit(&mut self, ledger: &Ledger, record: &Record) {
        let mut payload = Vec::new();
        record.encode(&mut payload);
        let record = Record::decode(record.kind(), record.version(), &payload).unwrap();
        let sequence = self.last() + 1;
        ledger.apply(sequence, &record);
        ledger.apply(sequence, &record);
        self.committed.push((sequence, record));
    }

    pub fn submit(&mut self, submission: Submission<P>) {
        if !submission.records.is_empty() {
            self.queue.push_back(submission);
        }
    }

    /// A ledger made from what is durable.
    pub fn rebuilt(&self, pools: &[Arc<Pool>], checkpoint: Option<&[u8]>) -> Ledger {
        self.rebuilt_with(pools, checkpoint, &|_, _| true)
    }

    /// The same for a node that owns some blocks of pools.
    pub fn rebuilt_with(
        &self,
        pools: &[Arc<Pool>],
        checkpoint: Option<&[u8]>,
        owns: &dyn Fn(PoolId, u32) -> bool,
    ) -> Ledger {
        let ledger = Ledger::new();
        ledger.set_pools(pools.iter().map(AsRef::as_ref), owns);
        let from = checkpoint.map_or(0, |bytes| ledger.load_checkpoint(bytes).unwrap());
        for (sequence, record) in self.committed.iter().filter(|(sequence, _)| *sequence > from) {
            ledger.apply(*sequence, record);
        }
        ledger
    }

    /// The first record of a new process.
    pub fn start(&mut self, ledger: &Ledger, at: Stamp, hold_until: Stamp) {
        self.commit(ledger, &Record::Start(StartRecord { at, hold_until }));
    }
}

/// Cuts a checkpoint into its sections, each with its length and checksum.
fn sections(bytes: &[u8]) -> Vec<&[u8]> {
    let mut sections = Vec::new();
    let mut rest = &bytes[10..];
    while let Some(len) = rest.first_chunk::<4>() {
        let (section, tail) = rest.split_at(8 + u32::from_le_bytes(*len) as usize);
        sections.push(section);
        rest = tail;
    }
    sections
}

/// The checkpoint as version 1 wrote it: without the stamps at the end of its last section.
pub fn as_version_1(bytes: &[u8], newest: Stamp) -> Vec<u8> {
    let mut older = bytes[..8].to_vec();
    older.extend_from_slice(&1_u16.to_le_bytes());
    let sections = sections(bytes);
    let (tail, shards) = sections.split_last().unwrap();
    older.extend(shards.iter().flat_map(|section| section.iter()));
    let stamp_bytes = (1..10).find(|length| newest.0 >> (7 * length) == 0).unwrap();
    // Before it the hold of Accepts, which is zero.
    let body = &tail[8..tail.len() - stamp_bytes - 1];
    older.extend_from_slice(&(body.len() as u32).to_le_bytes());
    older.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    older.extend_from_slice(body);
    older
}

/// A checkpoint whose first shards were written at one moment, and the others later: what a slow checkpoint looks like.
pub fn skewed(early: &[u8], late: &[u8], shards: usize) -> Vec<u8> {
    let mut bytes = early[..10].to_vec();
    let (early, late) = (sections(early), sections(late));
    assert_eq!((early.len(), late.len()), (257, 257));
    for (index, section) in early.into_iter().take(shards).chain(late.into_iter().skip(shards)).enumerate() {
        assert!(index < 257);
        bytes.extend_from_slice(section);
    }
    bytes
}

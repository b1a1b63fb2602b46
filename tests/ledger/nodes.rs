//! Two nodes over one database: each with a ledger and a journal, and between them the feed, which keeps the last state of
//! every prefix as storage does.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use lastmile::ids::PoolId;
use lastmile::journal::record::Record;
use lastmile::ledger::Lesson;
use lastmile::model::Prefix;
use lastmile::snapshot::types::Pool;
use lastmile::time::Stamp;

use crate::rig::{Rig, pool};

struct Row {
    node: u16,
    sequence: u64,
    record: Record,
}

pub struct Nodes {
    pub rigs: [Rig; 2],
    feed: BTreeMap<Prefix, Row>,
    published: [u64; 2],
    learned: [u64; 2],
    pub conflicts: usize,
}

/// The blocks of a pool in turn: one of 256 addresses here, one there.
pub const RANGE: &str = "10.0.0.0/23";
pub const OF_FIRST: &str = "10.0.0.0/24";
pub const OF_SECOND: &str = "10.0.1.0/24";

impl Nodes {
    pub fn new() -> Self {
        Self::with_ranges(&[RANGE])
    }

    /// One pool, whose blocks are the first node's and the second's in turn.
    pub fn with_ranges(ranges: &[&str]) -> Self {
        let owns: [fn(PoolId, u32) -> bool; 2] =
            [|_, block| block.is_multiple_of(2), |_, block| !block.is_multiple_of(2)];
        Self::with_pools(|| vec![pool(0, "", ranges, 128)], owns)
    }

    /// A small pool for each node: what was left is soon wanted again.
    pub fn with_small_pools() -> Self {
        let pools =
            || vec![pool(0, "", &["10.0.0.0-10.0.0.39"], 128), pool(1, "", &["10.0.1.0-10.0.1.39"], 128)];
        let owns: [fn(PoolId, u32) -> bool; 2] =
            [|id, _| id.0 == pool(0, "", &[], 128).id, |id, _| id.0 != pool(0, "", &[], 128).id];
        Self::with_pools(pools, owns)
    }

    fn with_pools(pools: impl Fn() -> Vec<Pool>, owns: [fn(PoolId, u32) -> bool; 2]) -> Self {
        let rig = |owns| {
            let mut rig = Rig::new(vec![]);
            (rig.owns, rig.minted) = (owns, true);
            rig.install(pools());
            rig
        };
        Self { rigs: owns.map(rig), feed: BTreeMap::new(), published: [0; 2], learned: [0; 2], conflicts: 0 }
    }

    pub fn pass(&mut self, secs: u64) {
        for rig in &mut self.rigs {
            rig.pass(secs);
        }
    }

    /// A node's applier writes what its journal has, as storage takes it: of two nodes the later record stays.
    pub fn publish(&mut self, index: usize) {
        let node = index as u16 + 1;
        for (sequence, record) in &self.rigs[index].journal.committed {
            if *sequence <= self.published[index] {
                continue;
            }
            self.published[index] = *sequence;
            let prefix = match record {
                Record::Grant(grant) => grant.prefix,
                Record::Release(release) => release.prefix,
                _ => continue,
            };
            let newer = self
                .feed
                .get(&prefix)
                .is_none_or(|row| row.node == node || (record.at(), node) > (row.record.at(), row.node));
            if newer {
                let record = Record::from_bytes(&record.to_bytes()).unwrap();
                self.feed.insert(prefix, Row { node, sequence: *sequence, record });
            }
        }
    }

    /// A node reads the feed to its end, or to a row that must wait. Says whether it came to the end.
    pub fn learn(&mut self, index: usize) -> bool {
        let node = index as u16 + 1;
        let mut rows: Vec<&Row> =
            self.feed.values().filter(|row| row.node != node && row.sequence > self.learned[index]).collect();
        rows.sort_by_key(|row| row.sequence);
        let rig = &mut self.rigs[index];
        for row in rows {
            match rig.ledger.learn(row.node, row.sequence, &row.record, rig.now) {
                Lesson::Write(record) | Lesson::Answer(record) => {
                    rig.journal.commit(&rig.ledger, &record);
                }
                Lesson::Later(first) => {
                    if let Some(record) = first {
                        rig.journal.commit(&rig.ledger, &record);
                    }
                    return false;
                }
                Lesson::Known => {}
                Lesson::Conflict => self.conflicts += 1,
            }
            self.learned[index] = row.sequence;
        }
        rig.ledger.note_feed_read(rig.now);
        true
    }

    /// Both nodes know all of each other.
    pub fn settle(&mut self) {
        for _ in 0..4 {
            for index in [0, 1] {
                self.publish(index);
            }
            for index in [0, 1] {
                while !self.learn(index) {}
            }
        }
    }

    /// A node starts again with what its own journal and checkpoint have.
    pub fn restart(&mut self, index: usize, checkpoint: Option<&[u8]>) {
        let rig = &mut self.rigs[index];
        rig.restart(checkpoint);
        let other = 2 - index as u16;
        let positions = rig.ledger.learned_positions();
        let known = positions.iter().find(|(node, _)| *node == other).map_or(0, |(_, sequence)| *sequence);
        assert!(known <= self.learned[index]);
        self.learned[index] = known;
    }

    /// Whether a node believes that another one answered with a live prefix last.
    pub fn is_foreign(&self, index: usize, prefix: Prefix) -> Option<bool> {
        let mut found = None;
        self.rigs[index].ledger.for_each(|_, state| {
            for grant in state.slots.iter().flat_map(|slot| &slot.grants) {
                if grant.live && grant.prefix == prefix {
                    found = Some(grant.foreign);
                }
            }
        });
        found
    }

    /// Every pool adds up, and no grant displaced another.
    pub fn check(&self) {
        for rig in &self.rigs {
            for pool in rig.ledger.pools() {
                let counts = pool.counts(rig.now);
                let idle = counts.free + counts.held + counts.quarantined + counts.declined + counts.assigned;
                assert_eq!(idle + counts.reserved + counts.granted, counts.size, "{counts:?}");
            }
            assert_eq!(rig.ledger.counters().conflicts.load(Ordering::Relaxed), 0);
        }
    }

    pub fn now(&self) -> Stamp {
        self.rigs[0].now
    }
}

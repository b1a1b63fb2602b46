//! The feed: what other nodes granted and released comes from storage into this node's ledger (FIELD R5).
//!
//! Place in the path: beside it. Each node's applier writes its journal into storage; this reads there what others wrote,
//! asks the ledger what it means here ([`Ledger::learn`]), and submits what must be written to this node's own journal, so
//! that it is known after a restart without the database, too. How far it got is what the ledger has learned durably.
//!
//! Nobody waits for it. With the database away nothing is learned, and this node answers by what it knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::journal::Lane;
use crate::journal::record::Record;
use crate::ledger::{Ledger, Lesson};
use crate::limits::{FEED_GROUP_RECORDS_MAX, FEED_PAGE_ROWS_MAX, FEED_POLL_MS, FEED_RETRY_MS};
use crate::model::observed::GrantRow;
use crate::storage::{Storage, StorageError};
use crate::telemetry::metrics::Metrics;
use crate::time::{Clock, Stamp};

/// What the feed works with.
#[derive(Clone)]
pub struct Feed {
    /// Number of this node.
    pub node: u16,
    /// Where others write.
    pub storage: Arc<dyn Storage>,
    /// Who learns.
    pub ledger: Arc<Ledger>,
    /// Into this node's journal.
    pub lane: Arc<Lane>,
    /// This node's timeline.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("node", &self.node).finish_non_exhaustive()
    }
}

/// How far a look at the feed came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// To its end.
    End,
    /// To the end of a page.
    Page,
    /// To a row that must wait until the journal has what was submitted.
    Held,
    /// To where the journal took no more.
    Refused,
}

/// Up to which sequence each node's rows were looked at.
type Positions = BTreeMap<u16, u64>;

impl Feed {
    /// Reads for as long as the daemon runs.
    pub async fn run(self) {
        let mut positions: Positions = self.ledger.learned_positions().into_iter().collect();
        let (mut known, mut failing) = (self.clock.now().stamp, false);
        loop {
            let looked_at = self.clock.now().stamp;
            self.metrics.feed_age.set(Duration::from_millis(looked_at.since(known)).as_secs_f64());
            let pause = match self.look(&mut positions).await {
                Ok(Reached::End) => {
                    (known, failing) = (looked_at, false);
                    self.ledger.note_feed_read(looked_at);
                    FEED_POLL_MS
                }
                Ok(Reached::Page) => 0,
                Ok(Reached::Held) => FEED_RETRY_MS,
                Ok(Reached::Refused) => FEED_POLL_MS,
                Err(error) => {
                    self.metrics.feed_errors.inc();
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "what other nodes grant is not known; this node answers by what it knows");
                    }
                    FEED_POLL_MS
                }
            };
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Takes one page.
    async fn look(&self, positions: &mut Positions) -> Result<Reached, StorageError> {
        let after = positions.iter().map(|(node, sequence)| (*node, *sequence)).collect();
        let rows = self.storage.grants_of_others(self.node, after, FEED_PAGE_ROWS_MAX).await?;
        let mut page =
            Page { feed: self, positions, held: BTreeMap::new(), group: Vec::new(), passed: Vec::new() };
        for row in &rows {
            if !page.take(row) {
                return Ok(Reached::Refused);
            }
        }
        Ok(if !page.submit() {
            Reached::Refused
        } else if !page.held.is_empty() {
            Reached::Held
        } else if rows.len() < FEED_PAGE_ROWS_MAX {
            Reached::End
        } else {
            Reached::Page
        })
    }
}

/// A page on its way into the journal.
struct Page<'a> {
    feed: &'a Feed,
    positions: &'a mut Positions,
    /// Of each node the first row that must be looked at again.
    held: BTreeMap<u16, u64>,
    group: Vec<Record>,
    /// What has been looked at when the group is submitted.
    passed: Vec<(u16, u64)>,
}

impl Page<'_> {
    /// Takes a row; false when the journal has no room.
    fn take(&mut self, row: &GrantRow) -> bool {
        let now = self.feed.clock.now().stamp;
        let through = self.held.get(&row.node).map_or(row.sequence, |held| held.saturating_sub(1));
        let lesson = self.lesson(row, through, now);
        self.feed.metrics.feed_records.with_label_values(&[word(lesson.as_ref())]).inc();
        match lesson {
            Some(Lesson::Write(record) | Lesson::Answer(record)) => self.group.push(record),
            Some(Lesson::Later(first)) => {
                self.group.extend(first);
                self.held.entry(row.node).or_insert(row.sequence);
            }
            Some(Lesson::Conflict) => {
                tracing::warn!(
                    prefix = %row.prefix, node = row.node, sequence = row.sequence,
                    "another node's client has what a client of this node has; nothing was changed"
                );
            }
            Some(Lesson::Known) | None => {}
        }
        if !self.held.contains_key(&row.node) {
            self.passed.push((row.node, row.sequence));
        }
        self.group.len() < FEED_GROUP_RECORDS_MAX || self.submit()
    }

    fn lesson(&self, row: &GrantRow, through: u64, now: Stamp) -> Option<Lesson> {
        let bytes = row.record.as_deref().unwrap_or_default();
        match Record::from_bytes(bytes) {
            Ok(record) => Some(self.feed.ledger.learn(row.node, through, &record, now)),
            Err(error) => {
                tracing::error!(
                    prefix = %row.prefix, node = row.node, sequence = row.sequence, %error,
                    "a record of another node cannot be read; upgrade this node"
                );
                None
            }
        }
    }

    fn submit(&mut self) -> bool {
        let submitted = self.group.is_empty()
            || self
                .feed
                .lane
                .submit_many(|group| {
                    for record in &self.group {
                        group
                            .record(record.kind(), record.version(), None, |buffer| record.encode(buffer))?;
                    }
                    Ok(())
                })
                .is_ok();
        if submitted {
            self.positions.extend(self.passed.drain(..));
        } else {
            // An answer reserves nothing.
            self.group.retain(|record| matches!(record, Record::Learned(_)));
            self.feed.ledger.abort(&self.group);
        }
        self.group.clear();
        submitted
    }
}

const fn word(lesson: Option<&Lesson>) -> &'static str {
    match lesson {
        Some(Lesson::Write(_)) => "learned",
        Some(Lesson::Later(_)) => "later",
        Some(Lesson::Answer(_)) => "answered",
        Some(Lesson::Known) => "known",
        Some(Lesson::Conflict) => "conflict",
        None => "unreadable",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use smallvec::SmallVec;

    use super::*;
    use crate::history::Collector;
    use crate::ids::{NasId, NetworkId, PoolId, SeededEntropy, SessionId, TenantId};
    use crate::journal::record::{GrantRecord, Holder, Owner, Role};
    use crate::journal::{Config, Journal, MemoryDisk, Sequence, Stepper, Surroundings, recover};
    use crate::servers::LedgerSink;
    use crate::time::ManualClock;

    const NOW: Stamp = Stamp::from_secs(1_000_000);

    struct Site {
        feed: Feed,
        positions: Positions,
        stepper: Stepper,
        clock: Arc<ManualClock>,
        _journal: Journal,
        _directory: tempfile::TempDir,
    }

    impl Site {
        async fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let url = format!("sqlite:{}", directory.path().join("feed.db").display());
            let storage = crate::storage::open(&url).await.unwrap();
            let ledger = Arc::new(Ledger::new());
            let disk = MemoryDisk::new(1);
            let config = Config {
                segment_bytes: crate::limits::JOURNAL_SEGMENT_BYTES_MIN,
                queue_records_max: 64,
                ..Config::of_node(1, 1, 1)
            };
            let recovered = recover(&disk, &config, Sequence::ZERO, &mut |_| Ok(())).unwrap();
            let clock = Arc::new(ManualClock::at(NOW));
            let applied = Arc::new(AtomicU64::new(0));
            let surroundings = Surroundings {
                disk: Arc::new(disk),
                clock: Arc::clone(&clock) as _,
                entropy: Arc::new(SeededEntropy::new(1)),
                sink: Box::new(LedgerSink::new(Arc::clone(&ledger), Vec::new(), applied)),
            };
            let (journal, mut lanes, stepper) = Journal::stepped(config, recovered, surroundings).unwrap();
            let lane = Arc::new(lanes.pop().unwrap());
            let feed = Feed {
                node: 1,
                storage,
                ledger,
                lane,
                clock: Arc::clone(&clock) as _,
                metrics: Arc::new(Metrics::new()),
            };
            Self {
                feed,
                positions: Positions::new(),
                stepper,
                clock,
                _journal: journal,
                _directory: directory,
            }
        }

        /// The journal of node 2 goes on with these grants.
        async fn other_grants(&self, grants: impl IntoIterator<Item = (u8, u128, u64)>) {
            let after = self.feed.storage.applied_sequence(2).await.unwrap();
            let mut collector = Collector::new(2, after).for_others(true);
            for (sequence, (last, holder, secs)) in (after + 1..).zip(grants) {
                collector.add(sequence, &grant(last, holder, secs));
            }
            self.feed.storage.apply_observed(collector.finish()).await.unwrap();
        }

        async fn look(&mut self) -> Reached {
            self.feed.look(&mut self.positions).await.unwrap()
        }

        /// The journal writes what nobody waits for.
        fn settle(&mut self) {
            self.stepper.settle();
            self.clock.advance(Duration::from_secs(1));
            self.stepper.settle();
        }

        fn live(&self) -> usize {
            let mut live = 0;
            self.feed.ledger.for_each(|_, state| {
                live += state.slots.iter().flat_map(|slot| &slot.grants).filter(|grant| grant.live).count();
            });
            live
        }
    }

    fn grant(last: u8, holder: u128, secs: u64) -> Record {
        Record::Grant(GrantRecord {
            at: NOW.plus_secs(secs),
            tenant: TenantId::DEFAULT,
            vrf: SmallVec::new(),
            prefix: std::net::Ipv4Addr::new(100, 64, 0, last).to_string().parse().unwrap(),
            role: Role::V4,
            holder: Holder(holder),
            slot: 0,
            pool: PoolId::default(),
            network: NetworkId::default(),
            owner: Owner::default(),
            line: SmallVec::new(),
            nas: NasId::default(),
            session: SessionId::default(),
            lease: None,
            ends_at: Stamp::MAX,
            digest: 0,
            renewal: false,
        })
    }

    #[tokio::test]
    async fn what_the_journal_has_no_room_for_is_read_again_and_nothing_is_left_out() {
        let mut site = Site::new().await;
        site.other_grants((0..200).map(|last| (last, 1_000 + u128::from(last), 0))).await;
        let mut refused = 0;
        while site.look().await != Reached::End {
            refused += 1;
            assert!(refused < 10, "it never comes to the end");
            site.settle();
        }
        site.settle();
        assert!(refused > 0, "the journal took everything at once");
        assert_eq!(site.live(), 200);
        assert_eq!(site.feed.ledger.learned_positions(), [(2, 200)]);
        assert_eq!(site.look().await, Reached::End);
    }

    #[tokio::test]
    async fn an_address_that_changed_hands_waits_for_the_end_of_the_grant_before() {
        let mut site = Site::new().await;
        site.other_grants([(1, 7, 0), (2, 8, 0)]).await;
        assert_eq!(site.look().await, Reached::End);
        site.settle();
        site.other_grants([(1, 9, 60), (3, 10, 60)]).await;
        assert_eq!(site.look().await, Reached::Held);
        site.settle();
        // A crash now forgets nothing that is still to be learned.
        assert_eq!(site.feed.ledger.learned_positions(), [(2, 2)]);
        assert_eq!(site.look().await, Reached::End);
        site.settle();
        assert_eq!(site.feed.ledger.learned_positions(), [(2, 3)]);
        assert_eq!(site.live(), 3);
        assert!(site.feed.ledger.holder(Holder(9)).unwrap().slots[0].grants[0].foreign);
    }
}

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

//! What runs beside the packets: applier, feed, sweeper, checkpoints, images, purging, and the watch over the journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;

use super::confirmed;
use super::learned::{self, Learned};
use super::packets::Packets;
use super::refused::Refused;
use super::watch::Watch;
use super::{Parts, recovery};
use crate::app::App;
use crate::applier::Applier;
use crate::checkpoint;
use crate::feed::Feed;
use crate::journal::record::Record;
use crate::journal::tail::Holder;
use crate::journal::{Journal, Lane, Sequence, Unavailable};
use crate::ledger::{Ledger, SHARDS};
use crate::limits::CHECKPOINT_RECORDS_MIN;
use crate::snapshot::image;
use crate::snapshot::publish::Publisher;
use crate::telemetry::metrics::Metrics;
use crate::time::Clock;

/// The background of a running daemon.
pub(crate) struct Background {
    applier: Option<JoinHandle<()>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    checkpoints: Arc<Checkpoints>,
    image: Arc<ImageFile>,
    learned: Arc<Learned>,
}

/// A full sweep over the ledger takes this long.
const SWEEP: Duration = Duration::from_secs(10);
/// Records one sweep step may submit: expiry must not fill the commit queue.
const SWEEP_RECORDS_MAX: usize = 512;
/// How often storage is asked for other nodes' commits at least.
const FOLLOW: Duration = Duration::from_secs(2);
/// How often a checkpoint is made although little was written.
const CHECKPOINT: Duration = Duration::from_mins(5);
/// How often it is asked whether the node's image is out of date.
const IMAGE_LOOK: Duration = Duration::from_secs(5);
/// So many looks pass between two images at least.
const IMAGE_LOOKS: u32 = 12;

/// Starts everything.
pub(crate) fn start(parts: &Parts, packets: &Packets, runtime: &Handle) -> Background {
    let journal = packets.journal.clone();
    let mut tasks = Vec::new();
    let mut applier = None;
    let holder =
        journal.as_ref().map(|journal| journal.hold("checkpoint", Sequence(parts.recovered.checkpointed)));
    let checkpoints = Arc::new(Checkpoints {
        directory: parts.config.node.state.clone(),
        ledger: Arc::clone(&parts.recovered.ledger),
        applied: Arc::clone(&parts.ledger_applied),
        holder: parking_lot::Mutex::new(holder),
        last: AtomicU64::new(parts.recovered.checkpointed),
    });
    if let Some(journal) = journal {
        applier = spawn_applier(parts, &journal, runtime);
        tasks.push(runtime.spawn(sweep(
            Arc::clone(&parts.recovered.ledger),
            Arc::clone(&parts.recovered.publisher),
            Arc::clone(&packets.lane),
            Arc::clone(&parts.clock) as _,
        )));
        tasks.push(runtime.spawn(Watch::of(parts, packets, &journal).run()));
        // Only a database that is shared has another node's grants, and only shares make another node likely.
        if parts.recovered.storage.is_shared() && parts.config.node.share != (1, 1) {
            tasks.push(runtime.spawn(feed(parts, packets).run()));
        }
        let every = parts.config.journal.checkpoint_every_bytes;
        tasks.push(runtime.spawn(checkpoint_loop(Arc::clone(&checkpoints), Arc::clone(&journal), every)));
    }
    tasks.push(runtime.spawn(follow(parts.app.clone())));
    let image = Arc::new(ImageFile {
        path: recovery::image_path(&parts.config),
        publisher: Arc::clone(&parts.recovered.publisher),
        vault: Arc::clone(&parts.recovered.vault),
        written: parking_lot::Mutex::new(0),
        ready: tokio::sync::Notify::new(),
    });
    tasks.push(runtime.spawn(write_images(Arc::clone(&image))));
    tasks.push(runtime.spawn(purge(parts.app.clone(), parts.config.limits.retention_days)));
    let learned = Arc::new(Learned::new(
        &parts.config.node.state,
        Arc::clone(&parts.app.parts().signatures),
        Arc::clone(&parts.recovered.publisher),
    ));
    tasks.push(runtime.spawn(learned::learn(Arc::clone(&learned))));
    let activity = Arc::clone(&parts.app.parts().activity);
    tasks.push(runtime.spawn(confirmed::watch(activity, Arc::clone(&parts.recovered.publisher))));
    let refused = Refused {
        decisions: Arc::clone(&parts.app.parts().decisions),
        metrics: Arc::clone(&parts.metrics),
        publisher: Arc::clone(&parts.recovered.publisher),
        clock: Arc::clone(&parts.clock) as _,
    };
    tasks.push(runtime.spawn(refused.run()));
    Background { applier, tasks, checkpoints, image, learned }
}

impl Background {
    /// Before the first start is called ready its image is written: from then on the node starts without its database. Later
    /// starts have one, perhaps a little older, and do not wait for its successor.
    pub(crate) async fn keep_first_image(&self) {
        let image = Arc::clone(&self.image);
        if !image.path.exists() {
            let _ = tokio::task::spawn_blocking(move || image.write()).await;
        }
    }

    /// Writes the image of what this start brought.
    pub(crate) fn keep_image(&self) {
        self.image.ready.notify_one();
    }

    /// Stops in order: tasks, applier (after what is durable), journal, a last checkpoint and image.
    pub(crate) fn stop(mut self, parts: &Parts, packets: &mut Packets, patience: Duration) {
        for task in &self.tasks {
            task.abort();
        }
        parts.stopping.store(true, Ordering::Release);
        if let Some(applier) = self.applier.take()
            && applier.join().is_err()
        {
            tracing::error!("the applier had panicked");
        }
        self.checkpoints.make();
        *self.checkpoints.holder.lock() = None;
        self.image.write();
        self.learned.write();
        // Tasks hold the journal until their abort is processed; the last handle must be ours to end it cleanly.
        if let Some(journal) = packets.journal.take() {
            end_journal(journal, patience);
        }
    }
}

fn end_journal(mut journal: Arc<Journal>, patience: Duration) {
    journal.request_shutdown();
    let step = Duration::from_millis(10);
    let mut waited = Duration::ZERO;
    loop {
        match Arc::try_unwrap(journal) {
            Ok(owned) => {
                if let Err(failure) = owned.shutdown() {
                    tracing::error!(%failure, "the journal did not end cleanly");
                }
                return;
            }
            Err(shared) if waited >= patience => {
                drop(shared);
                tracing::warn!("the journal is still in use; the next start will treat this stop as unclean");
                return;
            }
            Err(shared) => journal = shared,
        }
        std::thread::sleep(step);
        waited += step;
    }
}

fn spawn_applier(parts: &Parts, journal: &Arc<Journal>, runtime: &Handle) -> Option<JoinHandle<()>> {
    let applier = Applier {
        node: parts.config.node.id,
        storage: Arc::clone(&parts.recovered.storage),
        journal: Arc::clone(journal),
        metrics: Arc::clone(&parts.metrics),
        health: Arc::clone(&parts.health),
        applied: Arc::clone(&parts.storage_applied),
        stopping: Arc::clone(&parts.stopping),
    };
    let runtime = runtime.clone();
    let thread = std::thread::Builder::new().name("applier".to_owned()).spawn(move || {
        super::control::lower_priority();
        applier.run(&runtime);
    });
    thread.inspect_err(|error| tracing::error!(%error, "the applier could not be started")).ok()
}

fn feed(parts: &Parts, packets: &Packets) -> Feed {
    Feed {
        node: parts.config.node.id,
        storage: Arc::clone(&parts.recovered.storage),
        ledger: Arc::clone(&parts.recovered.ledger),
        lane: Arc::clone(&packets.lane),
        clock: Arc::clone(&parts.clock) as _,
        metrics: Arc::clone(&parts.metrics),
    }
}

/// Ends what time alone ends, a shard at a time.
async fn sweep(ledger: Arc<Ledger>, publisher: Arc<Publisher>, lane: Arc<Lane>, clock: Arc<dyn Clock>) {
    let mut index = 0;
    let mut turn = tokio::time::interval(SWEEP / SHARDS as u32);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        let now = clock.now().stamp;
        let records = ledger.sweep(index, now, SWEEP_RECORDS_MAX);
        submit(&ledger, &lane, &records);
        index = (index + 1) % SHARDS;
        if index == 0 {
            // Every shard has been seen since: announced restarts older than two rounds have done their work.
            let rounds = SWEEP.as_millis() as u64 * 2 + 60_000;
            ledger.forget_restarts(crate::time::Stamp(now.0.saturating_sub(rounds)));
            // Addresses that are no longer assigned by name may be chosen again.
            let snapshot = publisher.load();
            ledger.reconsider(&|space, prefix| snapshot.fixed_holder(space, prefix).is_some());
        }
    }
}

fn submit(ledger: &Ledger, lane: &Lane, records: &[Record]) {
    if records.is_empty() {
        return;
    }
    let submitted = lane.submit_many(|group| {
        for record in records {
            group.record(record.kind(), record.version(), None, |buffer| record.encode(buffer))?;
        }
        Ok(())
    });
    if submitted.is_err() {
        // Still due at the next sweep.
        ledger.abort(records);
    }
}

/// Where and how checkpoints are made.
pub(crate) struct Checkpoints {
    directory: std::path::PathBuf,
    ledger: Arc<Ledger>,
    applied: Arc<AtomicU64>,
    holder: parking_lot::Mutex<Option<Holder>>,
    last: AtomicU64,
}

impl Checkpoints {
    /// Whether a start would have to read so many records after the last checkpoint, those included that this start read,
    /// that it took a good part of a second, and longer than the checkpoint itself takes.
    fn has_many_records_behind(&self) -> bool {
        let behind = self.applied.load(Ordering::Acquire).saturating_sub(self.last.load(Ordering::Acquire));
        behind >= CHECKPOINT_RECORDS_MIN && behind >= self.ledger.holders()
    }

    fn make(&self) {
        // One at a time: the one that was begun before the stop goes on beside it, and both write the same new file.
        let holder = self.holder.lock();
        let current = self.applied.load(Ordering::Acquire);
        if current == self.last.load(Ordering::Acquire) {
            return;
        }
        match checkpoint::write(&self.directory, &self.ledger, current) {
            Ok(oldest) => {
                self.last.store(current, Ordering::Release);
                if let Some(holder) = holder.as_ref()
                    && let Err(error) = holder.release(Sequence(oldest))
                {
                    tracing::warn!(%error, "journal segments before the checkpoint could not be removed");
                }
            }
            Err(error) => {
                tracing::warn!(%error, directory = %self.directory.display(), "the ledger's checkpoint could not be written; the journal is kept instead");
            }
        }
    }
}

async fn checkpoint_loop(checkpoints: Arc<Checkpoints>, journal: Arc<Journal>, every_bytes: u64) {
    let mut turn = tokio::time::interval(Duration::from_secs(1));
    let (mut at_bytes, mut since) = (journal.stats().record_bytes, 0_u64);
    loop {
        turn.tick().await;
        since += 1;
        let bytes = journal.stats().record_bytes;
        // At its bound the journal waits for segments to be let go, and a checkpoint may be what keeps them.
        let is_full = journal.unavailable() == Some(Unavailable::BacklogFull);
        let is_due = bytes.saturating_sub(at_bytes) >= every_bytes
            || checkpoints.has_many_records_behind()
            || since >= CHECKPOINT.as_secs();
        if !is_due && !is_full {
            continue;
        }
        let checkpoints = Arc::clone(&checkpoints);
        let _ = tokio::task::spawn_blocking(move || checkpoints.make()).await;
        (at_bytes, since) = (bytes, 0);
    }
}

/// Follows commits of other nodes.
async fn follow(app: Arc<App>) {
    loop {
        let _ = app.parts().storage.changed(FOLLOW).await;
        if let Err(error) = app.advance().await {
            tracing::debug!(%error, "storage was not read; this node decides by what it knows");
            tokio::time::sleep(FOLLOW).await;
        }
    }
}

/// The node's image of desired state.
struct ImageFile {
    path: std::path::PathBuf,
    publisher: Arc<Publisher>,
    vault: Arc<crate::vault::Vault>,
    /// The seq that was written last. A write that began before the stop goes on beside it: two at once would spoil each
    /// other's file.
    written: parking_lot::Mutex<u64>,
    /// Told once when the daemon is ready: what the start brought is written at once.
    ready: tokio::sync::Notify,
}

impl ImageFile {
    /// Writes the image unless it says already what is decided by. Without desired state there is nothing to keep.
    fn write(&self) {
        let mut written = self.written.lock();
        let snapshot = self.publisher.load_full();
        if snapshot.seq() == *written {
            return;
        }
        match image::write(&self.path, &snapshot, self.vault.as_ref()) {
            Ok(_) => *written = snapshot.seq(),
            Err(error) => tracing::warn!(%error, "the node's image could not be written"),
        }
    }
}

/// Writes the node's image when the daemon is ready, then whenever desired state has moved, at most once a minute.
async fn write_images(file: Arc<ImageFile>) {
    let mut turn = tokio::time::interval(IMAGE_LOOK);
    let mut quiet = 0;
    loop {
        let is_due = tokio::select! {
            () = file.ready.notified() => true,
            _ = turn.tick() => {
                quiet += 1;
                quiet > IMAGE_LOOKS && *file.written.lock() != file.publisher.seq()
            }
        };
        if !is_due {
            continue;
        }
        quiet = 0;
        let file = Arc::clone(&file);
        if tokio::task::spawn_blocking(move || file.write()).await.is_err() {
            return;
        }
    }
}

/// Removes history older than the retention, a bounded piece at a time.
async fn purge(app: Arc<App>, retention_days: u32) {
    let mut turn = tokio::time::interval(Duration::from_hours(1));
    loop {
        turn.tick().await;
        // Nobody gets back what a wrong clock called old.
        if app.clock_doubt().is_some() {
            continue;
        }
        let today = app.parts().clock.now().stamp.day();
        let before = today.saturating_sub(retention_days);
        loop {
            match app.parts().storage.purge_before(before, 5_000).await {
                Ok(0) => break,
                Ok(rows) => tracing::info!(rows, "history past its retention was removed"),
                Err(error) => {
                    tracing::warn!(%error, "history was not purged");
                    break;
                }
            }
        }
    }
}

/// Brings gauges up to date before metrics are rendered.
pub(crate) fn refresh(
    metrics: &Metrics,
    app: &App,
    ledger: &Ledger,
    journal: &Journal,
    publisher: &Publisher,
    storage_applied: &AtomicU64,
    clock: &dyn Clock,
) {
    let stats = journal.stats();
    metrics.journal_available.set(i64::from(stats.unavailable.is_none()));
    metrics.journal_sequence.set(shown(stats.durable.0));
    metrics.journal_bytes.set(shown(stats.segments as u64 * stats.segment_bytes));
    metrics.journal_syncs.set(shown(stats.syncs));
    metrics.journal_records.set(shown(stats.records));
    metrics.applier_lag.set(shown(stats.durable.0.saturating_sub(storage_applied.load(Ordering::Acquire))));
    metrics.snapshot_seq.set(shown(publisher.seq()));
    let (sessions, leases) = ledger.totals();
    metrics.sessions.set(shown(sessions));
    metrics.leases.set(shown(leases));
    metrics.conflicts.set(shown(ledger.counters().conflicts.load(Ordering::Relaxed)));
    for (state, count) in app.signing_totals() {
        metrics.signing.with_label_values(&[state]).set(shown(count));
    }
    confirmed::refresh(metrics, &app.parts().activity, publisher);
    let now = clock.now();
    metrics.uptime.set(Duration::from_nanos(now.tick.0).as_secs_f64());
    let snapshot = publisher.load();
    for pool in snapshot.pools() {
        let Some(state) = ledger.pool(crate::ids::PoolId(pool.id)) else { continue };
        let counts = state.counts(now.stamp);
        let states = [
            ("free", counts.free),
            ("reserved", counts.reserved),
            ("held", counts.held),
            ("granted", counts.granted),
            ("quarantined", counts.quarantined),
            ("declined", counts.declined),
            ("assigned", counts.assigned),
        ];
        for (state, count) in states {
            metrics.pool.with_label_values(&[&pool.name, state]).set(f64::from(count));
        }
    }
}

/// A count as a gauge shows it.
fn shown(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_when_a_start_would_read_records_for_long_those_of_the_last_start_included() {
        let checkpoints = |recovered_from: u64, applied: u64| Checkpoints {
            directory: std::path::PathBuf::new(),
            ledger: Arc::new(Ledger::new()),
            applied: Arc::new(AtomicU64::new(applied)),
            holder: parking_lot::Mutex::new(None),
            last: AtomicU64::new(recovered_from),
        };
        assert!(!checkpoints(0, CHECKPOINT_RECORDS_MIN - 1).has_many_records_behind());
        assert!(checkpoints(0, CHECKPOINT_RECORDS_MIN).has_many_records_behind());
        assert!(!checkpoints(5_000_000, 5_000_000).has_many_records_behind());
    }
}

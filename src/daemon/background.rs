//! What runs beside the packets: applier, feed, sweeper, checkpoints, the watch over journal and storage, purging.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;

use super::packets::Packets;
use super::{Parts, recovery};
use crate::applier::Applier;
use crate::checkpoint;
use crate::feed::Feed;
use crate::journal::record::Record;
use crate::journal::tail::Holder;
use crate::journal::{Journal, Lane, Sequence, Unavailable};
use crate::ledger::{Ledger, SHARDS};
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
}

/// A full sweep over the ledger takes this long.
const SWEEP: Duration = Duration::from_secs(10);
/// Records one sweep step may submit: expiry must not fill the commit queue.
const SWEEP_RECORDS_MAX: usize = 512;
/// How often the journal's state is looked at.
const WATCH: Duration = Duration::from_millis(100);
/// How often storage is asked for other nodes' commits at least.
const FOLLOW: Duration = Duration::from_secs(2);
/// How often a checkpoint is made although little was written.
const CHECKPOINT: Duration = Duration::from_mins(5);

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
        last: AtomicU64::new(0),
    });
    if let Some(journal) = journal {
        applier = spawn_applier(parts, &journal, runtime);
        tasks.push(runtime.spawn(sweep(
            Arc::clone(&parts.recovered.ledger),
            Arc::clone(&parts.recovered.publisher),
            Arc::clone(&packets.lane),
            Arc::clone(&parts.clock) as _,
        )));
        // Only a database that is shared has another node's grants, and only shares make another node likely.
        if parts.recovered.storage.is_shared() && parts.config.node.share != (1, 1) {
            tasks.push(runtime.spawn(feed(parts, packets).run()));
        }
        tasks.push(runtime.spawn(watch(parts.health.clone(), packets.shared.clone(), Arc::clone(&journal))));
        let every = parts.config.journal.checkpoint_every_bytes;
        tasks.push(runtime.spawn(checkpoint_loop(Arc::clone(&checkpoints), Arc::clone(&journal), every)));
    }
    tasks.push(runtime.spawn(follow(parts.app.clone())));
    let image = Arc::new(ImageFile {
        path: recovery::image_path(&parts.config),
        publisher: Arc::clone(&parts.recovered.publisher),
        vault: Arc::clone(&parts.recovered.vault),
        writing: parking_lot::Mutex::new(()),
    });
    tasks.push(runtime.spawn(write_images(Arc::clone(&image))));
    tasks.push(runtime.spawn(purge(parts.app.clone(), parts.config.limits.retention_days)));
    Background { applier, tasks, checkpoints, image }
}

impl Background {
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

/// Shows the packet path whether the journal takes records.
async fn watch(
    health: Arc<crate::telemetry::http::Health>,
    shared: Arc<crate::servers::Shared>,
    journal: Arc<Journal>,
) {
    let mut turn = tokio::time::interval(WATCH);
    let mut before = None;
    loop {
        turn.tick().await;
        let now = journal.unavailable();
        shared.journal_available.store(now.is_none(), Ordering::Relaxed);
        if now != before {
            if let Some(reason) = now {
                tracing::error!(%reason, "the journal takes no records: nothing new is granted or acknowledged");
            } else {
                tracing::info!("the journal takes records again");
            }
            health.set_degraded("journal", now.map(|reason| reason.to_string()));
            before = now;
        }
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
        if bytes.saturating_sub(at_bytes) < every_bytes && since < CHECKPOINT.as_secs() && !is_full {
            continue;
        }
        let checkpoints = Arc::clone(&checkpoints);
        let _ = tokio::task::spawn_blocking(move || checkpoints.make()).await;
        (at_bytes, since) = (bytes, 0);
    }
}

/// Follows commits of other nodes.
async fn follow(app: Arc<crate::app::App>) {
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
    /// A write that began before the stop goes on beside it: two at once would spoil each other's file.
    writing: parking_lot::Mutex<()>,
}

impl ImageFile {
    fn write(&self) -> bool {
        let _writing = self.writing.lock();
        let written = image::write(&self.path, &self.publisher.load_full(), self.vault.as_ref());
        if let Err(error) = &written {
            tracing::warn!(%error, "the node's image could not be written");
        }
        written.is_ok()
    }
}

/// Writes the node's image whenever desired state has moved, at most once a minute.
async fn write_images(file: Arc<ImageFile>) {
    let mut turn = tokio::time::interval(Duration::from_secs(5));
    let mut written = 0;
    let mut quiet = 0_u32;
    loop {
        turn.tick().await;
        let seq = file.publisher.seq();
        quiet += 1;
        if seq == written || (quiet < 12 && written != 0) {
            continue;
        }
        let file = Arc::clone(&file);
        match tokio::task::spawn_blocking(move || file.write()).await {
            Ok(true) => (written, quiet) = (seq, 0),
            Ok(false) => {}
            Err(_) => return,
        }
    }
}

/// Removes history older than the retention, a bounded piece at a time.
async fn purge(app: Arc<crate::app::App>, retention_days: u32) {
    let mut turn = tokio::time::interval(Duration::from_hours(1));
    loop {
        turn.tick().await;
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

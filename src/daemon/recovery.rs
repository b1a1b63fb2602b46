//! From the state directory to a node that knows what it knew: keys, storage, snapshot, ledger.
//!
//! With the database down the node starts from its own image, checkpoint and journal (fault F21); with neither database nor
//! image it says so and does not start.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::{ServeOptions, doubt, kept};
use crate::app::clock::ClockDoubt;
use crate::config::Config;
use crate::ids::{PoolId, SystemEntropy, TenantId, Uid};
use crate::journal::record::Record;
use crate::journal::{self, Recovered, Sequence};
use crate::ledger::{Holds, Ledger, PoolLedger};
use crate::limits::{RECOVERY_PIECE_RECORDS, RECOVERY_PIECES_MAX};
use crate::radius::wire::class::ClassKey;
use crate::secret::{Secret, constant_time_eq};
use crate::snapshot::Snapshot;
use crate::snapshot::image::{self, Seal};
use crate::snapshot::publish::Publisher;
use crate::storage::{self, Storage, StorageError};
use crate::telemetry::http::Health;
use crate::time::{Clock, SteadyClock};
use crate::vault::{MasterKey, Vault, VaultError};

/// Why the daemon does not start: what failed, where, what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartFailure {
    /// A directory cannot be made.
    #[error("cannot make {}; create it for the user that runs lastmile, or set node.state and node.run", path.display())]
    Directory {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The network knowledge (dictionaries, option tables) cannot be read.
    #[error("the network knowledge cannot be used; see netdefs.override_dir")]
    Netdefs(#[from] crate::netdefs::NetdefsError),
    /// The keys cannot be used.
    #[error("the master key cannot be used")]
    Vault(#[from] VaultError),
    /// The local copy of the Class key does not open.
    #[error("the Class key of this node does not open with the master key, and the database does not answer")]
    ClassKey,
    /// The database is needed and not there.
    #[error(
        "the database cannot be used and this node has no image of its own to start from; see storage.url"
    )]
    Storage(#[source] StorageError),
    /// The schema is newer than the program, or unusable.
    #[error("the database cannot be used; see storage.url")]
    Schema(#[source] StorageError),
    /// The checkpoint is damaged.
    #[error("the ledger's checkpoint cannot be loaded")]
    Checkpoint(#[from] crate::checkpoint::LoadError),
    /// The journal is damaged or in use.
    #[error(
        "the journal cannot be recovered; nothing was changed. If the loss named below is acceptable, start once with --accept-loss"
    )]
    Journal(#[from] journal::RecoverError),
    /// The journal cannot be opened or started.
    #[error("the journal cannot be started")]
    JournalStart(#[from] journal::StartError),
    /// A record must be durable and is not.
    #[error("the journal does not take records: {0}")]
    JournalRefused(String),
    /// A packet socket cannot be bound.
    #[error("a packet socket cannot be opened")]
    Bind(#[from] crate::net::BindError),
    /// Another listener or a thread.
    #[error("cannot {doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why not.
        source: io::Error,
    },
}

impl StartFailure {
    /// The recovery itself came to an end before its end.
    pub(super) fn interrupted(error: tokio::task::JoinError) -> Self {
        Self::Io { doing: "recover this node's state".to_owned(), source: io::Error::other(error) }
    }
}

/// A recovered node.
pub(crate) struct Node {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) class: Arc<ClassKey>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) disk: Arc<dyn journal::Disk>,
    pub(crate) journal_config: journal::Config,
    pub(crate) journal: Option<Recovered>,
    /// Sequence up to which the ledger is current.
    pub(crate) applied: u64,
    /// Sequence after which the journal is needed by the checkpoint on disk.
    pub(crate) checkpointed: u64,
    /// Until when nothing ends by itself because of how this start went (FIELD R3, fault F9).
    pub(crate) holds: Holds,
    /// Why the wall clock is not believed.
    pub(crate) clock_doubt: Option<ClockDoubt>,
}

/// Recovers the node.
pub(crate) async fn recover(
    config: Arc<Config>,
    options: ServeOptions,
    clock: Arc<SteadyClock>,
    health: Arc<Health>,
) -> Result<Node, StartFailure> {
    let (config, clock) = (config.as_ref(), &clock);
    for directory in [&config.node.state, &config.journal.dir] {
        make_directory(directory)?;
    }
    let master = MasterKey::load_or_create(config.secrets.key_path(), &SystemEntropy)?;
    let vault = Arc::new(Vault::new(&master, Arc::new(SystemEntropy)));
    let url = std::str::from_utf8(config.storage.url.expose()).unwrap_or_default();
    let (storage, reached) = storage::open_unless_down(url).await.map_err(StartFailure::Schema)?;
    let (snapshot, storage_up) = load_snapshot(config, storage.as_ref(), &vault, reached).await?;
    let class = class_key(config, storage.as_ref(), &vault, storage_up).await?;
    if !storage_up {
        health.set_degraded("storage", Some("the database did not answer at start".to_owned()));
    }
    let publisher = Arc::new(Publisher::new(snapshot));
    let ledger = Arc::new(Ledger::new());
    let blocks = Arc::new(Blocks::new(config));
    install_pools(&publisher, &ledger, &blocks, storage.as_ref(), storage_up).await;
    follow_pools(&publisher, &ledger, &blocks);

    let from = crate::checkpoint::load(&config.node.state, &ledger)?;
    let epoch = if storage_up { storage.raise_epoch(config.node.id).await.unwrap_or(1) as u32 } else { 0 };
    let disk: Arc<dyn journal::Disk> =
        Arc::new(journal::RealDisk::at(&config.journal.dir).map_err(|source| StartFailure::Io {
            doing: format!("open {}", config.journal.dir.display()),
            source,
        })?);
    let mut journal_config = journal_config(config, epoch, options);
    let began = clock.now().tick;
    let recovered = read_back(disk.as_ref(), &journal_config, from, &ledger)?;
    let read_ms = clock.now().tick.since(began) / 1_000_000;
    let records = recovered.next.0.saturating_sub(1).saturating_sub(from);
    let per_second = records.saturating_mul(1000) / read_ms.max(1);
    tracing::info!(records, read_ms, per_second, from, clean = recovered.clean, "the journal is read back");
    for lost in &recovered.lost {
        tracing::error!(file = %lost.file, first = lost.first.0, last = lost.last.0, "journal records are lost");
    }
    journal_config.epoch = epoch.max(recovered.newest_epoch.unwrap_or(1)).max(1);
    let (holds, clock_doubt) =
        doubt::judge(clock, &ledger, recovered.clean, &publisher.load(), &config.node.state);
    if !recovered.clean {
        ledger.settle(clock.now().stamp);
    }
    let applied = recovered.next.0.saturating_sub(1).max(from);
    Ok(Node {
        storage,
        publisher,
        vault,
        class,
        ledger,
        disk,
        journal_config,
        journal: Some(recovered),
        applied,
        checkpointed: from,
        holds,
        clock_doubt,
    })
}

/// Reads the journal after sequence `from` and applies it, in its order, on a thread of its own meanwhile.
fn read_back(
    disk: &dyn journal::Disk,
    config: &journal::Config,
    from: u64,
    ledger: &Ledger,
) -> Result<Recovered, journal::RecoverError> {
    let (pieces, applied) = std::sync::mpsc::sync_channel::<Vec<(u64, Record)>>(RECOVERY_PIECES_MAX);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for (sequence, record) in applied.into_iter().flatten() {
                ledger.apply(sequence, &record);
            }
        });
        let mut piece = Vec::with_capacity(RECOVERY_PIECE_RECORDS);
        let mut visit = |item: journal::Record<'_>| -> Result<(), journal::VisitError> {
            piece.push((item.sequence.0, Record::decode(item.kind, item.version, item.payload)?));
            if piece.len() == RECOVERY_PIECE_RECORDS {
                pieces.send(std::mem::replace(&mut piece, Vec::with_capacity(RECOVERY_PIECE_RECORDS)))?;
            }
            Ok(())
        };
        let recovered = journal::recover(disk, config, Sequence(from), &mut visit);
        // Not taken only when the other thread panicked, which the scope passes on.
        let _ = pieces.send(piece);
        drop(pieces);
        recovered
    })
}

fn make_directory(path: &std::path::Path) -> Result<(), StartFailure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StartFailure::Directory { path: path.to_owned(), source })
}

fn journal_config(config: &Config, epoch: u32, options: ServeOptions) -> journal::Config {
    journal::Config {
        segment_bytes: config.journal.segment_bytes,
        backlog_bytes_max: config.journal.backlog_bytes_max,
        flush_after: config.journal.flush_after,
        queue_records_max: config.limits.commits_in_flight,
        accept_loss: options.accept_loss,
        // One lane for each worker and one for the daemon's own records.
        ..journal::Config::of_node(config.node.id, epoch, super::packets::worker_count(config) + 1)
    }
}

pub(crate) fn image_path(config: &Config) -> PathBuf {
    config.node.state.join("snapshot.image")
}

/// The node's own image first, then what storage has besides; either alone will do.
async fn load_snapshot(
    config: &Config,
    storage: &dyn Storage,
    vault: &Vault,
    reached: Result<(), StorageError>,
) -> Result<(Snapshot, bool), StartFailure> {
    if reached.is_ok() {
        vault.load_tenant(storage, TenantId::DEFAULT).await?;
    }
    let path = image_path(config);
    let own = match image::read(&path, vault) {
        Ok(snapshot) => Some(snapshot),
        Err(error) => {
            if path.exists() {
                tracing::warn!(%error, "the node's image cannot be used; reading the database instead");
            }
            None
        }
    };
    let own = match own {
        // A database restored from a backup is behind the image: what it says now is what counts.
        Some(image)
            if reached.is_ok() && storage.seq().await.map_err(StartFailure::Storage)? < image.seq() =>
        {
            tracing::warn!(
                image = image.seq(),
                "the database is behind the node's image, as after a restore; reading it anew"
            );
            None
        }
        own => own,
    };
    let publisher = Publisher::new(own.unwrap_or_else(Snapshot::empty));
    let from_image = publisher.seq();
    let caught_up = match reached {
        Ok(()) if from_image > 0 => publisher.advance(storage, vault).await,
        Ok(()) => publisher.reload(storage, vault).await,
        Err(error) => Err(error),
    };
    match caught_up {
        Ok(seq) => {
            let missed = vault.take_missed();
            for tenant in &missed {
                vault.load_tenant(storage, *tenant).await?;
            }
            if !missed.is_empty() {
                publisher.reload(storage, vault).await.map_err(StartFailure::Storage)?;
            }
            tracing::info!(seq, from_image, "desired state is loaded");
            Ok((publisher.load_full().as_ref().clone(), true))
        }
        Err(error) if from_image > 0 => {
            tracing::warn!(%error, seq = from_image, "the database does not answer; serving from the node's image");
            Ok((publisher.load_full().as_ref().clone(), false))
        }
        Err(error) => Err(StartFailure::Storage(error)),
    }
}

/// The key that signs Class. It is the installation's, so storage has it; this node keeps a sealed copy for starts without.
async fn class_key(
    config: &Config,
    storage: &dyn Storage,
    vault: &Vault,
    storage_up: bool,
) -> Result<Arc<ClassKey>, StartFailure> {
    const AAD: &[u8] = b"class key";
    let path = config.node.state.join("class.key");
    let io_failed = |doing: String| move |source| StartFailure::Io { doing, source };
    if !storage_up {
        let sealed = fs::read(&path).map_err(io_failed(format!("read {}", path.display())))?;
        let clear = vault.open(AAD, &sealed).map(Secret::new).ok_or(StartFailure::ClassKey)?;
        return Ok(Arc::new(ClassKey::new(&clear)));
    }
    let key = vault.class_key(storage).await?;
    let kept = fs::read(&path).ok().and_then(|sealed| vault.open(AAD, &sealed));
    if kept.is_none_or(|kept| !constant_time_eq(&kept, key.expose())) {
        // The database has the original, so a failure is no reason not to start.
        if let Err(error) = kept::replace(&path, &vault.seal(AAD, key.expose())) {
            tracing::warn!(%error, path = %path.display(), "the Class key was not kept: this node cannot start without its database");
        }
    }
    Ok(Arc::new(ClassKey::new(&key)))
}

/// Which blocks of which pool this node may choose from.
pub(crate) struct Blocks {
    node: u16,
    share: (u32, u32),
    /// Of every pool claimed: how many blocks it had then, and which of them are this node's.
    claimed: parking_lot::RwLock<HashMap<Uid, (u32, Vec<u32>)>>,
}

impl Blocks {
    fn new(config: &Config) -> Self {
        Self { node: config.node.id, share: config.node.share, claimed: parking_lot::RwLock::default() }
    }

    /// The blocks of this node's share: all of them unless the configuration splits pools between nodes.
    fn wanted(&self, blocks: u32) -> Vec<u32> {
        (0..blocks).filter(|block| self.shares(*block)).collect()
    }

    const fn shares(&self, block: u32) -> bool {
        let (part, of) = self.share;
        let of = if of == 0 { 1 } else { of };
        block % of == part.saturating_sub(1)
    }

    fn owns(&self, pool: PoolId, block: u32) -> bool {
        match self.claimed.read().get(&pool.0) {
            Some((blocks, owned)) if block < *blocks => owned.binary_search(&block).is_ok(),
            // Made or grown since the start: the configured share is what a claim would give.
            _ => self.shares(block),
        }
    }

    /// Claims this node's share of a pool; without storage the configured share stands.
    pub(crate) async fn claim(&self, storage: &dyn Storage, pool: &crate::snapshot::types::Pool) {
        let blocks = PoolLedger::blocks_of(pool);
        let wanted = self.wanted(blocks);
        match storage.claim_blocks(pool.id, wanted, self.node).await {
            Ok(rows) => {
                let mut owned: Vec<u32> =
                    rows.iter().filter(|row| row.node == self.node).map(|row| row.block).collect();
                owned.sort_unstable();
                self.claimed.write().insert(pool.id, (blocks, owned));
            }
            Err(error) => {
                tracing::warn!(%error, pool = %pool.name, "pool blocks are not claimed; the configured share stands");
            }
        }
    }
}

async fn install_pools(
    publisher: &Publisher,
    ledger: &Ledger,
    blocks: &Blocks,
    storage: &dyn Storage,
    storage_up: bool,
) {
    let snapshot = publisher.load_full();
    if storage_up {
        let single = blocks.share == (1, 1);
        for pool in snapshot.pools().filter(|_| !single) {
            blocks.claim(storage, pool).await;
        }
    }
    ledger.set_pools(snapshot.pools().map(AsRef::as_ref), &|pool, block| blocks.owns(pool, block));
}

/// Keeps the ledger's pools as the snapshot has them: before any packet sees a snapshot, the ledger knows its pools.
fn follow_pools(publisher: &Publisher, ledger: &Arc<Ledger>, blocks: &Arc<Blocks>) {
    let (ledger, blocks) = (Arc::clone(ledger), Arc::clone(blocks));
    publisher.subscribe(move |publication| {
        if !publication.pools.is_empty() {
            let pools = publication.snapshot.pools().map(AsRef::as_ref);
            ledger.set_pools(pools, &|pool, block| blocks.owns(pool, block));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_of_a_pool_that_grew_or_was_made_since_the_start_is_of_one_node() {
        let node = |part: u32, owned: &[u32]| {
            let claimed = HashMap::from([(Uid(1), (4, owned.to_vec()))]);
            Blocks { node: 0, share: (part, 2), claimed: parking_lot::RwLock::new(claimed) }
        };
        // Claims that an earlier split of the pool left.
        let nodes = [node(1, &[0, 1, 2]), node(2, &[3])];
        for (pool, block) in [(1, 0), (1, 1), (1, 3), (1, 4), (1, 5), (2, 0), (2, 7)] {
            let owners = nodes.iter().filter(|node| node.owns(PoolId(Uid(pool)), block)).count();
            assert_eq!(owners, 1, "block {block} of pool {pool}");
        }
    }
}

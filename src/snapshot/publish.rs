//! The current snapshot, and how it follows storage.
//!
//! Packets call [`Publisher::load`] and keep what they get for one packet. A use-case calls [`Publisher::advance`] after
//! its commit; so does the loop that hears of other nodes' commits. Advances are serialised, each reads what was
//! committed since the current seq, and swaps.
//!
//! Invariants: the published seq never goes back; listeners have finished before any packet can see the snapshot they
//! were told of, so the ledger knows a pool before anybody asks it for an address. An object that cannot be opened is
//! taken out of service and listed in [`Snapshot::gaps`]; it stops nobody else's changes.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use parking_lot::RwLock;
use tokio::sync::{Mutex, watch};

use super::Snapshot;
use super::build::Builder;
use super::compile::Opened;
use super::delta::Change;
use super::types::Pool;
use crate::ids::Uid;
use crate::limits::SNAPSHOT_READ_OBJECTS_MAX;
use crate::model::decode::SecretField;
use crate::model::{Kind, Object, Spec};
use crate::storage::{Open, Storage, StorageError, StoredObject};

/// What became of one pool.
#[derive(Clone, Debug)]
pub struct PoolChange {
    /// Which pool.
    pub id: Uid,
    /// As it is now; `None` when it is gone.
    pub pool: Option<Arc<Pool>>,
}

/// A snapshot that is about to be published.
#[derive(Debug)]
pub struct Publication<'a> {
    /// The snapshot that packets see until then.
    pub before: &'a Snapshot,
    /// The new one.
    pub snapshot: &'a Arc<Snapshot>,
    /// Pools that differ between the two.
    pub pools: Vec<PoolChange>,
}

type Listener = Box<dyn Fn(&Publication<'_>) + Send + Sync>;

/// The current snapshot; see the module.
pub struct Publisher {
    current: ArcSwap<Snapshot>,
    /// Held while reading and swapping.
    advancing: Mutex<()>,
    published: watch::Sender<u64>,
    listeners: RwLock<Vec<Listener>>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("seq", &self.seq()).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Starts with `snapshot`, from an image or empty.
    pub fn new(snapshot: Snapshot) -> Self {
        Self {
            published: watch::Sender::new(snapshot.seq()),
            current: ArcSwap::from_pointee(snapshot),
            advancing: Mutex::new(()),
            listeners: RwLock::new(Vec::new()),
        }
    }

    /// The current snapshot, for one packet.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The current snapshot, to keep for longer.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The seq of the current snapshot.
    pub fn seq(&self) -> u64 {
        *self.published.borrow()
    }

    /// Calls `listener` before each publication from now on. It must be quick, and must not call the publisher.
    pub fn subscribe(&self, listener: impl Fn(&Publication<'_>) + Send + Sync + 'static) {
        self.listeners.write().push(Box::new(listener));
    }

    /// Catches up with storage and returns the seq reached.
    pub async fn advance(&self, storage: &dyn Storage, opener: &dyn Open) -> Result<u64, StorageError> {
        let _serial = self.advancing.lock().await;
        loop {
            let current = self.current.load_full();
            let next = catch_up(&current, storage, opener).await?;
            match next {
                Some(next) => self.publish(&current, next),
                None => return Ok(current.seq()),
            }
        }
    }

    /// Replaces the current snapshot by one read from storage as a whole, unless that is older. Returns the seq reached.
    pub async fn reload(&self, storage: &dyn Storage, opener: &dyn Open) -> Result<u64, StorageError> {
        let _serial = self.advancing.lock().await;
        let loaded = load_from_storage(storage, opener).await?;
        let current = self.current.load_full();
        if loaded.seq() >= current.seq() {
            self.publish(&current, loaded);
        }
        Ok(self.seq())
    }

    /// Waits until the published seq is at least `seq`; false when `timeout` passes first.
    pub async fn wait_for(&self, seq: u64, timeout: Duration) -> bool {
        let mut published = self.published.subscribe();
        let reached = published.wait_for(|published| *published >= seq);
        matches!(tokio::time::timeout(timeout, reached).await, Ok(Ok(_)))
    }

    fn publish(&self, before: &Snapshot, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        let publication =
            Publication { before, snapshot: &snapshot, pools: snapshot.pools_changed_since(before) };
        for listener in self.listeners.read().iter() {
            listener(&publication);
        }
        let seq = snapshot.seq();
        self.current.store(snapshot);
        self.published.send_replace(seq);
    }
}

impl Snapshot {
    /// Pools that differ from those of `before`, by id.
    pub fn pools_changed_since(&self, before: &Self) -> Vec<PoolChange> {
        if Arc::ptr_eq(&self.definitions, &before.definitions) {
            return Vec::new();
        }
        let changed = self.pools().filter(|pool| {
            let old = before.pool(pool.id);
            old.is_none_or(|old| !Arc::ptr_eq(old, pool))
        });
        let gone = before.pools().filter(|pool| self.pool(pool.id).is_none());
        let mut changes: Vec<PoolChange> = changed
            .map(|pool| PoolChange { id: pool.id, pool: Some(Arc::clone(pool)) })
            .chain(gone.map(|pool| PoolChange { id: pool.id, pool: None }))
            .collect();
        changes.sort_by_key(|change| change.id);
        changes
    }
}

/// The snapshot after the next stretch of commits; `None` when there is none.
async fn catch_up(
    current: &Snapshot,
    storage: &dyn Storage,
    opener: &dyn Open,
) -> Result<Option<Snapshot>, StorageError> {
    let (stored, seq) = storage.changes_since(current.seq(), SNAPSHOT_READ_OBJECTS_MAX).await?;
    if seq <= current.seq() {
        return Ok(None);
    }
    let images: Vec<Image> = stored.iter().filter_map(|stored| image(stored, opener)).collect();
    let changes: Vec<Change<'_>> = images.iter().map(Image::change).collect();
    Ok(Some(current.with_changes(&changes, seq)))
}

/// Reads everything from storage, page by page, and catches up with what was committed meanwhile.
pub async fn load_from_storage(storage: &dyn Storage, opener: &dyn Open) -> Result<Snapshot, StorageError> {
    // Asked first: whatever the scans miss or see only in part is among the changes after this seq.
    let seq = storage.seq().await?;
    let mut builder = Builder::new();
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Subscriber) {
        let mut after = Uid::NIL;
        loop {
            let page = storage.scan(kind, after, SNAPSHOT_READ_OBJECTS_MAX).await?;
            let Some(last) = page.last() else { break };
            after = last.envelope.id;
            for stored in &page {
                match image(stored, opener) {
                    Some(Image::Readable(opened)) => builder.add(&opened),
                    Some(Image::Unreadable(kind, id)) => builder.add_unreadable(kind, id),
                    Some(Image::Gone(..)) | None => {}
                }
            }
        }
    }
    let mut snapshot = builder.finish(seq);
    while let Some(next) = catch_up(&snapshot, storage, opener).await? {
        snapshot = next;
    }
    Ok(snapshot)
}

/// The after-image of an object.
enum Image {
    Readable(Box<Opened>),
    Gone(Kind, Uid),
    Unreadable(Kind, Uid),
}

impl Image {
    fn change(&self) -> Change<'_> {
        match self {
            Self::Readable(opened) => Change::Now(&opened.object),
            Self::Gone(kind, id) => Change::Gone(*kind, *id),
            Self::Unreadable(kind, id) => Change::Unreadable(*kind, *id),
        }
    }
}

/// Opens a stored object; `None` for kinds that no packet needs.
fn image(stored: &StoredObject, opener: &dyn Open) -> Option<Image> {
    let (kind, id) = (stored.envelope.kind, stored.envelope.id);
    if kind == Kind::Subscriber {
        return None;
    }
    if stored.envelope.deleted_at.is_some() {
        return Some(Image::Gone(kind, id));
    }
    Some(open(stored, opener).map_or(Image::Unreadable(kind, id), Image::Readable))
}

/// The object with its secrets filled in; `None` when its stored form cannot be opened.
fn open(stored: &StoredObject, opener: &dyn Open) -> Option<Box<Opened>> {
    let mut spec = Spec::from_stored(stored.envelope.kind, &stored.spec_json).ok()?;
    if stored.sealed.is_some() {
        let mut secrets = opener.secrets(stored)?;
        for (name, field) in spec.secrets_mut() {
            let found = secrets.iter().position(|(known, _)| known == name);
            if let Some(at) = found {
                *field = SecretField::Set(secrets.swap_remove(at).1);
            }
        }
    }
    // A member that says "set" without a secret behind it: as good as a wrong secret.
    let complete = spec.secrets().iter().all(|(_, field)| !matches!(field, SecretField::Keep));
    complete.then(|| Box::new(Opened { object: Object { envelope: stored.envelope.clone(), spec } }))
}

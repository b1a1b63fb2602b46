//! A journal directory in memory that forgets what was not synced and fails when told to.
//!
//! Place in the path: stands in for the real disk in tests and simulations of the journal and of everything above
//! it. Given one seed and one order of calls it always does the same.
//!
//! What it models, deliberately at its worst:
//! - [`MemoryDisk::power_cut`] keeps or loses every unsynced 512-byte sector, the unsynced length of each file and
//!   each unsynced directory operation on its own, whatever the order they were made in;
//! - a failed sync keeps some sectors and silently never writes the others, although reads still show them and
//!   later syncs succeed: what Linux does after a writeback error;
//! - a failed write may have written some sectors;
//! - after a power cut or a kill, files opened before return errors: their process is gone.
//!
//! What it does not model: reordering within a sector, and latency.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{DirectoryLock, Disk, DiskFile, LockError};
use crate::ids::{Entropy, SeededEntropy};

const SECTOR: usize = 512;
/// Largest file offset it takes, in bytes: a test that goes beyond has lost its way.
const FILE_BYTES_MAX: u64 = 1 << 31;

/// What can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Making a file.
    Create,
    /// Writing contents.
    Write,
    /// Syncing contents.
    Sync,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Syncing the directory.
    SyncDir,
    /// Reading contents.
    Read,
}

/// A failure to come.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// What fails.
    pub operation: Operation,
    /// How many such operations succeed before.
    pub after: u32,
    /// How many fail then.
    pub times: u32,
    /// The error they return.
    pub error: io::ErrorKind,
}

/// The directory. Clones are the same directory.
#[derive(Clone)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    chance: SeededEntropy,
    nodes: Vec<Node>,
    /// The directory as a running process sees it.
    names: BTreeMap<String, usize>,
    /// The directory as the device has it.
    durable_names: BTreeMap<String, usize>,
    unsynced: Vec<NameChange>,
    faults: Vec<Fault>,
    capacity_bytes: Option<u64>,
    read_only: bool,
    /// Counts power cuts and kills: handles of an earlier process are dead.
    life: u64,
    locked: Option<u64>,
}

#[derive(Default)]
struct Node {
    seen: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

enum NameChange {
    Put { name: String, node: usize },
    Renamed { from: String, to: String, node: usize },
    Removed { name: String, node: usize },
}

impl MemoryDisk {
    /// An empty directory whose chances depend on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                chance: SeededEntropy::new(seed),
                nodes: Vec::new(),
                names: BTreeMap::new(),
                durable_names: BTreeMap::new(),
                unsynced: Vec::new(),
                faults: Vec::new(),
                capacity_bytes: None,
                read_only: false,
                life: 0,
                locked: None,
            })),
        }
    }

    /// Cuts the power: what was not synced survives sector by sector as chance has it.
    pub fn power_cut(&self) {
        self.state.lock().power_cut();
    }

    /// Kills the process: everything written stays visible, synced or not.
    pub fn kill(&self) {
        let mut state = self.state.lock();
        state.life += 1;
        state.locked = None;
    }

    /// Adds a failure to come.
    pub fn fail(&self, fault: Fault) {
        self.state.lock().faults.push(fault);
    }

    /// Forgets all failures to come.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.capacity_bytes = None;
        state.read_only = false;
    }

    /// Limits the sum of all file lengths; a write beyond it returns `StorageFull`.
    pub fn limit_bytes(&self, capacity_bytes: Option<u64>) {
        self.state.lock().capacity_bytes = capacity_bytes;
    }

    /// Remounts the directory read only, or writable again.
    pub fn set_read_only(&self, read_only: bool) {
        self.state.lock().read_only = read_only;
    }

    /// The contents of a file as a running process sees them.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let node = state.names.get(name)?;
        state.nodes.get(*node).map(|node| node.seen.clone())
    }

    /// Puts a file there, synced, replacing what had the name.
    pub fn put(&self, name: &str, contents: &[u8]) {
        let mut state = self.state.lock();
        let node = state.nodes.len();
        state.nodes.push(Node {
            seen: contents.to_vec(),
            durable: contents.to_vec(),
            dirty: BTreeSet::new(),
        });
        state.names.insert(name.to_owned(), node);
        state.durable_names.insert(name.to_owned(), node);
    }
}

impl State {
    fn flip(&self) -> bool {
        self.chance.u64() & 1 == 0
    }

    fn check(&mut self, operation: Operation) -> io::Result<()> {
        let changes = !matches!(operation, Operation::Read | Operation::Sync | Operation::SyncDir);
        if self.read_only && changes {
            return Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem));
        }
        for fault in &mut self.faults {
            if fault.operation != operation || fault.times == 0 {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            fault.times -= 1;
            return Err(io::Error::from(fault.error));
        }
        Ok(())
    }

    fn used_bytes(&self) -> u64 {
        let linked: BTreeSet<usize> = self.names.values().copied().collect();
        linked.iter().filter_map(|node| self.nodes.get(*node)).map(|node| node.seen.len() as u64).sum()
    }

    fn power_cut(&mut self) {
        self.life += 1;
        self.locked = None;
        for change in std::mem::take(&mut self.unsynced) {
            if self.flip() {
                apply(&mut self.durable_names, &change);
            }
        }
        self.names.clone_from(&self.durable_names);
        for index in 0..self.nodes.len() {
            let keep_length = self.flip();
            let Some(node) = self.nodes.get_mut(index) else {
                continue;
            };
            let dirty = std::mem::take(&mut node.dirty);
            if keep_length && node.seen.len() != node.durable.len() {
                node.durable.resize(node.seen.len(), 0);
            }
            for sector in dirty {
                if self.chance.u64() & 1 == 0
                    && let Some(node) = self.nodes.get_mut(index)
                {
                    node.persist(sector);
                }
            }
            if let Some(node) = self.nodes.get_mut(index) {
                node.seen.clone_from(&node.durable);
            }
        }
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Put { name, node } => {
            names.insert(name.clone(), *node);
        }
        NameChange::Renamed { from, to, node } => {
            if names.get(from) == Some(node) {
                names.remove(from);
            }
            names.insert(to.clone(), *node);
        }
        NameChange::Removed { name, node } => {
            if names.get(name) == Some(node) {
                names.remove(name);
            }
        }
    }
}

impl Node {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        if let Some(target) = self.seen.get_mut(offset..end) {
            target.copy_from_slice(bytes);
        }
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    /// Brings one sector to the device, as far as the file is that long there.
    fn persist(&mut self, sector: usize) {
        let start = sector * SECTOR;
        let end = (start + SECTOR).min(self.seen.len()).min(self.durable.len());
        if let (Some(from), Some(to)) = (self.seen.get(start..end), self.durable.get_mut(start..end)) {
            to.copy_from_slice(from);
        }
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.check(Operation::Create)?;
        if state.names.contains_key(name) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let node = state.nodes.len();
        state.nodes.push(Node::default());
        state.names.insert(name.to_owned(), node);
        state.unsynced.push(NameChange::Put { name: name.to_owned(), node });
        Ok(self.handle(node, state.life))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state.lock();
        let node = state.names.get(name).copied();
        let node = node.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(self.handle(node, state.life))
    }

    fn reopen(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check(Operation::Rename)?;
        let node = state.names.remove(from);
        let node = node.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        state.names.insert(to.to_owned(), node);
        state.unsynced.push(NameChange::Renamed { from: from.to_owned(), to: to.to_owned(), node });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check(Operation::Remove)?;
        let node = state.names.remove(name);
        let node = node.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        state.unsynced.push(NameChange::Removed { name: name.to_owned(), node });
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check(Operation::SyncDir)?;
        state.unsynced.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn lock(&self) -> Result<Box<dyn DirectoryLock>, LockError> {
        let mut state = self.state.lock();
        if state.locked.is_some() {
            return Err(LockError::Held { pid: None });
        }
        let life = state.life;
        state.locked = Some(life);
        Ok(Box::new(MemoryLock { disk: self.clone(), life }))
    }
}

impl MemoryDisk {
    fn handle(&self, node: usize, life: u64) -> Arc<dyn DiskFile> {
        Arc::new(MemoryFile { disk: self.clone(), node, life })
    }
}

struct MemoryLock {
    disk: MemoryDisk,
    life: u64,
}

impl DirectoryLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.locked == Some(self.life) {
            state.locked = None;
        }
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    node: usize,
    life: u64,
}

impl MemoryFile {
    fn with<T>(&self, run: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state.lock();
        if state.life != self.life {
            return Err(io::Error::other("the process that opened this file is gone"));
        }
        run(&mut state)
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(|state| {
            state.check(Operation::Read)?;
            let seen = state.nodes.get(self.node).map_or(&[][..], |node| &node.seen);
            let rest = seen.get(offset as usize..).unwrap_or_default();
            let read = rest.len().min(buffer.len());
            if let (Some(to), Some(from)) = (buffer.get_mut(..read), rest.get(..read)) {
                to.copy_from_slice(from);
            }
            Ok(read)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|state| {
            let end = offset.saturating_add(bytes.len() as u64);
            if end > FILE_BYTES_MAX {
                return Err(io::Error::from(io::ErrorKind::FileTooLarge));
            }
            let outcome = state.check(Operation::Write);
            let used = state.used_bytes();
            let partial = outcome.is_err() && state.flip();
            let cut = (state.chance.u64() as usize) % (bytes.len() + 1);
            let capacity = state.capacity_bytes;
            let Some(node) = state.nodes.get_mut(self.node) else {
                return Err(io::Error::from(io::ErrorKind::NotFound));
            };
            if partial && let Some(part) = bytes.get(..cut) {
                node.write(offset as usize, part);
            }
            outcome?;
            let growth = end.saturating_sub(node.seen.len() as u64);
            if growth > 0 && capacity.is_some_and(|capacity| used + growth > capacity) {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            node.write(offset as usize, bytes);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state| {
            let outcome = state.check(Operation::Sync);
            let failed = outcome.is_err();
            let lucky = !failed || state.flip();
            let Some(node) = state.nodes.get_mut(self.node) else {
                return Err(io::Error::from(io::ErrorKind::NotFound));
            };
            let dirty = std::mem::take(&mut node.dirty);
            if lucky {
                node.durable.resize(node.seen.len(), 0);
            }
            for sector in dirty {
                if (!failed || state.chance.u64() & 1 == 0)
                    && let Some(node) = state.nodes.get_mut(self.node)
                {
                    node.persist(sector);
                }
            }
            outcome
        })
    }

    fn bytes(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.nodes.get(self.node).map_or(0, |node| node.seen.len() as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_forgets_only_what_was_not_synced() {
        let mut outcomes = BTreeSet::new();
        for seed in 0..200 {
            let disk = MemoryDisk::new(seed);
            let file = disk.create("a").unwrap();
            file.write_at(0, &[1; 1024]).unwrap();
            file.sync_data().unwrap();
            disk.sync_dir().unwrap();
            file.write_at(0, &[2; 1024]).unwrap();
            disk.create("b").unwrap();
            disk.power_cut();
            let bytes = disk.contents("a").unwrap();
            assert!(file.sync_data().is_err());
            outcomes.insert((bytes[0], bytes[512], disk.contents("b").is_some()));
        }
        assert_eq!(outcomes.len(), 8, "each unsynced thing survives on its own: {outcomes:?}");
    }

    #[test]
    fn a_write_error_lost_by_a_sync_stays_lost_although_reads_show_it() {
        let lost = (0..40).any(|seed| {
            let disk = MemoryDisk::new(seed);
            let file = disk.create("a").unwrap();
            file.write_at(0, &[1; 512]).unwrap();
            file.sync_data().unwrap();
            disk.sync_dir().unwrap();
            disk.fail(Fault { operation: Operation::Sync, after: 0, times: 1, error: io::ErrorKind::Other });
            file.write_at(0, &[2; 512]).unwrap();
            assert!(file.sync_data().is_err());
            assert_eq!(disk.contents("a").unwrap()[0], 2);
            assert!(file.sync_data().is_ok());
            disk.power_cut();
            disk.contents("a").unwrap()[0] == 1
        });
        assert!(lost);
    }

    #[test]
    fn a_full_disk_refuses_growth_and_takes_overwrites() {
        let disk = MemoryDisk::new(1);
        let file = disk.create("a").unwrap();
        file.write_at(0, &[1; 512]).unwrap();
        disk.limit_bytes(Some(512));
        assert_eq!(file.write_at(512, &[1]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.write_at(100, &[3; 20]).unwrap();
    }
}

//! The file layer under the journal: the few operations it needs, and the real one over `std::fs`.
//!
//! Place in the path: below the commit thread, recovery and the tail reader; nothing else touches files.
//!
//! Invariants: files are made exclusively, with mode 0600 and close-on-exec; a name, once given, reaches the disk
//! only with [`Disk::sync_dir`], contents only with [`DiskFile::sync_data`]. A failed sync says nothing about what
//! reached the disk, and a later successful sync of the same file does not repair that: callers abandon the file.
//!
//! Assumed of the device: a write of one 512-byte sector is atomic, so that a commit which begins in the middle
//! of the last written sector cannot damage the records before it.
//!
//! Not here: what the files contain. `MemoryDisk` is the same layer for tests.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One open file, addressed by offset.
pub trait DiskFile: Send + Sync {
    /// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns when everything written so far is on the device (fdatasync).
    fn sync_data(&self) -> io::Result<()>;

    /// Length of the file, in bytes.
    fn bytes(&self) -> io::Result<u64>;
}

/// One directory of journal files.
pub trait Disk: Send + Sync {
    /// Names of the files, in no particular order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes an empty file; an existing name is an error.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens an existing file for reading.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens an existing file for reading and writing.
    fn reopen(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns when every name given, changed or removed so far is on the device.
    fn sync_dir(&self) -> io::Result<()>;

    /// Takes the directory for this process, until the lock is dropped.
    fn lock(&self) -> Result<Box<dyn DirectoryLock>, LockError>;
}

/// Holds a journal directory; dropping it lets others in.
pub trait DirectoryLock: Send + Sync {}

/// Why the journal directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("another lastmile uses this state directory (pid {})", .pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string()))]
    Held {
        /// The process that wrote itself into the lock file.
        pid: Option<u32>,
    },
    /// The lock file could not be made or locked.
    #[error("the lock file {path} cannot be used: check owner and mount of the state directory")]
    Io {
        /// The lock file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

const LOCK_NAME: &str = "journal.lock";
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// The journal directory of a running daemon.
#[derive(Debug)]
pub struct RealDisk {
    directory: PathBuf,
}

impl RealDisk {
    /// Uses `directory`, making it (and its parents, mode 0700) if it does not exist. The parent is synced, so
    /// that a new directory survives a power cut.
    pub fn at(directory: &Path) -> io::Result<Self> {
        if !directory.is_dir() {
            DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
            if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self { directory: directory.to_owned() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            // A name that is not UTF-8 is not ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(self.path(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(File::open(self.path(name))?)))
    }

    fn reopen(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn lock(&self) -> Result<Box<dyn DirectoryLock>, LockError> {
        let path = self.path(LOCK_NAME);
        let failed = |source| LockError::Io { path: path.display().to_string(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held { pid: holder(file) }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // The pid is a courtesy to the operator; a full disk must not keep the daemon from starting.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Box::new(RealLock { _file: file }))
    }
}

fn holder(file: File) -> Option<u32> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

struct RealLock {
    _file: File,
}

impl DirectoryLock for RealLock {}

struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_private_and_made_only_once() {
        let root = tempfile::tempdir().unwrap();
        let disk = RealDisk::at(&root.path().join("state/journal")).unwrap();
        disk.create("a").unwrap().write_at(3, b"xyz").unwrap();
        assert_eq!(disk.create("a").err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        let mode = std::fs::metadata(disk.path("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut buffer = [9; 8];
        assert_eq!(disk.open("a").unwrap().read_at(0, &mut buffer).unwrap(), 6);
        assert_eq!(&buffer[..6], b"\0\0\0xyz");
    }

    #[test]
    fn a_second_daemon_is_told_who_has_the_directory() {
        let root = tempfile::tempdir().unwrap();
        let disk = RealDisk::at(root.path()).unwrap();
        let lock = disk.lock().unwrap();
        let refused = disk.lock().err().unwrap().to_string();
        let pid = std::process::id();
        assert_eq!(refused, format!("another lastmile uses this state directory (pid {pid})"));
        drop(lock);
        assert!(disk.lock().is_ok());
    }
}

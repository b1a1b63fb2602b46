//! Checkpoint files: the ledger on this node's disk, so that recovery need not read the whole journal.
//!
//! Written beside the old one, synced, renamed, directory synced: after a crash there is the old or the new one, never half of
//! one. A damaged checkpoint is set aside with a clear message; the journal then has to reach back to the beginning.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::ledger::Ledger;

/// Name of the file in the state directory.
const FILE: &str = "ledger.checkpoint";

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Its content is unusable.
    #[error("{}: move it away and start with --accept-loss to rebuild from the journal alone", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        source: crate::ledger::CheckpointError,
    },
}

/// Writes the ledger as of at least sequence `current`; returns the sequence from which the journal is still needed.
pub fn write(directory: &Path, ledger: &Ledger, current: u64) -> io::Result<u64> {
    let checkpoint = ledger.checkpoint(current);
    let (path, fresh) = (directory.join(FILE), directory.join("ledger.checkpoint.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(&checkpoint.bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    File::open(directory)?.sync_all()?;
    Ok(checkpoint.oldest)
}

/// Loads the checkpoint into an empty ledger whose pools are installed; the sequence after which the journal must be
/// applied, 0 without a checkpoint.
pub fn load(directory: &Path, ledger: &Ledger) -> Result<u64, LoadError> {
    let path = directory.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(source) => return Err(LoadError::Read { path, source }),
    };
    ledger.load_checkpoint(&bytes).map_err(|source| LoadError::Content { path, source })
}

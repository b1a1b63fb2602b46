//! SQLite: one writing connection, some reading ones, one file that only its owner may read.
//!
//! A single writer that begins with `BEGIN IMMEDIATE` never meets another in this process, and waits for one in
//! another process (`lastmile db`) instead of failing. Readers see the last commit through the write-ahead log.

use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Sqlite, SqliteConnection, SqlitePool, Transaction};
use tokio::sync::Notify;

use super::StorageError;
use super::statement::failure;
use crate::limits::{
    DATABASE_ANSWER_MS, DATABASE_CHECKPOINT_PAGES, DATABASE_LOCK_MS, DATABASE_READERS_MAX,
    DATABASE_WRITER_CACHE_BYTES,
};

/// An open database file.
#[derive(Debug)]
pub(super) struct Link {
    writer: SqlitePool,
    readers: SqlitePool,
    /// Fired by every commit: all writers of this database are in this process.
    pub(super) committed: Notify,
}

impl Link {
    pub(super) async fn open(path: &Path) -> Result<Self, StorageError> {
        let file = path.to_owned();
        let prepared = tokio::task::spawn_blocking(move || prepare(&file)).await;
        let io = prepared.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        io.map_err(|error| failure("making the database file", sqlx::Error::Io(error)))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_millis(DATABASE_LOCK_MS));
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(Duration::from_millis(2 * DATABASE_ANSWER_MS))
                // A local file does not go away between two statements.
                .test_before_acquire(false)
        };
        let opening = |error| failure("opening the database file", error);
        // The writer first: it makes the file a write-ahead one, which readers then find.
        let writer = pool(1).after_release(|connection, _| Box::pin(is_out_of_transaction(connection)));
        let writing = options
            .clone()
            // Kibibytes when negative. The default of 2 MiB reads the upper pages of every index again and again.
            .pragma("cache_size", format!("-{}", DATABASE_WRITER_CACHE_BYTES / 1024))
            .pragma("wal_autocheckpoint", DATABASE_CHECKPOINT_PAGES.to_string());
        let writer = writer.connect_with(writing).await.map_err(opening)?;
        let readers =
            pool(DATABASE_READERS_MAX).connect_with(options.read_only(true)).await.map_err(opening)?;
        Ok(Self { writer, readers, committed: Notify::new() })
    }

    pub(super) async fn reader(&self, doing: &'static str) -> Result<PoolConnection<Sqlite>, StorageError> {
        self.readers.acquire().await.map_err(|error| failure(doing, error))
    }

    pub(super) async fn writer(
        &self,
        doing: &'static str,
    ) -> Result<Transaction<'static, Sqlite>, StorageError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(|error| failure(doing, error))
    }

    /// The writing connection outside a transaction.
    pub(super) async fn writing_connection(&self) -> Result<PoolConnection<Sqlite>, StorageError> {
        let taking = "waiting for the writing connection";
        self.writer.acquire().await.map_err(|error| failure(taking, error))
    }

    pub(super) fn tell(&self) {
        // Those waiting now wake; for one that comes next, the permit is kept.
        self.committed.notify_waiters();
        self.committed.notify_one();
    }
}

/// Whether the connection may be used again.
///
/// SQLite itself rolls back a transaction that met a full disk or an I/O error. The ROLLBACK that follows then fails, and the
/// driver counts on being in a transaction for ever: it would refuse every later one.
async fn is_out_of_transaction(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // Behind whatever rollback is still on its way.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// The file's path in `sqlite:/path`, `sqlite:///path` or `sqlite:relative`.
pub(super) fn path(rest: &str) -> Option<PathBuf> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// Makes directory and file so that nobody else can read subscribers' data or sealed secrets; the files that SQLite
/// puts beside it take the same mode.
fn prepare(path: &Path) -> std::io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

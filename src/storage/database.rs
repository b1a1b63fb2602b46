//! [`Storage`] over either dialect: which connection each verb gets, and how it ends.
//!
//! A verb that writes runs in a transaction, committed when the verb succeeds and rolled back when it does not. A verb
//! that reads gets a connection of its own. What happens in between is the same for both dialects.

use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, Transaction};
use tokio::sync::Notify;

use super::statement::{Connection, failure};
use super::{
    Act, Answer, BlockRow, Change, EventRow, Filter, Lookup, ObservedFilter, Page, Storage, StorageError,
    StoredObject, TokenRow, commit, history, installation, migrate, objects, observed, postgres, sqlite,
};
use crate::ids::{SessionId, TenantId, TokenId, Uid};
use crate::limits::{DATABASE_MIGRATION_MS, STORAGE_IMPORT_ROWS_MIN};
use crate::model::Kind;
use crate::model::observed::{BindingRow, GrantRow, ObservedBatch, SessionRow};
use crate::time::Stamp;

/// An open database of either kind.
#[derive(Debug)]
pub(super) enum Database {
    Sqlite(sqlite::Link),
    Postgres(postgres::Link),
}

/// Opens the database at `url` (`sqlite:/path/file.db` or `postgres://user@host/database`) and brings its schema up
/// to date.
pub async fn open(url: &str) -> Result<Arc<dyn Storage>, StorageError> {
    let database = Database::connect(url).await?;
    database.migrate(migrate::KNOWN).await?;
    Ok(Arc::new(database))
}

/// As [`open`], but a database that does not answer is no failure: the second part says whether it did, and its schema is
/// then current. Every other error ends it.
pub async fn open_unless_down(
    url: &str,
) -> Result<(Arc<dyn Storage>, Result<(), StorageError>), StorageError> {
    let database = Database::connect(url).await?;
    let reached = match database.migrate(migrate::KNOWN).await {
        Ok(_) => Ok(()),
        Err(error @ StorageError::Unavailable { .. }) => Err(error),
        Err(error) => return Err(error),
    };
    Ok((Arc::new(database), reached))
}

/// One verb: takes a connection as `$begin` does, works with it and ends it, all within its time. A macro, because
/// the type of a closure could not say that its future borrows the connection.
macro_rules! verb {
    ($database:ident, $begin:ident, $doing:literal, $rows:expr, |$connection:ident| $work:expr) => {
        Box::pin($database.bounded($doing, $rows, async move {
            let mut work = $database.$begin($doing).await?;
            let outcome = {
                let $connection = &mut work.connection()?;
                $work.await
            };
            work.finish($doing, outcome).await
        }))
    };
}

/// A connection while a verb uses it.
enum Work {
    Reading(PoolConnection<Sqlite>),
    Writing(Transaction<'static, Sqlite>),
    Leased { lease: postgres::Lease, writes: bool },
}

impl Database {
    /// Opens without looking at the schema.
    pub(super) async fn connect(url: &str) -> Result<Self, StorageError> {
        if let Some(path) = url.strip_prefix("sqlite:").and_then(sqlite::path) {
            return sqlite::Link::open(&path).await.map(Self::Sqlite);
        }
        postgres::Link::open(url).map(Self::Postgres)
    }

    /// Applies migrations up to `through`; returns the version found.
    pub(super) async fn migrate(&self, through: i64) -> Result<i64, StorageError> {
        let found = self.version().await?;
        if found > migrate::KNOWN {
            return Err(StorageError::SchemaTooNew { found, known: migrate::KNOWN });
        }
        if found >= through {
            return Ok(found);
        }
        match self {
            Self::Sqlite(link) => migrate::sqlite(&mut *link.writing_connection().await?, through).await,
            Self::Postgres(link) => {
                let doing = "migrating the schema";
                let time = Duration::from_millis(DATABASE_MIGRATION_MS);
                // The connection is closed afterwards: its time limits are not those of the others.
                let mut lease = link.lease(doing).await?;
                postgres::within(doing, time, migrate::postgres(lease.connection()?, through)).await
            }
        }
    }

    /// The schema version found.
    pub(super) async fn version(&self) -> Result<i64, StorageError> {
        verb!(self, read, "reading the schema version", 0, |connection| { migrate::version(connection) })
            .await
    }

    async fn read(&self, doing: &'static str) -> Result<Work, StorageError> {
        match self {
            Self::Sqlite(link) => link.reader(doing).await.map(Work::Reading),
            Self::Postgres(link) => {
                let lease = link.lease(doing).await?;
                Ok(Work::Leased { lease, writes: false })
            }
        }
    }

    async fn write(&self, doing: &'static str) -> Result<Work, StorageError> {
        match self {
            Self::Sqlite(link) => link.writer(doing).await.map(Work::Writing),
            Self::Postgres(link) => {
                // However many rows are to follow, the first answer must come soon.
                let lease = postgres::within(doing, postgres::deadline(0), async {
                    let mut lease = link.lease(doing).await?;
                    lease.execute(doing, "BEGIN").await?;
                    Ok(lease)
                });
                Ok(Work::Leased { lease: lease.await?, writes: true })
            }
        }
    }

    /// Bounds a request about `rows` rows in time, where a network lies in between.
    async fn bounded<T>(
        &self,
        doing: &'static str,
        rows: usize,
        request: impl Future<Output = Result<T, StorageError>> + Send,
    ) -> Result<T, StorageError> {
        match self {
            Self::Sqlite(_) => request.await,
            Self::Postgres(_) => postgres::within(doing, postgres::deadline(rows), request).await,
        }
    }

    /// Wakes whoever waits in this process; PostgreSQL tells the other nodes and us alike.
    fn tell(&self) {
        if let Self::Sqlite(link) = self {
            link.tell();
        }
    }

    /// Tells PostgreSQL's planner about an import at once: with the sizes of before, the next lists would be joined
    /// row by row for the minute until the server looks by itself. A failure costs only that time.
    async fn take_stock(&self, rows: usize) {
        let doing = "taking stock after an import";
        if let Self::Postgres(link) = self
            && rows >= STORAGE_IMPORT_ROWS_MIN
        {
            let _ = postgres::within(doing, postgres::deadline(0), async {
                let mut lease = link.lease(doing).await?;
                let tables = "ANALYZE object, object_external, object_key, object_ref, object_label";
                lease.execute(doing, tables).await?;
                lease.give_back();
                Ok(())
            })
            .await;
        }
    }

    fn committed(&self) -> &Notify {
        match self {
            Self::Sqlite(link) => &link.committed,
            Self::Postgres(link) => &link.committed,
        }
    }
}

impl Work {
    fn connection(&mut self) -> Result<Connection<'_>, StorageError> {
        match self {
            Self::Reading(connection) => Ok(Connection::Sqlite(connection)),
            Self::Writing(transaction) => Ok(Connection::Sqlite(transaction)),
            Self::Leased { lease, .. } => lease.connection().map(Connection::Postgres),
        }
    }

    /// Makes the outcome of a verb true: commits what succeeded, rolls back what failed.
    async fn finish<T>(
        self,
        doing: &'static str,
        outcome: Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        match self {
            Self::Reading(_) => outcome,
            Self::Writing(transaction) => {
                let ended = match outcome {
                    Ok(_) => transaction.commit().await,
                    Err(_) => transaction.rollback().await,
                };
                outcome.and_then(|answer| ended.map(|()| answer).map_err(|error| failure(doing, error)))
            }
            Self::Leased { mut lease, writes } => {
                // A connection that failed to answer is dropped, which the database takes as a rollback.
                if matches!(outcome, Err(StorageError::Unavailable { .. })) {
                    return outcome;
                }
                if writes {
                    let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
                    lease.execute(doing, end).await?;
                }
                lease.give_back();
                outcome
            }
        }
    }
}

impl Storage for Database {
    fn commit(&self, change: Change) -> Answer<'_, u64> {
        Box::pin(async move {
            let rows = change.writes.len();
            let seq = verb!(self, write, "committing a change", rows, |connection| {
                commit::commit(connection, &change)
            })
            .await?;
            self.tell();
            self.take_stock(rows).await;
            Ok(seq)
        })
    }

    fn seq(&self) -> Answer<'_, u64> {
        verb!(self, read, "reading the seq", 0, |connection| objects::seq(connection))
    }

    fn find(&self, tenant: TenantId, kind: Kind, lookup: Lookup) -> Answer<'_, Vec<StoredObject>> {
        verb!(self, read, "finding an object", 0, |connection| objects::find(
            connection, tenant, kind, &lookup
        ))
    }

    fn list(
        &self,
        tenant: TenantId,
        kind: Kind,
        filter: Filter,
        after: Option<String>,
        limit: usize,
    ) -> Answer<'_, Page<StoredObject>> {
        verb!(self, read, "listing objects", limit, |connection| objects::list(
            connection,
            tenant,
            kind,
            &filter,
            after.as_deref(),
            limit
        ))
    }

    fn changes_since(&self, seq: u64, limit: usize) -> Answer<'_, (Vec<StoredObject>, u64)> {
        verb!(self, read, "reading changes", limit, |connection| {
            objects::changes_since(connection, seq, limit)
        })
    }

    fn scan(&self, kind: Kind, after: Uid, limit: usize) -> Answer<'_, Vec<StoredObject>> {
        verb!(self, read, "reading all objects", limit, |connection| {
            objects::scan(connection, kind, after, limit)
        })
    }

    fn events(&self, tenant: TenantId, seq: u64, limit: usize) -> Answer<'_, Vec<EventRow>> {
        verb!(self, read, "reading events", limit, |connection| objects::events(
            connection, tenant, seq, limit
        ))
    }

    fn apply_observed(&self, batch: ObservedBatch) -> Answer<'_, u64> {
        let rows = batch.bindings.len() + batch.sessions.len() + batch.grants.len();
        verb!(self, write, "applying a journal", rows, |connection| { observed::apply(connection, &batch) })
    }

    fn applied_sequence(&self, node: u16) -> Answer<'_, u64> {
        verb!(self, read, "reading a journal position", 0, |connection| {
            observed::position(connection, node)
        })
    }

    fn sessions(
        &self,
        tenant: TenantId,
        filter: ObservedFilter,
        after: Option<String>,
        limit: usize,
    ) -> Answer<'_, Page<SessionRow>> {
        verb!(self, read, "reading sessions", limit, |connection| {
            history::sessions(connection, tenant, &filter, after.as_deref(), limit)
        })
    }

    fn session(&self, tenant: TenantId, id: SessionId) -> Answer<'_, Option<SessionRow>> {
        verb!(self, read, "reading a session", 0, |connection| history::session(connection, tenant, id))
    }

    fn grants(
        &self,
        tenant: TenantId,
        filter: ObservedFilter,
        after: Option<String>,
        limit: usize,
    ) -> Answer<'_, Page<GrantRow>> {
        verb!(self, read, "reading grants", limit, |connection| history::grants(
            connection,
            tenant,
            &filter,
            after.as_deref(),
            limit
        ))
    }

    fn grants_of_others(&self, node: u16, after: Vec<(u16, u64)>, limit: usize) -> Answer<'_, Vec<GrantRow>> {
        verb!(self, read, "reading grants of other nodes", limit, |connection| {
            history::grants_of_others(connection, node, &after, limit)
        })
    }

    fn bindings(
        &self,
        tenant: TenantId,
        filter: ObservedFilter,
        after: Option<String>,
        limit: usize,
    ) -> Answer<'_, Page<BindingRow>> {
        verb!(self, read, "reading bindings", limit, |connection| {
            history::bindings(connection, tenant, &filter, after.as_deref(), limit)
        })
    }

    fn purge_before(&self, day: u32, limit: usize) -> Answer<'_, u64> {
        verb!(self, write, "purging history", limit, |connection| { observed::purge(connection, day, limit) })
    }

    fn put_token(&self, token: TokenRow, act: Act) -> Answer<'_, ()> {
        verb!(self, write, "storing a token", 0, |connection| {
            installation::put_token(connection, &token, &act)
        })
    }

    fn tokens(&self) -> Answer<'_, Vec<TokenRow>> {
        verb!(self, read, "reading tokens", 0, |connection| installation::tokens(connection))
    }

    fn revoke_token(&self, id: TokenId, at: Stamp, act: Act) -> Answer<'_, bool> {
        verb!(self, write, "revoking a token", 0, |connection| {
            installation::revoke_token(connection, id, at, &act)
        })
    }

    fn note(&self, act: Act) -> Answer<'_, ()> {
        verb!(self, write, "writing an audit row", 0, |connection| commit::note(connection, &act))
    }

    fn key(&self, tenant: TenantId, name: String, candidate: Vec<u8>) -> Answer<'_, Vec<u8>> {
        verb!(self, write, "reading a key", 0, |connection| installation::key(
            connection, tenant, &name, &candidate
        ))
    }

    fn claim_blocks(&self, pool: Uid, blocks: Vec<u32>, node: u16) -> Answer<'_, Vec<BlockRow>> {
        let rows = blocks.len();
        verb!(self, write, "claiming pool blocks", rows, |connection| {
            installation::claim_blocks(connection, pool, &blocks, node)
        })
    }

    fn raise_epoch(&self, node: u16) -> Answer<'_, u64> {
        verb!(self, write, "raising the epoch of a node", 0, |connection| {
            installation::raise_epoch(connection, node)
        })
    }

    fn schema_version(&self) -> Answer<'_, (i64, i64)> {
        Box::pin(async move { Ok((self.version().await?, migrate::KNOWN)) })
    }

    fn changed(&self, timeout: Duration) -> Answer<'_, ()> {
        Box::pin(async move {
            // Either way the caller looks for itself.
            let _ = tokio::time::timeout(timeout, self.committed().notified()).await;
            Ok(())
        })
    }

    fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    fn ping(&self) -> Answer<'_, ()> {
        verb!(self, read, "asking whether the database answers", 0, |connection| async {
            objects::seq(connection).await.map(drop)
        })
    }
}

//! PostgreSQL: a pool whose every use is bounded in time, and a listener that turns notifications into wake-ups.
//!
//! A network can swallow packets without closing a connection, so a request is abandoned after its deadline and its
//! connection with it: an abandoned connection never returns to the pool, where it would block whoever gets it next.
//! The database in turn ends transactions of clients that went silent, so that none holds the commit lock for long.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool, Postgres};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::StorageError;
use super::statement::failure;
use crate::limits::{
    DATABASE_ANSWER_MS, DATABASE_CONNECTIONS_MAX, DATABASE_IDLE_TRANSACTION_MS, DATABASE_LISTENER_CHECK_MS,
    DATABASE_LOCK_MS, DATABASE_ROW_ALLOWANCE_US, DATABASE_STATEMENT_MS,
};

const ANSWER: Duration = Duration::from_millis(DATABASE_ANSWER_MS);

/// A pool of connections to one database.
#[derive(Debug)]
pub(super) struct Link {
    pool: PgPool,
    /// Fired when any node commits.
    pub(super) committed: Arc<Notify>,
    listener: AbortHandle,
}

impl Link {
    pub(super) fn open(url: &str) -> Result<Self, StorageError> {
        let options = options(url)?;
        let pool = PgPoolOptions::new()
            .max_connections(DATABASE_CONNECTIONS_MAX)
            .acquire_timeout(ANSWER)
            .connect_lazy_with(options);
        let committed = Arc::new(Notify::new());
        let listener = tokio::spawn(listen(pool.clone(), Arc::clone(&committed))).abort_handle();
        Ok(Self { pool, committed, listener })
    }

    /// A connection for one request.
    pub(super) async fn lease(&self, doing: &'static str) -> Result<Lease, StorageError> {
        let connection = self.pool.acquire().await.map_err(|error| failure(doing, error))?;
        Ok(Lease { connection: Some(connection) })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Time for a request about `rows` rows.
pub(super) fn deadline(rows: usize) -> Duration {
    ANSWER
        + Duration::from_micros(DATABASE_ROW_ALLOWANCE_US).saturating_mul(rows.try_into().unwrap_or(u32::MAX))
}

/// Gives up on `request` when its time is over.
pub(super) async fn within<T>(
    doing: &'static str,
    deadline: Duration,
    request: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, StorageError> {
    match timeout(deadline, request).await {
        Ok(answer) => answer,
        Err(late) => Err(failure(doing, sqlx::Error::Io(late.into()))),
    }
}

/// A connection on loan. Unless it is given back, dropping it closes it: whoever was interrupted cannot know what
/// the connection is in the middle of.
pub(super) struct Lease {
    connection: Option<PoolConnection<Postgres>>,
}

impl Lease {
    /// Returns the connection to the pool: it is between two statements and outside any transaction.
    pub(super) fn give_back(mut self) {
        self.connection = None;
    }

    pub(super) fn connection(&mut self) -> Result<&mut PgConnection, StorageError> {
        match &mut self.connection {
            Some(connection) => Ok(connection),
            None => Err(failure("using a connection", sqlx::Error::PoolClosed)),
        }
    }

    /// Runs a statement without parameters.
    pub(super) async fn execute(
        &mut self,
        doing: &'static str,
        text: &'static str,
    ) -> Result<(), StorageError> {
        let connection = self.connection()?;
        let done = sqlx::raw_sql(text).execute(connection).await;
        done.map(drop).map_err(|error| failure(doing, error))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

/// Reads a URL and adds what every session of ours needs. The URL may hold a password, so no error quotes it.
pub(super) fn options(url: &str) -> Result<PgConnectOptions, StorageError> {
    let options = PgConnectOptions::from_str(url).map_err(|_| {
        let shape = "it is not of the form postgres://user:password@host:port/database";
        failure("reading the storage URL", sqlx::Error::Configuration(shape.into()))
    })?;
    Ok(options
        .application_name("lastmile")
        .options([
            ("statement_timeout", DATABASE_STATEMENT_MS.to_string()),
            ("lock_timeout", DATABASE_LOCK_MS.to_string()),
            ("idle_in_transaction_session_timeout", DATABASE_IDLE_TRANSACTION_MS.to_string()),
            // Filters that are not asked for vanish only from a plan made for the parameter at hand.
            ("plan_cache_mode", "force_custom_plan".to_owned()),
        ])
        .disable_statement_logging())
}

/// Passes notifications on for as long as the storage is open. A hint may get lost with a connection, so each new
/// connection counts as a hint too.
async fn listen(pool: PgPool, committed: Arc<Notify>) {
    let pause = Duration::from_millis(DATABASE_LISTENER_CHECK_MS);
    loop {
        if let Ok(Ok(mut listener)) = timeout(ANSWER, connect_listener(&pool)).await {
            tell(&committed);
            while still_hears(&mut listener, &committed, pause).await {}
        }
        tokio::time::sleep(pause / 15).await;
    }
}

fn tell(committed: &Notify) {
    // Those waiting now wake; for one that comes next, the permit is kept.
    committed.notify_waiters();
    committed.notify_one();
}

async fn connect_listener(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen("lastmile_commit").await?;
    Ok(listener)
}

/// Waits for one notification; after a long silence asks whether the connection still answers.
async fn still_hears(listener: &mut PgListener, committed: &Notify, pause: Duration) -> bool {
    match timeout(pause, listener.try_recv()).await {
        Ok(Ok(Some(_))) => {
            tell(committed);
            true
        }
        Ok(Ok(None) | Err(_)) => false,
        Err(_) => {
            let alive = sqlx::query("SELECT 1").execute(&mut *listener);
            matches!(timeout(ANSWER, alive).await, Ok(Ok(_)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_refused_without_quoting_its_password() {
        let error = options("postgres://user:hunter22@host:port/db").unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter22"), "{text}");
        assert!(text.contains("storage URL"), "{text}");
    }
}

//! One statement in both dialects, and the connection that runs it.
//!
//! The dialects lie side by side so that a change to one is seen beside the other. Statements are static text with one
//! parameter, a JSON document (see [`super::rows`]); an answer is always one row: a number and a JSON text.

use sqlx::postgres::{PgConnection, PgDatabaseError};
use sqlx::sqlite::{SqliteConnection, SqliteError};
use sqlx::{Error, Row};

use super::StorageError;

/// The same statement in the words of both dialects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statement {
    /// What it is for, as error texts say it.
    pub(super) doing: &'static str,
    /// For SQLite.
    pub(super) sqlite: &'static str,
    /// For PostgreSQL.
    pub(super) postgres: &'static str,
}

/// A connection of either dialect.
pub(super) enum Connection<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut PgConnection),
}

impl Connection<'_> {
    /// Runs a statement and returns how many rows it touched.
    pub(super) async fn run(&mut self, statement: &Statement, input: String) -> Result<u64, StorageError> {
        let touched = match self {
            Self::Sqlite(connection) => sqlx::query(statement.sqlite)
                .bind(input)
                .execute(&mut **connection)
                .await
                .map(|done| done.rows_affected()),
            Self::Postgres(connection) => sqlx::query(statement.postgres)
                .bind(input)
                .execute(&mut **connection)
                .await
                .map(|done| done.rows_affected()),
        };
        touched.map_err(|error| failure(statement.doing, error))
    }

    /// Runs a statement and returns its answer.
    pub(super) async fn ask(
        &mut self,
        statement: &Statement,
        input: String,
    ) -> Result<(i64, String), StorageError> {
        let answer = match self {
            Self::Sqlite(connection) => sqlx::query(statement.sqlite)
                .bind(input)
                .fetch_one(&mut **connection)
                .await
                .and_then(|row| Ok((row.try_get(0)?, row.try_get(1)?))),
            Self::Postgres(connection) => sqlx::query(statement.postgres)
                .bind(input)
                .fetch_one(&mut **connection)
                .await
                .and_then(|row| Ok((row.try_get(0)?, row.try_get(1)?))),
        };
        answer.map_err(|error| failure(statement.doing, error))
    }
}

/// Tells a database that cannot answer now from one that refuses.
pub(super) fn failure(doing: &'static str, source: Error) -> StorageError {
    if is_passing(&source) {
        StorageError::Unavailable { doing, source }
    } else {
        StorageError::Failed { doing, source }
    }
}

fn is_passing(error: &Error) -> bool {
    let Error::Database(database) = error else {
        return matches!(
            error,
            Error::Io(_)
                | Error::Tls(_)
                | Error::Protocol(_)
                | Error::PoolTimedOut
                | Error::PoolClosed
                | Error::WorkerCrashed
        );
    };
    let code = database.code().unwrap_or_default();
    if database.try_downcast_ref::<SqliteError>().is_some() {
        // The low byte is the primary code: BUSY, LOCKED, IOERR, FULL, CANTOPEN.
        let primary = code.parse::<i32>().unwrap_or_default() & 0xff;
        return [5, 6, 10, 13, 14].contains(&primary);
    }
    // Connection, resource and operator trouble, lost races, and waits that ran into a timeout.
    let passing = ["08", "53", "57P", "58", "40", "55P03", "57014", "25P03"];
    database.try_downcast_ref::<PgDatabaseError>().is_some()
        && passing.iter().any(|class| code.starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_unavailable_and_a_wrong_statement_is_not() {
        let lost = Error::Io(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(matches!(failure("x", lost), StorageError::Unavailable { .. }));
        assert!(matches!(failure("x", Error::PoolTimedOut), StorageError::Unavailable { .. }));
        assert!(matches!(failure("x", Error::RowNotFound), StorageError::Failed { .. }));
    }
}

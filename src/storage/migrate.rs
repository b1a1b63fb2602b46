//! Bringing a database to the schema that this program knows.
//!
//! Migrations are embedded, numbered in pairs (one file per dialect) and only go forward; each commits together with
//! its row in `schema`. A database that a newer program has migrated is refused.

use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Row};

use super::statement::{Connection, failure};
use super::{StorageError, database};

/// One step, in both dialects.
struct Migration {
    version: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! migration {
    ($version:literal, $name:literal, $file:literal) => {
        Migration {
            version: $version,
            name: $name,
            sqlite: include_str!(concat!("../../migrations/sqlite/", $file)),
            postgres: include_str!(concat!("../../migrations/postgres/", $file)),
        }
    };
}

static MIGRATIONS: [Migration; 5] = [
    migration!(1, "objects", "0001_objects.sql"),
    migration!(2, "observed", "0002_observed.sql"),
    migration!(3, "installation", "0003_installation.sql"),
    migration!(4, "feed", "0004_feed.sql"),
    migration!(5, "session_trees", "0005_session_trees.sql"),
];

/// Newest schema version that this program knows.
pub const KNOWN: i64 = 5;

/// Advisory lock of PostgreSQL under which schemas are changed: "lastmile" in ASCII.
const LOCK: i64 = 0x6c61_7374_6d69_6c65;

/// Applies what is missing in the database at `url`, making an SQLite file when there is none; returns the version
/// before and after.
pub async fn migrate(url: &str) -> Result<(i64, i64), StorageError> {
    migrate_to(url, KNOWN).await
}

/// As [`migrate`], up to and including `version`: how tests make a database of an earlier release.
#[doc(hidden)]
pub async fn migrate_to(url: &str, version: i64) -> Result<(i64, i64), StorageError> {
    let database = database::Database::connect(url).await?;
    let found = database.migrate(version).await?;
    Ok((found, found.max(version.min(KNOWN))))
}

/// Version found in the database at `url`, 0 when it is empty or does not exist, and the newest one known. Makes
/// neither file nor table.
pub async fn status(url: &str) -> Result<(i64, i64), StorageError> {
    if let Some(path) = url.strip_prefix("sqlite:").and_then(super::sqlite::path)
        && !path.exists()
    {
        return Ok((0, KNOWN));
    }
    let database = database::Database::connect(url).await?;
    Ok((database.version().await?, KNOWN))
}

const REMEMBER: &str = "INSERT INTO schema (version, name) VALUES ($1, $2)";

/// Applies the steps up to `through` and returns the version found.
pub(super) async fn sqlite(connection: &mut SqliteConnection, through: i64) -> Result<i64, StorageError> {
    let failed = |error| failure("migrating the schema", error);
    let found = version(&mut Connection::Sqlite(connection)).await?;
    for migration in missing(found, through) {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        // Another process may have been faster while we waited for it.
        if version(&mut Connection::Sqlite(&mut transaction)).await? >= migration.version {
            continue;
        }
        let table = "CREATE TABLE IF NOT EXISTS schema (version INTEGER NOT NULL PRIMARY KEY,
            name TEXT NOT NULL, applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) STRICT";
        for text in [table, migration.sqlite] {
            sqlx::raw_sql(text).execute(&mut *transaction).await.map_err(failed)?;
        }
        let row = sqlx::query(REMEMBER).bind(migration.version).bind(migration.name);
        row.execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
    }
    Ok(found)
}

/// As [`sqlite`]. Leaves the connection with other time limits: building an index may take long.
pub(super) async fn postgres(connection: &mut PgConnection, through: i64) -> Result<i64, StorageError> {
    let failed = |error| failure("migrating the schema", error);
    let patience =
        "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0";
    sqlx::raw_sql(patience).execute(&mut *connection).await.map_err(failed)?;
    // Held until the connection closes.
    let lock = sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK);
    lock.execute(&mut *connection).await.map_err(failed)?;
    let found = version(&mut Connection::Postgres(connection)).await?;
    for migration in missing(found, through) {
        let mut transaction = connection.begin().await.map_err(failed)?;
        let table = "CREATE TABLE IF NOT EXISTS schema (version bigint NOT NULL PRIMARY KEY,
            name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())";
        for text in [table, migration.postgres] {
            sqlx::raw_sql(text).execute(&mut *transaction).await.map_err(failed)?;
        }
        let row = sqlx::query(REMEMBER).bind(migration.version).bind(migration.name);
        row.execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
    }
    Ok(found)
}

fn missing(found: i64, through: i64) -> impl Iterator<Item = &'static Migration> {
    MIGRATIONS.iter().filter(move |migration| migration.version > found && migration.version <= through)
}

/// The newest version in `schema`; 0 when there is no such table.
pub(super) async fn version(connection: &mut Connection<'_>) -> Result<i64, StorageError> {
    let newest = "SELECT coalesce(max(version), 0) FROM schema";
    let found = match connection {
        Connection::Sqlite(connection) => {
            let table = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'schema'";
            match sqlx::query_scalar::<_, i64>(table).fetch_one(&mut **connection).await {
                Ok(0) => Ok(0),
                Ok(_) => {
                    sqlx::query(newest).fetch_one(&mut **connection).await.and_then(|row| row.try_get(0))
                }
                Err(error) => Err(error),
            }
        }
        Connection::Postgres(connection) => {
            let table =
                "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'schema'";
            match sqlx::query_scalar::<_, i64>(table).fetch_one(&mut **connection).await {
                Ok(0) => Ok(0),
                Ok(_) => {
                    sqlx::query(newest).fetch_one(&mut **connection).await.and_then(|row| row.try_get(0))
                }
                Err(error) => Err(error),
            }
        }
    };
    found.map_err(|error| failure("reading the schema version", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_file_is_embedded_under_the_same_number_and_name_in_both_dialects() {
        let listed: Vec<String> = MIGRATIONS
            .iter()
            .map(|migration| format!("{:04}_{}.sql", migration.version, migration.name))
            .collect();
        for dialect in ["sqlite", "postgres"] {
            let directory = format!("{}/migrations/{dialect}", env!("CARGO_MANIFEST_DIR"));
            let mut files: Vec<String> = std::fs::read_dir(directory)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            files.sort();
            assert_eq!(files, listed, "{dialect}");
        }
        assert_eq!(MIGRATIONS.last().unwrap().version, KNOWN);
        for (migration, expected) in MIGRATIONS.iter().zip(1..) {
            assert_eq!(migration.version, expected);
            for text in [migration.sqlite, migration.postgres] {
                assert!(text.starts_with("--"), "{} says what it is for", migration.name);
            }
        }
    }
}

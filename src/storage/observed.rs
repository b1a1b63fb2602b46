//! Applying stretches of a node's journal, and removing old history.
//!
//! A batch and the position it reaches commit together, so a batch is applied once however often it is sent. Rows of
//! one node are ordered by its journal sequence; rows of different nodes by time, and by node number when that is
//! equal, so that the result does not depend on which node's applier is ahead.

use serde::{Deserialize, Serialize};

use super::StorageError;
use super::bulk::Bulk;
use super::commit::write_rows;
use super::observed_rows::{StoredAddress, StoredBinding, StoredGrant, StoredSession, addresses};
use super::observed_sql as sql;
use super::rows::encode;
use super::statement::Connection;
use crate::limits::STORAGE_WRITE_ROWS_MAX;
use crate::model::observed::{GrantRow, ObservedBatch, SessionRow};

#[derive(Serialize, Deserialize)]
struct Position {
    node: u16,
    sequence: u64,
}

/// Applies `batch` within the transaction of `connection` and returns the position then stored.
pub(super) async fn apply(
    connection: &mut Connection<'_>,
    batch: &ObservedBatch,
) -> Result<u64, StorageError> {
    let mut position = Position { node: batch.node, sequence: 0 };
    connection.run(&sql::OPEN_POSITION, encode(&position)?).await?;
    let (stored, _) = connection.ask(&sql::LOCK_POSITION, encode(&position)?).await?;
    let stored = stored.cast_unsigned();
    if batch.through <= stored {
        return Ok(stored);
    }
    if batch.after != stored {
        return Err(StorageError::Gap { node: batch.node, expected: batch.after, actual: stored });
    }
    for piece in batch.bindings.chunks(STORAGE_WRITE_ROWS_MAX) {
        let rows: Vec<StoredBinding<'_>> = piece.iter().map(StoredBinding::from).collect();
        connection.write(&sql::INSERT_BINDINGS, &rows).await?;
    }
    apply_sessions(connection, batch).await?;
    apply_grants(connection, batch).await?;
    position.sequence = batch.through;
    connection.run(&sql::MOVE_POSITION, encode(&position)?).await?;
    Ok(batch.through)
}

async fn apply_sessions(connection: &mut Connection<'_>, batch: &ObservedBatch) -> Result<(), StorageError> {
    let (live, ended): (Vec<&SessionRow>, Vec<&SessionRow>) =
        batch.sessions.iter().partition(|row| row.stopped_at.is_none());
    for (rows, known) in [(live, &sql::REPORT_SESSIONS), (ended, &sql::END_SESSIONS)] {
        for piece in rows.chunks(STORAGE_WRITE_ROWS_MAX) {
            let rows: Result<Vec<StoredSession<'_>>, StorageError> =
                piece.iter().map(|row| StoredSession::new(row)).collect();
            write_sessions(connection, &rows?, known).await?;
            let found: Vec<StoredAddress> = piece.iter().flat_map(|row| addresses(row)).collect();
            connection.write(&sql::INSERT_ADDRESSES, &found).await?;
        }
    }
    Ok(())
}

/// Writes sessions from the usual to the rare: new ones, those of which `known` writes all that changed, any other.
async fn write_sessions(
    connection: &mut Connection<'_>,
    rows: &[StoredSession<'_>],
    known: &Bulk,
) -> Result<(), StorageError> {
    let left = match connection {
        Connection::Sqlite(_) => connection.write(&sql::INSERT_SESSIONS, rows).await?,
        // There an update costs no more than an insert that finds the row, and each statement is a round trip.
        Connection::Postgres(_) => vec![rows],
    };
    for rows in left {
        for rows in connection.write(known, rows).await? {
            // Written rows are passed over from now on: what is stored is not older.
            connection.run(&sql::FORGET_ADDRESSES, encode(&rows)?).await?;
            connection.write(&sql::REPLACE_SESSIONS, rows).await?;
        }
    }
    Ok(())
}

async fn apply_grants(connection: &mut Connection<'_>, batch: &ObservedBatch) -> Result<(), StorageError> {
    let is_free = |row: &&GrantRow| row.state == "free";
    let freed: Vec<StoredGrant<'_>> = batch.grants.iter().filter(is_free).map(StoredGrant::from).collect();
    let held: Vec<&GrantRow> = batch.grants.iter().filter(|row| !is_free(row)).collect();
    write_rows(connection, &sql::FREE_GRANTS, &freed).await?;
    for piece in held.chunks(STORAGE_WRITE_ROWS_MAX) {
        let rows: Vec<StoredGrant<'_>> = piece.iter().map(|row| StoredGrant::from(*row)).collect();
        let left = match connection {
            Connection::Sqlite(_) => connection.write(&sql::INSERT_GRANTS, &rows).await?,
            Connection::Postgres(_) => vec![rows.as_slice()],
        };
        for rows in left {
            connection.write(&sql::UPSERT_GRANTS, rows).await?;
        }
    }
    Ok(())
}

/// The position stored for a node; 0 when none is.
pub(super) async fn position(connection: &mut Connection<'_>, node: u16) -> Result<u64, StorageError> {
    let input = encode(&Position { node, sequence: 0 })?;
    let (sequence, _) = connection.ask(&sql::POSITION, input).await?;
    Ok(sequence.cast_unsigned())
}

#[derive(Serialize)]
struct PurgeInput {
    day: u32,
    limit: u64,
}

/// Removes at most `limit` rows of days before `day`, bindings first.
pub(super) async fn purge(
    connection: &mut Connection<'_>,
    day: u32,
    limit: usize,
) -> Result<u64, StorageError> {
    let limit = limit.min(u32::MAX as usize) as u64;
    let bindings = connection.run(&sql::PURGE_BINDINGS, encode(&PurgeInput { day, limit })?).await?;
    let left = limit.saturating_sub(bindings);
    if left == 0 {
        return Ok(bindings);
    }
    let input = encode(&PurgeInput { day, limit: left })?;
    connection.run(&sql::PURGE_ADDRESSES, input.clone()).await?;
    let sessions = connection.run(&sql::PURGE_SESSIONS, input).await?;
    Ok(bindings + sessions)
}

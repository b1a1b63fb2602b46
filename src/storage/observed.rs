//! Applying stretches of a node's journal, and removing old history.
//!
//! A batch and the position it reaches commit together, so a batch is applied once however often it is sent. Rows of
//! one node are ordered by its journal sequence; rows of different nodes by time, and by node number when that is
//! equal, so that the result does not depend on which node's applier is ahead.

use serde::{Deserialize, Serialize};

use super::StorageError;
use super::commit::write_rows;
use super::observed_rows::{StoredAddress, StoredBinding, StoredGrant, StoredSession, addresses};
use super::observed_sql as sql;
use super::rows::encode;
use super::statement::Connection;
use crate::limits::STORAGE_WRITE_ROWS_MAX;
use crate::model::observed::{GrantRow, ObservedBatch};

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
    let bindings: Vec<StoredBinding<'_>> = batch.bindings.iter().map(StoredBinding::from).collect();
    write_rows(connection, &sql::INSERT_BINDINGS, &bindings).await?;
    apply_sessions(connection, batch).await?;
    apply_grants(connection, batch).await?;
    position.sequence = batch.through;
    connection.run(&sql::MOVE_POSITION, encode(&position)?).await?;
    Ok(batch.through)
}

async fn apply_sessions(connection: &mut Connection<'_>, batch: &ObservedBatch) -> Result<(), StorageError> {
    for piece in batch.sessions.chunks(STORAGE_WRITE_ROWS_MAX) {
        let rows: Result<Vec<StoredSession<'_>>, StorageError> =
            piece.iter().map(StoredSession::new).collect();
        let input = encode(&rows?)?;
        connection.run(&sql::FORGET_ADDRESSES, input.clone()).await?;
        connection.run(&sql::UPSERT_SESSIONS, input).await?;
        // Which rows were newer shows in the row itself: it now carries their position.
        let found: Vec<StoredAddress> = piece.iter().flat_map(addresses).collect();
        write_rows(connection, &sql::INSERT_ADDRESSES, &found).await?;
    }
    Ok(())
}

async fn apply_grants(connection: &mut Connection<'_>, batch: &ObservedBatch) -> Result<(), StorageError> {
    let is_free = |row: &&GrantRow| row.state == "free";
    let freed: Vec<StoredGrant<'_>> = batch.grants.iter().filter(is_free).map(StoredGrant::from).collect();
    let held: Vec<StoredGrant<'_>> =
        batch.grants.iter().filter(|row| !is_free(row)).map(StoredGrant::from).collect();
    write_rows(connection, &sql::FREE_GRANTS, &freed).await?;
    write_rows(connection, &sql::UPSERT_GRANTS, &held).await
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
    let sessions = connection.run(&sql::PURGE_SESSIONS, encode(&PurgeInput { day, limit: left })?).await?;
    Ok(bindings + sessions)
}

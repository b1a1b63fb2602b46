//! Statements that write many rows of observed state.
//!
//! PostgreSQL takes rows as one JSON document, like every other statement (see [`super::rows`]). SQLite takes each value by
//! itself: unpacking JSON there costs more than all of a row's tree entries, and no network lies in between that would make
//! fewer, larger parameters worth it. Its statements exist for a few numbers of rows, because their text is fixed. They say
//! `OR FAIL`: a statement of many rows could otherwise have to undo some of them alone, and SQLite would copy every page
//! aside before it changes it. A failure undoes the whole transaction here.

use serde::Serialize;
use sqlx::Arguments as _;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};

use super::StorageError;
use super::rows::{damaged, encode};
use super::statement::{Connection, failure};
use crate::limits::STORAGE_WRITE_ROWS_MAX;

/// A statement that writes rows, in the words of both dialects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bulk {
    /// What it is for, as error texts say it.
    pub(super) doing: &'static str,
    /// For SQLite: with the number of rows that each takes, the largest first, the last for one.
    pub(super) sqlite: [(usize, &'static str); 3],
    /// For PostgreSQL.
    pub(super) postgres: &'static str,
}

/// Builds the texts for SQLite: the same row of parameters so many times, between what comes before and after. The largest
/// has, at 23 columns, far less than the 32,766 parameters that SQLite takes.
macro_rules! for_rows {
    ($before:expr, $row:expr, $after:expr) => {
        [
            (64, concat!($before, for_rows!(@eight for_rows!(@eight $row)), $after)),
            (8, concat!($before, for_rows!(@eight $row), $after)),
            (1, concat!($before, $row, $after)),
        ]
    };
    (@eight $row:expr) => {
        concat!($row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row)
    };
}

pub(super) use for_rows;

/// The values of rows in the order of a statement's parameters.
#[derive(Default)]
pub(super) struct Values {
    arguments: SqliteArguments,
}

impl Values {
    /// Sixteen bytes: an id or an address.
    pub(super) fn wide(&mut self, value: u128) -> Result<(), BoxDynError> {
        self.arguments.add(value.to_be_bytes().to_vec())
    }

    /// The same, or NULL.
    pub(super) fn wide_or_null(&mut self, value: Option<u128>) -> Result<(), BoxDynError> {
        self.arguments.add(value.map(|value| value.to_be_bytes().to_vec()))
    }

    /// Bytes, or NULL.
    pub(super) fn bytes(&mut self, value: Option<&[u8]>) -> Result<(), BoxDynError> {
        self.arguments.add(value)
    }

    /// A number.
    pub(super) fn number(&mut self, value: i64) -> Result<(), BoxDynError> {
        self.arguments.add(value)
    }

    /// A number, or NULL.
    pub(super) fn number_or_null(&mut self, value: Option<i64>) -> Result<(), BoxDynError> {
        self.arguments.add(value)
    }

    /// Text.
    pub(super) fn text(&mut self, value: &str) -> Result<(), BoxDynError> {
        self.arguments.add(value)
    }

    /// Text, or NULL.
    pub(super) fn text_or_null(&mut self, value: Option<&str>) -> Result<(), BoxDynError> {
        self.arguments.add(value)
    }
}

/// A row that both dialects can be given: PostgreSQL by its members, SQLite by its values.
pub(super) trait BulkRow: Serialize {
    /// Gives its values, in the order of the statement's parameters.
    fn give(&self, values: &mut Values) -> Result<(), BoxDynError>;
}

impl Connection<'_> {
    /// Writes rows in pieces. Returns those pieces of which the statement passed over some rows.
    pub(super) async fn write<'r, T: BulkRow>(
        &mut self,
        bulk: &Bulk,
        rows: &'r [T],
    ) -> Result<Vec<&'r [T]>, StorageError> {
        match self {
            Self::Sqlite(connection) => write_to_sqlite(connection, bulk, rows).await,
            Self::Postgres(connection) => {
                let mut passed_over = Vec::new();
                for piece in rows.chunks(STORAGE_WRITE_ROWS_MAX) {
                    let run = sqlx::query(bulk.postgres).bind(encode(&piece)?).execute(&mut **connection);
                    let done = run.await.map_err(|error| failure(bulk.doing, error))?;
                    if done.rows_affected() < piece.len() as u64 {
                        passed_over.push(piece);
                    }
                }
                Ok(passed_over)
            }
        }
    }
}

async fn write_to_sqlite<'r, T: BulkRow>(
    connection: &mut SqliteConnection,
    bulk: &Bulk,
    rows: &'r [T],
) -> Result<Vec<&'r [T]>, StorageError> {
    let mut passed_over = Vec::new();
    let (mut prepared, mut rest) = prepare(bulk, rows)?;
    while let Some((text, values, piece)) = prepared {
        let run = sqlx::query_with(text, values).execute(&mut *connection);
        // SQLite works on a thread of its own; meanwhile this one makes the next piece ready.
        let (done, next) = tokio::join!(run, async { prepare(bulk, rest) });
        if done.map_err(|error| failure(bulk.doing, error))?.rows_affected() < piece.len() as u64 {
            passed_over.push(piece);
        }
        (prepared, rest) = next?;
    }
    Ok(passed_over)
}

/// A statement, the values of as many rows as it takes, and those rows.
type Prepared<'r, T> = (&'static str, SqliteArguments, &'r [T]);

/// Makes the next piece ready; none when no rows are left. Also returns the rows after it.
fn prepare<'r, T: BulkRow>(
    bulk: &Bulk,
    rows: &'r [T],
) -> Result<(Option<Prepared<'r, T>>, &'r [T]), StorageError> {
    let Some((count, text)) = bulk.sqlite.into_iter().find(|(count, _)| *count <= rows.len()) else {
        return Ok((None, rows));
    };
    let (piece, rest) = rows.split_at(count);
    let mut values = Values::default();
    for (index, row) in piece.iter().enumerate() {
        row.give(&mut values).map_err(|error| damaged("statement input", &error))?;
        if index == 0 {
            // All rows have as many values.
            let others = values.arguments.len() * (count - 1);
            values.arguments.reserve(others, 0);
        }
    }
    Ok((Some((text, values.arguments, piece)), rest))
}

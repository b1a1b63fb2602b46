//! Reading desired state: single objects, lists, the bulk read and catching up by seq.
//!
//! Every verb is one statement, hence one consistent view, except the bulk read: it takes slices and its caller
//! catches up from a seq read before it began.

use std::borrow::Cow;

use serde::Serialize;

use super::objects_sql as sql;
use super::rows::{self, Hex16, clean, encode};
use super::statement::Connection;
use super::{EventRow, Filter, Lookup, Page, StorageError, StoredObject};
use crate::ids::{TenantId, Uid};
use crate::limits::{STORAGE_PAGE_ROWS_MAX, STORAGE_SCAN_SLICE_ROWS};
use crate::model::Kind;

#[derive(Serialize)]
struct FindInput<'a> {
    tenant: Hex16,
    kind: Kind,
    id: Option<Hex16>,
    external_id: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
}

pub(super) async fn find(
    connection: &mut Connection<'_>,
    tenant: TenantId,
    kind: Kind,
    lookup: &Lookup,
) -> Result<Vec<StoredObject>, StorageError> {
    let mut input = FindInput { tenant: tenant.0.into(), kind, id: None, external_id: None, source: None };
    let statement = match lookup {
        Lookup::Id(id) => {
            input.id = Some((*id).into());
            &sql::FIND_BY_ID
        }
        Lookup::External { source, id } => {
            input.external_id = Some(clean(id));
            input.source = Some(clean(source.as_deref().unwrap_or("")));
            &sql::FIND_EXTERNAL
        }
        Lookup::AnySource { id } => {
            input.external_id = Some(clean(id));
            &sql::FIND_EXTERNAL
        }
    };
    let (_, answer) = connection.ask(statement, encode(&input)?).await?;
    rows::objects(&answer)
}

#[derive(Serialize)]
struct ListInput<'a> {
    tenant: Hex16,
    kind: Kind,
    source: Option<Cow<'a, str>>,
    external_id: Option<Cow<'a, str>>,
    refers_to: Option<Hex16>,
    name: Option<Cow<'a, str>>,
    value: Option<Cow<'a, str>>,
    labels: Vec<Label<'a>>,
    after: String,
    limit: usize,
}

#[derive(Serialize)]
struct Label<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
}

pub(super) async fn list(
    connection: &mut Connection<'_>,
    tenant: TenantId,
    kind: Kind,
    filter: &Filter,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<StoredObject>, StorageError> {
    let limit = limit.clamp(1, STORAGE_PAGE_ROWS_MAX);
    let first_label = filter.labels.iter().next();
    let input = ListInput {
        tenant: tenant.0.into(),
        kind,
        source: filter.source.as_deref().map(clean),
        external_id: filter.external_id.as_deref().map(clean),
        refers_to: filter.refers_to.map(Hex16::from),
        name: first_label.map(|(name, _)| clean(name)),
        value: first_label.map(|(_, value)| clean(value)),
        labels: filter
            .labels
            .iter()
            .map(|(name, value)| Label { name: clean(name), value: clean(value) })
            .collect(),
        after: after_id(after)?,
        limit: limit + 1,
    };
    // The narrowest index leads; what else is asked is checked row by row.
    let statement = if filter.external_id.is_some() {
        &sql::LIST_BY_EXTERNAL_ID
    } else if filter.refers_to.is_some() {
        &sql::LIST_BY_REFERENCE
    } else if first_label.is_some() {
        &sql::LIST_BY_LABEL
    } else if filter.source.is_some() {
        &sql::LIST_BY_SOURCE
    } else {
        &sql::LIST
    };
    let (seq, answer) = connection.ask(statement, encode(&input)?).await?;
    let items = rows::objects(&answer)?;
    Ok(page(items, limit, seq, |object| object.envelope.id.base32()))
}

/// Cuts the row that was read beyond the page, which tells that there are more.
pub(super) fn page<T>(mut items: Vec<T>, limit: usize, seq: i64, key: impl Fn(&T) -> String) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    Page { next: items.last().filter(|_| more).map(key), items, as_of_seq: seq.cast_unsigned() }
}

fn after_id(after: Option<&str>) -> Result<String, StorageError> {
    match after {
        // The empty byte string sorts before every id.
        None => Ok(String::new()),
        Some(text) => Uid::parse_base32(text)
            .map(|id| format!("{:032x}", id.0))
            .ok_or_else(|| rows::damaged("page key", &format_args!("`{text}` is not an id"))),
    }
}

#[derive(Serialize)]
struct SinceInput {
    tenant: Option<Hex16>,
    seq: u64,
    limit: usize,
}

impl SinceInput {
    /// Bounds both numbers to what a signed column can be compared with.
    fn new(tenant: Option<TenantId>, seq: u64, limit: usize) -> Self {
        Self {
            tenant: tenant.map(|tenant| tenant.0.into()),
            seq: seq.min(i64::MAX.cast_unsigned()),
            limit: limit.clamp(1, u32::MAX as usize),
        }
    }
}

pub(super) async fn changes_since(
    connection: &mut Connection<'_>,
    seq: u64,
    limit: usize,
) -> Result<(Vec<StoredObject>, u64), StorageError> {
    let input = SinceInput::new(None, seq, limit);
    let (through, answer) = connection.ask(&sql::CHANGES_SINCE, encode(&input)?).await?;
    Ok((rows::objects(&answer)?, through.cast_unsigned()))
}

pub(super) async fn events(
    connection: &mut Connection<'_>,
    tenant: TenantId,
    seq: u64,
    limit: usize,
) -> Result<Vec<EventRow>, StorageError> {
    let input = SinceInput::new(Some(tenant), seq, limit);
    let (_, answer) = connection.ask(&sql::EVENTS, encode(&input)?).await?;
    rows::events(&answer)
}

#[derive(Serialize)]
struct ScanInput {
    kind: Kind,
    after: Hex16,
    limit: usize,
}

pub(super) async fn scan(
    connection: &mut Connection<'_>,
    kind: Kind,
    mut after: Uid,
    limit: usize,
) -> Result<Vec<StoredObject>, StorageError> {
    let mut objects: Vec<StoredObject> = Vec::new();
    while objects.len() < limit {
        // Slices keep one answer's text small; one statement per slice costs little against its rows.
        let wanted = STORAGE_SCAN_SLICE_ROWS.min(limit - objects.len());
        let input = ScanInput { kind, after: after.into(), limit: wanted };
        let (_, answer) = connection.ask(&sql::SCAN, encode(&input)?).await?;
        let slice = rows::objects(&answer)?;
        let found = slice.len();
        after = slice.last().map_or(after, |object| object.envelope.id);
        objects.extend(slice);
        if found < wanted {
            break;
        }
    }
    Ok(objects)
}

pub(super) async fn seq(connection: &mut Connection<'_>) -> Result<u64, StorageError> {
    let (seq, _) = connection.ask(&sql::SEQ, "{}".to_owned()).await?;
    Ok(seq.cast_unsigned())
}

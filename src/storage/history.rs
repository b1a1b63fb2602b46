//! Reading observed state: pages of sessions, grants and bindings.
//!
//! A page starts after the key of the last row of the page before, so its cost does not grow with its number. The
//! narrowest filter leads (prefix, service, MAC address, state, then order alone) and chooses the statement, because SQLite
//! plans a statement before it knows its parameter; the other filters are checked row by row.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use super::history_sql::{self as sql, Ways};
use super::objects::page;
use super::observed_rows::{self, stored_mac};
use super::rows::{Hex16, HexBytes, Millis, clean, damaged, encode};
use super::statement::{Connection, Statement};
use super::{ObservedFilter, Page, StorageError};
use crate::ids::{SessionId, TenantId, Uid};
use crate::limits::STORAGE_PAGE_ROWS_MAX;
use crate::model::Prefix;
use crate::model::observed::{BindingRow, GrantRow, SessionRow};

/// A prefix that holds another.
#[derive(Serialize)]
struct Above {
    first: Hex16,
    len: u8,
}

#[derive(Serialize)]
struct Input<'a> {
    tenant: Hex16,
    service: Option<Hex16>,
    mac: Option<HexBytes<'a>>,
    low: Option<Hex16>,
    high: Option<Hex16>,
    /// Every shorter prefix that holds the one asked for: the only rows outside [low, high] that overlap it.
    above: Vec<Above>,
    state: Option<Cow<'a, str>>,
    from: Millis,
    to: Millis,
    key: Value,
    limit: usize,
}

impl<'a> Input<'a> {
    fn new(tenant: TenantId, filter: &'a ObservedFilter, key: Value, limit: usize) -> Self {
        Self {
            tenant: tenant.0.into(),
            service: filter.service.map(|service| service.0.into()),
            mac: filter.mac.as_ref().map(stored_mac),
            low: filter.prefix.map(|prefix| Hex16(prefix.first())),
            high: filter.prefix.map(|prefix| Hex16(prefix.last())),
            above: filter.prefix.map(above).unwrap_or_default(),
            state: filter.state.as_deref().map(clean),
            from: filter.from.map_or(Millis(0), Millis::from),
            to: filter.to.map_or(Millis(i64::MAX), Millis::from),
            key,
            limit: limit + 1,
        }
    }
}

fn above(prefix: Prefix) -> Vec<Above> {
    let (first, len) = prefix.raw();
    (0..len)
        .map(|len| {
            let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            Above { first: Hex16(first & mask), len }
        })
        .collect()
}

/// Closed sessions are nearly all there are: reading in order finds them as soon as an index would.
fn choose<'a>(ways: &'a Ways, filter: &ObservedFilter) -> &'a Statement {
    if filter.prefix.is_some() {
        &ways.by_prefix
    } else if filter.service.is_some() {
        &ways.by_service
    } else if filter.mac.is_some() {
        &ways.by_mac
    } else if filter.state.as_deref().is_some_and(|state| state != "closed") {
        &ways.by_state
    } else {
        &ways.in_order
    }
}

/// Turns the text of a page key into members that statements compare with; `parse` knows their number and kinds.
fn read_key(
    after: Option<&str>,
    first_page: Value,
    parse: impl Fn(&str) -> Option<Value>,
) -> Result<Value, StorageError> {
    match after {
        None => Ok(first_page),
        Some(text) => parse(text)
            .ok_or_else(|| damaged("page key", &format_args!("`{text}` is none that was given out"))),
    }
}

pub(super) async fn sessions(
    connection: &mut Connection<'_>,
    tenant: TenantId,
    filter: &ObservedFilter,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<SessionRow>, StorageError> {
    let limit = limit.clamp(1, STORAGE_PAGE_ROWS_MAX);
    // Newest first: seventeen bytes of 0xff sort after every id.
    let key = read_key(after, json!([i64::MAX, "ff".repeat(17)]), |text| {
        let (started_at, id) = text.split_once('.')?;
        let id = Uid::parse_base32(id)?;
        Some(json!([started_at.parse::<i64>().ok()?, Hex16::from(id)]))
    })?;
    let input = encode(&Input::new(tenant, filter, key, limit))?;
    let (seq, answer) = connection.ask(choose(&sql::SESSIONS, filter), input).await?;
    let rows = observed_rows::sessions(&answer)?;
    Ok(page(rows, limit, seq, |row| format!("{}.{}", Millis::from(row.started_at).0, row.id.0.base32())))
}

pub(super) async fn session(
    connection: &mut Connection<'_>,
    tenant: TenantId,
    id: SessionId,
) -> Result<Option<SessionRow>, StorageError> {
    let input = json!({"tenant": Hex16::from(tenant.0), "id": Hex16::from(id.0)});
    let (_, answer) = connection.ask(&sql::SESSION, input.to_string()).await?;
    Ok(observed_rows::sessions(&answer)?.pop())
}

pub(super) async fn grants(
    connection: &mut Connection<'_>,
    tenant: TenantId,
    filter: &ObservedFilter,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<GrantRow>, StorageError> {
    let limit = limit.clamp(1, STORAGE_PAGE_ROWS_MAX);
    let key = read_key(after, json!(["", -1, ""]), |text| {
        let mut members = text.splitn(3, '.');
        let first = Uid::parse_base32(members.next()?)?;
        let len = members.next()?.parse::<u8>().ok()?;
        Some(json!([Hex16::from(first), len, members.next()?]))
    })?;
    let input = encode(&Input::new(tenant, filter, key, limit))?;
    let (seq, answer) = connection.ask(choose(&sql::GRANTS, filter), input).await?;
    let rows = observed_rows::grants(&answer)?;
    Ok(page(rows, limit, seq, |row| {
        let (first, len) = row.prefix.raw();
        format!("{}.{len}.{}", Uid(first).base32(), row.vrf)
    }))
}

/// Grants whose last record is another node's, in the order of each node's journal.
pub(super) async fn grants_of_others(
    connection: &mut Connection<'_>,
    node: u16,
    after: &[(u16, u64)],
    limit: usize,
) -> Result<Vec<GrantRow>, StorageError> {
    let after: Vec<Value> = after
        .iter()
        .map(|(node, sequence)| json!({"node": node, "sequence": sequence.cast_signed()}))
        .collect();
    let limit = limit.clamp(1, STORAGE_PAGE_ROWS_MAX);
    let input = json!({"node": node, "after": after, "limit": limit});
    let (_, answer) = connection.ask(&sql::GRANTS_OF_OTHERS, input.to_string()).await?;
    observed_rows::grants(&answer)
}

pub(super) async fn bindings(
    connection: &mut Connection<'_>,
    tenant: TenantId,
    filter: &ObservedFilter,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<BindingRow>, StorageError> {
    let limit = limit.clamp(1, STORAGE_PAGE_ROWS_MAX);
    let from = Millis::from(filter.from.unwrap_or_default()).0;
    let key = read_key(after, json!([from, -1, -1, -1]), |text| {
        let members: Option<Vec<i64>> = text.split('.').map(|member| member.parse().ok()).collect();
        members.filter(|members| members.len() == 4).map(Value::from)
    })?;
    let input = encode(&Input::new(tenant, filter, key, limit))?;
    let (seq, answer) = connection.ask(choose(&sql::BINDINGS, filter), input).await?;
    let rows = observed_rows::bindings(&answer)?;
    Ok(page(rows, limit, seq, |row| {
        let at = Millis::from(row.at).0;
        format!("{at}.{}.{}.{}", row.node, row.sequence, row.part)
    }))
}

//! Applying journals and purging history.

use std::sync::Arc;

use lastmile::ids::{ServiceId, SessionId, Uid};
use lastmile::model::Mac;
use lastmile::model::observed::{GrantRow, ObservedBatch, SessionRow};
use lastmile::storage::{ObservedFilter, Storage, StorageError};
use lastmile::time::Stamp;

use super::values::{NOON, OTHER, TENANT, binding, grant, prefix, session};

fn batch(node: u16, after: u64, through: u64) -> ObservedBatch {
    ObservedBatch { node, after, through, ..ObservedBatch::default() }
}

async fn all_grants(storage: &dyn Storage) -> Vec<GrantRow> {
    storage.grants(TENANT, ObservedFilter::default(), None, 1000).await.unwrap().items
}

async fn count_bindings(storage: &dyn Storage) -> usize {
    storage.bindings(TENANT, ObservedFilter::default(), None, 1000).await.unwrap().items.len()
}

pub(crate) async fn a_batch_is_applied_once_and_never_across_a_gap(storage: Arc<dyn Storage>) {
    let mut parts = [binding("192.0.2.1", 1), binding("192.0.2.2", 1), binding("2001:db8::/56", 2)];
    parts[1].part = 1;
    parts[2].mac = Some(Mac([2, 0, 0, 0, 0, 1]));
    parts[2].session = Some(SessionId(Uid(8)));
    parts[2].nas = None;
    parts[2].line = String::from("h\0stile");
    let first = ObservedBatch {
        bindings: parts.to_vec(),
        sessions: vec![session(1, 2)],
        grants: vec![grant("192.0.2.1", 1)],
        ..batch(1, 0, 5)
    };
    assert_eq!(storage.applied_sequence(1).await.unwrap(), 0);
    assert_eq!(storage.apply_observed(first.clone()).await.unwrap(), 5);
    parts[2].line = String::from("h\u{fffd}stile");
    for _ in 0..2 {
        let page = storage.bindings(TENANT, ObservedFilter::default(), None, 10).await.unwrap();
        assert_eq!(page.items, parts);
        assert_eq!(storage.session(TENANT, SessionId(Uid(1))).await.unwrap(), Some(session(1, 2)));
        assert_eq!(storage.session(OTHER, SessionId(Uid(1))).await.unwrap(), None);
        assert_eq!(all_grants(&*storage).await, [grant("192.0.2.1", 1)]);
        // Sent again, whole or as an earlier stretch, it changes nothing.
        assert_eq!(storage.apply_observed(first.clone()).await.unwrap(), 5);
        assert_eq!(storage.apply_observed(batch(1, 0, 3)).await.unwrap(), 5);
    }
    for gap in [batch(1, 6, 9), batch(1, 3, 9)] {
        let refused = storage.apply_observed(gap).await;
        assert!(matches!(refused, Err(StorageError::Gap { node: 1, actual: 5, .. })), "{refused:?}");
    }
    assert_eq!(storage.apply_observed(batch(2, 0, 1)).await.unwrap(), 1);
    assert_eq!(storage.apply_observed(batch(1, 5, 9)).await.unwrap(), 9);
    assert_eq!(storage.applied_sequence(1).await.unwrap(), 9);
    // A record that reached storage under an earlier position is not written twice.
    let again = ObservedBatch { bindings: parts.to_vec(), ..batch(1, 9, 10) };
    storage.apply_observed(again).await.unwrap();
    assert_eq!(count_bindings(&*storage).await, 3);
}

pub(crate) async fn only_a_newer_session_row_replaces_an_older_one(storage: Arc<dyn Storage>) {
    let mut position = 0;
    let mut apply = async |row: SessionRow| {
        let sessions = vec![row];
        let next = position + 1;
        storage.apply_observed(ObservedBatch { sessions, ..batch(1, position, next) }).await.unwrap();
        position = next;
        storage.session(TENANT, SessionId(Uid(1))).await.unwrap().unwrap()
    };
    let row = |node, sequence, updated_at| SessionRow {
        node,
        sequence,
        updated_at: Stamp(updated_at),
        ..session(1, 0)
    };
    assert_eq!(apply(row(1, 10, NOON)).await, row(1, 10, NOON));
    assert_eq!(apply(row(1, 9, NOON + 50)).await, row(1, 10, NOON), "same node: by sequence");
    assert_eq!(apply(row(1, 11, NOON)).await, row(1, 11, NOON));
    assert_eq!(apply(row(2, 1, NOON - 1)).await, row(1, 11, NOON), "another node: by time");
    assert_eq!(apply(row(2, 1, NOON)).await, row(2, 1, NOON), "at the same time: by node number");
    assert_eq!(apply(row(1, 12, NOON)).await, row(2, 1, NOON));
    let moved = SessionRow {
        addresses: vec![prefix("203.0.113.5")],
        state: "closed".to_owned(),
        stopped_at: Some(Stamp(NOON + 9)),
        cause: Some("User-Request".to_owned()),
        mac: None,
        ..row(1, 13, NOON + 9)
    };
    assert_eq!(apply(moved.clone()).await, moved);
    for (address, holders) in [("192.0.2.1", 0), ("203.0.113.0/24", 1)] {
        let filter = ObservedFilter { prefix: Some(prefix(address)), ..ObservedFilter::default() };
        let page = storage.sessions(TENANT, filter, None, 10).await.unwrap();
        assert_eq!(page.items.len(), holders, "{address}");
    }
    apply(SessionRow { addresses: vec![prefix("192.0.2.1")], ..row(2, 2, NOON) }).await;
    let filter = ObservedFilter { prefix: Some(prefix("192.0.2.1")), ..ObservedFilter::default() };
    assert_eq!(storage.sessions(TENANT, filter, None, 10).await.unwrap().items, []);
}

pub(crate) async fn only_a_newer_grant_row_replaces_or_removes_an_older_one(storage: Arc<dyn Storage>) {
    let mut position = 0;
    let mut apply = async |row: GrantRow| {
        let grants = vec![row];
        let next = position + 1;
        storage.apply_observed(ObservedBatch { grants, ..batch(1, position, next) }).await.unwrap();
        position = next;
        all_grants(&*storage).await
    };
    let row = |node, sequence, updated_at, state: &str| GrantRow {
        node,
        sequence,
        updated_at: Stamp(updated_at),
        state: state.to_owned(),
        ..grant("192.0.2.1", 0)
    };
    let first = row(1, 10, NOON, "granted");
    assert_eq!(apply(first.clone()).await, std::slice::from_ref(&first));
    assert_eq!(apply(row(1, 9, NOON + 5, "held")).await, std::slice::from_ref(&first));
    assert_eq!(apply(row(1, 9, NOON + 5, "free")).await, std::slice::from_ref(&first));
    assert_eq!(apply(row(2, 50, NOON - 5, "free")).await, std::slice::from_ref(&first));
    let early = GrantRow { since: Stamp(NOON + 9), ..row(2, 60, NOON - 5, "held") };
    assert_eq!(apply(early).await, std::slice::from_ref(&first), "another node: by the time of its record");
    assert_eq!(apply(row(1, 10, NOON, "held")).await, std::slice::from_ref(&first));
    let second = GrantRow { service: ServiceId(Uid(8)), ..row(2, 3, NOON + 5, "granted") };
    assert_eq!(apply(second.clone()).await, std::slice::from_ref(&second));
    assert_eq!(apply(row(1, 70, NOON + 5, "held")).await, std::slice::from_ref(&second), "the higher node");
    let other_vrf = GrantRow { vrf: "voice".to_owned(), ..row(2, 4, NOON, "granted") };
    assert_eq!(apply(other_vrf.clone()).await, [second, other_vrf.clone()]);
    assert_eq!(apply(row(2, 5, NOON + 6, "free")).await, [other_vrf]);
}

pub(crate) async fn a_node_reads_what_others_wrote_last_in_the_order_of_each_journal(
    storage: Arc<dyn Storage>,
) {
    let row = |node, address: &str, sequence| GrantRow {
        node,
        updated_at: Stamp(NOON + sequence),
        record: Some(vec![16, 1, sequence as u8]),
        ..grant(address, sequence)
    };
    let unrecorded = GrantRow { record: None, ..row(2, "192.0.2.9", 9) };
    for (node, through, rows) in [
        (1, 8, vec![row(1, "192.0.2.1", 4), row(1, "192.0.2.2", 2), row(1, "192.0.2.3", 8)]),
        (2, 9, vec![row(2, "192.0.2.4", 3), row(2, "192.0.2.2", 5), unrecorded]),
        (3, 6, vec![row(3, "192.0.2.5", 6)]),
    ] {
        storage.apply_observed(ObservedBatch { grants: rows, ..batch(node, 0, through) }).await.unwrap();
    }
    let read = async |node, after: &[(u16, u64)], limit| {
        let rows = storage.grants_of_others(node, after.to_vec(), limit).await.unwrap();
        rows.iter().map(|row| (row.node, row.sequence)).collect::<Vec<_>>()
    };
    assert_eq!(read(1, &[], 100).await, [(2, 3), (2, 5), (3, 6)]);
    assert_eq!(read(2, &[], 100).await, [(1, 4), (1, 8), (3, 6)], "node 2 wrote 192.0.2.2 last");
    assert_eq!(read(3, &[(1, 4)], 2).await, [(1, 8), (2, 3)]);
    assert_eq!(read(3, &[(1, 8), (2, 3), (9, 9)], 100).await, [(2, 5)]);
    assert_eq!(read(3, &[(1, 8), (2, 5)], 100).await, []);
    let rows = storage.grants_of_others(1, vec![(2, 3), (3, 6)], 1).await.unwrap();
    assert_eq!(rows, [row(2, "192.0.2.2", 5)]);
}

pub(crate) async fn ten_thousand_rows_apply_as_one_batch(storage: Arc<dyn Storage>) {
    let address = |n: u64| format!("10.0.{}.{}", n >> 8, n & 0xff);
    let rows = ObservedBatch {
        bindings: (1..=10_000).map(|n| binding(&address(n), n)).collect(),
        sessions: (1..=5_000).map(|n| session(u128::from(n), n)).collect(),
        grants: (1..=5_000).map(|n| grant(&address(n), n)).collect(),
        ..batch(1, 0, 10_000)
    };
    assert_eq!(storage.apply_observed(rows.clone()).await.unwrap(), 10_000);
    let filter = ObservedFilter { prefix: Some(prefix("10.0.0.0/16")), ..ObservedFilter::default() };
    let page = storage.bindings(TENANT, filter.clone(), None, 10_000).await.unwrap();
    assert_eq!((page.items.len(), page.next), (10_000, None));
    assert_eq!(storage.grants(TENANT, filter, None, 10_000).await.unwrap().items.len(), 5_000);
    let shared = ObservedFilter { prefix: Some(prefix("192.0.2.1")), ..ObservedFilter::default() };
    assert_eq!(storage.sessions(TENANT, shared, None, 10_000).await.unwrap().items.len(), 5_000);
}

pub(crate) async fn a_batch_mixes_sessions_that_begin_report_end_and_move(storage: Arc<dyn Storage>) {
    const SESSIONS: u64 = 700;
    let first: Vec<SessionRow> = (1..=SESSIONS).map(|id| session(u128::from(id), id)).collect();
    storage.apply_observed(ObservedBatch { sessions: first, ..batch(1, 0, SESSIONS) }).await.unwrap();
    let second: Vec<SessionRow> = (1..=2 * SESSIONS)
        .map(|id| {
            let known = session(u128::from(id), SESSIONS + id);
            let reported = SessionRow { octets_in: id, updated_at: Stamp(NOON + id), ..known.clone() };
            match id % 4 {
                0 => SessionRow {
                    state: "closed".to_owned(),
                    stopped_at: Some(Stamp(NOON + id)),
                    cause: Some("User-Request".to_owned()),
                    ..reported
                },
                1 => SessionRow { addresses: vec![prefix("203.0.113.5")], ..reported },
                2 => SessionRow { mac: Some(Mac([2, 0, 0, 0, 0, 9])), ..reported },
                _ => reported,
            }
        })
        .collect();
    let rows = ObservedBatch { sessions: second.clone(), ..batch(1, SESSIONS, 3 * SESSIONS) };
    storage.apply_observed(rows).await.unwrap();
    for row in second {
        assert_eq!(storage.session(TENANT, row.id).await.unwrap(), Some(row));
    }
    for (address, holders) in [("192.0.2.1", SESSIONS * 2 * 3 / 4), ("203.0.113.5", SESSIONS / 2)] {
        let filter = ObservedFilter { prefix: Some(prefix(address)), ..ObservedFilter::default() };
        let page = storage.sessions(TENANT, filter, None, 10_000).await.unwrap();
        assert_eq!(page.items.len() as u64, holders, "{address}");
    }
    for (state, sessions) in [("closed", SESSIONS / 2), ("live", SESSIONS * 3 / 2)] {
        let filter = ObservedFilter { state: Some(state.to_owned()), ..ObservedFilter::default() };
        let page = storage.sessions(TENANT, filter, None, 10_000).await.unwrap();
        assert_eq!(page.items.len() as u64, sessions, "{state}");
    }
}

pub(crate) async fn purging_takes_bounded_pieces_and_keeps_live_sessions(storage: Arc<dyn Storage>) {
    let today = Stamp(NOON).day();
    let mut bindings = Vec::new();
    for sequence in 1..=10 {
        let mut row = binding("192.0.2.1", sequence);
        row.day = today - if sequence <= 6 { 10 } else { 0 };
        bindings.push(row);
    }
    let sessions = (1..=6).map(|id| SessionRow {
        day: today - if id <= 4 { 10 } else { 0 },
        state: if id == 1 { "live" } else { "closed" }.to_owned(),
        ..session(id, 1)
    });
    let rows = ObservedBatch { bindings, sessions: sessions.collect(), ..batch(1, 0, 10) };
    storage.apply_observed(rows).await.unwrap();
    assert_eq!(storage.purge_before(today - 20, 100).await.unwrap(), 0);
    assert_eq!(storage.purge_before(today, 4).await.unwrap(), 4);
    assert_eq!(count_bindings(&*storage).await, 6);
    assert_eq!(storage.purge_before(today, 3).await.unwrap(), 3);
    assert_eq!(storage.purge_before(today, 100).await.unwrap(), 2);
    assert_eq!(storage.purge_before(today, 100).await.unwrap(), 0);
    assert_eq!(count_bindings(&*storage).await, 4);
    // Purged sessions are not found by their addresses either.
    for filter in [
        ObservedFilter::default(),
        ObservedFilter { prefix: Some(prefix("192.0.2.1")), ..ObservedFilter::default() },
    ] {
        let left = storage.sessions(TENANT, filter, None, 10).await.unwrap().items;
        let left: Vec<u128> = left.iter().map(|row| row.id.0.0).collect();
        assert_eq!(left, [6, 5, 1]);
    }
}

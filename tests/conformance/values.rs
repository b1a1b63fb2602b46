//! Values that checks are made of.

use std::collections::BTreeMap;

use lastmile::ids::{NasId, ServiceId, SessionId, TenantId, Uid};
use lastmile::model::observed::{BindingAction, BindingRow, GrantRow, SessionRow};
use lastmile::model::{Envelope, Kind, Mac, Prefix};
use lastmile::storage::{Change, StoredObject, Write};
use lastmile::time::Stamp;

pub(crate) const TENANT: TenantId = TenantId::DEFAULT;
pub(crate) const OTHER: TenantId = TenantId(Uid(0xabc));
/// A day of the year 2026 in milliseconds.
pub(crate) const NOON: u64 = 1_795_132_800_000;

/// A plain object without names.
pub(crate) fn object(kind: Kind, id: u128) -> StoredObject {
    StoredObject {
        envelope: Envelope {
            kind,
            id: Uid(id),
            tenant: TENANT,
            source: None,
            external_id: None,
            generation: 1,
            source_version: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            created_at: Stamp(NOON),
            updated_at: Stamp(NOON),
            updated_by: "test".to_owned(),
            deleted_at: None,
            seq: 0,
        },
        spec_json: format!("{{\"n\":{id}}}"),
        sealed: None,
    }
}

/// The write that creates `object`.
pub(crate) fn create(object: StoredObject) -> Write {
    Write {
        object,
        expected_generation: 0,
        unique_keys: Vec::new(),
        refs: Vec::new(),
        before_json: String::new(),
    }
}

/// The write that follows `write` with the next generation.
pub(crate) fn update(write: &Write) -> Write {
    let mut next = write.clone();
    next.expected_generation = write.object.envelope.generation;
    next.object.envelope.generation += 1;
    next.before_json.clone_from(&write.object.spec_json);
    next
}

/// The write that deletes what `write` left.
pub(crate) fn delete(write: &Write) -> Write {
    let mut last = update(write);
    last.object.envelope.deleted_at = Some(Stamp(NOON + 1));
    last
}

pub(crate) fn change(writes: impl Into<Vec<Write>>) -> Change {
    Change { at: Stamp(NOON), actor: "test".to_owned(), request: "req_1".to_owned(), writes: writes.into() }
}

pub(crate) fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub(crate) fn session(id: u128, sequence: u64) -> SessionRow {
    SessionRow {
        id: SessionId(Uid(id)),
        day: Stamp(NOON).day(),
        tenant: TENANT,
        service: ServiceId(Uid(7)),
        slot: 1,
        nas: NasId(Uid(9)),
        acct_session_id: "8000001c".to_owned(),
        login: "jan@isp".to_owned(),
        mac: Some(Mac([2, 0, 0x5e, 0, 0x53, 1])),
        addresses: vec![prefix("192.0.2.1"), prefix("2001:db8:1::/56")],
        state: "live".to_owned(),
        started_at: Stamp(NOON),
        updated_at: Stamp(NOON + sequence),
        stopped_at: None,
        cause: None,
        octets_in: u64::MAX,
        octets_out: 1 << 63,
        packets_in: 3,
        packets_out: 4,
        records: 5,
        policy_digest: 0xfedc_ba98_7654_3210,
        node: 1,
        sequence,
    }
}

pub(crate) fn grant(address: &str, sequence: u64) -> GrantRow {
    GrantRow {
        tenant: TENANT,
        vrf: String::new(),
        prefix: prefix(address),
        state: "granted".to_owned(),
        service: ServiceId(Uid(7)),
        slot: 1,
        pool: Some(lastmile::ids::PoolId(Uid(3))),
        network: None,
        mac: Some(Mac([2, 0, 0x5e, 0, 0x53, 1])),
        line: "olt1 1/1/4:7".to_owned(),
        via: Some("198.51.100.9".parse().unwrap()),
        session: Some(SessionId(Uid(70))),
        lease_ends_at: Some(Stamp::MAX),
        since: Stamp(NOON),
        policy_digest: u64::MAX,
        node: 1,
        sequence,
        updated_at: Stamp(NOON),
        record: None,
    }
}

pub(crate) fn binding(address: &str, sequence: u64) -> BindingRow {
    let at = Stamp(NOON + sequence);
    BindingRow {
        day: at.day(),
        node: 1,
        sequence,
        part: 0,
        at,
        tenant: TENANT,
        vrf: "internet".to_owned(),
        prefix: prefix(address),
        action: BindingAction::Open,
        service: ServiceId(Uid(7)),
        slot: 1,
        mac: None,
        line: "olt1 1/1/4:7".to_owned(),
        nas: Some(NasId(Uid(9))),
        session: None,
        evidence: "accept".to_owned(),
    }
}

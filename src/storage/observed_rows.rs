//! The stored form of bindings, sessions and grants.
//!
//! Field order is column order, here and in the statements that read.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sqlx::error::BoxDynError;

use super::StorageError;
use super::bulk::{BulkRow, Values};
use super::rows::{Hex16, HexBytes, Millis, clean, damaged, decode, encode, inner};
use crate::ids::{NasId, NetworkId, PoolId, ServiceId, SessionId, TenantId};
use crate::model::observed::{BindingAction, BindingRow, GrantRow, SessionRow};
use crate::model::{Mac, Prefix};
use crate::time::Stamp;

/// One row of `binding`.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredBinding<'a> {
    day: u32,
    node: u16,
    sequence: i64,
    part: u8,
    at: Millis,
    tenant: Hex16,
    vrf: Cow<'a, str>,
    first: Hex16,
    len: u8,
    action: Cow<'a, str>,
    service: Hex16,
    slot: u8,
    mac: Option<HexBytes<'a>>,
    line: Cow<'a, str>,
    nas: Option<Hex16>,
    session: Option<Hex16>,
    evidence: Cow<'a, str>,
}

impl<'a> From<&'a BindingRow> for StoredBinding<'a> {
    fn from(row: &'a BindingRow) -> Self {
        let (first, len) = row.prefix.raw();
        Self {
            day: row.day,
            node: row.node,
            sequence: row.sequence.cast_signed(),
            part: row.part,
            at: row.at.into(),
            tenant: row.tenant.0.into(),
            vrf: clean(&row.vrf),
            first: Hex16(first),
            len,
            action: row.action.name().into(),
            service: row.service.0.into(),
            slot: row.slot,
            mac: row.mac.as_ref().map(stored_mac),
            line: clean(&row.line),
            nas: row.nas.map(|nas| nas.0.into()),
            session: row.session.map(|session| session.0.into()),
            evidence: clean(&row.evidence),
        }
    }
}

impl BulkRow for StoredBinding<'_> {
    fn give(&self, values: &mut Values) -> Result<(), BoxDynError> {
        values.number(self.day.into())?;
        values.number(self.node.into())?;
        values.number(self.sequence)?;
        values.number(self.part.into())?;
        values.number(self.at.0)?;
        values.wide(self.tenant.0)?;
        values.text(&self.vrf)?;
        values.wide(self.first.0)?;
        values.number(self.len.into())?;
        values.text(&self.action)?;
        values.wide(self.service.0)?;
        values.number(self.slot.into())?;
        values.bytes(self.mac.as_ref().map(HexBytes::bytes))?;
        values.text(&self.line)?;
        values.wide_or_null(self.nas.map(|nas| nas.0))?;
        values.wide_or_null(self.session.map(|session| session.0))?;
        values.text(&self.evidence)
    }
}

impl StoredBinding<'_> {
    fn row(self) -> Result<BindingRow, StorageError> {
        Ok(BindingRow {
            day: self.day,
            node: self.node,
            sequence: self.sequence.cast_unsigned(),
            part: self.part,
            at: self.at.into(),
            tenant: TenantId(self.tenant.into()),
            vrf: self.vrf.into_owned(),
            prefix: read_prefix("binding", self.first, self.len)?,
            action: BindingAction::from_name(&self.action)
                .ok_or_else(|| damaged("binding", &format_args!("`{}` is no action", self.action)))?,
            service: ServiceId(self.service.into()),
            slot: self.slot,
            mac: self.mac.map(|mac| read_mac("binding", &mac)).transpose()?,
            line: self.line.into_owned(),
            nas: self.nas.map(|nas| NasId(nas.into())),
            session: self.session.map(|session| SessionId(session.into())),
            evidence: self.evidence.into_owned(),
        })
    }
}

/// One row of `session`; its addresses are kept again, searchable, in `session_address`.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredSession<'a> {
    tenant: Hex16,
    id: Hex16,
    day: u32,
    service: Hex16,
    slot: u8,
    nas: Hex16,
    acct_session_id: Cow<'a, str>,
    login: Cow<'a, str>,
    mac: Option<HexBytes<'a>>,
    addresses: Cow<'a, str>,
    state: Cow<'a, str>,
    started_at: Millis,
    updated_at: Millis,
    stopped_at: Option<Millis>,
    cause: Option<Cow<'a, str>>,
    octets_in: i64,
    octets_out: i64,
    packets_in: i64,
    packets_out: i64,
    records: i64,
    policy_digest: i64,
    node: u16,
    sequence: i64,
}

impl<'a> StoredSession<'a> {
    pub(super) fn new(row: &'a SessionRow) -> Result<Self, StorageError> {
        Ok(Self {
            tenant: row.tenant.0.into(),
            id: row.id.0.into(),
            day: row.day,
            service: row.service.0.into(),
            slot: row.slot,
            nas: row.nas.0.into(),
            acct_session_id: clean(&row.acct_session_id),
            login: clean(&row.login),
            mac: row.mac.as_ref().map(stored_mac),
            addresses: encode(&row.addresses)?.into(),
            state: clean(&row.state),
            started_at: row.started_at.into(),
            updated_at: row.updated_at.into(),
            stopped_at: row.stopped_at.map(Millis::from),
            cause: row.cause.as_deref().map(clean),
            octets_in: row.octets_in.cast_signed(),
            octets_out: row.octets_out.cast_signed(),
            packets_in: row.packets_in.cast_signed(),
            packets_out: row.packets_out.cast_signed(),
            records: row.records.cast_signed(),
            policy_digest: row.policy_digest.cast_signed(),
            node: row.node,
            sequence: row.sequence.cast_signed(),
        })
    }
}

impl BulkRow for StoredSession<'_> {
    fn give(&self, values: &mut Values) -> Result<(), BoxDynError> {
        values.wide(self.tenant.0)?;
        values.wide(self.id.0)?;
        values.number(self.day.into())?;
        values.wide(self.service.0)?;
        values.number(self.slot.into())?;
        values.wide(self.nas.0)?;
        values.text(&self.acct_session_id)?;
        values.text(&self.login)?;
        values.bytes(self.mac.as_ref().map(HexBytes::bytes))?;
        values.text(&self.addresses)?;
        values.text(&self.state)?;
        values.number(self.started_at.0)?;
        values.number(self.updated_at.0)?;
        values.number_or_null(self.stopped_at.map(|at| at.0))?;
        values.text_or_null(self.cause.as_deref())?;
        values.number(self.octets_in)?;
        values.number(self.octets_out)?;
        values.number(self.packets_in)?;
        values.number(self.packets_out)?;
        values.number(self.records)?;
        values.number(self.policy_digest)?;
        values.number(self.node.into())?;
        values.number(self.sequence)
    }
}

impl StoredSession<'_> {
    fn row(self) -> Result<SessionRow, StorageError> {
        Ok(SessionRow {
            id: SessionId(self.id.into()),
            day: self.day,
            tenant: TenantId(self.tenant.into()),
            service: ServiceId(self.service.into()),
            slot: self.slot,
            nas: NasId(self.nas.into()),
            acct_session_id: self.acct_session_id.into_owned(),
            login: self.login.into_owned(),
            mac: self.mac.map(|mac| read_mac("session", &mac)).transpose()?,
            addresses: inner("addresses of a session", &self.addresses)?,
            state: self.state.into_owned(),
            started_at: self.started_at.into(),
            updated_at: self.updated_at.into(),
            stopped_at: self.stopped_at.map(Stamp::from),
            cause: self.cause.map(Cow::into_owned),
            octets_in: self.octets_in.cast_unsigned(),
            octets_out: self.octets_out.cast_unsigned(),
            packets_in: self.packets_in.cast_unsigned(),
            packets_out: self.packets_out.cast_unsigned(),
            records: self.records.cast_unsigned(),
            policy_digest: self.policy_digest.cast_unsigned(),
            node: self.node,
            sequence: self.sequence.cast_unsigned(),
        })
    }
}

/// One address of a session, with the position of the row it came from.
#[derive(Serialize)]
pub(super) struct StoredAddress {
    tenant: Hex16,
    session: Hex16,
    first: Hex16,
    len: u8,
    node: u16,
    sequence: i64,
}

impl BulkRow for StoredAddress {
    fn give(&self, values: &mut Values) -> Result<(), BoxDynError> {
        values.wide(self.tenant.0)?;
        values.wide(self.session.0)?;
        values.wide(self.first.0)?;
        values.number(self.len.into())?;
        values.number(self.node.into())?;
        values.number(self.sequence)
    }
}

/// All addresses of a session.
pub(super) fn addresses(row: &SessionRow) -> impl Iterator<Item = StoredAddress> {
    row.addresses.iter().map(|prefix| StoredAddress {
        tenant: row.tenant.0.into(),
        session: row.id.0.into(),
        first: Hex16(prefix.raw().0),
        len: prefix.raw().1,
        node: row.node,
        sequence: row.sequence.cast_signed(),
    })
}

/// One row of `grant_now`.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredGrant<'a> {
    tenant: Hex16,
    first: Hex16,
    len: u8,
    vrf: Cow<'a, str>,
    state: Cow<'a, str>,
    service: Hex16,
    slot: u8,
    pool: Option<Hex16>,
    network: Option<Hex16>,
    mac: Option<HexBytes<'a>>,
    line: Cow<'a, str>,
    via: Option<Hex16>,
    session: Option<Hex16>,
    lease_ends_at: Option<Millis>,
    since: Millis,
    policy_digest: i64,
    node: u16,
    sequence: i64,
    updated_at: Millis,
    record: Option<HexBytes<'a>>,
}

impl<'a> From<&'a GrantRow> for StoredGrant<'a> {
    fn from(row: &'a GrantRow) -> Self {
        let (first, len) = row.prefix.raw();
        Self {
            tenant: row.tenant.0.into(),
            first: Hex16(first),
            len,
            vrf: clean(&row.vrf),
            state: clean(&row.state),
            service: row.service.0.into(),
            slot: row.slot,
            pool: row.pool.map(|pool| pool.0.into()),
            network: row.network.map(|network| network.0.into()),
            mac: row.mac.as_ref().map(stored_mac),
            line: clean(&row.line),
            via: row.via.map(|via| Hex16(Prefix::host(via).first())),
            session: row.session.map(|session| session.0.into()),
            lease_ends_at: row.lease_ends_at.map(Millis::from),
            since: row.since.into(),
            policy_digest: row.policy_digest.cast_signed(),
            node: row.node,
            sequence: row.sequence.cast_signed(),
            updated_at: row.updated_at.into(),
            record: row.record.as_deref().map(|record| HexBytes(record.into())),
        }
    }
}

impl BulkRow for StoredGrant<'_> {
    fn give(&self, values: &mut Values) -> Result<(), BoxDynError> {
        values.wide(self.tenant.0)?;
        values.wide(self.first.0)?;
        values.number(self.len.into())?;
        values.text(&self.vrf)?;
        values.text(&self.state)?;
        values.wide(self.service.0)?;
        values.number(self.slot.into())?;
        values.wide_or_null(self.pool.map(|pool| pool.0))?;
        values.wide_or_null(self.network.map(|network| network.0))?;
        values.bytes(self.mac.as_ref().map(HexBytes::bytes))?;
        values.text(&self.line)?;
        values.wide_or_null(self.via.map(|via| via.0))?;
        values.wide_or_null(self.session.map(|session| session.0))?;
        values.number_or_null(self.lease_ends_at.map(|at| at.0))?;
        values.number(self.since.0)?;
        values.number(self.policy_digest)?;
        values.number(self.node.into())?;
        values.number(self.sequence)?;
        values.number(self.updated_at.0)?;
        values.bytes(self.record.as_ref().map(HexBytes::bytes))
    }
}

impl StoredGrant<'_> {
    fn row(self) -> Result<GrantRow, StorageError> {
        let via = |hex| read_prefix("grant", hex, 128).map(Prefix::address);
        Ok(GrantRow {
            tenant: TenantId(self.tenant.into()),
            vrf: self.vrf.into_owned(),
            prefix: read_prefix("grant", self.first, self.len)?,
            state: self.state.into_owned(),
            service: ServiceId(self.service.into()),
            slot: self.slot,
            pool: self.pool.map(|pool| PoolId(pool.into())),
            network: self.network.map(|network| NetworkId(network.into())),
            mac: self.mac.map(|mac| read_mac("grant", &mac)).transpose()?,
            line: self.line.into_owned(),
            via: self.via.map(via).transpose()?,
            session: self.session.map(|session| SessionId(session.into())),
            lease_ends_at: self.lease_ends_at.map(Stamp::from),
            since: self.since.into(),
            policy_digest: self.policy_digest.cast_unsigned(),
            node: self.node,
            sequence: self.sequence.cast_unsigned(),
            updated_at: self.updated_at.into(),
            record: self.record.map(|record| record.0.into_owned()),
        })
    }
}

/// The bindings of an answer.
pub(super) fn bindings(answer: &str) -> Result<Vec<BindingRow>, StorageError> {
    let rows = decode::<StoredBinding<'_>>("binding", answer)?;
    rows.into_iter().map(StoredBinding::row).collect()
}

/// The sessions of an answer.
pub(super) fn sessions(answer: &str) -> Result<Vec<SessionRow>, StorageError> {
    let rows = decode::<StoredSession<'_>>("session", answer)?;
    rows.into_iter().map(StoredSession::row).collect()
}

/// The grants of an answer.
pub(super) fn grants(answer: &str) -> Result<Vec<GrantRow>, StorageError> {
    let rows = decode::<StoredGrant<'_>>("grant", answer)?;
    rows.into_iter().map(StoredGrant::row).collect()
}

pub(super) fn stored_mac(mac: &Mac) -> HexBytes<'_> {
    HexBytes(Cow::Borrowed(&mac.0))
}

fn read_mac(what: &str, stored: &HexBytes<'_>) -> Result<Mac, StorageError> {
    let bytes: Result<[u8; 6], _> = stored.0.as_ref().try_into();
    bytes.map(Mac).map_err(|_| damaged(what, &"a MAC address is not 6 bytes long"))
}

fn read_prefix(what: &str, first: Hex16, len: u8) -> Result<Prefix, StorageError> {
    Prefix::from_raw(first.0, len)
        .ok_or_else(|| damaged(what, &format_args!("{:032x}/{len} is no prefix", first.0)))
}

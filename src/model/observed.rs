//! Observed state: what the journal applier writes to storage about sessions, grants and their history.
//!
//! Desired state flows from storage to the packet path; these rows flow the other way. Every row is derived from
//! one journal record, so writing a batch twice changes nothing.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Mac, Prefix};
use crate::ids::{NasId, NetworkId, PoolId, ServiceId, SessionId, TenantId};
use crate::time::Stamp;

/// What happened to a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BindingAction {
    /// The address got this holder.
    Open,
    /// Same holder, other facts (session, line, MAC).
    Change,
    /// The holder left.
    Close,
}

impl BindingAction {
    /// Stored and shown form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Change => "change",
            Self::Close => "close",
        }
    }

    /// Reverses [`BindingAction::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Open, Self::Change, Self::Close].into_iter().find(|action| action.name() == name)
    }
}

/// One append-only row of who held what (FIELD R23).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingRow {
    /// UTC day of `at`: the partition key.
    pub day: u32,
    /// Node and journal sequence of the record; together with `part` the idempotency key.
    pub node: u16,
    /// Journal sequence.
    pub sequence: u64,
    /// Position among the rows of one record.
    pub part: u8,
    /// When it happened.
    pub at: Stamp,
    /// Operator.
    pub tenant: TenantId,
    /// VRF, empty for the default VRF.
    pub vrf: String,
    /// What was held.
    pub prefix: Prefix,
    /// What happened.
    pub action: BindingAction,
    /// Holder; the nil id for a client that belongs to no service.
    pub service: ServiceId,
    /// Slot of the service.
    pub slot: u8,
    /// MAC address seen, if any.
    pub mac: Option<Mac>,
    /// Line seen (remote-id and circuit-id as readable text), empty if none.
    pub line: String,
    /// NAS it came through, if RADIUS.
    pub nas: Option<NasId>,
    /// Session, if RADIUS.
    pub session: Option<SessionId>,
    /// Evidence or reason in one word: `accept`, `lease`, `static`, `stop`, `release`, `expired`, `taken-over` …
    pub evidence: String,
}

/// One RADIUS session as last seen; upserted by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Our id, carried in Class.
    pub id: SessionId,
    /// UTC day of `started_at`.
    pub day: u32,
    /// Operator.
    pub tenant: TenantId,
    /// Service; nil when the session could not be matched to one.
    pub service: ServiceId,
    /// Slot of the service.
    pub slot: u8,
    /// NAS that reported it.
    pub nas: NasId,
    /// The NAS's own id.
    pub acct_session_id: String,
    /// Login as received.
    pub login: String,
    /// Calling-Station-Id MAC, if it was one.
    pub mac: Option<Mac>,
    /// Addresses and prefixes in use.
    pub addresses: Vec<Prefix>,
    /// `live`, `closing` or `closed`.
    pub state: String,
    /// Start of the session.
    pub started_at: Stamp,
    /// Last accounting record.
    pub updated_at: Stamp,
    /// End, once closed.
    pub stopped_at: Option<Stamp>,
    /// Acct-Terminate-Cause or our own reason, once closed.
    pub cause: Option<String>,
    /// Octets from the subscriber, 64 bit.
    pub octets_in: u64,
    /// Octets to the subscriber, 64 bit.
    pub octets_out: u64,
    /// Packets from the subscriber.
    pub packets_in: u64,
    /// Packets to the subscriber.
    pub packets_out: u64,
    /// Accounting records applied to this row, retransmissions not counted.
    pub records: u64,
    /// Digest of the policy it was given.
    pub policy_digest: u64,
    /// Node that wrote the row last.
    pub node: u16,
    /// Journal sequence of the newest record in it, on that node.
    pub sequence: u64,
}

/// One current grant; upserted by (tenant, VRF, prefix), removed when the address is free again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRow {
    /// Operator.
    pub tenant: TenantId,
    /// VRF, empty for the default VRF.
    pub vrf: String,
    /// What is held.
    pub prefix: Prefix,
    /// `granted`, `held`, `quarantined`, `declined` or `free` (the row goes).
    pub state: String,
    /// Holder; nil for a client that belongs to no service.
    pub service: ServiceId,
    /// Slot of the service.
    pub slot: u8,
    /// Pool, if it came from one.
    pub pool: Option<PoolId>,
    /// Network, if known.
    pub network: Option<NetworkId>,
    /// MAC address, if known.
    pub mac: Option<Mac>,
    /// Line as readable text, empty if none.
    pub line: String,
    /// NAS or relay address it came through.
    pub via: Option<IpAddr>,
    /// Session, if RADIUS.
    pub session: Option<SessionId>,
    /// End of the DHCP lease, if one.
    pub lease_ends_at: Option<Stamp>,
    /// When this holder got it.
    pub since: Stamp,
    /// Digest of the policy it was given.
    pub policy_digest: u64,
    /// Node that wrote the row last.
    pub node: u16,
    /// Journal sequence of the newest record in it.
    pub sequence: u64,
    /// When that record was decided: of two nodes' records the later one stays.
    pub updated_at: Stamp,
    /// The record itself, by which other nodes learn of the grant; none when no other node can read it.
    pub record: Option<Vec<u8>>,
}

/// What one stretch of a node's journal means for storage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedBatch {
    /// The node whose journal it is.
    pub node: u16,
    /// Sequence of the last record before the batch: the stored position must equal it, or the batch was applied before.
    pub after: u64,
    /// Sequence of the last record in the batch.
    pub through: u64,
    /// History rows.
    pub bindings: Vec<BindingRow>,
    /// Sessions, at most one row each.
    pub sessions: Vec<SessionRow>,
    /// Grants, at most one row per prefix.
    pub grants: Vec<GrantRow>,
}

//! What is shown of sessions, leases and pools.

use serde::Serialize;

use crate::ids::{NasId, NetworkId, PoolId, TenantId, Uid};
use crate::journal::record::Holder;
use crate::ledger::PoolCounts;
use crate::ledger::holder::{Grant, Session, Slot};
use crate::model::decode::octets_to_text;
use crate::model::observed::{BindingRow, SessionRow};
use crate::model::{Kind, Mac};
use crate::snapshot::Snapshot;
use crate::time::Stamp;

/// A RADIUS session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SessionView {
    /// Our id, carried in Class.
    pub id: String,
    /// `live` or `closed`.
    pub state: String,
    /// Service; null when it belongs to none.
    pub service: Option<String>,
    /// Slot of the service.
    pub slot: u8,
    /// NAS that reported it last.
    pub nas: String,
    /// What the NAS is called.
    pub nas_name: Option<String>,
    /// The NAS's own id.
    pub acct_session_id: String,
    /// Login as received.
    pub login: String,
    /// MAC address of the subscriber's device, if known.
    pub mac: Option<String>,
    /// Line as readable text, empty if none.
    pub line: String,
    /// Addresses and prefixes in use.
    pub addresses: Vec<String>,
    /// Start.
    #[schema(value_type = String)]
    pub started_at: Stamp,
    /// Last accounting record.
    #[schema(value_type = String)]
    pub updated_at: Stamp,
    /// End, once closed.
    #[schema(value_type = Option<String>)]
    pub stopped_at: Option<Stamp>,
    /// Why it ended.
    pub cause: Option<String>,
    /// Octets from the subscriber.
    pub octets_in: u64,
    /// Octets to the subscriber.
    pub octets_out: u64,
    /// Packets from the subscriber.
    pub packets_in: u64,
    /// Packets to the subscriber.
    pub packets_out: u64,
    /// Accounting records applied.
    pub records: u64,
    /// Digest of the policy it was given; null when unknown.
    pub policy_digest: Option<String>,
    /// Whether that is the policy of now: `in_force`, `outdated` or `unknown`.
    pub policy: &'static str,
}

/// A prefix that somebody holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LeaseView {
    /// The address or prefix.
    pub prefix: String,
    /// VRF, empty for the default one.
    pub vrf: String,
    /// `leased`, `in_session`, `granted`, `remembered` or `assigned`.
    pub state: &'static str,
    /// Service; null for a client without one.
    pub service: Option<String>,
    /// Slot of the service.
    pub slot: u8,
    /// MAC address of the device, if known.
    pub mac: Option<String>,
    /// Client identifier (DHCP option 61) as text or `0x…`.
    pub client_id: Option<String>,
    /// Relay it came through.
    pub giaddr: Option<String>,
    /// Pool it was chosen from; null when assigned by name.
    pub pool: Option<String>,
    /// Network, if known.
    pub network: Option<String>,
    /// NAS it came through, if RADIUS.
    pub nas: Option<String>,
    /// Session, if RADIUS.
    pub session: Option<String>,
    /// When this holder got it, or left it; null when it is only assigned.
    #[schema(value_type = Option<String>)]
    pub since: Option<Stamp>,
    /// When it ends by itself; null for never.
    #[schema(value_type = Option<String>)]
    pub ends_at: Option<Stamp>,
    /// Digest of the policy it was given; null when unknown.
    pub policy_digest: Option<String>,
    /// Whether that is the policy of now: `in_force`, `outdated` or `unknown`.
    pub policy: &'static str,
}

/// One row of history: who got or left a prefix, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct BindingView {
    /// When.
    #[schema(value_type = String)]
    pub at: Stamp,
    /// `open`, `change` or `close`.
    pub action: &'static str,
    /// The address or prefix.
    pub prefix: String,
    /// VRF, empty for the default one.
    pub vrf: String,
    /// Service; null for a client without one.
    pub service: Option<String>,
    /// Slot of the service.
    pub slot: u8,
    /// MAC address seen.
    pub mac: Option<String>,
    /// Line seen.
    pub line: String,
    /// NAS it came through.
    pub nas: Option<String>,
    /// Session.
    pub session: Option<String>,
    /// How it is known: `accept`, `lease`, `stop`, …
    pub evidence: String,
    /// Node and journal sequence of the record.
    pub record: String,
}

/// How full a pool is, as this node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct UtilizationView {
    /// The pool.
    pub pool: String,
    /// What it is called.
    pub name: String,
    /// Class, as plans name it.
    pub class: String,
    /// Whether it grants nothing new.
    pub draining: bool,
    /// Grants by state.
    pub counts: PoolCounts,
    /// Share that is in use, set aside or out of use, in percent.
    pub used_percent: f64,
}

/// The digests that policies have now.
pub(super) struct Digests<'a>(pub(super) &'a Snapshot);

impl Digests<'_> {
    /// The digest of what the service would be given now.
    pub(super) fn of_service(&self, service: Uid) -> Option<u64> {
        let service = self.0.service(service)?;
        let plan = self.0.plan(service.plan)?;
        Some(self.0.policy_digest(service, plan))
    }

    /// Compares what a holder was given with what it would be given now.
    pub(super) fn judge(&self, holder: Holder, given: u64) -> &'static str {
        match self.of_service(Uid(holder.0)) {
            Some(_) if given == 0 => "unknown",
            Some(now) if now == given => "in_force",
            Some(_) => "outdated",
            None => "unknown",
        }
    }
}

/// Sixteen hexadecimal digits; `None` for a digest that nobody recorded.
pub(super) fn digest_text(digest: u64) -> Option<String> {
    (digest != 0).then(|| format!("{digest:016x}"))
}

pub(super) fn service_text(holder: Holder) -> Option<String> {
    (holder.0 != 0 && !holder.is_client()).then(|| Kind::Service.format_id(Uid(holder.0)))
}

fn mac_text(mac: Mac) -> Option<String> {
    (mac != Mac::default()).then(|| mac.to_string())
}

fn nas_text(nas: NasId) -> Option<String> {
    (nas.0 != Uid::NIL).then(|| nas.to_string())
}

/// The operator to whom a live session belongs.
pub(super) fn tenant_of_session(
    snapshot: &Snapshot,
    holder: Holder,
    slot: &Slot,
    session: &Session,
) -> TenantId {
    let by_service = snapshot.service(Uid(holder.0)).map(|service| service.tenant);
    let by_grant = || slot.grants.first().map(|grant| grant.space.tenant);
    let by_nas = || snapshot.nas(session.nas.0).map(|nas| nas.tenant);
    by_service.or_else(by_grant).or_else(by_nas).unwrap_or(TenantId::DEFAULT)
}

impl SessionView {
    pub(super) fn live(snapshot: &Snapshot, holder: Holder, slot: &Slot, session: &Session) -> Self {
        let live = slot.grants.iter().filter(|grant| grant.live && grant.lease.is_none());
        Self {
            id: session.id.to_string(),
            state: "live".to_owned(),
            service: service_text(holder),
            slot: slot.number,
            nas: session.nas.to_string(),
            nas_name: snapshot.nas(session.nas.0).map(|nas| nas.name.to_string()),
            acct_session_id: octets_to_text(&session.acct_session_id),
            login: octets_to_text(&session.login),
            mac: mac_text(slot.owner.mac),
            line: octets_to_text(&session.line),
            addresses: live.map(|grant| grant.prefix.to_string()).collect(),
            started_at: session.started_at,
            updated_at: session.updated_at,
            stopped_at: None,
            cause: None,
            octets_in: session.octets_in,
            octets_out: session.octets_out,
            packets_in: session.packets_in,
            packets_out: session.packets_out,
            records: session.records,
            policy_digest: digest_text(session.digest),
            policy: Digests(snapshot).judge(holder, session.digest),
        }
    }

    pub(super) fn stored(snapshot: &Snapshot, row: SessionRow) -> Self {
        Self {
            id: row.id.to_string(),
            state: row.state,
            service: service_text(Holder(row.service.0.0)),
            slot: row.slot,
            nas: row.nas.to_string(),
            nas_name: snapshot.nas(row.nas.0).map(|nas| nas.name.to_string()),
            acct_session_id: row.acct_session_id,
            login: row.login,
            mac: row.mac.and_then(mac_text),
            line: String::new(),
            addresses: row.addresses.iter().map(ToString::to_string).collect(),
            started_at: row.started_at,
            updated_at: row.updated_at,
            stopped_at: row.stopped_at,
            cause: row.cause,
            octets_in: row.octets_in,
            octets_out: row.octets_out,
            packets_in: row.packets_in,
            packets_out: row.packets_out,
            records: row.records,
            policy_digest: digest_text(row.policy_digest),
            policy: "unknown",
        }
    }
}

impl LeaseView {
    pub(super) fn of(snapshot: &Snapshot, holder: Holder, slot: &Slot, grant: &Grant) -> Self {
        let lease = grant.lease.as_deref();
        let giaddr = lease.map(|lease| lease.giaddr).filter(|giaddr| *giaddr != 0);
        Self {
            prefix: grant.prefix.to_string(),
            vrf: grant.space.vrf.to_string(),
            state: match (grant.live, lease.is_some(), slot.session.is_some()) {
                (false, ..) => "remembered",
                (true, true, _) => "leased",
                (true, false, true) => "in_session",
                (true, false, false) => "granted",
            },
            service: service_text(holder),
            slot: slot.number,
            mac: mac_text(slot.owner.mac),
            client_id: lease
                .filter(|lease| !lease.client_id.is_empty())
                .map(|lease| octets_to_text(&lease.client_id)),
            giaddr: giaddr.map(|giaddr| std::net::Ipv4Addr::from(giaddr).to_string()),
            pool: (grant.pool != PoolId::default()).then(|| grant.pool.to_string()),
            network: (grant.network != NetworkId::default()).then(|| grant.network.to_string()),
            nas: nas_text(grant.nas),
            session: slot.session.as_ref().map(|session| session.id.to_string()),
            since: Some(grant.since),
            ends_at: (grant.ends_at != Stamp::MAX).then_some(grant.ends_at),
            policy_digest: digest_text(grant.digest),
            policy: Digests(snapshot).judge(holder, grant.digest),
        }
    }

    /// A prefix that a service has by name and does not use.
    pub(super) fn assigned(prefix: crate::model::Prefix, vrf: &str, service: Uid) -> Self {
        Self {
            prefix: prefix.to_string(),
            vrf: vrf.to_owned(),
            state: "assigned",
            service: Some(Kind::Service.format_id(service)),
            slot: 0,
            mac: None,
            client_id: None,
            giaddr: None,
            pool: None,
            network: None,
            nas: None,
            session: None,
            since: None,
            ends_at: None,
            policy_digest: None,
            policy: "unknown",
        }
    }
}

impl From<BindingRow> for BindingView {
    fn from(row: BindingRow) -> Self {
        Self {
            at: row.at,
            action: row.action.name(),
            prefix: row.prefix.to_string(),
            vrf: row.vrf,
            service: service_text(Holder(row.service.0.0)),
            slot: row.slot,
            mac: row.mac.map(|mac| mac.to_string()),
            line: row.line,
            nas: row.nas.map(|nas| nas.to_string()),
            session: row.session.map(|session| session.to_string()),
            evidence: row.evidence,
            record: format!("{}/{}", row.node, row.sequence),
        }
    }
}

//! From journal records to the rows that storage keeps: what happened, and how things stand.
//!
//! Pure: the applier reads a stretch of the journal, this turns it into one [`ObservedBatch`], storage applies it once. Within
//! a batch sessions and grants are folded to their last state, so that a session reporting a hundred times costs one row.
//! Binding rows are never folded (FIELD R23).

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::ids::{NasId, NetworkId, PoolId, ServiceId, SessionId, Uid};
use crate::journal::record::{
    GrantRecord, Holder, Record, ReleaseReason, ReleaseRecord, SessionEvent, SessionRecord,
};
use crate::model::observed::{BindingAction, BindingRow, GrantRow, ObservedBatch, SessionRow};
use crate::model::{Mac, Prefix};
use crate::time::Stamp;

/// Key of a grant: operator, VRF, prefix.
type GrantKey = (Uid, SmallVec<[u8; 16]>, Prefix);

/// Collects records of one node, in journal order.
#[derive(Debug)]
pub struct Collector {
    batch: ObservedBatch,
    /// Whether rows carry the records that other nodes learn by.
    for_others: bool,
    sessions: HashMap<SessionId, usize>,
    /// Of each session in the batch whether it began there.
    began: Vec<bool>,
    grants: HashMap<GrantKey, usize>,
}

impl Collector {
    /// Collects what follows sequence `after` of `node`.
    pub fn new(node: u16, after: u64) -> Self {
        let batch = ObservedBatch { node, after, through: after, ..ObservedBatch::default() };
        Self { batch, for_others: false, sessions: HashMap::new(), began: Vec::new(), grants: HashMap::new() }
    }

    /// The same, for a database that other nodes read.
    #[must_use]
    pub const fn for_others(mut self, shared: bool) -> Self {
        self.for_others = shared;
        self
    }

    /// Adds the record at `sequence`.
    pub fn add(&mut self, sequence: u64, record: &Record) {
        self.batch.through = sequence;
        match record {
            Record::Grant(grant) => {
                let bytes = self.for_others.then(|| record.to_bytes());
                self.add_grant(sequence, grant, bytes);
            }
            Record::Release(release) => {
                let bytes = self.for_others.then(|| record.to_bytes());
                self.add_release(sequence, release, bytes);
            }
            Record::Session(session) => self.add_session(sequence, session),
            // What another node granted, its own applier writes.
            Record::Nas(_) | Record::Start(_) | Record::Hold(_) | Record::Learned(_) => {}
        }
    }

    /// Notes a record that storage does not keep.
    pub const fn skip(&mut self, sequence: u64) {
        self.batch.through = sequence;
    }

    /// Rows collected so far.
    pub const fn rows(&self) -> usize {
        self.batch.bindings.len() + self.batch.sessions.len() + self.batch.grants.len()
    }

    /// The batch. Sessions that storage may know of come before those that began in the batch: it writes new ones faster
    /// where nothing else stands between them.
    pub fn finish(mut self) -> ObservedBatch {
        let rows = std::mem::take(&mut self.batch.sessions).into_iter().zip(self.began);
        let (began, known): (Vec<_>, Vec<_>) = rows.partition(|(_, began)| *began);
        self.batch.sessions = known.into_iter().chain(began).map(|(row, _)| row).collect();
        self.batch
    }

    fn add_grant(&mut self, sequence: u64, record: &GrantRecord, bytes: Option<Vec<u8>>) {
        let mac = known_mac(record.owner.mac);
        let line = text(&record.line);
        if !record.renewal {
            self.batch.bindings.push(BindingRow {
                day: record.at.day(),
                node: self.batch.node,
                sequence,
                part: 0,
                at: record.at,
                tenant: record.tenant,
                vrf: text(&record.vrf),
                prefix: record.prefix,
                action: BindingAction::Open,
                service: service_of(record.holder),
                slot: record.slot,
                mac,
                line: line.clone(),
                nas: known(record.nas.0).map(NasId),
                session: known(record.session.0).map(SessionId),
                evidence: evidence(record).to_owned(),
            });
        }
        let giaddr = record.lease.as_ref().map(|lease| lease.giaddr).filter(|giaddr| *giaddr != 0);
        let row = GrantRow {
            tenant: record.tenant,
            vrf: text(&record.vrf),
            prefix: record.prefix,
            state: "granted".to_owned(),
            service: service_of(record.holder),
            slot: record.slot,
            pool: known(record.pool.0).map(PoolId),
            network: known(record.network.0).map(NetworkId),
            mac,
            line,
            via: giaddr.map(|giaddr| std::net::Ipv4Addr::from(giaddr).into()),
            session: known(record.session.0).map(SessionId),
            lease_ends_at: record.lease.as_ref().map(|_| record.ends_at),
            since: record.at,
            policy_digest: record.digest,
            node: self.batch.node,
            sequence,
            updated_at: record.at,
            record: bytes,
        };
        self.put_grant((record.tenant.0, record.vrf.clone(), record.prefix), row);
    }

    fn add_release(&mut self, sequence: u64, record: &ReleaseRecord, bytes: Option<Vec<u8>>) {
        self.batch.bindings.push(BindingRow {
            day: record.at.day(),
            node: self.batch.node,
            sequence,
            part: 0,
            at: record.at,
            tenant: record.tenant,
            vrf: text(&record.vrf),
            prefix: record.prefix,
            action: BindingAction::Close,
            service: service_of(record.holder),
            slot: record.slot,
            mac: None,
            line: String::new(),
            nas: None,
            session: None,
            evidence: record.reason.name().to_owned(),
        });
        let state = if record.reason == ReleaseReason::Declined { "declined" } else { "held" };
        let row = GrantRow {
            tenant: record.tenant,
            vrf: text(&record.vrf),
            prefix: record.prefix,
            state: state.to_owned(),
            service: service_of(record.holder),
            slot: record.slot,
            pool: None,
            network: None,
            mac: None,
            line: String::new(),
            via: None,
            session: None,
            lease_ends_at: None,
            since: record.at,
            policy_digest: 0,
            node: self.batch.node,
            sequence,
            updated_at: record.at,
            record: bytes,
        };
        self.put_grant((record.tenant.0, record.vrf.clone(), record.prefix), row);
    }

    fn put_grant(&mut self, key: GrantKey, row: GrantRow) {
        if let Some(known) = self.grants.get(&key).and_then(|at| self.batch.grants.get_mut(*at)) {
            *known = row;
        } else {
            self.grants.insert(key, self.batch.grants.len());
            self.batch.grants.push(row);
        }
    }

    fn add_session(&mut self, sequence: u64, record: &SessionRecord) {
        let ended = matches!(record.event, SessionEvent::Stop | SessionEvent::Closed);
        let mut row = SessionRow {
            id: record.session,
            day: record.started_at.day(),
            tenant: record.tenant,
            service: service_of(record.holder),
            slot: record.slot,
            nas: record.nas,
            acct_session_id: text(&record.acct_session_id),
            login: text(&record.login),
            mac: known_mac(record.owner.mac),
            addresses: record.addresses.to_vec(),
            state: if ended { "closed" } else { "live" }.to_owned(),
            started_at: record.started_at,
            updated_at: record.at,
            stopped_at: ended.then_some(record.event_at),
            cause: ended.then(|| cause(record)),
            octets_in: record.octets_in,
            octets_out: record.octets_out,
            packets_in: record.packets_in,
            packets_out: record.packets_out,
            records: record.records,
            policy_digest: record.digest,
            node: self.batch.node,
            sequence,
        };
        if let Some(known) =
            self.sessions.get(&record.session).and_then(|at| self.batch.sessions.get_mut(*at))
        {
            if row.addresses.is_empty() {
                row.addresses = std::mem::take(&mut known.addresses);
            }
            row.mac = row.mac.or(known.mac);
            *known = row;
        } else {
            self.sessions.insert(record.session, self.batch.sessions.len());
            self.began.push(record.event == SessionEvent::Start);
            self.batch.sessions.push(row);
        }
    }
}

fn evidence(record: &GrantRecord) -> &'static str {
    match (&record.lease, record.pool.0 == Uid::NIL) {
        (Some(_), _) => "lease",
        (None, _) if record.ends_at == Stamp::MAX && record.digest == 0 => "accounting",
        (None, true) => "assigned",
        (None, false) => "accept",
    }
}

/// Acct-Terminate-Cause in the words of RFC 2866 §5.10.
fn cause(record: &SessionRecord) -> String {
    const CAUSES: [&str; 18] = [
        "User-Request",
        "Lost-Carrier",
        "Lost-Service",
        "Idle-Timeout",
        "Session-Timeout",
        "Admin-Reset",
        "Admin-Reboot",
        "Port-Error",
        "NAS-Error",
        "NAS-Request",
        "NAS-Reboot",
        "Port-Unneeded",
        "Port-Preempted",
        "Port-Suspended",
        "Service-Unavailable",
        "Callback",
        "User-Error",
        "Host-Request",
    ];
    if record.event == SessionEvent::Closed {
        return "closed-by-server".to_owned();
    }
    let known = (record.cause as usize).checked_sub(1).and_then(|index| CAUSES.get(index));
    known.map_or_else(|| record.cause.to_string(), |name| (*name).to_owned())
}

fn service_of(holder: Holder) -> ServiceId {
    if holder.is_client() { ServiceId::default() } else { ServiceId(Uid(holder.0)) }
}

fn known(id: Uid) -> Option<Uid> {
    (id != Uid::NIL).then_some(id)
}

fn known_mac(mac: Mac) -> Option<Mac> {
    (mac != Mac::default()).then_some(mac)
}

fn text(bytes: &[u8]) -> String {
    // NUL cannot be stored as text in every database, and control characters must not reach terminals.
    let text = String::from_utf8_lossy(bytes);
    if !text.bytes().any(|byte| byte.is_ascii_control() || byte >= 0x80) {
        return text.into_owned();
    }
    text.chars().map(|symbol| if symbol.is_control() { '\u{fffd}' } else { symbol }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TenantId;
    use crate::journal::record::Owner;

    fn session(event: SessionEvent, octets: u64) -> Record {
        Record::Session(SessionRecord {
            at: Stamp::from_secs(100 + octets),
            event_at: Stamp::from_secs(100 + octets),
            event,
            session: SessionId(Uid(9)),
            tenant: TenantId::DEFAULT,
            holder: Holder(7),
            slot: 0,
            nas: NasId(Uid(1)),
            acct_session_id: SmallVec::from_slice(b"81\x0000"),
            login: SmallVec::from_slice(b"jan"),
            owner: Owner::default(),
            line: SmallVec::new(),
            started_at: Stamp::from_secs(100),
            session_time: octets as u32,
            octets_in: octets,
            octets_out: 0,
            packets_in: 0,
            packets_out: 0,
            cause: 2,
            addresses: SmallVec::new(),
            records: octets,
            digest: 0,
        })
    }

    #[test]
    fn many_reports_of_one_session_become_one_row_with_the_last_counters() {
        let mut collector = Collector::new(1, 10);
        collector.add(11, &session(SessionEvent::Start, 1));
        collector.add(12, &session(SessionEvent::Interim, 50));
        collector.add(13, &session(SessionEvent::Stop, 60));
        let batch = collector.finish();
        assert_eq!((batch.after, batch.through, batch.sessions.len()), (10, 13, 1));
        let row = &batch.sessions[0];
        assert_eq!((row.octets_in, row.records, row.state.as_str()), (60, 60, "closed"));
        assert_eq!(row.cause.as_deref(), Some("Lost-Carrier"));
        assert_eq!(row.acct_session_id, "81\u{fffd}00");
    }

    #[test]
    fn sessions_that_storage_may_know_come_before_those_that_begin_in_the_batch() {
        let mut collector = Collector::new(1, 0);
        for (sequence, event) in
            [(1, SessionEvent::Start), (2, SessionEvent::Interim), (3, SessionEvent::Start)]
        {
            let Record::Session(record) = session(event, sequence) else { unreachable!("made so above") };
            let own = SessionId(Uid(u128::from(sequence)));
            collector.add(sequence, &Record::Session(SessionRecord { session: own, ..record }));
        }
        assert_eq!(collector.rows(), 3);
        let order: Vec<u64> = collector.finish().sessions.iter().map(|row| row.sequence).collect();
        assert_eq!(order, [2, 1, 3]);
    }

    #[test]
    fn a_grant_and_its_release_stay_two_rows_of_history_and_one_of_state() {
        let prefix = "100.64.0.7".parse().unwrap();
        let mut collector = Collector::new(1, 0).for_others(true);
        let grant = GrantRecord {
            at: Stamp::from_secs(1),
            tenant: TenantId::DEFAULT,
            vrf: SmallVec::new(),
            prefix,
            role: crate::journal::record::Role::V4,
            holder: Holder(7),
            slot: 0,
            pool: PoolId(Uid(3)),
            network: NetworkId::default(),
            owner: Owner::default(),
            line: SmallVec::new(),
            nas: NasId::default(),
            session: SessionId::default(),
            lease: None,
            ends_at: Stamp::MAX,
            digest: 1,
            renewal: false,
        };
        collector.add(1, &Record::Grant(grant.clone()));
        collector.add(2, &Record::Grant(GrantRecord { renewal: true, ..grant }));
        collector.add(
            3,
            &Record::Release(ReleaseRecord {
                at: Stamp::from_secs(2),
                tenant: TenantId::DEFAULT,
                vrf: SmallVec::new(),
                prefix,
                holder: Holder(7),
                slot: 0,
                reason: ReleaseReason::Stop,
                evidence_at: Stamp::from_secs(2),
            }),
        );
        let batch = collector.finish();
        let actions: Vec<&str> = batch.bindings.iter().map(|row| row.action.name()).collect();
        assert_eq!(actions, ["open", "close"]);
        assert_eq!(batch.grants.len(), 1);
        let row = &batch.grants[0];
        assert_eq!((row.state.as_str(), row.updated_at), ("held", Stamp::from_secs(2)));
        let record = Record::from_bytes(row.record.as_deref().unwrap()).unwrap();
        assert!(matches!(record, Record::Release(release) if release.prefix == prefix));
    }
}

//! What time alone ends: leases, limited sessions, sessions of a restarted NAS, offers nobody took.
//!
//! [`Ledger::sweep`] looks at a few shards at a time and returns the records that end what is due; like all changes they
//! take effect when the journal has them. Nothing here acts on a clock of its own.

use smallvec::SmallVec;

use super::account::closing;
use super::holder::{Grant, Slot};
use super::{Ledger, SHARDS};
use crate::journal::record::{Holder, Record, ReleaseReason, ReleaseRecord};
use crate::time::Stamp;

/// How long a NAS's announced restart stays in doubt, in milliseconds: an interim of an old session cancels it (FIELD R16).
const RESTART_DOUBT_MS: u64 = 60_000;

/// Grace after the end of a Session-Timeout before the address is taken back, in milliseconds: the Stop may be on its way.
const TIMEOUT_GRACE_MS: u64 = 60_000;

impl Ledger {
    /// Records that end what is due in shard `index` (0 to [`SHARDS`] − 1), at most `limit`.
    pub fn sweep(&self, index: usize, now: Stamp, limit: usize) -> Vec<Record> {
        let mut records = Vec::new();
        let Some(shard) = self.shards.get(index % SHARDS) else {
            return records;
        };
        let restarted: Vec<_> = {
            let restarted = self.restarted.lock();
            let due = |at: &Stamp| now.since(*at) >= RESTART_DOUBT_MS;
            restarted.iter().filter(|(_, at)| due(at)).map(|(nas, at)| (*nas, *at)).collect()
        };
        let hold_until = self.hold_until();
        let mut shard = shard.lock();
        for (holder, state) in &mut shard.holders {
            let holder = Holder(*holder);
            for slot in &mut state.slots {
                self.drop_stale_offers(holder, slot, now);
                if slot.pending.as_ref().is_some_and(|pending| pending.until <= now) {
                    slot.pending = None;
                }
                if records.len() >= limit {
                    return records;
                }
                let gone = slot.session.as_ref().is_some_and(|session| {
                    restarted.iter().any(|(nas, at)| *nas == session.nas && session.updated_at < *at)
                });
                if gone && slot.records_in_flight == 0 {
                    end_session(holder, slot, now, ReleaseReason::NasRestart, &mut records);
                    continue;
                }
                end_grants(holder, slot, now, hold_until, &mut records);
            }
        }
        records
    }

    /// Forgets announced restarts older than `before`: every shard has been swept since.
    pub fn forget_restarts(&self, before: Stamp) {
        self.restarted.lock().retain(|_, at| *at >= before);
    }
}

fn end_session(
    holder: Holder,
    slot: &mut Slot,
    now: Stamp,
    reason: ReleaseReason,
    records: &mut Vec<Record>,
) {
    let tenant = slot.grants.first().map_or(crate::ids::TenantId::DEFAULT, |grant| grant.space.tenant);
    let Some(session) = slot.session.as_deref() else {
        return;
    };
    // A pending Accept means the subscriber is back already: its address stays.
    let back = slot.pending.as_ref().is_some_and(|pending| pending.until > now);
    if !back {
        let live =
            slot.grants.iter().filter(|grant| grant.live && (grant.lease.is_none() || grant.ends_at <= now));
        records.extend(live.map(|grant| release(holder, slot.number, grant, now, reason)));
    }
    records.push(Record::Session(closing(session, holder, slot, now, tenant)));
    slot.records_in_flight = slot.records_in_flight.saturating_add(1);
}

fn end_grants(holder: Holder, slot: &Slot, now: Stamp, hold_until: Stamp, records: &mut Vec<Record>) {
    let session_until =
        slot.session.as_ref().map_or(Stamp::ZERO, |session| session.updated_at.plus_secs(3_600));
    let pending = slot.pending.is_some();
    for grant in slot.grants.iter().filter(|grant| grant.live) {
        let (end, reason) = if grant.lease.is_some() {
            (grant.ends_at.max(hold_until), ReleaseReason::Expired)
        } else {
            let end = grant.ends_at.max(hold_until).max(session_until);
            (Stamp(end.0.saturating_add(TIMEOUT_GRACE_MS)), ReleaseReason::Timeout)
        };
        let held_by_session = grant.lease.is_some() && slot.session.is_some();
        if end <= now && !pending && !held_by_session {
            records.push(release(holder, slot.number, grant, end.min(now), reason));
        }
    }
}

fn release(holder: Holder, slot: u8, grant: &Grant, at: Stamp, reason: ReleaseReason) -> Record {
    Record::Release(ReleaseRecord {
        at,
        tenant: grant.space.tenant,
        vrf: SmallVec::from_slice(grant.space.vrf.as_bytes()),
        prefix: grant.prefix,
        holder,
        slot,
        reason,
    })
}

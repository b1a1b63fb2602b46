//! What time alone ends: leases, limited sessions, sessions of a restarted NAS, offers nobody took.
//!
//! [`Ledger::sweep`] looks at a few shards at a time and returns the records that end what is due; like all changes they
//! take effect when the journal has them. Nothing here acts on a clock of its own. On its way it forgets what is of no
//! use any more: empty holders, and memories of addresses that others had since.

use super::account::closing;
use super::admit::{ending, ending_by};
use super::holder::{Grant, HolderState, Slot, Stage};
use super::{IN_FLIGHT_MS, Ledger, SHARDS};
use crate::ids::NasId;
use crate::journal::record::{Holder, Record, ReleaseReason};
use crate::time::Stamp;

/// How long a NAS's announced restart stays in doubt, in milliseconds: an interim of an old session cancels it (FIELD R16).
const RESTART_DOUBT_MS: u64 = 60_000;

/// Grace after the end of a Session-Timeout before the address is taken back, in milliseconds: the Stop may be on its way.
const TIMEOUT_GRACE_MS: u64 = 60_000;

/// How long what another node answered with is left to that node after its end, in seconds: it may have been renewed there,
/// and the news of it be late.
const FOREIGN_GRACE_SECS: u64 = 86_400;

/// A session heard of this lately lives, whatever was allowed to it, in seconds.
const HEARD_LATELY_SECS: u64 = 3_600;

/// A record that nobody waits for counts as lost after this long, in milliseconds, even if no later record has shown it.
const UNSETTLED_MS_MAX: u64 = 86_400_000;

/// What is the same for all slots of one sweep.
struct Round<'a> {
    now: Stamp,
    hold_until: Stamp,
    /// No Accept ends before this, for time alone.
    hold_accepts_until: Stamp,
    restarted: &'a [(NasId, Stamp)],
    /// When nothing was left to learn of other nodes last.
    feed_read_at: Stamp,
}

impl Ledger {
    /// Records that end what is due in shard `index` (0 to [`SHARDS`] − 1): after `limit` of them no further slot is
    /// begun.
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
        let holds = self.holds();
        let round = Round {
            now,
            hold_until: holds.leases,
            hold_accepts_until: holds.end(),
            restarted: &restarted,
            feed_read_at: self.feed_read_at(),
        };
        let mut shard = shard.lock();
        shard.holders.retain(|holder, state| {
            let holder = Holder(holder);
            self.tidy(holder, state, now);
            for slot in &mut state.slots {
                if records.len() < limit {
                    round.end_due(holder, slot, &mut records);
                }
            }
            !state.forget_empty(now)
        });
        records
    }

    /// Forgets announced restarts older than `before`: every shard has been swept since.
    pub fn forget_restarts(&self, before: Stamp) {
        self.restarted.lock().retain(|_, at| *at >= before);
    }

    /// Drops what is volatile and over, and memories that cannot bring anything back.
    fn tidy(&self, holder: Holder, state: &mut HolderState, now: Stamp) {
        let newest = self.newest();
        // A journal that stalls writes what it has been given all the same when it goes on. It keeps the order, so nothing
        // follows that was decided well before what has been applied.
        let is_settled =
            |decided: Stamp| newest.since(decided) >= IN_FLIGHT_MS || now.since(decided) >= UNSETTLED_MS_MAX;
        self.drop_reservations(holder, state, |slot, reserved| match reserved.stage {
            Stage::Offered(until) => until <= now,
            Stage::Waiting => false,
            Stage::Answered(until) => {
                let over = until.0.saturating_add(TIMEOUT_GRACE_MS) <= now.0;
                over && is_settled(reserved.since) && slot.session.is_none() && !slot.is_pending(now)
            }
        });
        for slot in &mut state.slots {
            slot.grants.retain(|grant| grant.live || self.remembers(holder, grant));
            let stands = slot.grants.iter().any(|grant| grant.live) || !slot.reserved.is_empty();
            if !stands && !slot.is_pending(now) {
                slot.pending = None;
            }
        }
    }

    /// Whether a grant that was left can come back: nobody else had the address since.
    fn remembers(&self, holder: Holder, grant: &Grant) -> bool {
        self.pool(grant.pool)
            .is_some_and(|pool| pool.entry(grant.prefix).is_none_or(|(last, _, _)| last == holder))
    }
}

/// Until when the slot's last Accept allows its grants: all of them alike, although after a crash the end of those assigned
/// by name may be known from an earlier one only.
fn allowed_until(slot: &Slot) -> Stamp {
    let live = slot.grants.iter().filter(|grant| grant.live);
    live.map(|grant| grant.accepted_until).max().unwrap_or(Stamp::ZERO)
}

impl Round<'_> {
    fn end_due(&self, holder: Holder, slot: &mut Slot, records: &mut Vec<Record>) {
        if slot.is_recording(self.now) {
            return;
        }
        if let Some(restart) = self.gone_since(slot) {
            self.end_session(holder, slot, (ReleaseReason::NasRestart, restart), records);
            return;
        }
        let silent =
            |slot: &Slot| slot.session.as_ref().is_some_and(|session| self.is_silent(session.updated_at));
        if silent(slot) && self.is_timed_out(slot) {
            self.end_session(holder, slot, (ReleaseReason::Timeout, self.now), records);
            return;
        }
        self.end_grants(holder, slot, records);
    }

    /// When the NAS restarted with which the slot's session went, or the Accept that no Start has confirmed.
    fn gone_since(&self, slot: &Slot) -> Option<Stamp> {
        let restarted = |nas: NasId, heard: Stamp| {
            let of_nas = self.restarted.iter().find(|(restarted, at)| *restarted == nas && heard < *at);
            of_nas.map(|(_, at)| *at)
        };
        if let Some(session) = &slot.session {
            return restarted(session.nas, session.updated_at);
        }
        if slot.is_pending(self.now) && !self.restarted_under_pending(slot) {
            return None;
        }
        match &slot.pending {
            Some(pending) => restarted(pending.nas, pending.at),
            // Accepts are volatile: after an unclean stop the last one may be forgotten.
            None if self.now < self.hold_until => None,
            // The last one gave all of the slot's grants, but no record says so of those assigned by name.
            None => slot
                .grants
                .iter()
                .filter(|grant| grant.live && grant.accepted_until != Stamp::ZERO)
                .max_by_key(|grant| grant.since.max(grant.answered_at))
                .and_then(|newest| restarted(newest.nas, newest.since.max(newest.answered_at))),
        }
    }

    fn restarted_under_pending(&self, slot: &Slot) -> bool {
        slot.pending.as_ref().is_some_and(|pending| {
            self.restarted.iter().any(|(nas, at)| *nas == pending.nas && pending.at < *at)
        })
    }

    fn is_silent(&self, heard: Stamp) -> bool {
        heard.plus_secs(HEARD_LATELY_SECS) <= self.now
    }

    /// Whether all that Accepts allowed is over.
    fn is_timed_out(&self, slot: &Slot) -> bool {
        let last = allowed_until(slot);
        let end = last.max(self.hold_accepts_until);
        last != Stamp::ZERO && end.0.saturating_add(TIMEOUT_GRACE_MS) <= self.now.0
    }

    fn end_session(
        &self,
        holder: Holder,
        slot: &mut Slot,
        (reason, evidence_at): (ReleaseReason, Stamp),
        records: &mut Vec<Record>,
    ) {
        let now = self.now;
        let number = slot.number;
        // A pending Accept that came after means the subscriber is back already: its address stays.
        let back = slot.session.is_some() && slot.pending.is_some() && !self.restarted_under_pending(slot);
        let coming = |prefix| {
            slot.reserved.iter().any(|reserved| reserved.prefix == prefix && reserved.is_in_flight(now))
        };
        for grant in slot.grants.iter_mut().filter(|grant| grant.live && !back) {
            let due = !grant.is_leased(now, self.hold_until) && now.since(grant.leaving) >= IN_FLIGHT_MS;
            if due && !coming(grant.prefix) {
                let at = grant.stamp(now).max(grant.since);
                records.push(ending_by(grant, (holder, number), at, now, reason, evidence_at));
            }
        }
        let Some(session) = slot.session.as_deref() else {
            slot.pending = None;
            return;
        };
        records.push(Record::Session(closing(session, holder, number, now)));
        slot.records_in_flight = 1;
        slot.recorded_at = now;
    }

    fn end_grants(&self, holder: Holder, slot: &mut Slot, records: &mut Vec<Record>) {
        let now = self.now;
        if slot.is_pending(now) {
            return;
        }
        let heard_until = slot
            .session
            .as_ref()
            .map_or(Stamp::ZERO, |session| session.updated_at.plus_secs(HEARD_LATELY_SECS));
        let (number, has_session) = (slot.number, slot.session.is_some());
        let allowed_until = allowed_until(slot);
        let coming = |prefix| {
            slot.reserved.iter().any(|reserved| reserved.prefix == prefix && reserved.is_in_flight(now))
        };
        for grant in slot.grants.iter_mut().filter(|grant| grant.live) {
            let (end, reason) = if grant.lease.is_some() {
                // A lease may run out while an Accept still stands on the grant.
                let accepted = match grant.accepted_until {
                    Stamp::ZERO => Stamp::ZERO,
                    until => Stamp(until.max(self.hold_accepts_until).0.saturating_add(TIMEOUT_GRACE_MS)),
                };
                (grant.ends_at.max(self.hold_until).max(accepted), ReleaseReason::Expired)
            } else {
                let accepted_until =
                    if grant.accepted_until == Stamp::ZERO { Stamp::ZERO } else { allowed_until };
                let end = accepted_until.max(self.hold_accepts_until).max(heard_until);
                (Stamp(end.0.saturating_add(TIMEOUT_GRACE_MS)), ReleaseReason::Timeout)
            };
            let is_due = if grant.foreign {
                // The other node sees to it, unless it is gone for good.
                end.plus_secs(FOREIGN_GRACE_SECS) <= now.min(self.feed_read_at)
            } else {
                end <= now
            };
            let held_by_session = grant.lease.is_some() && has_session;
            let leaving = grant.leaving != Stamp::ZERO && now.since(grant.leaving) < IN_FLIGHT_MS;
            if is_due && !held_by_session && !leaving && !coming(grant.prefix) {
                let at = end.min(now).max(grant.since);
                records.push(ending(grant, holder, number, at, now, reason));
            }
        }
    }
}

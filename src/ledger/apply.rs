//! Applying committed records: the only way in which durable ledger state changes.
//!
//! Live traffic, recovery and replay come through here with (sequence, record) in journal order. A record changes one
//! shard of holders, and what is derived from it (pool entries, assignments by name, the session index). Applying a record
//! that a shard has already seen changes nothing, so a checkpoint may hold shards as of different sequences.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Ledger;
use super::apart::Stand;
use super::hold::Holds;
use super::holder::{Grant, HolderState, Session, Slot, Stage, is_space};
use super::pool::{EntryState, PoolLedger, Taken};
use crate::ids::{NasId, PoolId};
use crate::journal::record::{
    GrantRecord, Holder, Record, ReleaseReason, ReleaseRecord, SessionEvent, SessionRecord,
};
use crate::model::Prefix;
use crate::snapshot::types::Space;
use crate::time::Stamp;

/// How long an address stays out of use after a DHCPDECLINE, in seconds.
const DECLINE_SECS: u64 = 3_600;

impl Ledger {
    /// Applies one committed record.
    pub fn apply(&self, sequence: u64, record: &Record) {
        self.newest.fetch_max(record.at().0, Ordering::AcqRel);
        let Some(holder) = record.holder() else {
            match record {
                Record::Nas(nas) => self.note_restart(nas.nas, nas.at),
                Record::Start(start) => {
                    self.hold.extend(Holds { leases: start.hold_until, accepts: Stamp::ZERO });
                }
                Record::Hold(hold) => {
                    self.hold.replace(Holds { leases: hold.leases, accepts: hold.accepts });
                }
                Record::Grant(_) | Record::Release(_) | Record::Session(_) | Record::Learned(_) => {}
            }
            return;
        };
        if let Record::Learned(learned) = record {
            self.note_position(learned.node, learned.sequence);
        }
        let mut shard = self.shard(holder).lock();
        if sequence <= shard.applied {
            return;
        }
        shard.applied = sequence;
        shard.keep_for_checkpoint(holder);
        match record {
            Record::Grant(grant) => {
                let state = shard.holders.entry(holder.0);
                self.apply_grant(state, grant, sequence);
            }
            Record::Release(release) => {
                if let Some(state) = shard.holders.at_mut(holder.0) {
                    self.apply_release(state, release);
                }
            }
            Record::Session(session) => {
                let state = shard.holders.entry(holder.0);
                self.apply_session(state, session);
            }
            Record::Learned(learned) => {
                let state = shard.holders.entry(holder.0);
                self.apply_learned(state, learned, sequence);
            }
            Record::Nas(_) | Record::Start(_) | Record::Hold(_) => {}
        }
    }

    pub(super) fn note_restart(&self, nas: NasId, at: Stamp) {
        let mut restarted = self.restarted.lock();
        let known = restarted.entry(nas).or_insert(at);
        *known = at.max(*known);
    }

    fn apply_grant(&self, state: &mut HolderState, record: &GrantRecord, sequence: u64) {
        // Records decided later are still on their way; a renewal reserves nothing, so the record of the same moment is another.
        let later = |at: Stamp| at > record.at || (record.renewal && at == record.at);
        let promised = state.slot_mut(record.slot).settle(record, later);
        self.open(state, record, promised, sequence);
    }

    /// Makes what a record grants the holder's live grant.
    pub(super) fn open(&self, state: &mut HolderState, record: &GrantRecord, promised: Stamp, sequence: u64) {
        let slot = state.slot_mut(record.slot);
        if !record.owner.is_unknown() {
            slot.owner = record.owner;
        }
        let of_record = |space: &Space| is_space(space, record.tenant, &record.vrf);
        let known =
            slot.grants.iter_mut().find(|grant| grant.prefix == record.prefix && of_record(&grant.space));
        if let Some(known) = known {
            if record.renewal && !known.live && record.at <= known.since {
                // Decided before the grant was left, and overtaken by the record that says so.
                return;
            }
            let opened = !known.live || !record.renewal || known.pool != record.pool;
            let moved_from = Some(known.pool).filter(|pool| known.live && *pool != record.pool);
            renew(known, record, promised);
            if opened {
                known.since = record.at;
                known.sequence = sequence;
                self.take(known, record.holder, record.slot, sequence);
            }
            forget_oldest(slot);
            if let Some(pool) = moved_from.and_then(|pool| self.pool(pool)) {
                // The range went to another pool while the address was in use.
                let space = self.space(record.tenant, &record.vrf);
                let left = EntryState::Released(record.at);
                state.leave_pool(&pool, record.holder, &space, record.prefix, left);
            }
        } else {
            let grant = opened(record, self.space(record.tenant, &record.vrf), promised, sequence);
            self.take(&grant, record.holder, record.slot, sequence);
            slot.grants.push(grant);
            forget_oldest(slot);
        }
    }

    /// Enters a live grant where others look for it.
    pub(super) fn take(&self, grant: &Grant, holder: Holder, slot: u8, sequence: u64) {
        let taken = self.pool(grant.pool).map(|pool| pool.granted(grant.prefix, holder, slot, sequence));
        let displaced = match taken {
            Some(Taken::Ours | Taken::Outdated) => None,
            Some(Taken::Displaced(other)) => Some(other),
            Some(Taken::Outside) | None => {
                self.apart.granted(grant.space.key(), grant.prefix, Stand { holder, slot, sequence })
            }
        };
        if displaced.is_some() {
            self.counters.conflicts.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn apply_release(&self, state: &mut HolderState, record: &ReleaseRecord) {
        self.close(state, record, record.at);
    }

    /// Ends the grant that a record names, unless it was opened again after `decided`; says whether it did.
    pub(super) fn close(&self, state: &mut HolderState, record: &ReleaseRecord, decided: Stamp) -> bool {
        let of_record = |space: &Space| is_space(space, record.tenant, &record.vrf);
        let Some(slot) = state.slots.iter_mut().find(|slot| slot.number == record.slot) else {
            return false;
        };
        // A grant opened again after this was decided is another one.
        let ended = |grant: &Grant| {
            grant.live && grant.prefix == record.prefix && grant.since <= decided && of_record(&grant.space)
        };
        let Some(found) = slot.grants.iter().position(ended) else {
            return false;
        };
        let grant = &mut slot.grants[found];
        grant.live = false;
        grant.foreign = false;
        grant.since = record.at;
        grant.ends_at = record.at;
        grant.accepted_until = Stamp::ZERO;
        grant.durable_ends_at = Stamp::ZERO;
        // A release decided since is still on its way: should an earlier record open the grant once more, whoever comes
        // back to it needs one that follows the release.
        if grant.leaving <= decided {
            grant.leaving = Stamp::ZERO;
            grant.declined = false;
        }
        grant.lease = None;
        let (pool, space) = (grant.pool, Arc::clone(&grant.space));
        let declined = record.reason == ReleaseReason::Declined;
        if declined || pool == PoolId::default() {
            // Not to be had again, or to be had by name only: nothing to remember.
            slot.grants.remove(found);
        }
        if let Some(pool) = self.pool(pool) {
            let left = if declined {
                EntryState::Declined(record.at.plus_secs(DECLINE_SECS))
            } else {
                EntryState::Released(record.at)
            };
            state.leave_pool(&pool, record.holder, &space, record.prefix, left);
            self.bring_back(space.key(), record.prefix, Some(&pool));
        }
        self.leave_apart(record.holder, state, &space, record.prefix);
        forget_oldest(state.slot_mut(record.slot));
        true
    }

    fn apply_session(&self, state: &mut HolderState, record: &SessionRecord) {
        let slot = state.slot_mut(record.slot);
        slot.records_in_flight = slot.records_in_flight.saturating_sub(1);
        let ended = matches!(record.event, SessionEvent::Stop | SessionEvent::Closed);
        if ended {
            self.end_session(state, record);
            return;
        }
        if slot.session.as_ref().is_some_and(|session| session.id != record.session) {
            // Another session has the slot and was not closed for this one: it is the newer.
            return;
        }
        if let Some(known) = &slot.session {
            self.refile(known, record.nas, &record.acct_session_id);
        }
        slot.pending.take_if(|pending| pending.session == record.session);
        if !record.owner.is_unknown() {
            slot.owner = record.owner;
        }
        slot.session = Some(Box::new(Session {
            id: record.session,
            tenant: record.tenant,
            nas: record.nas,
            acct_session_id: record.acct_session_id.clone(),
            login: record.login.clone(),
            line: record.line.clone(),
            started_at: record.started_at,
            updated_at: record.at,
            session_time: record.session_time,
            octets_in: record.octets_in,
            octets_out: record.octets_out,
            packets_in: record.packets_in,
            packets_out: record.packets_out,
            records: record.records,
            digest: record.digest,
        }));
        self.index(record.session, record.holder, record.nas, &record.acct_session_id);
    }

    fn end_session(&self, state: &mut HolderState, record: &SessionRecord) {
        let slot = state.slot_mut(record.slot);
        let ours = slot.session.take_if(|session| {
            // An interim that followed the decision to close it shows that the session lives (FIELD R16).
            let heard_since = record.event == SessionEvent::Closed && session.updated_at > record.at;
            session.id == record.session && !heard_since
        });
        if ours.is_none() && slot.session.as_ref().is_some_and(|session| session.id == record.session) {
            return;
        }
        if let Some(ours) = &ours {
            self.refile(ours, record.nas, &record.acct_session_id);
        }
        self.unindex(record);
        let accepted = slot.pending.take_if(|pending| pending.session == record.session).is_some();
        if slot.pending.is_some() || !(accepted || ours.is_some()) {
            return;
        }
        for grant in slot.grants.iter_mut().filter(|grant| grant.lease.is_some()) {
            // From now on only the lease stands on it.
            grant.accepted_until = Stamp::ZERO;
        }
        // What the session was answered with and never became durable is left, too.
        let (number, at) = (record.slot, record.at);
        self.drop_reservations(record.holder, state, |slot, reserved| {
            let answered = matches!(reserved.stage, Stage::Answered(_));
            slot.number == number && answered && !reserved.is_in_flight(at)
        });
    }
}

impl HolderState {
    /// A slot's grant of a pool's prefix is no more: the prefix becomes what `left` says, unless a slot of the holder is on
    /// its way to it or still stands on it. Pools know one slot of an address; edits of pools and assignments can bring two
    /// slots of one holder there.
    fn leave_pool(&self, pool: &PoolLedger, holder: Holder, space: &Space, prefix: Prefix, left: EntryState) {
        let of_pool = |grant: &Grant| grant.live && grant.pool == pool.id && grant.is(space, prefix);
        if let Some(slot) = self.slots.iter().find(|slot| slot.grants.iter().any(of_pool)) {
            pool.passed_on(prefix, holder, slot.number);
            return;
        }
        let again = self.slots.iter().find(|slot| slot.reservation_of(space, prefix).is_some());
        pool.left(prefix, holder, left, again.map(|slot| slot.number));
    }
}

impl Slot {
    /// Ends the reservation of a prefix whose record has come, but for its records that are `pending`. Returns until when
    /// an answer that stands on it has promised the prefix.
    pub(super) fn settle(&mut self, record: &GrantRecord, pending: impl Fn(Stamp) -> bool) -> Stamp {
        let mut promised = Stamp::ZERO;
        self.reserved.retain_mut(|reserved| {
            if reserved.prefix != record.prefix || !is_space(&reserved.space, record.tenant, &record.vrf) {
                return true;
            }
            if let Stage::Answered(until) = reserved.stage {
                promised = promised.max(until);
            }
            reserved.records.retain(|at| pending(*at));
            !reserved.records.is_empty()
        });
        if self.reserved.is_empty() {
            // A million slots with room for one more reservation each would cost a hundred megabytes.
            self.reserved = Vec::new();
        }
        promised
    }
}

/// Remembered grants per slot; the oldest goes when a slot has been on more pools than that.
const REMEMBERED_MAX: usize = 8;

/// Writes a record into the grant that it keeps or opens again.
fn renew(grant: &mut Grant, record: &GrantRecord, promised: Stamp) {
    let stood = grant.live;
    if let Some(lease) = &record.lease {
        // What the client was told since this was decided counts as well.
        let told = if stood && grant.lease.is_some() { grant.ends_at } else { Stamp::ZERO };
        grant.ends_at = record.ends_at.max(told);
        grant.durable_ends_at = record.ends_at;
        if grant.lease.as_deref() != Some(lease) {
            grant.lease = Some(Box::new(lease.clone()));
        }
        if !stood {
            grant.accepted_until = promised;
        }
    } else {
        let stands_until = if stood { grant.accepted_until } else { Stamp::ZERO };
        grant.accepted_until = record.ends_at.max(promised).max(stands_until);
        if grant.lease.is_none() {
            grant.ends_at = grant.accepted_until;
            let known = if stood { grant.durable_ends_at } else { Stamp::ZERO };
            grant.durable_ends_at = record.ends_at.max(known);
        }
    }
    grant.live = true;
    grant.foreign = false;
    grant.answered_at = grant.answered_at.max(record.at);
    // Whoever comes back to a leaving grant gets a record of its own; any other was decided before it was to be left.
    if !record.renewal && grant.leaving < record.at {
        grant.leaving = Stamp::ZERO;
        grant.declined = false;
    }
    grant.role = record.role;
    grant.pool = record.pool;
    grant.network = record.network;
    grant.nas = record.nas;
    grant.digest = record.digest;
}

fn opened(record: &GrantRecord, space: Arc<Space>, promised: Stamp, sequence: u64) -> Grant {
    let mut grant = Grant {
        prefix: record.prefix,
        role: record.role,
        space,
        pool: record.pool,
        network: record.network,
        live: false,
        foreign: false,
        since: record.at,
        ends_at: Stamp::ZERO,
        accepted_until: Stamp::ZERO,
        answered_at: Stamp::ZERO,
        durable_ends_at: Stamp::ZERO,
        leaving: Stamp::ZERO,
        declined: false,
        lease: None,
        nas: record.nas,
        digest: record.digest,
        sequence,
    };
    renew(&mut grant, record, promised);
    grant
}

fn forget_oldest(slot: &mut Slot) {
    while slot.grants.iter().filter(|grant| !grant.live).count() > REMEMBERED_MAX {
        let oldest = slot
            .grants
            .iter()
            .enumerate()
            .filter(|(_, grant)| !grant.live)
            .min_by_key(|(_, grant)| grant.since);
        let Some((index, _)) = oldest else { return };
        slot.grants.remove(index);
    }
}

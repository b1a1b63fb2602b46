//! Applying committed records: the only way in which durable ledger state changes.
//!
//! Live traffic, recovery and replay come through here with (sequence, record) in journal order. A record changes one
//! shard of holders, and what is derived from it (pool entries, assignments by name, the session index). Applying a record
//! that a shard has already seen changes nothing, so a checkpoint may hold shards as of different sequences.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::holder::{Grant, HolderState, Session, Slot};
use super::{FixedGrant, Ledger, SessionIndex};
use crate::ids::SessionId;
use crate::journal::record::{
    GrantRecord, Holder, Record, ReleaseReason, ReleaseRecord, SessionEvent, SessionRecord,
};
use crate::model::Prefix;
use crate::snapshot::types::Space;
use crate::time::Stamp;

/// How long an address stays out of use after a DHCPDECLINE, in seconds.
const DECLINE_SECS: u64 = 3_600;
/// Closed sessions remembered per index shard, so that a late retransmission of a Stop is recognised.
const CLOSED_MAX: usize = 2_048;

impl Ledger {
    /// Applies one committed record.
    pub fn apply(&self, sequence: u64, record: &Record) {
        let Some(holder) = record.holder() else {
            match record {
                Record::Nas(nas) => {
                    self.restarted.lock().insert(nas.nas, nas.at);
                }
                Record::Start(start) => {
                    self.hold_until.fetch_max(start.hold_until.0, Ordering::AcqRel);
                }
                Record::Grant(_) | Record::Release(_) | Record::Session(_) => {}
            }
            return;
        };
        let mut shard = self.shard(holder).lock();
        if sequence <= shard.applied {
            return;
        }
        shard.applied = sequence;
        let state = shard.holders.entry(holder.0).or_default();
        match record {
            Record::Grant(grant) => self.apply_grant(state, grant, sequence),
            Record::Release(release) => self.apply_release(state, release),
            Record::Session(session) => self.apply_session(state, session),
            Record::Nas(_) | Record::Start(_) => {}
        }
    }

    fn apply_grant(&self, state: &mut HolderState, record: &GrantRecord, sequence: u64) {
        let space = self.space(record.tenant, &record.vrf);
        let slot = state.slot_mut(record.slot);
        if !record.owner.is_unknown() {
            slot.owner = record.owner;
        }
        slot.reserved.retain(|reserved| reserved.prefix != record.prefix);
        let known =
            slot.grants.iter().position(|grant| grant.prefix == record.prefix && *grant.space == *space);
        let since =
            known.and_then(|at| slot.grants.get(at)).filter(|grant| grant.live).map(|grant| grant.since);
        let opened =
            known.and_then(|at| slot.grants.get(at)).filter(|grant| grant.live).map(|grant| grant.sequence);
        let grant = Grant {
            prefix: record.prefix,
            role: record.role,
            pool: record.pool,
            network: record.network,
            live: true,
            since: since.unwrap_or(record.at),
            ends_at: record.ends_at,
            durable_ends_at: record.ends_at,
            lease: record.lease.clone().map(Box::new),
            nas: record.nas,
            digest: record.digest,
            sequence: opened.unwrap_or(sequence),
            space,
        };
        if opened.is_none() {
            self.take(&grant, record.holder, record.slot, sequence);
        }
        match known.and_then(|at| slot.grants.get_mut(at)) {
            Some(known) => *known = grant,
            None => slot.grants.push(grant),
        }
        forget_oldest(slot);
    }

    /// Enters a live grant where others look for it.
    pub(super) fn take(&self, grant: &Grant, holder: Holder, slot: u8, sequence: u64) {
        if let Some(pool) = self.pool(grant.pool) {
            if pool.granted(grant.prefix, holder, slot, sequence).is_some() {
                self.counters.conflicts.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        let (first, len) = grant.prefix.raw();
        let key = (grant.space.key(), first, len);
        let displaced = self.fixed.lock().insert(key, FixedGrant { holder, slot });
        if displaced.is_some_and(|known| known.holder != holder) {
            self.counters.conflicts.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn apply_release(&self, state: &mut HolderState, record: &ReleaseRecord) {
        let space = self.space(record.tenant, &record.vrf);
        let slot = state.slot_mut(record.slot);
        let live = |grant: &&mut Grant| grant.live && grant.prefix == record.prefix && *grant.space == *space;
        let Some(grant) = slot.grants.iter_mut().find(live) else {
            return;
        };
        grant.live = false;
        grant.since = record.at;
        grant.lease = None;
        let (pool, prefix) = (grant.pool, grant.prefix);
        if record.reason == ReleaseReason::Declined {
            slot.grants.retain(|grant| grant.prefix != prefix);
        }
        self.yield_up(pool, &space, prefix, record);
    }

    fn yield_up(&self, pool: crate::ids::PoolId, space: &Space, prefix: Prefix, record: &ReleaseRecord) {
        match self.pool(pool) {
            Some(pool) if record.reason == ReleaseReason::Declined => {
                pool.declined(prefix, record.holder, record.at.plus_secs(DECLINE_SECS));
            }
            Some(pool) => pool.released(prefix, record.holder, record.at),
            None => {
                let (first, len) = prefix.raw();
                let mut fixed = self.fixed.lock();
                let key = (space.key(), first, len);
                if fixed.get(&key).is_some_and(|known| known.holder == record.holder) {
                    fixed.remove(&key);
                }
            }
        }
    }

    fn apply_session(&self, state: &mut HolderState, record: &SessionRecord) {
        let slot = state.slot_mut(record.slot);
        slot.records_in_flight = slot.records_in_flight.saturating_sub(1);
        let ended = matches!(record.event, SessionEvent::Stop | SessionEvent::Closed);
        if slot.pending.as_ref().is_some_and(|pending| pending.session == record.session) {
            slot.pending = None;
        }
        if ended {
            if slot.session.as_ref().is_some_and(|session| session.id == record.session) {
                slot.session = None;
            }
            self.unindex(record);
            return;
        }
        if !record.owner.is_unknown() {
            slot.owner = record.owner;
        }
        slot.session = Some(Box::new(Session {
            id: record.session,
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

    pub(super) fn index(
        &self,
        session: SessionId,
        holder: Holder,
        nas: crate::ids::NasId,
        acct_session_id: &SmallVec<[u8; 24]>,
    ) {
        self.session_shard(Self::session_key(session)).lock().by_id.insert(session.0.0, holder);
        let key = Self::nas_key(nas, acct_session_id);
        self.session_shard(key).lock().by_nas.insert(key, session);
    }

    fn unindex(&self, record: &SessionRecord) {
        let evicted = {
            let mut index = self.session_shard(Self::session_key(record.session)).lock();
            index.by_id.remove(&record.session.0.0);
            index.close(record.session, Self::nas_key(record.nas, &record.acct_session_id))
        };
        if let Some((session, key)) = evicted {
            let mut index = self.session_shard(key).lock();
            if index.by_nas.get(&key) == Some(&session) {
                index.by_nas.remove(&key);
            }
        }
    }
}

impl SessionIndex {
    /// Remembers a closed session; returns the one forgotten for it.
    fn close(&mut self, session: SessionId, key: u64) -> Option<(SessionId, u64)> {
        if !self.closed.insert(session.0.0) {
            return None;
        }
        self.closed_order.push_back((session, key));
        if self.closed_order.len() <= CLOSED_MAX {
            return None;
        }
        let oldest = self.closed_order.pop_front()?;
        self.closed.remove(&oldest.0.0.0);
        Some(oldest)
    }
}

/// Remembered grants per slot; the oldest goes when a slot has been on more pools than that.
const REMEMBERED_MAX: usize = 8;

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

/// A stamp that no lease outlives after an unclean stop: see [`crate::journal::record::StartRecord`].
pub fn hold_until(now: Stamp, longest_lease_secs: u64) -> Stamp {
    now.plus_secs(longest_lease_secs)
}

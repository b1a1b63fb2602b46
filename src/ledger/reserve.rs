//! Reservations: what was chosen and is not committed yet, and how it is given back.
//!
//! A reservation names its records by the stamps of their decisions, so that aborting one never takes what another one
//! reserved or what an earlier answer promised.

use std::sync::Arc;

use smallvec::smallvec;

use super::holder::{HolderState, Pending, Replaced, Reservation, Slot, Stage, same_space};
use super::{AdmitRequest, Ledger};
use crate::ids::{NasId, PoolId, SessionId};
use crate::journal::record::{GrantRecord, Holder, Record, Role};
use crate::model::Prefix;
use crate::snapshot::types::Space;
use crate::time::Stamp;

/// What a reservation was before an admission that may still be denied.
#[derive(Debug)]
pub(super) struct Undo {
    prefix: Prefix,
    before: Option<Reservation>,
}

impl Ledger {
    /// Gives back what [`Ledger::admit`] or [`Ledger::account`] reserved, because nobody is answered: the journal refused
    /// or failed, or the answer could not be built.
    pub fn abort(&self, records: &[Record]) {
        for record in records {
            let Some(holder) = record.holder() else { continue };
            let mut shard = self.shard(holder).lock();
            let Some(state) = shard.holders.at_mut(holder.0) else {
                continue;
            };
            match record {
                Record::Grant(grant) => self.abort_grant(state, grant),
                Record::Session(session) => {
                    let slot = state.slot_mut(session.slot);
                    slot.records_in_flight = slot.records_in_flight.saturating_sub(1);
                }
                Record::Learned(learned) => self.abort_learned(state, learned),
                Record::Release(_) | Record::Nas(_) | Record::Start(_) | Record::Hold(_) => {}
            }
        }
    }

    fn abort_grant(&self, state: &mut HolderState, grant: &GrantRecord) {
        let slot = state.slot_mut(grant.slot);
        if let Some(pending) = slot.pending.take_if(|pending| pending.session == grant.session) {
            slot.pending = pending.replaced.map(|before| Box::new(before.into()));
        }
        if !grant.renewal {
            // A renewal reserves nothing: what was decided in the same moment is another record's.
            self.abort_reserved(state, grant, grant.at);
        }
    }

    /// Gives back what was reserved for the record of a grant that was decided at `at`.
    pub(super) fn abort_reserved(&self, state: &mut HolderState, grant: &GrantRecord, at: Stamp) {
        let slot = state.slot_mut(grant.slot);
        let ours = |reserved: &Reservation| reserved.prefix == grant.prefix && reserved.records.contains(&at);
        let Some(found) = slot.reserved.iter().position(ours) else {
            return;
        };
        let reserved = &mut slot.reserved[found];
        reserved.records.retain(|decided| *decided != at);
        if reserved.records.is_empty() {
            let dropped = slot.reserved.swap_remove(found);
            self.give_back(grant.holder, state, &dropped);
        }
    }

    /// Keeps what was reserved for records that the journal would not take although nobody waits for them: the holder was
    /// answered and uses its address, so nobody else may get it before `until` (FIELD R3). What the answer itself
    /// allowed is kept without this.
    pub fn hold(&self, records: &[Record], until: Stamp) {
        for record in records {
            let Record::Grant(grant) = record else { continue };
            let mut shard = self.shard(grant.holder).lock();
            let Some(state) = shard.holders.at_mut(grant.holder.0) else {
                continue;
            };
            let slot = state.slot_mut(grant.slot);
            for reserved in slot.reserved.iter_mut().filter(|reserved| reserved.prefix == grant.prefix) {
                if !matches!(reserved.stage, Stage::Offered(_)) {
                    reserved.answered(until);
                }
            }
        }
    }

    /// Takes a dropped reservation out of the structures where others look.
    pub(super) fn give_back(&self, holder: Holder, state: &HolderState, dropped: &Reservation) {
        let key = dropped.space.key();
        let of_pool = |reserved: &Reservation| {
            reserved.pool == dropped.pool
                && reserved.prefix == dropped.prefix
                && same_space(&reserved.space, &dropped.space)
        };
        // The pool knows one reservation of an address; after an edit of it two slots of one holder can have one each.
        let coming = state.slots.iter().any(|slot| slot.reserved.iter().any(of_pool));
        if let Some(pool) = self.pool(dropped.pool).filter(|_| !coming) {
            pool.abort(dropped.prefix, holder);
            self.bring_back(key, dropped.prefix, Some(&pool));
        }
        self.leave_apart(holder, state, &dropped.space, dropped.prefix);
    }

    /// Lets a holder leave a prefix that no pool accounts for, unless one of its slots still stands on it.
    pub(super) fn leave_apart(&self, holder: Holder, state: &HolderState, space: &Space, prefix: Prefix) {
        let key = space.key();
        if !state.stands_on(space, prefix) && self.apart.remove(key, prefix, holder) {
            self.bring_back(key, prefix, None);
        }
    }

    /// Drops the reservations of all slots that `over` says are over.
    pub(super) fn drop_reservations(
        &self,
        holder: Holder,
        state: &mut HolderState,
        over: impl Fn(&Slot, &Reservation) -> bool,
    ) {
        let is_over = |slot: &Slot| slot.reserved.iter().position(|reserved| over(slot, reserved));
        while let Some((slot, found)) =
            state.slots.iter_mut().find_map(|slot| is_over(slot).map(|found| (slot, found)))
        {
            let dropped = slot.reserved.swap_remove(found);
            self.give_back(holder, state, &dropped);
        }
    }

    /// Drops offers that nobody took.
    pub(super) fn drop_stale_offers(&self, holder: Holder, state: &mut HolderState, now: Stamp) {
        let stale = |reserved: &Reservation| matches!(reserved.stage, Stage::Offered(until) if until <= now);
        self.drop_reservations(holder, state, |_, reserved| stale(reserved));
    }

    /// Puts reservations back to what they were before a denied admission.
    pub(super) fn undo(
        &self,
        holder: Holder,
        state: &mut HolderState,
        number: u8,
        space: &Space,
        undo: Vec<Undo>,
    ) {
        for step in undo.into_iter().rev() {
            let slot = state.slot_mut(number);
            let Some(found) = slot.reservation_of(space, step.prefix) else { continue };
            let latest = slot.reserved.swap_remove(found);
            match step.before {
                Some(before) => slot.reserved.push(before),
                None => self.give_back(holder, state, &latest),
            }
        }
    }
}

impl Reservation {
    /// Notes that an answer stands on it until `until`.
    pub(super) fn answered(&mut self, until: Stamp) {
        self.stage = match self.stage {
            Stage::Answered(known) => Stage::Answered(known.max(until)),
            Stage::Offered(_) | Stage::Waiting => Stage::Answered(until),
        };
    }
}

impl Slot {
    pub(super) fn reservation_of(&self, space: &Space, prefix: Prefix) -> Option<usize> {
        self.reserved
            .iter()
            .position(|reserved| reserved.prefix == prefix && same_space(&reserved.space, space))
    }

    /// A stamp for a record that grants `prefix` again: later than every record of it that is on its way.
    pub(super) fn stamp_for(&self, space: &Space, prefix: Prefix, now: Stamp) -> Stamp {
        let leaving = self.grants.iter().find(|grant| grant.is(space, prefix)).map(|grant| grant.leaving);
        let after = |stamp: Stamp| Stamp(stamp.0.saturating_add(1));
        let ended = leaving.filter(|leaving| *leaving != Stamp::ZERO).map_or(now, after);
        let reserved = self.reservation_of(space, prefix).and_then(|found| self.reserved.get(found));
        now.max(ended).max(reserved.map_or(now, |reserved| after(reserved.since)))
    }

    /// Notes that the record of `prefix` decided at `since` is on its way.
    pub(super) fn reserve(
        &mut self,
        space: &Arc<Space>,
        (role, prefix, pool): (Role, Prefix, PoolId),
        since: Stamp,
    ) -> Undo {
        let Some(found) = self.reservation_of(space, prefix) else {
            self.reserved.reserve_exact(1);
            self.reserved.push(Reservation {
                prefix,
                role,
                space: Arc::clone(space),
                pool,
                foreign: false,
                stage: Stage::Waiting,
                since,
                records: smallvec![since],
            });
            return Undo { prefix, before: None };
        };
        let known = &mut self.reserved[found];
        let before = known.clone();
        known.foreign = false;
        known.since = since;
        known.records.push(since);
        if matches!(known.stage, Stage::Offered(_)) {
            known.stage = Stage::Waiting;
        }
        Undo { prefix, before: Some(before) }
    }

    /// The session that the same request was answered with before, if it is decided again: a NAS that gets two answers to
    /// one request keeps either.
    pub(super) fn session_of_request(&self, request: &AdmitRequest<'_>) -> Option<SessionId> {
        if request.lease.is_some() {
            return None;
        }
        let same = |known: SessionId, nas: NasId| {
            (known.is_of_same_request(request.session) && nas == request.nas).then_some(known)
        };
        let newest = self.pending.as_deref();
        newest
            .and_then(|newest| same(newest.session, newest.nas))
            .or_else(|| newest?.replaced.and_then(|before| same(before.session(), before.nas())))
            .or_else(|| self.session.as_deref().and_then(|known| same(known.id, known.nas)))
    }

    /// Notes an Accept that is about to be sent. One that was sent before is noted already: it is extended if it is the
    /// newest, and else does not come back in front of what followed it.
    pub(super) fn accept(&mut self, request: &AdmitRequest<'_>) {
        let accept = Pending {
            session: request.session,
            nas: request.nas,
            until: request.pending_until,
            digest: request.digest,
            at: request.now,
            replaced: None,
        };
        let in_session = self.session.as_ref().is_some_and(|known| known.id == request.session);
        match &mut self.pending {
            Some(newest) if newest.session == accept.session => {
                newest.until = newest.until.max(accept.until);
                newest.digest = accept.digest;
            }
            Some(newest) => {
                let is_before = newest.replaced.is_some_and(|before| before.session() == accept.session);
                if !is_before && !in_session {
                    let replaced = Some(Replaced::from(&**newest));
                    **newest = Pending { replaced, ..accept };
                }
            }
            None if in_session => {}
            None => self.pending = Some(Box::new(accept)),
        }
    }
}

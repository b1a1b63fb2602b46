//! What other nodes granted and released (FIELD R5), taken over so that this node answers with the same address.
//!
//! Place in the path: the feed reads records of other nodes from storage, [`Ledger::learn`] decides what each of them means
//! here and returns what must be written, and [`Ledger::apply`] makes it effective, live and in recovery alike.
//!
//! Nobody but the node that answered last knows who uses an address. A grant learned is live here and marked foreign; a
//! release learned ends a grant unless something that happened here later stands on it, and then the others are told so.
//! Times of two nodes are compared, so their clocks must agree to well within a pool's quarantine.
//!
//! What this cannot do: prevent that two nodes give an address to two holders while they do not hear of each other for
//! longer than a quarantine. It notices, counts, and changes nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::account::closing;
use super::holder::{Grant, HolderState, Slot};
use super::{IN_FLIGHT_MS, Ledger};
use crate::ids::PoolId;
use crate::journal::record::{
    Fact, GrantRecord, Holder, LearnedRecord, Owner, Record, ReleaseReason, ReleaseRecord,
};
use crate::model::Prefix;
use crate::snapshot::types::Space;
use crate::time::Stamp;

/// Clocks of two nodes may differ by this, in milliseconds: what was answered that shortly before another node saw the client
/// leave may have been answered after it.
const CLOCKS_APART_MS: u64 = 2_000;

/// What a record of another node means here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// Something new: this record makes it known here.
    Write(Record),
    /// Another holder's grant, which that node must have seen end, ends first, by this record unless it is on its way
    /// already. The same question is to be asked again when it has taken effect.
    Later(Option<Record>),
    /// What that node released is in use here: this record tells it so.
    Answer(Record),
    /// Nothing new, or nothing that concerns this node.
    Known,
    /// Another holder uses the prefix here. Nothing is changed.
    Conflict,
}

/// Where a record comes from, and when it is read.
#[derive(Clone, Copy, Debug)]
struct Origin {
    node: u16,
    sequence: u64,
    now: Stamp,
}

impl Origin {
    fn learned(self, at: Stamp, fact: Fact) -> Record {
        Record::Learned(LearnedRecord { at, node: self.node, sequence: self.sequence, fact })
    }
}

impl Ledger {
    /// Decides what the record at `sequence` of another node's journal means here. What is returned to be written is
    /// reserved until [`Ledger::apply`] or [`Ledger::abort`].
    pub fn learn(&self, node: u16, sequence: u64, record: &Record, now: Stamp) -> Lesson {
        let origin = Origin { node, sequence, now };
        let lesson = match record {
            Record::Grant(grant) => self.learn_grant(origin, grant),
            Record::Release(release) => self.learn_release(origin, release),
            Record::Session(_) | Record::Nas(_) | Record::Start(_) | Record::Hold(_) | Record::Learned(_) => {
                Lesson::Known
            }
        };
        if lesson == Lesson::Conflict {
            self.counters.learned_conflicts.fetch_add(1, Ordering::Relaxed);
        }
        lesson
    }

    /// Up to which sequence what other nodes' journals say is known durably, by node.
    pub fn learned_positions(&self) -> Vec<(u16, u64)> {
        self.learned.lock().iter().map(|(node, sequence)| (*node, *sequence)).collect()
    }

    /// Notes that at `at` nothing was left to learn.
    pub fn note_feed_read(&self, at: Stamp) {
        self.feed_read_at.fetch_max(at.0, Ordering::AcqRel);
    }

    /// When nothing was left to learn last; zero when that never was since the start.
    pub fn feed_read_at(&self) -> Stamp {
        Stamp(self.feed_read_at.load(Ordering::Acquire))
    }

    pub(super) fn note_position(&self, node: u16, sequence: u64) {
        let mut learned = self.learned.lock();
        let known = learned.entry(node).or_insert(sequence);
        *known = sequence.max(*known);
    }

    fn learn_grant(&self, origin: Origin, record: &GrantRecord) -> Lesson {
        let space = self.space(record.tenant, &record.vrf);
        if let Some(lesson) = self.make_way(origin, record, &space) {
            return lesson;
        }
        let mut shard = self.shard(record.holder).lock();
        let state = shard.holders.entry(record.holder.0);
        let lesson = self.take_over(origin, record, &space, state);
        if !matches!(lesson, Lesson::Write(_)) && state.forget_empty(origin.now) {
            shard.holders.remove(record.holder.0);
        }
        lesson
    }

    fn take_over(
        &self,
        origin: Origin,
        record: &GrantRecord,
        space: &Arc<Space>,
        state: &mut HolderState,
    ) -> Lesson {
        let known =
            || state.slots.iter().flat_map(|slot| &slot.grants).filter(|it| it.is(space, record.prefix));
        let live = known().find(|grant| grant.live);
        let since = match live {
            Some(grant) => grant.answered_at.max(grant.leaving),
            None => known().map(|grant| grant.since).max().unwrap_or(Stamp::ZERO),
        };
        if record.at <= since {
            return Lesson::Known;
        }
        let stands = state.stands_on(space, record.prefix);
        let number = slot_number(state, space, record);
        let mut fact = GrantRecord { slot: number, ..record.clone() };
        let pool = self.pool(record.pool).filter(|pool| pool.contains(record.prefix));
        let pool = pool.or_else(|| self.pool_over(space.key(), record.prefix));
        if let Some(pool) = &pool {
            fact.pool = pool.id;
        }
        let free = stands
            || match &pool {
                Some(pool) => self.reserve_in(pool, record.prefix, record.holder, number, true),
                None => self.reserve_apart(space, record.prefix, record.holder, number),
            };
        if !free {
            return Lesson::Conflict;
        }
        let is_live = live.is_some();
        let slot = state.slot_mut(number);
        let at = slot.stamp_for(space, record.prefix, origin.now);
        if slot.owner.is_unknown() {
            // Whose it is counts at once: whoever comes before the record is durable must find its slot.
            slot.owner = record.owner;
        }
        if !is_live {
            let pool = pool.map_or_else(PoolId::default, |pool| pool.id);
            let foreign = slot.reservation_of(space, record.prefix).is_none();
            slot.reserve(space, (record.role, record.prefix, pool), at);
            // Answered with, though not by this node: nobody else's even if the record is lost.
            if let Some(reserved) =
                slot.reservation_of(space, record.prefix).and_then(|found| slot.reserved.get_mut(found))
            {
                reserved.answered(record.ends_at);
                reserved.foreign = foreign;
            }
        }
        origin.learned(at, Fact::Grant(Box::new(fact))).into()
    }

    /// Another holder's grant of the prefix that this node knows from others only has ended there, as the new one shows:
    /// the feed tells the last state of a prefix, not how it came about.
    fn make_way(&self, origin: Origin, record: &GrantRecord, space: &Space) -> Option<Lesson> {
        let (other, _) = self.holder_of(space, record.prefix)?;
        if other == record.holder {
            return None;
        }
        let mut shard = self.shard(other).lock();
        let state = shard.holders.at_mut(other.0)?;
        let (slot, found) = live_grant(state, space, record.prefix)?;
        let number = slot.number;
        let grant = slot.grants.get_mut(found)?;
        if grant.leaving != Stamp::ZERO && origin.now.since(grant.leaving) < IN_FLIGHT_MS {
            return Some(Lesson::Later(None));
        }
        let stands = slot.session.as_ref().is_some_and(|session| session.updated_at > record.at);
        if !grant.foreign || grant.answered_at > record.at || stands {
            return Some(Lesson::Conflict);
        }
        let release = ReleaseRecord {
            at: record.at,
            tenant: record.tenant,
            vrf: record.vrf.clone(),
            prefix: record.prefix,
            holder: other,
            slot: number,
            reason: ReleaseReason::Replaced,
            evidence_at: record.at,
        };
        grant.leaving = origin.now.max(grant.since);
        // The grant itself is not known yet.
        let before = Origin { sequence: origin.sequence.saturating_sub(1), ..origin };
        Some(Lesson::Later(Some(before.learned(grant.leaving, Fact::Release(Box::new(release))))))
    }

    fn learn_release(&self, origin: Origin, record: &ReleaseRecord) -> Lesson {
        let space = self.space(record.tenant, &record.vrf);
        let mut shard = self.shard(record.holder).lock();
        let Some(state) = shard.holders.at_mut(record.holder.0) else {
            return Lesson::Known;
        };
        let Some((slot, found)) = live_grant(state, &space, record.prefix) else {
            return Lesson::Known;
        };
        let Some(grant) = slot.grants.get(found) else {
            return Lesson::Known;
        };
        if grant.since > record.at || grant.leaving != Stamp::ZERO {
            return Lesson::Known;
        }
        match evidence(slot, grant, record, origin.now, self.hold_until()) {
            Evidence::Left => {}
            Evidence::OfOthers => return Lesson::Known,
            Evidence::Stands => {
                let after = Stamp(record.at.0.saturating_add(1)).max(grant.stamp(origin.now));
                return Lesson::Answer(Record::Grant(standing(slot, grant, record.holder, after)));
            }
        }
        let fact = ReleaseRecord { slot: slot.number, ..record.clone() };
        let Some(grant) = slot.grants.get_mut(found) else {
            return Lesson::Known;
        };
        grant.leaving = origin.now.max(grant.since);
        origin.learned(grant.leaving, Fact::Release(Box::new(fact))).into()
    }

    pub(super) fn apply_learned(&self, state: &mut HolderState, learned: &LearnedRecord, sequence: u64) {
        match &learned.fact {
            Fact::Grant(record) => {
                let ours = |at: Stamp| at != learned.at && at != Stamp::ZERO;
                let promised = state.slot_mut(record.slot).settle(record, ours);
                // The end of a lease is no Accept.
                let promised = if record.lease.is_some() { Stamp::ZERO } else { promised };
                self.open(state, record, promised, sequence);
                let space = self.space(record.tenant, &record.vrf);
                if let Some((slot, found)) = live_grant(state, &space, record.prefix)
                    && let Some(grant) = slot.grants.get_mut(found)
                {
                    grant.foreign = true;
                    if grant.leaving != Stamp::ZERO && grant.leaving < record.at {
                        // A release decided before the other node answered must not end it.
                        grant.since = grant.since.max(record.at);
                        grant.leaving = Stamp::ZERO;
                    }
                }
            }
            Fact::Release(record) => {
                if self.close(state, record, learned.at) {
                    self.end_what_stood(state, record);
                }
            }
        }
    }

    /// The session and the Accept that the evidence of another node is about are over here, too. What they were is in the
    /// other node's records.
    fn end_what_stood(&self, state: &mut HolderState, record: &ReleaseRecord) {
        let slot = state.slot_mut(record.slot);
        slot.pending.take_if(|pending| pending.at <= record.evidence_at);
        let of_lease = matches!(record.reason, ReleaseReason::Released | ReleaseReason::Expired);
        let over =
            slot.session.take_if(|session| !of_lease && session.id.0.minted_at() <= record.evidence_at);
        if let Some(session) = over {
            self.unindex(&closing(&session, record.holder, record.slot, record.at));
        }
    }

    pub(super) fn abort_learned(&self, state: &mut HolderState, learned: &LearnedRecord) {
        match &learned.fact {
            Fact::Grant(record) => self.abort_reserved(state, record, learned.at),
            Fact::Release(record) => {
                let slot = state.slot_mut(record.slot);
                for grant in slot.grants.iter_mut().filter(|grant| grant.prefix == record.prefix) {
                    if grant.leaving == learned.at {
                        grant.leaving = Stamp::ZERO;
                    }
                }
            }
        }
    }
}

impl From<Record> for Lesson {
    fn from(record: Record) -> Self {
        Self::Write(record)
    }
}

/// What stands on a grant that another node released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    /// Nothing.
    Left,
    /// Another node's later answer, which that node will see to itself.
    OfOthers,
    /// Something that happened here.
    Stands,
}

fn evidence(slot: &Slot, grant: &Grant, release: &ReleaseRecord, now: Stamp, hold_until: Stamp) -> Evidence {
    let at = release.evidence_at;
    // A Stop names what it ends by a moment of the node that accepted it; other evidence is of the moment that it came.
    let came = matches!(release.reason, ReleaseReason::Released | ReleaseReason::NasRestart);
    let answered_at =
        if came { Stamp(grant.answered_at.0.saturating_add(CLOCKS_APART_MS)) } else { grant.answered_at };
    if answered_at > at {
        return if grant.foreign { Evidence::OfOthers } else { Evidence::Stands };
    }
    let session = slot.session.as_deref();
    let ours = !grant.foreign;
    let coming = slot.reservation_of(&grant.space, grant.prefix).is_some();
    let stands = coming
        || match release.reason {
            ReleaseReason::Declined => false,
            // Session and lease are two evidences of one grant (FIELD R9).
            ReleaseReason::Released => {
                session.is_some() || slot.is_pending(now) || (ours && grant.accepted_until > now)
            }
            ReleaseReason::Expired | ReleaseReason::Timeout => {
                let allowed = grant.ends_at.max(grant.accepted_until).max(hold_until);
                (ours && allowed > at) || session.is_some_and(|session| session.updated_at > at)
            }
            ReleaseReason::Stop
            | ReleaseReason::NasRestart
            | ReleaseReason::Replaced
            | ReleaseReason::Operator => {
                (ours && grant.is_leased(now, hold_until))
                    || session.is_some_and(|session| session.id.0.minted_at() > at)
            }
        };
    if stands { Evidence::Stands } else { Evidence::Left }
}

/// A grant as it stands, for the nodes that believe it left.
fn standing(slot: &Slot, grant: &Grant, holder: Holder, at: Stamp) -> GrantRecord {
    let (session, pending) = (slot.session.as_deref(), slot.pending.as_deref());
    let ends_at = match grant.lease {
        Some(_) => grant.ends_at,
        None if grant.accepted_until == Stamp::ZERO => Stamp::MAX,
        None => grant.accepted_until,
    };
    GrantRecord {
        at,
        tenant: grant.space.tenant,
        vrf: SmallVec::from_slice(grant.space.vrf.as_bytes()),
        prefix: grant.prefix,
        role: grant.role,
        holder,
        slot: slot.number,
        pool: grant.pool,
        network: grant.network,
        owner: slot.owner,
        line: session.map(|session| session.line.clone()).unwrap_or_default(),
        nas: grant.nas,
        session: session
            .map(|session| session.id)
            .or(pending.map(|pending| pending.session))
            .unwrap_or_default(),
        lease: grant.lease.as_deref().cloned(),
        ends_at,
        digest: grant.digest,
        renewal: true,
    }
}

fn live_grant<'a>(
    state: &'a mut HolderState,
    space: &Space,
    prefix: Prefix,
) -> Option<(&'a mut Slot, usize)> {
    let found = |slot: &Slot| slot.grants.iter().position(|grant| grant.live && grant.is(space, prefix));
    state.slots.iter_mut().find_map(|slot| found(slot).map(|found| (slot, found)))
}

/// The slot here that another node's record is about: nodes number the slots of a holder as they come.
fn slot_number(state: &HolderState, space: &Space, record: &GrantRecord) -> u8 {
    let slots = || state.slots.iter();
    let unused = |number: &u8| slots().all(|slot| slot.number != *number);
    let same = |slot: &&Slot| {
        slot.number == record.slot
            && (record.owner.is_unknown()
                || slot.owner == Owner::default()
                || slot.owner.matches(record.owner))
    };
    slots()
        .find(|slot| slot.stands_on(space, record.prefix))
        .or_else(|| slots().find(|slot| slot.owner.matches(record.owner)))
        .or_else(|| slots().find(same))
        .map(|slot| slot.number)
        .or_else(|| Some(record.slot).filter(unused))
        .or_else(|| (0..u8::MAX).find(unused))
        .unwrap_or(record.slot)
}

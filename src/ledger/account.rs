//! Accounting: what a Start, Interim-Update or Stop changes, as records.
//!
//! A session is found by the UUID in Class, else by (NAS, Acct-Session-Id) unless a Start shows that the NAS uses the id
//! again. What repeats a record that is already durable is answered without a new one, whatever its Acct-Delay-Time says.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Ledger;
use super::admit::ending_by;
use super::holder::{Session, Slot, same_space};
use crate::ids::{NasId, NetworkId, PoolId, SessionId};
use crate::journal::record::{
    GrantRecord, Holder, NasRecord, Owner, Record, ReleaseReason, Role, SessionEvent, SessionRecord,
};
use crate::model::Prefix;
use crate::snapshot::types::Space;
use crate::time::Stamp;

/// A Start this much later than the known one, under the same Acct-Session-Id, is another session: NASes reuse ids.
const REUSE_AFTER_MS: u64 = 60_000;

/// A session that reports no Class and began at most this long before an Accept is the Accept's: Event-Timestamp counts
/// whole seconds (RFC 2869 §5.3).
const CLASSLESS_SKEW_MS: u64 = 1_000;

/// What an Accounting-Request says, after decoding and identification.
#[derive(Clone, Debug)]
pub struct AccountingFacts<'a> {
    /// When it arrived.
    pub now: Stamp,
    /// When the event happened (FIELD R14).
    pub event_at: Stamp,
    /// Start, Interim or Stop.
    pub event: SessionEvent,
    /// Session id from a verified Class.
    pub class: Option<SessionId>,
    /// A fresh id, for a session that carries none.
    pub fresh: SessionId,
    /// NAS that reports.
    pub nas: NasId,
    /// Its Acct-Session-Id.
    pub acct_session_id: &'a [u8],
    /// User-Name as received.
    pub login: &'a [u8],
    /// Line and MAC.
    pub owner: Owner,
    /// Readable line identity.
    pub line: &'a [u8],
    /// Acct-Session-Time in seconds.
    pub session_time: u32,
    /// Octets from the subscriber.
    pub octets_in: u64,
    /// Octets to the subscriber.
    pub octets_out: u64,
    /// Packets from the subscriber.
    pub packets_in: u64,
    /// Packets to the subscriber.
    pub packets_out: u64,
    /// Acct-Terminate-Cause, 0 when none.
    pub cause: u32,
    /// Addresses and prefixes in use, by role.
    pub addresses: &'a [(Role, Prefix)],
    /// Who it is by login, line or MAC: needed only for sessions that are not known.
    pub holder: Holder,
    /// Address space of that holder.
    pub space: Arc<Space>,
}

/// What is known of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// By its Class.
    ByClass,
    /// By NAS and Acct-Session-Id.
    ByNas,
    /// Not at all: it started elsewhere or before we remember.
    No,
}

/// What to do about an Accounting-Request.
#[derive(Clone, Debug)]
pub enum Accounted {
    /// These records must be durable before the response.
    Record {
        /// The records, in order.
        records: Vec<Record>,
        /// How the session was found.
        known: Known,
        /// An address that the session uses while another holder has it.
        conflict: Option<Prefix>,
    },
    /// The same event is durable already: respond.
    Duplicate,
    /// The same event is waiting for the journal: the response to it is on its way.
    InFlight,
}

impl Ledger {
    /// Turns an Accounting-Request into records.
    pub fn account(&self, facts: &AccountingFacts<'_>) -> Accounted {
        let (session, holder, known) = self.locate(facts);
        if known == Known::No && self.is_over(session, facts) {
            return Accounted::Duplicate;
        }
        let mut shard = self.shard(holder).lock();
        let state = shard.holders.entry(holder.0);
        let fresh = session == facts.fresh && facts.class.is_none();
        let own = state.slots.iter().any(|slot| slot.is_of(session) || slot.owner.matches(facts.owner));
        let number = match state.slot_of_session(session) {
            Some(slot) => slot.number,
            None => state
                .choose_slot(facts.owner, u8::MAX, facts.now, self.hold_until())
                .map_or(0, |slot| slot.number),
        };
        let slot = state.slot_mut(number);
        let session = if fresh { slot.accepted_for(facts).unwrap_or(session) } else { session };
        if let Some(answer) = repeats(slot, session, facts) {
            if state.forget_empty(facts.now) {
                shard.holders.remove(holder.0);
            }
            return answer;
        }
        let mut records = Vec::with_capacity(2);
        let mut conflict = None;
        let began = began(facts);
        let superseded = slot.supersedes(session, began);
        if facts.event == SessionEvent::Stop {
            if own || known != Known::No {
                self.leave(facts, session, holder, slot, &mut records);
            }
        } else if !superseded {
            if let Some(old) = slot.session.as_deref().filter(|old| old.id != session) {
                records.push(Record::Session(closing(old, holder, number, facts.now)));
            }
            conflict = self.claim_reported(facts, session, holder, slot, &mut records);
        }
        records.push(Record::Session(session_record(facts, session, holder, slot)));
        let recording = records.iter().filter(|record| matches!(record, Record::Session(_))).count();
        slot.records_in_flight = if slot.is_recording(facts.now) { slot.records_in_flight } else { 0 };
        slot.records_in_flight = slot.records_in_flight.saturating_add(recording as u8);
        slot.recorded_at = facts.now;
        Accounted::Record { records, known, conflict }
    }

    fn locate(&self, facts: &AccountingFacts<'_>) -> (SessionId, Holder, Known) {
        if let Some(id) = facts.class {
            return match self.holder_of_session(id) {
                Some(holder) => (id, holder, Known::ByClass),
                // A pending Accept is not in the index: its holder is who the packet says it is.
                None => (id, facts.holder, Known::No),
            };
        }
        if let Some(id) = self.session_of_nas(facts.nas, facts.acct_session_id) {
            if let Some(holder) = self.holder_of_session(id)
                && !self.is_reused(holder, id, facts)
            {
                return (id, holder, Known::ByNas);
            }
            // Whatever began before the known session ended belongs to it; later, the NAS uses its id again.
            if self.closed_lately(id).is_some_and(|closed| began(facts) <= closed.at) {
                return (id, facts.holder, Known::No);
            }
        }
        (facts.fresh, facts.holder, Known::No)
    }

    fn is_reused(&self, holder: Holder, id: SessionId, facts: &AccountingFacts<'_>) -> bool {
        if facts.event != SessionEvent::Start {
            return false;
        }
        let mut shard = self.shard(holder).lock();
        let Some(state) = shard.holders.at_mut(holder.0) else {
            return false;
        };
        state
            .slot_of_session(id)
            .and_then(|slot| slot.session.as_ref())
            .is_some_and(|session| facts.event_at.since(session.started_at) > REUSE_AFTER_MS)
    }

    /// Whether the event is a late one of a session that has ended: after its Stop nothing is news any more; when we
    /// closed it, its own Stop still is, and an Interim-Update shows that it lives.
    fn is_over(&self, session: SessionId, facts: &AccountingFacts<'_>) -> bool {
        self.closed_lately(session).is_some_and(|closed| closed.by_stop || facts.event == SessionEvent::Start)
    }

    /// A Stop: the slot's grants are left, unless a newer Accept, another session or a lease stands on them.
    fn leave(
        &self,
        facts: &AccountingFacts<'_>,
        session: SessionId,
        holder: Holder,
        slot: &mut Slot,
        records: &mut Vec<Record>,
    ) {
        let accepted = accepted_at(facts);
        let newer =
            slot.pending.as_ref().is_some_and(|pending| pending.session != session && pending.at >= accepted);
        let other = slot.session.as_ref().is_some_and(|known| known.id != session);
        if newer || other {
            return;
        }
        let hold_until = self.hold_until();
        // After an unclean stop an Accept may have been forgotten: a Stop of some other session proves nothing then, but
        // for the addresses that it names and that nobody was answered with since.
        let proven = slot.is_of(session) || facts.now >= hold_until;
        let number = slot.number;
        for grant in slot.grants.iter_mut().filter(|grant| grant.live) {
            let named = facts.addresses.iter().any(|(_, prefix)| grant.prefix.contains(*prefix))
                && grant.answered_at.0 <= accepted.0.saturating_add(CLASSLESS_SKEW_MS);
            if grant.is_leased(facts.now, hold_until) || !(proven || named) {
                continue;
            }
            let at = grant.stamp(facts.now).max(grant.since);
            let (reason, evidence) = (ReleaseReason::Stop, accepted);
            records.push(ending_by(grant, (holder, number), at, facts.now, reason, evidence));
        }
    }

    /// A Start or Interim claims the addresses it reports and the ledger does not know (FIELD R4).
    fn claim_reported(
        &self,
        facts: &AccountingFacts<'_>,
        session: SessionId,
        holder: Holder,
        slot: &mut Slot,
        records: &mut Vec<Record>,
    ) -> Option<Prefix> {
        let mut conflict = None;
        for (role, reported) in facts.addresses {
            let over =
                |space: &Space, prefix: Prefix| same_space(space, &facts.space) && prefix.contains(*reported);
            let live = slot.grants.iter().find(|grant| grant.live && over(&grant.space, grant.prefix));
            let coming = slot.reserved.iter().find(|reserved| over(&reserved.space, reserved.prefix));
            if live.is_some_and(|grant| grant.leaving == Stamp::ZERO)
                || coming.is_some_and(|reserved| reserved.is_in_flight(facts.now))
            {
                continue;
            }
            let known = live
                .map(|grant| (grant.role, grant.prefix, grant.pool))
                .or(coming.map(|reserved| (reserved.role, reserved.prefix, reserved.pool)));
            let claimed = match known {
                // Its record was lost, or one that ends it is on its way: the session shows that it is in use.
                Some(known) => known,
                None => match self.claim_unknown(facts, *reported, holder, slot.number) {
                    Ok(pool) => (*role, *reported, pool),
                    Err(other) => {
                        conflict = other.or(conflict);
                        continue;
                    }
                },
            };
            let at = slot.stamp_for(&facts.space, claimed.1, facts.now);
            slot.reserve(&facts.space, claimed, at);
            records.push(Record::Grant(claim_record(facts, session, holder, slot.number, claimed, at)));
        }
        conflict
    }

    /// Reserves a reported prefix; refused with the prefix when another holder has it.
    fn claim_unknown(
        &self,
        facts: &AccountingFacts<'_>,
        prefix: Prefix,
        holder: Holder,
        slot: u8,
    ) -> Result<PoolId, Option<Prefix>> {
        let key = facts.space.key();
        let Some(pool) = self.pool_over(key, prefix) else {
            let reserved = self.reserve_apart(&facts.space, prefix, holder, slot);
            return reserved.then(PoolId::default).ok_or(Some(prefix));
        };
        if self.reserve_in(&pool, prefix, holder, slot, true) {
            return Ok(pool.id);
        }
        let used = pool.is_used_by_another(prefix, holder)
            || self.is_used_elsewhere(key, prefix, holder, Some(&pool));
        Err(used.then_some(prefix))
    }

    /// The record of an Accounting-On or Accounting-Off.
    pub fn nas_event(nas: NasId, tenant: crate::ids::TenantId, on: bool, now: Stamp) -> Record {
        Record::Nas(NasRecord { at: now, tenant, nas, on })
    }
}

/// Whether the request repeats what is durable or on its way.
fn repeats(slot: &Slot, session: SessionId, facts: &AccountingFacts<'_>) -> Option<Accounted> {
    let known = slot.session.as_deref().filter(|known| known.id == session);
    let same = match (facts.event, known) {
        (SessionEvent::Start, Some(_)) => true,
        (SessionEvent::Interim, Some(known)) => {
            facts.session_time != 0
                && known.session_time == facts.session_time
                && known.octets_in == facts.octets_in
                && known.octets_out == facts.octets_out
        }
        _ => false,
    };
    if same {
        return Some(Accounted::Duplicate);
    }
    let waiting = match facts.event {
        SessionEvent::Interim => false,
        SessionEvent::Start => slot.is_recording(facts.now),
        // What a Stop ends must be known: a grant on its way is not yet there to be ended.
        SessionEvent::Stop | SessionEvent::Closed => {
            slot.is_recording(facts.now)
                || slot.reserved.iter().any(|reserved| reserved.is_in_flight(facts.now))
        }
    };
    waiting.then_some(Accounted::InFlight)
}

/// When the session was accepted, on the timeline of the node that did: the id in Class was minted then. What was accepted
/// since, at whichever node, is not ended by its Stop.
fn accepted_at(facts: &AccountingFacts<'_>) -> Stamp {
    match facts.class {
        Some(session) => session.0.minted_at(),
        None => Stamp(began(facts).0.saturating_add(CLASSLESS_SKEW_MS)),
    }
}

/// When the session began, as the event tells.
fn began(facts: &AccountingFacts<'_>) -> Stamp {
    Stamp(facts.event_at.0.saturating_sub(u64::from(facts.session_time) * 1000))
}

impl Slot {
    /// Whether this is the slot's session, or the one that its last Accept carried.
    fn is_of(&self, session: SessionId) -> bool {
        self.session.as_ref().is_some_and(|known| known.id == session)
            || self.pending.as_ref().is_some_and(|pending| pending.session == session)
    }

    /// The session of the slot's last Accept, when an event without Class can only be of it: the NAS does not return Class.
    fn accepted_for(&self, facts: &AccountingFacts<'_>) -> Option<SessionId> {
        let pending = self.pending.as_ref()?;
        // Another session's Stop may come right behind the Accept that replaces it.
        let ended_before = facts.event == SessionEvent::Stop && facts.event_at <= pending.at;
        let after = began(facts).0.saturating_add(CLASSLESS_SKEW_MS) >= pending.at.0 && !ended_before;
        (pending.nas == facts.nas && after && self.owner.matches(facts.owner)).then_some(pending.session)
    }

    /// Whether the slot has another session that began later, so that this one is an old one.
    fn supersedes(&self, session: SessionId, began: Stamp) -> bool {
        self.pending.as_ref().is_none_or(|pending| pending.session != session)
            && self.session.as_ref().is_some_and(|known| known.id != session && known.started_at > began)
    }
}

fn claim_record(
    facts: &AccountingFacts<'_>,
    session: SessionId,
    holder: Holder,
    slot: u8,
    (role, prefix, pool): (Role, Prefix, PoolId),
    at: Stamp,
) -> GrantRecord {
    GrantRecord {
        at,
        tenant: facts.space.tenant,
        vrf: SmallVec::from_slice(facts.space.vrf.as_bytes()),
        prefix,
        role,
        holder,
        slot,
        pool,
        network: NetworkId::default(),
        owner: facts.owner,
        line: SmallVec::from_slice(facts.line),
        nas: facts.nas,
        session,
        lease: None,
        ends_at: Stamp::MAX,
        digest: 0,
        renewal: false,
    }
}

fn session_record(
    facts: &AccountingFacts<'_>,
    session: SessionId,
    holder: Holder,
    slot: &Slot,
) -> SessionRecord {
    let known = slot.session.as_deref().filter(|known| known.id == session);
    let pending = slot.pending.as_deref().filter(|pending| pending.session == session);
    let began = began(facts);
    // Counters never go back: a Stop without counters must not wipe what interims had shown.
    let max = |reported: u64, seen: Option<u64>| reported.max(seen.unwrap_or(0));
    SessionRecord {
        at: facts.now,
        event_at: facts.event_at,
        event: facts.event,
        session,
        tenant: facts.space.tenant,
        holder,
        slot: slot.number,
        nas: facts.nas,
        acct_session_id: SmallVec::from_slice(facts.acct_session_id),
        login: SmallVec::from_slice(facts.login),
        owner: facts.owner,
        line: SmallVec::from_slice(facts.line),
        started_at: known.map_or(began, |known| known.started_at),
        session_time: facts.session_time.max(known.map_or(0, |known| known.session_time)),
        octets_in: max(facts.octets_in, known.map(|known| known.octets_in)),
        octets_out: max(facts.octets_out, known.map(|known| known.octets_out)),
        packets_in: max(facts.packets_in, known.map(|known| known.packets_in)),
        packets_out: max(facts.packets_out, known.map(|known| known.packets_out)),
        cause: facts.cause,
        addresses: facts.addresses.iter().map(|(_, prefix)| *prefix).collect(),
        records: known.map_or(0, |known| known.records) + 1,
        digest: known.map_or(0, |known| known.digest).max(pending.map_or(0, |pending| pending.digest)),
    }
}

/// The record that closes a session which the NAS did not close.
pub(super) fn closing(session: &Session, holder: Holder, slot: u8, now: Stamp) -> SessionRecord {
    SessionRecord {
        at: now,
        event_at: now,
        event: SessionEvent::Closed,
        session: session.id,
        tenant: session.tenant,
        holder,
        slot,
        nas: session.nas,
        acct_session_id: session.acct_session_id.clone(),
        login: session.login.clone(),
        owner: Owner::default(),
        line: session.line.clone(),
        started_at: session.started_at,
        session_time: session.session_time,
        octets_in: session.octets_in,
        octets_out: session.octets_out,
        packets_in: session.packets_in,
        packets_out: session.packets_out,
        cause: 0,
        addresses: SmallVec::new(),
        records: session.records,
        digest: session.digest,
    }
}

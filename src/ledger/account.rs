//! Accounting: what a Start, Interim-Update or Stop changes, as records.
//!
//! A session is found by the UUID in Class, else by (NAS, Acct-Session-Id) unless a Start shows that the NAS uses the id
//! again. What repeats a record that is already durable is answered without a new one, whatever its Acct-Delay-Time says.

use std::sync::Arc;

use smallvec::SmallVec;

use super::holder::{Reservation, Session, Slot};
use super::{Ledger, pool::EntryState};
use crate::ids::{NasId, NetworkId, PoolId, SessionId};
use crate::journal::record::{
    GrantRecord, Holder, NasRecord, Owner, Record, ReleaseReason, ReleaseRecord, Role, SessionEvent,
    SessionRecord,
};
use crate::model::Prefix;
use crate::snapshot::types::Space;
use crate::time::Stamp;

/// A Start this much later than the known one, under the same Acct-Session-Id, is another session: NASes reuse ids.
const REUSE_AFTER_MS: u64 = 60_000;

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
        if known == Known::No && facts.event == SessionEvent::Stop && self.recently_closed(session) {
            return Accounted::Duplicate;
        }
        let mut shard = self.shard(holder).lock();
        let state = shard.holders.entry(holder.0).or_default();
        let number = match state.slot_of_session(session) {
            Some(slot) => slot.number,
            None => state.choose_slot(facts.owner, u8::MAX, facts.now).map_or(0, |slot| slot.number),
        };
        let slot = state.slot_mut(number);
        match repeats(slot, session, facts) {
            Some(answer) => return answer,
            None => slot.records_in_flight = slot.records_in_flight.saturating_add(1),
        }
        let mut records = Vec::with_capacity(2);
        if facts.event == SessionEvent::Start
            && let Some(old) = slot.session.as_deref().filter(|old| old.id != session)
        {
            records.push(Record::Session(closing(old, holder, slot, facts.now, facts.space.tenant)));
        }
        let mut conflict = None;
        if facts.event == SessionEvent::Stop {
            Self::leave(facts, session, holder, slot, &mut records);
        } else {
            conflict = self.claim_reported(facts, session, holder, slot, &mut records);
        }
        records.push(Record::Session(session_record(facts, session, holder, slot)));
        Accounted::Record { records, known, conflict }
    }

    fn locate(&self, facts: &AccountingFacts<'_>) -> (SessionId, Holder, Known) {
        if let Some(id) = facts.class {
            let index = self.session_shard(Self::session_key(id)).lock();
            return match index.by_id.get(&id.0.0) {
                Some(holder) => (id, *holder, Known::ByClass),
                // A pending Accept is not in the index: its holder is who the packet says it is.
                None => (id, facts.holder, Known::No),
            };
        }
        let key = Self::nas_key(facts.nas, facts.acct_session_id);
        let by_nas = self.session_shard(key).lock().by_nas.get(&key).copied();
        if let Some(id) = by_nas {
            let holder = self.session_shard(Self::session_key(id)).lock().by_id.get(&id.0.0).copied();
            if let Some(holder) = holder
                && !self.is_reused(holder, id, facts)
            {
                return (id, holder, Known::ByNas);
            }
            if facts.event == SessionEvent::Stop && self.recently_closed(id) {
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
        let Some(state) = shard.holders.get_mut(&holder.0) else {
            return false;
        };
        state
            .slot_of_session(id)
            .and_then(|slot| slot.session.as_ref())
            .is_some_and(|session| facts.event_at.since(session.started_at) > REUSE_AFTER_MS)
    }

    fn recently_closed(&self, id: SessionId) -> bool {
        self.session_shard(Self::session_key(id)).lock().closed.contains(&id.0.0)
    }

    /// A Stop: the slot's grants are left, unless a newer Accept, another session or a lease stands on them.
    fn leave(
        facts: &AccountingFacts<'_>,
        session: SessionId,
        holder: Holder,
        slot: &Slot,
        records: &mut Vec<Record>,
    ) {
        let newer = slot
            .pending
            .as_ref()
            .is_some_and(|pending| pending.session != session && pending.until > facts.now);
        let other = slot.session.as_ref().is_some_and(|known| known.id != session);
        if newer || other {
            return;
        }
        for grant in slot.grants.iter().filter(|grant| grant.live) {
            if grant.lease.is_some() && grant.ends_at > facts.now {
                continue;
            }
            records.push(Record::Release(ReleaseRecord {
                at: facts.now,
                tenant: grant.space.tenant,
                vrf: SmallVec::from_slice(grant.space.vrf.as_bytes()),
                prefix: grant.prefix,
                holder,
                slot: slot.number,
                reason: ReleaseReason::Stop,
            }));
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
        for (role, prefix) in facts.addresses {
            let held = slot.grants.iter().any(|grant| grant.live && grant.prefix.contains(*prefix));
            let coming = slot.reserved.iter().any(|reserved| reserved.prefix.contains(*prefix));
            if held || coming {
                continue;
            }
            let pool = match self.pool_over(facts.space.key(), *prefix) {
                Some(pool) if pool.claim(*prefix, holder, slot.number, true) => pool.id,
                Some(pool) => {
                    if matches!(pool.entry(*prefix), Some((other, _, EntryState::Granted)) if other != holder)
                    {
                        conflict = Some(*prefix);
                    }
                    continue;
                }
                None if self.fixed_conflict(&facts.space, *prefix, holder) => {
                    conflict = Some(*prefix);
                    continue;
                }
                None => PoolId::default(),
            };
            let reservation =
                Reservation { prefix: *prefix, role: *role, pool, offer_until: None, since: facts.now };
            slot.reserved.push(reservation);
            records.push(Record::Grant(GrantRecord {
                at: facts.now,
                tenant: facts.space.tenant,
                vrf: SmallVec::from_slice(facts.space.vrf.as_bytes()),
                prefix: *prefix,
                role: *role,
                holder,
                slot: slot.number,
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
            }));
        }
        conflict
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
    let waiting = slot.records_in_flight > 0 && facts.event != SessionEvent::Interim;
    waiting.then_some(Accounted::InFlight)
}

fn session_record(
    facts: &AccountingFacts<'_>,
    session: SessionId,
    holder: Holder,
    slot: &Slot,
) -> SessionRecord {
    let known = slot.session.as_deref().filter(|known| known.id == session);
    let pending = slot.pending.as_deref().filter(|pending| pending.session == session);
    let began = Stamp(facts.event_at.0.saturating_sub(u64::from(facts.session_time) * 1000));
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
pub(super) fn closing(
    session: &Session,
    holder: Holder,
    slot: &Slot,
    now: Stamp,
    tenant: crate::ids::TenantId,
) -> SessionRecord {
    SessionRecord {
        at: now,
        event_at: now,
        event: SessionEvent::Closed,
        session: session.id,
        tenant,
        holder,
        slot: slot.number,
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

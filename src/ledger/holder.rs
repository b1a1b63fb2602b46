//! What one holder has: its slots, and in each the grants, the session and what is still on its way.

use std::sync::Arc;

use smallvec::SmallVec;

use super::IN_FLIGHT_MS;
use crate::ids::{NasId, NetworkId, PoolId, SessionId, TenantId};
use crate::journal::record::{LeaseFacts, Owner, Role};
use crate::limits::SUSPECT_SLOTS_MAX;
use crate::model::Prefix;
use crate::snapshot::types::Space;
use crate::time::Stamp;

/// A prefix that a slot holds, or held last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What.
    pub prefix: Prefix,
    /// What for.
    pub role: Role,
    /// Its address space.
    pub space: Arc<Space>,
    /// Pool it was chosen from; nil for an address assigned by name.
    pub pool: PoolId,
    /// Network, if known.
    pub network: NetworkId,
    /// Whether it is in use; otherwise it is remembered.
    pub live: bool,
    /// Whether another node answered with it last (FIELD R5): that node ends it, and whoever answers with it here says so
    /// in a record.
    pub foreign: bool,
    /// When the holder got it (live) or left it (remembered).
    pub since: Stamp,
    /// When it ends by itself: the end of the lease, or without one of what the last Accept allowed.
    pub ends_at: Stamp,
    /// Until when an Accept stands on it ([`Stamp::MAX`] without Session-Timeout); zero when none does.
    pub accepted_until: Stamp,
    /// End as the journal has it, of the lease or without one of the last Accept: what may be promised while the journal is
    /// unavailable, and what recovery will know.
    pub durable_ends_at: Stamp,
    /// When a client was last answered with it, here or, as its record tells, at another node.
    pub answered_at: Stamp,
    /// When a record that ends it was last decided; zero when none is on its way. Volatile: whoever comes back to the
    /// grant meanwhile gets a record of its own, decided later than this.
    pub leaving: Stamp,
    /// Whether it is leaving because somebody else answers at it: its holder does not get it back. Volatile.
    pub declined: bool,
    /// Lease, if DHCP.
    pub lease: Option<Box<LeaseFacts>>,
    /// NAS it came through, if RADIUS.
    pub nas: NasId,
    /// Digest of the policy it was given under.
    pub digest: u64,
    /// Journal sequence of the record that opened it.
    pub sequence: u64,
}

/// Whether two spaces are one.
pub(super) fn same_space(one: &Space, other: &Space) -> bool {
    std::ptr::eq(one, other) || is_space(one, other.tenant, other.vrf.as_bytes())
}

/// Whether a space is that of a tenant's VRF. The default VRF has no name: comparing two empty names byte by byte costs
/// more than the rest of a reuse, because their pointers lead nowhere and vector loads from there are slow.
pub(super) fn is_space(space: &Space, tenant: TenantId, vrf: &[u8]) -> bool {
    let known = space.vrf.as_bytes();
    space.tenant == tenant && known.len() == vrf.len() && (vrf.is_empty() || known == vrf)
}

impl Grant {
    /// Whether it is this prefix of this space.
    pub fn is(&self, space: &Space, prefix: Prefix) -> bool {
        self.prefix == prefix && same_space(&self.space, space)
    }

    /// When something about it is decided at `now`: later than what another node, whose clock may be ahead, decided.
    pub(super) fn stamp(&self, now: Stamp) -> Stamp {
        if self.foreign { now.max(Stamp(self.since.max(self.answered_at).0.saturating_add(1))) } else { now }
    }

    /// Whether a lease stands on it. After an unclean stop no lease ends before `hold_until` (FIELD R3).
    pub fn is_leased(&self, now: Stamp, hold_until: Stamp) -> bool {
        self.lease.is_some() && self.ends_at.max(hold_until) > now
    }
}

/// A RADIUS session as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Our id, carried in Class.
    pub id: SessionId,
    /// Operator.
    pub tenant: TenantId,
    /// NAS that reported it last.
    pub nas: NasId,
    /// The NAS's own id.
    pub acct_session_id: SmallVec<[u8; 24]>,
    /// Login as received.
    pub login: SmallVec<[u8; 24]>,
    /// Readable line identity.
    pub line: SmallVec<[u8; 24]>,
    /// Start.
    pub started_at: Stamp,
    /// Last record.
    pub updated_at: Stamp,
    /// Last Acct-Session-Time, seconds.
    pub session_time: u32,
    /// Octets from the subscriber.
    pub octets_in: u64,
    /// Octets to the subscriber.
    pub octets_out: u64,
    /// Packets from the subscriber.
    pub packets_in: u64,
    /// Packets to the subscriber.
    pub packets_out: u64,
    /// Records applied.
    pub records: u64,
    /// Digest of the policy it was given.
    pub digest: u64,
}

/// An Accept that no Start has confirmed yet. Volatile. After `until` it is suspect (FIELD R2): it no longer keeps others
/// from the slot, but still tells whose Stop may end the slot's grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Session id that the Accept carried in Class.
    pub session: SessionId,
    /// NAS it went to.
    pub nas: NasId,
    /// Until when the slot counts as taken by it.
    pub until: Stamp,
    /// Digest of the policy it was given.
    pub digest: u64,
    /// When the Accept was decided.
    pub at: Stamp,
    /// The Accept before it, which stands again when this one's records are aborted. Held in place: an Accept that follows
    /// another one moves no memory.
    pub replaced: Option<Replaced>,
}

/// An Accept that another one followed; what [`Pending`] was of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    session: SessionId,
    nas: NasId,
    until: Stamp,
    digest: u64,
    at: Stamp,
}

impl Replaced {
    /// Session id that the Accept carried in Class.
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// NAS it went to.
    pub const fn nas(&self) -> NasId {
        self.nas
    }
}

impl From<&Pending> for Replaced {
    fn from(&Pending { session, nas, until, digest, at, .. }: &Pending) -> Self {
        Self { session, nas, until, digest, at }
    }
}

impl From<Replaced> for Pending {
    fn from(Replaced { session, nas, until, digest, at }: Replaced) -> Self {
        Self { session, nas, until, digest, at, replaced: None }
    }
}

/// Something chosen but not yet committed, or offered but not yet requested. Volatile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// What.
    pub prefix: Prefix,
    /// What for.
    pub role: Role,
    /// Its address space.
    pub space: Arc<Space>,
    /// Pool it was chosen from; nil when none accounts for it.
    pub pool: PoolId,
    /// Whether it stands for what another node granted (FIELD R5): whoever is answered with it here says so in a record.
    pub foreign: bool,
    /// How far it has come.
    pub stage: Stage,
    /// When it was chosen, or its record last decided.
    pub since: Stamp,
    /// The stamps of its records whose end is not known, oldest first: each names one. A journal that stalls may hold a
    /// record longer than anybody waited before asking again. Zero stands for an answer that needed no record.
    pub records: SmallVec<[Stamp; 1]>,
}

/// How far a reservation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Offered to a DHCP client; ends by itself at this stamp.
    Offered(Stamp),
    /// Its record is on its way, and the answer waits for it: ends by [`super::Ledger::apply`] or [`super::Ledger::abort`],
    /// one of which whoever submitted the record owes.
    Waiting,
    /// The client was answered without waiting. The address is its own until this stamp even if the record was lost
    /// (FIELD R2), unless something proves that it left.
    Answered(Stamp),
}

impl Reservation {
    /// Whether its record was decided a moment ago, so that nobody need write it again yet.
    pub const fn is_recent(&self, now: Stamp) -> bool {
        !matches!(self.stage, Stage::Offered(_)) && now.since(self.since) < IN_FLIGHT_MS
    }

    /// Whether its record may still be in the journal's queue. Whoever waits for a record is told of its end, however
    /// long that takes; of others only time tells.
    pub const fn is_in_flight(&self, now: Stamp) -> bool {
        matches!(self.stage, Stage::Waiting) || self.is_recent(now)
    }
}

/// One of a holder's simultaneous sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Number within the holder.
    pub number: u8,
    /// Who uses it.
    pub owner: Owner,
    /// What it holds and held.
    pub grants: SmallVec<[Grant; 1]>,
    /// Its session.
    pub session: Option<Box<Session>>,
    /// An Accept on its way to a session.
    pub pending: Option<Box<Pending>>,
    /// Chosen or offered, not committed.
    pub reserved: Vec<Reservation>,
    /// Accounting records of its session that are waiting for the journal.
    pub records_in_flight: u8,
    /// When the last of them was decided.
    pub recorded_at: Stamp,
}

impl Slot {
    /// Whether somebody uses it at `now`, so that it counts against the holder's limit. No lease ends before `hold_until`.
    pub fn is_live(&self, now: Stamp, hold_until: Stamp) -> bool {
        let chosen = |reserved: &Reservation| match reserved.stage {
            Stage::Offered(until) => until > now,
            Stage::Waiting => true,
            // The Accept itself says for how long.
            Stage::Answered(_) => false,
        };
        self.session.is_some()
            || self.is_pending(now)
            || self.reserved.iter().any(chosen)
            || self.grants.iter().any(|grant| grant.live && grant.is_leased(now, hold_until))
    }

    /// Whether an Accept that nothing was heard of still allows somebody to use the slot's addresses (FIELD R2): it does
    /// not count against the limit, and nobody else may have the slot.
    pub fn is_suspect(&self, now: Stamp) -> bool {
        let allowed =
            |reserved: &Reservation| matches!(reserved.stage, Stage::Answered(until) if until > now);
        self.reserved.iter().any(allowed)
            || self.grants.iter().any(|grant| grant.live && grant.accepted_until > now)
    }

    /// Whether an Accept waits for its Start, within the window given to it.
    pub fn is_pending(&self, now: Stamp) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.until > now)
    }

    /// Whether accounting records of the slot may still be in the journal's queue.
    pub const fn is_recording(&self, now: Stamp) -> bool {
        self.records_in_flight > 0 && now.since(self.recorded_at) < IN_FLIGHT_MS
    }

    /// Whether it can be forgotten.
    pub fn is_empty(&self, now: Stamp) -> bool {
        self.grants.is_empty()
            && self.session.is_none()
            && self.pending.is_none()
            && self.reserved.is_empty()
            && !self.is_recording(now)
    }

    /// The live or remembered grant for `role` that satisfies `fits`, live ones first.
    pub fn grant_for(&self, role: Role, fits: impl Fn(&Grant) -> bool) -> Option<&Grant> {
        let candidates = || self.grants.iter().filter(|grant| grant.role == role && fits(grant));
        candidates().find(|grant| grant.live).or_else(|| candidates().max_by_key(|grant| grant.since))
    }

    /// What the slot uses or is about to use in a space.
    fn stands(&self, space: &Space) -> impl Iterator<Item = Prefix> {
        let live = self.grants.iter().filter(|grant| grant.live && same_space(&grant.space, space));
        let reserved = self.reserved.iter().filter(|reserved| same_space(&reserved.space, space));
        live.map(|grant| grant.prefix).chain(reserved.map(|reserved| reserved.prefix))
    }

    /// Whether the slot uses exactly this prefix, or is about to.
    pub fn stands_on(&self, space: &Space, prefix: Prefix) -> bool {
        self.grants.iter().any(|grant| grant.live && grant.is(space, prefix))
            || self
                .reserved
                .iter()
                .any(|reserved| reserved.prefix == prefix && same_space(&reserved.space, space))
    }
}

/// One holder: a service, or a DHCP client without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HolderState {
    /// Its slots; nearly always one.
    pub slots: Vec<Slot>,
}

/// Why no slot is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotsTaken {
    /// How many slots the holder has.
    pub limit: u8,
}

impl HolderState {
    /// The slot for `owner` (FIELD R7): its own, live or not; else one that nobody uses; else a new one. All but its own
    /// live one only below `limit`.
    pub fn choose_slot(
        &mut self,
        owner: Owner,
        limit: u8,
        now: Stamp,
        hold_until: Stamp,
    ) -> Result<&mut Slot, SlotsTaken> {
        let is_live = |slot: &Slot| slot.is_live(now, hold_until);
        let live = self.slots.iter().filter(|slot| is_live(slot)).count();
        let own = self.slots.iter().position(|slot| slot.owner.matches(owner));
        let same_unknown =
            || self.slots.iter().position(|slot| owner.is_unknown() && slot.owner.is_unknown());
        let own = own.or_else(same_unknown);
        let may_have =
            |index: &usize| self.slots.get(*index).is_some_and(is_live) || live < usize::from(limit);
        let free = || self.slots.iter().position(|slot| !is_live(slot) && !slot.is_suspect(now));
        let index = match own {
            Some(own) if may_have(&own) => own,
            Some(_) => return Err(SlotsTaken { limit }),
            None if live >= usize::from(limit) => return Err(SlotsTaken { limit }),
            None => match free() {
                Some(free) => free,
                None => self.new_slot(owner, limit, is_live).ok_or(SlotsTaken { limit })?,
            },
        };
        self.slots.get_mut(index).ok_or(SlotsTaken { limit })
    }

    /// Makes a slot beside suspect ones; when there are too many of those, the first of them is given up.
    fn new_slot(&mut self, owner: Owner, limit: u8, is_live: impl Fn(&Slot) -> bool) -> Option<usize> {
        let number = (0..u8::MAX).find(|number| self.slots.iter().all(|slot| slot.number != *number));
        match number {
            Some(number) if self.slots.len() < usize::from(limit) + SUSPECT_SLOTS_MAX => {
                Some(self.push(Slot { number, owner, ..Slot::default() }))
            }
            _ => self.slots.iter().position(|slot| !is_live(slot)),
        }
    }

    /// The slot with this number, made if missing: used by `apply`.
    pub fn slot_mut(&mut self, number: u8) -> &mut Slot {
        let known = self.slots.iter().position(|slot| slot.number == number);
        let index = known.unwrap_or_else(|| self.push(Slot { number, ..Slot::default() }));
        &mut self.slots[index]
    }

    /// Slots are large and nearly always one: no room is kept for more.
    fn push(&mut self, slot: Slot) -> usize {
        self.slots.reserve_exact(1);
        self.slots.push(slot);
        self.slots.len() - 1
    }

    /// Forgets slots with nothing in them. Returns whether none is left.
    pub(super) fn forget_empty(&mut self, now: Stamp) -> bool {
        self.slots.retain(|slot| !slot.is_empty(now));
        self.slots.is_empty()
    }

    /// Whether any slot uses exactly this prefix, or is about to.
    pub(super) fn stands_on(&self, space: &Space, prefix: Prefix) -> bool {
        self.slots.iter().any(|slot| slot.stands_on(space, prefix))
    }

    /// What all slots but one stand on, in a space.
    pub(super) fn besides(&self, number: u8, space: &Space) -> SmallVec<[Prefix; 4]> {
        let others = self.slots.iter().filter(|slot| slot.number != number);
        others.flat_map(|slot| slot.stands(space)).collect()
    }

    /// The slot of a session, confirmed or pending.
    pub fn slot_of_session(&mut self, session: SessionId) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| {
            slot.session.as_ref().is_some_and(|known| known.id == session)
                || slot.pending.as_ref().is_some_and(|known| known.session == session)
        })
    }
}

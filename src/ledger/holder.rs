//! What one holder has: its slots, and in each the grants, the session and what is still on its way.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::ids::{NasId, NetworkId, PoolId, SessionId};
use crate::journal::record::{LeaseFacts, Owner, Role};
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
    /// When the holder got it (live) or left it (remembered).
    pub since: Stamp,
    /// When it ends by itself.
    pub ends_at: Stamp,
    /// End of the lease as the journal has it: what may be promised while the journal is unavailable.
    pub durable_ends_at: Stamp,
    /// Lease, if DHCP.
    pub lease: Option<Box<LeaseFacts>>,
    /// NAS it came through, if RADIUS.
    pub nas: NasId,
    /// Digest of the policy it was given under.
    pub digest: u64,
    /// Journal sequence of the record that opened it.
    pub sequence: u64,
}

/// A RADIUS session as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Our id, carried in Class.
    pub id: SessionId,
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

/// An Accept that no Start has confirmed yet. Volatile.
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
}

/// Something chosen but not yet committed, or offered but not yet requested. Volatile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// What.
    pub prefix: Prefix,
    /// What for.
    pub role: Role,
    /// Pool it was chosen from.
    pub pool: PoolId,
    /// An offer ends by itself at this stamp; a commit in flight has none.
    pub offer_until: Option<Stamp>,
    /// When it was chosen.
    pub since: Stamp,
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
    pub reserved: SmallVec<[Reservation; 1]>,
    /// Accounting records of its session that are waiting for the journal.
    pub records_in_flight: u8,
}

impl Slot {
    /// Whether somebody uses it at `now`, so that another owner may not have it.
    pub fn is_live(&self, now: Stamp) -> bool {
        self.session.is_some()
            || self.pending.as_ref().is_some_and(|pending| pending.until > now)
            || self.reserved.iter().any(|reserved| reserved.offer_until.is_none_or(|until| until > now))
            || self.grants.iter().any(|grant| grant.live && grant.lease.is_some() && grant.ends_at > now)
    }

    /// The live or remembered grant for `role` that satisfies `fits`, live ones first.
    pub fn grant_for(&self, role: Role, fits: impl Fn(&Grant) -> bool) -> Option<&Grant> {
        let candidates = || self.grants.iter().filter(|grant| grant.role == role && fits(grant));
        candidates().find(|grant| grant.live).or_else(|| candidates().max_by_key(|grant| grant.since))
    }
}

/// One holder: a service, or a DHCP client without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HolderState {
    /// Its slots; nearly always one.
    pub slots: SmallVec<[Slot; 1]>,
}

/// Why no slot is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotsTaken {
    /// How many slots the holder has.
    pub limit: u8,
}

impl HolderState {
    /// The slot for `owner` (FIELD R7): its own, live or not; else a free one; else a new one below `limit`.
    pub fn choose_slot(&mut self, owner: Owner, limit: u8, now: Stamp) -> Result<&mut Slot, SlotsTaken> {
        let own = self.slots.iter().position(|slot| slot.owner.matches(owner));
        let same_unknown =
            || self.slots.iter().position(|slot| owner.is_unknown() && slot.owner.is_unknown());
        let free = || self.slots.iter().position(|slot| !slot.is_live(now) && slot.number < limit);
        let index = if let Some(index) = own.or_else(same_unknown).or_else(free) {
            index
        } else {
            let number = (0..limit).find(|number| self.slots.iter().all(|slot| slot.number != *number));
            let Some(number) = number else {
                return Err(SlotsTaken { limit });
            };
            self.slots.push(Slot { number, owner, ..Slot::default() });
            self.slots.len() - 1
        };
        self.slots.get_mut(index).ok_or(SlotsTaken { limit })
    }

    /// The slot with this number, made if missing: used by `apply`.
    pub fn slot_mut(&mut self, number: u8) -> &mut Slot {
        let known = self.slots.iter().position(|slot| slot.number == number);
        let index = known.unwrap_or_else(|| {
            self.slots.push(Slot { number, ..Slot::default() });
            self.slots.len() - 1
        });
        &mut self.slots[index]
    }

    /// The slot of a session, confirmed or pending.
    pub fn slot_of_session(&mut self, session: SessionId) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| {
            slot.session.as_ref().is_some_and(|known| known.id == session)
                || slot.pending.as_ref().is_some_and(|known| known.session == session)
        })
    }
}

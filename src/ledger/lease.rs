//! What DHCP needs of the ledger besides admission: offers, renewals, releases.

use std::sync::Arc;

use smallvec::SmallVec;

use super::admit::{covers, ending, fits, merged};
use super::holder::{HolderState, Reservation, Slot, Stage};
use super::{AdmitRequest, Denied, Ledger, Want, WantSource};
use crate::ids::PoolId;
use crate::journal::record::{Holder, LeaseFacts, Owner, Record, ReleaseReason, Role};
use crate::model::Prefix;
use crate::snapshot::types::Space;
use crate::time::Stamp;

/// An address held for a client until it asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The address.
    pub prefix: Prefix,
    /// Pool it is from; nil when assigned by name.
    pub pool: PoolId,
}

/// What is known of an address that a client says it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalBasis {
    /// Who holds it.
    pub holder: Holder,
    /// Slot of the holder.
    pub slot: u8,
    /// Who uses the slot.
    pub owner: Owner,
    /// Whether it is in use.
    pub live: bool,
    /// End of the lease.
    pub ends_at: Stamp,
    /// What the lease was given with.
    pub lease: Option<LeaseFacts>,
}

impl Ledger {
    /// Finds an address for a DISCOVER and holds it until `until`; what the client has or had comes first. Nothing
    /// durable changes.
    pub fn offer(
        &self,
        request: &AdmitRequest<'_>,
        want: &Want<'_>,
        until: Stamp,
    ) -> Result<Offered, Denied> {
        let mut shard = self.shard(request.holder).lock();
        let state = shard.holders.entry(request.holder.0);
        self.drop_stale_offers(request.holder, state, request.now);
        let offered = self.offer_to(state, request, want, until);
        if offered.is_err() && state.forget_empty(request.now) {
            shard.holders.remove(request.holder.0);
        }
        offered
    }

    fn offer_to(
        &self,
        state: &mut HolderState,
        request: &AdmitRequest<'_>,
        want: &Want<'_>,
        until: Stamp,
    ) -> Result<Offered, Denied> {
        let number = state
            .choose_slot(request.owner, request.max_slots, request.now, self.hold_until())
            .map_err(|taken| Denied::SlotsTaken { limit: taken.limit })?
            .number;
        let besides = state.besides(number, request.space);
        let slot = state.slot_mut(number);
        let known = slot
            .grant_for(want.role, |grant| fits(grant, want, request.space))
            .map(|grant| (grant.live, grant.prefix, grant.pool));
        if let Some((true, prefix, pool)) = known {
            return Ok(Offered { prefix, pool });
        }
        if let Some(offer) = slot.reserved.iter_mut().find(|reserved| covers(reserved, want, request.space)) {
            if matches!(offer.stage, Stage::Offered(_)) {
                offer.stage = Stage::Offered(until);
            }
            return Ok(Offered { prefix: offer.prefix, pool: offer.pool });
        }
        let (prefix, pool) = match want.source {
            // Assigned by name: nobody else can be given it, so there is nothing to hold.
            WantSource::Fixed(prefix) => return self.offer_assigned(request, prefix),
            WantSource::Pools(pools) => {
                let seat = (number, besides.as_slice());
                let last = known.and_then(|(_, prefix, pool)| self.reclaim(request, prefix, pool, seat));
                match last {
                    Some(last) => last,
                    None => self.choose(request, want.role, pools, seat)?,
                }
            }
        };
        // Whoever asks has the slot from now on: nobody else used it.
        slot.owner = merged(slot.owner, request.owner);
        slot.reserved.reserve_exact(1);
        slot.reserved.push(Reservation {
            prefix,
            role: want.role,
            space: Arc::clone(request.space),
            pool,
            foreign: false,
            stage: Stage::Offered(until),
            since: request.now,
            records: SmallVec::new(),
        });
        Ok(Offered { prefix, pool })
    }

    fn offer_assigned(&self, request: &AdmitRequest<'_>, prefix: Prefix) -> Result<Offered, Denied> {
        if self.is_used_elsewhere(request.space.key(), prefix, request.holder, None) {
            return Err(Denied::AddressInUse { prefix });
        }
        let pool = self.pool_over(request.space.key(), prefix);
        Ok(Offered { prefix, pool: pool.map_or_else(PoolId::default, |pool| pool.id) })
    }

    /// What is known of an address in use or remembered, whoever has it: a unicast renewal carries no option 82, so the
    /// address itself leads to the holder.
    pub fn basis_of(&self, space: &Space, prefix: Prefix) -> Option<RenewalBasis> {
        let (holder, slot) = self.holder_of(space, prefix)?;
        let shard = self.shard(holder).lock();
        let state = shard.holders.at(holder.0)?;
        let slot = state.slots.iter().find(|known| known.number == slot)?;
        let grant = slot.grants.iter().find(|grant| grant.is(space, prefix))?;
        Some(RenewalBasis {
            holder,
            slot: slot.number,
            owner: slot.owner,
            live: grant.live,
            ends_at: grant.ends_at,
            lease: grant.lease.as_deref().cloned(),
        })
    }

    /// The holder and slot that have, or had last, exactly this prefix.
    pub fn holder_of(&self, space: &Space, prefix: Prefix) -> Option<(Holder, u8)> {
        if let Some(stand) = self.apart.entry(space.key(), prefix) {
            return Some((stand.holder, stand.slot));
        }
        let (holder, slot, _) = self.pool_over(space.key(), prefix)?.entry(prefix)?;
        (holder.0 != 0).then_some((holder, slot))
    }

    /// Forgets an offer that the client did not take.
    pub fn withdraw_offer(&self, holder: Holder, prefix: Prefix) {
        let mut shard = self.shard(holder).lock();
        let Some(state) = shard.holders.at_mut(holder.0) else {
            return;
        };
        self.drop_reservations(holder, state, |_, reserved| {
            reserved.prefix == prefix && matches!(reserved.stage, Stage::Offered(_))
        });
    }

    /// Forgets what is offered to a client that chose another server, whatever address that was.
    pub fn withdraw_offers(&self, holder: Holder, owner: Owner) {
        let mut shard = self.shard(holder).lock();
        let Some(state) = shard.holders.at_mut(holder.0) else {
            return;
        };
        self.drop_reservations(holder, state, |slot, reserved| {
            slot.owner.matches(owner) && matches!(reserved.stage, Stage::Offered(_))
        });
    }

    /// The record that ends a live grant; `None` when the holder has no such live grant, or a session or Accept
    /// still stands on it.
    pub fn release(
        &self,
        holder: Holder,
        space: &Space,
        prefix: Prefix,
        reason: ReleaseReason,
        now: Stamp,
    ) -> Option<Record> {
        let mut shard = self.shard(holder).lock();
        let state = shard.holders.at_mut(holder.0)?;
        let of = |slot: &&mut Slot| slot.grants.iter().any(|grant| grant.live && grant.is(space, prefix));
        let slot = state.slots.iter_mut().find(of)?;
        let (number, has_session) = (slot.number, slot.session.is_some());
        // An Accept on its way that takes the address over into another pool stands on it as well.
        let coming = slot.reservation_of(space, prefix).and_then(|found| slot.reserved.get(found));
        let coming = coming.is_some_and(|reserved| reserved.is_in_flight(now));
        let grant = slot.grants.iter_mut().find(|grant| grant.live && grant.is(space, prefix))?;
        // Session and lease are two evidences of one grant (FIELD R9): one of them ending does not end the other, nor an
        // Accept that nothing was heard of (FIELD R2).
        if (has_session || coming || grant.accepted_until > now) && reason != ReleaseReason::Declined {
            return None;
        }
        grant.declined = reason == ReleaseReason::Declined;
        let at = grant.stamp(now).max(grant.since);
        Some(ending(grant, holder, number, at, now, reason))
    }

    /// Live grants of a role that a holder has, for decisions that must not change anything.
    pub fn live_grant(&self, holder: Holder, role: Role, owner: Owner) -> Option<Prefix> {
        let shard = self.shard(holder).lock();
        let state = shard.holders.at(holder.0)?;
        let slots = || state.slots.iter();
        let own = slots().find(|slot| slot.owner.matches(owner)).or_else(|| slots().next())?;
        own.grants.iter().find(|grant| grant.role == role && grant.live).map(|grant| grant.prefix)
    }
}

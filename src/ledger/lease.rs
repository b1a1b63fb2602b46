//! What DHCP needs of the ledger besides admission: offers, renewals, releases.

use smallvec::SmallVec;

use super::admit::{fits, offer_fits};
use super::holder::{Grant, Reservation};
use super::{AdmitRequest, Denied, Ledger, Want, WantSource};
use crate::ids::PoolId;
use crate::journal::record::{Holder, LeaseFacts, Owner, Record, ReleaseReason, ReleaseRecord, Role};
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
        let holder = shard.holders.entry(request.holder.0).or_default();
        let slot = holder
            .choose_slot(request.owner, request.max_slots, request.now)
            .map_err(|taken| Denied::SlotsTaken { limit: taken.limit })?;
        self.drop_stale_offers(request.holder, slot, request.now);
        let known = slot.grant_for(want.role, |grant| fits(grant, want, request.space)).cloned();
        if let Some(grant) = known.as_ref().filter(|grant| grant.live) {
            return Ok(Offered { prefix: grant.prefix, pool: grant.pool });
        }
        if let Some(offer) = slot.reserved.iter_mut().find(|reserved| offer_fits(reserved, want)) {
            offer.offer_until = offer.offer_until.map(|_| until);
            return Ok(Offered { prefix: offer.prefix, pool: offer.pool });
        }
        let (prefix, pool) = match want.source {
            WantSource::Fixed(prefix) => {
                if self.fixed_conflict(request.space, prefix, request.holder) {
                    return Err(Denied::AddressInUse { prefix });
                }
                // Assigned by name: nobody else can be given it, so there is nothing to hold.
                return Ok(Offered { prefix, pool: PoolId::default() });
            }
            WantSource::Pools(pools) => match self.reclaim(request, known.as_ref(), slot.number) {
                Some(own) => own,
                None => self.choose(request, want.role, pools, slot.number)?,
            },
        };
        slot.owner = if slot.owner.is_unknown() { request.owner } else { slot.owner };
        slot.reserved.push(Reservation {
            prefix,
            role: want.role,
            pool,
            offer_until: Some(until),
            since: request.now,
        });
        Ok(Offered { prefix, pool })
    }

    fn reclaim(
        &self,
        request: &AdmitRequest<'_>,
        known: Option<&Grant>,
        slot: u8,
    ) -> Option<(Prefix, PoolId)> {
        let known = known?;
        let pool = self.pool(known.pool)?;
        let assigned_elsewhere = (request.fixed_holder)(request.space.key(), known.prefix)
            .is_some_and(|service| service.0 != request.holder.0);
        (!assigned_elsewhere && pool.claim(known.prefix, request.holder, slot, false))
            .then_some((known.prefix, pool.id))
    }

    /// What is known of an address in use or remembered, whoever has it: a unicast renewal carries no option 82, so the
    /// address itself leads to the holder.
    pub fn basis_of(&self, space: &Space, prefix: Prefix) -> Option<RenewalBasis> {
        let (holder, slot) = self.holder_of(space, prefix)?;
        let shard = self.shard(holder).lock();
        let state = shard.holders.get(&holder.0)?;
        let slot = state.slots.iter().find(|known| known.number == slot)?;
        let grant = slot.grants.iter().find(|grant| grant.prefix == prefix && *grant.space == *space)?;
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
        if let Some(pool) = self.pool_over(space.key(), prefix) {
            return pool
                .entry(prefix)
                .map(|(holder, slot, _)| (holder, slot))
                .filter(|(holder, _)| holder.0 != 0);
        }
        let (first, len) = prefix.raw();
        self.fixed.lock().get(&(space.key(), first, len)).map(|grant| (grant.holder, grant.slot))
    }

    /// Forgets an offer that the client did not take.
    pub fn withdraw_offer(&self, holder: Holder, prefix: Prefix) {
        let mut shard = self.shard(holder).lock();
        let Some(state) = shard.holders.get_mut(&holder.0) else {
            return;
        };
        for slot in &mut state.slots {
            let offered =
                |reserved: &Reservation| reserved.prefix == prefix && reserved.offer_until.is_some();
            if let Some(found) = slot.reserved.iter().position(offered) {
                let offer = slot.reserved.remove(found);
                if let Some(pool) = self.pool(offer.pool) {
                    pool.abort(prefix, holder);
                }
            }
        }
    }

    /// Forgets what is offered to a client that chose another server, whatever address that was.
    pub fn withdraw_offers(&self, holder: Holder, owner: Owner) {
        let mut shard = self.shard(holder).lock();
        let slots = shard.holders.get_mut(&holder.0).map(|state| state.slots.iter_mut());
        for slot in slots.into_iter().flatten().filter(|slot| slot.owner.matches(owner)) {
            // Every offer has ended by then; what is in flight to the journal has no end and stays.
            self.drop_stale_offers(holder, slot, Stamp::MAX);
        }
    }

    /// The record that ends a live grant; `None` when the holder has no such live grant or a session still uses it.
    pub fn release(
        &self,
        holder: Holder,
        space: &Space,
        prefix: Prefix,
        reason: ReleaseReason,
        now: Stamp,
    ) -> Option<Record> {
        let shard = self.shard(holder).lock();
        let state = shard.holders.get(&holder.0)?;
        let slot = state.slots.iter().find(|slot| {
            slot.grants.iter().any(|grant| grant.prefix == prefix && grant.live && *grant.space == *space)
        })?;
        // Session and lease are two evidences of one grant (FIELD R9): one of them ending does not end the other.
        if slot.session.is_some() && reason != ReleaseReason::Declined {
            return None;
        }
        Some(Record::Release(ReleaseRecord {
            at: now,
            tenant: space.tenant,
            vrf: SmallVec::from_slice(space.vrf.as_bytes()),
            prefix,
            holder,
            slot: slot.number,
            reason,
        }))
    }

    /// Live grants of a role that a holder has, for decisions that must not change anything.
    pub fn live_grant(&self, holder: Holder, role: Role, owner: Owner) -> Option<Prefix> {
        let shard = self.shard(holder).lock();
        let state = shard.holders.get(&holder.0)?;
        let slots = || state.slots.iter();
        let own = slots().find(|slot| slot.owner.matches(owner)).or_else(|| slots().next())?;
        own.grants.iter().find(|grant| grant.role == role && grant.live).map(|grant| grant.prefix)
    }
}

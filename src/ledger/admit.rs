//! Admitting a session or lease: slot, addresses, and the records that must be durable first.
//!
//! One short lock on the holder's shard covers the whole step, so 256 parallel logins with a limit of one give one
//! Accept. A live grant or an assignment by name is reused without a record that anybody waits for; a first allocation or a change of
//! holder is reserved here and takes effect in `apply` (FIELD R3).

use std::sync::Arc;

use smallvec::SmallVec;

use super::Ledger;
use super::holder::{Grant, Pending, Reservation, Slot};
use crate::ids::{NasId, NetworkId, PoolId, SessionId, Uid};
use crate::journal::record::{
    GrantRecord, Holder, LeaseFacts, Owner, Record, ReleaseReason, ReleaseRecord, Role,
};
use crate::model::Prefix;
use crate::snapshot::types::{Pool, Space};
use crate::time::Stamp;

/// Tells to which service exactly this prefix of a space is assigned by name.
pub type FixedHolder<'a> = &'a dyn Fn(u64, Prefix) -> Option<Uid>;

/// Where a wanted prefix comes from.
#[derive(Clone, Copy, Debug)]
pub enum WantSource<'a> {
    /// Assigned by name.
    Fixed(Prefix),
    /// One of these pools, in order.
    Pools(&'a [Arc<Pool>]),
}

/// One prefix that the policy gives.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// What for.
    pub role: Role,
    /// Where from.
    pub source: WantSource<'a>,
}

/// A request for a slot and addresses.
#[derive(Clone, Copy)]
pub struct AdmitRequest<'a> {
    /// When the request arrived.
    pub now: Stamp,
    /// Who asks.
    pub holder: Holder,
    /// Address space of everything wanted.
    pub space: &'a Arc<Space>,
    /// Line and MAC of the asker.
    pub owner: Owner,
    /// Readable line identity, for history.
    pub line: &'a [u8],
    /// Simultaneous sessions allowed.
    pub max_slots: u8,
    /// What the policy gives.
    pub wants: &'a [Want<'a>],
    /// NAS, if RADIUS.
    pub nas: NasId,
    /// Network, if known.
    pub network: NetworkId,
    /// Session id for a new session; nil for DHCP.
    pub session: SessionId,
    /// Until when the slot counts as taken although no Start arrives; ignored for DHCP.
    pub pending_until: Stamp,
    /// When the grants end by themselves.
    pub ends_at: Stamp,
    /// Lease facts; makes the grants leases.
    pub lease: Option<&'a LeaseFacts>,
    /// The address the client asks for, preferred among pool addresses (DHCP).
    pub requested: Option<Prefix>,
    /// Digest of the policy.
    pub digest: u64,
    /// Assignments by name.
    pub fixed_holder: FixedHolder<'a>,
}

/// Why nothing is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Every slot is used by another owner.
    SlotsTaken {
        /// Slots allowed.
        limit: u8,
    },
    /// No pool of the class has a free address.
    Exhausted {
        /// The last pool tried.
        pool: PoolId,
        /// What the address was for.
        role: Role,
    },
    /// The policy names no pool for this place.
    NoPool {
        /// What the address was for.
        role: Role,
    },
    /// The address assigned by name is used by another holder.
    AddressInUse {
        /// The address.
        prefix: Prefix,
    },
    /// A grant for the same slot is waiting for the journal: the client will ask again.
    InFlight,
}

/// One address or prefix to answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantedAddress {
    /// What for.
    pub role: Role,
    /// What.
    pub prefix: Prefix,
    /// Pool it is from; nil when assigned by name.
    pub pool: PoolId,
    /// Until when it is promised durably; later than now only for live leases.
    pub durable_ends_at: Stamp,
}

/// A slot with its addresses.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// Session to carry in Class.
    pub session: SessionId,
    /// Slot number.
    pub slot: u8,
    /// What to answer with.
    pub addresses: SmallVec<[GrantedAddress; 4]>,
    /// Records that must be durable before the answer leaves; empty when it may leave at once.
    pub wait_for: Vec<Record>,
    /// Records that are written without anybody waiting for them.
    pub write: Vec<Record>,
    /// Whether the slot's owner took it over from its own live session.
    pub takeover: bool,
}

/// After this long a grant in flight counts as lost (its journal segment failed without telling anybody, as happens to
/// records that nobody waits for) and is written again, for the same address.
const IN_FLIGHT_MS: u64 = 5_000;

impl Ledger {
    /// Chooses a slot and addresses. Everything newly chosen is reserved until [`Ledger::apply`] or [`Ledger::abort`].
    pub fn admit(&self, request: &AdmitRequest<'_>) -> Result<Admission, Denied> {
        let mut shard = self.shard(request.holder).lock();
        let holder = shard.holders.entry(request.holder.0).or_default();
        let slot = holder
            .choose_slot(request.owner, request.max_slots, request.now)
            .map_err(|taken| Denied::SlotsTaken { limit: taken.limit })?;
        self.drop_stale_offers(request.holder, slot, request.now);
        let mut admission = Admission { slot: slot.number, session: request.session, ..Admission::default() };
        for want in request.wants {
            if let Err(denied) = self.satisfy(request, want, slot, &mut admission) {
                for record in admission.wait_for.iter().chain(&admission.write) {
                    self.unreserve(slot, record);
                }
                return Err(denied);
            }
        }
        Self::leave_unwanted(request, slot, &mut admission);
        admission.takeover = slot.session.is_some() || slot.pending.is_some();
        slot.owner = merged(slot.owner, request.owner);
        if request.lease.is_none() {
            slot.pending = Some(Box::new(Pending {
                session: request.session,
                nas: request.nas,
                until: request.pending_until,
                digest: request.digest,
                at: request.now,
            }));
        }
        Ok(admission)
    }

    /// Gives back what [`Ledger::admit`] reserved, because the journal refused or failed.
    pub fn abort(&self, records: &[Record]) {
        for record in records {
            let Some(holder) = record.holder() else { continue };
            let mut shard = self.shard(holder).lock();
            let Some(state) = shard.holders.get_mut(&holder.0) else {
                continue;
            };
            match record {
                Record::Grant(grant) => {
                    let slot = state.slot_mut(grant.slot);
                    self.unreserve(slot, record);
                    if slot.pending.as_ref().is_some_and(|pending| pending.session == grant.session) {
                        slot.pending = None;
                    }
                }
                Record::Session(session) => {
                    let slot = state.slot_mut(session.slot);
                    slot.records_in_flight = slot.records_in_flight.saturating_sub(1);
                }
                Record::Release(_) | Record::Nas(_) | Record::Start(_) => {}
            }
        }
    }

    /// Keeps what was reserved for records that the journal would not take although nobody waits for them: the holder was
    /// answered and uses its address, so nobody else may get it before `until` (FIELD R3).
    pub fn hold(&self, records: &[Record], until: Stamp) {
        for record in records {
            let Record::Grant(grant) = record else { continue };
            let mut shard = self.shard(grant.holder).lock();
            let Some(state) = shard.holders.get_mut(&grant.holder.0) else {
                continue;
            };
            let slot = state.slot_mut(grant.slot);
            for reserved in slot.reserved.iter_mut().filter(|reserved| reserved.prefix == grant.prefix) {
                reserved.offer_until = Some(until);
            }
        }
    }

    fn satisfy(
        &self,
        request: &AdmitRequest<'_>,
        want: &Want<'_>,
        slot: &mut Slot,
        admission: &mut Admission,
    ) -> Result<(), Denied> {
        let in_flight =
            |reserved: &&Reservation| reserved.role == want.role && reserved.offer_until.is_none();
        if let Some(reserved) = slot.reserved.iter().find(in_flight)
            && request.now.since(reserved.since) < IN_FLIGHT_MS
        {
            return Err(Denied::InFlight);
        }
        let known = slot.grant_for(want.role, |grant| fits(grant, want, request.space)).cloned();
        if let Some(grant) = &known
            && grant.live
        {
            Self::reuse(request, slot, grant, admission);
            return Ok(());
        }
        let (prefix, pool) = self.obtain(request, want, slot, known.as_ref())?;
        let record = Record::Grant(grant_record(request, slot.number, want.role, prefix, pool, false));
        slot.reserved.retain(|reserved| reserved.role != want.role || reserved.prefix != prefix);
        slot.reserved.push(Reservation {
            prefix,
            role: want.role,
            pool,
            offer_until: None,
            since: request.now,
        });
        admission.addresses.push(GrantedAddress {
            role: want.role,
            prefix,
            pool,
            durable_ends_at: Stamp::ZERO,
        });
        // An assignment by name and one's own last address are known without the journal: nobody else can be given
        // them while it is reserved, and after a crash they are found again (FIELD R3).
        let returning = known.is_some_and(|grant| grant.prefix == prefix);
        let assigned = matches!(want.source, WantSource::Fixed(_));
        if (returning || assigned) && request.lease.is_none() {
            admission.write.push(record);
        } else {
            admission.wait_for.push(record);
        }
        Ok(())
    }

    /// Answers with a grant that is live already.
    fn reuse(request: &AdmitRequest<'_>, slot: &mut Slot, grant: &Grant, admission: &mut Admission) {
        admission.addresses.push(GrantedAddress {
            role: grant.role,
            prefix: grant.prefix,
            pool: grant.pool,
            durable_ends_at: grant.durable_ends_at,
        });
        let first_lease = request.lease.is_some() && grant.lease.is_none();
        if let Some(lease) = request.lease {
            let mut record = grant_record(request, slot.number, grant.role, grant.prefix, grant.pool, true);
            record.lease = Some(lease.clone());
            record.renewal = !first_lease;
            if first_lease {
                admission.wait_for.push(Record::Grant(record));
            } else {
                admission.write.push(Record::Grant(record));
            }
        } else if let Some(known) =
            slot.grants.iter_mut().find(|known| known.prefix == grant.prefix && known.live)
        {
            // Volatile: after an unclean stop nothing ends before `hold_until`.
            known.ends_at = known.ends_at.max(request.ends_at);
        }
    }

    /// Finds and reserves an address that is not live yet.
    fn obtain(
        &self,
        request: &AdmitRequest<'_>,
        want: &Want<'_>,
        slot: &mut Slot,
        known: Option<&Grant>,
    ) -> Result<(Prefix, PoolId), Denied> {
        let holder = request.holder;
        match want.source {
            WantSource::Fixed(prefix) => {
                if self.fixed_conflict(request.space, prefix, holder) {
                    return Err(Denied::AddressInUse { prefix });
                }
                match self.pool_over(request.space.key(), prefix) {
                    Some(pool) if pool.claim(prefix, holder, slot.number, true) => Ok((prefix, pool.id)),
                    Some(_) => Err(Denied::AddressInUse { prefix }),
                    None => Ok((prefix, PoolId::default())),
                }
            }
            WantSource::Pools(pools) => {
                if let Some(offer) = slot.reserved.iter().find(|reserved| {
                    offer_fits(reserved, want)
                        && request.requested.is_none_or(|wanted| wanted == reserved.prefix)
                }) {
                    return Ok((offer.prefix, offer.pool));
                }
                if let Some(known) = known
                    && let Some(pool) = self.pool(known.pool)
                    && Self::free_of_assignment(request, known.prefix)
                    && pool.claim(known.prefix, holder, slot.number, false)
                {
                    return Ok((known.prefix, pool.id));
                }
                self.choose(request, want.role, pools, slot.number)
            }
        }
    }

    pub(super) fn choose(
        &self,
        request: &AdmitRequest<'_>,
        role: Role,
        pools: &[Arc<Pool>],
        slot: u8,
    ) -> Result<(Prefix, PoolId), Denied> {
        let table = self.pools.load();
        let key = request.space.key();
        let refused = |prefix: Prefix| {
            (request.fixed_holder)(key, prefix).is_some_and(|service| service.0 != request.holder.0)
        };
        if let Some(wanted) = request.requested {
            for pool in pools {
                if let Some(ledger) = table.get(&pool.id.0)
                    && !refused(wanted)
                    && ledger.claim(wanted, request.holder, slot, false)
                {
                    return Ok((wanted, ledger.id));
                }
            }
        }
        let mut last = None;
        for pool in pools {
            let Some(ledger) = table.get(&pool.id.0) else {
                continue;
            };
            if let Some(prefix) = ledger.choose(request.holder, slot, request.now, &refused) {
                return Ok((prefix, ledger.id));
            }
            last = Some(ledger.id);
        }
        Err(last.map_or(Denied::NoPool { role }, |pool| Denied::Exhausted { pool, role }))
    }

    fn free_of_assignment(request: &AdmitRequest<'_>, prefix: Prefix) -> bool {
        (request.fixed_holder)(request.space.key(), prefix)
            .is_none_or(|service| service.0 == request.holder.0)
    }

    /// Live grants of the slot that the policy no longer gives are left, unless a lease still stands on them.
    fn leave_unwanted(request: &AdmitRequest<'_>, slot: &Slot, admission: &mut Admission) {
        for grant in slot.grants.iter().filter(|grant| grant.live) {
            let kept = admission.addresses.iter().any(|address| address.prefix == grant.prefix);
            let asked = request.wants.iter().any(|want| want.role == grant.role);
            let leased = grant.lease.is_some() && grant.ends_at > request.now;
            if kept || leased || (request.lease.is_some() && !asked) {
                continue;
            }
            admission.write.push(Record::Release(ReleaseRecord {
                at: request.now,
                tenant: grant.space.tenant,
                vrf: SmallVec::from_slice(grant.space.vrf.as_bytes()),
                prefix: grant.prefix,
                holder: request.holder,
                slot: slot.number,
                reason: ReleaseReason::Replaced,
            }));
        }
    }

    pub(super) fn unreserve(&self, slot: &mut Slot, record: &Record) {
        let Record::Grant(grant) = record else { return };
        slot.reserved.retain(|reserved| reserved.prefix != grant.prefix || reserved.offer_until.is_some());
        if let Some(pool) = self.pool(grant.pool) {
            pool.abort(grant.prefix, grant.holder);
        }
    }

    pub(super) fn drop_stale_offers(&self, holder: Holder, slot: &mut Slot, now: Stamp) {
        slot.reserved.retain(|reserved| {
            let stale = reserved.offer_until.is_some_and(|until| until <= now);
            if stale && let Some(pool) = self.pool(reserved.pool) {
                pool.abort(reserved.prefix, holder);
            }
            !stale
        });
    }
}

/// Whether a known grant is one that the policy would give.
pub(super) fn fits(grant: &Grant, want: &Want<'_>, space: &Space) -> bool {
    *grant.space == *space
        && match want.source {
            WantSource::Fixed(prefix) => grant.prefix == prefix,
            WantSource::Pools(pools) => pools.iter().any(|pool| pool.id == grant.pool.0),
        }
}

/// Whether what is offered already is what the policy would give here: a service may be on several networks.
pub(super) fn offer_fits(offer: &Reservation, want: &Want<'_>) -> bool {
    offer.role == want.role
        && match want.source {
            WantSource::Fixed(prefix) => offer.prefix == prefix,
            WantSource::Pools(pools) => pools.iter().any(|pool| pool.id == offer.pool.0),
        }
}

/// What is newly known of an owner replaces what was known; what is not known now is kept only for the same owner.
fn merged(old: Owner, new: Owner) -> Owner {
    if !old.matches(new) {
        return new;
    }
    Owner {
        line: if new.line == 0 { old.line } else { new.line },
        mac: if new.mac == crate::model::Mac::default() { old.mac } else { new.mac },
    }
}

pub(super) fn grant_record(
    request: &AdmitRequest<'_>,
    slot: u8,
    role: Role,
    prefix: Prefix,
    pool: PoolId,
    renewal: bool,
) -> GrantRecord {
    GrantRecord {
        at: request.now,
        tenant: request.space.tenant,
        vrf: SmallVec::from_slice(request.space.vrf.as_bytes()),
        prefix,
        role,
        holder: request.holder,
        slot,
        pool,
        network: request.network,
        owner: request.owner,
        line: SmallVec::from_slice(request.line),
        nas: request.nas,
        session: request.session,
        lease: request.lease.cloned(),
        ends_at: request.ends_at,
        digest: request.digest,
        renewal,
    }
}

//! Admitting a session or lease: slot, addresses, and the records that must be durable first.
//!
//! One short lock on the holder's shard covers the whole step, so 256 parallel logins with a limit of one give one
//! Accept. A live grant or an assignment by name is reused without a record that anybody waits for; a first allocation or a change of
//! holder is reserved here and takes effect in `apply` (FIELD R3).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::Ledger;
use super::holder::{Grant, HolderState, Reservation, Slot, Stage, same_space};
use super::reserve::Undo;
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
    /// Session id for a new session, minted for the request; nil for DHCP.
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
    /// After an unclean stop the addresses that are left are kept for who had them last, for a while: the client will ask
    /// again.
    Settling {
        /// The last pool tried.
        pool: PoolId,
    },
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
    /// Until when a lease is promised durably; zero when there is no lease yet.
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

/// What is known of the wanted prefix.
#[derive(Clone, Copy, Debug)]
struct KnownGrant {
    prefix: Prefix,
    pool: PoolId,
    live: bool,
    leaving: bool,
    /// Whether it was last given through a NAS.
    radius: bool,
}

/// What is the same for everything that one request wants.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    /// Whether the request was answered before.
    again: bool,
    /// What the holder's other slots stand on: the holder of an address is one slot (FIELD R7).
    besides: &'a [Prefix],
}

impl Ledger {
    /// Chooses a slot and addresses. Everything newly chosen is reserved until [`Ledger::apply`] or [`Ledger::abort`].
    pub fn admit(&self, request: &AdmitRequest<'_>) -> Result<Admission, Denied> {
        let mut shard = self.shard(request.holder).lock();
        let state = shard.holders.entry(request.holder.0);
        self.drop_stale_offers(request.holder, state, request.now);
        let admitted = self.admit_to(state, request);
        if admitted.is_err() && state.forget_empty(request.now) {
            shard.holders.remove(request.holder.0);
        }
        admitted
    }

    fn admit_to(&self, state: &mut HolderState, request: &AdmitRequest<'_>) -> Result<Admission, Denied> {
        let number = state
            .choose_slot(request.owner, request.max_slots, request.now, self.hold_until())
            .map_err(|taken| Denied::SlotsTaken { limit: taken.limit })?
            .number;
        let besides = state.besides(number, request.space);
        let slot = state.slot_mut(number);
        let again = slot.session_of_request(request);
        let same: AdmitRequest<'_>;
        let request = match again {
            Some(session) => {
                same = AdmitRequest { session, ..*request };
                &same
            }
            None => request,
        };
        let asked = Asked { again: again.is_some(), besides: &besides };
        let mut admission = Admission { slot: number, session: request.session, ..Admission::default() };
        let mut undo = Vec::new();
        for want in request.wants {
            if let Err(denied) = self.satisfy(request, want, slot, &asked, &mut admission, &mut undo) {
                self.undo(request.holder, state, number, request.space, undo);
                return Err(denied);
            }
        }
        if again.is_none() {
            // A NAS that gets two answers to one request keeps either: what the first one gave is still its own.
            leave_unwanted(request, self.hold_until(), slot, &mut admission);
        }
        if admission.wait_for.is_empty() {
            promise(request, slot, &admission);
        } else {
            // The answer waits anyway: all of its records stand or fall with it.
            admission.wait_for.append(&mut admission.write);
        }
        admission.takeover = again.is_none() && (slot.session.is_some() || slot.is_pending(request.now));
        if admission.takeover {
            self.counters.takeovers.fetch_add(1, Ordering::Relaxed);
        }
        slot.owner = merged(slot.owner, request.owner);
        if request.lease.is_none() {
            slot.accept(request);
        }
        Ok(admission)
    }

    fn satisfy(
        &self,
        request: &AdmitRequest<'_>,
        want: &Want<'_>,
        slot: &mut Slot,
        asked: &Asked<'_>,
        admission: &mut Admission,
        undo: &mut Vec<Undo>,
    ) -> Result<(), Denied> {
        let known =
            slot.grant_for(want.role, |grant| fits(grant, want, request.space)).map(|grant| KnownGrant {
                prefix: grant.prefix,
                pool: grant.pool,
                live: grant.live,
                leaving: grant.leaving != Stamp::ZERO,
                radius: grant.nas != NasId::default(),
            });
        let stands = known.filter(|known| known.live && !known.leaving);
        if let Some(known) = stands
            && request.lease.is_none()
        {
            reuse(request, slot, known.prefix, admission, undo);
            return Ok(());
        }
        let own = slot.reserved.iter().position(|reserved| covers(reserved, want, request.space));
        if let Some(reserved) = own.and_then(|own| slot.reserved.get_mut(own))
            && !reserved.foreign
            && (reserved.is_recent(request.now) || (asked.again && matches!(reserved.stage, Stage::Waiting)))
        {
            return in_flight(request, want, reserved, admission);
        }
        if let Some(known) = stands {
            reuse(request, slot, known.prefix, admission, undo);
            return Ok(());
        }
        let (prefix, pool) = match known {
            // A record that ends the grant is on its way: the holder keeps the address by a record that follows it.
            Some(known) if known.live => (known.prefix, known.pool),
            _ => self.obtain(request, want, slot, known, asked.besides)?,
        };
        let at = slot.stamp_for(request.space, prefix, request.now);
        let record = Record::Grant(grant_record(request, slot.number, want.role, prefix, pool, at));
        undo.push(slot.reserve(request.space, (want.role, prefix, pool), at));
        admission.addresses.push(GrantedAddress {
            role: want.role,
            prefix,
            pool,
            durable_ends_at: Stamp::ZERO,
        });
        // An assignment by name and one's own last address are known without the journal: nobody else can be given
        // them while it is reserved, and after a crash they are found again (FIELD R3).
        // What was last a lease is not among what recovery keeps for that (see `hold`).
        let returning = known.is_some_and(|known| known.prefix == prefix && known.radius);
        let assigned = matches!(want.source, WantSource::Fixed(_));
        if (returning || assigned) && request.lease.is_none() {
            admission.write.push(record);
        } else {
            admission.wait_for.push(record);
        }
        Ok(())
    }

    /// Finds and reserves an address that is not live yet.
    fn obtain(
        &self,
        request: &AdmitRequest<'_>,
        want: &Want<'_>,
        slot: &Slot,
        known: Option<KnownGrant>,
        besides: &[Prefix],
    ) -> Result<(Prefix, PoolId), Denied> {
        let holder = request.holder;
        let own = slot.reserved.iter().filter(|reserved| covers(reserved, want, request.space));
        let asked = |reserved: &&Reservation| {
            let answered = !matches!(reserved.stage, Stage::Offered(_));
            answered || request.requested.is_none_or(|wanted| wanted == reserved.prefix)
        };
        if let Some(own) = own.clone().find(asked) {
            return Ok((own.prefix, own.pool));
        }
        match want.source {
            WantSource::Fixed(prefix) => {
                let pool = match self.pool_over(request.space.key(), prefix) {
                    Some(pool) => {
                        self.reserve_in(&pool, prefix, holder, slot.number, true).then_some(pool.id)
                    }
                    None => {
                        self.reserve_apart(request.space, prefix, holder, slot.number).then(PoolId::default)
                    }
                };
                pool.map(|pool| (prefix, pool)).ok_or(Denied::AddressInUse { prefix })
            }
            WantSource::Pools(pools) => {
                let seat = (slot.number, besides);
                match known.and_then(|known| self.reclaim(request, known.prefix, known.pool, seat)) {
                    Some(last) => Ok(last),
                    None => self.choose(request, want.role, pools, seat),
                }
            }
        }
    }
}

/// A record for this want is on its way. Whoever was answered without waiting for it is answered so again; whoever waits
/// is not answered twice.
fn in_flight(
    request: &AdmitRequest<'_>,
    want: &Want<'_>,
    reserved: &mut Reservation,
    admission: &mut Admission,
) -> Result<(), Denied> {
    if !matches!(reserved.stage, Stage::Answered(_)) || request.lease.is_some() {
        return Err(Denied::InFlight);
    }
    reserved.answered(request.ends_at);
    // This answer has no record to stand or fall with.
    if !reserved.records.contains(&Stamp::ZERO) {
        reserved.records.insert(0, Stamp::ZERO);
    }
    admission.addresses.push(GrantedAddress {
        role: want.role,
        prefix: reserved.prefix,
        pool: reserved.pool,
        durable_ends_at: Stamp::ZERO,
    });
    Ok(())
}

/// Answers with a grant that is live already.
fn reuse(
    request: &AdmitRequest<'_>,
    slot: &mut Slot,
    prefix: Prefix,
    admission: &mut Admission,
    undo: &mut Vec<Undo>,
) {
    let number = slot.number;
    let Some(grant) = slot.grants.iter_mut().find(|grant| grant.live && grant.is(request.space, prefix))
    else {
        return;
    };
    let (role, pool) = (grant.role, grant.pool);
    let durable_ends_at = if grant.lease.is_some() { grant.durable_ends_at } else { Stamp::ZERO };
    admission.addresses.push(GrantedAddress { role, prefix, pool, durable_ends_at });
    let at = grant.stamp(request.now);
    grant.answered_at = grant.answered_at.max(at);
    let Some(_) = request.lease else {
        // What is assigned by name is given to nobody else whatever a crash forgets.
        let named = || {
            let service = (request.fixed_holder)(request.space.key(), prefix);
            service.is_some_and(|service| service.0 == request.holder.0)
        };
        // What the journal knows of a lease is the end of the lease.
        let known = if grant.lease.is_some() { grant.accepted_until } else { grant.durable_ends_at };
        let outlives = request.ends_at > known;
        // Of an unheard Accept, a crash leaves nothing but its grant: the restart of a NAS ends those that it gave.
        let moves = grant.lease.is_none() && grant.nas != request.nas;
        // Of another node's grant, the other nodes learn that it is in use here. Nobody waits for either.
        if grant.foreign || ((outlives || moves) && !named()) {
            admission.write.push(Record::Grant(later_end(request, number, grant, at)));
        }
        accept_on(slot, request, prefix);
        return;
    };
    let mut record = grant_record(request, number, role, prefix, pool, at);
    if grant.lease.is_some() {
        // Answered without waiting: what was promised counts from now on.
        grant.ends_at = grant.ends_at.max(request.ends_at);
        record.renewal = true;
        admission.write.push(Record::Grant(record));
    } else {
        // Reserved, so that whoever ends the session meanwhile sees the lease coming.
        record.at = slot.stamp_for(request.space, prefix, at);
        undo.push(slot.reserve(request.space, (role, prefix, pool), record.at));
        admission.wait_for.push(Record::Grant(record));
    }
}

/// The record by which a crash does not forget until when this Accept allows the address to be used. It allows a quarter more
/// than was said, so that a line that redials all the time writes a few records a day and not one each time.
fn later_end(request: &AdmitRequest<'_>, slot: u8, grant: &Grant, at: Stamp) -> GrantRecord {
    let (role, prefix, pool) = (grant.role, grant.prefix, grant.pool);
    let spare_ms = request.ends_at.since(request.now) / 4;
    let mut record = grant_record(request, slot, role, prefix, pool, at);
    record.ends_at = Stamp(record.ends_at.0.saturating_add(spare_ms));
    record.renewal = true;
    record
}

/// Live grants of the slot that the policy no longer gives are left, unless a lease still stands on them. A login shows
/// that the line's session before it is over; a lease shows nothing of the sort.
fn leave_unwanted(request: &AdmitRequest<'_>, hold_until: Stamp, slot: &mut Slot, admission: &mut Admission) {
    let (number, has_session) = (slot.number, slot.session.is_some());
    for grant in slot.grants.iter_mut().filter(|grant| grant.live) {
        let accepted = has_session || grant.accepted_until > request.now;
        let kept = admission.addresses.iter().any(|address| grant.is(request.space, address.prefix));
        let asked = request.wants.iter().any(|want| want.role == grant.role);
        let leased = grant.is_leased(request.now, hold_until);
        if kept || leased || (request.lease.is_some() && (accepted || !asked)) {
            continue;
        }
        let at = grant.stamp(request.now).max(grant.since);
        admission.write.push(ending(grant, request.holder, number, at, request.now, ReleaseReason::Replaced));
    }
}

/// The answer leaves at once: what it says is promised although its records are not durable yet.
fn promise(request: &AdmitRequest<'_>, slot: &mut Slot, admission: &Admission) {
    for record in &admission.write {
        if let Record::Grant(grant) = record
            && let Some(found) = slot.reservation_of(request.space, grant.prefix)
            && let Some(reserved) = slot.reserved.get_mut(found)
        {
            reserved.answered(request.ends_at);
            accept_on(slot, request, grant.prefix);
        }
    }
}

/// Of a grant that is leaving, the record that keeps it may be lost together with the one that ends it: then it lives on,
/// and this Accept stands on it.
fn accept_on(slot: &mut Slot, request: &AdmitRequest<'_>, prefix: Prefix) {
    let live = slot.grants.iter_mut().find(|grant| grant.live && grant.is(request.space, prefix));
    if let Some(grant) = live.filter(|_| request.lease.is_none()) {
        grant.accepted_until = grant.accepted_until.max(request.ends_at);
        if grant.lease.is_none() {
            grant.ends_at = grant.accepted_until;
        }
    }
}

/// The record that ends a live grant of a slot, which from now on is leaving.
pub(super) fn ending(
    grant: &mut Grant,
    holder: Holder,
    slot: u8,
    at: Stamp,
    now: Stamp,
    reason: ReleaseReason,
) -> Record {
    ending_by(grant, (holder, slot), at, now, reason, at)
}

/// The same, by evidence of an earlier moment.
pub(super) fn ending_by(
    grant: &mut Grant,
    (holder, slot): (Holder, u8),
    at: Stamp,
    now: Stamp,
    reason: ReleaseReason,
    evidence_at: Stamp,
) -> Record {
    grant.leaving = now.max(at);
    Record::Release(ReleaseRecord {
        at,
        tenant: grant.space.tenant,
        vrf: SmallVec::from_slice(grant.space.vrf.as_bytes()),
        prefix: grant.prefix,
        holder,
        slot,
        reason,
        evidence_at,
    })
}

/// Whether a known grant is one that the policy would give.
pub(super) fn fits(grant: &Grant, want: &Want<'_>, space: &Space) -> bool {
    !grant.declined && same_space(&grant.space, space) && gives(want, grant.prefix, grant.pool)
}

/// Whether a reservation is for what is wanted.
pub(super) fn covers(reserved: &Reservation, want: &Want<'_>, space: &Space) -> bool {
    reserved.role == want.role
        && same_space(&reserved.space, space)
        && gives(want, reserved.prefix, reserved.pool)
}

fn gives(want: &Want<'_>, prefix: Prefix, pool: PoolId) -> bool {
    match want.source {
        WantSource::Fixed(fixed) => prefix == fixed,
        WantSource::Pools(pools) => pools.iter().any(|wanted| wanted.id == pool.0),
    }
}

/// What is newly known of an owner replaces what was known; what is not known now is kept only for the same owner.
pub(super) fn merged(old: Owner, new: Owner) -> Owner {
    if !old.matches(new) {
        return new;
    }
    Owner {
        line: if new.line == 0 { old.line } else { new.line },
        mac: if new.mac == crate::model::Mac::default() { old.mac } else { new.mac },
    }
}

fn grant_record(
    request: &AdmitRequest<'_>,
    slot: u8,
    role: Role,
    prefix: Prefix,
    pool: PoolId,
    at: Stamp,
) -> GrantRecord {
    GrantRecord {
        at,
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
        renewal: false,
    }
}

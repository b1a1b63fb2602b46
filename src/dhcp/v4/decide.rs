//! What becomes of a request: the rules of RFC 2131 §4.3, over the ledger.
//!
//! After *identify*, before *reply*. RFC 2131 §4.3.1 (DHCPDISCOVER), §4.3.2 (DHCPREQUEST), §4.3.3 to §4.3.5.
//!
//! ```text
//!  DISCOVER ─► offer, held for a minute, not durable ─► OFFER
//!  REQUEST ──► is it the client's address? ─┬─ new: wait for the journal ─► ACK
//!                                           ├─ live: ACK now, write behind
//!                                           ├─ another: NAK, when we may say so
//!                                           └─ nothing known: silence, NAK on an authoritative network
//! ```
//!
//! Invariants: no address is confirmed that the ledger does not grant to this client; a NAK goes only through a relay, as
//! one without would be broadcast on the server's own link (RFC 2131 §4.1), where the client is not: it asks again at T2.
//! With the journal unavailable nothing is promised beyond what is durable.

use std::net::{IpAddr, Ipv4Addr};

use super::entitlement::Entitlement;
use super::place::Place;
use super::request::{Form, Reason, Request};
use super::wire::{LeaseTimes, ReplyKind};
use crate::dhcp::lease_time::LeaseTime;
use crate::ids::{NasId, NetworkId, SessionId};
use crate::journal::record::{LeaseFacts, Record, ReleaseReason, Role};
use crate::ledger::{Admission, AdmitRequest, Denied, FixedHolder, RenewalBasis};
use crate::limits::DHCP_OFFER_SECS;
use crate::model::Prefix;
use crate::pipeline::World;
use crate::time::Stamp;

/// What is to be done about a request.
#[derive(Debug)]
pub enum Ruling {
    /// Answer.
    Answer {
        /// With what.
        kind: ReplyKind,
        /// Why.
        reason: Reason,
        /// Records that must be durable before.
        wait_for: Vec<Record>,
        /// Records to write besides.
        write: Vec<Record>,
    },
    /// Silence.
    Silence {
        /// Why.
        reason: Reason,
        /// Records to write all the same.
        write: Vec<Record>,
    },
}

impl Ruling {
    fn answer(kind: ReplyKind, reason: Reason) -> Self {
        Self::Answer { kind, reason, wait_for: Vec::new(), write: Vec::new() }
    }

    /// Silence without records.
    pub fn silence(reason: Reason) -> Self {
        Self::Silence { reason, write: Vec::new() }
    }
}

/// A request of an identified client.
#[derive(Debug)]
pub struct Case<'c, 'w> {
    /// When it arrived.
    pub now: Stamp,
    /// The request.
    pub request: &'c Request<'c>,
    /// Where it comes from.
    pub place: &'c Place<'w>,
    /// What the client may have.
    pub entitlement: &'c Entitlement<'w>,
    /// What its lease is to be remembered with.
    pub facts: LeaseFacts,
    /// Its line in words.
    pub line: &'c [u8],
}

/// Decides about a DHCPDISCOVER or DHCPREQUEST.
pub fn decide(world: &World<'_>, case: &Case<'_, '_>) -> Ruling {
    match case.request.form {
        Form::Discover => case.discover(world),
        Form::Selecting { server_id, .. } if !case.place.is_us(server_id) => {
            world.ledger.withdraw_offers(case.entitlement.holder, case.entitlement.owner);
            Ruling::silence("not-for-us")
        }
        // The client took our offer: if we cannot keep it (a restart forgot it and somebody else has the address by now), it
        // is told so and begins anew at once (RFC 2131 §4.3.2).
        Form::Selecting { requested, .. } => case.lease(world, requested, true),
        Form::InitReboot { requested: address }
        | Form::Renewing { ciaddr: address }
        | Form::Rebinding { ciaddr: address } => case.confirm(world, address),
        Form::Decline { .. } | Form::Release { .. } | Form::Inform { .. } => Ruling::silence("undecided"),
    }
}

impl Case<'_, '_> {
    /// Runs `step` with the request as the ledger takes it.
    fn with_request<T>(
        &self,
        world: &World<'_>,
        ends_at: Stamp,
        requested: Option<Ipv4Addr>,
        step: impl FnOnce(&AdmitRequest<'_>) -> T,
    ) -> T {
        let fixed_holder: FixedHolder<'_> = &|space, prefix| world.snapshot.fixed_holder(space, prefix);
        let wants = [self.entitlement.source.want()];
        step(&AdmitRequest {
            now: self.now,
            holder: self.entitlement.holder,
            space: &self.entitlement.space,
            owner: self.entitlement.owner,
            line: self.line,
            max_slots: self.entitlement.max_slots,
            wants: &wants,
            nas: NasId::default(),
            network: NetworkId(self.place.network.id),
            session: SessionId::default(),
            pending_until: Stamp::ZERO,
            ends_at,
            lease: Some(&self.facts),
            requested: requested.map(Prefix::v4),
            digest: self.entitlement.digest,
            fixed_holder,
        })
    }

    fn times(&self) -> LeaseTime {
        let asked = self.request.message.lease_secs();
        LeaseTime::of(&self.place.network.spec, self.entitlement.known, asked)
    }

    fn live_address(&self, world: &World<'_>) -> Option<Prefix> {
        world.ledger.live_grant(self.entitlement.holder, Role::V4, self.entitlement.owner)
    }

    fn discover(&self, world: &World<'_>) -> Ruling {
        // What is offered now could not be leased in a moment, unless the client has it already.
        if !world.journal_available && self.live_address(world).is_none() {
            return Ruling::silence("journal-unavailable");
        }
        let want = self.entitlement.source.want();
        let until = self.now.plus_secs(DHCP_OFFER_SECS);
        let requested = self.request.message.requested_address();
        let offered =
            self.with_request(world, until, requested, |request| world.ledger.offer(request, &want, until));
        match offered.map(|offered| ipv4(offered.prefix)) {
            Ok(Some(yiaddr)) => {
                Ruling::answer(ReplyKind::Offer { yiaddr, times: self.times().into() }, "offered")
            }
            Ok(None) => Ruling::silence("no-pool"),
            Err(denied) => Ruling::silence(reason_of(denied)),
        }
    }

    /// Confirms an address that the client says it has, if the ledger knows of it (RFC 2131 §4.3.2).
    fn confirm(&self, world: &World<'_>, address: Ipv4Addr) -> Ruling {
        let prefix = Prefix::v4(address);
        if self.entitlement.is_assigned_other_than(prefix) {
            return self.refuse(true);
        }
        let assigned = matches!(self.entitlement.source, super::entitlement::Source::Fixed(_));
        let own = || {
            let holder = world.ledger.holder_of(&self.entitlement.space, prefix);
            holder.is_some_and(|(holder, _)| holder == self.entitlement.holder)
        };
        if !self.place.holds(address) || !(assigned || own()) {
            return self.refuse(self.live_address(world).is_some());
        }
        self.lease(world, address, true)
    }

    /// Leases `address`, new or again. `own` says that the client had it: if it gets another now, the policy changed.
    fn lease(&self, world: &World<'_>, address: Ipv4Addr, own: bool) -> Ruling {
        let times = self.times();
        let ends_at = self.now.plus_secs(u64::from(times.lease_secs));
        let admitted =
            self.with_request(world, ends_at, Some(address), |request| world.ledger.admit(request));
        let mut admission = match admitted {
            Ok(admission) => admission,
            Err(denied) => return Ruling::silence(reason_of(denied)),
        };
        let granted = admission.addresses.first().copied();
        let Some(granted) = granted.filter(|granted| granted.prefix == Prefix::v4(address)) else {
            world.ledger.abort(&admission.wait_for);
            let has_another = granted.is_some() && admission.wait_for.is_empty();
            return self
                .refuse(own || has_another || self.entitlement.is_assigned_other_than(Prefix::v4(address)));
        };
        if !world.journal_available {
            return self.confirm_durable(world, &admission, address, granted.durable_ends_at);
        }
        let (wait_for, write) =
            (std::mem::take(&mut admission.wait_for), std::mem::take(&mut admission.write));
        let reason = if wait_for.is_empty() { "renewed" } else { "leased" };
        Ruling::Answer { kind: self.ack(address, times), reason, wait_for, write }
    }

    /// While the journal takes no records: what is durable already may be confirmed, and no more.
    fn confirm_durable(
        &self,
        world: &World<'_>,
        admission: &Admission,
        address: Ipv4Addr,
        durable_ends_at: Stamp,
    ) -> Ruling {
        let remaining = durable_ends_at.since(self.now) / 1000;
        match self.times().within(remaining) {
            Some(times) if admission.wait_for.is_empty() => {
                Ruling::answer(self.ack(address, times), "renewed")
            }
            _ => {
                world.ledger.abort(&admission.wait_for);
                Ruling::silence("journal-unavailable")
            }
        }
    }

    fn ack(&self, yiaddr: Ipv4Addr, times: LeaseTime) -> ReplyKind {
        ReplyKind::Ack { yiaddr, ciaddr: self.request.message.ciaddr(), times: times.into() }
    }

    /// The address is not the client's. It is told so when we `know` what it has instead, or speak for the network.
    fn refuse(&self, know: bool) -> Ruling {
        let may_say = know || self.place.network.spec.authoritative;
        match (may_say, self.place.relayed) {
            (true, true) => Ruling::answer(ReplyKind::Nak, "wrong-address"),
            (true, false) => Ruling::silence("not-holder"),
            (false, _) => Ruling::silence("no-record"),
        }
    }
}

/// Ends a lease because its client leaves the address or found it in use. `source` is where the message came from.
pub fn leave(
    world: &World<'_>,
    (now, source): (Stamp, IpAddr),
    request: &Request<'_>,
    place: &Place<'_>,
    basis: Option<&RenewalBasis>,
) -> Ruling {
    let (address, server_id, reason) = match request.form {
        Form::Release { ciaddr, server_id } => (ciaddr, server_id, ReleaseReason::Released),
        Form::Decline { declined, server_id } => (declined, server_id, ReleaseReason::Declined),
        _ => return Ruling::silence("undecided"),
    };
    if server_id.is_some_and(|server_id| !place.is_us(server_id)) {
        return Ruling::silence("not-for-us");
    }
    // A release comes from the address it gives back: the one thing that a stranger elsewhere cannot forge.
    let forged = !place.relayed && source != IpAddr::V4(address);
    let Some(basis) = basis.filter(|basis| !forged && request.is_client_of(basis)) else {
        return Ruling::silence("not-holder");
    };
    if !world.journal_available {
        return Ruling::silence("journal-unavailable");
    }
    let prefix = Prefix::v4(address);
    match world.ledger.release(basis.holder, &place.network.space, prefix, reason, now) {
        Some(record) => {
            let reason = if reason == ReleaseReason::Declined { "declined" } else { "released" };
            Ruling::Silence { reason, write: vec![record] }
        }
        None => Ruling::silence("no-record"),
    }
}

/// Answers a DHCPINFORM with options alone (RFC 2131 §4.3.5).
pub fn inform(place: &Place<'_>, request: &Request<'_>) -> Ruling {
    match request.form.address() {
        Some(ciaddr) if !place.holds(ciaddr) => Ruling::silence("unknown-network"),
        ciaddr => {
            let ciaddr = ciaddr.unwrap_or(Ipv4Addr::UNSPECIFIED);
            Ruling::answer(ReplyKind::InformAck { ciaddr }, "informed")
        }
    }
}

impl From<LeaseTime> for LeaseTimes {
    fn from(time: LeaseTime) -> Self {
        Self { lease_secs: time.lease_secs, renew_secs: time.renew_secs, rebind_secs: time.rebind_secs }
    }
}

const fn reason_of(denied: Denied) -> Reason {
    match denied {
        Denied::SlotsTaken { .. } => "session-limit",
        Denied::Exhausted { .. } => "pool-exhausted",
        Denied::NoPool { .. } => "no-pool",
        Denied::AddressInUse { .. } => "address-in-use",
        Denied::InFlight => "grant-in-flight",
        Denied::Settling { .. } => "pool-settling",
    }
}

fn ipv4(prefix: Prefix) -> Option<Ipv4Addr> {
    match prefix.address() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

//! The DHCPv4 core: a datagram, the desired state and the ledger in; a verdict, a reply and a decision out.
//!
//! The path of [`crate::pipeline`]: *request* → *place* and *identify* → *entitlement* and *decide* → *reply*. RFC 2131
//! §3.1 (a lease is committed before its DHCPACK leaves).
//!
//! A unicast renewal carries no option 82. It is identified as if its relay had sent it, with the option 82 that the lease
//! was given with, once the device or client identifier shows that the lease is this client's.
//!
//! Invariants: deterministic; every datagram gets a decision with a reason; a reply that does not fit is known before its
//! grant is journaled, because it is encoded before.
//!
//! It does not limit rates: the door before it does, by relay.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use super::decide::{self, Case, Ruling};
use super::entitlement::Entitlement;
use super::identify::{Identified, Line, identify};
use super::place::{Place, listed_relay};
use super::reply;
use super::request::{Form, Reason, Request};
use super::wire::{ClientKey, Message, RelayAgent, ReplyKind};
use crate::decision::{Decision, Outcome, Plane};
use crate::ids::{ServiceId, Uid};
use crate::journal::Durable;
use crate::journal::record::{LeaseFacts, Record};
use crate::ledger::RenewalBasis;
use crate::limits::{DECISION_LINE_BYTES_MAX, DHCP4_MESSAGE_BYTES_MAX};
use crate::model::Prefix;
use crate::pipeline::{Admitted, Datagram, Outgoing, Protocol, Verdict, World};
use crate::snapshot::types::Relay;

/// The DHCPv4 core. It keeps nothing but counters.
#[derive(Debug, Default)]
pub struct Dhcp4Core {
    counters: Dhcp4Counters,
}

/// What the core met, for metrics; reasons are counted by whoever keeps the decisions.
#[derive(Debug, Default)]
pub struct Dhcp4Counters {
    /// Requests in which line and MAC address named two services.
    pub identity_conflicts: AtomicU64,
}

/// A reply that waits for its record: encoded already, so that nothing can keep it from leaving then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    reply: Box<[u8]>,
    to: SocketAddr,
    from: IpAddr,
}

impl Pending {
    /// The reply, now that its record is durable.
    pub(super) fn copy_to(&self, out: &mut [u8]) -> Option<Outgoing> {
        let len = self.reply.len();
        out.get_mut(..len)?.copy_from_slice(&self.reply);
        Some(Outgoing { len, to: self.to, from: self.from, delay_ms: 0 })
    }
}

#[cfg(test)]
impl Pending {
    /// What waits with this reply, for tests of whoever waits.
    pub(crate) fn of(reply: &[u8], to: SocketAddr) -> Self {
        Self { reply: reply.into(), to, from: to.ip() }
    }
}

impl Dhcp4Core {
    /// A core that has met nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counters for metrics.
    pub const fn counters(&self) -> &Dhcp4Counters {
        &self.counters
    }
}

impl Protocol for Dhcp4Core {
    type Pending = Pending;

    fn admit(&self, world: &World<'_>, datagram: &Datagram<'_>, out: &mut [u8]) -> Admitted<Pending> {
        let mut decision = Decision::new(datagram.at.stamp, Plane::Dhcp4, "DHCP");
        decision.source = Some(datagram.source.ip());
        let mut step = Step { core: self, world, datagram, decision };
        let verdict = match Message::parse(datagram.bytes) {
            Ok(message) => step.of_message(&message, out),
            Err(error) => step.discard(error.reason(), Vec::new()),
        };
        Admitted { verdict, decision: step.decision }
    }

    fn finish(&self, pending: &Pending, _durable: Durable, out: &mut [u8]) -> Option<Outgoing> {
        pending.copy_to(out)
    }

    /// Nothing was begun here: what the ledger had reserved is given back by [`crate::ledger::Ledger::abort`].
    fn fail(&self, _pending: &Pending) {}
}

/// One datagram on its way through the core.
struct Step<'s, 'w> {
    core: &'s Dhcp4Core,
    world: &'s World<'w>,
    datagram: &'s Datagram<'s>,
    decision: Decision,
}

impl<'w> Step<'_, 'w> {
    fn conclude(&mut self, outcome: Outcome, reason: Reason) {
        (self.decision.outcome, self.decision.reason) = (outcome, reason);
    }

    fn discard(&mut self, reason: Reason, write: Vec<Record>) -> Verdict<Pending> {
        self.conclude(Outcome::Discarded, reason);
        Verdict::Discard { write }
    }

    fn of_message(&mut self, message: &Message<'_>, out: &mut [u8]) -> Verdict<Pending> {
        self.decision.message = message.message_type().map_or("BOOTP", super::wire::MessageType::name);
        self.decision.mac = super::request::ethernet_address(message);
        let mut scratch = [0; DHCP4_MESSAGE_BYTES_MAX];
        let request = match Request::read(message, &mut scratch) {
            Ok(request) => request,
            Err(reason) => return self.discard(reason, Vec::new()),
        };
        self.decision.prefix = request.form.address().map(Prefix::v4);
        self.note_line(request.relay_agent.as_ref().and_then(Line::of));
        let (place, basis) = match self.place(&request) {
            Ok(placed) => placed,
            Err(reason) => return self.discard(reason, Vec::new()),
        };
        self.decision.tenant = place.network.space.tenant;
        self.note_relay(place.relay);
        match self.rule(&request, &place, basis) {
            Ok(ruling) => self.carry_out(&request, &place, ruling, out),
            Err(reason) => self.discard(reason, Vec::new()),
        }
    }

    fn note_line(&mut self, line: Option<Line<'_>>) {
        if let Some(line) = line {
            self.decision.line = line.text();
            self.decision.line.truncate(DECISION_LINE_BYTES_MAX);
        }
    }

    fn note_relay(&mut self, relay: Option<&Arc<Relay>>) {
        self.decision.nas = relay.map_or(Uid::NIL, |relay| relay.id);
    }

    /// Where the request comes from; with what is known of its lease when only the lease can tell.
    fn place(&mut self, request: &Request<'_>) -> Result<(Place<'w>, Option<RenewalBasis>), Reason> {
        let snapshot = self.world.snapshot;
        let (source, local) = (self.datagram.source.ip(), self.datagram.local);
        let giaddr = request.message.giaddr();
        if !giaddr.is_unspecified() {
            let listed = listed_relay(snapshot, giaddr, source);
            self.note_relay(listed.0);
            return Ok((Place::relayed(snapshot, request, listed, local)?, None));
        }
        match request.form {
            Form::Renewing { ciaddr } | Form::Release { ciaddr, .. } => {
                let (place, basis) = Place::of_lease(self.world, request, ciaddr, local)?;
                Ok((place, Some(basis)))
            }
            Form::Inform { ciaddr } => {
                let address = if ciaddr.is_unspecified() { source } else { ciaddr.into() };
                Ok((Place::of_address(snapshot, address, local)?, None))
            }
            _ => Err("no-relay"),
        }
    }

    fn rule(
        &mut self,
        request: &Request<'_>,
        place: &Place<'w>,
        basis: Option<RenewalBasis>,
    ) -> Result<Ruling, Reason> {
        place.server_id()?;
        let now = self.datagram.at.stamp;
        match (request.form, request.form.address()) {
            (Form::Release { .. } | Form::Decline { .. }, Some(address)) => {
                let space = &place.network.space;
                let basis = basis.or_else(|| self.world.ledger.basis_of(space, Prefix::v4(address)));
                self.note_holder(basis.as_ref());
                let source = (now, self.datagram.source.ip());
                Ok(decide::leave(self.world, source, request, place, basis.as_ref()))
            }
            (Form::Inform { .. }, _) => Ok(decide::inform(place, request)),
            _ => self.rule_on_lease(request, place, basis),
        }
    }

    fn note_holder(&mut self, basis: Option<&RenewalBasis>) {
        if let Some(basis) = basis.filter(|basis| !basis.holder.is_client()) {
            self.decision.service = Uid(basis.holder.0);
        }
    }

    fn rule_on_lease(
        &mut self,
        request: &Request<'_>,
        place: &Place<'w>,
        basis: Option<RenewalBasis>,
    ) -> Result<Ruling, Reason> {
        let facts = facts(request, place, basis);
        let agent = match &request.relay_agent {
            Some(agent) if place.relayed => Some(*agent),
            _ => RelayAgent::parse(&facts.relay_agent).ok(),
        };
        let named = agent.as_ref().and_then(Line::of);
        let line = named.filter(|_| place.trusts_relay_agent());
        if self.decision.line.is_empty() {
            self.note_line(named);
        }
        let identified = match identify(self.world.snapshot, place, line, request.mac) {
            Ok(identified) => identified,
            Err(refused) => {
                self.decision.service = refused.service;
                return Err(refused.reason);
            }
        };
        self.note_identity(&identified);
        let entitlement = Entitlement::of(self.world, place, request, line, &identified)?;
        let text = named.as_ref().map(Line::text).unwrap_or_default();
        let case = Case {
            now: self.datagram.at.stamp,
            request,
            place,
            entitlement: &entitlement,
            facts,
            line: &text,
        };
        Ok(decide::decide(self.world, &case))
    }

    fn note_identity(&mut self, identified: &Identified<'_>) {
        if let Some(known) = identified.known {
            self.decision.service = known.service.id;
        }
        if let Some(other) = identified.conflict {
            self.core.counters.identity_conflicts.fetch_add(1, Ordering::Relaxed);
            let detail = format!("identity-conflict: the MAC address names {}", ServiceId(other));
            self.decision.detail = SmallVec::from_slice(detail.as_bytes());
        }
    }

    fn carry_out(
        &mut self,
        request: &Request<'_>,
        place: &Place<'_>,
        ruling: Ruling,
        out: &mut [u8],
    ) -> Verdict<Pending> {
        let (kind, reason, wait_for, write) = match ruling {
            Ruling::Answer { kind, reason, wait_for, write } => (kind, reason, wait_for, write),
            Ruling::Silence { reason, write } => return self.discard(reason, write),
        };
        let reply = match self.encode(request, place, kind, out) {
            Ok(reply) => reply,
            Err(reason) => {
                self.world.ledger.abort(&wait_for);
                return self.discard(reason, Vec::new());
            }
        };
        if !kind.yiaddr().is_unspecified() {
            self.decision.prefix = Some(Prefix::v4(kind.yiaddr()));
        }
        let outcome = if kind == ReplyKind::Nak { Outcome::Refused } else { Outcome::Granted };
        self.conclude(outcome, reason);
        if wait_for.is_empty() {
            return Verdict::Send { reply, write };
        }
        let bytes = out.get(..reply.len).unwrap_or_default().into();
        Verdict::Wait { wait_for, write, pending: Pending { reply: bytes, to: reply.to, from: reply.from } }
    }

    fn encode(
        &self,
        request: &Request<'_>,
        place: &Place<'_>,
        kind: ReplyKind,
        out: &mut [u8],
    ) -> Result<Outgoing, Reason> {
        let SocketAddr::V4(source) = self.datagram.source else {
            return Err("not-a-request");
        };
        let to = reply::address(request, kind, source).ok_or("no-relay")?;
        let len = reply::write(request, place, kind, out)?;
        Ok(Outgoing { len, to, from: self.datagram.local, delay_ms: 0 })
    }
}

/// What the lease is to be remembered with: what came with the request, or what it was remembered with before.
fn facts(request: &Request<'_>, place: &Place<'_>, basis: Option<RenewalBasis>) -> LeaseFacts {
    let mut facts = match basis {
        Some(RenewalBasis { lease: Some(lease), .. }) => lease,
        _ => LeaseFacts::default(),
    };
    if place.relayed {
        facts.giaddr = place.relay_address.into();
        let bytes = request.message.relay_agent_bytes();
        facts.relay_agent = bytes.map(|bytes| bytes.parts().flatten().copied().collect()).unwrap_or_default();
    }
    facts.client_id.clear();
    if let ClientKey::ClientId(id) = &request.client {
        id.parts().for_each(|part| facts.client_id.extend_from_slice(part));
    }
    facts
}

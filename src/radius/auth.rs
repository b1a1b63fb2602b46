//! Access-Request in, Access-Accept or Access-Reject out: the authentication core.
//!
//! gate ─► identify ─► credential ─► policy ─► ledger ─► reply. Deterministic: time, randomness and the state of the journal
//! come in with the datagram. The outcome table: whatever is wrong with the *packet* is silence; whatever is wrong with the
//! *subscriber* is a Reject; whatever is wrong with *us* (journal, pool still in flight) is silence, so that the NAS tries its
//! next server (FIELD R3).

use std::sync::Arc;

use smallvec::SmallVec;

use super::credential::{self, pap_matches};
use super::duplicate::DuplicateCache;
use super::entitlement::{Entitlement, Policy};
use super::gate::Passed;
use super::identify::{Identified, by_login, by_place, network_of};
use super::lookahead::look_ahead;
use super::port::{HeldReply, Port};
use super::reject::RejectHistory;
use super::reply::Accept;
use super::request::Facts;
use super::signatures::Signatures;
use super::wire::attribute::kind;
use super::wire::class::ClassKey;
use super::wire::encode::PacketWriter;
use super::wire::packet::Code;
use crate::decision::{Decision, Outcome, Plane};
use crate::ids::{NasId, NetworkId, ServiceId, SessionId, Uid};
use crate::journal::Durable;
use crate::journal::record::Holder;
use crate::ledger::{Admission, AdmitRequest, Denied, Ledger};
use crate::limits::{CONFIRM_WINDOW_SECS, SESSION_TIMEOUT_DEFAULT_SECS};
use crate::model::Mac;
use crate::model::nas::Accounting;
use crate::model::pool::ExhaustedAction;
use crate::model::service::ServiceState;
use crate::pipeline::{Admitted, Batch, Datagram, Outgoing, Protocol, Verdict, World};
use crate::snapshot::Snapshot;
use crate::time::Stamp;

/// The authentication core.
#[derive(Debug)]
pub struct AuthCore {
    class: Arc<ClassKey>,
    pub(super) port: Port,
    rejects: RejectHistory,
}

impl AuthCore {
    /// A core that issues Class under `class` and shares `duplicates` with the other workers.
    pub fn new(class: Arc<ClassKey>, duplicates: Arc<DuplicateCache>) -> Self {
        let port = Port { expected: Code::ACCESS_REQUEST, duplicates, signatures: Arc::default() };
        Self { class, port, rejects: RejectHistory::default() }
    }

    /// The same core, which adds to what is known of the NASes' signatures.
    #[must_use]
    pub fn learning(mut self, signatures: Arc<Signatures>) -> Self {
        self.port.signatures = signatures;
        self
    }

    fn decide(
        &self,
        world: &World<'_>,
        datagram: &Datagram<'_>,
        passed: &Passed<'_>,
        decision: &mut Decision,
        out: &mut [u8],
    ) -> Verdict<HeldReply> {
        match authenticate(world, passed, decision) {
            Ok(policy) => self.allocate(world, datagram, passed, &policy, decision, out),
            Err(reason) => self.reject(datagram, passed, reason, decision, out),
        }
    }

    fn allocate(
        &self,
        world: &World<'_>,
        datagram: &Datagram<'_>,
        passed: &Passed<'_>,
        policy: &Policy<'_>,
        decision: &mut Decision,
        out: &mut [u8],
    ) -> Verdict<HeldReply> {
        let now = datagram.at.stamp;
        let session = SessionId::mint_for(now, passed.request, world.entropy);
        let proven = passed.nas.accounting == Accounting::Proven;
        let limited = policy.plan.spec.session_timeout.or((!proven).then_some(SESSION_TIMEOUT_DEFAULT_SECS));
        let ends_at = limited.map_or(Stamp::MAX, |secs| now.plus_secs(u64::from(secs)));
        let entitlement = Entitlement::of(world.snapshot, &passed.nas, policy);
        let wants = entitlement.wants();
        let limit = if policy.service.max_sessions > 0 {
            policy.service.max_sessions
        } else {
            policy.plan.spec.max_sessions.unwrap_or(1)
        };
        let request = AdmitRequest {
            now,
            holder: Holder(policy.service.id.0),
            space: &policy.space,
            owner: passed.facts.owner(),
            line: &decision.line,
            max_slots: limit,
            wants: &wants,
            nas: NasId(passed.nas.id),
            network: NetworkId::default(),
            session,
            pending_until: if proven { now.plus_secs(CONFIRM_WINDOW_SECS) } else { ends_at },
            ends_at,
            lease: None,
            requested: None,
            digest: world.snapshot.policy_digest(policy.service, policy.plan),
            fixed_holder: &|space, prefix| world.snapshot.fixed_holder(space, prefix),
        };
        let admission = match world.ledger.admit(&request) {
            Ok(admission) => admission,
            Err(denied) => return self.denied(world, datagram, passed, denied, decision, out),
        };
        if !admission.wait_for.is_empty() && !world.journal_available {
            world.ledger.abort(&admission.wait_for);
            world.ledger.abort(&admission.write);
            return self.port.silence(passed, "journal-unavailable", decision);
        }
        decision.prefix = admission.addresses.first().map(|granted| granted.prefix);
        self.accept(world, datagram, passed, policy, admission, limited, decision, out)
    }

    #[expect(clippy::too_many_arguments, reason = "the last step gathers what the steps before it found")]
    fn accept(
        &self,
        world: &World<'_>,
        datagram: &Datagram<'_>,
        passed: &Passed<'_>,
        policy: &Policy<'_>,
        admission: Admission,
        session_timeout: Option<u32>,
        decision: &mut Decision,
        out: &mut [u8],
    ) -> Verdict<HeldReply> {
        let class = self.class.issue(admission.session.0);
        let accept = Accept {
            snapshot: world.snapshot,
            nas: &passed.nas,
            service: policy.service,
            plan: policy.plan,
            space: &policy.space,
            addresses: &admission.addresses,
            class: class.bytes(),
            session_timeout,
            ppp: passed.facts.is_ppp(),
            jitter: admission.session.0.0 as u64,
        };
        let written = passed.key().and_then(|key| {
            let to = passed.packet.reply_to();
            let mut writer = PacketWriter::reply(out, Code::ACCESS_ACCEPT, &to, passed.signing).ok()?;
            accept.write(&mut writer).ok()?;
            writer.copy(passed.packet.all(kind::PROXY_STATE)).ok()?;
            writer.finish(key).ok().map(<[u8]>::len)
        });
        let Some(len) = written else {
            world.ledger.abort(&admission.wait_for);
            world.ledger.abort(&admission.write);
            return self.port.silence(passed, "reply-too-large", decision);
        };
        self.rejects.forgive(passed.nas.id, subject(&passed.facts));
        (decision.outcome, decision.reason) = (Outcome::Granted, "accepted");
        let reply = out.get(..len).unwrap_or_default();
        if admission.wait_for.is_empty() {
            let reply = self.port.send(datagram, passed, reply, 0);
            return Verdict::Send { reply, write: admission.write };
        }
        let pending = Port::hold(datagram, passed, reply);
        Verdict::Wait { wait_for: admission.wait_for, write: admission.write, pending }
    }

    fn denied(
        &self,
        world: &World<'_>,
        datagram: &Datagram<'_>,
        passed: &Passed<'_>,
        denied: Denied,
        decision: &mut Decision,
        out: &mut [u8],
    ) -> Verdict<HeldReply> {
        match denied {
            Denied::SlotsTaken { .. } => self.reject(datagram, passed, "session-limit", decision, out),
            Denied::NoPool { .. } => self.reject(datagram, passed, "no-pool", decision, out),
            Denied::AddressInUse { prefix } => {
                decision.prefix = Some(prefix);
                self.reject(datagram, passed, "address-in-use", decision, out)
            }
            Denied::InFlight => self.port.silence(passed, "grant-in-flight", decision),
            Denied::Settling { .. } => self.port.silence(passed, "pool-settling", decision),
            Denied::Exhausted { pool, .. } => {
                let action =
                    world.snapshot.pool(pool.0).map(|pool| pool.exhausted_action).unwrap_or_default();
                match action {
                    ExhaustedAction::Silence => self.port.silence(passed, "pool-exhausted", decision),
                    ExhaustedAction::Reject => self.reject(datagram, passed, "pool-exhausted", decision, out),
                }
            }
        }
    }

    /// Rejects say nothing of why: the reason is for operators.
    fn reject(
        &self,
        datagram: &Datagram<'_>,
        passed: &Passed<'_>,
        reason: &'static str,
        decision: &mut Decision,
        out: &mut [u8],
    ) -> Verdict<HeldReply> {
        let Some(len) = passed.write_bare(Code::ACCESS_REJECT, out) else {
            return self.port.silence(passed, "reply-too-large", decision);
        };
        (decision.outcome, decision.reason) = (Outcome::Refused, reason);
        let max = passed.nas.reject_delay_max;
        let delay_ms = self.rejects.delay(passed.nas.id, subject(&passed.facts), datagram.at.stamp, max);
        let reply = self.port.send(datagram, passed, out.get(..len).unwrap_or_default(), delay_ms);
        Verdict::Send { reply, write: Vec::new() }
    }
}

/// Identity, credential and state of the subscriber; the error is the reason of the Reject.
fn authenticate<'s>(
    world: &World<'s>,
    passed: &Passed<'_>,
    decision: &mut Decision,
) -> Result<Policy<'s>, &'static str> {
    let (facts, nas) = (&passed.facts, &passed.nas);
    let identified = identify(world, passed)?;
    let access = &identified.access;
    decision.service = access.service;
    decision.access = access.id;
    if let Some(other) = identified.conflict {
        let detail = format!("identity-conflict: the MAC address names {}", ServiceId(other));
        decision.detail = SmallVec::from_slice(detail.as_bytes());
    }
    if identified.personal {
        credential::check(passed, access.password.as_deref())?;
    }
    if !access.enabled {
        return Err("access-disabled");
    }
    if access.bind_mac != Mac::default() && facts.mac() != Some(access.bind_mac) {
        return Err("mac-bind-mismatch");
    }
    if access.bind_vlan != 0 && facts.vlan() != Some(access.bind_vlan) {
        return Err("vlan-bind-mismatch");
    }
    if access.network != Uid::NIL
        && network_of(world.snapshot, nas, facts).is_some_and(|network| network.id != access.network)
    {
        return Err("network-mismatch");
    }
    let service = world.snapshot.service(access.service).ok_or("service-missing")?;
    match service.state {
        ServiceState::Active => {}
        ServiceState::Paused => return Err("service-paused"),
        ServiceState::Terminated => return Err("service-terminated"),
    }
    let plan = world.snapshot.plan(service.plan).ok_or("plan-missing")?;
    debug_assert_eq!(nas.tenant, service.tenant, "identities are looked up within the NAS's tenant");
    let space = Arc::clone(world.snapshot.space_of(service, plan));
    Ok(Policy { service, plan, space, network: access.network })
}

/// FIELD R18: passwordless only where the NAS has it, and never for PPP.
fn identify(world: &World<'_>, passed: &Passed<'_>) -> Result<Identified, &'static str> {
    let (facts, nas) = (&passed.facts, &passed.nas);
    let passwordless = !facts.is_ppp() && !facts.eap;
    if passwordless && let Some(fixed) = &nas.ipoe_password {
        // The fixed password only opens the door to line and MAC identities; a login with its own password stays one.
        if pap_matches(passed, fixed).unwrap_or(false) {
            return by_place(world.snapshot, nas, facts).ok_or("unknown-line");
        }
    }
    if let Some(identified) = by_login(world.snapshot, nas, facts) {
        return Ok(identified);
    }
    // What operators must hear when a place is known that nobody may come from without a password.
    let by_place = if passwordless { by_place(world.snapshot, nas, facts) } else { None };
    match (by_place, &nas.ipoe_password) {
        (Some(_), None) => Err("passwordless-not-enabled"),
        (Some(_), Some(_)) => Err("password-mismatch"),
        (None, _) if facts.login.is_none() => Err("no-login"),
        (None, _) => Err("unknown-login"),
    }
}

/// Whose rejects are counted together.
fn subject<'a>(facts: &Facts<'a>) -> &'a [u8] {
    facts.login.or(facts.calling_station_id).unwrap_or_default()
}

impl Protocol for AuthCore {
    type Pending = HeldReply;

    fn admit(&self, world: &World<'_>, datagram: &Datagram<'_>, out: &mut [u8]) -> Admitted<HeldReply> {
        let mut decision = Decision::new(datagram.at.stamp, Plane::Auth, "Access-Request");
        let verdict = self.port.admit(world, datagram, &mut decision, out, |passed, decision, out| {
            self.decide(world, datagram, passed, decision, out)
        });
        Admitted { verdict, decision }
    }

    fn look_ahead(&self, snapshot: &Snapshot, ledger: &Ledger, batch: Batch<'_, '_>) {
        look_ahead(&self.port.duplicates, snapshot, ledger, batch);
    }

    fn finish(&self, pending: &HeldReply, _durable: Durable, out: &mut [u8]) -> Option<Outgoing> {
        self.port.finish(pending, out)
    }

    fn fail(&self, pending: &HeldReply) {
        self.port.fail(pending);
    }
}

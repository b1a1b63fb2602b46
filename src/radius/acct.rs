//! Accounting-Request in, Accounting-Response out when the record is durable: the accounting core.
//!
//! Every failure means no answer (RFC 2866 §4.1): the NAS keeps the record and sends it again. What repeats a durable event
//! is answered without a new record, whatever its Acct-Delay-Time.

use std::sync::Arc;

use super::duplicate::DuplicateCache;
use super::gate::Passed;
use super::identify::anyhow;
use super::lookahead::look_ahead;
use super::port::{HeldReply, Port};
use super::request::status;
use super::wire::class::ClassKey;
use super::wire::packet::Code;
use crate::decision::{Decision, Outcome, Plane};
use crate::ids::{NasId, SessionId, Uid};
use crate::journal::Durable;
use crate::journal::record::{Holder, Record, SessionEvent};
use crate::ledger::{Accounted, AccountingFacts, Ledger};
use crate::pipeline::{Admitted, Batch, Datagram, Outgoing, Protocol, Verdict, World};
use crate::snapshot::Snapshot;
use crate::snapshot::types::{Nas, Space};
use crate::time::Stamp;

/// Event-Timestamp is believed within this distance of (arrival − Acct-Delay-Time), in milliseconds (FIELD R14).
const EVENT_SKEW_MS: u64 = 300_000;

/// The accounting core.
#[derive(Debug)]
pub struct AcctCore {
    class: Arc<ClassKey>,
    pub(super) port: Port,
    /// Class values that are not ours or forged, since start.
    pub foreign_classes: std::sync::atomic::AtomicU64,
}

impl AcctCore {
    /// A core that knows Classes issued under `class`.
    pub fn new(class: Arc<ClassKey>, duplicates: Arc<DuplicateCache>) -> Self {
        let port = Port { expected: Code::ACCOUNTING_REQUEST, duplicates, signatures: Arc::default() };
        Self { class, port, foreign_classes: std::sync::atomic::AtomicU64::new(0) }
    }

    fn decide(
        &self,
        world: &World<'_>,
        datagram: &Datagram<'_>,
        passed: &Passed<'_>,
        decision: &mut Decision,
        out: &mut [u8],
    ) -> Verdict<HeldReply> {
        let now = datagram.at.stamp;
        let Some(len) = passed.write_bare(Code::ACCOUNTING_RESPONSE, out) else {
            return self.port.silence(passed, "reply-too-large", decision);
        };
        let nas = NasId(passed.nas.id);
        let event = match passed.facts.status {
            Some(status::START) => SessionEvent::Start,
            Some(status::INTERIM_UPDATE) => SessionEvent::Interim,
            Some(status::STOP) => SessionEvent::Stop,
            Some(on @ (status::ACCOUNTING_ON | status::ACCOUNTING_OFF)) => {
                decision.message =
                    if on == status::ACCOUNTING_ON { "Accounting-On" } else { "Accounting-Off" };
                let record = Ledger::nas_event(nas, passed.nas.tenant, on == status::ACCOUNTING_ON, now);
                return self.wait(world, datagram, passed, vec![record], len, decision, out);
            }
            Some(_) => return self.send(datagram, passed, "account-ignored", len, decision, out),
            None => return self.port.silence(passed, "account-malformed", decision),
        };
        let Some(acct_session_id) = passed.facts.acct_session_id.filter(|id| !id.is_empty()) else {
            return self.port.silence(passed, "account-malformed", decision);
        };
        decision.message = match event {
            SessionEvent::Start => "Accounting-Start",
            SessionEvent::Stop => "Accounting-Stop",
            SessionEvent::Interim | SessionEvent::Closed => "Accounting-Interim",
        };
        match self.account(world, passed, event, acct_session_id, now, decision) {
            Accounted::Duplicate => self.send(datagram, passed, "account-duplicate", len, decision, out),
            Accounted::InFlight => self.port.silence(passed, "duplicate-in-flight", decision),
            Accounted::Record { records, conflict, .. } => {
                // Where the session was found by the NAS's own id, only its record says whose it is.
                let holder = records.iter().find_map(Record::holder).filter(|holder| !holder.is_client());
                decision.service = holder.map_or(Uid::NIL, |holder| Uid(holder.0));
                decision.prefix =
                    conflict.or_else(|| passed.facts.addresses.first().map(|(_, prefix)| *prefix));
                let verdict = self.wait(world, datagram, passed, records, len, decision, out);
                if conflict.is_some() && decision.outcome == Outcome::Granted {
                    decision.reason = "address-conflict";
                }
                verdict
            }
        }
    }

    fn account(
        &self,
        world: &World<'_>,
        passed: &Passed<'_>,
        event: SessionEvent,
        acct_session_id: &[u8],
        now: Stamp,
        decision: &mut Decision,
    ) -> Accounted {
        let facts = &passed.facts;
        let nas = NasId(passed.nas.id);
        let (class, known) = self.class_of(world, passed);
        let (holder, space) = Self::whose(world, passed, known, acct_session_id);
        if !holder.is_client() {
            decision.service = Uid(holder.0);
        }
        let class = class.or_else(|| Self::moved(world, passed, event, acct_session_id, holder));
        world.ledger.account(&AccountingFacts {
            now,
            event_at: event_time(facts.event_timestamp, facts.delay_time, now),
            event,
            class,
            fresh: SessionId::mint(now, world.entropy),
            nas,
            acct_session_id,
            login: facts.login.unwrap_or_default(),
            owner: facts.owner(),
            line: &decision.line,
            session_time: facts.session_time,
            octets_in: facts.counters.octets_in,
            octets_out: facts.counters.octets_out,
            packets_in: facts.counters.packets_in,
            packets_out: facts.counters.packets_out,
            cause: facts.cause,
            addresses: &facts.addresses,
            holder,
            space,
        })
    }

    /// The session in a Class that one of our nodes issued, and its holder if it is known here. A foreign or forged one
    /// is counted and counts for nothing; so does one that another operator's subscriber was given.
    fn class_of(&self, world: &World<'_>, passed: &Passed<'_>) -> (Option<SessionId>, Option<Holder>) {
        for value in &passed.facts.class {
            if let Ok(session) = self.class.verify(value).map(SessionId) {
                let holder = world.ledger.holder_of_session(session);
                let service = holder.and_then(|holder| world.snapshot.service(Uid(holder.0)));
                if service.is_none_or(|service| service.tenant == passed.nas.tenant) {
                    return (Some(session), holder);
                }
            }
            self.foreign_classes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        (None, None)
    }

    /// The session that came without Class from another member of the NAS group: one member knows it under this
    /// Acct-Session-Id, and another reports it now (FIELD R8). Only of the same subscriber, for members number their sessions
    /// apart, and never by a Start, which begins another one.
    fn moved(
        world: &World<'_>,
        passed: &Passed<'_>,
        event: SessionEvent,
        acct_session_id: &[u8],
        holder: Holder,
    ) -> Option<SessionId> {
        let nas = &passed.nas;
        let group = nas.group.as_deref()?;
        let known = |nas: Uid| world.ledger.session_of_nas(NasId(nas), acct_session_id);
        if event == SessionEvent::Start || holder.is_client() || known(nas.id).is_some() {
            return None;
        }
        let is_peer = |peer: &&Arc<Nas>| {
            peer.id != nas.id && peer.tenant == nas.tenant && peer.group.as_deref() == Some(group)
        };
        let of_holder = |session: &SessionId| world.ledger.holder_of_session(*session) == Some(holder);
        let peers = world.snapshot.all_nas().filter(is_peer);
        peers.filter_map(|peer| known(peer.id)).find(of_holder)
    }

    /// Whose session it is: known by Class, else by what the packet says of the subscriber, else nobody's.
    fn whose(
        world: &World<'_>,
        passed: &Passed<'_>,
        known: Option<Holder>,
        acct_session_id: &[u8],
    ) -> (Holder, Arc<Space>) {
        let service = match known {
            Some(holder) => world.snapshot.service(Uid(holder.0)),
            None => anyhow(world.snapshot, &passed.nas, &passed.facts)
                .and_then(|identified| world.snapshot.service(identified.access.service)),
        };
        let space = service
            .and_then(|service| {
                Some(Arc::clone(world.snapshot.space_of(service, world.snapshot.plan(service.plan)?)))
            })
            .unwrap_or_else(|| world.ledger.space(passed.nas.tenant, b""));
        let nobody = || {
            let spread = |seed: u64| {
                acct_session_id
                    .iter()
                    .fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
            };
            let (high, low) =
                (spread(passed.nas.id.0 as u64), spread((passed.nas.id.0 >> 64) as u64 ^ 0x9e37));
            Holder::client(u128::from(high) << 64 | u128::from(low))
        };
        let holder = known.or_else(|| service.map(|service| Holder(service.id.0))).unwrap_or_else(nobody);
        (holder, space)
    }

    #[expect(clippy::too_many_arguments, reason = "the last step gathers what the steps before it found")]
    fn wait(
        &self,
        world: &World<'_>,
        datagram: &Datagram<'_>,
        passed: &Passed<'_>,
        records: Vec<Record>,
        len: usize,
        decision: &mut Decision,
        out: &[u8],
    ) -> Verdict<HeldReply> {
        if !world.journal_available {
            world.ledger.abort(&records);
            return self.port.silence(passed, "journal-unavailable", decision);
        }
        (decision.outcome, decision.reason) = (Outcome::Granted, "accounted");
        let pending = Port::hold(datagram, passed, out.get(..len).unwrap_or_default());
        Verdict::Wait { wait_for: records, write: Vec::new(), pending }
    }

    fn send(
        &self,
        datagram: &Datagram<'_>,
        passed: &Passed<'_>,
        reason: &'static str,
        len: usize,
        decision: &mut Decision,
        out: &[u8],
    ) -> Verdict<HeldReply> {
        (decision.outcome, decision.reason) = (Outcome::Granted, reason);
        let reply = self.port.send(datagram, passed, out.get(..len).unwrap_or_default(), 0);
        Verdict::Send { reply, write: Vec::new() }
    }
}

/// FIELD R14: Event-Timestamp only near (arrival − Acct-Delay-Time), else the latter.
fn event_time(event_timestamp: Option<u32>, delay_secs: u32, now: Stamp) -> Stamp {
    let sent = Stamp(now.0.saturating_sub(u64::from(delay_secs) * 1000));
    match event_timestamp.map(|secs| Stamp::from_secs(u64::from(secs))) {
        Some(event) if event.0.abs_diff(sent.0) <= EVENT_SKEW_MS => event,
        _ => sent,
    }
}

impl Protocol for AcctCore {
    type Pending = HeldReply;

    fn admit(&self, world: &World<'_>, datagram: &Datagram<'_>, out: &mut [u8]) -> Admitted<HeldReply> {
        let mut decision = Decision::new(datagram.at.stamp, Plane::Acct, "Accounting-Request");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_time_is_the_nas_clock_only_while_it_is_plausible() {
        let now = Stamp::from_secs(1_000_000);
        assert_eq!(event_time(None, 30, now), Stamp::from_secs(999_970));
        assert_eq!(event_time(Some(999_960), 30, now), Stamp::from_secs(999_960));
        assert_eq!(event_time(Some(990_000), 30, now), Stamp::from_secs(999_970));
        assert_eq!(event_time(Some(u32::MAX), 0, now), now);
    }
}

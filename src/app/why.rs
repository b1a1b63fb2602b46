//! Why can somebody not get online? Answered from a login, MAC address, IP address, line or id (FIELD R24).
//!
//! Checks run in causal order: who is it, may it, is it recognised, is there an address, what was the last answer, is the
//! session current. The first that fails is the cause. Everything is read from memory but names of objects and the list of a
//! service's accesses.

use std::collections::BTreeSet;

use serde::Serialize;

use super::access_status::AccessStatus;
use super::history::{DecisionFilter, DecisionView};
use super::live::LiveFilter;
use super::live_views::{LeaseView, SessionView};
use super::objects::Shown;
use super::recognise::{look_up, scan};
use super::status::{ServiceStatus, StatusWait};
use super::{Action, Actor, App, Refusal, Resource};
use crate::decision::Outcome;
use crate::ids::{ServiceId, Uid};
use crate::limits::WHY_ROWS_MAX;
use crate::model::{Kind, Mac, Prefix, Ref};
use crate::snapshot::Snapshot;
use crate::snapshot::types::{Access, AccessKey};
use crate::storage::Filter;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Check {
    /// Stable id, such as `service.state`.
    pub id: &'static str,
    /// `pass`, `fail`, `warn` or `unknown`.
    pub result: &'static str,
    /// What was found.
    pub evidence: String,
    /// What to do about it, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What is known about a subject, and what stands in its way.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Why {
    /// What was asked for.
    pub subject: String,
    /// `online`, `ready` (nothing stands in the way), `blocked` or `unknown` (nobody has this identity).
    pub verdict: &'static str,
    /// The first check that failed.
    pub cause: Option<Check>,
    /// Everything that was looked at, in causal order.
    pub checks: Vec<Check>,
    /// The service.
    pub service: Option<String>,
    /// What the CRM calls it.
    pub external_id: Option<String>,
    /// Its plan's name.
    pub plan: Option<String>,
    /// How it is recognised; never with a secret.
    pub accesses: Vec<String>,
    /// When each of them was last accepted and rejected.
    pub last: Vec<AccessStatus>,
    /// Its live sessions.
    pub sessions: Vec<SessionView>,
    /// Its leases and other grants; for an address, who holds it.
    pub leases: Vec<LeaseView>,
    /// The newest decisions about it, newest first.
    pub decisions: Vec<DecisionView>,
    /// What to do next.
    pub next: Vec<String>,
}

impl Why {
    /// Whether something stands in the way.
    pub fn is_negative(&self) -> bool {
        matches!(self.verdict, "blocked" | "unknown")
    }
}

impl App {
    /// Explains what is known of `subject`.
    pub async fn why(&self, actor: &Actor, subject: &str) -> Result<Why, Refusal> {
        actor.require(Action::Read, Resource::Decision)?;
        let subject = subject.trim();
        if subject.is_empty() || subject.len() > 253 {
            return Err(Refusal::filter("subject", "a login, MAC address, IP address, line or id is wanted"));
        }
        let snapshot = self.parts().publisher.load_full();
        let held = self.held_by_anyone(actor, &snapshot, subject);
        let services = self.services_of(actor, &snapshot, subject, &held).await?;
        let filter = DecisionFilter { subject: Some(subject.to_owned()), ..DecisionFilter::default() };
        let decisions = self.decisions(actor, &filter, WHY_ROWS_MAX)?;
        let mut why = Why {
            subject: subject.to_owned(),
            verdict: "unknown",
            cause: None,
            checks: Vec::new(),
            service: None,
            external_id: None,
            plan: None,
            accesses: Vec::new(),
            last: Vec::new(),
            sessions: Vec::new(),
            leases: held,
            decisions,
            next: Vec::new(),
        };
        why.checks.push(identity_check(subject, &services, &why.decisions));
        if let [service] = services.as_slice() {
            self.look_at_service(actor, &snapshot, *service, &mut why).await?;
        }
        conclude(&mut why);
        Ok(why)
    }

    /// Who has the subject as an address, in any VRF.
    fn held_by_anyone(&self, actor: &Actor, snapshot: &Snapshot, subject: &str) -> Vec<LeaseView> {
        let Ok(prefix) = subject.parse::<Prefix>() else { return Vec::new() };
        let own = snapshot.networks().filter(|network| network.space.tenant == actor.tenant);
        let mut vrfs: BTreeSet<String> = own.map(|network| network.space.vrf.to_string()).collect();
        vrfs.insert(String::new());
        vrfs.iter().filter_map(|vrf| self.holding(actor, vrf, prefix)).take(WHY_ROWS_MAX).collect()
    }

    /// The services that the subject may mean: by holder of the address, by what recognises them, by id or external id.
    async fn services_of(
        &self,
        actor: &Actor,
        snapshot: &Snapshot,
        subject: &str,
        held: &[LeaseView],
    ) -> Result<Vec<Uid>, Refusal> {
        let mut found: BTreeSet<Uid> = held
            .iter()
            .filter_map(|lease| lease.service.as_deref().and_then(Kind::parse_id))
            .map(|(_, uid)| uid)
            .collect();
        let recognised = look_up(snapshot, actor.tenant, subject, WHY_ROWS_MAX);
        found.extend(recognised.iter().map(|access| access.service));
        if found.is_empty()
            && let Some(mac) = Mac::parse(subject.as_bytes())
        {
            let filter = LiveFilter { mac: Some(mac), ..LiveFilter::default() };
            let page = self.live_sessions_unchecked(actor, &filter)?;
            let ids = page.iter().filter_map(|session| session.service.as_deref().and_then(Kind::parse_id));
            found.extend(ids.map(|(_, uid)| uid));
        }
        if found.is_empty() {
            found.extend(self.services_by_name(actor, subject).await?);
        }
        if found.is_empty() {
            let recognised = scan(snapshot, actor.tenant, subject, WHY_ROWS_MAX);
            found.extend(recognised.iter().map(|access| access.service));
        }
        Ok(found.into_iter().collect())
    }

    fn live_sessions_unchecked(
        &self,
        actor: &Actor,
        filter: &LiveFilter,
    ) -> Result<Vec<SessionView>, Refusal> {
        let reader = reader(actor);
        Ok(self.live_sessions(&reader, filter, None, WHY_ROWS_MAX)?.items)
    }

    async fn services_by_name(&self, actor: &Actor, subject: &str) -> Result<Vec<Uid>, Refusal> {
        let Ok(reference) = subject.parse::<Ref>() else { return Ok(Vec::new()) };
        let reader = reader(actor);
        for kind in [Kind::Service, Kind::Subscriber, Kind::Access] {
            let shown = match self.object(&reader, kind, &reference).await {
                Ok(shown) => shown,
                Err(Refusal::NotFound { .. } | Refusal::Ambiguous { .. }) => continue,
                Err(other) => return Err(other),
            };
            return match kind {
                Kind::Service => Ok(vec![shown.envelope.id]),
                Kind::Access => Ok(service_of_access(&shown).into_iter().collect()),
                _ => {
                    let filter = Filter { refers_to: Some(shown.envelope.id), ..Filter::default() };
                    let page =
                        self.storage().list(actor.tenant, Kind::Service, filter, None, WHY_ROWS_MAX).await?;
                    Ok(page.items.iter().map(|stored| stored.envelope.id).collect())
                }
            };
        }
        Ok(Vec::new())
    }

    async fn look_at_service(
        &self,
        actor: &Actor,
        snapshot: &Snapshot,
        service: Uid,
        why: &mut Why,
    ) -> Result<(), Refusal> {
        let reader = reader(actor);
        let reference = Ref::Id(Kind::Service, service);
        let status = match self.service_status(&reader, &reference, StatusWait::default()).await {
            Ok(status) => status,
            Err(Refusal::NotFound { .. }) => return Ok(()),
            Err(other) => return Err(other),
        };
        let shown = self.object(&reader, Kind::Service, &reference).await?;
        why.service = Some(status.service.clone());
        why.external_id = shown.envelope.external_id;
        let compiled = snapshot.service(service);
        let plan = compiled.and_then(|service| snapshot.plan(service.plan));
        why.plan = plan.map(|plan| plan.name.to_string());
        let of_service = Filter { refers_to: Some(service), ..Filter::default() };
        let stored = self.storage().list(actor.tenant, Kind::Access, of_service, None, WHY_ROWS_MAX).await?;
        for access in stored.items.iter().filter_map(|stored| snapshot.access(stored.envelope.id)) {
            why.accesses.push(shown_key(access));
            why.last.push(self.status_of_access(snapshot, access.id));
        }
        let filter = LiveFilter { service: Some(ServiceId(service)), ..LiveFilter::default() };
        why.sessions = self.live_sessions(&reader, &filter, None, WHY_ROWS_MAX)?.items;
        let leases = self.live_leases(&reader, &filter, None, WHY_ROWS_MAX)?.items;
        let known: BTreeSet<String> = why.leases.iter().map(|lease| lease.prefix.clone()).collect();
        why.leases.extend(leases.into_iter().filter(|lease| !known.contains(&lease.prefix)));
        self.add_decisions_of(actor, service, why);
        why.checks.extend(checks(&status, why));
        let seen = why.sessions.iter().map(|session| session.nas.as_str());
        let seen = seen.chain(why.decisions.iter().filter_map(|decision| decision.nas.as_deref()));
        let nases: BTreeSet<Uid> = seen.filter_map(Kind::parse_id).map(|(_, uid)| uid).collect();
        why.checks.extend(self.signing_checks(&nases));
        Ok(())
    }

    /// Decisions of the service that came under another identity, such as its MAC address.
    fn add_decisions_of(&self, actor: &Actor, service: Uid, why: &mut Why) {
        let found = self
            .parts()
            .decisions
            .recent(WHY_ROWS_MAX, |decision| decision.tenant == actor.tenant && decision.service == service);
        for decision in found.into_iter().map(DecisionView::from) {
            if !why.decisions.contains(&decision) {
                why.decisions.push(decision);
            }
        }
        why.decisions.sort_by_key(|decision| std::cmp::Reverse(decision.at));
        why.decisions.truncate(WHY_ROWS_MAX);
    }
}

/// Whoever may ask why may see what the answer is made of, of the same tenant.
fn reader(actor: &Actor) -> Actor {
    Actor { scopes: vec!["*.read".to_owned()], ..actor.clone() }
}

fn service_of_access(shown: &Shown) -> Option<Uid> {
    let service = shown.spec.get("service")?.as_str()?;
    Kind::parse_id(service).map(|(_, uid)| uid)
}

/// The identity in words, without what is secret.
fn shown_key(access: &Access) -> String {
    use crate::model::decode::octets_to_text;
    let key = match &access.key {
        AccessKey::Login(login) => format!("login {}", octets_to_text(login)),
        AccessKey::Mac(mac) => format!("MAC {mac}"),
        AccessKey::Line { remote_id, circuit_id } => {
            let part = |name: &str, part: &Option<Box<[u8]>>| {
                part.as_deref().map(|bytes| format!("{name} {}", octets_to_text(bytes)))
            };
            let parts = [part("circuit-id", circuit_id), part("remote-id", remote_id)];
            parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
        }
    };
    if access.enabled { key } else { format!("{key} (disabled)") }
}

fn check(id: &'static str, result: &'static str, evidence: impl Into<String>) -> Check {
    Check { id, result, evidence: evidence.into(), next: None }
}

fn identity_check(subject: &str, services: &[Uid], decisions: &[DecisionView]) -> Check {
    match services {
        [service] => {
            check("identity.resolve", "pass", format!("service {}", Kind::Service.format_id(*service)))
        }
        [] => {
            let evidence = match decisions.first() {
                Some(last) => format!(
                    "no access, address or object is `{subject}`, but packets of it came: {} at {}",
                    last.reason, last.at
                ),
                None => format!("no access, address or object is `{subject}`, and no packet of it was seen"),
            };
            let mut failed = check("identity.resolve", "fail", evidence);
            failed.next = Some("write the access through the CRM, or look for a misspelling".to_owned());
            failed
        }
        many => {
            let ids: Vec<String> =
                many.iter().take(WHY_ROWS_MAX).map(|uid| Kind::Service.format_id(*uid)).collect();
            let mut failed =
                check("identity.resolve", "fail", format!("it names several services: {}", ids.join(", ")));
            failed.next = ids.first().map(|id| format!("lastmile why {id}"));
            failed
        }
    }
}

/// The checks of a service, in causal order.
fn checks(status: &ServiceStatus, why: &Why) -> Vec<Check> {
    let mut checks = vec![match status.phase {
        "paused" => advised("service.state", "the service is paused", "set its state to active in the CRM"),
        "terminated" => advised("service.state", "the service has ended", "a new service is needed"),
        _ => check("service.state", "pass", "active"),
    }];
    for (id, name) in [
        ("plan.policy", "Accepted"),
        ("access.credential", "AuthReady"),
        ("address.available", "AddressReady"),
    ] {
        if let Some(condition) = status.conditions.iter().find(|condition| condition.name == name) {
            let result = if condition.status == "true" { "pass" } else { "fail" };
            let evidence = condition.message.clone().unwrap_or_else(|| condition.reason.to_owned());
            checks.push(check(id, result, evidence));
        }
    }
    checks.extend(why.last.iter().filter_map(|last| standing_reject(last, status.online)));
    checks.push(last_answer(why, status.online));
    if status.online {
        let outdated = status.targets.iter().filter(|target| target.state == "outdated").count();
        checks.push(if outdated == 0 {
            check("session.attributes", "pass", "sessions and leases have the policy of now")
        } else {
            let evidence = format!("{outdated} live sessions or leases have an older policy");
            let mut warning = check("session.attributes", "warn", evidence);
            warning.next = Some("they change at the next login or when the lease ends".to_owned());
            warning
        });
    }
    checks
}

fn advised(id: &'static str, evidence: &str, next: &str) -> Check {
    let mut failed = check(id, "fail", evidence);
    failed.next = Some(next.to_owned());
    failed
}

/// Rejects of an access that no accept has followed.
fn standing_reject(last: &AccessStatus, online: bool) -> Option<Check> {
    let reject = last.last_reject.as_ref()?;
    let evidence = last.standing_reject()?;
    let mut found = check("auth.last_reject", if online { "warn" } else { "fail" }, evidence);
    found.next = Some(reject.explanation.to_owned());
    Some(found)
}

/// What the newest decision says: a refusal counts against somebody who is offline.
fn last_answer(why: &Why, online: bool) -> Check {
    let Some(last) = why.decisions.first() else {
        let result = if online { "pass" } else { "warn" };
        let mut seen = check("packets.seen", result, "no packet since the daemon started, or too long ago");
        if !online {
            seen.next =
                Some("look below us: the device, the line, the port, the path from NAS or relay".to_owned());
        }
        return seen;
    };
    let evidence = format!("{} {} at {}: {}", last.message, last.reason, last.at, last.explanation);
    match last.outcome {
        Outcome::Granted => check("auth.last_answer", "pass", evidence),
        Outcome::Refused | Outcome::Discarded if online => check("auth.last_answer", "warn", evidence),
        Outcome::Refused | Outcome::Discarded => {
            let mut failed = check("auth.last_answer", "fail", evidence);
            failed.next = Some(format!("GET /v1/decisions?subject={}", why.subject));
            failed
        }
    }
}

fn conclude(why: &mut Why) {
    why.cause = why.checks.iter().find(|check| check.result == "fail").cloned();
    let online = !why.sessions.is_empty()
        || why.leases.iter().any(|lease| matches!(lease.state, "leased" | "in_session"));
    why.verdict = match (&why.cause, online, why.service.is_some()) {
        (Some(cause), false, _) if cause.id != "identity.resolve" => "blocked",
        (_, true, _) => "online",
        (Some(_) | None, _, false) => "unknown",
        (Some(_), ..) => "blocked",
        (None, ..) => "ready",
    };
    why.next = why
        .checks
        .iter()
        .filter(|check| check.result != "pass")
        .filter_map(|check| check.next.clone())
        .collect();
}

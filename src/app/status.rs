//! Is a service in force? Answered target by target, by comparing digests of policies.
//!
//! A target is what decides for the service (this node's RADIUS and DHCP tables) and what was decided for it (each live
//! session and lease). `InForce` is true when no live session or lease carries another digest than the one that would be
//! given now. What proves a session to be current is a new Accept under that policy: `assurance` says so (FIELD R1).

use std::time::Duration;

use serde::Serialize;

use super::live_views::{Digests, digest_text};
use super::{Action, Actor, App, Refusal, Resource};
use crate::ids::Uid;
use crate::journal::record::Holder;
use crate::limits::API_STATUS_WAIT_MS_MAX;
use crate::model::service::{Ipv4Source, ServiceState};
use crate::model::{Kind, Ref, Spec};
use crate::snapshot::Snapshot;
use crate::storage::{Filter, StoredObject};
use crate::time::Stamp;

use super::objects::Kept;

/// Time between two looks while waiting, in milliseconds: sessions change without a new snapshot.
const LOOK_AGAIN_MS: u64 = 200;

/// Whether one aspect of a service is as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Condition {
    /// Name of the aspect.
    #[serde(rename = "type")]
    pub name: &'static str,
    /// `true`, `false` or `unknown`.
    pub status: &'static str,
    /// One word why.
    pub reason: &'static str,
    /// More in words, where there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One place in which a policy is or is not in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Target {
    /// `radius`, `dhcp`, `session:<id>` or `lease:<prefix>`.
    pub target: String,
    /// `in_force`, `outdated` or `unknown`.
    pub state: &'static str,
    /// What proves it: `compiled` (this node decides by it) or `relogin` (it was given with an Accept or a lease).
    pub assurance: &'static str,
    /// Digest of the policy it has; null when unknown.
    pub policy_digest: Option<String>,
    /// Since when it has it.
    #[schema(value_type = Option<String>)]
    pub at: Option<Stamp>,
    /// When it will get the present policy by itself, if it is outdated and that is known.
    #[schema(value_type = Option<String>)]
    pub in_force_by: Option<Stamp>,
}

/// How a service stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ServiceStatus {
    /// The service.
    pub service: String,
    /// Generation that is stored.
    pub generation: u64,
    /// One word for people: `in_force`, `applying`, `degraded`, `paused` or `terminated`.
    pub phase: &'static str,
    /// The newest seq at which something behind the policy was written.
    pub policy_seq: u64,
    /// Digest of the policy of now; null when the service has none.
    pub policy_digest: Option<String>,
    /// The seq by which this node decides.
    pub applied_seq: u64,
    /// Its aspects.
    pub conditions: Vec<Condition>,
    /// Where it is and is not in force.
    pub targets: Vec<Target>,
    /// Whether it has a live session or lease.
    pub online: bool,
    /// Live sessions.
    pub sessions: u32,
    /// Live leases.
    pub leases: u32,
}

impl ServiceStatus {
    /// Whether every target has the policy of now.
    pub fn in_force(&self) -> bool {
        self.conditions.iter().any(|condition| condition.name == "InForce" && condition.status == "true")
    }
}

/// What a caller waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusWait {
    /// Until this generation is in force.
    pub generation: Option<u64>,
    /// At most this long.
    pub timeout: Duration,
}

impl App {
    /// How a service stands, after waiting for it if asked to.
    pub async fn service_status(
        &self,
        actor: &Actor,
        reference: &Ref,
        wait: StatusWait,
    ) -> Result<ServiceStatus, Refusal> {
        actor.require(Action::Read, Resource::Object(Kind::Service))?;
        let timeout = wait.timeout.min(Duration::from_millis(API_STATUS_WAIT_MS_MAX));
        let end = tokio::time::Instant::now() + timeout;
        loop {
            let status = self.status_now(actor, reference).await?;
            let reached = wait.generation.is_none_or(|generation| status.generation >= generation);
            let waiting = wait.generation.is_some() && !(reached && status.in_force());
            if !waiting || tokio::time::Instant::now() >= end {
                return Ok(status);
            }
            let look = tokio::time::Instant::now() + Duration::from_millis(LOOK_AGAIN_MS);
            tokio::time::sleep_until(look.min(end)).await;
        }
    }

    async fn status_now(&self, actor: &Actor, reference: &Ref) -> Result<ServiceStatus, Refusal> {
        let stored = self.find(actor, Kind::Service, reference).await?;
        self.reach(stored.envelope.seq).await?;
        let filter = Filter { refers_to: Some(stored.envelope.id), ..Filter::default() };
        let accesses = self.all(actor.tenant, Kind::Access, filter).await?;
        let snapshot = self.parts().publisher.load_full();
        self.judge_service(&snapshot, stored, &accesses)
    }

    fn judge_service(
        &self,
        snapshot: &Snapshot,
        stored: StoredObject,
        accesses: &[StoredObject],
    ) -> Result<ServiceStatus, Refusal> {
        let kept = Kept::open(stored, &self.parts().vault)?;
        let envelope = &kept.stored.envelope;
        let digest = Digests(snapshot).of_service(envelope.id);
        let (targets, sessions, leases) = self.targets(snapshot, envelope.id, digest);
        let outdated = targets.iter().filter(|target| target.state == "outdated").count();
        let unknown = targets.iter().filter(|target| target.state == "unknown").count();
        let state = match &kept.spec {
            Spec::Service(spec) => spec.state,
            _ => ServiceState::Active,
        };
        let conditions = vec![
            accepted(digest),
            auth_ready(snapshot, accesses),
            self.address_ready(snapshot, &kept),
            session_current(sessions + leases, outdated, unknown),
            in_force(digest, sessions + leases, outdated, unknown),
        ];
        let ready = conditions.iter().take(3).all(|condition| condition.status == "true");
        Ok(ServiceStatus {
            service: envelope.kind.format_id(envelope.id),
            generation: envelope.generation,
            phase: match state {
                ServiceState::Terminated => "terminated",
                ServiceState::Paused => "paused",
                ServiceState::Active if !ready => "degraded",
                ServiceState::Active if outdated + unknown > 0 => "applying",
                ServiceState::Active => "in_force",
            },
            policy_seq: policy_seq(snapshot, envelope.id, accesses),
            policy_digest: digest.and_then(digest_text),
            applied_seq: snapshot.seq(),
            conditions,
            targets,
            online: sessions + leases > 0,
            sessions,
            leases,
        })
    }

    /// Every place where the policy is, or should be; and the number of live sessions and leases.
    fn targets(&self, snapshot: &Snapshot, service: Uid, digest: Option<u64>) -> (Vec<Target>, u32, u32) {
        let compiled = |name: &str| Target {
            target: name.to_owned(),
            state: if digest.is_some() { "in_force" } else { "unknown" },
            assurance: "compiled",
            policy_digest: digest.and_then(digest_text),
            at: None,
            in_force_by: None,
        };
        let mut targets = vec![compiled("radius"), compiled("dhcp")];
        let (mut sessions, mut leases) = (0, 0);
        let holder = Holder(service.0);
        let state = self.parts().ledger.holder(holder).unwrap_or_default();
        let now = self.now();
        for slot in &state.slots {
            let given = |target: String, digest: u64, at: Stamp, by: Option<Stamp>| {
                let state = Digests(snapshot).judge(holder, digest);
                Target {
                    target,
                    state,
                    assurance: "relogin",
                    policy_digest: digest_text(digest),
                    at: Some(at),
                    in_force_by: by.filter(|_| state != "in_force"),
                }
            };
            if let Some(session) = &slot.session {
                sessions += 1;
                let target = format!("session:{}", session.id);
                targets.push(given(target, session.digest, session.started_at, None));
            }
            let live =
                |grant: &&crate::ledger::Grant| grant.live && grant.lease.is_some() && grant.ends_at > now;
            for grant in slot.grants.iter().filter(live) {
                leases += 1;
                let target = format!("lease:{}", grant.prefix);
                targets.push(given(target, grant.digest, grant.since, Some(grant.ends_at)));
            }
        }
        (targets, sessions, leases)
    }

    /// Whether the service can have an IPv4 address: one by name, none wanted, or room in a pool of its class.
    fn address_ready(&self, snapshot: &Snapshot, kept: &Kept) -> Condition {
        let condition = |status, reason, message: Option<String>| Condition {
            name: "AddressReady",
            status,
            reason,
            message,
        };
        let Spec::Service(spec) = &kept.spec else { return condition("unknown", "NotAService", None) };
        match spec.addressing.ipv4 {
            Ipv4Source::None => return condition("true", "NoneWanted", None),
            Ipv4Source::Address(_) => return condition("true", "AssignedByName", None),
            Ipv4Source::Pool => {}
        }
        let service = snapshot.service(kept.stored.envelope.id);
        let found = service.and_then(|service| Some((service, snapshot.plan(service.plan)?)));
        let Some((service, plan)) = found else { return condition("false", "NoPlan", None) };
        let Some(class) = &plan.spec.pool_class_v4 else {
            return condition("true", "PlanNamesNoClass", None);
        };
        let space = snapshot.space_of(service, plan);
        let now = self.now();
        let of_class =
            snapshot.pools().filter(|pool| pool.space == **space && *pool.class == **class && !pool.draining);
        let (mut pools, mut room) = (0_u32, 0_u64);
        for pool in of_class {
            pools += 1;
            let ledger = self.parts().ledger.pool(crate::ids::PoolId(pool.id));
            let counts = ledger.map(|pool| pool.counts(now)).unwrap_or_default();
            room += u64::from(counts.free) + u64::from(counts.held);
        }
        let holds = self.parts().ledger.holder(Holder(service.id.0)).is_some_and(|state| {
            state.slots.iter().flat_map(|slot| &slot.grants).any(|grant| grant.prefix.is_v4())
        });
        match (pools, room) {
            (0, _) => condition("false", "NoPool", Some(format!("class `{class}` has no pool"))),
            (_, 0) if !holds => condition("false", "PoolExhausted", Some(format!("class `{class}` is full"))),
            (_, 0) => condition("true", "AddressKept", None),
            _ => condition("true", "PoolHasSpace", None),
        }
    }
}

fn accepted(digest: Option<u64>) -> Condition {
    let (status, reason, message) = match digest {
        Some(_) => ("true", "PolicyCompiled", None),
        None => ("false", "NotServed", Some("this node has no policy for the service".to_owned())),
    };
    Condition { name: "Accepted", status, reason, message }
}

fn auth_ready(snapshot: &Snapshot, accesses: &[StoredObject]) -> Condition {
    let compiled = || accesses.iter().filter_map(|access| snapshot.access(access.envelope.id));
    let (status, reason, message) = if compiled().any(|access| access.enabled) {
        ("true", "AccessEnabled", None)
    } else if compiled().next().is_some() {
        ("false", "AccessDisabled", Some("every access of the service is disabled".to_owned()))
    } else {
        (
            "false",
            "NoAccess",
            Some("no access recognises the service: it has no login, MAC address or line".to_owned()),
        )
    };
    Condition { name: "AuthReady", status, reason, message }
}

fn session_current(live: u32, outdated: usize, unknown: usize) -> Condition {
    let (status, reason, message) = match (live, outdated, unknown) {
        (0, ..) => ("true", "NoActiveSession", None),
        (_, 0, 0) => ("true", "GivenUnderThisPolicy", None),
        (_, 0, _) => ("unknown", "PolicyNotRecorded", None),
        (_, outdated, _) => {
            let message = format!("{outdated} of {live} live sessions and leases have an older policy");
            ("false", "OlderPolicy", Some(message))
        }
    };
    Condition { name: "SessionCurrent", status, reason, message }
}

fn in_force(digest: Option<u64>, live: u32, outdated: usize, unknown: usize) -> Condition {
    let (status, reason) = match (digest, live, outdated, unknown) {
        (None, ..) => ("false", "NotServed"),
        (_, 0, ..) => ("true", "NoActiveSession"),
        (_, _, 0, 0) => ("true", "EveryTarget"),
        (_, _, 0, _) => ("unknown", "PolicyNotRecorded"),
        _ => ("false", "WaitingForTargets"),
    };
    Condition { name: "InForce", status, reason, message: None }
}

fn policy_seq(snapshot: &Snapshot, service: Uid, accesses: &[StoredObject]) -> u64 {
    let Some(service) = snapshot.service(service) else { return 0 };
    let Some(plan) = snapshot.plan(service.plan) else { return service.seq };
    let accesses = accesses.iter().filter_map(|access| snapshot.access(access.envelope.id));
    let newest = accesses.max_by_key(|access| access.seq);
    snapshot.policy_seq(service, plan, newest.map(AsRef::as_ref))
}

//! What a set of candidates contradicts: both sides are named.
//!
//! Networks, pools, NASes and relays are few and are compared all with all, by the same function that checks files
//! ([`conflict`]). Services are many: their fixed addresses are compared with the snapshot, which knows them by prefix.
//! The caller holds the lock on addresses, so nothing moves between this check and the commit.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::candidate::{Candidate, is_infrastructure};
use super::kept::read_spec;
use super::title;
use crate::app::{App, Refusal};
use crate::ids::{TenantId, Uid};
use crate::limits::{STORAGE_PAGE_ROWS_MAX, STORAGE_REFERRERS_NAMED_MAX};
use crate::model::service::ServiceSpec;
use crate::model::{Kind, Prefix, Problems, Spec};
use crate::netdefs::conflict::{Severity, Subject, conflicts};
use crate::snapshot::Snapshot;
use crate::snapshot::types::Space;
use crate::storage::{Filter, StoredObject};

/// An object of the comparison.
struct Party {
    id: Uid,
    title: String,
    name: String,
    spec: Spec,
    is_candidate: bool,
}

impl App {
    /// Refuses candidates that contradict each other or objects that stay; `removed` are those that go.
    pub(in crate::app) async fn check_conflicts(
        &self,
        tenant: TenantId,
        candidates: &[Candidate],
        removed: &[Uid],
    ) -> Result<(), Refusal> {
        let mut problems = Problems::default();
        if candidates.iter().any(|candidate| is_infrastructure(candidate.spec.kind())) {
            self.check_infrastructure(tenant, candidates, removed, &mut problems).await?;
        }
        let snapshot = self.parts().publisher.load_full();
        let plans = plan_vrfs(candidates);
        let leaving: HashSet<Uid> =
            candidates.iter().map(|candidate| candidate.envelope.id).chain(removed.iter().copied()).collect();
        for candidate in candidates {
            match &candidate.spec {
                Spec::Service(spec) => {
                    let plan = spec.plan.resolved();
                    let vrf = spec.addressing.vrf.clone().or_else(|| vrf_of_plan(&snapshot, &plans, plan));
                    let vrf = vrf.unwrap_or_default().into();
                    let space = Space { tenant: candidate.envelope.tenant, vrf };
                    self.check_fixed(&snapshot, &leaving, candidate, spec, &space, &mut problems).await?;
                }
                Spec::Plan(_) => check_plan_vrf(&snapshot, candidate)?,
                _ => {}
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Refusal::AddressConflict(problems)) }
    }

    async fn check_infrastructure(
        &self,
        tenant: TenantId,
        candidates: &[Candidate],
        removed: &[Uid],
        problems: &mut Problems,
    ) -> Result<(), Refusal> {
        let replaced: BTreeSet<Uid> =
            candidates.iter().map(|candidate| candidate.envelope.id).chain(removed.iter().copied()).collect();
        let mut parties: Vec<Party> = candidates
            .iter()
            .filter(|candidate| is_infrastructure(candidate.spec.kind()))
            .map(|candidate| Party {
                id: candidate.envelope.id,
                title: candidate.title(),
                name: name(
                    candidate.envelope.external_id.as_ref(),
                    candidate.spec.kind(),
                    candidate.envelope.id,
                ),
                spec: candidate.spec.clone(),
                is_candidate: true,
            })
            .collect();
        for kind in Kind::ALL.into_iter().filter(|kind| is_infrastructure(*kind)) {
            for stored in self.all(tenant, kind, Filter::default()).await? {
                if !replaced.contains(&stored.envelope.id) {
                    parties.push(Party {
                        id: stored.envelope.id,
                        title: title(&stored.envelope),
                        name: name(stored.envelope.external_id.as_ref(), kind, stored.envelope.id),
                        spec: read_spec(&stored)?,
                        is_candidate: false,
                    });
                }
            }
        }
        compare(&parties, problems);
        Ok(())
    }

    /// Every object of a kind, page by page.
    pub(in crate::app) async fn all(
        &self,
        tenant: TenantId,
        kind: Kind,
        filter: Filter,
    ) -> Result<Vec<StoredObject>, Refusal> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let page =
                self.storage().list(tenant, kind, filter.clone(), after, STORAGE_PAGE_ROWS_MAX).await?;
            all.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Fixed addresses of a service against those of stored services; a set of definitions was compared with itself when
    /// it was read.
    async fn check_fixed(
        &self,
        snapshot: &Snapshot,
        leaving: &HashSet<Uid>,
        candidate: &Candidate,
        spec: &ServiceSpec,
        space: &Space,
        problems: &mut Problems,
    ) -> Result<(), Refusal> {
        let own: Vec<Prefix> = spec.addressing.fixed().collect();
        for (at, prefix) in own.iter().enumerate() {
            if let Some(other) = own.iter().skip(at + 1).find(|other| other.overlaps(*prefix)) {
                add(problems, format!("{prefix} and {other} of {} overlap", candidate.title()));
            }
            for (other, holder) in snapshot.fixed_overlapping(space.key(), *prefix) {
                if !leaving.contains(&holder) {
                    let holder = self.title_of(candidate.envelope.tenant, Kind::Service, holder).await?;
                    add(problems, overlap(*prefix, &candidate.title(), other, &holder, space));
                }
            }
        }
        Ok(())
    }

    /// How people call an object of which only the id is known.
    pub(in crate::app) async fn title_of(
        &self,
        tenant: TenantId,
        kind: Kind,
        id: Uid,
    ) -> Result<String, Refusal> {
        let found = self.storage().find(tenant, kind, crate::storage::Lookup::Id(id)).await?;
        let known = found.first().map(|stored| title(&stored.envelope));
        Ok(known.unwrap_or_else(|| kind.format_id(id)))
    }
}

/// Moving a plan to another VRF would move fixed addresses that were checked in the old one.
fn check_plan_vrf(snapshot: &Snapshot, candidate: &Candidate) -> Result<(), Refusal> {
    let (Some(before), Spec::Plan(after)) = (&candidate.before, &candidate.spec) else {
        return Ok(());
    };
    let Spec::Plan(before) = &before.spec else { return Ok(()) };
    if before.vrf == after.vrf {
        return Ok(());
    }
    let users: Vec<String> = snapshot
        .services()
        .filter(|service| service.plan == candidate.envelope.id && has_fixed(service))
        .take(STORAGE_REFERRERS_NAMED_MAX)
        .map(|service| Kind::Service.format_id(service.id))
        .collect();
    if users.is_empty() {
        return Ok(());
    }
    let object = format!("the VRF of {}, in which services have addresses by name,", candidate.title());
    Err(Refusal::InUse { object, users })
}

fn add(problems: &mut Problems, detail: String) {
    problems.add("/spec/addressing", "address-conflict", detail);
}

fn overlap(prefix: Prefix, of: &str, other: Prefix, of_other: &str, space: &Space) -> String {
    let vrf = if space.vrf.is_empty() { "the default VRF".to_owned() } else { format!("VRF {}", space.vrf) };
    format!("{prefix} of {of} overlaps {other} of {of_other} in {vrf}")
}

fn has_fixed(service: &crate::snapshot::types::Service) -> bool {
    use crate::snapshot::types::ServiceIpv4;
    let by_name = |extras: &crate::snapshot::types::ServiceExtras| {
        extras.vrf.is_none()
            && (extras.wan.is_some() || extras.delegated.is_some() || !extras.routed.is_empty())
    };
    let own_vrf = service.extras.as_ref().is_some_and(|extras| extras.vrf.is_some());
    (matches!(service.ipv4, ServiceIpv4::Fixed(_)) && !own_vrf)
        || service.extras.as_deref().is_some_and(by_name)
}

/// VRFs of the plans of a change, by id.
pub(in crate::app) type PlanVrfs = HashMap<Uid, Option<String>>;

/// The VRFs that plans among the candidates name.
pub(in crate::app) fn plan_vrfs(candidates: &[Candidate]) -> PlanVrfs {
    let plans = candidates.iter().filter_map(|candidate| match &candidate.spec {
        Spec::Plan(spec) => Some((candidate.envelope.id, spec.vrf.clone())),
        _ => None,
    });
    plans.collect()
}

/// The VRF that a plan names: of this change, else as it is now.
pub(in crate::app) fn vrf_of_plan(snapshot: &Snapshot, plans: &PlanVrfs, plan: Uid) -> Option<String> {
    match plans.get(&plan) {
        Some(vrf) => vrf.clone(),
        None => snapshot.plan(plan).and_then(|plan| plan.spec.vrf.clone()),
    }
}

fn name(external_id: Option<&String>, kind: Kind, id: Uid) -> String {
    external_id.cloned().unwrap_or_else(|| kind.format_id(id))
}

fn compare(parties: &[Party], problems: &mut Problems) {
    let subjects: Vec<Subject<'_>> = parties
        .iter()
        .map(|party| Subject { name: &party.name, id: Some(party.id), spec: &party.spec })
        .collect();
    // One object may be on either side; what was wrong before and does not concern a candidate blocks nobody.
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    for conflict in conflicts(&subjects) {
        let party = |index: usize| parties.get(index);
        let first = party(conflict.first.index);
        let second = conflict.second.as_ref().and_then(|side| party(side.index));
        let concerns = |party: Option<&Party>| party.is_some_and(|party| party.is_candidate);
        if conflict.severity == Severity::Warning || !(concerns(first) || concerns(second)) {
            continue;
        }
        let own = if concerns(first) { Some(&conflict.first) } else { conflict.second.as_ref() };
        let pointer = format!("/spec{}", own.map_or("", |side| side.pointer.as_str()));
        let other = if concerns(first) { second } else { first };
        let detail = match other {
            Some(other) if !conflict.detail.contains(&other.name) => {
                format!("{} (the other is {})", conflict.detail, other.title)
            }
            _ => conflict.detail.clone(),
        };
        if seen.insert((pointer.clone(), detail.clone())) {
            problems.add(pointer, conflict.code, detail);
        }
    }
}

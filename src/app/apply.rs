//! Applying a whole set of definitions: all of it in one change, or nothing.
//!
//! The set is an operator's files ([`crate::netdefs::definitions`]); the objects belong to the source `netdefs`. Applying
//! the same set again changes nothing. What is no longer defined stays unless pruning is asked for, and is refused while
//! something refers to it or has an address from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::objects::input::ObjectInput;
use super::objects::{Candidate, Draft, Kept, Siblings, plan_vrfs, removal, vrf_of_plan};
use super::{Action, Actor, App, Refusal, Resource};
use crate::ids::{TenantId, Uid};
use crate::limits::API_COMMIT_ATTEMPTS_MAX;
use crate::model::{Kind, Problems, Ref, Spec};
use crate::netdefs::changes::{ChangePlan, plan_changes};
use crate::netdefs::definitions::{self, Definition, SOURCE};
use crate::netdefs::{Definitions, NetdefsError, SourceFile};
use crate::storage::{Change, Filter, Lookup, Write};

/// A set of definitions to apply.
#[derive(Clone, Debug)]
pub struct Apply {
    /// The files.
    pub files: Vec<SourceFile>,
    /// Whether what is no longer defined is removed.
    pub prune: bool,
    /// Whether only the plan is wanted.
    pub dry_run: bool,
    /// The request, for audit rows.
    pub request: String,
}

/// What applying did, or would do.
#[derive(Clone, Debug)]
pub struct Applied {
    /// What was to be done.
    pub plan: ChangePlan,
    /// What is probably not meant.
    pub warnings: Vec<String>,
    /// The seq by which this node decides; `None` for a dry run.
    pub applied_seq: Option<u64>,
}

/// What is stored of the source `netdefs`.
struct Present {
    kept: BTreeMap<(Kind, String), Kept>,
    names: BTreeMap<Uid, String>,
}

impl App {
    /// Applies a set of definitions as one change.
    pub async fn apply(self: &Arc<Self>, actor: &Actor, apply: Apply) -> Result<Applied, Refusal> {
        actor.require(Action::Write, Resource::Definitions)?;
        self.parts().vault.load_tenant(self.storage(), actor.tenant).await?;
        let wanted = self.read_definitions(apply.files).await?;
        let writer = Actor { source: Some(SOURCE.to_owned()), ..actor.clone() };
        for _ in 0..API_COMMIT_ATTEMPTS_MAX {
            let _serial = self.addresses.lock().await;
            self.advance().await?;
            let present = self.present(actor.tenant).await?;
            let current = self.named_specs(actor.tenant, &present).await?;
            let plan = plan_changes(&current, &wanted, apply.prune);
            let writes = self.writes(&writer, &wanted, &present, &plan).await?;
            let warnings = wanted.warnings.iter().map(ToString::to_string).collect();
            if apply.dry_run {
                return Ok(Applied { plan, warnings, applied_seq: None });
            }
            if writes.is_empty() {
                let seq = self.parts().publisher.seq();
                return Ok(Applied { plan, warnings, applied_seq: Some(seq) });
            }
            let (at, request) = (self.now(), apply.request.clone());
            let change = Change { at, actor: actor.label(), request, writes };
            match self.commit(change).await {
                Ok(seq) => return Ok(Applied { plan, warnings, applied_seq: Some(seq) }),
                Err(error) if error.lost_a_race() => {}
                Err(error) => return Err(self.name_holder(&writer, error).await),
            }
        }
        Err(Refusal::Contended { object: "the set of definitions".to_owned() })
    }

    /// Reads and checks the files; that is work for a thread that may be busy.
    async fn read_definitions(&self, files: Vec<SourceFile>) -> Result<Definitions, Refusal> {
        let options = self.parts().options4.clone();
        let read = tokio::task::spawn_blocking(move || definitions::read(&files, &options)).await;
        let read =
            read.map_err(|error| Refusal::Internal { why: format!("reading definitions: {error}") })?;
        read.map_err(|error| match error {
            NetdefsError::Wrong(found) => {
                let mut problems = Problems::default();
                for problem in found {
                    problems.add("/files", "validation-failed", problem.to_string());
                }
                Refusal::Invalid(problems)
            }
            other => Refusal::invalid("/files", other.to_string()),
        })
    }

    async fn present(&self, tenant: TenantId) -> Result<Present, Refusal> {
        let filter = Filter { source: Some(SOURCE.to_owned()), ..Filter::default() };
        let mut present = Present { kept: BTreeMap::new(), names: BTreeMap::new() };
        for kind in Kind::ALL {
            for stored in self.all(tenant, kind, filter.clone()).await? {
                let Some(name) = stored.envelope.external_id.clone() else { continue };
                present.names.insert(stored.envelope.id, name.clone());
                present.kept.insert((kind, name), Kept::open(stored, &self.parts().vault)?);
            }
        }
        Ok(present)
    }

    /// The stored specs as the files would write them: references by name.
    async fn named_specs(
        &self,
        tenant: TenantId,
        present: &Present,
    ) -> Result<Vec<(Kind, String, Spec)>, Refusal> {
        let mut specs = Vec::with_capacity(present.kept.len());
        for ((kind, name), kept) in &present.kept {
            let mut spec = kept.spec.clone();
            for (_, of, reference) in spec.refs_mut() {
                let Ref::Id(_, uid) = reference else { continue };
                if let Some(name) = present.names.get(uid) {
                    *reference = Ref::external(name.clone());
                } else if let Some(found) = self.storage().find(tenant, of, Lookup::Id(*uid)).await?.pop()
                    && let Some(id) = found.envelope.external_id
                {
                    *reference = Ref::External { source: found.envelope.source, id };
                }
            }
            specs.push((*kind, name.clone(), spec));
        }
        Ok(specs)
    }

    /// The rows that make the stored objects what the files say.
    async fn writes(
        &self,
        writer: &Actor,
        wanted: &Definitions,
        present: &Present,
        plan: &ChangePlan,
    ) -> Result<Vec<Write>, Refusal> {
        let candidates = self.candidates(writer, wanted, present).await?;
        let now = self.now();
        let mut removals = Vec::with_capacity(plan.remove.len());
        let mut removed = Vec::with_capacity(plan.remove.len());
        for named in &plan.remove {
            let Some(kept) = present.kept.get(&(named.kind, named.external_id.clone())) else { continue };
            self.check_unused(&kept.stored.envelope)?;
            removed.push(kept.stored.envelope.id);
            removals.push(removal(writer, now, &kept.stored));
        }
        self.check_conflicts(writer.tenant, &candidates, &removed).await?;
        let snapshot = self.parts().publisher.load_full();
        let plans = plan_vrfs(&candidates);
        let vrf = |plan| vrf_of_plan(&snapshot, &plans, plan);
        let written = candidates.iter().map(|candidate| self.write(candidate, &vrf));
        let mut writes: Vec<Write> = written.collect::<Result<_, Refusal>>()?;
        writes.extend(removals);
        Ok(writes)
    }

    /// The objects that would change.
    async fn candidates(
        &self,
        writer: &Actor,
        wanted: &Definitions,
        present: &Present,
    ) -> Result<Vec<Candidate>, Refusal> {
        let (now, entropy) = (self.now(), self.parts().entropy.as_ref());
        let id_of = |definition: &Definition| {
            let key = (definition.kind, definition.external_id.clone());
            let known = present.kept.get(&key).map(|kept| kept.stored.envelope.id);
            (key, known.unwrap_or_else(|| Uid::mint(now, entropy)))
        };
        let siblings: Siblings = wanted.objects.iter().map(id_of).collect();
        let mut problems = Problems::default();
        let mut candidates = Vec::new();
        for definition in &wanted.objects {
            let key = (definition.kind, definition.external_id.clone());
            let mut spec = definition.spec.clone();
            let mut found = Problems::default();
            self.resolve(writer, &mut spec, &siblings, &mut found).await?;
            for problem in found.0 {
                let detail = format!("{}: {}", definition.origin, problem.detail);
                problems.add(problem.pointer, problem.code, detail);
            }
            let input = ObjectInput {
                spec: definition.spec.clone(),
                labels: None,
                annotations: None,
                source_version: None,
                id: None,
                external_id: None,
            };
            let draft = Draft {
                before: present.kept.get(&key).cloned(),
                id: siblings.get(&key).copied().unwrap_or_default(),
                external_id: Some(definition.external_id.clone()),
                input,
                spec,
            };
            let candidate = Candidate::new(writer, now, draft)?;
            if !candidate.is_unchanged() {
                candidates.push(candidate);
            }
        }
        if problems.is_empty() { Ok(candidates) } else { Err(Refusal::Invalid(problems)) }
    }
}

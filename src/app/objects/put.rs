//! Writing one object: create or replace, idempotent by external id.
//!
//! The decision is made on what was read and committed against the generation that was read. When another writer was
//! faster, everything is read and decided anew: fifty equal writes at once make one object and forty-nine "unchanged".

use std::sync::Arc;

use super::candidate::{Candidate, Draft, is_infrastructure};
use super::conflicts::{plan_vrfs, vrf_of_plan};
use super::input::ObjectInput;
use super::kept::Kept;
use super::resolve::Siblings;
use super::{Shown, one, title};
use crate::app::commit::CommitError;
use crate::app::{Action, Actor, App, Refusal, Resource};
use crate::ids::Uid;
use crate::limits::API_COMMIT_ATTEMPTS_MAX;
use crate::model::{Envelope, Kind, Problems, Ref, Spec};
use crate::netdefs::definitions::SOURCE as NETDEFS;
use crate::storage::{Change, Lookup, StorageError};

/// Conditions on what is stored (RFC 9110 §13.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// Entity tags of which one must be the stored one; empty for no condition. `*` stands for any.
    pub if_match: Vec<String>,
    /// Whether nothing may be stored yet (`If-None-Match: *`).
    pub create_only: bool,
}

/// A write of one object.
#[derive(Clone, Debug)]
pub struct Put {
    /// Kind of object.
    pub kind: Kind,
    /// Which.
    pub reference: Ref,
    /// What it is to be.
    pub input: ObjectInput,
    /// On what condition.
    pub conditions: Preconditions,
    /// Whether an object of another source is taken over.
    pub adopt: bool,
    /// The request, for audit rows.
    pub request: String,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectChange {
    /// The object is new.
    Created,
    /// It was changed.
    Updated,
    /// It was so already; nothing was written.
    Unchanged,
    /// It was deleted.
    Deleted,
}

impl ObjectChange {
    /// Name in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
        }
    }
}

/// The object after a write.
#[derive(Clone, Debug)]
pub struct PutOutcome {
    /// The object.
    pub object: Shown,
    /// What was done.
    pub change: ObjectChange,
    /// Members that differ from before.
    pub changed: Vec<String>,
    /// The seq at which it is in force on this node.
    pub applied_seq: u64,
}

impl App {
    /// Creates or replaces an object. Returns when it is durable and this node decides by it.
    pub async fn put(self: &Arc<Self>, actor: &Actor, put: Put) -> Result<PutOutcome, Refusal> {
        actor.require(Action::Write, Resource::Object(put.kind))?;
        self.parts().vault.load_tenant(self.storage(), actor.tenant).await?;
        let mut last = None;
        for _ in 0..API_COMMIT_ATTEMPTS_MAX {
            match self.try_put(actor, &put).await {
                Ok(outcome) => return Ok(outcome),
                Err(Attempt::Refused(refusal)) => return Err(refusal),
                Err(Attempt::Raced(error)) => last = Some(error),
            }
        }
        Err(last.map_or_else(|| Refusal::Contended { object: put.reference.to_string() }, Refusal::from))
    }

    async fn try_put(self: &Arc<Self>, actor: &Actor, put: &Put) -> Result<PutOutcome, Attempt> {
        let before = self.target_of(actor, put).await?;
        let candidate = self.candidate_of(actor, put, before).await?;
        check_preconditions(put, &candidate)?;
        check_fence(put, &candidate)?;
        if candidate.is_unchanged() {
            return Ok(self.unchanged(candidate).await?);
        }
        // Logins and lines have unique keys in the database; addresses overlap, which no key can tell.
        let addresses = concerns_addresses(&candidate.spec);
        let _serial = if addresses { Some(self.addresses.lock().await) } else { None };
        if addresses {
            self.advance().await?;
        }
        let candidates = std::slice::from_ref(&candidate);
        self.check_conflicts(actor.tenant, candidates, &[]).await?;
        let snapshot = self.parts().publisher.load_full();
        let plans = plan_vrfs(candidates);
        let write = self.write(&candidate, &|plan| vrf_of_plan(&snapshot, &plans, plan))?;
        let stored = write.object.clone();
        let change = Change {
            at: candidate.envelope.updated_at,
            actor: actor.label(),
            request: put.request.clone(),
            writes: vec![write],
        };
        let seq = match self.commit(change).await {
            Ok(seq) => seq,
            Err(error) if error.lost_a_race() => return Err(Attempt::Raced(error)),
            Err(error) => return Err(Attempt::Refused(self.name_holder(actor, error).await)),
        };
        let mut object = Shown::of(stored)?;
        object.envelope.seq = seq;
        let change = if candidate.is_new() { ObjectChange::Created } else { ObjectChange::Updated };
        Ok(PutOutcome { object, change, changed: candidate.changed, applied_seq: seq })
    }

    /// What the request is about: the stored object, or none when it is to be made.
    async fn target_of(&self, actor: &Actor, put: &Put) -> Result<Option<Kept>, Refusal> {
        let found = match &put.reference {
            Ref::Id(..) => Some(self.find(actor, put.kind, &put.reference).await?),
            Ref::External { source, id } => self.named(actor, put, source.as_deref(), id).await?,
        };
        let Some(stored) = found else { return Ok(None) };
        check_owner(actor, &stored.envelope, put.adopt)?;
        Ok(Some(Kept::open(stored, &self.parts().vault)?))
    }

    /// The object with this external id that the writer means. A bare id is the writer's own; an operator, who has no
    /// namespace, also means what is unique elsewhere, and nobody makes a second one of what a file defines.
    async fn named(
        &self,
        actor: &Actor,
        put: &Put,
        source: Option<&str>,
        id: &str,
    ) -> Result<Option<crate::storage::StoredObject>, Refusal> {
        let own = actor.source.as_deref();
        let in_source =
            |source: Option<&str>| Lookup::External { source: source.map(str::to_owned), id: id.to_owned() };
        let wanted = source.or(own);
        let mut found = self.storage().find(actor.tenant, put.kind, in_source(wanted)).await?;
        if found.is_empty() && source.is_none() {
            found =
                self.storage().find(actor.tenant, put.kind, Lookup::AnySource { id: id.to_owned() }).await?;
            if own.is_some() && !put.adopt {
                found.retain(|stored| stored.envelope.source.as_deref() == Some(NETDEFS));
            }
        }
        let found = one(found, &put.reference)?;
        if found.is_none() && source.is_some_and(|source| Some(source) != own) {
            let object = format!("{} {}", put.kind.name(), put.reference);
            return Err(Refusal::NotOwner { object, owner: source.unwrap_or_default().to_owned() });
        }
        Ok(found)
    }

    async fn candidate_of(
        &self,
        actor: &Actor,
        put: &Put,
        before: Option<Kept>,
    ) -> Result<Candidate, Refusal> {
        let now = self.now();
        let mut problems = Problems::default();
        check_names(put, before.as_ref(), &mut problems);
        let mut spec = put.input.spec.clone();
        self.resolve(actor, &mut spec, &Siblings::new(), &mut problems).await?;
        if !problems.is_empty() {
            return Err(Refusal::Invalid(problems));
        }
        let external_id = match &put.reference {
            Ref::External { id, .. } => Some(id.clone()),
            Ref::Id(..) => None,
        };
        let id = Uid::mint(now, self.parts().entropy.as_ref());
        Candidate::new(actor, now, Draft { before, id, external_id, input: put.input.clone(), spec })
    }

    async fn unchanged(&self, candidate: Candidate) -> Result<PutOutcome, Refusal> {
        let missing = || Refusal::Internal { why: "an unchanged object that is not stored".to_owned() };
        let kept = candidate.before.ok_or_else(missing)?;
        // The write that made it so may have ended between its commit and its answer.
        self.reach(kept.stored.envelope.seq).await?;
        Ok(PutOutcome {
            applied_seq: self.parts().publisher.seq(),
            object: Shown::of(kept.stored)?,
            change: ObjectChange::Unchanged,
            changed: Vec::new(),
        })
    }

    /// Replaces ids in a refusal of the database by what people call the objects.
    pub(in crate::app) async fn name_holder(&self, actor: &Actor, error: CommitError) -> Refusal {
        let error = match error {
            CommitError::Storage(StorageError::KeyTaken { key, holder }) => {
                let holder = self.title_of_id(actor, holder).await;
                CommitError::Storage(StorageError::KeyTaken { key, holder })
            }
            CommitError::Storage(StorageError::InUse { id, referrers }) => {
                let mut named = Vec::with_capacity(referrers.len());
                for referrer in referrers {
                    named.push(self.title_of_id(actor, referrer).await);
                }
                let id = self.title_of_id(actor, id).await;
                CommitError::Storage(StorageError::InUse { id, referrers: named })
            }
            other => other,
        };
        error.into()
    }

    async fn title_of_id(&self, actor: &Actor, id: String) -> String {
        let Some((kind, uid)) = Kind::parse_id(&id) else { return id };
        match self.title_of(actor.tenant, kind, uid).await {
            Ok(title) if title != id => format!("{title} ({id})"),
            _ => id,
        }
    }
}

/// Refuses writing what belongs to another source, unless it is taken over.
pub(super) fn check_owner(actor: &Actor, envelope: &Envelope, adopt: bool) -> Result<(), Refusal> {
    if envelope.source == actor.source {
        return Ok(());
    }
    if adopt {
        return actor.require(Action::Adopt, Resource::Object(envelope.kind));
    }
    let owner = envelope.source.clone().unwrap_or_else(|| "an operator".to_owned());
    Err(Refusal::NotOwner { object: title(envelope), owner })
}

/// How one attempt to write ended without success.
enum Attempt {
    Refused(Refusal),
    Raced(CommitError),
}

impl From<Refusal> for Attempt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Whether addresses of the object must be compared with those of others.
fn concerns_addresses(spec: &Spec) -> bool {
    match spec {
        Spec::Service(service) => service.addressing.fixed().next().is_some(),
        Spec::Plan(_) => true,
        other => is_infrastructure(other.kind()),
    }
}

/// The body may say what the object is called, but not something else than the address of the request.
fn check_names(put: &Put, before: Option<&Kept>, problems: &mut Problems) {
    let envelope = before.map(|kept| &kept.stored.envelope);
    let external_id = match &put.reference {
        Ref::External { id, .. } => Some(id.as_str()),
        Ref::Id(..) => envelope.and_then(|envelope| envelope.external_id.as_deref()),
    };
    if put.input.external_id.is_some() && put.input.external_id.as_deref() != external_id {
        let known = external_id.map_or("none".to_owned(), |id| format!("`{id}`"));
        problems.add(
            "/external_id",
            "validation-failed",
            format!("the request is about external id {known}"),
        );
    }
    let id = envelope.map(|envelope| envelope.kind.format_id(envelope.id));
    if let (Some(given), Some(id)) = (&put.input.id, &id)
        && given != id
    {
        problems.add("/id", "validation-failed", format!("the request is about {id}"));
    }
    if let (Ref::External { id, .. }, None) = (&put.reference, before)
        && (id.is_empty() || id.len() > 255 || id.chars().any(char::is_control))
    {
        let detail = "an external id has 1 to 255 bytes without control characters";
        problems.add("/external_id", "validation-failed", detail);
    }
}

fn check_preconditions(put: &Put, candidate: &Candidate) -> Result<(), Refusal> {
    let current = candidate.before.as_ref().map(|kept| kept.stored.envelope.etag());
    let failed = || Refusal::Precondition { current: current.clone(), changed: candidate.changed.clone() };
    if put.conditions.create_only && current.is_some() {
        return Err(failed());
    }
    check_match(&put.conditions, current.as_deref()).then_some(()).ok_or_else(failed)
}

/// Whether `If-Match` allows going on.
pub(super) fn check_match(conditions: &Preconditions, current: Option<&str>) -> bool {
    conditions.if_match.is_empty()
        || current.is_some_and(|current| conditions.if_match.iter().any(|tag| tag == "*" || tag == current))
}

/// The CRM's fence: what it writes late must not undo what it wrote since.
fn check_fence(put: &Put, candidate: &Candidate) -> Result<(), Refusal> {
    let stored = candidate.before.as_ref().and_then(|kept| kept.stored.envelope.source_version);
    let (Some(given), Some(current)) = (put.input.source_version, stored) else {
        return Ok(());
    };
    if given < current {
        return Err(Refusal::Stale { given, current });
    }
    if given == current && !candidate.changed.is_empty() {
        return Err(Refusal::VersionConflict { version: given, changed: candidate.changed.clone() });
    }
    Ok(())
}

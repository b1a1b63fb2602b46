//! Objects: what a CRM, an operator or `netdefs/` wants, kept and checked.
//!
//! - [`input`]: the body of a write. `kept`: an object as stored, with its secrets opened.
//! - `resolve`: references to ids. `candidate`: an object as it would be after the write.
//! - `conflicts`: what contradicts other objects. `put`, `remove`: the writes.
//!
//! Ownership: an object belongs to the source that made it. Other sources may read it; writing takes `adopt`, which moves
//! it to the writer's source. So two CRMs can run side by side, and neither overwrites what files define.
//!
//! Invariant: every stored reference is resolved, every stored object was valid together with all others.

mod candidate;
mod conflicts;
pub mod input;
mod kept;
mod put;
mod remove;
mod resolve;

use serde_json::Value;

use super::{Action, Actor, App, Refusal, Resource};
use crate::ids::{TenantId, Uid};
use crate::model::{Envelope, Kind, Ref};
use crate::storage::{Filter, Lookup, Page, StoredObject};

pub(super) use candidate::{Candidate, Draft};
pub(super) use conflicts::{plan_vrfs, vrf_of_plan};
pub(super) use kept::Kept;
pub use put::{ObjectChange, Preconditions, Put, PutOutcome};
pub use remove::Remove;
pub(super) use remove::removal;
pub(super) use resolve::Siblings;

/// An object as shown: secrets are markers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Identity and bookkeeping.
    pub envelope: Envelope,
    /// Desired state.
    pub spec: Value,
}

impl Shown {
    /// What may be shown of a stored object.
    pub fn of(stored: StoredObject) -> Result<Self, Refusal> {
        let spec = kept::shown_spec(&stored)?;
        Ok(Self { envelope: stored.envelope, spec })
    }
}

/// How people and error texts call an object: ``service `UM/1` ``, or its id when it has no external id.
pub(super) fn title(envelope: &Envelope) -> String {
    match &envelope.external_id {
        Some(external_id) => format!("{} `{external_id}`", envelope.kind.name()),
        None => envelope.kind.format_id(envelope.id),
    }
}

impl App {
    /// One object.
    pub async fn object(&self, actor: &Actor, kind: Kind, reference: &Ref) -> Result<Shown, Refusal> {
        actor.require(Action::Read, Resource::Object(kind))?;
        Shown::of(self.find(actor, kind, reference).await?)
    }

    /// Objects in id order, after the key of the page before.
    pub async fn objects(
        &self,
        actor: &Actor,
        kind: Kind,
        filter: Filter,
        after: Option<String>,
        limit: usize,
    ) -> Result<Page<Shown>, Refusal> {
        actor.require(Action::Read, Resource::Object(kind))?;
        let page = self.storage().list(actor.tenant, kind, filter, after, limit).await?;
        let items: Result<Vec<Shown>, Refusal> = page.items.into_iter().map(Shown::of).collect();
        Ok(Page { items: items?, next: page.next, as_of_seq: page.as_of_seq })
    }

    /// The id of an object that a filter names.
    pub async fn id_of(&self, actor: &Actor, kind: Kind, reference: &Ref) -> Result<Uid, Refusal> {
        Ok(self.find(actor, kind, reference).await?.envelope.id)
    }

    /// The one object that a reference names: by id; by external id in the actor's own source, else in any.
    pub(super) async fn find(
        &self,
        actor: &Actor,
        kind: Kind,
        reference: &Ref,
    ) -> Result<StoredObject, Refusal> {
        let missing = || Refusal::NotFound { what: format!("{} {reference}", kind.name()) };
        let found = self.matches(actor.tenant, actor.source.as_deref(), kind, reference).await?;
        one(found, reference)?.ok_or_else(missing)
    }

    /// Everything that a reference may name.
    async fn matches(
        &self,
        tenant: TenantId,
        own_source: Option<&str>,
        kind: Kind,
        reference: &Ref,
    ) -> Result<Vec<StoredObject>, Refusal> {
        let find = |lookup| self.storage().find(tenant, kind, lookup);
        Ok(match reference {
            Ref::Id(of, _) if *of != kind => Vec::new(),
            Ref::Id(_, uid) => find(Lookup::Id(*uid)).await?,
            Ref::External { source: Some(source), id } => {
                find(Lookup::External { source: Some(source.clone()), id: id.clone() }).await?
            }
            Ref::External { source: None, id } => {
                let source = own_source.map(str::to_owned);
                let own = find(Lookup::External { source, id: id.clone() }).await?;
                if own.is_empty() { find(Lookup::AnySource { id: id.clone() }).await? } else { own }
            }
        })
    }
}

/// At most one match, or a refusal that names them all.
fn one(mut found: Vec<StoredObject>, reference: &Ref) -> Result<Option<StoredObject>, Refusal> {
    if found.len() > 1 {
        let matches = found
            .iter()
            .map(|stored| {
                let source = stored.envelope.source.clone().unwrap_or_default();
                let id = stored.envelope.kind.format_id(stored.envelope.id);
                if source.is_empty() { id } else { format!("{id} of source {source}") }
            })
            .collect();
        return Err(Refusal::Ambiguous { reference: reference.to_string(), matches });
    }
    Ok(found.pop())
}

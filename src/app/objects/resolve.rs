//! References to ids: stored specs hold nothing else.
//!
//! A reference is looked up among the objects of the same change first, so that a set of definitions may refer to itself,
//! then in storage: the writer's own source, then any source in which it is unique.

use std::collections::HashMap;

use super::one;
use crate::app::{Actor, App, Refusal};
use crate::ids::Uid;
use crate::limits::NEAR_NAMES_MAX;
use crate::model::decode::{escape, nearest};
use crate::model::{Kind, Problems, Ref, Spec};
use crate::storage::Filter;

/// Objects of the same change by external id in the writer's own source.
pub(in crate::app) type Siblings = HashMap<(Kind, String), Uid>;

impl App {
    /// Resolves every reference of `spec` in place; what cannot be resolved is added to `problems`.
    pub(in crate::app) async fn resolve(
        &self,
        actor: &Actor,
        spec: &mut Spec,
        siblings: &Siblings,
        problems: &mut Problems,
    ) -> Result<(), Refusal> {
        for (member, kind, reference) in spec.refs_mut() {
            let pointer = format!("/spec/{}", escape(member));
            if let Some(uid) = sibling(actor, siblings, kind, reference) {
                *reference = Ref::Id(kind, uid);
                continue;
            }
            let matches = self.matches(actor.tenant, actor.source.as_deref(), kind, reference).await?;
            match one(matches, reference) {
                Ok(Some(found)) => *reference = Ref::Id(kind, found.envelope.id),
                Ok(None) => {
                    let detail = self.unknown(actor, kind, reference).await?;
                    problems.add(pointer, "unknown-ref", detail);
                }
                Err(refusal) => problems.add(pointer, "unknown-ref", refusal.to_string()),
            }
        }
        Ok(())
    }

    /// What to say of a reference that names nothing: the nearest name, if one is near.
    async fn unknown(&self, actor: &Actor, kind: Kind, reference: &Ref) -> Result<String, Refusal> {
        let said = format!("there is no {} {reference}", kind.name());
        if let Ref::Id(of, _) = reference {
            if *of != kind {
                return Ok(format!("{reference} is the id of a {}, not of a {}", of.name(), kind.name()));
            }
            return Ok(said);
        }
        let Ref::External { id, .. } = reference else { return Ok(said) };
        let page = self.storage().list(actor.tenant, kind, Filter::default(), None, NEAR_NAMES_MAX).await?;
        let names: Vec<&str> =
            page.items.iter().filter_map(|stored| stored.envelope.external_id.as_deref()).collect();
        Ok(nearest(id, &names).map_or(said.clone(), |near| format!("{said}; did you mean `{near}`?")))
    }
}

fn sibling(actor: &Actor, siblings: &Siblings, kind: Kind, reference: &Ref) -> Option<Uid> {
    let Ref::External { source, id } = reference else { return None };
    let own = source.is_none() || *source == actor.source;
    own.then(|| siblings.get(&(kind, id.clone())).copied()).flatten()
}

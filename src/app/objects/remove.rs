//! Deleting one object: refused while something refers to it or lives in it.

use std::sync::Arc;

use super::kept::read_spec;
use super::put::{ObjectChange, Preconditions, PutOutcome, check_match, check_owner};
use super::{Shown, title};
use crate::app::{Action, Actor, App, Refusal, Resource};
use crate::ids::PoolId;
use crate::limits::API_COMMIT_ATTEMPTS_MAX;
use crate::model::{Envelope, Kind, Ref};
use crate::storage::{Change, StoredObject, Write};
use crate::time::Stamp;

/// A deletion of one object.
#[derive(Clone, Debug)]
pub struct Remove {
    /// Kind of object.
    pub kind: Kind,
    /// Which.
    pub reference: Ref,
    /// On what condition.
    pub conditions: Preconditions,
    /// Whether an object of another source may be deleted.
    pub adopt: bool,
    /// The request, for audit rows.
    pub request: String,
}

impl App {
    /// Deletes an object. Returns when that is durable and this node decides by it.
    pub async fn remove(self: &Arc<Self>, actor: &Actor, remove: Remove) -> Result<PutOutcome, Refusal> {
        actor.require(Action::Write, Resource::Object(remove.kind))?;
        for _ in 0..API_COMMIT_ATTEMPTS_MAX {
            let stored = self.find(actor, remove.kind, &remove.reference).await?;
            check_owner(actor, &stored.envelope, remove.adopt)?;
            let current = stored.envelope.etag();
            if !check_match(&remove.conditions, Some(&current)) {
                return Err(Refusal::Precondition { current: Some(current), changed: Vec::new() });
            }
            self.check_unused(&stored.envelope)?;
            let now = self.now();
            let write = removal(actor, now, &stored);
            let gone = write.object.clone();
            let change = Change {
                at: now,
                actor: actor.label(),
                request: remove.request.clone(),
                writes: vec![write],
            };
            match self.commit(change).await {
                Ok(seq) => {
                    return Ok(PutOutcome {
                        object: Shown::of(gone)?,
                        change: ObjectChange::Deleted,
                        changed: Vec::new(),
                        applied_seq: seq,
                    });
                }
                Err(error) if error.lost_a_race() => {}
                Err(error) => return Err(self.name_holder(actor, error).await),
            }
        }
        Err(Refusal::Contended { object: remove.reference.to_string() })
    }

    /// A pool from which somebody has an address stays, so that the ledger keeps knowing where the address belongs.
    pub(in crate::app) fn check_unused(&self, envelope: &Envelope) -> Result<(), Refusal> {
        if envelope.kind != Kind::Pool {
            return Ok(());
        }
        let Some(pool) = self.parts().ledger.pool(PoolId(envelope.id)) else { return Ok(()) };
        let counts = pool.counts(self.now());
        let used = counts.granted + counts.reserved;
        if used == 0 {
            return Ok(());
        }
        let users = vec![format!("{used} grants; set \"draining\": true and wait until they have ended")];
        Err(Refusal::InUse { object: title(envelope), users })
    }
}

/// The row that deletes an object.
pub(in crate::app) fn removal(actor: &Actor, now: Stamp, stored: &StoredObject) -> Write {
    let mut object = stored.clone();
    object.envelope.generation += 1;
    object.envelope.updated_at = now;
    object.envelope.updated_by = actor.label();
    object.envelope.deleted_at = Some(now);
    let refs = read_spec(stored).map(|spec| references(&spec)).unwrap_or_default();
    Write {
        object,
        expected_generation: stored.envelope.generation,
        unique_keys: Vec::new(),
        refs,
        before_json: stored.spec_json.clone(),
    }
}

fn references(spec: &crate::model::Spec) -> Vec<(Kind, crate::ids::Uid)> {
    spec.refs()
        .into_iter()
        .filter_map(|(_, kind, reference)| match reference {
            Ref::Id(_, uid) => Some((kind, *uid)),
            Ref::External { .. } => None,
        })
        .collect()
}

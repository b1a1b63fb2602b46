//! An object as it would be after a write, and the row that makes it so.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::input::{ObjectInput, differences};
use super::kept::{Kept, marker};
use super::title;
use crate::app::{Actor, App, Refusal};
use crate::ids::Uid;
use crate::model::decode::SecretField;
use crate::model::{Envelope, Kind, Problems, Spec};
use crate::secret::Secret;
use crate::storage::{StoredObject, Write};
use crate::time::Stamp;

/// What an object would become.
#[derive(Clone, Debug)]
pub(in crate::app) struct Candidate {
    pub(in crate::app) before: Option<Kept>,
    pub(in crate::app) envelope: Envelope,
    /// References resolved, secrets filled in.
    pub(in crate::app) spec: Spec,
    /// Members that differ from what is stored; empty means that there is nothing to write.
    pub(in crate::app) changed: Vec<String>,
}

/// What a candidate is made from.
pub(in crate::app) struct Draft {
    pub(in crate::app) before: Option<Kept>,
    /// Id for an object that is not there yet.
    pub(in crate::app) id: Uid,
    pub(in crate::app) external_id: Option<String>,
    pub(in crate::app) input: ObjectInput,
    /// The resolved spec.
    pub(in crate::app) spec: Spec,
}

impl Candidate {
    /// Puts the draft over what is stored.
    pub(in crate::app) fn new(actor: &Actor, now: Stamp, draft: Draft) -> Result<Self, Refusal> {
        let Draft { before, id, external_id, input, mut spec } = draft;
        keep_secrets(&mut spec, before.as_ref())?;
        let old = before.as_ref().map(|kept| &kept.stored.envelope);
        let mut envelope = old.cloned().unwrap_or_else(|| Envelope {
            kind: spec.kind(),
            id,
            tenant: actor.tenant,
            source: actor.source.clone(),
            external_id,
            generation: 0,
            source_version: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            created_at: now,
            updated_at: now,
            updated_by: String::new(),
            deleted_at: None,
            seq: 0,
        });
        // Whoever was allowed to come this far owns the object from now on.
        envelope.source.clone_from(&actor.source);
        if let Some(labels) = input.labels {
            envelope.labels = labels;
        }
        if let Some(annotations) = input.annotations {
            envelope.annotations = annotations;
        }
        envelope.source_version = input.source_version.or(envelope.source_version);
        let changed = before.as_ref().map_or_else(Vec::new, |kept| changed(kept, &envelope, &spec));
        envelope.generation += 1;
        envelope.updated_at = now;
        envelope.updated_by = actor.label();
        Ok(Self { before, envelope, spec, changed })
    }

    /// Whether it is new.
    pub(in crate::app) const fn is_new(&self) -> bool {
        self.before.is_none()
    }

    /// Whether writing it would change nothing.
    pub(in crate::app) const fn is_unchanged(&self) -> bool {
        self.before.is_some() && self.changed.is_empty()
    }

    pub(in crate::app) fn title(&self) -> String {
        title(&self.envelope)
    }
}

/// Replaces every "keep" by the stored secret; the caller cannot keep what is not there.
fn keep_secrets(spec: &mut Spec, before: Option<&Kept>) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    for (name, field) in spec.secrets_mut() {
        if *field != SecretField::Keep {
            continue;
        }
        let stored = before.and_then(|kept| {
            kept.spec.secrets().into_iter().find(|(known, _)| *known == name).map(|(_, stored)| stored)
        });
        match stored {
            Some(SecretField::Set(secret)) => *field = SecretField::Set(secret.clone()),
            Some(SecretField::Keep) => {
                let detail = "the stored secret cannot be opened with this master key; write it anew";
                problems.add(format!("/spec/{name}"), "validation-failed", detail);
            }
            Some(SecretField::Absent) | None => {
                let detail = "no secret is stored that could be kept; write one";
                problems.add(format!("/spec/{name}"), "validation-failed", detail);
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Refusal::Invalid(problems)) }
}

fn changed(kept: &Kept, envelope: &Envelope, spec: &Spec) -> Vec<String> {
    let mut changed = Vec::new();
    let value = |spec: &Spec| serde_json::to_value(spec).unwrap_or_default();
    differences(&value(&kept.spec), &value(spec), "/spec", &mut changed);
    let old: BTreeMap<_, _> = kept.spec.secrets().into_iter().collect();
    for (name, field) in spec.secrets() {
        let pointer = format!("/spec/{name}");
        if old.get(name) != Some(&field) && !changed.contains(&pointer) {
            changed.push(pointer);
        }
    }
    let before = &kept.stored.envelope;
    for (name, differs) in [
        ("/labels", before.labels != envelope.labels),
        ("/annotations", before.annotations != envelope.annotations),
        ("/source_version", before.source_version != envelope.source_version),
        ("/source", before.source != envelope.source),
    ] {
        if differs {
            changed.push(name.to_owned());
        }
    }
    changed
}

impl App {
    /// The row of a candidate. `vrf_of_plan` tells the VRF of plans that the candidate may refer to.
    pub(in crate::app) fn write(
        &self,
        candidate: &Candidate,
        vrf_of_plan: &dyn Fn(Uid) -> Option<String>,
    ) -> Result<Write, Refusal> {
        let Candidate { before, envelope, spec, .. } = candidate;
        let vault = &self.parts().vault;
        let secrets: Vec<(&str, &Secret)> =
            spec.secrets().into_iter().filter_map(|(name, field)| Some((name, field.secret()?))).collect();
        let sealed = if secrets.is_empty() {
            None
        } else {
            let sealed = vault.seal_secrets(envelope.tenant, envelope.kind, envelope.id, &secrets);
            let missing = || Refusal::Internal { why: "the data key is not loaded".to_owned() };
            Some(sealed.ok_or_else(missing)?)
        };
        let refs = spec
            .refs()
            .into_iter()
            .filter_map(|(_, kind, reference)| Some((kind, reference.uid()?)))
            .collect();
        Ok(Write {
            object: StoredObject {
                envelope: envelope.clone(),
                spec_json: self.spec_with_markers(candidate, &secrets)?,
                sealed,
            },
            expected_generation: before.as_ref().map_or(0, |kept| kept.stored.envelope.generation),
            unique_keys: unique_keys(spec, vrf_of_plan),
            refs,
            before_json: before.as_ref().map(|kept| kept.stored.spec_json.clone()).unwrap_or_default(),
        })
    }

    /// The spec as JSON, each secret replaced by what may be known of it.
    fn spec_with_markers(
        &self,
        candidate: &Candidate,
        secrets: &[(&str, &Secret)],
    ) -> Result<String, Refusal> {
        let Candidate { before, envelope, spec, .. } = candidate;
        let failed = |error: serde_json::Error| Refusal::Internal { why: format!("spec: {error}") };
        let mut value = serde_json::to_value(spec).map_err(failed)?;
        let written: Value = before
            .as_ref()
            .and_then(|kept| serde_json::from_str(&kept.stored.spec_json).ok())
            .unwrap_or_default();
        for (name, secret) in secrets {
            let fingerprint =
                self.parts().vault.fingerprint(envelope.tenant, envelope.kind, envelope.id, name, secret);
            let same = marker(&written, name)
                .filter(|marker| marker.get("fingerprint").is_some_and(|known| *known == fingerprint));
            let marker = same.cloned().unwrap_or_else(
                || json!({"set": true, "updated_at": envelope.updated_at, "fingerprint": fingerprint}),
            );
            if let Some(members) = value.as_object_mut() {
                members.insert((*name).to_owned(), marker);
            }
        }
        serde_json::to_string(&value).map_err(failed)
    }
}

/// Everything of which an object must be the only holder. The VRF of a fixed address is the service's, else its plan's.
fn unique_keys(spec: &Spec, vrf_of_plan: &dyn Fn(Uid) -> Option<String>) -> Vec<String> {
    let mut keys = spec.unique_keys();
    match spec {
        Spec::Service(service) => {
            let own = service.addressing.vrf.clone();
            let vrf = own.or_else(|| service.plan.uid().and_then(vrf_of_plan)).unwrap_or_default();
            keys.extend(service.addressing.fixed().map(|prefix| format!("address:{vrf}:{prefix}")));
        }
        Spec::Relay(relay) => {
            keys.extend(relay.addresses.iter().map(|address| format!("relay:{address}")));
        }
        _ => {}
    }
    keys
}

/// The kinds whose addresses are compared with those of all others of these kinds.
pub(in crate::app) const fn is_infrastructure(kind: Kind) -> bool {
    matches!(kind, Kind::Network | Kind::Pool | Kind::Nas | Kind::Relay)
}

//! An object as stored, read back: spec, and the secrets that are sealed beside it.

use serde_json::Value;

use super::title;
use crate::app::Refusal;
use crate::model::Spec;
use crate::model::decode::SecretField;
use crate::storage::Open;
use crate::storage::StoredObject;
use crate::vault::Vault;

/// A stored object with its spec as the model has it.
#[derive(Clone, Debug)]
pub(in crate::app) struct Kept {
    pub(in crate::app) stored: StoredObject,
    /// Secrets are filled in; one that does not open stays [`SecretField::Keep`].
    pub(in crate::app) spec: Spec,
}

impl Kept {
    pub(in crate::app) fn open(stored: StoredObject, vault: &Vault) -> Result<Self, Refusal> {
        let mut spec = read_spec(&stored)?;
        let secrets = vault.secrets(&stored).unwrap_or_default();
        for (name, field) in spec.secrets_mut() {
            let secret = secrets.iter().find(|(member, _)| member == name);
            if let (SecretField::Keep, Some((_, secret))) = (&*field, secret) {
                *field = SecretField::Set(secret.clone());
            }
        }
        Ok(Self { stored, spec })
    }
}

pub(in crate::app) fn read_spec(stored: &StoredObject) -> Result<Spec, Refusal> {
    Spec::from_stored(stored.envelope.kind, &stored.spec_json).map_err(|error| damaged(stored, &error))
}

fn damaged(stored: &StoredObject, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::Internal { why: format!("stored spec of {}: {error}", title(&stored.envelope)) }
}

/// The spec for people: every member the model knows, and of secrets only the marker that was stored for them.
pub(super) fn shown_spec(stored: &StoredObject) -> Result<Value, Refusal> {
    let spec = read_spec(stored)?;
    let written: Value = serde_json::from_str(&stored.spec_json).map_err(|error| damaged(stored, &error))?;
    let mut shown = serde_json::to_value(&spec).map_err(|error| damaged(stored, &error))?;
    for (name, _) in spec.secrets() {
        if let (Some(marker), Some(members)) = (written.get(name), shown.as_object_mut()) {
            members.insert(name.to_owned(), marker.clone());
        }
    }
    Ok(shown)
}

/// The stored marker of a secret member, if there is one.
pub(super) fn marker<'a>(written: &'a Value, member: &str) -> Option<&'a Value> {
    written.get(member).filter(|marker| marker.is_object())
}

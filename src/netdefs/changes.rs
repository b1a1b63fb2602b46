//! What applying a set of definitions would do, before it is done.
//!
//! A pure comparison of what is in force with what the files say. The result is for people first: its `Display` is what
//! `lastmile apply` prints. Nothing is removed unless that was asked for; removing drains, and the use-case still refuses
//! while leases or other objects hold on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::definitions::{Definition, Definitions, SOURCE};
use crate::model::{Kind, Ref, Spec};

/// Identity of an object defined in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Kind of object.
    pub kind: Kind,
    /// Its id in the files.
    pub external_id: String,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.external_id)
    }
}

/// One member that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberChange {
    /// Name of the member.
    pub member: String,
    /// Its value now, as JSON; `-` when absent.
    pub before: String,
    /// Its value then.
    pub after: String,
}

/// An object that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Which.
    pub object: Named,
    /// What of it; never empty.
    pub members: Vec<MemberChange>,
}

/// What applying would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangePlan {
    /// Objects to make, in an order that references allow.
    pub create: Vec<Named>,
    /// Objects to change, in the same order.
    pub update: Vec<Update>,
    /// Number of objects that are as they should be.
    pub unchanged: usize,
    /// Objects to drain and remove, in an order that references allow.
    pub remove: Vec<Named>,
    /// Objects that are no longer defined but stay, because removing was not asked for.
    pub kept: Vec<Named>,
}

impl ChangePlan {
    /// Whether applying would change nothing.
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.remove.is_empty()
    }
}

impl fmt::Display for ChangePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for object in &self.create {
            writeln!(f, "+ {object}")?;
        }
        for update in &self.update {
            write!(f, "~ {}:", update.object)?;
            for (position, change) in update.members.iter().enumerate() {
                let comma = if position == 0 { "" } else { "," };
                write!(f, "{comma} {} {} -> {}", change.member, change.before, change.after)?;
            }
            writeln!(f)?;
        }
        for object in &self.remove {
            writeln!(f, "- {object} (drain)")?;
        }
        for object in &self.kept {
            writeln!(f, "- {object} (drain: refused without --prune)")?;
        }
        writeln!(f, "= {} unchanged", self.unchanged)
    }
}

/// Compares what is in force with what is wanted.
///
/// `current` holds the objects whose source is `netdefs`, with references as external ids ([`name_references`]) and with
/// their secrets filled in: a secret that is only known to be set counts as changed.
pub fn plan_changes(current: &[(Kind, String, Spec)], wanted: &Definitions, prune: bool) -> ChangePlan {
    let present: BTreeMap<(Kind, &str), &Spec> =
        current.iter().map(|(kind, id, spec)| ((*kind, id.as_str()), spec)).collect();
    let mut plan = ChangePlan::default();
    for definition in &wanted.objects {
        let object = named(definition.kind, &definition.external_id);
        match present.get(&(definition.kind, definition.external_id.as_str())) {
            None => plan.create.push(object),
            Some(spec) => match changed_members(spec, definition) {
                members if members.is_empty() => plan.unchanged += 1,
                members => plan.update.push(Update { object, members }),
            },
        }
    }
    let defined: BTreeSet<(Kind, &str)> =
        wanted.objects.iter().map(|definition| (definition.kind, definition.external_id.as_str())).collect();
    // What refers goes before what it refers to.
    for kind in Kind::ALL.into_iter().rev() {
        let gone = present.keys().filter(|(of, id)| *of == kind && !defined.contains(&(*of, *id)));
        let list = if prune { &mut plan.remove } else { &mut plan.kept };
        list.extend(gone.map(|(kind, id)| named(*kind, id)));
    }
    plan
}

/// Turns resolved references back into external ids, where `external_id` knows one.
pub fn name_references(spec: &mut Spec, external_id: impl Fn(Kind, crate::ids::Uid) -> Option<String>) {
    for (_, _, reference) in spec.refs_mut() {
        if let Ref::Id(kind, uid) = reference
            && let Some(id) = external_id(*kind, *uid)
        {
            *reference = Ref::external(id);
        }
    }
}

fn named(kind: Kind, external_id: &str) -> Named {
    Named { kind, external_id: external_id.to_owned() }
}

fn changed_members(current: &Spec, definition: &Definition) -> Vec<MemberChange> {
    let (before, after) = (members(current), members(&definition.spec));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let text = |members: &BTreeMap<String, Value>, name: &String| {
        members.get(name).map_or_else(|| "-".to_owned(), ToString::to_string)
    };
    let mut changes: Vec<MemberChange> = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| MemberChange {
            member: name.clone(),
            before: text(&before, name),
            after: text(&after, name),
        })
        .collect();
    let secret = |absent: bool| if absent { "-" } else { "<secret>" }.to_owned();
    for ((member, before), (_, after)) in current.secrets().into_iter().zip(definition.spec.secrets()) {
        if before != after {
            changes.push(MemberChange {
                member: member.to_owned(),
                before: secret(before.is_absent()),
                after: secret(after.is_absent()),
            });
        }
    }
    changes
}

/// The members as JSON, without secrets and without what is absent; references within the files in one form.
fn members(spec: &Spec) -> BTreeMap<String, Value> {
    let mut spec = spec.clone();
    for (_, _, reference) in spec.refs_mut() {
        if let Ref::External { source, .. } = reference
            && source.as_deref() == Some(SOURCE)
        {
            *source = None;
        }
    }
    let secrets: Vec<&str> = spec.secrets().into_iter().map(|(name, _)| name).collect();
    match serde_json::to_value(&spec) {
        Ok(Value::Object(members)) => members
            .into_iter()
            .filter(|(name, value)| !value.is_null() && !secrets.contains(&name.as_str()))
            .collect(),
        _ => BTreeMap::new(),
    }
}

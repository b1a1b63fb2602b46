//! The next snapshot from the after-images of a change.
//!
//! A write of a service or access copies one path in each of the three or four maps that hold it. A write of a
//! definition derives the tables of its family anew. Only one change walks all services: a plan that moves to another
//! VRF, because the fixed addresses of its services move with it.
//!
//! Invariant: the result equals [`Snapshot::of`] on all objects as they are then, whatever the order of `changes`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::build::{default_space, space_key};
use super::compile::{Compiled, compile};
use super::definitions::{Definitions, Touched, find, put, take};
use super::types::{Access, Service};
use super::{Snapshot, assigned, hash, own_space};
use crate::ids::Uid;
use crate::model::{Kind, Object};

/// What became of one object.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// Its state now; deleted when it says so.
    Now(&'a Object),
    /// It is gone.
    Gone(Kind, Uid),
    /// It was written, but its stored form cannot be opened: serving what it was before would be wrong.
    Unreadable(Kind, Uid),
}

impl Change<'_> {
    const fn subject(&self) -> (Kind, Uid) {
        match self {
            Self::Now(object) => (object.spec.kind(), object.envelope.id),
            Self::Gone(kind, id) | Self::Unreadable(kind, id) => (*kind, *id),
        }
    }

    fn compiled(&self) -> Option<Compiled> {
        match self {
            Self::Now(object) if object.envelope.deleted_at.is_none() => compile(object),
            Self::Now(_) | Self::Gone(..) | Self::Unreadable(..) => None,
        }
    }
}

impl Snapshot {
    /// This snapshot with the after-images `changes` applied, as the state at `seq`.
    #[must_use]
    pub fn with(&self, changes: &[Object], seq: u64) -> Self {
        let changes: Vec<Change<'_>> = changes.iter().map(Change::Now).collect();
        self.with_changes(&changes, seq)
    }

    /// The same for changes of which some may be unreadable.
    #[must_use]
    pub fn with_changes(&self, changes: &[Change<'_>], seq: u64) -> Self {
        let mut next = self.clone();
        next.seq = seq;
        // Definitions first: where a service's fixed addresses are filed depends on its plan.
        next.change_definitions(changes);
        for change in changes {
            let (kind, id) = change.subject();
            match kind {
                Kind::Service => next.change_service(id, change.compiled()),
                Kind::Access => next.change_access(id, change.compiled()),
                _ => {}
            }
            next.note_unreadable(*change);
        }
        next
    }

    fn change_definitions(&mut self, changes: &[Change<'_>]) {
        let mut touched = Touched::default();
        for change in changes {
            touched.note(change.subject().0);
        }
        if !touched.any() {
            return;
        }
        let before = Arc::clone(&self.definitions);
        let definitions = Arc::make_mut(&mut self.definitions);
        let mut plans = BTreeSet::new();
        for change in changes {
            let (kind, id) = change.subject();
            if kind == Kind::Plan {
                plans.insert(id);
            }
            match change.compiled() {
                Some(compiled) => definitions.put(compiled),
                None => definitions.remove(kind, id),
            }
        }
        definitions.derive(touched);
        plans.retain(|plan| moved(&before, &self.definitions, *plan));
        if !plans.is_empty() {
            self.move_fixed(&before, &plans);
        }
    }

    /// Files the fixed addresses of the services of `plans` under the spaces that those plans have now.
    fn move_fixed(&mut self, before: &Definitions, plans: &BTreeSet<Uid>) {
        for service in self.services.iter() {
            if own_space(service).is_some() || !plans.contains(&service.plan) {
                continue;
            }
            let (from, to) = (space_key(before, service), space_key(&self.definitions, service));
            for prefix in assigned(service) {
                self.fixed.remove((from, prefix, service.id));
                self.fixed.insert((to, prefix, service.id));
            }
        }
    }

    fn change_service(&mut self, id: Uid, now: Option<Compiled>) {
        let now = match now {
            Some(Compiled::Service(service)) => Some(service),
            _ => None,
        };
        let before = match &now {
            Some(service) => put(&mut self.services, Arc::clone(service)),
            None => take(&mut self.services, id),
        };
        self.change_fixed(before.as_deref(), now.as_deref());
    }

    fn change_fixed(&mut self, before: Option<&Service>, now: Option<&Service>) {
        if let Some(service) = before {
            let key = space_key(&self.definitions, service);
            for prefix in assigned(service) {
                self.fixed.remove((key, prefix, service.id));
            }
        }
        if let Some(service) = now {
            let key = space_key(&self.definitions, service);
            for prefix in assigned(service) {
                self.fixed.insert((key, prefix, service.id));
            }
        }
    }

    fn change_access(&mut self, id: Uid, now: Option<Compiled>) {
        let now: Option<Arc<Access>> = match now {
            Some(Compiled::Access(access)) => Some(access),
            _ => None,
        };
        let before = match &now {
            Some(access) => put(&mut self.accesses, Arc::clone(access)),
            None => take(&mut self.accesses, id),
        };
        if let Some(before) = before {
            self.access_index.remove(&before);
        }
        if let Some(access) = now {
            self.access_index.insert(&access);
        }
    }

    fn note_unreadable(&mut self, change: Change<'_>) {
        let (kind, id) = change.subject();
        let same = |noted: &(Kind, Uid)| noted.1 == id;
        if matches!(change, Change::Unreadable(..)) {
            self.unreadable.insert(hash::of_uid(id), (kind, id), same);
        } else {
            self.unreadable.remove(hash::of_uid(id), same);
        }
    }
}

/// Whether a plan's own address space differs between two versions; a missing plan counts as in the default one.
fn moved(before: &Definitions, now: &Definitions, plan: Uid) -> bool {
    let of =
        |definitions: &Definitions| find(&definitions.plans, plan).map(|entry| Arc::clone(&entry.plan.space));
    match (of(before), of(now)) {
        (None, None) => false,
        (Some(before), Some(now)) => before != now,
        (Some(space), None) | (None, Some(space)) => *space != default_space(space.tenant),
    }
}

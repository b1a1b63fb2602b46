//! A snapshot from everything at once: the start of a node, and the yardstick for deltas.
//!
//! Objects stream in, in any order, and are compiled as they come; the maps are built at the end, each in one pass.

use std::collections::HashMap;
use std::sync::Arc;

use super::compile::{Compiled, Opened, compile};
use super::definitions::{Definitions, Identified, Touched, find};
use super::fixed::FixedIndex;
use super::hash;
use super::index::AccessIndex;
use super::trie::Trie;
use super::types::{Access, Service, Space};
use super::{Snapshot, assigned, own_space};
use crate::ids::{TenantId, Uid};
use crate::model::{Kind, Object};

/// Collects objects into a snapshot.
#[derive(Debug, Default)]
pub struct Builder {
    definitions: Definitions,
    services: Vec<(u64, Arc<Service>)>,
    accesses: Vec<(u64, Arc<Access>)>,
    unreadable: Trie<u64, (Kind, Uid)>,
}

impl Builder {
    /// Starts with nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an object; a deleted one is left out, a second one of the same id replaces the first.
    pub fn add(&mut self, opened: &Opened) {
        if opened.object.envelope.deleted_at.is_none()
            && let Some(compiled) = compile(&opened.object)
        {
            self.put(compiled);
        }
    }

    /// Notes an object that cannot be served because its stored form could not be opened.
    pub fn add_unreadable(&mut self, kind: Kind, id: Uid) {
        let same = |noted: &(Kind, Uid)| noted.1 == id;
        self.unreadable.insert(hash::of_uid(id), (kind, id), same);
    }

    pub(super) fn put(&mut self, object: Compiled) {
        match object {
            Compiled::Service(service) => self.services.push((hash::of_uid(service.id), service)),
            Compiled::Access(access) => self.accesses.push((hash::of_uid(access.id), access)),
            definition => self.definitions.put(definition),
        }
    }

    /// The snapshot of what was added, as the state at `seq`.
    pub fn finish(mut self, seq: u64) -> Snapshot {
        self.definitions.derive(Touched::ALL);
        let services = Trie::from_entries(newest(self.services));
        let accesses = Trie::from_entries(newest(self.accesses));
        let access_index = AccessIndex::build(accesses.iter());
        let fixed = fixed(&self.definitions, services.iter());
        Snapshot {
            seq,
            definitions: Arc::new(self.definitions),
            services,
            accesses,
            access_index,
            fixed,
            unreadable: self.unreadable,
        }
    }
}

impl Snapshot {
    /// The snapshot of `objects`, as the state at `seq`.
    pub fn of<'a>(objects: impl IntoIterator<Item = &'a Object>, seq: u64) -> Self {
        let mut builder = Builder::new();
        for object in objects {
            if object.envelope.deleted_at.is_none()
                && let Some(compiled) = compile(object)
            {
                builder.put(compiled);
            }
        }
        builder.finish(seq)
    }
}

/// Keeps the last of several entries with one id.
fn newest<V: Identified>(mut entries: Vec<(u64, Arc<V>)>) -> Vec<(u64, Arc<V>)> {
    // The id is behind a pointer: look there only where hashes are equal.
    entries.sort_by(|left, right| left.0.cmp(&right.0).then_with(|| left.1.id().cmp(&right.1.id())));
    entries.dedup_by(|later, earlier| {
        let same = later.1.id() == earlier.1.id();
        if same {
            std::mem::swap(later, earlier);
        }
        same
    });
    entries
}

fn fixed<'a>(definitions: &Definitions, services: impl Iterator<Item = &'a Arc<Service>>) -> FixedIndex {
    let mut keys = SpaceKeys::new(definitions);
    let mut assignments = Vec::new();
    for service in services {
        let mut prefixes = assigned(service).peekable();
        if prefixes.peek().is_some() {
            let key = keys.of(service);
            assignments.extend(prefixes.map(|prefix| (key, prefix, service.id)));
        }
    }
    FixedIndex::build(assignments)
}

/// Space keys of services, remembered by plan.
struct SpaceKeys<'a> {
    definitions: &'a Definitions,
    known: HashMap<(Uid, TenantId), u64>,
}

impl<'a> SpaceKeys<'a> {
    fn new(definitions: &'a Definitions) -> Self {
        Self { definitions, known: HashMap::new() }
    }

    fn of(&mut self, service: &Service) -> u64 {
        if let Some(own) = own_space(service) {
            return own.key();
        }
        let definitions = self.definitions;
        *self.known.entry((service.plan, service.tenant)).or_insert_with(|| space_key(definitions, service))
    }
}

/// Key of the address space of a service. A service whose plan is missing counts as in the default one.
pub(super) fn space_key(definitions: &Definitions, service: &Service) -> u64 {
    if let Some(own) = own_space(service) {
        return own.key();
    }
    match find(&definitions.plans, service.plan) {
        Some(entry) => entry.plan.space.key(),
        None => default_space(service.tenant).key(),
    }
}

/// The default VRF of a tenant.
pub(super) fn default_space(tenant: TenantId) -> Space {
    Space { tenant, vrf: Box::default() }
}

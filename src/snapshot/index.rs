//! Accesses by what a packet shows: login, MAC address or line.
//!
//! An access is filed once, under its key together with its scope (NAS or relay group, network). A lookup tries scopes
//! from the most to the least specific, (group, network), (group, any), (any, network), (any, any), and within one scope
//! of a line remote-id with circuit-id, then circuit-id alone, then remote-id alone: the operator who bound a service to
//! a place or network meant it to win over one that is not, as where one line carries several services. Combinations that no
//! access uses are counted and skipped, so the usual lookup is one probe.
//!
//! Invariants: each access is filed at most once, under its id; keys are compared after the hash matched. Storage allows
//! no two accesses with one key in one scope; should there be two all the same, the older answers, on every node.

use std::sync::Arc;

use super::hash;
use super::trie::Trie;
use super::types::{Access, AccessKey};
use crate::ids::{TenantId, Uid};
use crate::model::Mac;

/// What a packet shows, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shown<'a> {
    Login(&'a [u8]),
    Mac(Mac),
    /// Remote-id and circuit-id.
    Line(Option<&'a [u8]>, Option<&'a [u8]>),
}

impl<'a> Shown<'a> {
    fn of(key: &'a AccessKey) -> Self {
        match key {
            AccessKey::Login(login) => Self::Login(login),
            AccessKey::Mac(mac) => Self::Mac(*mac),
            AccessKey::Line { remote_id, circuit_id } => {
                Self::Line(remote_id.as_deref(), circuit_id.as_deref())
            }
        }
    }

    /// Row of the counters; `None` for a line without any id, which identifies nothing.
    const fn form(self) -> Option<usize> {
        match self {
            Self::Login(_) => Some(0),
            Self::Mac(_) => Some(1),
            Self::Line(Some(_), Some(_)) => Some(2),
            Self::Line(None, Some(_)) => Some(3),
            Self::Line(Some(_), None) => Some(4),
            Self::Line(None, None) => None,
        }
    }
}

/// Where an access is valid: group (`None` for any) and network (nil for any).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Scope<'a> {
    tenant: TenantId,
    group: Option<&'a str>,
    network: Uid,
}

impl<'a> Scope<'a> {
    /// A login is unique within its group whatever its network, so its network is no part of where it is filed.
    fn of(access: &'a Access) -> Self {
        Self {
            tenant: access.tenant,
            group: access.group.as_deref(),
            network: match access.key {
                AccessKey::Login(_) => Uid::NIL,
                AccessKey::Mac(_) | AccessKey::Line { .. } => access.network,
            },
        }
    }

    /// Column of the counters.
    fn column(self) -> usize {
        2 * usize::from(self.group.is_some()) + usize::from(self.network != Uid::NIL)
    }
}

const FORMS: usize = 5;
const SCOPES: usize = 4;

/// The index; see the module.
#[derive(Clone, Debug, Default)]
pub(super) struct AccessIndex {
    filed: Trie<u64, Arc<Access>>,
    counts: [[u32; SCOPES]; FORMS],
}

impl AccessIndex {
    /// Files many accesses at once.
    pub(super) fn build<'a>(accesses: impl Iterator<Item = &'a Arc<Access>>) -> Self {
        let mut index = Self::default();
        let mut entries = Vec::with_capacity(accesses.size_hint().0);
        for access in accesses {
            if index.count(access, true) {
                entries.push((key_hash(access), Arc::clone(access)));
            }
        }
        index.filed = Trie::from_entries(entries);
        index
    }

    /// Files an access.
    pub(super) fn insert(&mut self, access: &Arc<Access>) {
        if Shown::of(&access.key).form().is_none() {
            return;
        }
        // Only the id replaces: within one change, another access may take a key before its holder gave it up.
        let before = self.filed.insert(key_hash(access), Arc::clone(access), |filed| filed.id == access.id);
        if before.is_none() {
            self.count(access, true);
        }
    }

    /// Takes an access out that was filed as it is.
    pub(super) fn remove(&mut self, access: &Access) {
        let removed = self.filed.remove(key_hash(access), |filed| filed.id == access.id);
        if removed.is_some() {
            self.count(access, false);
        }
    }

    /// The access that `shown` names within `group` and `network`, most specific first.
    pub(super) fn find(
        &self,
        tenant: TenantId,
        group: Option<&str>,
        network: Option<Uid>,
        shown: Shown<'_>,
    ) -> Option<&Arc<Access>> {
        let network = network.unwrap_or(Uid::NIL);
        let scopes = [(group, network), (group, Uid::NIL), (None, network), (None, Uid::NIL)];
        for (at, (scope_group, scope_network)) in scopes.into_iter().enumerate() {
            // What the packet does not tell cannot be matched; those scopes are the same as later ones.
            let repeated = (at < 2 && group.is_none()) || (at % 2 == 0 && network == Uid::NIL);
            if repeated {
                continue;
            }
            let scope = Scope { tenant, group: scope_group, network: scope_network };
            if let Some(found) = self.find_in(scope, shown) {
                return Some(found);
            }
        }
        None
    }

    /// Asks for the way to a login, of the group if any login is filed under one, else of none; its hash.
    pub(super) fn touch_login(&self, tenant: TenantId, group: Option<&str>, login: &[u8]) -> Option<u64> {
        let shown = Shown::Login(login);
        let form = shown.form()?;
        let scopes = [group, None].map(|group| Scope { tenant, group, network: Uid::NIL });
        let scope = scopes.into_iter().find(|scope| self.counts[form][scope.column()] > 0)?;
        let hash = hash::of(&(scope, shown));
        self.filed.touch_way(hash);
        Some(hash)
    }

    /// Second step: the entry.
    pub(super) fn touch_filed(&self, hash: u64) {
        self.filed.touch(hash);
    }

    /// The first access filed under a hash.
    pub(super) fn filed_at(&self, hash: u64) -> Option<&Access> {
        self.filed.at(hash).first().map(|(_, access)| &**access)
    }

    fn find_in(&self, scope: Scope<'_>, shown: Shown<'_>) -> Option<&Arc<Access>> {
        match shown {
            Shown::Line(Some(remote), Some(circuit)) => self
                .probe(scope, shown)
                .or_else(|| self.probe(scope, Shown::Line(None, Some(circuit))))
                .or_else(|| self.probe(scope, Shown::Line(Some(remote), None))),
            Shown::Login(_) | Shown::Mac(_) | Shown::Line(..) => self.probe(scope, shown),
        }
    }

    fn probe(&self, scope: Scope<'_>, shown: Shown<'_>) -> Option<&Arc<Access>> {
        if self.counts[shown.form()?][scope.column()] == 0 {
            return None;
        }
        let at = self.filed.at(hash::of(&(scope, shown)));
        let matching = at.iter().map(|(_, access)| access);
        matching
            .filter(|access| Scope::of(access) == scope && Shown::of(&access.key) == shown)
            .min_by_key(|access| access.id)
    }

    /// Counts an access in or out; false when it identifies nothing.
    fn count(&mut self, access: &Access, more: bool) -> bool {
        let Some(form) = Shown::of(&access.key).form() else {
            return false;
        };
        let count = &mut self.counts[form][Scope::of(access).column()];
        *count = if more { count.saturating_add(1) } else { count.saturating_sub(1) };
        true
    }
}

fn key_hash(access: &Access) -> u64 {
    hash::of(&(Scope::of(access), Shown::of(&access.key)))
}

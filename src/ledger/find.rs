//! Pools by id and by address, their installation, and the question whether a prefix is in use anywhere else.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Ledger;
use super::apart::Stand;
use super::pool::{PoolLedger, SpreadMap};
use super::tally::Stray;
use crate::ids::PoolId;
use crate::journal::record::Holder;
use crate::model::Prefix;
use crate::snapshot::types::Space;

/// One range of one pool.
#[derive(Clone, Debug)]
struct Span {
    space_key: u64,
    first: u128,
    last: u128,
    /// The highest last address of this and all earlier ranges of the space: bounds the search for overlaps.
    reach: u128,
    wide_len: u8,
    pool: Arc<PoolLedger>,
}

/// The pools of one installation, immutable.
#[derive(Clone, Debug, Default)]
pub(super) struct PoolSet {
    pub(super) by_id: SpreadMap<u128, Arc<PoolLedger>>,
    /// By (space, first address).
    spans: Vec<Span>,
}

impl PoolSet {
    fn of(by_id: SpreadMap<u128, Arc<PoolLedger>>) -> Self {
        let mut spans = Vec::new();
        for pool in by_id.values() {
            let (wide_len, ranges) = pool.spans();
            spans.extend(ranges.into_iter().map(|(first, last)| Span {
                space_key: pool.space_key,
                first,
                last,
                reach: last,
                wide_len,
                pool: Arc::clone(pool),
            }));
        }
        spans.sort_unstable_by_key(|span| (span.space_key, span.first, span.pool.id));
        let mut reach: Option<(u64, u128)> = None;
        for span in &mut spans {
            if let Some((space, last)) = reach
                && space == span.space_key
            {
                span.reach = span.reach.max(last);
            }
            reach = Some((span.space_key, span.reach));
        }
        Self { by_id, spans }
    }

    /// Notes which pools share addresses with another one: a chooser that finds its pool not overlapped does not look into
    /// others. Until what this set replaces is no more (`replaced`), those that shared addresses there keep the mark.
    fn note_overlaps(&self, replaced: bool) {
        for pool in self.by_id.values() {
            let (_, ranges) = pool.spans();
            let shared = ranges.into_iter().any(|(first, last)| {
                self.over(pool.space_key, first, last).any(|other| other.pool.id != pool.id)
            });
            if shared || replaced {
                pool.overlapped.store(shared, Ordering::Relaxed);
            }
        }
    }

    /// The ranges that overlap `first` to `last`.
    fn over(&self, space_key: u64, first: u128, last: u128) -> impl Iterator<Item = &Span> {
        let end = self.spans.partition_point(|span| (span.space_key, span.first) <= (space_key, last));
        self.spans
            .get(..end)
            .unwrap_or_default()
            .iter()
            .rev()
            .take_while(move |span| span.space_key == space_key && span.reach >= first)
            .filter(move |span| span.last >= first)
    }

    fn over_prefix(&self, space_key: u64, prefix: Prefix) -> impl Iterator<Item = &Span> {
        self.over(space_key, prefix.first(), prefix.last())
    }

    /// The pool that has exactly `prefix` among its grants.
    fn exactly(&self, space_key: u64, prefix: Prefix) -> Option<&Arc<PoolLedger>> {
        self.over_prefix(space_key, prefix)
            .filter(|span| span.wide_len == prefix.raw().1)
            .map(|span| &span.pool)
            .min_by_key(|pool| pool.id)
    }
}

impl Ledger {
    /// Installs pools as compiled. Pools already known are edited in place; what is in use and no longer in a pool stays
    /// in use outside of it. `owns` tells which blocks this node may choose from.
    pub fn set_pools<'a>(
        &self,
        pools: impl Iterator<Item = &'a crate::snapshot::types::Pool>,
        owns: &dyn Fn(PoolId, u32) -> bool,
    ) {
        let current = self.pools.load_full();
        let mut next: SpreadMap<u128, Arc<PoolLedger>> = SpreadMap::default();
        for pool in pools {
            let id = PoolId(pool.id);
            let owns = |block| owns(id, block);
            let known = current.by_id.get(&pool.id.0).filter(|known| known.space_key == pool.space.key());
            let ledger = if let Some(known) = known {
                known.configure(pool, &owns, &mut |stray| self.let_stand(known.space_key, stray));
                Arc::clone(known)
            } else {
                Arc::new(PoolLedger::new(pool, &owns))
            };
            next.insert(pool.id.0, ledger);
        }
        let next = PoolSet::of(next);
        next.note_overlaps(false);
        self.pools.store(Arc::new(next.clone()));
        for (id, pool) in &current.by_id {
            if !next.by_id.get(id).is_some_and(|kept| Arc::ptr_eq(kept, pool)) {
                pool.dissolve(&mut |stray| self.let_stand(pool.space_key, stray));
            }
        }
        next.note_overlaps(true);
    }

    fn let_stand(&self, space_key: u64, stray: Stray) {
        let Stray { prefix, holder, slot, sequence } = stray;
        self.apart.granted(space_key, prefix, Stand { holder, slot, sequence });
    }

    /// Puts addresses that were set aside, because they were assigned by name, back among the choosable ones when
    /// `refused` (a space's key and a prefix) no longer says that they are: to be called when assignments changed.
    pub fn reconsider(&self, refused: &dyn Fn(u64, Prefix) -> bool) {
        for pool in self.pools() {
            pool.reconsider(&|prefix| refused(pool.space_key, prefix));
        }
    }

    /// A pool by id.
    pub fn pool(&self, id: PoolId) -> Option<Arc<PoolLedger>> {
        self.pools.load().by_id.get(&id.0.0).map(Arc::clone)
    }

    /// All pools.
    pub fn pools(&self) -> Vec<Arc<PoolLedger>> {
        self.pools.load().by_id.values().map(Arc::clone).collect()
    }

    /// The pool of a space that has `prefix` among its grants, if any.
    pub(super) fn pool_over(&self, space_key: u64, prefix: Prefix) -> Option<Arc<PoolLedger>> {
        self.pools.load().exactly(space_key, prefix).map(Arc::clone)
    }

    /// Whether another holder uses something that overlaps `prefix`, in any pool but `within` or outside of all.
    pub(super) fn is_used_elsewhere(
        &self,
        space_key: u64,
        prefix: Prefix,
        holder: Holder,
        within: Option<&PoolLedger>,
    ) -> bool {
        if self.apart.is_used_by_another(space_key, prefix, holder) {
            return true;
        }
        if within.is_some_and(|pool| !pool.is_overlapped()) {
            return false;
        }
        self.pools
            .load()
            .over_prefix(space_key, prefix)
            .filter(|span| within.is_none_or(|pool| pool.id != span.pool.id))
            .any(|span| span.pool.is_used_by_another(prefix, holder))
    }

    /// Lets other pools choose again what they had set aside because of `prefix`.
    pub(super) fn bring_back(&self, space_key: u64, prefix: Prefix, within: Option<&PoolLedger>) {
        if within.is_some_and(|pool| !pool.is_overlapped()) {
            return;
        }
        let set = self.pools.load();
        for span in set.over_prefix(space_key, prefix) {
            if within.is_none_or(|pool| pool.id != span.pool.id) {
                span.pool.bring_back(prefix);
            }
        }
    }

    /// Lets a holder stand on a prefix outside of pools, unless it overlaps what another holder uses.
    pub(super) fn reserve_apart(&self, space: &Space, prefix: Prefix, holder: Holder, slot: u8) -> bool {
        let key = space.key();
        if !self.apart.reserve(key, prefix, Stand { holder, slot, sequence: 0 }) {
            return false;
        }
        let used = self
            .pools
            .load()
            .over_prefix(key, prefix)
            .any(|span| span.pool.is_used_by_another(prefix, holder));
        if used {
            self.apart.remove(key, prefix, holder);
        }
        !used
    }

    /// Reserves a particular address of a pool, unless it overlaps what another holder uses elsewhere.
    pub(super) fn reserve_in(
        &self,
        pool: &PoolLedger,
        prefix: Prefix,
        holder: Holder,
        slot: u8,
        assigned: bool,
    ) -> bool {
        if !pool.claim(prefix, holder, slot, assigned) {
            return false;
        }
        let used = self.is_used_elsewhere(pool.space_key, prefix, holder, Some(pool));
        if used {
            pool.abort(prefix, holder);
        }
        !used
    }
}

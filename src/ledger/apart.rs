//! Prefixes in use that no pool accounts for: assigned by name outside every pool, routed subnets, addresses of pools
//! that were edited or removed while somebody used them.
//!
//! A holder stands on a prefix from the moment it is chosen (not only from the commit on), so two admissions of
//! overlapping prefixes cannot both pass. Prefixes of different holders never overlap; those of one holder may nest.
//!
//! Locking: taken after a shard and possibly after a pool; while it is held nothing else is locked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::journal::record::Holder;
use crate::model::Prefix;

/// Who stands on a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    pub(super) holder: Holder,
    pub(super) slot: u8,
    /// Journal sequence of the grant; 0 while reserved.
    pub(super) sequence: u64,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Apart {
    /// Number of prefixes, so that installations without any pay one load.
    count: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By (space, first address, length in 128-bit terms).
    stands: BTreeMap<(u64, u128, u8), Stand>,
    /// How many prefixes of each length there are: only these lengths need to be looked for.
    lengths: BTreeMap<u8, usize>,
}

impl Apart {
    /// Whether another holder stands on a prefix that overlaps `prefix`.
    pub(super) fn is_used_by_another(&self, space: u64, prefix: Prefix, holder: Holder) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.inner.lock().conflict(space, prefix, holder).is_some()
    }

    /// Lets `holder` stand on `prefix`, unless another holder's prefix overlaps it.
    pub(super) fn reserve(&self, space: u64, prefix: Prefix, stand: Stand) -> bool {
        let mut inner = self.inner.lock();
        if inner.conflict(space, prefix, stand.holder).is_some() {
            return false;
        }
        inner.insert(space, prefix, stand);
        self.count.store(inner.stands.len(), Ordering::Release);
        true
    }

    /// Applies a committed grant. Returns another holder that stood on something overlapping: never expected in live
    /// operation. A newer grant stands: a checkpoint lists shards at different sequences.
    pub(super) fn granted(&self, space: u64, prefix: Prefix, stand: Stand) -> Option<Holder> {
        let mut inner = self.inner.lock();
        let other = inner.conflict(space, prefix, stand.holder);
        let (first, len) = prefix.raw();
        let known = inner.stands.get(&(space, first, len));
        if known.is_none_or(|known| known.holder == stand.holder || known.sequence <= stand.sequence) {
            inner.insert(space, prefix, stand);
            self.count.store(inner.stands.len(), Ordering::Release);
        }
        other.filter(|other| other.sequence <= stand.sequence).map(|other| other.holder)
    }

    /// `holder` stands on `prefix` no more. Returns whether it did.
    pub(super) fn remove(&self, space: u64, prefix: Prefix, holder: Holder) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let (first, len) = prefix.raw();
        let key = (space, first, len);
        let mut inner = self.inner.lock();
        if inner.stands.get(&key).is_none_or(|stand| stand.holder != holder) {
            return false;
        }
        inner.stands.remove(&key);
        if let Some(count) = inner.lengths.get_mut(&len) {
            *count -= 1;
            if *count == 0 {
                inner.lengths.remove(&len);
            }
        }
        self.count.store(inner.stands.len(), Ordering::Release);
        true
    }

    /// Who stands on exactly this prefix.
    pub(super) fn entry(&self, space: u64, prefix: Prefix) -> Option<Stand> {
        let (first, len) = prefix.raw();
        self.inner.lock().stands.get(&(space, first, len)).copied()
    }
}

impl Inner {
    fn insert(&mut self, space: u64, prefix: Prefix, stand: Stand) {
        let (first, len) = prefix.raw();
        let known = self.stands.insert((space, first, len), stand);
        match known {
            None => *self.lengths.entry(len).or_default() += 1,
            Some(known) if known.holder == stand.holder => {
                // Another slot of the holder stands there, too.
                let sequence = known.sequence.max(stand.sequence);
                self.stands.insert((space, first, len), Stand { sequence, ..stand });
            }
            Some(_) => {}
        }
    }

    fn conflict(&self, space: u64, prefix: Prefix, holder: Holder) -> Option<Stand> {
        let (first, len) = prefix.raw();
        let around = self.lengths.range(..len).filter_map(|(shorter, _)| {
            let mask = u128::MAX.checked_shl(128 - u32::from(*shorter)).unwrap_or(0);
            self.stands.get(&(space, first & mask, *shorter))
        });
        let within = self
            .stands
            .range((space, first, 0)..=(space, prefix.last(), u8::MAX))
            .filter(|((_, _, other), _)| *other >= len)
            .map(|(_, stand)| stand);
        around.chain(within).find(|stand| stand.holder != holder).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Stand = Stand { holder: Holder(1), slot: 0, sequence: 0 };
    const B: Stand = Stand { holder: Holder(2), slot: 0, sequence: 0 };

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn overlapping_prefixes_of_two_holders_are_refused_from_above_and_from_inside() {
        let apart = Apart::default();
        assert!(apart.reserve(7, prefix("10.0.0.0/29"), A));
        assert!(!apart.reserve(7, prefix("10.0.0.3"), B));
        assert!(!apart.reserve(7, prefix("10.0.0.0/24"), B));
        assert!(apart.reserve(7, prefix("10.0.0.3"), A));
        assert!(apart.reserve(8, prefix("10.0.0.3"), B));
        assert!(apart.reserve(7, prefix("10.0.0.8"), B));
    }

    #[test]
    fn a_prefix_left_is_free_for_others_and_only_its_holder_can_leave_it() {
        let apart = Apart::default();
        assert!(apart.reserve(7, prefix("0.0.0.0/0"), A));
        assert!(!apart.remove(7, prefix("0.0.0.0/0"), B.holder));
        assert!(apart.is_used_by_another(7, prefix("192.0.2.1"), B.holder));
        assert!(apart.remove(7, prefix("0.0.0.0/0"), A.holder));
        assert!(!apart.is_used_by_another(7, prefix("192.0.2.1"), B.holder));
        assert!(apart.reserve(7, prefix("192.0.2.1"), B));
    }
}

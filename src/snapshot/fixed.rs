//! Prefixes assigned to services by name, in order, so that containment can be asked.
//!
//! The ledger asks for the holder of exactly one prefix before it grants from a pool; use-cases ask for everything that
//! overlaps before they assign. Both cost a handful of probes. A write copies one path of an ordered trie: dense ranges
//! share their upper levels, so that is a few KiB whatever the number of entries.
//!
//! Invariants: spaces are apart; families are apart; two services may hold one prefix only while a change is half
//! applied, and then the older id answers.

use std::sync::Arc;

use super::hash;
use super::prefix_table::shortened;
use super::trie::Trie;
use crate::ids::Uid;
use crate::model::Prefix;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fixed {
    holder: Uid,
    /// Length in 128-bit terms.
    len: u8,
}

/// One address space.
#[derive(Clone, Debug, Default)]
struct SpaceTable {
    key: u64,
    v4: Trie<u128, Fixed>,
    v6: Trie<u128, Fixed>,
    /// (length in 128-bit terms, prefixes of that length), shortest first.
    lens: Vec<(u8, u32)>,
}

/// All spaces.
#[derive(Clone, Debug, Default)]
pub(super) struct FixedIndex {
    spaces: Trie<u64, Arc<SpaceTable>>,
}

/// One assignment: space key, prefix, service.
pub(super) type Assignment = (u64, Prefix, Uid);

impl FixedIndex {
    /// Builds the index in one go.
    pub(super) fn build(mut assignments: Vec<Assignment>) -> Self {
        assignments.sort_unstable_by_key(|(space, prefix, holder)| (*space, *prefix, *holder));
        let spaces = assignments
            .chunk_by(|left, right| left.0 == right.0)
            .filter_map(|rows| {
                rows.first().map(|(key, ..)| (hash::avalanche(*key), Arc::new(SpaceTable::build(*key, rows))))
            })
            .collect();
        Self { spaces: Trie::from_entries(spaces) }
    }

    /// Adds an assignment.
    pub(super) fn insert(&mut self, (space, prefix, holder): Assignment) {
        self.change(space, |table| {
            let (v4, at, fixed) = entry(prefix, holder);
            let before = table.family_mut(v4).insert(at, fixed, |other| *other == fixed);
            if before.is_none() {
                table.count(fixed.len, true);
            }
        });
    }

    /// Takes an assignment back.
    pub(super) fn remove(&mut self, (space, prefix, holder): Assignment) {
        self.change(space, |table| {
            let (v4, at, fixed) = entry(prefix, holder);
            if table.family_mut(v4).remove(at, |other| *other == fixed).is_some() {
                table.count(fixed.len, false);
            }
        });
    }

    /// The service to which exactly this prefix is assigned.
    pub(super) fn holder(&self, space: u64, prefix: Prefix) -> Option<Uid> {
        self.table(space)?.holder(prefix)
    }

    /// Everything assigned that contains or lies in `prefix`, in order: what contains comes before what lies inside.
    pub(super) fn overlapping(&self, space: u64, prefix: Prefix) -> Vec<(Prefix, Uid)> {
        let Some(table) = self.table(space) else {
            return Vec::new();
        };
        let len = prefix.raw().1;
        let shortest = if prefix.is_v4() { 96 } else { 0 };
        let mut found: Vec<(Prefix, Uid)> = table
            .lens
            .iter()
            .filter(|(shorter, _)| (shortest..len).contains(shorter))
            .filter_map(|(shorter, _)| shortened(prefix, *shorter))
            .filter_map(|wider| table.holder(wider).map(|holder| (wider, holder)))
            .collect();
        let v4 = prefix.is_v4();
        let (first, last) = (order(prefix.first(), v4), order(prefix.last(), v4));
        table.family(v4).visit_range(first, last, &mut |at, fixed| {
            // A wider one with the same first address was found above.
            if fixed.len >= len {
                let inner = Prefix::from_raw(unorder(at, v4), fixed.len);
                found.extend(inner.map(|inner| (inner, fixed.holder)));
            }
        });
        // Those with one first address lie in the order in which they came.
        found.sort_unstable();
        found
    }

    fn table(&self, space: u64) -> Option<&Arc<SpaceTable>> {
        self.spaces.find(hash::avalanche(space), |table| table.key == space)
    }

    fn change(&mut self, space: u64, change: impl FnOnce(&mut SpaceTable)) {
        let key = hash::avalanche(space);
        let mut table = self
            .spaces
            .remove(key, |table| table.key == space)
            .unwrap_or_else(|| Arc::new(SpaceTable { key: space, ..SpaceTable::default() }));
        change(Arc::make_mut(&mut table));
        if !table.lens.is_empty() {
            self.spaces.insert(key, table, |_| false);
        }
    }
}

impl SpaceTable {
    fn build(key: u64, rows: &[Assignment]) -> Self {
        let mut table = Self { key, ..Self::default() };
        let mut families = (Vec::new(), Vec::new());
        for (_, prefix, holder) in rows {
            let (v4, at, fixed) = entry(*prefix, *holder);
            let family = if v4 { &mut families.0 } else { &mut families.1 };
            family.push((at, fixed));
            table.count(fixed.len, true);
        }
        table.v4 = Trie::from_entries(families.0);
        table.v6 = Trie::from_entries(families.1);
        table
    }

    const fn family(&self, v4: bool) -> &Trie<u128, Fixed> {
        if v4 { &self.v4 } else { &self.v6 }
    }

    const fn family_mut(&mut self, v4: bool) -> &mut Trie<u128, Fixed> {
        if v4 { &mut self.v4 } else { &mut self.v6 }
    }

    fn holder(&self, prefix: Prefix) -> Option<Uid> {
        let (v4, len) = (prefix.is_v4(), prefix.raw().1);
        self.family(v4)
            .at(order(prefix.first(), v4))
            .iter()
            .filter(|(_, fixed)| fixed.len == len)
            .map(|(_, fixed)| fixed.holder)
            .min()
    }

    fn count(&mut self, len: u8, more: bool) {
        match self.lens.binary_search_by_key(&len, |(known, _)| *known) {
            Err(at) if more => self.lens.insert(at, (len, 1)),
            Err(_) => {}
            Ok(at) => {
                let count = &mut self.lens[at].1;
                *count = if more { *count + 1 } else { *count - 1 };
                if *count == 0 {
                    self.lens.remove(at);
                }
            }
        }
    }
}

fn entry(prefix: Prefix, holder: Uid) -> (bool, u128, Fixed) {
    let (first, len) = prefix.raw();
    let v4 = prefix.is_v4();
    (v4, order(first, v4), Fixed { holder, len })
}

/// The key of a first address: IPv4 loses the 96 bits that all share, so that its paths are short.
const fn order(first: u128, v4: bool) -> u128 {
    if v4 { first << 96 } else { first }
}

/// Reverses [`order`].
const fn unorder(key: u128, v4: bool) -> u128 {
    if v4 { (key >> 96) | MAPPED } else { key }
}

/// The IPv4-mapped range, in which [`Prefix`] keeps IPv4.
const MAPPED: u128 = 0xffff << 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn overlap_finds_what_contains_and_what_lies_inside_and_nothing_beside() {
        let rows = [
            (1, "10.0.0.0/8", 1),
            (1, "10.0.0.0/16", 2),
            (1, "10.0.5.0/24", 3),
            (1, "10.0.5.9", 4),
            (1, "10.1.0.0/16", 5),
            (2, "10.0.5.9", 6),
            (1, "2001:db8::/32", 7),
            (1, "2001:db8:0:5::/64", 8),
        ];
        let rows: Vec<Assignment> =
            rows.into_iter().map(|(space, text, holder)| (space, prefix(text), Uid(holder))).collect();
        let built = FixedIndex::build(rows.clone());
        let mut grown = FixedIndex::default();
        rows.iter().rev().for_each(|row| grown.insert(*row));
        for index in [&built, &grown] {
            let holders = |text: &str| -> Vec<u128> {
                let found = index.overlapping(1, prefix(text));
                found.into_iter().map(|(_, holder)| holder.0).collect()
            };
            assert_eq!(holders("10.0.0.0/16"), [1, 2, 3, 4]);
            assert_eq!(holders("10.0.5.9"), [1, 2, 3, 4]);
            assert_eq!(holders("10.0.5.8"), [1, 2, 3]);
            assert_eq!(holders("0.0.0.0/0"), [1, 2, 3, 4, 5]);
            assert_eq!(holders("2001:db8::/56"), [7, 8]);
            assert_eq!(holders("2001:db9::/56"), Vec::<u128>::new());
            assert_eq!(holders("::/0"), [7, 8]);
            assert_eq!(index.holder(1, prefix("10.0.0.0/16")), Some(Uid(2)));
            assert_eq!(index.holder(1, prefix("10.0.0.0/24")), None);
            assert_eq!(index.holder(2, prefix("10.0.5.9")), Some(Uid(6)));
            assert_eq!(index.holder(3, prefix("10.0.5.9")), None);
        }
    }

    #[test]
    fn an_assignment_taken_back_leaves_nothing_and_old_versions_keep_it() {
        let old =
            FixedIndex::build(vec![(1, prefix("10.0.0.1"), Uid(1)), (1, prefix("10.0.0.0/30"), Uid(2))]);
        let mut new = old.clone();
        new.remove((1, prefix("10.0.0.0/30"), Uid(2)));
        // Somebody else's assignment is not touched.
        new.remove((1, prefix("10.0.0.1"), Uid(9)));
        assert_eq!(new.overlapping(1, prefix("10.0.0.1")), [(prefix("10.0.0.1"), Uid(1))]);
        assert_eq!(old.overlapping(1, prefix("10.0.0.1")).len(), 2);
        new.remove((1, prefix("10.0.0.1"), Uid(1)));
        assert_eq!(new.overlapping(1, prefix("0.0.0.0/0")), []);
        assert_eq!(new.spaces.len(), 0);
    }
}

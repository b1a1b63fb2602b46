//! A map by 128-bit id whose memory can be asked for ahead: the holders of a shard, the sessions of an index.
//!
//! Open addressing with linear probing: what belongs to an id lies where the id leads, in one line of memory or two, so that
//! whoever knows which ids come next can ask for those lines ([`IdTable::touch`]). The library's maps hide where they
//! keep an entry, so that each login among a million holders waits for it by itself.
//!
//! Invariants: a power of two of places, at most three quarters of them taken; no free place between where an id leads and
//! where it lies (a removal moves what follows back).

use crate::prefetch;

const PLACES_MIN: usize = 8;

/// Halves of the id instead of the whole: an entry without the alignment of a `u128` is a sixth smaller.
type Place<V> = Option<([u64; 2], V)>;

/// The map; see the module.
#[derive(Debug)]
pub(super) struct IdTable<V> {
    places: Box<[Place<V>]>,
    taken: usize,
}

impl<V> Default for IdTable<V> {
    fn default() -> Self {
        Self { places: Box::default(), taken: 0 }
    }
}

impl<V> IdTable<V> {
    /// What belongs to an id.
    pub(super) fn at(&self, id: u128) -> Option<&V> {
        let at = self.find(halves(id)).ok()?;
        self.places.get(at)?.as_ref().map(|(_, value)| value)
    }

    /// What belongs to an id, to change it.
    pub(super) fn at_mut(&mut self, id: u128) -> Option<&mut V> {
        let at = self.find(halves(id)).ok()?;
        self.places.get_mut(at)?.as_mut().map(|(_, value)| value)
    }

    /// What belongs to an id; made when there is nothing.
    pub(super) fn entry(&mut self, id: u128) -> &mut V
    where
        V: Default,
    {
        let key = halves(id);
        let at = self.find(key).unwrap_or_else(|free| {
            let room = (self.taken + 1) * 4 <= self.places.len() * 3;
            self.taken += 1;
            if room {
                return free;
            }
            self.grow(self.places.len() * 2);
            self.find(key).unwrap_or_else(|free| free)
        });
        &mut self.places[at].get_or_insert_with(|| (key, V::default())).1
    }

    /// Makes room for `more` ids.
    pub(super) fn reserve(&mut self, more: usize) {
        let places = ((self.taken + more) * 4).div_ceil(3).next_power_of_two();
        if places > self.places.len() {
            self.grow(places);
        }
    }

    /// How many ids there are.
    pub(super) const fn len(&self) -> usize {
        self.taken
    }

    /// Forgets an id.
    pub(super) fn remove(&mut self, id: u128) -> Option<V> {
        let mut hole = self.find(halves(id)).ok()?;
        let removed = self.places.get_mut(hole)?.take();
        self.taken -= 1;
        let mask = self.places.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let Some(Some((key, _))) = self.places.get(at) else { break };
            let (from_home, from_hole) = (at.wrapping_sub(self.home(*key)), at.wrapping_sub(hole));
            if from_home & mask >= from_hole & mask {
                self.places.swap(hole, at);
                hole = at;
            }
        }
        removed.map(|(_, value)| value)
    }

    /// Shows everything once and forgets that for which `keep` is false.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(u128, &mut V) -> bool) {
        let mut gone = Vec::new();
        for (key, value) in self.places.iter_mut().flatten() {
            if !keep(joined(*key), value) {
                gone.push(*key);
            }
        }
        for key in gone {
            self.remove(joined(key));
        }
    }

    /// Everything, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u128, &V)> {
        self.places.iter().flatten().map(|(key, value)| (joined(*key), value))
    }

    /// Asks for the memory in which an id is found.
    pub(super) fn touch(&self, id: u128) {
        if let Some(place) = self.places.get(self.home(halves(id))) {
            prefetch::touch(place);
        }
    }

    /// Where an id lies, or else the free place where it would.
    fn find(&self, key: [u64; 2]) -> Result<usize, usize> {
        let mask = self.places.len().wrapping_sub(1);
        let mut at = self.home(key);
        while let Some(Some((found, _))) = self.places.get(at) {
            if *found == key {
                return Ok(at);
            }
            at = (at + 1) & mask;
        }
        Err(at)
    }

    fn home(&self, key: [u64; 2]) -> usize {
        spread(key) as usize & self.places.len().saturating_sub(1)
    }

    fn grow(&mut self, places: usize) {
        let places = places.max(PLACES_MIN);
        let before = std::mem::replace(&mut self.places, (0..places).map(|_| None).collect());
        for entry in before.into_iter().flatten() {
            let (Ok(at) | Err(at)) = self.find(entry.0);
            self.places[at] = Some(entry);
        }
    }
}

/// Ids of one shard share what chose the shard, and ids made in a row differ in few bits: every bit counts here.
const fn spread([high, low]: [u64; 2]) -> u64 {
    let mixed = (high ^ (high >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93) ^ low;
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}

/// An id in two halves.
pub(super) const fn halves(id: u128) -> [u64; 2] {
    [(id >> 64) as u64, id as u64]
}

/// The id of two halves.
pub(super) const fn joined([high, low]: [u64; 2]) -> u128 {
    (high as u128) << 64 | low as u128
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_table_has_nothing_and_forgets_nothing() {
        let mut table: IdTable<u8> = IdTable::default();
        table.touch(7);
        assert!(table.at(7).is_none() && table.at_mut(7).is_none());
        assert!(table.remove(7).is_none());
        assert_eq!(table.iter().count(), 0);
    }

    proptest! {
        /// Few ids, so that runs of taken places join, wrap around and are cut by removals.
        #[test]
        fn it_behaves_like_an_ordered_map_of_the_same_ids(
            steps in proptest::collection::vec((0..4_u8, 0..120_u128, any::<u8>()), 0..800),
        ) {
            let mut table = IdTable::default();
            let mut model: BTreeMap<u128, u8> = BTreeMap::new();
            for (step, id, number) in steps {
                let id = id << 60;
                match step {
                    0 | 1 => {
                        *table.entry(id) = number;
                        model.insert(id, number);
                    }
                    2 => prop_assert_eq!(table.remove(id), model.remove(&id)),
                    3 if number % 4 == 0 => table.reserve(usize::from(number)),
                    _ => {
                        let keep = |id: u128| (id >> 60) % 5 != u128::from(number % 5);
                        let mut shown = Vec::new();
                        table.retain(|id, _| {
                            shown.push(id);
                            keep(id)
                        });
                        shown.sort_unstable();
                        prop_assert_eq!(shown, model.keys().copied().collect::<Vec<_>>());
                        model.retain(|id, _| keep(*id));
                    }
                }
                for (id, expected) in &model {
                    prop_assert_eq!(table.at(*id), Some(expected));
                }
                prop_assert_eq!(table.at(u128::MAX), None);
                let mut all: Vec<u128> = table.iter().map(|(id, _)| id).collect();
                all.sort_unstable();
                prop_assert_eq!(all, model.keys().copied().collect::<Vec<_>>());
                prop_assert_eq!(table.len(), model.len());
            }
        }
    }
}

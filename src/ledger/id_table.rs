//! The holders of one shard by id.
//!
//! Open addressing with linear probing: the state of a holder lies where its id leads, in one line of memory or two, so that
//! whoever knows which holders come next can ask for them ahead ([`HolderTable::touch`]). The library's maps hide where
//! they keep an entry; among a million holders, finding one was a fifth of a login.
//!
//! Invariants: a power of two of places, at most three quarters of them taken; no free place between where an id leads and
//! where it lies (a removal moves what follows back).

use super::holder::HolderState;
use crate::journal::record::Holder;
use crate::prefetch;

const PLACES_MIN: usize = 8;

/// Halves of the id instead of the whole: an entry without the alignment of a `u128` is a sixth smaller.
type Place = Option<([u64; 2], HolderState)>;

/// The map; see the module.
#[derive(Debug, Default)]
pub(super) struct HolderTable {
    places: Box<[Place]>,
    taken: usize,
}

impl HolderTable {
    /// What a holder has.
    pub(super) fn get(&self, holder: Holder) -> Option<&HolderState> {
        let at = self.find(halves(holder)).ok()?;
        self.places.get(at)?.as_ref().map(|(_, state)| state)
    }

    /// What a holder has, to change it.
    pub(super) fn get_mut(&mut self, holder: Holder) -> Option<&mut HolderState> {
        let at = self.find(halves(holder)).ok()?;
        self.places.get_mut(at)?.as_mut().map(|(_, state)| state)
    }

    /// What a holder has; entered with nothing when it is new.
    pub(super) fn entry(&mut self, holder: Holder) -> &mut HolderState {
        let key = halves(holder);
        let at = self.find(key).unwrap_or_else(|free| {
            let room = (self.taken + 1) * 4 <= self.places.len() * 3;
            self.taken += 1;
            if room {
                return free;
            }
            self.grow();
            self.find(key).unwrap_or_else(|free| free)
        });
        &mut self.places[at].get_or_insert_with(|| (key, HolderState::default())).1
    }

    /// Forgets a holder.
    pub(super) fn remove(&mut self, holder: Holder) -> Option<HolderState> {
        let mut hole = self.find(halves(holder)).ok()?;
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
        removed.map(|(_, state)| state)
    }

    /// Shows every holder once and forgets those for which `keep` is false.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(Holder, &mut HolderState) -> bool) {
        let mut gone = Vec::new();
        for (key, state) in self.places.iter_mut().flatten() {
            if !keep(joined(*key), state) {
                gone.push(*key);
            }
        }
        for key in gone {
            self.remove(joined(key));
        }
    }

    /// All holders, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Holder, &HolderState)> {
        self.places.iter().flatten().map(|(key, state)| (joined(*key), state))
    }

    /// Asks for the memory in which a holder is found.
    pub(super) fn touch(&self, holder: Holder) {
        if let Some(place) = self.places.get(self.home(halves(holder))) {
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

    fn grow(&mut self) {
        let places = (self.places.len() * 2).max(PLACES_MIN);
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

const fn halves(holder: Holder) -> [u64; 2] {
    [(holder.0 >> 64) as u64, holder.0 as u64]
}

const fn joined([high, low]: [u64; 2]) -> Holder {
    Holder((high as u128) << 64 | low as u128)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::ledger::Slot;

    fn state(number: u8) -> HolderState {
        HolderState { slots: vec![Slot { number, ..Slot::default() }] }
    }

    #[test]
    fn an_empty_table_has_nobody_and_forgets_nobody() {
        let mut table = HolderTable::default();
        let holder = Holder(7);
        table.touch(holder);
        assert!(table.get(holder).is_none() && table.get_mut(holder).is_none());
        assert!(table.remove(holder).is_none());
        assert_eq!(table.iter().count(), 0);
    }

    proptest! {
        /// Few ids, so that runs of taken places join, wrap around and are cut by removals.
        #[test]
        fn it_behaves_like_a_map_of_the_same_holders(
            steps in proptest::collection::vec((0..4_u8, 0..120_u128, any::<u8>()), 0..800),
        ) {
            let mut table = HolderTable::default();
            let mut model: BTreeMap<u128, HolderState> = BTreeMap::new();
            for (step, id, number) in steps {
                let holder = Holder(id << 60);
                match step {
                    0 | 1 => {
                        *table.entry(holder) = state(number);
                        model.insert(holder.0, state(number));
                    }
                    2 => prop_assert_eq!(table.remove(holder), model.remove(&holder.0)),
                    _ => {
                        let keep = |id: u128| (id >> 60) % 5 != u128::from(number % 5);
                        let mut shown = Vec::new();
                        table.retain(|holder, _| {
                            shown.push(holder.0);
                            keep(holder.0)
                        });
                        shown.sort_unstable();
                        prop_assert_eq!(shown, model.keys().copied().collect::<Vec<_>>());
                        model.retain(|id, _| keep(*id));
                    }
                }
                for (id, expected) in &model {
                    prop_assert_eq!(table.get(Holder(*id)), Some(expected));
                }
                prop_assert_eq!(table.get(Holder(u128::MAX)), None);
                let mut all: Vec<u128> = table.iter().map(|(holder, _)| holder.0).collect();
                all.sort_unstable();
                prop_assert_eq!(all, model.keys().copied().collect::<Vec<_>>());
                prop_assert_eq!(table.taken, model.len());
            }
        }
    }
}

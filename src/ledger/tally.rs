//! The addresses of one pool by state: what was never used, and an entry for each address that ever was.
//!
//! Every change of an address goes through [`Tally::set`], which takes it out of one tally and puts it into another, so
//! the tallies always add up to the size of the pool. Addresses are offsets here; see [`super::layout`].

use std::collections::BTreeSet;

use super::layout::Layout;
use super::pool::{BLOCK_GRANTS, EntryState, SpreadMap};
use crate::journal::record::Holder;
use crate::model::Prefix;
use crate::time::Stamp;

/// One address. The holder is kept as two halves, which saves eight bytes of alignment per address.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    pub(super) holder: [u64; 2],
    /// Journal sequence of the grant that opened it; 0 while reserved.
    pub(super) sequence: u64,
    /// `None`: never used.
    pub(super) state: Option<EntryState>,
    pub(super) slot: u8,
}

impl Entry {
    pub(super) const fn new(holder: Holder, slot: u8, state: EntryState, sequence: u64) -> Self {
        Self { holder: [(holder.0 >> 64) as u64, holder.0 as u64], sequence, state: Some(state), slot }
    }

    pub(super) fn holder(&self) -> Holder {
        let [high, low] = self.holder;
        Holder((u128::from(high) << 64) | u128::from(low))
    }

    pub(super) fn is_in_use_by_another(&self, holder: Holder) -> bool {
        matches!(self.state, Some(EntryState::Reserved | EntryState::Granted)) && self.holder() != holder
    }
}

/// A declined address as a checkpoint keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeclinedAddress {
    pub(super) prefix: Prefix,
    pub(super) holder: Holder,
    pub(super) slot: u8,
    pub(super) until: Stamp,
    pub(super) sequence: u64,
}

/// An address in use that an edit took out of the pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stray {
    pub(super) prefix: Prefix,
    pub(super) holder: Holder,
    pub(super) slot: u8,
    pub(super) sequence: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) layout: Layout,
    /// Which blocks this node may choose from.
    pub(super) owned: Vec<bool>,
    /// One bit per grant that this node may choose and nobody has used yet.
    pub(super) never_used: Vec<u64>,
    pub(super) cursor: usize,
    pub(super) never_used_left: u32,
    /// What was ever used, in blocks made when first needed.
    pub(super) blocks: Vec<Option<Box<[Entry]>>>,
    /// What to return to when a reservation is aborted or an assignment by name withdrawn.
    pub(super) before: SpreadMap<u32, Entry>,
    /// Released addresses that this node may choose, oldest first. Those in blocks of other nodes are remembered only.
    pub(super) released: BTreeSet<(Stamp, u32)>,
    /// Declined addresses by the end of their decline.
    pub(super) declined: BTreeSet<(Stamp, u32)>,
    pub(super) assigned: BTreeSet<u32>,
    pub(super) reserved: u32,
    pub(super) granted: u32,
    pub(super) quarantine_cuts: u64,
}

impl Tally {
    pub(super) fn offset_of(&self, prefix: Prefix) -> Option<u32> {
        self.layout.offset_of(prefix)
    }

    pub(super) fn entry(&self, offset: u32) -> Entry {
        let block = self.blocks.get((offset / BLOCK_GRANTS) as usize).and_then(Option::as_deref);
        block.and_then(|block| block.get((offset % BLOCK_GRANTS) as usize)).copied().unwrap_or_default()
    }

    /// What was ever used among some offsets.
    pub(super) fn known_in(
        &self,
        offsets: std::ops::RangeInclusive<u32>,
    ) -> impl Iterator<Item = (u32, Entry)> + '_ {
        let (from, to) = (*offsets.start(), *offsets.end());
        (from / BLOCK_GRANTS..=to / BLOCK_GRANTS)
            .filter(|block| self.blocks.get(*block as usize).is_some_and(Option::is_some))
            .flat_map(move |block| {
                let first = block * BLOCK_GRANTS;
                from.max(first)..=to.min(first + (BLOCK_GRANTS - 1))
            })
            .map(|offset| (offset, self.entry(offset)))
            .filter(|(_, entry)| entry.state.is_some())
    }

    pub(super) fn reserved_by(&self, prefix: Prefix, holder: Holder) -> Option<u32> {
        let offset = self.offset_of(prefix)?;
        let entry = self.entry(offset);
        (entry.state == Some(EntryState::Reserved) && entry.holder() == holder).then_some(offset)
    }

    pub(super) fn is_owned(&self, offset: u32) -> bool {
        self.owned.get((offset / BLOCK_GRANTS) as usize).copied().unwrap_or(false)
    }

    /// The one place where an address changes state.
    pub(super) fn set(&mut self, offset: u32, next: Entry) {
        self.untally(offset);
        self.tally(offset, next.state);
        let block_size = self.layout.size().min(BLOCK_GRANTS) as usize;
        if let Some(block) = self.blocks.get_mut((offset / BLOCK_GRANTS) as usize) {
            let block = block.get_or_insert_with(|| vec![Entry::default(); block_size].into_boxed_slice());
            if let Some(entry) = block.get_mut((offset % BLOCK_GRANTS) as usize) {
                *entry = next;
            }
        }
    }

    pub(super) fn untally(&mut self, offset: u32) {
        match self.entry(offset).state {
            None => self.clear_never_used(offset),
            Some(EntryState::Reserved) => self.reserved -= 1,
            Some(EntryState::Granted) => self.granted -= 1,
            Some(EntryState::Released(at)) => {
                self.released.remove(&(at, offset));
            }
            Some(EntryState::Declined(until)) => {
                self.declined.remove(&(until, offset));
            }
            Some(EntryState::Assigned) => {
                self.assigned.remove(&offset);
            }
        }
    }

    pub(super) fn tally(&mut self, offset: u32, state: Option<EntryState>) {
        match state {
            None => self.set_never_used(offset),
            Some(EntryState::Reserved) => self.reserved += 1,
            Some(EntryState::Granted) => self.granted += 1,
            Some(EntryState::Released(at)) => {
                if self.is_owned(offset) {
                    self.released.insert((at, offset));
                }
            }
            Some(EntryState::Declined(until)) => {
                self.declined.insert((until, offset));
            }
            Some(EntryState::Assigned) => {
                self.assigned.insert(offset);
            }
        }
    }

    pub(super) fn reserve(&mut self, offset: u32, holder: Holder, slot: u8) {
        let entry = self.entry(offset);
        // What was set aside goes back to what it was before that: it is set aside again when its turn comes.
        if entry.state.is_some_and(|state| state != EntryState::Assigned) {
            self.before.insert(offset, entry);
        }
        self.set(offset, Entry::new(holder, slot, EntryState::Reserved, 0));
    }

    pub(super) fn set_aside(&mut self, offset: u32) {
        let entry = self.entry(offset);
        if entry.state.is_some() {
            self.before.insert(offset, entry);
        }
        self.set(offset, Entry { state: Some(EntryState::Assigned), ..entry });
    }

    /// Puts an address back to what it was before it was chosen or set aside.
    pub(super) fn restore(&mut self, offset: u32) {
        let before = self.before.remove(&offset).unwrap_or_default();
        self.set(offset, before);
    }

    pub(super) fn leave(&mut self, prefix: Prefix, holder: Holder, state: EntryState) -> Option<u32> {
        let offset = self.offset_of(prefix)?;
        let entry = self.entry(offset);
        if entry.holder() != holder || entry.state != Some(EntryState::Granted) {
            return None;
        }
        self.set(offset, Entry { state: Some(state), ..entry });
        Some(offset)
    }

    pub(super) fn next_never_used(&mut self) -> Option<u32> {
        if self.never_used_left == 0 {
            return None;
        }
        // Bits below the cursor are clear: whoever sets one moves the cursor back.
        while let Some(word) = self.never_used.get(self.cursor) {
            if *word != 0 {
                return Some(self.cursor as u32 * 64 + word.trailing_zeros());
            }
            self.cursor += 1;
        }
        None
    }

    pub(super) fn next_released(&mut self, now: Stamp) -> Option<u32> {
        let due = self.declined.first().copied().filter(|(until, _)| *until <= now);
        let (at, offset) = match (self.released.first().copied(), due) {
            (Some(released), Some(due)) => released.min(due),
            (released, due) => released.or(due)?,
        };
        let rested = matches!(self.entry(offset).state, Some(EntryState::Declined(_)));
        if !rested && now.since(at) < self.layout.quarantine_ms() {
            self.quarantine_cuts += 1;
        }
        Some(offset)
    }

    /// How many released addresses still rest, walking from whichever end is nearer to the boundary.
    pub(super) fn quarantined(&self, now: Stamp) -> usize {
        let rests = |(at, _): &&(Stamp, u32)| now.since(*at) < self.layout.quarantine_ms();
        let mut newest = self.released.iter().rev();
        for (seen, oldest) in self.released.iter().enumerate() {
            if rests(&oldest) {
                return self.released.len() - seen;
            }
            if !newest.next().is_some_and(|entry| rests(&entry)) {
                return seen;
            }
        }
        0
    }

    pub(super) fn clear_never_used(&mut self, offset: u32) {
        if let Some(word) = self.never_used.get_mut(offset as usize / 64)
            && *word & (1 << (offset % 64)) != 0
        {
            *word &= !(1 << (offset % 64));
            self.never_used_left -= 1;
        }
    }

    pub(super) fn set_never_used(&mut self, offset: u32) {
        if self.is_owned(offset)
            && let Some(word) = self.never_used.get_mut(offset as usize / 64)
            && *word & (1 << (offset % 64)) == 0
        {
            *word |= 1 << (offset % 64);
            self.never_used_left += 1;
            self.cursor = self.cursor.min(offset as usize / 64);
        }
    }

    /// Moves what is known into another layout of the same pool.
    pub(super) fn carry_over(&mut self, next: &mut Self, stray: &mut dyn FnMut(Stray)) {
        let all = 0..=self.layout.size().saturating_sub(1);
        for (offset, entry) in self.known_in(all) {
            let Some(prefix) = self.layout.prefix_of(offset) else {
                continue;
            };
            let in_use = matches!(entry.state, Some(EntryState::Reserved | EntryState::Granted));
            if let Some(at) = next.offset_of(prefix) {
                next.set(at, entry);
                if let Some(before) = self.before.get(&offset) {
                    next.before.insert(at, *before);
                }
            } else if in_use {
                let Entry { slot, sequence, .. } = entry;
                stray(Stray { prefix, holder: entry.holder(), slot, sequence });
            }
        }
    }
}

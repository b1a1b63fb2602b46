//! The free addresses of one pool and the order in which they are chosen.
//!
//! A newcomer gets, in this order (FIELD R19): an address never used, the address released longest ago, and only when
//! nothing else is left one that still rests in quarantine, oldest first, counted. Whoever held an address last and
//! comes back while nobody else has it gets it again. Choosing reserves in the same step; a reservation is volatile and
//! ends by commit or abort.
//!
//! Invariant: free + reserved + held + granted + quarantined + declined = size, at every moment.

use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use crate::ids::PoolId;
use crate::journal::record::Holder;
use crate::model::Prefix;
use crate::snapshot::types::Pool;
use crate::time::Stamp;

/// Grants in one block: the unit of ownership between nodes (FIELD R5).
pub const BLOCK_GRANTS: u32 = 256;

/// Hashes integers that are already well spread, or made so by one multiplication.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpreadHasher(u64);

impl Hasher for SpreadHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }

    fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64);
        self.write_u64((value >> 64) as u64);
    }
}

/// A map keyed by addresses or ids.
pub type SpreadMap<K, V> = HashMap<K, V, BuildHasherDefault<SpreadHasher>>;

/// What became of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// Chosen, not yet committed.
    Reserved,
    /// Held by a live session, lease or assignment.
    Granted,
    /// Left at this stamp, remembered for its last holder.
    Released(Stamp),
    /// Somebody else answers at it; out of use until this stamp (DHCPDECLINE).
    Declined(Stamp),
    /// Set aside: a service has it assigned by name.
    Assigned,
}

/// Last holder, slot, release and opening sequence of an address before it was chosen anew.
type Before = Option<(Holder, u8, Stamp, u64)>;

#[derive(Clone, Copy, Debug)]
struct Entry {
    holder: Holder,
    slot: u8,
    state: EntryState,
    /// Journal sequence of the grant that opened it.
    sequence: u64,
    /// What to return to when a reservation is aborted.
    before: Before,
}

#[derive(Debug, Default)]
struct Inner {
    layout: Layout,
    /// One bit per grant that this node may choose and nobody has used yet.
    never_used: Vec<u64>,
    cursor: usize,
    never_used_left: u32,
    used: SpreadMap<u128, Entry>,
    /// Released addresses, oldest first; validated against `used` when taken.
    released: VecDeque<(u128, Stamp)>,
    reserved: u32,
    granted: u32,
    quarantine_cuts: u64,
}

/// How many grants of a pool are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct PoolCounts {
    /// All grants of the pool that this node may choose from or knows of.
    pub size: u32,
    /// Never used.
    pub free: u32,
    /// Chosen, waiting for the journal or for the client.
    pub reserved: u32,
    /// Released and past quarantine: kept for the last holder while others remain.
    pub held: u32,
    /// In use.
    pub granted: u32,
    /// Released a short time ago.
    pub quarantined: u32,
    /// Taken out of use by DHCPDECLINE.
    pub declined: u32,
    /// Set aside because a service has it assigned by name.
    pub assigned: u32,
}

/// Where a pool's grants lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Layout {
    wide_len: u8,
    quarantine_ms: u64,
    draining: bool,
    /// (first address, first offset, count) of each range.
    ranges: Vec<(u128, u32, u32)>,
    size: u32,
}

impl Layout {
    fn of(pool: &Pool) -> Self {
        let mut layout = Self {
            wide_len: pool.wide_len.min(128),
            quarantine_ms: u64::from(pool.quarantine) * 1000,
            draining: pool.draining,
            ..Self::default()
        };
        for range in &pool.ranges {
            let span = range.last.first().saturating_sub(range.first.first());
            let count = u32::try_from((span >> layout.step_bits()) + 1).unwrap_or(u32::MAX).min(1 << 22);
            layout.ranges.push((range.first.first(), layout.size, count));
            layout.size = layout.size.saturating_add(count);
        }
        layout
    }

    const fn step_bits(&self) -> u32 {
        128 - self.wide_len as u32
    }

    fn offset_of(&self, address: u128) -> Option<u32> {
        let step = self.step_bits();
        self.ranges.iter().find_map(|(first, base, count)| {
            let distance = address.checked_sub(*first)?;
            let steps = distance >> step;
            (steps << step == distance && steps < u128::from(*count)).then(|| base + steps as u32)
        })
    }

    fn address_of(&self, offset: u32) -> Option<u128> {
        self.ranges
            .iter()
            .find(|(_, base, count)| offset >= *base && offset - base < *count)
            .map(|(first, base, _)| first + (u128::from(offset - base) << self.step_bits()))
    }
}

/// The allocation state of one pool.
#[derive(Debug)]
pub struct PoolLedger {
    /// The pool's id.
    pub id: PoolId,
    /// Key of its address space.
    pub space_key: u64,
    inner: Mutex<Inner>,
}

impl PoolLedger {
    /// An empty pool as compiled; `owns` tells which blocks this node may choose from.
    pub fn new(pool: &Pool, owns: &dyn Fn(u32) -> bool) -> Self {
        let space_key = pool.space.key();
        let ledger = Self { id: PoolId(pool.id), space_key, inner: Mutex::new(Inner::default()) };
        ledger.configure(pool, owns);
        ledger
    }

    /// Number of blocks of a pool as compiled.
    pub fn blocks_of(pool: &Pool) -> u32 {
        Layout::of(pool).size.div_ceil(BLOCK_GRANTS)
    }

    /// Takes over an edited pool or changed block ownership. What is in use stays in use, even outside the new ranges;
    /// it is not chosen again there.
    pub fn configure(&self, pool: &Pool, owns: &dyn Fn(u32) -> bool) {
        let mut inner = self.inner.lock();
        inner.layout = Layout::of(pool);
        let size = inner.layout.size;
        inner.never_used = vec![0; size.div_ceil(64) as usize];
        inner.never_used_left = 0;
        inner.cursor = 0;
        for offset in (0..size).filter(|offset| owns(offset / BLOCK_GRANTS)) {
            inner.set_never_used(offset);
        }
        let taken: Vec<u32> = inner.used.keys().filter_map(|first| inner.layout.offset_of(*first)).collect();
        for offset in taken {
            inner.clear_never_used(offset);
        }
    }

    /// Grants nothing new from now on.
    pub fn drain(&self) {
        self.inner.lock().layout.draining = true;
    }

    /// Whether `prefix` is one of the pool's grants.
    pub fn contains(&self, prefix: Prefix) -> bool {
        let inner = self.inner.lock();
        prefix.raw().1 == inner.layout.wide_len && inner.layout.offset_of(prefix.first()).is_some()
    }

    /// Chooses an address for a newcomer and reserves it. `refused` tells which prefixes are assigned to others by name.
    pub fn choose(
        &self,
        holder: Holder,
        slot: u8,
        now: Stamp,
        refused: &dyn Fn(Prefix) -> bool,
    ) -> Option<Prefix> {
        let mut inner = self.inner.lock();
        if inner.layout.draining {
            return None;
        }
        loop {
            let (first, before) = match inner.next_never_used() {
                Some(offset) => (inner.layout.address_of(offset)?, None),
                None => inner.next_released(now)?,
            };
            let prefix = Prefix::from_raw(first, inner.layout.wide_len)?;
            if refused(prefix) {
                // Assigned by name to somebody: set aside until `reconsider` finds that it no longer is.
                let (holder, slot, _, sequence) = before.unwrap_or((Holder(0), 0, Stamp::ZERO, 0));
                inner
                    .used
                    .insert(first, Entry { holder, slot, state: EntryState::Assigned, sequence, before });
                continue;
            }
            inner.reserved += 1;
            inner
                .used
                .insert(first, Entry { holder, slot, state: EntryState::Reserved, sequence: 0, before });
            return Some(prefix);
        }
    }

    /// Reserves a particular address, if it is free or was `holder`'s own last one. With `assigned`, because the address
    /// is assigned to `holder` by name, also if another holder had it last and left.
    pub fn claim(&self, prefix: Prefix, holder: Holder, slot: u8, assigned: bool) -> bool {
        let mut inner = self.inner.lock();
        let first = prefix.first();
        let fits = prefix.raw().1 == inner.layout.wide_len;
        let Some(offset) = inner.layout.offset_of(first).filter(|_| fits) else {
            return false;
        };
        let before = match inner.used.get(&first).copied() {
            None => {
                inner.clear_never_used(offset);
                None
            }
            Some(Entry {
                state: EntryState::Released(at), holder: last, slot: last_slot, sequence, ..
            }) if last == holder || assigned => Some((last, last_slot, at, sequence)),
            Some(Entry { state: EntryState::Assigned, before, .. }) if assigned => before,
            Some(_) => return false,
        };
        inner.reserved += 1;
        inner.used.insert(first, Entry { holder, slot, state: EntryState::Reserved, sequence: 0, before });
        true
    }

    /// Gives a reservation back.
    pub fn abort(&self, prefix: Prefix, holder: Holder) {
        let mut inner = self.inner.lock();
        let first = prefix.first();
        let Some(entry) = inner.used.get(&first).copied() else {
            return;
        };
        if entry.state != EntryState::Reserved || entry.holder != holder {
            return;
        }
        inner.reserved -= 1;
        inner.restore(first, entry.before);
    }

    /// Puts addresses that had been set aside as assigned by name, and no longer are, back among the choosable ones.
    pub fn reconsider(&self, refused: &dyn Fn(Prefix) -> bool) {
        let mut inner = self.inner.lock();
        let len = inner.layout.wide_len;
        let back: Vec<(u128, Entry)> = inner
            .used
            .iter()
            .filter(|(_, entry)| entry.state == EntryState::Assigned)
            .filter(|(first, _)| Prefix::from_raw(**first, len).is_some_and(|prefix| !refused(prefix)))
            .map(|(first, entry)| (*first, *entry))
            .collect();
        for (first, entry) in back {
            inner.restore(first, entry.before);
        }
    }

    /// Who has the address, unless nobody ever did.
    pub fn entry(&self, prefix: Prefix) -> Option<(Holder, u8, EntryState)> {
        let inner = self.inner.lock();
        inner.used.get(&prefix.first()).map(|entry| (entry.holder, entry.slot, entry.state))
    }

    /// Applies a committed grant. Returns the holder that is displaced, if a live grant of another one was found: that
    /// is never expected in live operation.
    pub(super) fn granted(&self, prefix: Prefix, holder: Holder, slot: u8, sequence: u64) -> Option<Holder> {
        let mut inner = self.inner.lock();
        let first = prefix.first();
        let mut displaced = None;
        if let Some(entry) = inner.used.get(&first).copied() {
            if entry.holder != holder && entry.state == EntryState::Granted {
                if entry.sequence > sequence {
                    // A checkpoint lists shards at different sequences: the newer grant stands.
                    return None;
                }
                displaced = Some(entry.holder);
            }
            inner.forget(entry.state);
        } else if let Some(offset) = inner.layout.offset_of(first) {
            inner.clear_never_used(offset);
        }
        inner.granted += 1;
        inner.used.insert(first, Entry { holder, slot, state: EntryState::Granted, sequence, before: None });
        displaced
    }

    /// Applies a committed release; one of a former holder changes nothing.
    pub(super) fn released(&self, prefix: Prefix, holder: Holder, at: Stamp) {
        self.leave(prefix, holder, EntryState::Released(at));
    }

    /// Applies a committed decline: out of use until `until`.
    pub(super) fn declined(&self, prefix: Prefix, holder: Holder, until: Stamp) {
        self.leave(prefix, holder, EntryState::Declined(until));
    }

    fn leave(&self, prefix: Prefix, holder: Holder, state: EntryState) {
        let mut inner = self.inner.lock();
        let first = prefix.first();
        let Some(entry) = inner.used.get(&first).copied() else {
            return;
        };
        if entry.holder != holder || entry.state != EntryState::Granted {
            return;
        }
        inner.forget(entry.state);
        inner.used.insert(first, Entry { state, before: None, ..entry });
        inner.queue(first, state);
    }

    /// Restores a remembered (not live) holder: used when loading a checkpoint.
    pub(super) fn remember(&self, prefix: Prefix, holder: Holder, slot: u8, at: Stamp, sequence: u64) {
        let mut inner = self.inner.lock();
        let first = prefix.first();
        if inner.used.get(&first).is_some_and(|entry| entry.sequence >= sequence) {
            return;
        }
        if let Some(offset) = inner.layout.offset_of(first) {
            inner.clear_never_used(offset);
        }
        let state = EntryState::Released(at);
        let entry = Entry { holder, slot, state, sequence, before: None };
        if let Some(old) = inner.used.insert(first, entry) {
            inner.forget(old.state);
        }
        inner.queue(first, state);
    }

    /// How many grants are in which state at `now`. Walks what was ever used: for metrics and the API, not for packets.
    pub fn counts(&self, now: Stamp) -> PoolCounts {
        let inner = self.inner.lock();
        let mut counts = PoolCounts {
            size: inner.never_used_left + inner.used.len() as u32,
            free: inner.never_used_left,
            ..PoolCounts::default()
        };
        for entry in inner.used.values() {
            match entry.state {
                EntryState::Reserved => counts.reserved += 1,
                EntryState::Granted => counts.granted += 1,
                EntryState::Assigned => counts.assigned += 1,
                EntryState::Released(at) if now.since(at) >= inner.layout.quarantine_ms => counts.held += 1,
                EntryState::Released(_) => counts.quarantined += 1,
                EntryState::Declined(_) => counts.declined += 1,
            }
        }
        counts
    }

    /// Addresses taken out of quarantine early because nothing else was left, since start.
    pub fn quarantine_cuts(&self) -> u64 {
        self.inner.lock().quarantine_cuts
    }
}

impl EntryState {
    const fn released_at(self) -> Stamp {
        match self {
            Self::Released(at) | Self::Declined(at) => at,
            Self::Reserved | Self::Granted | Self::Assigned => Stamp::ZERO,
        }
    }
}

impl Inner {
    fn next_never_used(&mut self) -> Option<u32> {
        if self.never_used_left == 0 {
            return None;
        }
        let words = self.never_used.len();
        for _ in 0..words {
            let word = self.never_used.get_mut(self.cursor)?;
            if *word != 0 {
                let bit = word.trailing_zeros();
                *word &= *word - 1;
                self.never_used_left -= 1;
                return Some(self.cursor as u32 * 64 + bit);
            }
            self.cursor = (self.cursor + 1) % words;
        }
        None
    }

    fn next_released(&mut self, now: Stamp) -> Option<(u128, Before)> {
        // Declined addresses found on the way go back to the end; each is looked at once.
        for _ in 0..self.released.len() {
            let (first, queued_at) = self.released.pop_front()?;
            let Some(entry) = self.used.get(&first).copied() else {
                continue;
            };
            if self.layout.offset_of(first).is_none() {
                continue;
            }
            match entry.state {
                EntryState::Released(at) if at == queued_at => {
                    if now.since(at) < self.layout.quarantine_ms {
                        self.quarantine_cuts += 1;
                    }
                    return Some((first, Some((entry.holder, entry.slot, at, entry.sequence))));
                }
                EntryState::Declined(until) if until == queued_at => {
                    if until <= now {
                        return Some((first, Some((entry.holder, entry.slot, until, entry.sequence))));
                    }
                    self.released.push_back((first, until));
                }
                _ => {}
            }
        }
        None
    }

    /// Puts an address back to what it was before it was chosen.
    fn restore(&mut self, first: u128, before: Before) {
        if let Some((holder, slot, at, sequence)) = before {
            let state = EntryState::Released(at);
            self.used.insert(first, Entry { holder, slot, state, sequence, before: None });
            self.queue(first, state);
        } else {
            self.used.remove(&first);
            if let Some(offset) = self.layout.offset_of(first) {
                self.set_never_used(offset);
            }
        }
    }

    fn queue(&mut self, first: u128, state: EntryState) {
        let at = state.released_at();
        // Checkpoints and inheritance may arrive out of order; live releases come in order and cost one comparison.
        let position =
            self.released.iter().rposition(|(_, queued)| *queued <= at).map_or(0, |index| index + 1);
        self.released.insert(position, (first, at));
    }

    fn forget(&mut self, state: EntryState) {
        match state {
            EntryState::Reserved => self.reserved = self.reserved.saturating_sub(1),
            EntryState::Granted => self.granted = self.granted.saturating_sub(1),
            EntryState::Released(_) | EntryState::Declined(_) | EntryState::Assigned => {}
        }
    }

    fn clear_never_used(&mut self, offset: u32) {
        if let Some(word) = self.never_used.get_mut(offset as usize / 64)
            && *word & (1 << (offset % 64)) != 0
        {
            *word &= !(1 << (offset % 64));
            self.never_used_left -= 1;
        }
    }

    fn set_never_used(&mut self, offset: u32) {
        if let Some(word) = self.never_used.get_mut(offset as usize / 64)
            && *word & (1 << (offset % 64)) == 0
        {
            *word |= 1 << (offset % 64);
            self.never_used_left += 1;
            self.cursor = self.cursor.min(offset as usize / 64);
        }
    }
}

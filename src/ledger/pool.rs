//! The free addresses of one pool and the order in which they are chosen.
//!
//! A newcomer gets, in this order (FIELD R19): an address never used, the address released longest ago, and only when
//! nothing else is left one that still rests in quarantine, oldest first, counted. Whoever held an address last and
//! comes back while nobody else has it gets it again. Choosing reserves in the same step; a reservation is volatile and
//! ends by commit or abort.
//!
//! Invariant: free + reserved + held + granted + quarantined + declined + assigned = size, at every moment. It holds by
//! construction: every change of an address goes through `Tally::set`, which moves it from one tally to another.
//!
//! What a pool does not know: live prefixes outside its ranges (those of an edited pool, routed subnets, assignments by
//! name) stand in `Apart`, and the ledger looks there after a choice.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::layout::Layout;
use super::tally::{DeclinedAddress, Entry, Stray, Tally};
use crate::ids::PoolId;
use crate::journal::record::Holder;
use crate::model::Prefix;
use crate::snapshot::types::Pool;
use crate::time::Stamp;

/// Grants in one block: the unit of ownership between nodes (FIELD R5), and of memory.
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

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
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
    /// Set aside: a service has it assigned by name, or it is in use outside this pool.
    Assigned,
}

/// What a committed grant met in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The address is the holder's.
    Ours,
    /// It is the holder's now, and was in use by this one: never expected in live operation.
    Displaced(Holder),
    /// A newer grant stands: a checkpoint lists shards at different sequences.
    Outdated,
    /// Not an address of this pool.
    Outside,
}

/// How many grants of a pool are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct PoolCounts {
    /// Grants of the pool that this node may choose, and those of other nodes' shares that it knows to be in use.
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
    /// Set aside because a service has it assigned by name, or it is in use outside this pool.
    pub assigned: u32,
}

/// The allocation state of one pool.
#[derive(Debug)]
pub struct PoolLedger {
    /// The pool's id.
    pub id: PoolId,
    /// Key of its address space.
    pub space_key: u64,
    /// Whether another pool of the space has some of the same addresses.
    pub(super) overlapped: AtomicBool,
    /// Until when what was released is kept for its last holder; see [`super::Ledger::settle`].
    settles_at: AtomicU64,
    inner: Mutex<Tally>,
}

impl PoolLedger {
    /// An empty pool as compiled; `owns` tells which blocks this node may choose from.
    pub fn new(pool: &Pool, owns: &dyn Fn(u32) -> bool) -> Self {
        let ledger = Self {
            id: PoolId(pool.id),
            space_key: pool.space.key(),
            overlapped: AtomicBool::new(false),
            settles_at: AtomicU64::new(0),
            inner: Mutex::new(Tally::default()),
        };
        ledger.configure(pool, owns, &mut |_| {});
        ledger
    }

    /// Number of blocks of a pool as compiled.
    pub fn blocks_of(pool: &Pool) -> u32 {
        Layout::of(pool).size().div_ceil(BLOCK_GRANTS)
    }

    /// Takes over an edited pool or changed block ownership. What is in use and no longer among the pool's grants is
    /// handed to `stray` before the pool forgets it.
    pub(super) fn configure(&self, pool: &Pool, owns: &dyn Fn(u32) -> bool, stray: &mut dyn FnMut(Stray)) {
        let layout = Layout::of(pool);
        let size = layout.size();
        let blocks = size.div_ceil(BLOCK_GRANTS);
        let mut inner = self.inner.lock();
        let mut next = Tally {
            layout,
            owned: (0..blocks).map(owns).collect(),
            never_used: vec![0; size.div_ceil(64) as usize],
            blocks: (0..blocks).map(|_| None).collect(),
            quarantine_cuts: inner.quarantine_cuts,
            ..Tally::default()
        };
        for offset in 0..size {
            next.set_never_used(offset);
        }
        inner.carry_over(&mut next, stray);
        *inner = next;
    }

    /// Hands everything in use to `stray` and forgets it: the pool is no more.
    pub(super) fn dissolve(&self, stray: &mut dyn FnMut(Stray)) {
        let mut inner = self.inner.lock();
        let mut next = Tally::default();
        inner.carry_over(&mut next, stray);
        *inner = next;
    }

    /// The first and last address of each range, and the length of a grant in 128-bit terms.
    pub(super) fn spans(&self) -> (u8, Vec<(u128, u128)>) {
        let inner = self.inner.lock();
        (inner.layout.wide_len(), inner.layout.spans())
    }

    /// Whether `prefix` is one of the pool's grants.
    pub fn contains(&self, prefix: Prefix) -> bool {
        self.inner.lock().offset_of(prefix).is_some()
    }

    /// Whether a grant of the pool that overlaps `prefix` is in use by another holder, or on its way to one.
    pub(super) fn is_used_by_another(&self, prefix: Prefix, holder: Holder) -> bool {
        let inner = self.inner.lock();
        inner
            .layout
            .overlapping(prefix)
            .any(|offsets| inner.known_in(offsets).any(|(_, entry)| entry.is_in_use_by_another(holder)))
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
        if inner.layout.draining() {
            return None;
        }
        loop {
            let offset = match inner.next_never_used() {
                Some(offset) => offset,
                None if self.is_settling(now) => return None,
                None => inner.next_released(now)?,
            };
            let prefix = inner.layout.prefix_of(offset)?;
            if refused(prefix) {
                inner.set_aside(offset);
                continue;
            }
            inner.reserve(offset, holder, slot);
            return Some(prefix);
        }
    }

    /// Keeps what was released, and is released by then, for its last holder until `until`.
    pub(super) fn settle(&self, until: Stamp) {
        self.settles_at.fetch_max(until.0, Ordering::Relaxed);
    }

    fn is_settling(&self, now: Stamp) -> bool {
        now.0 < self.settles_at.load(Ordering::Relaxed)
    }

    /// Whether there is something that a newcomer will get when the pool has settled.
    pub(super) fn keeps_for_last_holders(&self, now: Stamp) -> bool {
        self.is_settling(now) && {
            let inner = self.inner.lock();
            !inner.layout.draining() && !inner.released.is_empty()
        }
    }

    /// Reserves a particular address, if it is free or was `holder`'s own last one, in a block of this node: the owner of
    /// any other may have given it to somebody else meanwhile (FIELD R5). With `assigned`, because the address
    /// is assigned to `holder` by name or in use by it, also if another holder had it last and left, or the pool drains.
    pub fn claim(&self, prefix: Prefix, holder: Holder, slot: u8, assigned: bool) -> bool {
        let mut inner = self.inner.lock();
        let Some(offset) = inner.offset_of(prefix) else {
            return false;
        };
        if inner.layout.draining() && !assigned {
            return false;
        }
        let entry = inner.entry(offset);
        let allowed = match entry.state {
            None => assigned || inner.is_owned(offset),
            Some(EntryState::Released(_)) => assigned || (entry.holder() == holder && inner.is_owned(offset)),
            Some(EntryState::Assigned) => assigned,
            Some(EntryState::Reserved | EntryState::Granted | EntryState::Declined(_)) => false,
        };
        if allowed {
            inner.reserve(offset, holder, slot);
        }
        allowed
    }

    /// Gives a reservation back.
    pub fn abort(&self, prefix: Prefix, holder: Holder) {
        let mut inner = self.inner.lock();
        if let Some(offset) = inner.reserved_by(prefix, holder) {
            inner.restore(offset);
        }
    }

    /// Sets a reserved address aside because it is in use outside this pool, until [`PoolLedger::bring_back`].
    pub(super) fn set_aside(&self, prefix: Prefix, holder: Holder) {
        let mut inner = self.inner.lock();
        if let Some(offset) = inner.reserved_by(prefix, holder) {
            inner.restore(offset);
            inner.set_aside(offset);
        }
    }

    /// Makes what was set aside and overlaps `prefix` choosable again; what is still assigned by name is set aside again
    /// when its turn comes.
    pub(super) fn bring_back(&self, prefix: Prefix) {
        let mut inner = self.inner.lock();
        if inner.assigned.is_empty() {
            return;
        }
        let spans: Vec<_> = inner.layout.overlapping(prefix).collect();
        for offsets in spans {
            let back: Vec<u32> = inner.assigned.range(offsets).copied().collect();
            for offset in back {
                inner.restore(offset);
            }
        }
    }

    /// Puts addresses that had been set aside as assigned by name, and no longer are, back among the choosable ones.
    pub fn reconsider(&self, refused: &dyn Fn(Prefix) -> bool) {
        let mut inner = self.inner.lock();
        let assigned: Vec<u32> = inner.assigned.iter().copied().collect();
        for offset in assigned {
            if inner.layout.prefix_of(offset).is_some_and(|prefix| !refused(prefix)) {
                inner.restore(offset);
            }
        }
    }

    /// Who has the address, unless nobody ever did.
    pub fn entry(&self, prefix: Prefix) -> Option<(Holder, u8, EntryState)> {
        let inner = self.inner.lock();
        let entry = inner.entry(inner.offset_of(prefix)?);
        Some((entry.holder(), entry.slot, entry.state?))
    }

    /// Applies a committed grant.
    pub(super) fn granted(&self, prefix: Prefix, holder: Holder, slot: u8, sequence: u64) -> Taken {
        let mut inner = self.inner.lock();
        let Some(offset) = inner.offset_of(prefix) else {
            return Taken::Outside;
        };
        let entry = inner.entry(offset);
        if entry.sequence > sequence {
            return Taken::Outdated;
        }
        let displaced = entry.holder() != holder && entry.state == Some(EntryState::Granted);
        inner.before.remove(&offset);
        inner.set(offset, Entry::new(holder, slot, EntryState::Granted, sequence));
        if displaced { Taken::Displaced(entry.holder()) } else { Taken::Ours }
    }

    /// Applies the end of a committed grant, a release or a decline; one of a former holder changes nothing. When a slot of
    /// the holder is already on its way back to the address, it passes from granted to reserved without being anybody's in
    /// between.
    pub(super) fn left(&self, prefix: Prefix, holder: Holder, state: EntryState, again: Option<u8>) {
        let mut inner = self.inner.lock();
        if let Some(offset) = inner.leave(prefix, holder, state)
            && let Some(slot) = again
        {
            inner.reserve(offset, holder, slot);
        }
    }

    /// Of two slots of a holder that stood on the address, `slot` stays.
    pub(super) fn passed_on(&self, prefix: Prefix, holder: Holder, slot: u8) {
        let mut inner = self.inner.lock();
        let Some(offset) = inner.offset_of(prefix) else { return };
        let entry = inner.entry(offset);
        if entry.state == Some(EntryState::Granted) && entry.holder() == holder {
            inner.set(offset, Entry { slot, ..entry });
        }
    }

    /// Restores a remembered (not live) holder: used when loading a checkpoint.
    pub(super) fn remember(&self, prefix: Prefix, holder: Holder, slot: u8, at: Stamp, sequence: u64) {
        self.recall(prefix, Entry::new(holder, slot, EntryState::Released(at), sequence));
    }

    /// Restores a declined address: used when loading a checkpoint.
    pub(super) fn recall_declined(&self, known: &DeclinedAddress) {
        let state = EntryState::Declined(known.until);
        self.recall(known.prefix, Entry::new(known.holder, known.slot, state, known.sequence));
    }

    fn recall(&self, prefix: Prefix, entry: Entry) {
        let mut inner = self.inner.lock();
        let Some(offset) = inner.offset_of(prefix) else { return };
        let known = inner.entry(offset);
        let declined = matches!(entry.state, Some(EntryState::Declined(_)));
        // A decline ends the very grant that the holder's shard may still list as live.
        if known.sequence < entry.sequence || (declined && known.sequence == entry.sequence) {
            inner.set(offset, entry);
        }
    }

    /// The declined addresses, for a checkpoint: no holder remembers them.
    pub(super) fn declined_addresses(&self) -> Vec<DeclinedAddress> {
        let inner = self.inner.lock();
        let declined = inner.declined.iter().map(|(_, offset)| (*offset, inner.entry(*offset)));
        // What was chosen since its decline ended may yet be given back.
        let chosen = inner.before.iter().map(|(offset, entry)| (*offset, *entry));
        let known = declined.chain(chosen).filter_map(|(offset, entry)| {
            let Some(EntryState::Declined(until)) = entry.state else { return None };
            let prefix = inner.layout.prefix_of(offset)?;
            let (holder, Entry { slot, sequence, .. }) = (entry.holder(), entry);
            Some(DeclinedAddress { prefix, holder, slot, until, sequence })
        });
        known.collect()
    }

    /// How many grants are in which state at `now`. Everything is tallied as it changes, but for the boundary between
    /// quarantined and held, which is walked from its nearer end.
    pub fn counts(&self, now: Stamp) -> PoolCounts {
        let inner = self.inner.lock();
        let idle = inner.released.len();
        let quarantined = inner.quarantined(now);
        let (declined, assigned) = (inner.declined.len() as u32, inner.assigned.len() as u32);
        PoolCounts {
            size: inner.never_used_left + inner.reserved + inner.granted + idle as u32 + declined + assigned,
            free: inner.never_used_left,
            reserved: inner.reserved,
            held: (idle - quarantined) as u32,
            granted: inner.granted,
            quarantined: quarantined as u32,
            declined,
            assigned,
        }
    }

    /// Addresses taken out of quarantine early because nothing else was left, since start.
    pub fn quarantine_cuts(&self) -> u64 {
        self.inner.lock().quarantine_cuts
    }

    pub(super) fn is_overlapped(&self) -> bool {
        self.overlapped.load(Ordering::Relaxed)
    }
}

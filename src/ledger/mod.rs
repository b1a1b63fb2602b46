//! The ledger: who holds which address or prefix, in one place for RADIUS and DHCP and for both families.
//!
//! Place in the path: after the decision, before the journal. [`Ledger::admit`] chooses and reserves in one step and says
//! which records must be durable before the answer leaves; [`Ledger::apply`] makes committed records take effect. Live
//! traffic, recovery and replay share that one `apply`, which reads no clock.
//!
//! Structure: holders (services, and clients without one) are spread over shards by id, each behind its own short lock;
//! a pool has its free addresses behind another ([`pool::PoolLedger`]). Lock order is shard, then pool, then session
//! index, and no lock is held while the journal is awaited.
//!
//! Invariants: never two live grants overlapping in one (tenant, VRF); for every pool free + reserved + held + granted +
//! quarantined + declined + assigned = size.

mod account;
mod admit;
mod apply;
mod checkpoint;
pub mod holder;
mod lease;
pub mod pool;
mod sweep;
mod view;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::ids::{NasId, PoolId, SessionId, TenantId};
use crate::journal::record::Holder;
use crate::model::Prefix;
use crate::snapshot::types::Space;
use crate::time::Stamp;

pub use account::{Accounted, AccountingFacts, Known};
pub use admit::{Admission, AdmitRequest, Denied, FixedHolder, GrantedAddress, Want, WantSource};
pub use apply::hold_until;
pub use checkpoint::{Checkpoint, CheckpointError, ShardPositions};
pub use holder::{Grant, HolderState, Pending, Session, Slot};
pub use lease::{Offered, RenewalBasis};
pub use pool::{PoolCounts, PoolLedger};
pub use view::HolderView;

use pool::{SpreadHasher, SpreadMap};

/// Shards of holders; a power of two.
pub const SHARDS: usize = 256;
const SESSION_SHARDS: usize = 64;

#[derive(Debug, Default)]
struct Shard {
    holders: SpreadMap<u128, HolderState>,
    /// Sequence of the last journal record applied to this shard.
    applied: u64,
}

/// Where a session is found: by our id, and by the NAS's own.
#[derive(Debug, Default)]
struct SessionIndex {
    by_id: SpreadMap<u128, Holder>,
    by_nas: SpreadMap<u64, SessionId>,
    /// Sessions closed lately, and the order in which they are forgotten.
    closed: HashSet<u128, BuildHasherDefault<SpreadHasher>>,
    closed_order: VecDeque<(SessionId, u64)>,
}

/// A prefix assigned by name that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FixedGrant {
    holder: Holder,
    slot: u8,
}

/// Counters of what the ledger met, for metrics.
#[derive(Debug, Default)]
pub struct LedgerCounters {
    /// Grants applied although another holder's was live: never expected.
    pub conflicts: AtomicU64,
    /// Slots taken over by their owner while live.
    pub takeovers: AtomicU64,
    /// Records that could not be applied (unknown pool and no room): never expected.
    pub anomalies: AtomicU64,
}

/// The pools by id.
pub type PoolTable = SpreadMap<u128, Arc<PoolLedger>>;

/// Who holds what. See the module documentation.
#[derive(Debug)]
pub struct Ledger {
    shards: Box<[Mutex<Shard>]>,
    sessions: Box<[Mutex<SessionIndex>]>,
    pools: ArcSwap<PoolTable>,
    /// By (space, first address, length in 128-bit terms).
    fixed: Mutex<BTreeMap<(u64, u128, u8), FixedGrant>>,
    spaces: Mutex<SpreadMap<u64, Arc<Space>>>,
    /// NASes that announced a restart, with the stamp of the announcement.
    restarted: Mutex<BTreeMap<NasId, Stamp>>,
    hold_until: AtomicU64,
    counters: LedgerCounters,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    /// An empty ledger without pools.
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect(),
            sessions: (0..SESSION_SHARDS).map(|_| Mutex::new(SessionIndex::default())).collect(),
            pools: ArcSwap::from_pointee(PoolTable::default()),
            fixed: Mutex::new(BTreeMap::new()),
            spaces: Mutex::new(SpreadMap::default()),
            restarted: Mutex::new(BTreeMap::new()),
            hold_until: AtomicU64::new(0),
            counters: LedgerCounters::default(),
        }
    }

    /// Installs pools as compiled. Pools already known are edited in place, those missing are dropped unless something
    /// of theirs is still in use. `owns` tells which blocks this node may choose from.
    pub fn set_pools<'a>(
        &self,
        pools: impl Iterator<Item = &'a crate::snapshot::types::Pool>,
        owns: &dyn Fn(PoolId, u32) -> bool,
    ) {
        let current = self.pools.load_full();
        let mut next = PoolTable::default();
        for pool in pools {
            let id = PoolId(pool.id);
            let ledger = match current.get(&pool.id.0) {
                Some(known) => {
                    known.configure(pool, &|block| owns(id, block));
                    Arc::clone(known)
                }
                None => Arc::new(PoolLedger::new(pool, &|block| owns(id, block))),
            };
            next.insert(pool.id.0, ledger);
        }
        let gone: Vec<Arc<PoolLedger>> = current
            .iter()
            .filter(|(id, _)| !next.contains_key(*id))
            .map(|(_, pool)| Arc::clone(pool))
            .collect();
        for pool in gone {
            let counts = pool.counts(Stamp::ZERO);
            if counts.granted + counts.reserved > 0 {
                pool.drain();
                next.insert(pool.id.0.0, pool);
            }
        }
        self.pools.store(Arc::new(next));
    }

    /// A pool by id.
    pub fn pool(&self, id: PoolId) -> Option<Arc<PoolLedger>> {
        self.pools.load().get(&id.0.0).map(Arc::clone)
    }

    /// All pools.
    pub fn pools(&self) -> Vec<Arc<PoolLedger>> {
        self.pools.load().values().map(Arc::clone).collect()
    }

    /// Counters for metrics.
    pub const fn counters(&self) -> &LedgerCounters {
        &self.counters
    }

    /// No lease is treated as ended before this stamp.
    pub fn hold_until(&self) -> Stamp {
        Stamp(self.hold_until.load(Ordering::Acquire))
    }

    /// The shared form of a space.
    pub fn space(&self, tenant: TenantId, vrf: &[u8]) -> Arc<Space> {
        let space = Space { tenant, vrf: String::from_utf8_lossy(vrf).into() };
        let mut spaces = self.spaces.lock();
        Arc::clone(spaces.entry(space.key()).or_insert_with(|| Arc::new(space)))
    }

    fn shard_index(holder: Holder) -> usize {
        let mixed = (holder.0 ^ (holder.0 >> 64)) as u64;
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % SHARDS
    }

    fn shard(&self, holder: Holder) -> &Mutex<Shard> {
        &self.shards[Self::shard_index(holder)]
    }

    fn session_shard(&self, key: u64) -> &Mutex<SessionIndex> {
        &self.sessions[key as usize % SESSION_SHARDS]
    }

    fn session_key(session: SessionId) -> u64 {
        (session.0.0 as u64) ^ ((session.0.0 >> 64) as u64)
    }

    fn nas_key(nas: NasId, acct_session_id: &[u8]) -> u64 {
        let mut hash = nas.0.0 as u64 ^ ((nas.0.0 >> 64) as u64).rotate_left(32) ^ 0xcbf2_9ce4_8422_2325;
        for byte in acct_session_id {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        hash
    }

    /// Whether a prefix assigned by name would overlap one that another holder uses.
    fn fixed_conflict(&self, space: &Space, prefix: Prefix, holder: Holder) -> bool {
        let key = space.key();
        let fixed = self.fixed.lock();
        let (first, len) = prefix.raw();
        let above = (0..len).any(|shorter| {
            let start = if shorter == 0 { 0 } else { first & (u128::MAX << (128 - u32::from(shorter))) };
            fixed.get(&(key, start, shorter)).is_some_and(|grant| grant.holder != holder)
        });
        above
            || fixed
                .range((key, first, 0)..=(key, prefix.last(), u8::MAX))
                .any(|((_, _, other_len), grant)| *other_len >= len && grant.holder != holder)
    }

    /// The pool of a space that has `prefix` among its grants, if any.
    fn pool_over(&self, space_key: u64, prefix: Prefix) -> Option<Arc<PoolLedger>> {
        let table = self.pools.load();
        table.values().find(|pool| pool.space_key == space_key && pool.contains(prefix)).map(Arc::clone)
    }
}

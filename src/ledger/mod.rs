//! The ledger: who holds which address or prefix, in one place for RADIUS and DHCP and for both families.
//!
//! Place in the path: after the decision, before the journal. [`Ledger::admit`] chooses and reserves in one step and says
//! which records must be durable before the answer leaves; [`Ledger::apply`] makes committed records take effect. Live
//! traffic, recovery and replay share that one `apply`, which reads no clock.
//!
//! Structure: holders (services, and clients without one) are spread over shards by id, each behind its own short lock;
//! a pool has its free addresses behind another ([`pool::PoolLedger`]), and what is in use outside every pool stands
//! behind a third (`apart`). Lock order is shard, then pool, then apart or session index; no two of one kind are held at
//! once, and none while the journal is awaited.
//!
//! Two structures can know of one address (a pool and a routed subnet over it, two pools that overlap). Whoever chooses
//! reserves in its own first and looks into the others then, so of two that race at least one sees the other.
//!
//! Invariants: never two live grants of different holders overlapping in one (tenant, VRF); for every pool free +
//! reserved + held + granted + quarantined + declined + assigned = size; what a client was answered with is nobody
//! else's until there is evidence that the client has left it, whether or not its record reached the journal.

mod account;
mod admit;
mod apart;
mod apply;
mod checkpoint;
mod choose;
mod copying;
mod find;
mod hold;
pub mod holder;
mod id_table;
mod image;
mod layout;
mod learn;
mod lease;
mod lookahead;
pub mod pool;
mod reserve;
mod session_index;
mod sweep;
mod tally;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::ids::{NasId, TenantId};
use crate::journal::record::Holder;
use crate::snapshot::types::Space;
use crate::time::Stamp;

pub use account::{Accounted, AccountingFacts, Known};
pub use admit::{Admission, AdmitRequest, Denied, FixedHolder, GrantedAddress, Want, WantSource};
pub use checkpoint::{Checkpoint, CheckpointError, ShardPositions};
pub use hold::Holds;
pub use holder::{Grant, HolderState, Pending, Session, Slot};
pub use learn::Lesson;
pub use lease::{Offered, RenewalBasis};
pub use pool::{PoolCounts, PoolLedger};
pub use view::HolderView;

use apart::Apart;
use copying::Copying;
use find::PoolSet;
use id_table::IdTable;
use pool::SpreadMap;
use session_index::SessionIndex;

/// Shards of holders; a power of two.
pub const SHARDS: usize = 256;
const SESSION_SHARDS: usize = 64;

/// After this long a record in flight counts as lost (its journal segment failed without telling anybody, as happens to
/// records that nobody waits for) and is written again, for the same address.
const IN_FLIGHT_MS: u64 = 5_000;

#[derive(Debug, Default)]
struct Shard {
    holders: IdTable<HolderState>,
    /// Sequence of the last journal record applied to this shard.
    applied: u64,
    /// What a checkpoint that is copying the shard must not miss.
    copying: Option<Box<Copying>>,
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
    /// Grants of other nodes that another holder's use here kept from being learned.
    pub learned_conflicts: AtomicU64,
}

/// Who holds what. See the module documentation.
#[derive(Debug)]
pub struct Ledger {
    shards: Box<[Mutex<Shard>]>,
    sessions: Box<[Mutex<SessionIndex>]>,
    pools: ArcSwap<PoolSet>,
    apart: Apart,
    spaces: Mutex<SpreadMap<u64, Arc<Space>>>,
    /// NASes that announced a restart, with the stamp of the announcement.
    restarted: Mutex<BTreeMap<NasId, Stamp>>,
    hold: hold::Hold,
    newest: AtomicU64,
    /// Sequence up to which each other node's journal is known (FIELD R5).
    learned: Mutex<BTreeMap<u16, u64>>,
    feed_read_at: AtomicU64,
    /// Held by whoever makes a checkpoint: shards are copied for one at a time.
    checkpointing: Mutex<()>,
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
            pools: ArcSwap::from_pointee(PoolSet::default()),
            apart: Apart::default(),
            spaces: Mutex::new(SpreadMap::default()),
            restarted: Mutex::new(BTreeMap::new()),
            hold: hold::Hold::default(),
            newest: AtomicU64::new(0),
            learned: Mutex::new(BTreeMap::new()),
            feed_read_at: AtomicU64::new(0),
            checkpointing: Mutex::new(()),
            counters: LedgerCounters::default(),
        }
    }

    /// Counters for metrics.
    pub const fn counters(&self) -> &LedgerCounters {
        &self.counters
    }

    /// No lease is treated as ended before this stamp.
    pub fn hold_until(&self) -> Stamp {
        self.hold.read().leases
    }

    /// Until when nothing ends by itself.
    pub fn holds(&self) -> Holds {
        self.hold.read()
    }

    /// Lets nothing end by itself before these stamps. A record must say so, too.
    pub fn extend_holds(&self, to: Holds) {
        self.hold.extend(to);
    }

    /// Lets the holds end at these stamps already, on somebody's word that nothing needs them longer. A record must say so,
    /// too.
    pub fn end_holds(&self, at: Holds) {
        self.hold.end(at);
    }

    /// Stamp of the newest record applied; [`Stamp::ZERO`] when none was. A checkpoint keeps it, so that recovery knows how
    /// far the timeline had come although it reads no record (fault F9).
    pub fn newest(&self) -> Stamp {
        Stamp(self.newest.load(Ordering::Acquire))
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
}

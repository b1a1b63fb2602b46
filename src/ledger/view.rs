//! Reading the ledger for people and metrics: never on the packet path.

use super::holder::HolderState;
use super::{Ledger, SHARDS};
use crate::journal::record::Holder;

/// A copy of what one holder has.
pub type HolderView = HolderState;

impl Ledger {
    /// What a holder has, if anything.
    pub fn holder(&self, holder: Holder) -> Option<HolderView> {
        self.shard(holder).lock().holders.at(holder.0).cloned()
    }

    /// Calls `visit` with every holder, shard by shard; each shard is locked only while it is read.
    pub fn for_each(&self, mut visit: impl FnMut(Holder, &HolderState)) {
        for shard in &self.shards {
            let shard = shard.lock();
            for (holder, state) in shard.holders.iter() {
                visit(Holder(holder), state);
            }
        }
    }

    /// How many holders are known: asked often, so nobody's slots are looked at.
    pub fn holders(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().holders.len() as u64).sum()
    }

    /// Live sessions, and live grants with a lease.
    pub fn totals(&self) -> (u64, u64) {
        let (mut sessions, mut leases) = (0, 0);
        self.for_each(|_, state| {
            for slot in &state.slots {
                sessions += u64::from(slot.session.is_some());
                leases +=
                    slot.grants.iter().filter(|grant| grant.live && grant.lease.is_some()).count() as u64;
            }
        });
        (sessions, leases)
    }

    /// Number of shards, for sweeping.
    pub const fn shard_count(&self) -> usize {
        SHARDS
    }
}

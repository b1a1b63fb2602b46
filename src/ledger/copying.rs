//! Copying one shard for a checkpoint, as it was at one moment, a few holders at a time.
//!
//! Packets wait for a shard's lock, and whoever copies may lose the processor to them while holding it: the checkpoint's
//! thread has a low priority. So the lock is taken for a few holders only, and a record that is applied in between first
//! saves what its holder had, unless that is copied already.

use parking_lot::Mutex;

use super::Shard;
use super::holder::HolderState;
use super::image::{ShardImage, SlotImage, slot_image};
use super::pool::SpreadMap;
use crate::journal::record::Holder;
use crate::limits::CHECKPOINT_PIECE_HOLDERS;

/// A shard while it is copied.
#[derive(Debug, Default)]
pub(super) struct Copying {
    /// Holders up to this one, in order of their ids, are copied.
    through: Option<u128>,
    /// Holders that changed before they were copied, with what they had; none of a holder that was not there.
    changed: SpreadMap<u128, Option<Vec<SlotImage>>>,
}

impl Shard {
    /// Before a record changes a holder: saves what the holder had for the checkpoint that still needs it.
    pub(super) fn keep_for_checkpoint(&mut self, holder: Holder) {
        let Some(copying) = &mut self.copying else { return };
        if copying.through.is_some_and(|through| holder.0 <= through) {
            return;
        }
        let holders = &self.holders;
        copying.changed.entry(holder.0).or_insert_with(|| holders.at(holder.0).map(images));
    }

    /// What a holder had when the copy began, if it was there.
    fn copied(&mut self, holder: u128) -> Option<Vec<SlotImage>> {
        let changed = self.copying.as_mut().and_then(|copying| copying.changed.remove(&holder));
        changed.unwrap_or_else(|| self.holders.at(holder).map(images))
    }
}

fn images(state: &HolderState) -> Vec<SlotImage> {
    state.slots.iter().map(slot_image).collect()
}

/// The shard as it is now. A shard that no record has touched lately is current up to sequence `current`.
pub(super) fn copy(shard: &Mutex<Shard>, current: u64) -> ShardImage {
    let (applied, mut ids) = {
        let mut shard = shard.lock();
        shard.copying = Some(Box::default());
        (shard.applied.max(current), shard.holders.iter().map(|(holder, _)| holder).collect::<Vec<u128>>())
    };
    ids.sort_unstable();
    let mut holders = Vec::with_capacity(ids.len());
    for piece in ids.chunks(CHECKPOINT_PIECE_HOLDERS) {
        let mut shard = shard.lock();
        for id in piece {
            let slots = shard.copied(*id).filter(|slots| slots.iter().any(SlotImage::is_known));
            holders.extend(slots.map(|slots| (Holder(*id), slots)));
        }
        if let Some(copying) = &mut shard.copying {
            copying.through = piece.last().copied();
        }
    }
    shard.lock().copying = None;
    ShardImage { applied, holders }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::ids::{NasId, NetworkId, PoolId, SessionId, TenantId};
    use crate::journal::record::{GrantRecord, Owner, Record, Role};
    use crate::ledger::Ledger;
    use crate::time::Stamp;

    fn grant(holder: u128, at: u64) -> Record {
        Record::Grant(GrantRecord {
            at: Stamp(at),
            tenant: TenantId::DEFAULT,
            vrf: smallvec::SmallVec::new(),
            prefix: crate::model::Prefix::host(std::net::Ipv4Addr::from(0x6440_0000 + holder as u32).into()),
            role: Role::V4,
            holder: Holder(holder),
            slot: 0,
            pool: PoolId::default(),
            network: NetworkId::default(),
            owner: Owner::default(),
            line: smallvec::SmallVec::new(),
            nas: NasId::default(),
            session: SessionId::default(),
            lease: None,
            ends_at: Stamp(at + 1),
            digest: at,
            renewal: false,
        })
    }

    #[test]
    fn a_record_applied_during_the_copy_changes_nothing_of_it() {
        let ledger = Ledger::new();
        // Ids that lie in one shard.
        let home = Ledger::shard_index(Holder(1));
        let ids: Vec<u128> = (1..).filter(|id| Ledger::shard_index(Holder(*id)) == home).take(400).collect();
        for (sequence, id) in (1..).zip(&ids[..300]) {
            ledger.apply(sequence, &grant(*id, 5));
        }
        let before = copy(ledger.shard(Holder(1)), 0);
        assert_eq!((before.applied, before.holders.len()), (300, 300));

        let ledger = Arc::new(ledger);
        let stop = Arc::new(AtomicBool::new(false));
        let writer = {
            let (ledger, stop) = (Arc::clone(&ledger), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut sequence = 1_000;
                while !stop.load(Ordering::Acquire) {
                    for id in ids.iter().rev() {
                        sequence += 1;
                        ledger.apply(sequence, &grant(*id, sequence));
                    }
                }
            })
        };
        for _ in 0..200 {
            let image = copy(ledger.shard(Holder(1)), 0);
            // The writer gives every record the stamp of its sequence: the newest in the copy is the copy's own.
            let newest = image.newest_grant();
            assert!(newest == 5 || newest == image.applied, "{newest} in a copy as of {}", image.applied);
        }
        stop.store(true, Ordering::Release);
        writer.join().unwrap();
    }

    #[test]
    fn a_holder_that_changes_or_comes_before_it_is_copied_is_copied_as_it_was() {
        let ledger = Ledger::new();
        ledger.apply(1, &grant(7, 5));
        let shard = ledger.shard(Holder(7));
        shard.lock().copying = Some(Box::default());
        ledger.apply(2, &grant(7, 9));
        ledger.apply(3, &grant(7, 11));
        let mut shard = shard.lock();
        let kept = ShardImage { applied: 1, holders: vec![(Holder(7), shard.copied(7).unwrap())] };
        assert_eq!(kept.newest_grant(), 5);
        drop(shard);
        let home = Ledger::shard_index(Holder(7));
        let newcomer = (8..100_000).find(|id| Ledger::shard_index(Holder(*id)) == home).unwrap();
        ledger.apply(4, &grant(newcomer, 12));
        assert!(ledger.shard(Holder(7)).lock().copied(newcomer).is_none());
    }
}

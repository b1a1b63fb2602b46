//! The ledger as bytes, shard by shard: what recovery starts from.
//!
//! A checkpoint is fuzzy: each shard is written as of a moment of its own, with the sequence of the last record applied to
//! it then ([`super::copying`]).
//! Recovery loads all shards and then applies the journal from the smallest of those sequences on; a shard skips what it
//! has seen. What belongs to no holder (declined addresses, restarted NASes) is written after the last shard, so it holds
//! everything that any shard's sequence lets recovery skip; applying some of it twice changes nothing. Format: magic,
//! version, then per section a length, a CRC-32C and a postcard body.

use std::cell::RefCell;
use std::num::NonZero;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::copying;
use super::holder::is_space;
use super::image::{DeclinedImage, GrantImageV1, ShardImage, SlotImage, TailImage, TailImageV1};
use super::{Holds, Ledger, SHARDS, Shard};
use crate::ids::{NasId, TenantId};
use crate::journal::record::Holder;
use crate::snapshot::types::Space;
use crate::time::Stamp;

const MAGIC: &[u8; 8] = b"LASTMCKP";
/// Version 1 knows neither other nodes, nor the stamp of the newest record, nor the hold of Accepts.
const VERSION: u16 = 2;

/// Sequences up to which each shard is current.
pub type ShardPositions = Vec<u64>;

/// Why a checkpoint cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a checkpoint at all, or cut short.
    #[error("the checkpoint is damaged: {0}")]
    Damaged(&'static str),
    /// Made by a newer program.
    #[error("the checkpoint has version {0}, written by a newer lastmile")]
    TooNew(u16),
}

/// A checkpoint being written or read.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The smallest sequence of all shards: the journal before it is not needed any more.
    pub oldest: u64,
}

impl Ledger {
    /// Writes the durable state. `current` is the newest applied sequence: a shard that no record has touched lately is
    /// current up to it. Records may be applied meanwhile.
    pub fn checkpoint(&self, current: u64) -> Checkpoint {
        let _one_at_a_time = self.checkpointing.lock();
        let mut bytes = Vec::from(*MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        let mut oldest = u64::MAX;
        for shard in &self.shards {
            let image = copying::copy(shard, current);
            oldest = oldest.min(image.applied);
            append(&mut bytes, &image);
        }
        append(&mut bytes, &self.tail());
        Checkpoint { bytes, oldest: if oldest == u64::MAX { 0 } else { oldest } }
    }

    fn tail(&self) -> TailImage {
        let pools = self.pools();
        let declined = pools.iter().flat_map(|pool| {
            let id = pool.id;
            pool.declined_addresses().into_iter().map(move |known| DeclinedImage::new(id, known))
        });
        let holds = self.holds();
        TailImage {
            hold_until: holds.leases.0,
            hold_accepts_until: holds.accepts.0,
            restarted: self.restarted.lock().iter().map(|(nas, at)| (*nas, at.0)).collect(),
            declined: declined.collect(),
            newest: self.newest().0,
            learned: self.learned_positions(),
        }
    }

    /// Loads a checkpoint into an empty ledger whose pools are installed. Returns the sequence after which the journal must
    /// be applied.
    pub fn load_checkpoint(&self, bytes: &[u8]) -> Result<u64, CheckpointError> {
        let damaged = CheckpointError::Damaged;
        let rest = bytes.strip_prefix(MAGIC).ok_or(damaged("no magic number"))?;
        let (version, mut rest) = rest.split_first_chunk::<2>().ok_or(damaged("cut short"))?;
        let version = u16::from_le_bytes(*version);
        if version > VERSION {
            return Err(CheckpointError::TooNew(version));
        }
        let mut sections = Vec::with_capacity(SHARDS);
        for _ in 0..SHARDS {
            sections.push(Section::cut(&mut rest)?);
        }
        let tail: TailImage = match version {
            ..=1 => Section::cut(&mut rest)?.decode::<TailImageV1>()?.into(),
            _ => Section::cut(&mut rest)?.decode()?,
        };
        // Nothing is entered before everything is known to be whole.
        let decode = |section: &Section<'_>| match version {
            ..=1 => section.decode::<ShardImage<GrantImageV1>>().map(ShardImage::from),
            _ => section.decode::<ShardImage>(),
        };
        let images: Result<Vec<ShardImage>, CheckpointError> =
            in_parallel(sections, |section| decode(&section));
        let mut oldest = u64::MAX;
        let images: Vec<_> = self.shards.iter().zip(images?).collect();
        for (_, image) in &images {
            oldest = oldest.min(image.applied);
        }
        in_parallel::<_, (), ()>(images, |(shard, image)| self.restore_shard(shard, image));
        self.restore_tail(tail);
        Ok(if oldest == u64::MAX { 0 } else { oldest })
    }

    fn restore_tail(&self, tail: TailImage) {
        self.extend_holds(Holds { leases: Stamp(tail.hold_until), accepts: Stamp(tail.hold_accepts_until) });
        self.newest.fetch_max(tail.newest, std::sync::atomic::Ordering::AcqRel);
        for (node, sequence) in tail.learned {
            self.note_position(node, sequence);
        }
        let restarted: Vec<(NasId, u64)> = tail.restarted;
        for (nas, at) in restarted {
            self.note_restart(nas, Stamp(at));
        }
        for image in tail.declined {
            if let Some(pool) = self.pool(image.pool) {
                pool.recall_declined(&image.known());
            }
        }
        // Shards of different sequences may list an address twice: recovery, not a conflict.
        self.counters.conflicts.store(0, std::sync::atomic::Ordering::Relaxed);
    }

    fn restore_shard(&self, shard: &Mutex<Shard>, image: ShardImage) {
        {
            let mut shard = shard.lock();
            shard.applied = image.applied;
            shard.holders.reserve(image.holders.len());
        }
        // Nearly always the same one.
        let last: RefCell<Option<Arc<Space>>> = RefCell::new(None);
        let space = |tenant, vrf: &[u8]| {
            let mut last = last.borrow_mut();
            if let Some(space) = last.as_ref().filter(|space| is_space(space, tenant, vrf)) {
                return Arc::clone(space);
            }
            Arc::clone(last.insert(self.space(tenant, vrf)))
        };
        for (holder, slots) in image.holders {
            self.restore(holder, slots, &space);
        }
    }

    fn restore(&self, holder: Holder, slots: Vec<SlotImage>, space: &dyn Fn(TenantId, &[u8]) -> Arc<Space>) {
        let mut shard = self.shard(holder).lock();
        let state = shard.holders.entry(holder.0);
        for image in slots {
            let slot = state.slot_mut(image.number);
            image.restore_to(slot, space);
            if let Some(session) = &slot.session {
                self.index(session.id, holder, session.nas, &session.acct_session_id);
            }
        }
        for slot in &state.slots {
            for grant in &slot.grants {
                if grant.live {
                    self.take(grant, holder, slot.number, grant.sequence);
                } else if let Some(pool) = self.pool(grant.pool)
                    && !state.stands_on(&grant.space, grant.prefix)
                {
                    // What another slot stands on is in use, whatever this one remembers of it.
                    pool.remember(grant.prefix, holder, slot.number, grant.since, grant.sequence);
                }
            }
        }
    }
}

/// Does a piece of work for each item, on as many threads as there are processors; the results in the order of the items.
fn in_parallel<T: Send, R: Send, C: FromIterator<R>>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> C {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let each = items.len().div_ceil(threads).max(1);
    let mut items = items.into_iter();
    std::thread::scope(|scope| {
        let work = &work;
        let pieces: Vec<Vec<T>> = std::iter::from_fn(|| {
            Some(items.by_ref().take(each).collect()).filter(|piece: &Vec<T>| !piece.is_empty())
        })
        .collect();
        let running: Vec<_> = pieces
            .into_iter()
            .map(|piece| scope.spawn(move || piece.into_iter().map(work).collect::<Vec<R>>()))
            .collect();
        let done = running
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        done.collect()
    })
}

fn append(bytes: &mut Vec<u8>, image: &impl Serialize) {
    let body = postcard::to_allocvec(image).unwrap_or_default();
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
}

/// One section as it stands in the file.
struct Section<'b> {
    crc: u32,
    body: &'b [u8],
}

impl<'b> Section<'b> {
    /// Takes the next section off.
    fn cut(rest: &mut &'b [u8]) -> Result<Self, CheckpointError> {
        let damaged = CheckpointError::Damaged("cut short");
        let (len, tail) = rest.split_first_chunk::<4>().ok_or_else(|| damaged.clone())?;
        let (crc, tail) = tail.split_first_chunk::<4>().ok_or_else(|| damaged.clone())?;
        let (body, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or(damaged)?;
        *rest = tail;
        Ok(Self { crc: u32::from_le_bytes(*crc), body })
    }

    fn decode<T: DeserializeOwned>(&self) -> Result<T, CheckpointError> {
        if crc32c::crc32c(self.body) != self.crc {
            return Err(CheckpointError::Damaged("a section does not match its checksum"));
        }
        postcard::from_bytes(self.body).map_err(|_| CheckpointError::Damaged("a section does not decode"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{NetworkId, PoolId, SessionId, TenantId};
    use crate::journal::record::{GrantRecord, Owner, Record, Role};

    /// A checkpoint as a program wrote it that knew of no other nodes.
    fn version_one(ledger: &Ledger) -> Vec<u8> {
        let mut bytes = Vec::from(*MAGIC);
        bytes.extend_from_slice(&1_u16.to_le_bytes());
        let current = ledger.checkpoint(7).bytes;
        let mut rest = &current[10..];
        for _ in 0..SHARDS {
            append(
                &mut bytes,
                &Section::cut(&mut rest).unwrap().decode::<ShardImage>().unwrap().into_version_one(),
            );
        }
        append(
            &mut bytes,
            &Section::cut(&mut rest).unwrap().decode::<TailImage>().unwrap().into_version_one(),
        );
        bytes
    }

    #[test]
    fn a_checkpoint_of_version_one_loads_with_every_grant_this_nodes_own() {
        let ledger = Ledger::new();
        let grant = GrantRecord {
            at: Stamp(5),
            tenant: TenantId::DEFAULT,
            vrf: smallvec::SmallVec::new(),
            prefix: "100.64.0.7".parse().unwrap(),
            role: Role::V4,
            holder: Holder(77),
            slot: 0,
            pool: PoolId::default(),
            network: NetworkId::default(),
            owner: Owner::default(),
            line: smallvec::SmallVec::new(),
            nas: NasId::default(),
            session: SessionId::default(),
            lease: None,
            ends_at: Stamp::MAX,
            digest: 0,
            renewal: false,
        };
        ledger.apply(7, &Record::Grant(grant));
        let loaded = Ledger::new();
        assert_eq!(loaded.load_checkpoint(&version_one(&ledger)), Ok(7));
        assert_eq!(loaded.holder(Holder(77)), ledger.holder(Holder(77)));
        assert_eq!(loaded.learned_positions(), []);
    }
}

//! The ledger as bytes, shard by shard: what recovery starts from.
//!
//! A checkpoint is fuzzy: each shard is written under its own lock, with the sequence of the last record applied to it.
//! Recovery loads all shards and then applies the journal from the smallest of those sequences on; a shard skips what it
//! has seen. Format: magic, version, then per shard a length, a CRC-32C and a postcard body.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::holder::{Grant, HolderState, Session, Slot};
use super::{Ledger, SHARDS};
use crate::ids::{NasId, NetworkId, PoolId, SessionId, TenantId};
use crate::journal::record::{Holder, LeaseFacts, Owner, Role};
use crate::model::Prefix;
use crate::time::Stamp;

const MAGIC: &[u8; 8] = b"LASTMCKP";
const VERSION: u16 = 1;

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

#[derive(Serialize, Deserialize)]
struct ShardImage {
    applied: u64,
    hold_until: u64,
    holders: Vec<(Holder, Vec<SlotImage>)>,
}

#[derive(Serialize, Deserialize)]
struct SlotImage {
    number: u8,
    owner: Owner,
    grants: Vec<GrantImage>,
    session: Option<SessionImage>,
}

#[derive(Serialize, Deserialize)]
struct GrantImage {
    prefix: Prefix,
    role: Role,
    tenant: TenantId,
    vrf: SmallVec<[u8; 16]>,
    pool: PoolId,
    network: NetworkId,
    live: bool,
    since: u64,
    ends_at: u64,
    lease: Option<LeaseFacts>,
    nas: NasId,
    digest: u64,
    sequence: u64,
}

#[derive(Serialize, Deserialize)]
struct SessionImage {
    id: SessionId,
    nas: NasId,
    acct_session_id: SmallVec<[u8; 24]>,
    login: SmallVec<[u8; 24]>,
    line: SmallVec<[u8; 24]>,
    started_at: u64,
    updated_at: u64,
    session_time: u32,
    counters: [u64; 4],
    records: u64,
    digest: u64,
}

impl Ledger {
    /// Writes the durable state. `current` is the newest applied sequence: a shard that no record has touched lately is
    /// current up to it, provided the caller lets no record be applied between reading `current` and this call's start.
    pub fn checkpoint(&self, current: u64) -> Checkpoint {
        let mut bytes = Vec::from(*MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        let mut oldest = u64::MAX;
        for shard in &self.shards {
            let image = {
                let shard = shard.lock();
                let applied = shard.applied.max(current);
                oldest = oldest.min(applied);
                ShardImage {
                    applied,
                    hold_until: self.hold_until().0,
                    holders: shard
                        .holders
                        .iter()
                        .map(|(holder, state)| {
                            (Holder(*holder), state.slots.iter().map(slot_image).collect())
                        })
                        .filter(|(_, slots): &(Holder, Vec<SlotImage>)| {
                            slots.iter().any(|slot| !slot.grants.is_empty() || slot.session.is_some())
                        })
                        .collect(),
                }
            };
            let body = postcard::to_allocvec(&image).unwrap_or_default();
            bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
            bytes.extend_from_slice(&body);
        }
        Checkpoint { bytes, oldest: if oldest == u64::MAX { 0 } else { oldest } }
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
        let mut images = Vec::with_capacity(SHARDS);
        for _ in 0..SHARDS {
            let (len, tail) = rest.split_first_chunk::<4>().ok_or(damaged("cut short"))?;
            let (crc, tail) = tail.split_first_chunk::<4>().ok_or(damaged("cut short"))?;
            let len = u32::from_le_bytes(*len) as usize;
            let (body, tail) = tail.split_at_checked(len).ok_or(damaged("cut short"))?;
            if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
                return Err(damaged("a shard does not match its checksum"));
            }
            images.push(
                postcard::from_bytes::<ShardImage>(body).map_err(|_| damaged("a shard does not decode"))?,
            );
            rest = tail;
        }
        let mut oldest = u64::MAX;
        for (index, image) in images.into_iter().enumerate() {
            oldest = oldest.min(image.applied);
            self.hold_until.fetch_max(image.hold_until, std::sync::atomic::Ordering::AcqRel);
            if let Some(shard) = self.shards.get(index) {
                shard.lock().applied = image.applied;
            }
            for (holder, slots) in image.holders {
                self.restore(holder, slots);
            }
        }
        Ok(if oldest == u64::MAX { 0 } else { oldest })
    }

    fn restore(&self, holder: Holder, slots: Vec<SlotImage>) {
        let mut state = HolderState::default();
        for image in slots {
            let mut slot = Slot { number: image.number, owner: image.owner, ..Slot::default() };
            for grant in image.grants {
                let grant = Grant {
                    prefix: grant.prefix,
                    role: grant.role,
                    space: self.space(grant.tenant, &grant.vrf),
                    pool: grant.pool,
                    network: grant.network,
                    live: grant.live,
                    since: Stamp(grant.since),
                    ends_at: Stamp(grant.ends_at),
                    durable_ends_at: Stamp(grant.ends_at),
                    lease: grant.lease.map(Box::new),
                    nas: grant.nas,
                    digest: grant.digest,
                    sequence: grant.sequence,
                };
                if grant.live {
                    self.take(&grant, holder, slot.number, grant.sequence);
                } else if let Some(pool) = self.pool(grant.pool) {
                    pool.remember(grant.prefix, holder, slot.number, grant.since, grant.sequence);
                }
                slot.grants.push(grant);
            }
            slot.session = image.session.map(|session| Box::new(restored_session(session)));
            if let Some(session) = &slot.session {
                self.index(session.id, holder, session.nas, &session.acct_session_id);
            }
            state.slots.push(slot);
        }
        self.shard(holder).lock().holders.insert(holder.0, state);
    }
}

fn slot_image(slot: &Slot) -> SlotImage {
    SlotImage {
        number: slot.number,
        owner: slot.owner,
        grants: slot.grants.iter().map(grant_image).collect(),
        session: slot.session.as_deref().map(session_image),
    }
}

fn grant_image(grant: &Grant) -> GrantImage {
    GrantImage {
        prefix: grant.prefix,
        role: grant.role,
        tenant: grant.space.tenant,
        vrf: SmallVec::from_slice(grant.space.vrf.as_bytes()),
        pool: grant.pool,
        network: grant.network,
        live: grant.live,
        since: grant.since.0,
        ends_at: grant.durable_ends_at.0,
        lease: grant.lease.as_deref().cloned(),
        nas: grant.nas,
        digest: grant.digest,
        sequence: grant.sequence,
    }
}

fn session_image(session: &Session) -> SessionImage {
    SessionImage {
        id: session.id,
        nas: session.nas,
        acct_session_id: session.acct_session_id.clone(),
        login: session.login.clone(),
        line: session.line.clone(),
        started_at: session.started_at.0,
        updated_at: session.updated_at.0,
        session_time: session.session_time,
        counters: [session.octets_in, session.octets_out, session.packets_in, session.packets_out],
        records: session.records,
        digest: session.digest,
    }
}

fn restored_session(image: SessionImage) -> Session {
    let [octets_in, octets_out, packets_in, packets_out] = image.counters;
    Session {
        id: image.id,
        nas: image.nas,
        acct_session_id: image.acct_session_id,
        login: image.login,
        line: image.line,
        started_at: Stamp(image.started_at),
        updated_at: Stamp(image.updated_at),
        session_time: image.session_time,
        octets_in,
        octets_out,
        packets_in,
        packets_out,
        records: image.records,
        digest: image.digest,
    }
}

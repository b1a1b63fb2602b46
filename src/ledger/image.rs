//! What a checkpoint says of one shard, slot, grant and session: plain rows, apart from what the ledger keeps in memory.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::holder::{Grant, Session, Slot};
use super::tally::DeclinedAddress;
use crate::ids::{NasId, NetworkId, PoolId, SessionId, TenantId};
use crate::journal::record::{Holder, LeaseFacts, Owner, Role};
use crate::model::Prefix;
use crate::snapshot::types::Space;
use crate::time::Stamp;

/// A shard, with grants as one version of the checkpoint has them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ShardImage<G = GrantImage> {
    pub(super) applied: u64,
    pub(super) holders: Vec<(Holder, Vec<SlotImage<G>>)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SlotImage<G = GrantImage> {
    pub(super) number: u8,
    owner: Owner,
    grants: Vec<G>,
    session: Option<SessionImage>,
}

/// A grant, since version 2.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GrantImage {
    facts: GrantImageV1,
    foreign: bool,
    answered_at: u64,
}

impl From<GrantImageV1> for GrantImage {
    fn from(facts: GrantImageV1) -> Self {
        Self { answered_at: facts.since, facts, foreign: false }
    }
}

/// A grant, as of version 1.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GrantImageV1 {
    prefix: Prefix,
    role: Role,
    tenant: TenantId,
    vrf: SmallVec<[u8; 16]>,
    pool: PoolId,
    network: NetworkId,
    live: bool,
    since: u64,
    /// End as the journal has it.
    durable_ends_at: u64,
    accepted_until: u64,
    lease: Option<LeaseFacts>,
    nas: NasId,
    digest: u64,
    sequence: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct SessionImage {
    id: SessionId,
    tenant: TenantId,
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

/// What belongs to no holder, since version 2.
#[derive(Serialize, Deserialize)]
pub(super) struct TailImage {
    pub(super) hold_until: u64,
    pub(super) restarted: Vec<(NasId, u64)>,
    pub(super) declined: Vec<DeclinedImage>,
    /// No Accept ends before this stamp.
    pub(super) hold_accepts_until: u64,
    /// Stamp of the newest record applied.
    pub(super) newest: u64,
    /// Sequence up to which each other node's journal is known.
    pub(super) learned: Vec<(u16, u64)>,
}

/// The same as version 1 wrote it.
#[derive(Serialize, Deserialize)]
pub(super) struct TailImageV1 {
    hold_until: u64,
    restarted: Vec<(NasId, u64)>,
    declined: Vec<DeclinedImage>,
}

impl From<TailImageV1> for TailImage {
    fn from(old: TailImageV1) -> Self {
        let TailImageV1 { hold_until, restarted, declined } = old;
        Self { hold_until, restarted, declined, hold_accepts_until: 0, newest: 0, learned: Vec::new() }
    }
}

#[cfg(test)]
impl TailImage {
    /// The same as version 1 wrote it.
    pub(super) fn into_version_one(self) -> TailImageV1 {
        let Self { hold_until, restarted, declined, .. } = self;
        TailImageV1 { hold_until, restarted, declined }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct DeclinedImage {
    pub(super) pool: PoolId,
    prefix: Prefix,
    holder: Holder,
    slot: u8,
    until: u64,
    sequence: u64,
}

impl DeclinedImage {
    pub(super) fn new(pool: PoolId, known: DeclinedAddress) -> Self {
        let DeclinedAddress { prefix, holder, slot, until, sequence } = known;
        Self { pool, prefix, holder, slot, until: until.0, sequence }
    }

    pub(super) const fn known(&self) -> DeclinedAddress {
        let Self { prefix, holder, slot, until, sequence, .. } = *self;
        DeclinedAddress { prefix, holder, slot, until: Stamp(until), sequence }
    }
}

impl From<ShardImage<GrantImageV1>> for ShardImage {
    fn from(old: ShardImage<GrantImageV1>) -> Self {
        let slots = |slots: Vec<SlotImage<GrantImageV1>>| slots.into_iter().map(SlotImage::from).collect();
        let holders = old.holders.into_iter().map(|(holder, known)| (holder, slots(known)));
        Self { applied: old.applied, holders: holders.collect() }
    }
}

impl From<SlotImage<GrantImageV1>> for SlotImage {
    fn from(old: SlotImage<GrantImageV1>) -> Self {
        let SlotImage { number, owner, grants, session } = old;
        Self { number, owner, grants: grants.into_iter().map(GrantImage::from).collect(), session }
    }
}

impl SlotImage {
    /// Whether there is anything to recover.
    pub(super) fn is_known(&self) -> bool {
        !self.grants.is_empty() || self.session.is_some()
    }

    pub(super) fn restore_to(self, slot: &mut Slot, space: &dyn Fn(TenantId, &[u8]) -> Arc<Space>) {
        slot.owner = self.owner;
        slot.grants = self.grants.into_iter().map(|grant| restored_grant(grant, space)).collect();
        slot.session = self.session.map(|session| Box::new(restored_session(session)));
    }
}

fn restored_grant(image: GrantImage, space: &dyn Fn(TenantId, &[u8]) -> Arc<Space>) -> Grant {
    let GrantImage { facts: image, foreign, answered_at } = image;
    let (durable_ends_at, accepted_until) = (Stamp(image.durable_ends_at), Stamp(image.accepted_until));
    Grant {
        prefix: image.prefix,
        role: image.role,
        space: space(image.tenant, &image.vrf),
        pool: image.pool,
        network: image.network,
        live: image.live,
        foreign,
        since: Stamp(image.since),
        ends_at: if image.lease.is_some() { durable_ends_at } else { accepted_until },
        accepted_until,
        answered_at: Stamp(answered_at),
        durable_ends_at,
        leaving: Stamp::ZERO,
        declined: false,
        lease: image.lease.map(Box::new),
        nas: image.nas,
        digest: image.digest,
        sequence: image.sequence,
    }
}

pub(super) fn slot_image(slot: &Slot) -> SlotImage {
    SlotImage {
        number: slot.number,
        owner: slot.owner,
        grants: slot.grants.iter().map(grant_image).collect(),
        session: slot.session.as_deref().map(session_image),
    }
}

fn grant_image(grant: &Grant) -> GrantImage {
    let facts = GrantImageV1 {
        prefix: grant.prefix,
        role: grant.role,
        tenant: grant.space.tenant,
        vrf: SmallVec::from_slice(grant.space.vrf.as_bytes()),
        pool: grant.pool,
        network: grant.network,
        live: grant.live,
        since: grant.since.0,
        durable_ends_at: grant.durable_ends_at.0,
        accepted_until: grant.accepted_until.0,
        lease: grant.lease.as_deref().cloned(),
        nas: grant.nas,
        digest: grant.digest,
        sequence: grant.sequence,
    };
    GrantImage { facts, foreign: grant.foreign, answered_at: grant.answered_at.0 }
}

fn session_image(session: &Session) -> SessionImage {
    SessionImage {
        id: session.id,
        tenant: session.tenant,
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
        tenant: image.tenant,
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

#[cfg(test)]
impl ShardImage {
    /// The latest stamp that any grant was opened or renewed at.
    pub(super) fn newest_grant(&self) -> u64 {
        let slots = self.holders.iter().flat_map(|(_, slots)| slots);
        slots.flat_map(|slot| &slot.grants).map(|grant| grant.answered_at).max().unwrap_or(0)
    }

    pub(super) fn into_version_one(self) -> ShardImage<GrantImageV1> {
        let slot = |slot: SlotImage| SlotImage {
            number: slot.number,
            owner: slot.owner,
            grants: slot.grants.into_iter().map(|grant| grant.facts).collect(),
            session: slot.session,
        };
        let holders = self.holders.into_iter();
        let holders = holders.map(|(holder, slots)| (holder, slots.into_iter().map(slot).collect()));
        ShardImage { applied: self.applied, holders: holders.collect() }
    }
}

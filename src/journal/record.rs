//! What a journal record says: the durable facts from which the ledger is rebuilt and history is written.
//!
//! Every record belongs to one holder (a service, or a DHCP client without one), so that ledger shards can be
//! checkpointed and replayed one by one. Encoding is postcard behind a (kind, version) pair of the frame: a newer program
//! keeps a decoder for every older version.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::ids::{NasId, NetworkId, PoolId, SessionId, TenantId};
use crate::model::{Mac, Prefix};
use crate::time::Stamp;

/// Who holds a grant: a service's id, or a key derived from a client that belongs to no service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder(pub u128);

impl Holder {
    /// A client of a network that belongs to no service. Marked by the UUID version nibble 8, which no minted id has.
    pub const fn client(hash: u128) -> Self {
        Self((hash & !(0xf_u128 << 76)) | (0x8_u128 << 76))
    }

    /// Whether this is a client without a service.
    pub const fn is_client(self) -> bool {
        (self.0 >> 76) & 0xf == 8
    }
}

impl Serialize for Holder {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_be_bytes().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Holder {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <[u8; 16]>::deserialize(deserializer).map(|bytes| Self(u128::from_be_bytes(bytes)))
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self)
    }
}

/// What a granted prefix is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// The IPv4 address.
    V4,
    /// The WAN prefix (Framed-IPv6-Prefix).
    Wan,
    /// The delegated prefix (Delegated-IPv6-Prefix).
    Delegated,
    /// A subnet routed to the service.
    Routed,
}

/// Who uses a slot: the line, the MAC address, or both (FIELD R7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Hash of the line identity; 0 when unknown.
    pub line: u64,
    /// MAC address; zero when unknown.
    pub mac: Mac,
}

impl Owner {
    /// The key of a line: a hash of its remote-id and circuit-id, the same for RADIUS and DHCP; 0 when neither is known.
    pub fn line_key(remote_id: Option<&[u8]>, circuit_id: Option<&[u8]>) -> u64 {
        if remote_id.is_none() && circuit_id.is_none() {
            return 0;
        }
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for part in [remote_id, circuit_id] {
            let part = part.unwrap_or_default();
            for byte in (part.len() as u32).to_le_bytes().iter().chain(part) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        hash.max(1)
    }

    /// Whether nothing is known of the owner.
    pub fn is_unknown(self) -> bool {
        self == Self::default()
    }

    /// Whether both are the same line or the same device.
    pub fn matches(self, other: Self) -> bool {
        (self.line != 0 && self.line == other.line) || (self.mac != Mac::default() && self.mac == other.mac)
    }
}

/// What a DHCP lease needs to be remembered with, so that a unicast renewal without option 82 is recognised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseFacts {
    /// Client identifier (option 61) as received, or empty.
    pub client_id: SmallVec<[u8; 16]>,
    /// The whole relay agent information option as received.
    pub relay_agent: SmallVec<[u8; 16]>,
    /// giaddr of the relay, 0 if none.
    pub giaddr: u32,
}

/// A holder got, kept or got back a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRecord {
    /// When it was decided.
    pub at: Stamp,
    /// Operator.
    pub tenant: TenantId,
    /// VRF, empty for the default VRF.
    pub vrf: SmallVec<[u8; 16]>,
    /// What is granted.
    pub prefix: Prefix,
    /// What for.
    pub role: Role,
    /// To whom.
    pub holder: Holder,
    /// Slot of the holder.
    pub slot: u8,
    /// Pool it was chosen from; nil for an address assigned by name.
    pub pool: PoolId,
    /// Network, if known.
    pub network: NetworkId,
    /// Owner of the slot.
    pub owner: Owner,
    /// Readable line identity, for history.
    pub line: SmallVec<[u8; 24]>,
    /// NAS, if RADIUS.
    pub nas: NasId,
    /// Session it was made for, if RADIUS.
    pub session: SessionId,
    /// Lease, if DHCP.
    pub lease: Option<LeaseFacts>,
    /// When the grant ends by itself: end of the lease, or of the Session-Timeout that was sent; [`Stamp::MAX`] for never.
    pub ends_at: Stamp,
    /// Digest of the policy it was given under.
    pub digest: u64,
    /// Whether the holder held it already (a renewal): history gets no new row.
    pub renewal: bool,
}

/// Why a holder no longer holds a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReleaseReason {
    /// Accounting Stop.
    Stop,
    /// DHCPRELEASE.
    Released,
    /// The lease ran out.
    Expired,
    /// DHCPDECLINE: somebody else answers at the address.
    Declined,
    /// The NAS restarted and the session did not come back.
    NasRestart,
    /// The session's time, as we had limited it, has passed.
    Timeout,
    /// An operator took it back.
    Operator,
    /// The service got another one instead.
    Replaced,
}

impl ReleaseReason {
    /// Stored and shown form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Released => "release",
            Self::Expired => "expired",
            Self::Declined => "declined",
            Self::NasRestart => "nas-restart",
            Self::Timeout => "timeout",
            Self::Operator => "operator",
            Self::Replaced => "replaced",
        }
    }
}

/// A holder left a prefix; it stays remembered as the holder's last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRecord {
    /// When.
    pub at: Stamp,
    /// Operator.
    pub tenant: TenantId,
    /// VRF, empty for the default VRF.
    pub vrf: SmallVec<[u8; 16]>,
    /// What was held.
    pub prefix: Prefix,
    /// By whom.
    pub holder: Holder,
    /// Slot of the holder.
    pub slot: u8,
    /// Why it ended.
    pub reason: ReleaseReason,
    /// The moment that the evidence speaks of: when the session that stopped was accepted, when the NAS restarted, else
    /// `at`. What another node answered later than this is not ended by the record.
    pub evidence_at: Stamp,
}

/// A release as version 1 of its payload has it.
#[derive(Deserialize)]
struct ReleaseRecordV1 {
    at: Stamp,
    tenant: TenantId,
    vrf: SmallVec<[u8; 16]>,
    prefix: Prefix,
    holder: Holder,
    slot: u8,
    reason: ReleaseReason,
}

impl From<ReleaseRecordV1> for ReleaseRecord {
    fn from(old: ReleaseRecordV1) -> Self {
        let ReleaseRecordV1 { at, tenant, vrf, prefix, holder, slot, reason } = old;
        Self { at, tenant, vrf, prefix, holder, slot, reason, evidence_at: at }
    }
}

/// Acct-Status-Type of a session record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionEvent {
    /// Start.
    Start,
    /// Interim-Update.
    Interim,
    /// Stop.
    Stop,
    /// Closed by us (NAS restart, timeout, operator, taken over).
    Closed,
}

/// One accounting record of one session, or the session as it stands (in a checkpoint).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// When it was received.
    pub at: Stamp,
    /// When it happened, by the rules of FIELD R14.
    pub event_at: Stamp,
    /// What happened.
    pub event: SessionEvent,
    /// Our session id.
    pub session: SessionId,
    /// Operator.
    pub tenant: TenantId,
    /// Whose session it is.
    pub holder: Holder,
    /// Slot of the holder.
    pub slot: u8,
    /// NAS that reports it.
    pub nas: NasId,
    /// The NAS's own session id.
    pub acct_session_id: SmallVec<[u8; 24]>,
    /// Login as received.
    pub login: SmallVec<[u8; 24]>,
    /// Owner of the slot.
    pub owner: Owner,
    /// Readable line identity.
    pub line: SmallVec<[u8; 24]>,
    /// Start of the session.
    pub started_at: Stamp,
    /// Acct-Session-Time in seconds.
    pub session_time: u32,
    /// Octets from the subscriber.
    pub octets_in: u64,
    /// Octets to the subscriber.
    pub octets_out: u64,
    /// Packets from the subscriber.
    pub packets_in: u64,
    /// Packets to the subscriber.
    pub packets_out: u64,
    /// Acct-Terminate-Cause, 0 when none.
    pub cause: u32,
    /// Addresses and prefixes the NAS reports.
    pub addresses: SmallVec<[Prefix; 1]>,
    /// Records applied before this one (a checkpoint carries the sum).
    pub records: u64,
    /// Digest of the policy the session was given; 0 when unknown.
    pub digest: u64,
}

/// A NAS said that it starts or stops accounting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NasRecord {
    /// When.
    pub at: Stamp,
    /// Operator.
    pub tenant: TenantId,
    /// Which NAS.
    pub nas: NasId,
    /// Accounting-On (true) or Accounting-Off.
    pub on: bool,
}

/// This node started serving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRecord {
    /// When.
    pub at: Stamp,
    /// No lease ends before this stamp, nor before what was said earlier: renewals written without being waited for may have been lost (FIELD R3).
    pub hold_until: Stamp,
}

/// Until when nothing ends by itself, from now on: an operator's word that the clock is right, or what the journal would not take
/// when this node started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRecord {
    /// When.
    pub at: Stamp,
    /// No lease ends before this stamp; replaces what was said before.
    pub leases: Stamp,
    /// No Session-Timeout ends before this stamp; replaces what was said before.
    pub accepts: Stamp,
}

/// What another node's journal says of a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// The other node answered with it.
    Grant(Box<GrantRecord>),
    /// The other node has evidence that it was left.
    Release(Box<ReleaseRecord>),
}

/// This node took over what another node's journal says (FIELD R5). Slot and pool are those by which this node knows
/// them. A new version of a grant's or a release's payload is a new version of this one, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedRecord {
    /// When, on this node's timeline.
    pub at: Stamp,
    /// The other node.
    pub node: u16,
    /// Sequence of the record in the other node's journal: everything that it says up to there is known.
    pub sequence: u64,
    /// What it says.
    pub fact: Fact,
}

/// Any record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// See [`GrantRecord`].
    Grant(GrantRecord),
    /// See [`ReleaseRecord`].
    Release(ReleaseRecord),
    /// See [`SessionRecord`].
    Session(SessionRecord),
    /// See [`NasRecord`].
    Nas(NasRecord),
    /// See [`StartRecord`].
    Start(StartRecord),
    /// See [`HoldRecord`].
    Hold(HoldRecord),
    /// See [`LearnedRecord`].
    Learned(LearnedRecord),
}

/// Frame kinds below this one are the journal's own.
pub const KIND_FIRST: u8 = 16;
const KIND_GRANT: u8 = 16;
const KIND_RELEASE: u8 = 17;
const KIND_SESSION: u8 = 18;
const KIND_NAS: u8 = 19;
const KIND_START: u8 = 20;
const KIND_HOLD: u8 = 21;
const KIND_LEARNED: u8 = 22;

/// Why a record's payload cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by a newer program.
    #[error("record kind {kind} version {version} is newer than this lastmile knows")]
    Unknown {
        /// Frame kind.
        kind: u8,
        /// Frame version.
        version: u8,
    },
    /// The payload does not decode.
    #[error("record kind {kind} version {version} does not decode: {why}")]
    Damaged {
        /// Frame kind.
        kind: u8,
        /// Frame version.
        version: u8,
        /// The decoder's words.
        why: String,
    },
}

impl Record {
    /// The frame kind.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Grant(_) => KIND_GRANT,
            Self::Release(_) => KIND_RELEASE,
            Self::Session(_) => KIND_SESSION,
            Self::Nas(_) => KIND_NAS,
            Self::Start(_) => KIND_START,
            Self::Hold(_) => KIND_HOLD,
            Self::Learned(_) => KIND_LEARNED,
        }
    }

    /// The version of the payload that [`Record::encode`] writes.
    pub const fn version(&self) -> u8 {
        match self {
            Self::Release(_) => 2,
            Self::Grant(_)
            | Self::Session(_)
            | Self::Nas(_)
            | Self::Start(_)
            | Self::Hold(_)
            | Self::Learned(_) => 1,
        }
    }

    /// Whose record it is; `None` for those that concern the whole node.
    pub fn holder(&self) -> Option<Holder> {
        match self {
            Self::Grant(record) => Some(record.holder),
            Self::Release(record) => Some(record.holder),
            Self::Session(record) => Some(record.holder),
            Self::Learned(record) => Some(record.holder()),
            Self::Nas(_) | Self::Start(_) | Self::Hold(_) => None,
        }
    }

    /// When it was written, on the node's timeline.
    pub const fn at(&self) -> Stamp {
        match self {
            Self::Grant(record) => record.at,
            Self::Release(record) => record.at,
            Self::Session(record) => record.at,
            Self::Nas(record) => record.at,
            Self::Start(record) => record.at,
            Self::Hold(record) => record.at,
            Self::Learned(record) => record.at,
        }
    }

    /// Appends the payload to `buffer`.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        let sink = Appender(buffer);
        // Appending to memory cannot fail; the result is only there for fixed-size sinks.
        let _ = match self {
            Self::Grant(record) => postcard::serialize_with_flavor(record, sink),
            Self::Release(record) => postcard::serialize_with_flavor(record, sink),
            Self::Session(record) => postcard::serialize_with_flavor(record, sink),
            Self::Nas(record) => postcard::serialize_with_flavor(record, sink),
            Self::Start(record) => postcard::serialize_with_flavor(record, sink),
            Self::Hold(record) => postcard::serialize_with_flavor(record, sink),
            Self::Learned(record) => postcard::serialize_with_flavor(record, sink),
        };
    }

    /// Reads a payload back.
    pub fn decode(kind: u8, version: u8, payload: &[u8]) -> Result<Self, RecordError> {
        let damaged = |error: postcard::Error| RecordError::Damaged { kind, version, why: error.to_string() };
        match (kind, version) {
            (KIND_GRANT, 1) => postcard::from_bytes(payload).map(Self::Grant).map_err(damaged),
            (KIND_RELEASE, 1) => postcard::from_bytes::<ReleaseRecordV1>(payload)
                .map(|old| Self::Release(old.into()))
                .map_err(damaged),
            (KIND_RELEASE, 2) => postcard::from_bytes(payload).map(Self::Release).map_err(damaged),
            (KIND_SESSION, 1) => postcard::from_bytes(payload).map(Self::Session).map_err(damaged),
            (KIND_NAS, 1) => postcard::from_bytes(payload).map(Self::Nas).map_err(damaged),
            (KIND_START, 1) => postcard::from_bytes(payload).map(Self::Start).map_err(damaged),
            (KIND_HOLD, 1) => postcard::from_bytes(payload).map(Self::Hold).map_err(damaged),
            (KIND_LEARNED, 1) => postcard::from_bytes(payload).map(Self::Learned).map_err(damaged),
            _ => Err(RecordError::Unknown { kind, version }),
        }
    }

    /// Kind, version and payload in one, for a place that has no frame.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind(), self.version()];
        self.encode(&mut bytes);
        bytes
    }

    /// Reverses [`Record::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        let [kind, version, payload @ ..] = bytes else {
            return Err(RecordError::Unknown { kind: 0, version: 0 });
        };
        Self::decode(*kind, *version, payload)
    }
}

impl LearnedRecord {
    /// Whose prefix it is about.
    pub const fn holder(&self) -> Holder {
        match &self.fact {
            Fact::Grant(grant) => grant.holder,
            Fact::Release(release) => release.holder,
        }
    }
}

struct Appender<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appender<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;

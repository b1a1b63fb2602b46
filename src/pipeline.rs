//! The path of a packet, on one screen: what a protocol core takes and gives.
//!
//! ```text
//!     datagram ─► admit(bytes, snapshot, ledger, now) ─┬─► discard, with a reason
//!                                                      ├─► reply that needs no record
//!                                                      └─► wait ─► journal ─► finish(durable) ─► reply
//! ```
//!
//! Two synchronous halves and one wait. Both halves are deterministic: time, randomness and the state of the journal come
//! in as values. Only the journal can make a [`Durable`], so a reply before its record does not compile.

use std::net::{IpAddr, SocketAddr};

use crate::decision::Decision;
use crate::ids::Entropy;
use crate::journal::Durable;
use crate::journal::record::Record;
use crate::ledger::Ledger;
use crate::snapshot::Snapshot;
use crate::time::Moment;

/// One received datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Its payload.
    pub bytes: &'a [u8],
    /// Where it came from.
    pub source: SocketAddr,
    /// The local address it came to: replies leave from it.
    pub local: IpAddr,
    /// When it arrived.
    pub at: Moment,
}

/// Payloads and sources of the datagrams that were received together.
pub type Batch<'i, 'a> = &'i mut dyn Iterator<Item = (&'a [u8], SocketAddr)>;

/// What a decision may look at.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// Desired state; one packet, one snapshot.
    pub snapshot: &'a Snapshot,
    /// Who holds what.
    pub ledger: &'a Ledger,
    /// For session ids.
    pub entropy: &'a dyn Entropy,
    /// Whether the journal takes records now: without it nothing new is granted or acknowledged.
    pub journal_available: bool,
}

/// A reply in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Bytes used of the buffer.
    pub len: usize,
    /// Where to.
    pub to: SocketAddr,
    /// Local address it leaves from.
    pub from: IpAddr,
    /// Milliseconds to hold it back, for rejects; 0 sends it now.
    pub delay_ms: u32,
}

/// What is to be done about a datagram.
#[derive(Debug)]
pub enum Verdict<P> {
    /// Silence; the decision says why.
    Discard {
        /// Records to write all the same, such as a DHCPRELEASE's.
        write: Vec<Record>,
    },
    /// Answer now.
    Send {
        /// The reply, in the buffer.
        reply: Outgoing,
        /// Records to write without waiting for them.
        write: Vec<Record>,
    },
    /// Answer when these records are durable.
    Wait {
        /// Records to wait for.
        wait_for: Vec<Record>,
        /// Records to write besides.
        write: Vec<Record>,
        /// What [`Protocol::finish`] needs.
        pending: P,
    },
}

/// A verdict with its decision.
#[derive(Debug)]
pub struct Admitted<P> {
    /// What to do.
    pub verdict: Verdict<P>,
    /// What to remember of it.
    pub decision: Decision,
}

/// One protocol core: RADIUS authentication and accounting, DHCPv4.
pub trait Protocol: Send + Sync {
    /// What is kept while the journal is awaited.
    type Pending: Send;

    /// Decides about a datagram; a reply that needs no record is written to `out`.
    fn admit(&self, world: &World<'_>, datagram: &Datagram<'_>, out: &mut [u8]) -> Admitted<Self::Pending>;

    /// Asks for the memory that decisions about these datagrams (payload and source) will read. Decides and changes nothing,
    /// and need not look at all of them.
    fn look_ahead(&self, snapshot: &Snapshot, ledger: &Ledger, batch: Batch<'_, '_>) {
        let _ = (snapshot, ledger, batch);
    }

    /// Encodes the reply of what is durable now; `None` when it does not fit, which is counted.
    fn finish(&self, pending: &Self::Pending, durable: Durable, out: &mut [u8]) -> Option<Outgoing>;

    /// The journal failed: forget what was begun, so that a retransmission starts anew. The caller gives the ledger its
    /// reservations back.
    fn fail(&self, pending: &Self::Pending);
}

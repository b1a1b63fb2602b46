//! What a generator is told, and what it tells.

use std::net::SocketAddr;

use crate::statistics::Histogram;

/// How to load a server.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) target: SocketAddr,
    /// Local addresses to send from, one socket each; at most 64.
    pub(crate) sources: Vec<SocketAddr>,
    /// Slots, over all sources; rounded down to the same number for each.
    pub(crate) window: usize,
    /// Transactions per second in an open loop; `None` is a closed loop.
    pub(crate) rate: Option<f64>,
    /// Time without an answer after which a message is sent again or its transaction given up.
    pub(crate) timeout_ns: u64,
    /// How often a message is sent again.
    pub(crate) retransmits: u32,
    /// Time before measuring.
    pub(crate) warmup_ns: u64,
    /// Time measured.
    pub(crate) measure_ns: u64,
    /// Transactions after whose begin the measured time ends early, counted from the first of the warm-up.
    pub(crate) transactions: Option<u64>,
}

/// What became of the transactions. "Measured" ones began in the measured time.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Time measured, in nanoseconds.
    pub(crate) elapsed_ns: u64,
    /// Transactions that ended as expected within the measured time: the throughput.
    pub(crate) ended: u64,
    /// Messages answered as expected within the measured time.
    pub(crate) answered: u64,
    /// Measured transactions.
    pub(crate) begun: u64,
    /// Measured transactions without an answer in time.
    pub(crate) lost: u64,
    /// Measured transactions answered otherwise than expected.
    pub(crate) wrong: u64,
    /// Replies to nothing outstanding, over the whole run.
    pub(crate) stray: u64,
    /// Messages sent again, over the whole run.
    pub(crate) retransmitted: u64,
    /// Transactions that an open loop owed at the end, having found no slot for them.
    pub(crate) unsent: u64,
    /// From begin (or due time) to end of each measured transaction, in nanoseconds.
    pub(crate) latency: Histogram,
}

/// The two moments at which the caller reads CPU counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    MeasuringBegins,
    MeasuringEnds,
}

//! What the generator sends and how it recognises the answers: one implementation per protocol.
//!
//! The generator owns sockets, slots, pacing and timing; a workload owns bytes. A workload must be cheap,
//! because it shares the machine with the server it measures, and must not allocate per request.

/// One place for an outstanding request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Number over all sources, dense from 0: the index for a workload's own state.
    pub(crate) index: usize,
    /// Number within its source, below [`Workload::slots_per_source_max`]: what a RADIUS Identifier can carry.
    pub(crate) within: usize,
    /// Which source socket.
    pub(crate) source: usize,
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The expected end of the transaction.
    Done,
    /// The expected answer of one step: the generator asks for the next step at once (Offer, then Request).
    Again,
    /// An answer to an earlier request of this slot, late: keep waiting.
    Stale,
    /// An answer to this request, but not the expected one: a reject, a bad authenticator.
    Wrong,
}

/// A kind of traffic.
pub(crate) trait Workload {
    /// Requests that one source can tell apart at once.
    fn slots_per_source_max(&self) -> usize;

    /// Writes the message of `step` (0 begins a new transaction, abandoning any other) and returns its length;
    /// `None` when it does not fit.
    fn next(&mut self, slot: Slot, step: u32, bytes: &mut [u8]) -> Option<usize>;

    /// The slot within its source that a reply claims to answer. The claim may be nonsense.
    fn slot_within(&self, reply: &[u8]) -> Option<usize>;

    /// Judges a reply to a slot with an outstanding request.
    fn verify(&mut self, slot: Slot, step: u32, reply: &[u8]) -> Verdict;
}

//! Replies held back: rejects wait here, not in a worker.
//!
//! Bounded; the one that finds no room leaves at once. The delay protects us from clients that redial, and it is given up
//! rather than the answer: a NAS that gets none takes the server for dead, and all its subscribers with it. Retransmissions
//! get silence until the delay would have passed all the same.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::limits::DELAYED_REJECTS_MAX;
use crate::pipeline::Outgoing;
use crate::time::Tick;

/// A reply that leaves later.
#[derive(Debug)]
pub(super) struct Delayed {
    due: Tick,
    pub(super) socket: usize,
    pub(super) outgoing: Outgoing,
    pub(super) bytes: Box<[u8]>,
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Delayed {}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

/// The replies of one worker that are held back.
#[derive(Debug, Default)]
pub(super) struct DelayedReplies(BinaryHeap<Reverse<Delayed>>);

impl DelayedReplies {
    /// Whether another one may be held back.
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < DELAYED_REJECTS_MAX
    }

    /// Holds a reply back until its delay has passed.
    pub(super) fn hold(&mut self, now: Tick, socket: usize, outgoing: Outgoing, bytes: &[u8]) {
        let due = now.plus_millis(u64::from(outgoing.delay_ms));
        self.0.push(Reverse(Delayed { due, socket, outgoing, bytes: bytes.into() }));
    }

    /// The next reply whose time has come.
    pub(super) fn due(&mut self, now: Tick) -> Option<Delayed> {
        if self.0.peek().is_some_and(|Reverse(next)| next.due <= now) {
            return self.0.pop().map(|Reverse(next)| next);
        }
        None
    }

    /// Milliseconds until the next one is due, rounded up.
    pub(super) fn next_in_ms(&self, now: Tick) -> Option<u32> {
        self.0.peek().map(|Reverse(next)| next.due.since(now).div_ceil(1_000_000) as u32)
    }
}

//! One RADIUS port: the gate before the decision, and the answers after it.
//!
//! What the cores of both ports share. A request that passes the gate is marked in the duplicate cache; here is written what
//! became of it: the bytes of its answer at once, those of an answer that waits for its record when the record is durable,
//! and nothing when there is none, so that a retransmission is decided anew.

use std::sync::Arc;

use smallvec::SmallVec;

use super::duplicate::{DuplicateCache, Mark};
use super::gate::{Checked, Passed, check};
use super::signatures::Signatures;
use super::wire::packet::Code;
use crate::decision::{Decision, Outcome};
use crate::pipeline::{Datagram, Outgoing, Verdict, World};
use crate::time::Tick;

/// Bytes of a waiting reply that need no allocation of their own: an Accept of one address has about as many.
const HELD_BYTES: usize = 256;

/// A port and what it remembers of the requests that came to it.
#[derive(Debug)]
pub(super) struct Port {
    /// The kind of request that it is for, besides Status-Server.
    pub(super) expected: Code,
    pub(super) duplicates: Arc<DuplicateCache>,
    /// Which NASes sign; of use for Access-Requests only.
    pub(super) signatures: Arc<Signatures>,
}

/// A reply that waits until its record is durable.
#[derive(Debug)]
pub struct HeldReply {
    pub(super) reply: SmallVec<[u8; HELD_BYTES]>,
    outgoing: Outgoing,
    mark: Mark,
}

impl Port {
    /// Lets `decide` decide about the datagram if it passes the gate. The decision is complete afterwards.
    pub(super) fn admit(
        &self,
        world: &World<'_>,
        datagram: &Datagram<'_>,
        decision: &mut Decision,
        out: &mut [u8],
        decide: impl FnOnce(&Passed<'_>, &mut Decision, &mut [u8]) -> Verdict<HeldReply>,
    ) -> Verdict<HeldReply> {
        match check(self, world, datagram, decision, out) {
            Checked::Pass(passed) => {
                decision.login = SmallVec::from_slice(passed.facts.login.unwrap_or_default());
                decision.mac = passed.facts.mac();
                decision.line = passed.facts.line_text();
                decide(&passed, decision, out)
            }
            Checked::Discard => Verdict::Discard { write: Vec::new() },
            Checked::Again(reply) | Checked::Status(reply) => Verdict::Send { reply, write: Vec::new() },
        }
    }

    /// An answer that leaves after `delay_ms` milliseconds, and from then on again for a retransmission, which must not get
    /// around the delay.
    pub(super) fn send(
        &self,
        datagram: &Datagram<'_>,
        passed: &Passed<'_>,
        reply: &[u8],
        delay_ms: u32,
    ) -> Outgoing {
        let leaves = datagram.at.tick.plus_millis(u64::from(delay_ms));
        self.duplicates.answer(passed.mark, reply, leaves);
        Outgoing { delay_ms, ..answer(datagram, reply.len()) }
    }

    /// An answer that waits for its record.
    pub(super) fn hold(datagram: &Datagram<'_>, passed: &Passed<'_>, reply: &[u8]) -> HeldReply {
        HeldReply {
            reply: SmallVec::from_slice(reply),
            outgoing: answer(datagram, reply.len()),
            mark: passed.mark,
        }
    }

    /// No answer.
    pub(super) fn silence(
        &self,
        passed: &Passed<'_>,
        reason: &'static str,
        decision: &mut Decision,
    ) -> Verdict<HeldReply> {
        self.duplicates.forget(passed.mark);
        (decision.outcome, decision.reason) = (Outcome::Discarded, reason);
        Verdict::Discard { write: Vec::new() }
    }

    /// The record is durable: the reply is copied to `out`.
    pub(super) fn finish(&self, held: &HeldReply, out: &mut [u8]) -> Option<Outgoing> {
        out.get_mut(..held.reply.len())?.copy_from_slice(&held.reply);
        self.duplicates.answer(held.mark, &held.reply, Tick(0));
        Some(held.outgoing)
    }

    /// The record will never be durable.
    pub(super) fn fail(&self, held: &HeldReply) {
        self.duplicates.forget(held.mark);
    }
}

/// An answer to where the datagram came from, from where it came to.
pub(super) const fn answer(datagram: &Datagram<'_>, len: usize) -> Outgoing {
    Outgoing { len, to: datagram.source, from: datagram.local, delay_ms: 0 }
}

//! One packet worker: receive a batch, decide, submit, send; and finish what the journal has settled.
//!
//! A worker never blocks but in its wait. It holds no lock across anything, allocates nothing per packet that needs no record,
//! and a panic in a core costs one datagram, counted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cores::{AnyVerdict, Cores};
use super::delayed::DelayedReplies;
use super::waiting::{Mailbox, Settled, Waiting, WaitingTable};
use crate::decision::{DecisionRing, Outcome, Plane};
use crate::ids::SeededEntropy;
use crate::journal::record::Record;

use crate::journal::{Lane, Refused, Ticket};
use crate::ledger::Ledger;
use crate::limits::{DATAGRAM_AGE_MS_MAX, DATAGRAM_BYTES_MAX};
use crate::net::{Envelope, RecvBatch, SendBatch, UdpListener, Waiter};
use crate::pipeline::{Datagram, Outgoing, World};
use crate::snapshot::Snapshot;
use crate::snapshot::publish::Publisher;
use crate::telemetry::metrics::{Metrics, WorkerMetrics};
use crate::time::{Clock, Moment, Stamp, SteadyClock, Tick};

/// A bound socket and the core that serves it.
#[derive(Debug)]
pub struct Endpoint {
    /// The socket.
    pub listener: UdpListener,
    /// Which core.
    pub plane: Plane,
}

/// What all workers share.
pub struct Shared {
    /// Desired state.
    pub publisher: Arc<Publisher>,
    /// Who holds what.
    pub ledger: Arc<Ledger>,
    /// The cores.
    pub cores: Arc<Cores>,
    /// The sockets, waited for by every worker.
    pub endpoints: Vec<Endpoint>,
    /// The newest decisions.
    pub decisions: Arc<DecisionRing>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Arc<SteadyClock>,
    /// Whether the journal takes records; kept current by whoever watches it.
    pub journal_available: AtomicBool,
    /// Set once: stop receiving, finish what waits, end.
    pub stopping: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

/// One worker.
pub struct Worker {
    number: usize,
    shared: Arc<Shared>,
    lane: Lane,
    mailbox: Arc<Mailbox>,
    waiter: Waiter,
    entropy: SeededEntropy,
    waiting: WaitingTable,
    delayed: DelayedReplies,
    metrics: WorkerMetrics,
    sends: Vec<SendBatch>,
    settled: Vec<Settled>,
    scratch: Box<[u8]>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Worker {
    /// Worker `number` with its lane, mailbox and waiter (to which all endpoints have been added in order).
    pub fn new(
        number: usize,
        shared: Arc<Shared>,
        lane: Lane,
        mailbox: Arc<Mailbox>,
        waiter: Waiter,
        entropy_seed: u64,
    ) -> Self {
        let sends = shared.endpoints.iter().map(|_| SendBatch::new()).collect();
        let metrics = shared.metrics.worker();
        Self {
            number,
            lane,
            mailbox,
            waiter,
            entropy: SeededEntropy::new(entropy_seed),
            waiting: WaitingTable::new(number as u8),
            delayed: DelayedReplies::default(),
            metrics,
            sends,
            settled: Vec::new(),
            scratch: vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice(),
            shared,
        }
    }

    /// Runs until told to stop and nothing waits any more.
    pub fn run(mut self) {
        let mut batch = RecvBatch::new();
        loop {
            let stopping = self.shared.stopping.load(Ordering::Acquire);
            if stopping && self.waiting.is_empty() {
                return;
            }
            let now = self.shared.clock.now();
            let timeout = self.delayed.next_in_ms(now.tick).unwrap_or(500).min(500);
            let Ok(ready) = self.waiter.wait(Some(timeout)) else { continue };
            self.finish_settled();
            if !stopping {
                for index in ready.sockets() {
                    self.receive(index as usize, &mut batch);
                }
            }
            self.send_delayed();
            self.flush();
        }
    }

    fn receive(&mut self, index: usize, batch: &mut RecvBatch) {
        let shared = Arc::clone(&self.shared);
        let Some(endpoint) = shared.endpoints.get(index) else { return };
        let Ok(received) = batch.recv(&endpoint.listener) else {
            self.metrics.receive_errors.inc();
            return;
        };
        if received == 0 {
            return;
        }
        let snapshot = shared.publisher.load();
        let at = shared.clock.now();
        let realtime = shared.clock.realtime_nanos();
        for datagram in batch.iter() {
            self.metrics.received(endpoint.plane);
            if let Some(dropped) = datagram.dropped {
                self.metrics.kernel_drops(index, dropped);
            }
            let age = datagram.received.map_or(0, |received| realtime.saturating_sub(received));
            if age > DATAGRAM_AGE_MS_MAX * 1_000_000 {
                // The client has sent it again long since: under overload the oldest go first.
                self.metrics.stale.inc();
                continue;
            }
            // Latency counts from the kernel's receipt, so that time in the socket buffer shows.
            let arrived = Tick(at.tick.0.saturating_sub(age));
            let input = Datagram {
                bytes: datagram.bytes,
                source: datagram.source,
                local: datagram.local,
                at: Moment { stamp: at.stamp, tick: at.tick },
            };
            self.serve(&snapshot, index, endpoint.plane, &input, arrived);
        }
        self.flush_socket(index);
    }

    /// Decides about one datagram and does what the verdict says.
    fn serve(
        &mut self,
        snapshot: &Snapshot,
        index: usize,
        plane: Plane,
        input: &Datagram<'_>,
        arrived: Tick,
    ) {
        let shared = Arc::clone(&self.shared);
        let world = World {
            snapshot,
            ledger: &shared.ledger,
            entropy: &self.entropy,
            journal_available: shared.journal_available.load(Ordering::Relaxed),
        };
        let out = &mut *self.scratch;
        let admitted = catch_unwind(AssertUnwindSafe(|| shared.cores.admit(plane, &world, input, out)));
        let Ok((verdict, mut decision)) = admitted else {
            self.metrics.panics.inc();
            tracing::error!(plane = plane.name(), source = %input.source, crc = crc32c::crc32c(input.bytes), "a packet core panicked; the datagram was dropped");
            return;
        };
        let AnyVerdict { reply, write, wait } = verdict;
        if let Some((records, pending)) = wait {
            let waiting = Waiting { pending, records, socket: index, plane, arrived };
            if let Err(reason) = self.submit_waited(&write, waiting) {
                decision = decision.concluded(Outcome::Discarded, reason);
            }
        } else if !write.is_empty() {
            self.submit_unwaited(&write, input.at.stamp);
        }
        if let Some(outgoing) = reply {
            self.metrics.answered(plane, input_latency(shared.clock.now().tick, arrived));
            self.send(index, outgoing, input.at.tick);
        }
        self.metrics.decided(&decision);
        shared.decisions.push(self.number, decision);
    }

    /// Submits records with a waiter; on refusal everything is given back and the reason returned.
    fn submit_waited(&mut self, write: &[Record], waiting: Waiting) -> Result<(), &'static str> {
        let ticket = self.waiting.enter(waiting);
        let submitted = match self.waiting.peek(ticket) {
            Some(waiting) => self.lane.submit_many(|group| {
                for record in write {
                    group.record(record.kind(), record.version(), None, |buffer| record.encode(buffer))?;
                }
                let last = waiting.records.len().saturating_sub(1);
                for (position, record) in waiting.records.iter().enumerate() {
                    let ticket = (position == last).then_some(ticket);
                    group.record(record.kind(), record.version(), ticket, |buffer| record.encode(buffer))?;
                }
                Ok(())
            }),
            None => return Err("undecided"),
        };
        let Err(refused) = submitted else { return Ok(()) };
        self.shared.ledger.abort(write);
        self.give_back(ticket);
        Err(match refused {
            Refused::Full => "journal-queue-full",
            Refused::Unavailable(_) | Refused::RecordTooLong { .. } | Refused::ReservedKind(_) => {
                "journal-unavailable"
            }
        })
    }

    /// Submits records nobody waits for. When they are refused the answers stand all the same, so what they reserve is
    /// held in memory until it would have ended anyway.
    fn submit_unwaited(&self, write: &[Record], now: Stamp) {
        let submitted = self.lane.submit_many(|group| {
            for record in write {
                group.record(record.kind(), record.version(), None, |buffer| record.encode(buffer))?;
            }
            Ok(())
        });
        if submitted.is_err() {
            self.metrics.unwritten.inc_by(write.len() as u64);
            self.shared.ledger.hold(write, now.plus_secs(HELD_UNWRITTEN_SECS));
        }
    }

    fn give_back(&mut self, ticket: Ticket) {
        if let Some(waiting) = self.waiting.leave(ticket) {
            self.shared.ledger.abort(&waiting.records);
            self.shared.cores.fail(&waiting.pending);
        }
    }

    fn finish_settled(&mut self) {
        let mut settled = std::mem::take(&mut self.settled);
        self.mailbox.take(&mut settled);
        if settled.is_empty() {
            self.settled = settled;
            return;
        }
        let shared = Arc::clone(&self.shared);
        let now = shared.clock.now().tick;
        for answer in settled.drain(..) {
            match answer {
                Settled::Failed(ticket) => {
                    self.metrics.journal_failed.inc();
                    self.give_back(ticket);
                }
                Settled::Durable(ticket, durable) => {
                    let Some(waiting) = self.waiting.leave(ticket) else { continue };
                    let reply = shared.cores.finish(&waiting.pending, durable, &mut self.scratch);
                    if let Some(outgoing) = reply {
                        self.metrics.answered(waiting.plane, input_latency(now, waiting.arrived));
                        self.send(waiting.socket, outgoing, now);
                    }
                }
            }
        }
        self.settled = settled;
    }

    /// Queues the reply in the scratch buffer, or holds it back.
    fn send(&mut self, index: usize, outgoing: Outgoing, now: Tick) {
        let bytes = self.scratch.get(..outgoing.len).unwrap_or_default();
        if outgoing.delay_ms > 0 && self.delayed.has_room() {
            self.delayed.hold(now, index, outgoing, bytes);
            return;
        }
        let full = self.sends.get(index).is_some_and(SendBatch::is_full);
        if full {
            self.flush_socket(index);
        }
        let bytes = self.scratch.get(..outgoing.len).unwrap_or_default();
        if let Some(batch) = self.sends.get_mut(index) {
            queue(batch, outgoing, bytes);
        }
    }

    fn send_delayed(&mut self) {
        let now = self.shared.clock.now().tick;
        while let Some(late) = self.delayed.due(now) {
            if self.sends.get(late.socket).is_some_and(SendBatch::is_full) {
                self.flush_socket(late.socket);
            }
            if let Some(batch) = self.sends.get_mut(late.socket) {
                queue(batch, late.outgoing, &late.bytes);
            }
        }
    }

    fn flush(&mut self) {
        for index in 0..self.sends.len() {
            self.flush_socket(index);
        }
    }

    fn flush_socket(&mut self, index: usize) {
        let (Some(batch), Some(endpoint)) = (self.sends.get_mut(index), self.shared.endpoints.get(index))
        else {
            return;
        };
        if batch.is_empty() {
            return;
        }
        let sent = batch.flush(&endpoint.listener);
        if sent.failed > 0 {
            self.metrics.send_errors.inc_by(sent.failed as u64);
        }
    }
}

/// How long an address stays with a holder that was answered although the journal would not take the record, in seconds.
const HELD_UNWRITTEN_SECS: u64 = 86_400;

const fn input_latency(now: Tick, arrived: Tick) -> u64 {
    now.since(arrived)
}

fn queue(batch: &mut SendBatch, outgoing: Outgoing, bytes: &[u8]) {
    let envelope = Envelope { from: outgoing.from, ..Envelope::to(outgoing.to) };
    // The batch was flushed when full, and a reply is never longer than a slot.
    let _ = batch.push(envelope, |slot| {
        slot.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(bytes.len())
    });
}

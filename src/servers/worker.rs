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
use crate::decision::{Decision, DecisionRing, Outcome, Plane};
use crate::ids::SeededEntropy;
use crate::journal::record::Record;

use crate::journal::{Lane, Refused, Ticket};
use crate::last_outcome::LastOutcomes;
use crate::ledger::Ledger;
use crate::limits::{
    DATAGRAM_AGE_BELIEVED_MS_MAX, DATAGRAM_AGE_MS_MAX, DATAGRAM_BYTES_MAX, STOP_BATCHES_PER_SOCKET_MAX,
};
use crate::nas_activity::NasActivity;
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
    /// The last accept and reject of each access.
    pub last: Arc<LastOutcomes>,
    /// What each NAS did.
    pub activity: Arc<NasActivity>,
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

    /// Runs until told to stop; then answers what has come by then, and ends when nothing waits any more.
    pub fn run(mut self) {
        let mut batch = RecvBatch::new();
        let mut drained = false;
        loop {
            let stopping = self.shared.stopping.load(Ordering::Acquire);
            if stopping && !drained {
                self.drain(&mut batch);
                drained = true;
            }
            if stopping && self.waiting.is_empty() {
                self.send_delayed(Tick(u64::MAX));
                self.flush();
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
            self.send_delayed(self.shared.clock.now().tick);
            self.flush();
        }
    }

    /// Takes what lies in the sockets' buffers: its senders would ask in vain until they try the next server. Bounded,
    /// because more may come all the while.
    fn drain(&mut self, batch: &mut RecvBatch) {
        for index in 0..self.shared.endpoints.len() {
            for _ in 0..STOP_BATCHES_PER_SOCKET_MAX {
                if self.receive(index, batch) == 0 {
                    break;
                }
            }
        }
    }

    /// Takes a batch from a socket; returns how many datagrams it was.
    fn receive(&mut self, index: usize, batch: &mut RecvBatch) -> usize {
        let shared = Arc::clone(&self.shared);
        let Some(endpoint) = shared.endpoints.get(index) else { return 0 };
        let Ok(received) = batch.recv(&endpoint.listener) else {
            self.metrics.receive_errors.inc();
            return 0;
        };
        if received == 0 {
            return 0;
        }
        let snapshot = shared.publisher.load();
        let at = shared.clock.now();
        let realtime = shared.clock.realtime_nanos();
        if received > 1 {
            self.look_ahead(&snapshot, endpoint.plane, batch);
        }
        for datagram in batch.iter() {
            self.metrics.received(endpoint.plane);
            if let Some(dropped) = datagram.dropped {
                self.metrics.kernel_drops(index, dropped);
            }
            let age = datagram.received.map_or(0, |received| waited_ns(realtime, received));
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
        received
    }

    /// Asks for the memory that a batch will need, so that its datagrams wait for it together and not one after another.
    fn look_ahead(&self, snapshot: &Snapshot, plane: Plane, batch: &RecvBatch) {
        let Shared { cores, ledger, .. } = &*self.shared;
        let mut datagrams = batch.iter().map(|datagram| (datagram.bytes, datagram.source));
        let looked = catch_unwind(AssertUnwindSafe(|| {
            cores.look_ahead(plane, snapshot, ledger, &mut datagrams);
        }));
        if looked.is_err() {
            self.metrics.panics.inc();
            tracing::error!(
                plane = plane.name(),
                "looking ahead panicked; the batch is decided all the same"
            );
        }
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
        let Ok((verdict, decision)) = admitted else {
            self.metrics.panics.inc();
            tracing::error!(plane = plane.name(), source = %input.source, crc = crc32c::crc32c(input.bytes), "a packet core panicked; the datagram was dropped");
            return;
        };
        let AnyVerdict { reply, write, wait } = verdict;
        if let Some((records, pending)) = wait {
            let waiting = Waiting { pending, records, decision, socket: index, plane, arrived };
            self.submit_waited(&write, waiting);
            return;
        }
        if !write.is_empty() {
            self.submit_unwaited(&write, input.at.stamp);
        }
        if let Some(outgoing) = reply {
            self.metrics.answered(plane, input_latency(shared.clock.now().tick, arrived));
            self.send(index, outgoing, input.at.tick);
        }
        self.note(decision);
    }

    /// Tells everybody who counts or shows decisions, once it is known what became of the request: of one that waits for the
    /// journal, when that has spoken.
    fn note(&mut self, decision: Decision) {
        self.metrics.decided(&decision);
        self.shared.last.note(&decision);
        self.shared.activity.note(&decision);
        self.shared.decisions.push(self.number, decision);
    }

    /// Submits records with a waiter; on refusal everything is given back.
    fn submit_waited(&mut self, write: &[Record], waiting: Waiting) {
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
            None => return,
        };
        let Err(refused) = submitted else { return };
        self.shared.ledger.abort(write);
        let reason = match refused {
            Refused::Full => "journal-queue-full",
            Refused::Unavailable(_) | Refused::RecordTooLong { .. } | Refused::ReservedKind(_) => {
                "journal-unavailable"
            }
        };
        self.give_back(ticket, reason);
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

    /// Gives back what a request reserved whose records are not written: nobody is answered.
    fn give_back(&mut self, ticket: Ticket, reason: &'static str) {
        if let Some(waiting) = self.waiting.leave(ticket) {
            self.shared.ledger.abort(&waiting.records);
            self.shared.cores.fail(&waiting.pending);
            self.note(waiting.decision.concluded(Outcome::Discarded, reason));
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
                    self.give_back(ticket, "journal-failed");
                }
                Settled::Durable(ticket, durable) => {
                    let Some(waiting) = self.waiting.leave(ticket) else { continue };
                    let reply = shared.cores.finish(&waiting.pending, durable, &mut self.scratch);
                    if let Some(outgoing) = reply {
                        self.metrics.answered(waiting.plane, input_latency(now, waiting.arrived));
                        self.send(waiting.socket, outgoing, now);
                    }
                    self.note(waiting.decision);
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

    /// Sends the delayed replies whose time has come at `now`.
    fn send_delayed(&mut self, now: Tick) {
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

/// How long a datagram waited in the socket's buffer, in nanoseconds, by two readings of the wall clock: the kernel's when
/// it came and ours now. Zero when the clock was set back or far ahead between the two (fault F9): a step must not silence
/// the daemon.
const fn waited_ns(now: u64, received: u64) -> u64 {
    let waited = now.saturating_sub(received);
    if waited > DATAGRAM_AGE_BELIEVED_MS_MAX * 1_000_000 { 0 } else { waited }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    use crate::dhcp::v4::core::{Dhcp4Core, Pending as PendingAck};
    use crate::ids::{NasId, TenantId, Uid};
    use crate::journal::{
        Config, Fault, Journal, MemoryDisk, Operation, Sequence, Stepper, Surroundings, recover,
    };
    use crate::net::ListenOptions;
    use crate::radius::duplicate::DuplicateCache;
    use crate::radius::wire::class::ClassKey;
    use crate::radius::{AcctCore, AuthCore};
    use crate::secret::Secret;
    use crate::servers::LedgerSink;
    use crate::servers::cores::Pending;

    /// Shared parts of a daemon without desired state, with one accounting socket, that is to stop.
    fn stopping() -> Arc<Shared> {
        let class = Arc::new(ClassKey::new(&Secret::new(b"class")));
        let duplicates = Arc::new(DuplicateCache::new(64));
        let cores = Cores {
            auth: AuthCore::new(Arc::clone(&class), Arc::clone(&duplicates)),
            acct: AcctCore::new(class, duplicates),
            dhcp4: Dhcp4Core::default(),
        };
        let options = ListenOptions { timestamps: true, ..ListenOptions::default() };
        let listener = UdpListener::bind(([127, 0, 0, 1], 0).into(), &options).unwrap();
        Arc::new(Shared {
            last: Arc::default(),
            activity: Arc::default(),
            publisher: Arc::new(Publisher::new(Snapshot::empty())),
            ledger: Arc::new(Ledger::new()),
            cores: Arc::new(cores),
            endpoints: vec![Endpoint { listener, plane: Plane::Acct }],
            decisions: Arc::new(DecisionRing::new(1, 512)),
            metrics: Arc::new(Metrics::new()),
            clock: Arc::new(SteadyClock::start()),
            journal_available: AtomicBool::new(true),
            stopping: AtomicBool::new(true),
        })
    }

    /// A worker of these shared parts, with a journal on `disk` that is stepped.
    fn worker(shared: &Arc<Shared>, disk: &MemoryDisk) -> (Worker, Journal, Stepper) {
        let mut waiter = Waiter::new().unwrap();
        waiter.add(&shared.endpoints[0].listener).unwrap();
        let mailbox = Arc::new(Mailbox::new(waiter.wake()));
        let config = Config { segment_bytes: 256 * 1024, ..Config::of_node(1, 1, 1) };
        let recovered = recover(disk, &config, Sequence::ZERO, &mut |_| Ok(())).unwrap();
        let applied = Arc::new(AtomicU64::new(0));
        let sink = LedgerSink::new(Arc::clone(&shared.ledger), vec![Arc::clone(&mailbox)], applied);
        let surroundings = Surroundings {
            disk: Arc::new(disk.clone()),
            clock: Arc::clone(&shared.clock) as _,
            entropy: Arc::new(SeededEntropy::new(1)),
            sink: Box::new(sink),
        };
        let (journal, mut lanes, stepper) = Journal::stepped(config, recovered, surroundings).unwrap();
        let worker = Worker::new(0, Arc::clone(shared), lanes.remove(0), mailbox, waiter, 1);
        (worker, journal, stepper)
    }

    #[test]
    fn an_accept_counts_when_its_record_is_durable_and_not_when_it_failed() {
        let shared = stopping();
        let nas = NasId(Uid(7));
        shared.activity.follow([nas.0].into_iter());
        let disk = MemoryDisk::new(1);
        let (mut worker, _journal, mut stepper) = worker(&shared, &disk);
        let submit = |worker: &mut Worker, at: Stamp| {
            let accepted = Decision::new(at, Plane::Auth, "Access-Request");
            let decision = Decision { nas: nas.0, ..accepted.concluded(Outcome::Granted, "accepted") };
            let pending = Pending::Dhcp4(PendingAck::of(b"", ([127, 0, 0, 1], 1).into()));
            let records = vec![Ledger::nas_event(nas, TenantId::DEFAULT, true, at)];
            let waiting =
                Waiting { pending, records, decision, socket: 0, plane: Plane::Auth, arrived: Tick(0) };
            worker.submit_waited(&[], waiting);
        };
        let mut settle = |worker: &mut Worker| {
            while !worker.waiting.is_empty() {
                stepper.settle();
                worker.finish_settled();
            }
        };
        let newest = || shared.decisions.recent(1, |_| true).first().map(|decision| decision.reason);
        submit(&mut worker, Stamp(1));
        assert_eq!((shared.activity.of(nas.0).accepts, newest()), (0, None), "nobody knows yet");
        settle(&mut worker);
        assert_eq!((shared.activity.of(nas.0).accepts, newest()), (1, Some("accepted")));
        submit(&mut worker, Stamp(2));
        disk.fail(Fault {
            operation: Operation::Sync,
            after: 0,
            times: 1_000,
            error: std::io::ErrorKind::Other,
        });
        settle(&mut worker);
        assert_eq!((shared.activity.of(nas.0).accepts, newest()), (1, Some("journal-failed")));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test's client opens a socket of its own")]
    fn what_lies_in_a_socket_when_the_stop_comes_is_decided() {
        let shared = stopping();
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let sent = 3 * crate::limits::DATAGRAMS_PER_CALL_MAX as u64;
        for _ in 0..sent {
            client.send_to(b"no packet", shared.endpoints[0].listener.local_addr()).unwrap();
        }
        worker(&shared, &MemoryDisk::new(1)).0.run();
        assert_eq!(shared.decisions.total(), sent, "{}", shared.metrics.render());
    }

    #[test]
    fn a_stepped_wall_clock_does_not_make_datagrams_stale() {
        let second = 1_000_000_000;
        let received = 1_795_132_800 * second;
        assert_eq!(waited_ns(received + 3 * second, received), 3 * second);
        for stepped in [received - 3600 * second, received + 3600 * second, received + 400 * 86_400 * second]
        {
            assert_eq!(waited_ns(stepped, received), 0);
        }
    }
}

//! The load generator: thousands of outstanding requests from many sockets, every reply matched to its request.
//!
//! Closed loop by default: a window of slots, each sending its next request when its last is answered. With a
//! rate it is an open loop: transactions are due at fixed times whether or not the server keeps up, and latency
//! counts from the due time, so a stalled server cannot hide the requests it delayed (coordinated omission).
//!
//! Invariants: one batch of system calls per source and round; nothing is allocated per request (a copy for
//! retransmission reuses its buffer). Transactions begun during warm-up are sent but not measured; those begun
//! in the measured time are followed until answered or timed out.

use lastmile::net::{RecvBatch, SendBatch, Waiter};
use lastmile::time::Clock;

use crate::plan::{Edge, Outcome, Plan};
use crate::source::{SlotState, Source};
use crate::workload::{Slot, Verdict, Workload};

const NS_PER_MS: u64 = 1_000_000;
/// How often outstanding requests are checked for time-out.
const SWEEP_NS: u64 = 5 * NS_PER_MS;
/// An open loop whose next request is nearer than this spins, because sleeping is no more precise.
const SPIN_BELOW_NS: u64 = 2 * NS_PER_MS;

/// Sockets, slots and counters of one run.
pub(crate) struct Generator<'a> {
    plan: Plan,
    clock: &'a dyn Clock,
    workload: &'a mut dyn Workload,
    sources: Vec<Source>,
    waiter: Waiter,
    sending: SendBatch,
    starts_ns: u64,
    /// The measured time; its end moves if the generator itself is late to notice its begin.
    begins_ns: u64,
    ends_ns: u64,
    /// Transactions begun, and the source at which an open loop begins the next.
    scheduled: u64,
    turn: usize,
    outcome: Outcome,
}

impl<'a> Generator<'a> {
    /// Opens the sockets of `plan`.
    pub(crate) fn new(
        plan: Plan,
        workload: &'a mut dyn Workload,
        clock: &'a dyn Clock,
    ) -> anyhow::Result<Self> {
        let per_source = plan.window / plan.sources.len().max(1);
        let per_source = per_source.clamp(1, workload.slots_per_source_max());
        let mut waiter = Waiter::new()?;
        let mut sources = Vec::with_capacity(plan.sources.len());
        for local in &plan.sources {
            let source = Source::connect(*local, plan.target, per_source)?;
            waiter.add(&source)?;
            sources.push(source);
        }
        let starts_ns = clock.now().tick.0;
        let begins_ns = starts_ns + plan.warmup_ns;
        let ends_ns = begins_ns + plan.measure_ns;
        let outcome = Outcome::default();
        let (sending, scheduled, turn) = (SendBatch::new(), 0, 0);
        Ok(Self {
            plan,
            clock,
            workload,
            sources,
            waiter,
            sending,
            starts_ns,
            begins_ns,
            ends_ns,
            scheduled,
            turn,
            outcome,
        })
    }

    /// Runs the plan; `edge` is called when measuring begins and when it ends.
    pub(crate) fn run(mut self, edge: &mut dyn FnMut(Edge)) -> anyhow::Result<Outcome> {
        let mut received = RecvBatch::new();
        let (mut sweep_at, mut measuring) = (0, false);
        let mut now = self.now();
        while !measuring || (now < self.ends_ns && self.left() > 0) {
            if now >= self.begins_ns && !measuring {
                measuring = true;
                edge(Edge::MeasuringBegins);
            }
            if now >= sweep_at {
                self.sweep(now);
                self.begin_free(now);
                sweep_at = now + SWEEP_NS;
            }
            self.begin_owed(now);
            self.receive_ready(&mut received, self.wait_ms(now))?;
            now = self.now();
        }
        edge(Edge::MeasuringEnds);
        self.outcome.elapsed_ns = now - self.begins_ns;
        self.ends_ns = self.ends_ns.min(now);
        // What came due after the last round still belongs to the measured time.
        self.begin_owed(self.ends_ns);
        self.outcome.unsent = self.owed(self.ends_ns);
        self.ends_ns = now;
        self.drain(&mut received, now)?;
        Ok(self.outcome)
    }

    /// After the measured time nothing new begins; what is under way is still answered or timed out.
    fn drain(&mut self, received: &mut RecvBatch, from: u64) -> anyhow::Result<()> {
        let patience = self.plan.timeout_ns * (u64::from(self.plan.retransmits) + 1) + 2 * SWEEP_NS;
        let mut now = from;
        while now < from + patience && self.sources.iter().any(Source::is_busy) {
            self.receive_ready(received, 1)?;
            self.sweep(now);
            now = self.now();
        }
        Ok(())
    }

    fn now(&self) -> u64 {
        self.clock.now().tick.0
    }

    /// Transactions that may still begin.
    fn left(&self) -> u64 {
        self.plan.transactions.map_or(u64::MAX, |most| most.saturating_sub(self.scheduled))
    }

    fn wait_ms(&self, now: u64) -> u32 {
        match self.plan.rate {
            None => (SWEEP_NS / NS_PER_MS) as u32,
            Some(rate) if self.due_ns(rate) < now + SPIN_BELOW_NS => 0,
            Some(_) => 1,
        }
    }

    /// When an open loop begins its next transaction; the schedule includes the warm-up.
    fn due_ns(&self, rate: f64) -> u64 {
        self.starts_ns + (self.scheduled as f64 * 1e9 / rate) as u64
    }

    /// Transactions that were due before `now` in an open loop and have not begun.
    fn owed(&self, now: u64) -> u64 {
        let elapsed_ns = now.saturating_sub(self.starts_ns);
        let due = self.plan.rate.map_or(0.0, |rate| elapsed_ns as f64 * rate / 1e9);
        (due.ceil() as u64).saturating_sub(self.scheduled)
    }

    /// Begins what an open loop owes, taking turns among the sources.
    fn begin_owed(&mut self, now: u64) {
        let mut owed = self.owed(now);
        for _ in 0..self.sources.len() {
            if owed == 0 {
                break;
            }
            owed -= self.proceed(self.turn, owed, now);
            self.turn = (self.turn + 1) % self.sources.len();
        }
    }

    /// Begins what a closed loop has room for: at start, and after time-outs have freed slots.
    fn begin_free(&mut self, now: u64) {
        if self.plan.rate.is_none() {
            for source in 0..self.sources.len() {
                self.proceed(source, u64::MAX, now);
            }
        }
    }

    /// Sends the next messages of transactions under way at one source, and begins up to `most` new ones in its
    /// free slots; returns how many began.
    fn proceed(&mut self, source: usize, most: u64, now: u64) -> u64 {
        while let Some(within) = self.sources.get_mut(source).and_then(|source| source.going_on.pop()) {
            self.send(source, within, now);
        }
        let mut began = 0;
        let most = most.min(self.left());
        while began < most {
            let Some(within) = self.sources.get_mut(source).and_then(|source| source.free.pop()) else {
                break;
            };
            let begun_ns = self.plan.rate.map_or(now, |rate| self.due_ns(rate));
            self.scheduled += 1;
            began += 1;
            self.outcome.begun += u64::from(self.is_measured(begun_ns));
            if let Some(state) = self.state(source, within) {
                state.outstanding = true;
                state.step = 0;
                state.begun_ns = begun_ns;
            }
            self.send(source, within, now);
        }
        self.flush(source);
        began
    }

    /// Queues the message of the slot's current step.
    fn send(&mut self, source: usize, within: usize, now: u64) {
        if self.sending.is_full() {
            self.flush(source);
        }
        let slot = self.slot(source, within);
        let keep = self.plan.retransmits > 0;
        let (workload, sending) = (&mut *self.workload, &mut self.sending);
        let place = self.sources.get_mut(source);
        let Some(state) = place.and_then(|source| source.slots.get_mut(within)) else {
            return;
        };
        state.sent_ns = now;
        state.retransmits = 0;
        // A message that could not be written is never answered, and so counted as lost.
        let _ = sending.push_to_peer(|bytes| {
            let length = workload.next(slot, state.step, bytes)?;
            if keep {
                state.copy.clear();
                state.copy.extend_from_slice(bytes.get(..length)?);
            }
            Some(length)
        });
    }

    fn flush(&mut self, source: usize) {
        if let Some(source) = self.sources.get(source).filter(|_| !self.sending.is_empty()) {
            // A message the kernel refuses is never answered, and so counted as lost.
            self.sending.flush(source);
        }
    }

    /// Takes one batch of replies from each readable source and sends what they make possible.
    fn receive_ready(&mut self, received: &mut RecvBatch, wait_ms: u32) -> anyhow::Result<()> {
        let ready = self.waiter.wait(Some(wait_ms))?;
        for source in ready.sockets().map(|index| index as usize) {
            if let Some(socket) = self.sources.get(source) {
                // An error is an ICMP report: the server is gone, which shows as lost requests.
                let _ = received.recv(socket);
            }
            let now = self.now();
            for reply in received.iter() {
                self.judge(source, reply.bytes, now);
            }
            let closed = self.plan.rate.is_none() && now < self.ends_ns;
            self.proceed(source, if closed { u64::MAX } else { 0 }, now);
        }
        Ok(())
    }

    fn judge(&mut self, source: usize, reply: &[u8], now: u64) {
        let within = self.workload.slot_within(reply).unwrap_or(usize::MAX);
        let Some((step, begun_ns)) = self
            .state(source, within)
            .filter(|state| state.outstanding)
            .map(|state| (state.step, state.begun_ns))
        else {
            self.outcome.stray += 1;
            return;
        };
        let in_time = u64::from(self.is_measured(now));
        let measured = self.is_measured(begun_ns);
        match self.workload.verify(self.slot(source, within), step, reply) {
            Verdict::Done => {
                self.outcome.answered += in_time;
                self.outcome.ended += in_time;
                if measured {
                    self.outcome.latency.record(now.saturating_sub(begun_ns));
                }
                self.release(source, within);
            }
            Verdict::Again => {
                self.outcome.answered += in_time;
                if let Some(source) = self.sources.get_mut(source) {
                    source.going_on.push(within);
                }
                if let Some(state) = self.state(source, within) {
                    state.step += 1;
                }
            }
            Verdict::Stale => self.outcome.stray += 1,
            Verdict::Wrong => {
                self.outcome.wrong += u64::from(measured);
                self.release(source, within);
            }
        }
    }

    /// Sends again, or gives up, what has waited for its answer too long.
    fn sweep(&mut self, now: u64) {
        let (timeout_ns, retransmits) = (self.plan.timeout_ns, self.plan.retransmits);
        for index in 0..self.sources.len() {
            for within in 0..self.slots_of(index) {
                let place = self.sources.get_mut(index);
                let Some(state) = place.and_then(|source| source.slots.get_mut(within)) else {
                    continue;
                };
                if !state.outstanding || now.saturating_sub(state.sent_ns) < timeout_ns {
                    continue;
                }
                let begun_ns = state.begun_ns;
                if state.retransmits < retransmits {
                    state.retransmits += 1;
                    state.sent_ns = now;
                    self.outcome.retransmitted += 1;
                    self.send_again(index, within);
                } else {
                    self.outcome.lost += u64::from(self.is_measured(begun_ns));
                    self.release(index, within);
                }
            }
            self.flush(index);
        }
    }

    fn send_again(&mut self, source: usize, within: usize) {
        if self.sending.is_full() {
            self.flush(source);
        }
        let copy =
            self.sources.get(source).and_then(|source| source.slots.get(within)).map(|state| &state.copy);
        let _ = self.sending.push_to_peer(|bytes| {
            let copy = copy?;
            bytes.get_mut(..copy.len())?.copy_from_slice(copy);
            Some(copy.len())
        });
    }

    fn release(&mut self, source: usize, within: usize) {
        if let Some(state) = self.state(source, within) {
            state.outstanding = false;
        }
        if let Some(source) = self.sources.get_mut(source) {
            source.free.push(within);
        }
    }

    fn state(&mut self, source: usize, within: usize) -> Option<&mut SlotState> {
        self.sources.get_mut(source)?.slots.get_mut(within)
    }

    fn slots_of(&self, source: usize) -> usize {
        self.sources.get(source).map_or(0, |source| source.slots.len())
    }

    fn slot(&self, source: usize, within: usize) -> Slot {
        Slot { index: source * self.slots_of(source) + within, within, source }
    }

    fn is_measured(&self, at_ns: u64) -> bool {
        (self.begins_ns..self.ends_ns).contains(&at_ns)
    }
}

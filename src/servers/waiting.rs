//! Requests of one worker that wait for the journal, and the mailbox in which it is told.
//!
//! A ticket is worker, generation and place; a ticket of a place that has been used again since is recognised by its
//! generation and ignored.

use parking_lot::Mutex;

use super::cores::Pending;
use crate::decision::{Decision, Plane};
use crate::journal::record::Record;
use crate::journal::{Durable, Ticket};
use crate::net::Wake;
use crate::time::Tick;

/// A request that waits.
#[derive(Debug)]
pub struct Waiting {
    /// What its core keeps.
    pub pending: Pending,
    /// The records it waits for: given back to the ledger when the journal fails.
    pub records: Vec<Record>,
    /// What was decided: noted when the journal has spoken.
    pub decision: Decision,
    /// Index of the socket it came through.
    pub socket: usize,
    /// Which core.
    pub plane: Plane,
    /// When it arrived.
    pub arrived: Tick,
}

/// The table of waiting requests of one worker.
#[derive(Debug)]
pub struct WaitingTable {
    worker: u8,
    places: Vec<(u32, Option<Waiting>)>,
    free: Vec<u32>,
}

impl WaitingTable {
    /// An empty table of worker number `worker`.
    pub const fn new(worker: u8) -> Self {
        Self { worker, places: Vec::new(), free: Vec::new() }
    }

    /// Takes a request in and gives the ticket to submit its records with.
    pub fn enter(&mut self, waiting: Waiting) -> Ticket {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            (self.places.len() - 1) as u32
        });
        let generation = match self.places.get_mut(place as usize) {
            Some((generation, slot)) => {
                *generation = generation.wrapping_add(1) & 0xff_ffff;
                *slot = Some(waiting);
                *generation
            }
            None => 0,
        };
        Ticket(u64::from(self.worker) << 56 | u64::from(generation) << 32 | u64::from(place))
    }

    /// The request of a ticket.
    pub fn peek(&self, ticket: Ticket) -> Option<&Waiting> {
        self.places.get((ticket.0 & 0xffff_ffff) as usize)?.1.as_ref()
    }

    /// Takes the request of a ticket out.
    pub fn leave(&mut self, ticket: Ticket) -> Option<Waiting> {
        let place = (ticket.0 & 0xffff_ffff) as u32;
        let generation = (ticket.0 >> 32) as u32 & 0xff_ffff;
        let (current, slot) = self.places.get_mut(place as usize)?;
        if *current != generation {
            return None;
        }
        let waiting = slot.take()?;
        self.free.push(place);
        Some(waiting)
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The worker that a ticket belongs to.
pub const fn worker_of(ticket: Ticket) -> usize {
    (ticket.0 >> 56) as usize
}

/// What the journal says of one ticket.
#[derive(Debug)]
pub enum Settled {
    /// The record is on disk.
    Durable(Ticket, Durable),
    /// It is not, and will not be.
    Failed(Ticket),
}

/// Where the journal's thread leaves its answers for one worker.
pub struct Mailbox {
    settled: Mutex<Vec<Settled>>,
    wake: Wake,
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

impl Mailbox {
    /// A mailbox that wakes its worker through `wake`.
    pub const fn new(wake: Wake) -> Self {
        Self { settled: Mutex::new(Vec::new()), wake }
    }

    /// Leaves answers, emptying `settled`, and wakes the worker.
    pub fn post(&self, settled: &mut Vec<Settled>) {
        if settled.is_empty() {
            return;
        }
        self.settled.lock().append(settled);
        self.wake.wake();
    }

    /// Takes all answers into `taken`, which must be empty.
    pub fn take(&self, taken: &mut Vec<Settled>) {
        std::mem::swap(&mut *self.settled.lock(), taken);
    }

    /// Wakes the worker without an answer, so that it looks at the stop flag.
    pub fn nudge(&self) {
        self.wake.wake();
    }
}

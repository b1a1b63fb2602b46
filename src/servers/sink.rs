//! Where the journal delivers: committed records take effect in the ledger, then their waiters are told.
//!
//! Runs on the journal's commit thread, in sequence order, so that live traffic applies records exactly as recovery does. A
//! panic here ends the process: the ledger would no longer be what the journal says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::waiting::{Mailbox, Settled, worker_of};
use crate::journal::record::Record;
use crate::journal::{CommitFailure, CommittedBatch, Sink, Ticket};
use crate::ledger::Ledger;

/// Applies committed records and tells the workers.
#[derive(Debug)]
pub struct LedgerSink {
    ledger: Arc<Ledger>,
    mailboxes: Vec<Arc<Mailbox>>,
    outbox: Vec<Vec<Settled>>,
    /// Sequence up to which the ledger is current; shared with the checkpointer.
    applied: Arc<AtomicU64>,
}

impl LedgerSink {
    /// A sink for these workers, in the order of their numbers.
    pub fn new(ledger: Arc<Ledger>, mailboxes: Vec<Arc<Mailbox>>, applied: Arc<AtomicU64>) -> Self {
        let outbox = mailboxes.iter().map(|_| Vec::new()).collect();
        Self { ledger, mailboxes, outbox, applied }
    }

    fn post(&mut self) {
        for (mailbox, settled) in self.mailboxes.iter().zip(&mut self.outbox) {
            mailbox.post(settled);
        }
    }
}

impl Sink for LedgerSink {
    fn committed(&mut self, batch: &CommittedBatch<'_>) {
        for item in batch {
            match Record::decode(item.kind(), item.version(), item.payload()) {
                Ok(record) => self.ledger.apply(item.sequence().0, &record),
                // This process encoded it a moment ago: memory or code is broken, and so would be the ledger.
                Err(error) => unreadable(&error),
            }
            if let Some(ticket) = item.ticket()
                && let Some(settled) = self.outbox.get_mut(worker_of(ticket))
            {
                settled.push(Settled::Durable(ticket, item.durable()));
            }
        }
        self.applied.store(batch.last().0, Ordering::Release);
        self.post();
    }

    fn failed(&mut self, tickets: &[Ticket], why: &CommitFailure) {
        tracing::error!(reason = %why.reason, detail = %why.detail, waiting = tickets.len(), "journal commit failed; the waiting requests get no answer");
        for ticket in tickets {
            if let Some(settled) = self.outbox.get_mut(worker_of(*ticket)) {
                settled.push(Settled::Failed(*ticket));
            }
        }
        self.post();
    }
}

#[expect(
    clippy::panic,
    reason = "a record that cannot be read back must end the process before anything is answered"
)]
fn unreadable(error: &crate::journal::record::RecordError) {
    panic!("a record written by this process does not read back: {error}");
}

//! The watch over the journal: tells the packet path whether it takes records, and writes down what it would not take before.
//!
//! Until when nothing ends by itself ([`crate::ledger::Holds`]) is known to the ledger at once, but the next recovery knows
//! only what the journal has. So whatever differs, because the journal refused the record of the start, or failed since, or
//! an operator confirmed the clock, is written as soon as the journal takes records.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Parts;
use super::packets::Packets;
use crate::app::App;
use crate::journal::record::{HoldRecord, Record};
use crate::journal::{Journal, Lane, Unavailable};
use crate::ledger::Holds;
use crate::servers::Shared;
use crate::telemetry::http::Health;
use crate::time::Clock;

/// How often the journal's state is looked at.
const WATCH: Duration = Duration::from_millis(100);

/// Looks after the journal's state.
pub(super) struct Watch {
    health: Arc<Health>,
    shared: Arc<Shared>,
    journal: Arc<Journal>,
    lane: Arc<Lane>,
    app: Arc<App>,
    unavailable: Option<Unavailable>,
    /// What the journal has, as far as is known.
    written: Option<Holds>,
}

impl Watch {
    pub(super) fn of(parts: &Parts, packets: &Packets, journal: &Arc<Journal>) -> Self {
        Self {
            health: Arc::clone(&parts.health),
            shared: Arc::clone(&packets.shared),
            journal: Arc::clone(journal),
            lane: Arc::clone(&packets.lane),
            app: Arc::clone(&parts.app),
            unavailable: None,
            written: packets.start_written.then(|| parts.recovered.ledger.holds()),
        }
    }

    pub(super) async fn run(mut self) {
        let mut turn = tokio::time::interval(WATCH);
        let mut doubted = self.app.clock_doubt().is_some();
        loop {
            turn.tick().await;
            self.show_journal();
            self.keep_holds();
            if doubted && !self.is_clock_doubted() {
                doubted = false;
                self.health.set_degraded("clock", None);
            }
        }
    }

    /// Shows the packet path and health whether the journal takes records.
    fn show_journal(&mut self) {
        let now = self.journal.unavailable();
        self.shared.journal_available.store(now.is_none(), Ordering::Relaxed);
        if now == self.unavailable {
            return;
        }
        if let Some(reason) = now {
            tracing::error!(%reason, "the journal takes no records: nothing new is granted or acknowledged");
        } else {
            tracing::info!("the journal takes records again");
        }
        self.health.set_degraded("journal", now.map(|reason| reason.to_string()));
        self.unavailable = now;
    }

    /// Writes what the journal does not have.
    fn keep_holds(&mut self) {
        if self.unavailable.is_some() {
            // Nobody is told what became of a record that nobody waits for.
            self.written = None;
            return;
        }
        let holds = self.shared.ledger.holds();
        if self.written == Some(holds) {
            return;
        }
        let record = Record::Hold(HoldRecord {
            at: self.shared.clock.now().stamp,
            leases: holds.leases,
            accepts: holds.accepts,
        });
        let submitted =
            self.lane.submit(record.kind(), record.version(), None, |buffer| record.encode(buffer));
        self.written = submitted.is_ok().then_some(holds);
    }

    fn is_clock_doubted(&self) -> bool {
        let passed = self.shared.ledger.holds().end() <= self.shared.clock.now().stamp;
        self.app.clock_doubt().is_some() && !passed
    }
}

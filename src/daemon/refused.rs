//! Tells the log what was refused or not answered, and why: the packet path writes no line, so it is looked at from here.
//!
//! Once a second at the newest decisions of each worker, a bounded number of them, and at the counters for what was overwritten
//! meanwhile. Which of them become lines is [`crate::refusals`]' matter. Whatever a subscriber or a stranger chose stands
//! between quotes, unreadable bytes in hexadecimal.

use std::sync::Arc;
use std::time::Duration;

use tracing::field::{debug, display};

use crate::decision::{Decision, DecisionRing, Outcome, explain};
use crate::ids::Uid;
use crate::limits::REFUSAL_LOOK_DECISIONS_MAX;
use crate::model::decode::octets_to_text;
use crate::refusals::{Line, Refusals};
use crate::snapshot::Snapshot;
use crate::snapshot::publish::Publisher;
use crate::telemetry::metrics::Metrics;
use crate::time::Clock;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);

/// What is looked at, and who knows the names.
pub(super) struct Refused {
    pub(super) decisions: Arc<DecisionRing>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Refused {
    /// Looks and tells for as long as the daemon runs.
    pub(super) async fn run(self) {
        let mut turn = tokio::time::interval(LOOK);
        let (mut refusals, mut read) = (Refusals::default(), Vec::new());
        loop {
            turn.tick().await;
            let missed = self
                .decisions
                .visit_newer(&mut read, REFUSAL_LOOK_DECISIONS_MAX, |decision| refusals.note(decision));
            if missed > 0 {
                refusals.catch_up(&self.metrics.decided());
            }
            let told = refusals.tell(self.clock.now().tick);
            if told.lines.is_empty() && told.others == 0 {
                continue;
            }
            let snapshot = self.publisher.load_full();
            for line in &told.lines {
                write(&snapshot, line);
            }
            if told.others > 0 {
                tracing::warn!(
                    times = told.others,
                    "requests were refused or not answered for further reasons or NASes; the metrics count all of them"
                );
            }
        }
    }
}

fn write(snapshot: &Snapshot, line: &Line) {
    let Line { plane, reason, times, .. } = line;
    let example = line.example.as_ref();
    let request = example.map(|example| example.message);
    let nas = example.and_then(|example| name_of(snapshot, example.nas)).map(debug);
    let source = example.and_then(|example| example.source).map(display);
    let text = |of: fn(&Decision) -> &[u8]| {
        let bytes = example.map(of).filter(|bytes| !bytes.is_empty());
        bytes.map(|bytes| debug(octets_to_text(bytes)))
    };
    let (login, port) = (text(|example| &example.login), text(|example| &example.line));
    let detail = text(|example| &example.detail);
    let mac = example.and_then(|example| example.mac).map(display);
    let why = explain(reason);
    if line.outcome == Outcome::Refused.name() {
        tracing::info!(
            plane,
            request,
            reason,
            times,
            nas,
            source,
            login,
            line = port,
            mac,
            detail,
            "refused: {why}"
        );
    } else {
        tracing::warn!(
            plane,
            request,
            reason,
            times,
            nas,
            source,
            login,
            line = port,
            mac,
            detail,
            "not answered: {why}"
        );
    }
}

/// What people call the NAS or relay.
fn name_of(snapshot: &Snapshot, id: Uid) -> Option<String> {
    let nas = snapshot.nas(id).map(|nas| nas.name.to_string());
    nas.or_else(|| snapshot.relay(id).map(|relay| relay.name.to_string()))
}

//! What each NAS did since the start: accepts it was given, sessions it reported, and when it was last heard (FIELD R2, R24).
//!
//! Place in the path: a worker notes each decision after its answer. Accepts that no Start follows mean that accounting does
//! not reach us, and then addresses are held that nobody uses. One entry for each NAS that is defined; the table is replaced as a whole
//! by [`NasActivity::follow`], so the path takes no lock. It decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::decision::{Decision, Outcome, Plane};
use crate::ids::Uid;
use crate::ledger::pool::SpreadMap;
use crate::time::Stamp;

/// How often a NAS is noted as heard, in milliseconds: more would only make workers meet.
const HEARD_STEP_MS: u64 = 1_000;

#[derive(Debug, Default)]
struct Counts {
    accepts: AtomicU64,
    starts: AtomicU64,
    heard: AtomicU64,
}

/// What one NAS did since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Access-Accepts decided for it; retransmissions do not count again.
    pub accepts: u64,
    /// Starts of sessions that it reported.
    pub starts: u64,
    /// When the last valid request came from it, within a second; zero when none did.
    pub heard: Stamp,
}

/// The activity of all NASes, shared by all workers.
#[derive(Debug, Default)]
pub struct NasActivity {
    known: ArcSwap<SpreadMap<u128, Arc<Counts>>>,
}

impl NasActivity {
    /// Counts for these NASes from now on and forgets all others.
    pub fn follow(&self, nases: impl Iterator<Item = Uid>) {
        let known = self.known.load_full();
        let counts = |nas: u128| known.get(&nas).map(Arc::clone).unwrap_or_default();
        let followed: SpreadMap<u128, Arc<Counts>> = nases.map(|nas| (nas.0, counts(nas.0))).collect();
        self.known.store(Arc::new(followed));
    }

    /// Notes a decision about a request of a NAS.
    pub fn note(&self, decision: &Decision) {
        if decision.plane == Plane::Dhcp4 || decision.nas == Uid::NIL {
            return;
        }
        let known = self.known.load();
        let Some(counts) = known.get(&decision.nas.0) else { return };
        if decision.at.0 >= counts.heard.load(Ordering::Relaxed).saturating_add(HEARD_STEP_MS) {
            counts.heard.store(decision.at.0, Ordering::Relaxed);
        }
        if decision.outcome != Outcome::Granted {
            return;
        }
        match (decision.plane, decision.reason, decision.message) {
            (Plane::Auth, "accepted", _) => counts.accepts.fetch_add(1, Ordering::Relaxed),
            (Plane::Acct, "accounted" | "address-conflict", "Accounting-Start") => {
                counts.starts.fetch_add(1, Ordering::Relaxed)
            }
            _ => 0,
        };
    }

    /// What a NAS did.
    pub fn of(&self, nas: Uid) -> Activity {
        self.known.load().get(&nas.0).map_or_else(Activity::default, |counts| Activity {
            accepts: counts.accepts.load(Ordering::Relaxed),
            starts: counts.starts.load(Ordering::Relaxed),
            heard: Stamp(counts.heard.load(Ordering::Relaxed)),
        })
    }
}

impl Activity {
    /// Whether too few of the accepts since `before` became sessions: under nine tenths of at least twenty.
    pub const fn is_unconfirmed_since(&self, before: &Self) -> bool {
        let accepts = self.accepts.saturating_sub(before.accepts);
        let starts = self.starts.saturating_sub(before.starts);
        accepts >= 20 && starts * 10 < accepts * 9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(nas: u128, plane: Plane, message: &'static str, reason: &'static str) -> Decision {
        let mut decision = Decision::new(Stamp(5_000), plane, message).concluded(Outcome::Granted, reason);
        decision.nas = Uid(nas);
        decision
    }

    #[test]
    fn accepts_and_starts_are_counted_for_the_nases_that_are_defined() {
        let activity = NasActivity::default();
        activity.follow([Uid(1)].into_iter());
        let accept = decision(1, Plane::Auth, "Access-Request", "accepted");
        activity.note(&accept);
        activity.note(&decision(1, Plane::Auth, "Access-Request", "duplicate"));
        activity.note(&decision(1, Plane::Acct, "Accounting-Start", "accounted"));
        activity.note(&decision(1, Plane::Acct, "Accounting-Interim", "accounted"));
        activity.note(&decision(2, Plane::Auth, "Access-Request", "accepted"));
        assert_eq!(activity.of(Uid(1)), Activity { accepts: 1, starts: 1, heard: Stamp(5_000) });
        assert_eq!(activity.of(Uid(2)), Activity::default());

        activity.follow([Uid(1), Uid(2)].into_iter());
        activity.note(&accept.concluded(Outcome::Refused, "password-mismatch"));
        assert_eq!(activity.of(Uid(1)).accepts, 1, "what was counted stays, a reject is no accept");
    }

    #[test]
    fn accepts_that_no_start_follows_are_told_from_a_quiet_night() {
        let of = |accepts, starts| Activity { accepts, starts, heard: Stamp::ZERO };
        assert!(of(20, 17).is_unconfirmed_since(&of(0, 0)));
        assert!(!of(20, 18).is_unconfirmed_since(&of(0, 0)));
        assert!(!of(19, 0).is_unconfirmed_since(&of(0, 0)), "too few to tell");
        assert!(!of(1_020, 20).is_unconfirmed_since(&of(1_000, 0)), "only what came since counts");
    }
}

//! The last accept and the last reject of each access (FIELD R24): what an operator asks for first, long after the decision
//! itself has left the ring.
//!
//! Place in the path: a worker notes each decision of a login after its answer. Kept only for accesses that were rejected:
//! of the others the ledger knows since when they are online, and a login that was never rejected writes nothing here.
//! Bounded, oldest forgotten first; not kept over a restart. It decides nothing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::decision::{Decision, Outcome, Plane};
use crate::ids::Uid;
use crate::ledger::pool::SpreadMap;
use crate::limits::LAST_OUTCOMES_MAX;
use crate::time::Stamp;

const SHARDS: usize = 32;

/// Where and when an access was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// When.
    pub at: Stamp,
    /// Through which NAS.
    pub nas: Uid,
    /// Line as readable text, empty when there was none.
    pub line: SmallVec<[u8; 24]>,
}

/// Rejects of an access in a row for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The reason code.
    pub code: &'static str,
    /// How many since `since`, without an accept or another reason between them.
    pub count: u32,
    /// The first of them.
    pub since: Stamp,
    /// The last of them.
    pub at: Stamp,
    /// NAS of the last.
    pub nas: Uid,
    /// Line of the last as readable text, empty when there was none.
    pub line: SmallVec<[u8; 24]>,
}

/// What became of the newest logins of an access.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastOutcome {
    /// The last accept since the first reject remembered.
    pub accepted: Option<Accepted>,
    /// The last rejects.
    pub rejected: Option<Rejected>,
}

#[derive(Debug, Default)]
struct Shard {
    outcomes: SpreadMap<u128, LastOutcome>,
    /// In which order they came.
    order: VecDeque<u128>,
}

/// The last outcomes, shared by all workers.
#[derive(Debug)]
pub struct LastOutcomes {
    shards: [Mutex<Shard>; SHARDS],
    /// Accesses remembered: while there are none, an accept takes no lock.
    remembered: AtomicUsize,
    per_shard: usize,
}

impl Default for LastOutcomes {
    fn default() -> Self {
        Self::new(LAST_OUTCOMES_MAX)
    }
}

impl LastOutcomes {
    /// Room for about `most` accesses.
    pub fn new(most: usize) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, remembered: AtomicUsize::new(0), per_shard: (most / SHARDS).max(1) }
    }

    /// Notes the outcome of a login.
    pub fn note(&self, decision: &Decision) {
        if decision.plane != Plane::Auth || decision.access == Uid::NIL {
            return;
        }
        match decision.outcome {
            Outcome::Granted => self.accept(decision),
            Outcome::Refused => self.reject(decision),
            Outcome::Discarded => {}
        }
    }

    /// What is remembered of an access.
    pub fn of(&self, access: Uid) -> LastOutcome {
        self.shard(access).lock().outcomes.get(&access.0).cloned().unwrap_or_default()
    }

    fn shard(&self, access: Uid) -> &Mutex<Shard> {
        &self.shards[(access.0 as usize) % SHARDS]
    }

    fn accept(&self, decision: &Decision) {
        if self.remembered.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut shard = self.shard(decision.access).lock();
        if let Some(known) = shard.outcomes.get_mut(&decision.access.0) {
            known.accepted =
                Some(Accepted { at: decision.at, nas: decision.nas, line: decision.line.clone() });
        }
    }

    fn reject(&self, decision: &Decision) {
        let key = decision.access.0;
        let mut shard = self.shard(decision.access).lock();
        let Shard { outcomes, order } = &mut *shard;
        if !outcomes.contains_key(&key) {
            if order.len() >= self.per_shard
                && let Some(oldest) = order.pop_front()
            {
                outcomes.remove(&oldest);
            } else {
                self.remembered.fetch_add(1, Ordering::Relaxed);
            }
            order.push_back(key);
        }
        let known = outcomes.entry(key).or_default();
        let accepted_at = known.accepted.as_ref().map_or(Stamp::ZERO, |accepted| accepted.at);
        let before =
            known.rejected.take().filter(|before| before.code == decision.reason && before.at >= accepted_at);
        known.rejected = Some(Rejected {
            code: decision.reason,
            count: before.as_ref().map_or(0, |before| before.count).saturating_add(1),
            since: before.map_or(decision.at, |before| before.since),
            at: decision.at,
            nas: decision.nas,
            line: decision.line.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(access: u128, at: u64, outcome: Outcome, reason: &'static str) -> Decision {
        let mut decision = Decision::new(Stamp(at), Plane::Auth, "Access-Request").concluded(outcome, reason);
        decision.access = Uid(access);
        decision.nas = Uid(9);
        decision
    }

    #[test]
    fn rejects_in_a_row_for_one_reason_are_counted_and_an_accept_ends_the_row() {
        let last = LastOutcomes::default();
        for at in 1..=3 {
            last.note(&login(7, at, Outcome::Refused, "password-mismatch"));
        }
        let rejected = last.of(Uid(7)).rejected.unwrap();
        assert_eq!((rejected.code, rejected.count), ("password-mismatch", 3));
        assert_eq!((rejected.since, rejected.at, rejected.nas), (Stamp(1), Stamp(3), Uid(9)));

        last.note(&login(7, 4, Outcome::Granted, "accepted"));
        assert_eq!(last.of(Uid(7)).accepted.unwrap().at, Stamp(4));
        last.note(&login(7, 5, Outcome::Refused, "password-mismatch"));
        assert_eq!(last.of(Uid(7)).rejected.unwrap().count, 1);
        last.note(&login(7, 6, Outcome::Refused, "session-limit"));
        let rejected = last.of(Uid(7)).rejected.unwrap();
        assert_eq!((rejected.code, rejected.count, rejected.since), ("session-limit", 1, Stamp(6)));
    }

    #[test]
    fn logins_that_were_never_rejected_silence_and_strangers_are_not_remembered() {
        let last = LastOutcomes::default();
        last.note(&login(7, 1, Outcome::Granted, "accepted"));
        last.note(&login(8, 1, Outcome::Discarded, "journal-unavailable"));
        last.note(&login(0, 1, Outcome::Refused, "unknown-login"));
        for access in [7, 8, 0] {
            assert_eq!(last.of(Uid(access)), LastOutcome::default());
        }
    }

    #[test]
    fn a_flood_of_rejected_accesses_forgets_the_oldest_and_nothing_grows() {
        let last = LastOutcomes::new(SHARDS * 4);
        for access in 1..=10_000 {
            last.note(&login(access, access as u64, Outcome::Refused, "password-mismatch"));
        }
        let kept: usize = last.shards.iter().map(|shard| shard.lock().outcomes.len()).sum();
        assert_eq!((kept, last.remembered.load(Ordering::Relaxed)), (SHARDS * 4, SHARDS * 4));
        assert!(last.of(Uid(10_000)).rejected.is_some() && last.of(Uid(1)).rejected.is_none());
    }
}

//! Which refusals and discards are worth a line of the log now, and how many each line stands for.
//!
//! Place: the control side shows it the newest decisions and the counters, and logs what it gives back. Kinds are told apart by
//! plane, outcome, reason and NAS. Of each the first is a line at once; what follows is counted, and told at most once in an
//! interval. So a flood of whatever sort is a few lines a minute (fault F13): lines and kinds are bounded, and what goes
//! beyond is told as a number.
//!
//! It reads no clock and writes no log. What its sender did not expect to be answered is no discard to tell of.

use std::collections::BTreeMap;

use crate::decision::{Decision, Outcome, Plane, REASONS};
use crate::ids::Uid;
use crate::limits::{REFUSAL_KINDS_MAX, REFUSAL_LINES_MAX, REFUSAL_LOG_INTERVAL_MS};
use crate::time::Tick;

/// Discards in the ordinary course of things.
const ORDINARY: [&str; 5] = ["released", "declined", "not-for-us", "duplicate-in-flight", "grant-in-flight"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    plane: &'static str,
    outcome: &'static str,
    reason: &'static str,
    nas: Uid,
}

impl Kind {
    /// What a decision is of; none for what is not to be told.
    fn of(decision: &Decision) -> Option<Self> {
        let (plane, outcome) = (decision.plane.name(), decision.outcome.name());
        let kind = Self { plane, outcome, reason: decision.reason, nas: decision.nas };
        kind.is_told().then_some(kind)
    }

    fn is_told(&self) -> bool {
        self.outcome != Outcome::Granted.name() && !ORDINARY.contains(&self.reason)
    }

    const fn of_any_nas(self) -> Self {
        Self { nas: Uid::NIL, ..self }
    }
}

#[derive(Debug, Default)]
struct Entry {
    /// How many since the last line.
    times: u64,
    /// The first of them, if one was seen.
    example: Option<Decision>,
    told: Option<Tick>,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which part decided, as metrics name it.
    pub plane: &'static str,
    /// `refused` or `discarded`.
    pub outcome: &'static str,
    /// Reason code.
    pub reason: &'static str,
    /// How many since the last line of this kind, the example included.
    pub times: u64,
    /// One of them; none when none of them was seen.
    pub example: Option<Decision>,
}

/// What a look at the decisions is to be told of.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// One for each kind.
    pub lines: Vec<Line>,
    /// Refusals of further kinds since this was last told, for which there was no line.
    pub others: u64,
}

/// How often a kind was decided since the start, by the counters: plane, outcome, reason as metrics name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Plane.
    pub plane: String,
    /// Outcome.
    pub outcome: String,
    /// Reason code.
    pub reason: String,
    /// How often.
    pub total: u64,
}

/// Refusals and discards since the last lines.
#[derive(Debug, Default)]
pub struct Refusals {
    kinds: BTreeMap<Kind, Entry>,
    /// Of each kind, of any NAS, how many were counted here since the start.
    known: BTreeMap<Kind, u64>,
    lines_left: usize,
    interval: Option<Tick>,
    others: u64,
}

impl Refusals {
    /// Takes a decision in.
    pub fn note(&mut self, decision: &Decision) {
        let Some(kind) = Kind::of(decision) else { return };
        *self.known.entry(kind.of_any_nas()).or_default() += 1;
        self.add(kind, 1, Some(decision));
    }

    /// Takes in what the counters have of decisions that left the ring unseen.
    pub fn catch_up(&mut self, counted: &[Counted]) {
        for counted in counted {
            let Some(kind) = self.kind_of(counted).filter(Kind::is_told) else { continue };
            let known = self.known.entry(kind).or_default();
            let unseen = counted.total.saturating_sub(*known);
            *known += unseen;
            if unseen > 0 {
                self.add(kind, unseen, None);
            }
        }
    }

    fn kind_of(&self, counted: &Counted) -> Option<Kind> {
        let planes = [Plane::Auth, Plane::Acct, Plane::Dhcp4].map(Plane::name);
        let outcomes = [Outcome::Refused, Outcome::Discarded].map(Outcome::name);
        let plane = planes.into_iter().find(|plane| *plane == counted.plane)?;
        let outcome = outcomes.into_iter().find(|outcome| *outcome == counted.outcome)?;
        let seen = self.known.keys().map(|kind| kind.reason);
        let reason =
            seen.chain(REASONS.iter().map(|(code, _)| *code)).find(|reason| *reason == counted.reason)?;
        Some(Kind { plane, outcome, reason, nas: Uid::NIL })
    }

    fn add(&mut self, kind: Kind, times: u64, example: Option<&Decision>) {
        let has_room = self.kinds.len() < REFUSAL_KINDS_MAX;
        let fits = |kind: &Kind| has_room || self.kinds.contains_key(kind);
        let Some(kind) = [kind, kind.of_any_nas()].into_iter().find(fits) else {
            self.others += times;
            return;
        };
        let entry = self.kinds.entry(kind).or_default();
        entry.times += times;
        if entry.example.is_none() {
            entry.example = example.cloned();
        }
    }

    /// What is to be told at `now`.
    pub fn tell(&mut self, now: Tick) -> Told {
        let is_over = |from: Tick| now.since(from) >= REFUSAL_LOG_INTERVAL_MS * 1_000_000;
        let mut told = Told::default();
        if self.interval.is_none_or(is_over) {
            self.interval = Some(now);
            self.lines_left = REFUSAL_LINES_MAX;
            told.others = std::mem::take(&mut self.others);
        }
        for (kind, entry) in &mut self.kinds {
            if entry.times == 0 || !entry.told.is_none_or(is_over) {
                continue;
            }
            let (times, example) = (std::mem::take(&mut entry.times), entry.example.take());
            entry.told = Some(now);
            if self.lines_left == 0 {
                self.others += times;
                continue;
            }
            self.lines_left -= 1;
            let Kind { plane, outcome, reason, .. } = *kind;
            told.lines.push(Line { plane, outcome, reason, times, example });
        }
        self.kinds.retain(|_, entry| entry.times > 0 || !entry.told.is_none_or(is_over));
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Stamp;

    const INTERVAL: u64 = REFUSAL_LOG_INTERVAL_MS;

    fn at(millis: u64) -> Tick {
        Tick(1_000_000_000_000).plus_millis(millis)
    }

    fn refused(nas: u128, reason: &'static str) -> Decision {
        let mut decision = Decision::new(Stamp(1), Plane::Auth, "Access-Request");
        decision.nas = Uid(nas);
        decision.concluded(Outcome::Refused, reason)
    }

    fn told(refusals: &mut Refusals, millis: u64) -> Vec<(&'static str, u128, u64)> {
        let nas = |line: &Line| line.example.as_ref().map_or(0, |example| example.nas.0);
        let told = refusals.tell(at(millis));
        told.lines.iter().map(|line| (line.reason, nas(line), line.times)).collect()
    }

    #[test]
    fn the_first_of_a_kind_is_told_at_once_and_the_rest_as_a_number() {
        let mut refusals = Refusals::default();
        refusals.note(&refused(1, "password-mismatch"));
        refusals.note(&refused(2, "password-mismatch"));
        refusals.note(&refused(1, "unknown-login"));
        assert_eq!(
            told(&mut refusals, 0),
            [("password-mismatch", 1, 1), ("password-mismatch", 2, 1), ("unknown-login", 1, 1)]
        );
        for _ in 0..500 {
            refusals.note(&refused(1, "password-mismatch"));
        }
        assert_eq!(told(&mut refusals, 1_000), []);
        assert_eq!(told(&mut refusals, INTERVAL), [("password-mismatch", 1, 500)]);
        assert_eq!(told(&mut refusals, 3 * INTERVAL), []);
        assert!(refusals.kinds.is_empty(), "what is over is forgotten");
        refusals.note(&refused(1, "password-mismatch"));
        assert_eq!(told(&mut refusals, 3 * INTERVAL), [("password-mismatch", 1, 1)]);
    }

    #[test]
    fn what_is_granted_or_ordinary_is_not_told() {
        let mut refusals = Refusals::default();
        refusals.note(&refused(1, "accepted").concluded(Outcome::Granted, "accepted"));
        for reason in ORDINARY {
            assert!(REASONS.iter().any(|(code, _)| *code == reason), "{reason}");
            refusals.note(&refused(1, reason).concluded(Outcome::Discarded, reason));
        }
        assert_eq!(refusals.tell(at(0)), Told::default());
    }

    #[test]
    fn a_flood_of_kinds_is_bounded_in_lines_and_memory_and_the_rest_is_counted() {
        let mut refusals = Refusals::default();
        let all = REFUSAL_KINDS_MAX as u64 * 3;
        for nas in 0..all {
            refusals.note(&refused(u128::from(nas) + 1, "unknown-login"));
        }
        assert_eq!(refusals.kinds.len(), REFUSAL_KINDS_MAX);
        let first = refusals.tell(at(0));
        assert_eq!((first.lines.len(), first.others), (REFUSAL_LINES_MAX, all - REFUSAL_KINDS_MAX as u64));
        assert_eq!(refusals.tell(at(1_000)), Told::default());
        let later = refusals.tell(at(INTERVAL));
        let untold = (REFUSAL_KINDS_MAX - REFUSAL_LINES_MAX) as u64;
        assert_eq!((later.lines.len(), later.others), (0, untold));
        assert!(refusals.kinds.is_empty());
    }

    #[test]
    fn what_left_the_ring_unseen_is_told_by_the_counters_once() {
        let counted = |reason: &str, total| Counted {
            plane: "auth".to_owned(),
            outcome: "refused".to_owned(),
            reason: reason.to_owned(),
            total,
        };
        let mut refusals = Refusals::default();
        refusals.note(&refused(0, "unknown-login"));
        refusals.catch_up(&[counted("unknown-login", 1_000), counted("no-pool", 3), counted("no-such", 1)]);
        assert_eq!(told(&mut refusals, 0), [("no-pool", 0, 3), ("unknown-login", 0, 1_000)]);
        refusals.catch_up(&[counted("unknown-login", 1_000), counted("no-pool", 3)]);
        assert_eq!(told(&mut refusals, INTERVAL), []);
    }
}

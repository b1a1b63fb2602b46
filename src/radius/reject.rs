//! How long a reject is held back: nothing at first, growing with repetition (FIELD R12).
//!
//! A reject that leaves at once costs a redialling CPE nothing and the server much; one that waits holds no worker, because
//! the reply lies in a timer. Counted per (NAS, login or MAC), bounded, forgotten after a quiet while or an accept.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::ids::Uid;
use crate::ledger::pool::SpreadHasher;
use crate::time::Stamp;

/// First non-zero delay, in milliseconds; doubled with each further reject.
const STEP_MS: u32 = 50;
/// A subject without rejects for this long starts anew, in milliseconds.
const QUIET_MS: u64 = 60_000;
/// Subjects remembered; when full, those that are quiet go, and if none is, newcomers are not counted.
const SUBJECTS_MAX: usize = 65_536;

/// Rejects lately, by subject.
#[derive(Debug, Default)]
pub(super) struct RejectHistory {
    shards: [Shard; SHARDS],
    /// Subjects remembered: while there are none, an accept takes no lock.
    remembered: AtomicUsize,
}

type Shard = Mutex<HashMap<u64, (u32, Stamp), BuildHasherDefault<SpreadHasher>>>;

const SHARDS: usize = 32;

impl RejectHistory {
    /// Counts one more reject and gives its delay in milliseconds, at most `max`.
    pub(super) fn delay(&self, nas: Uid, subject: &[u8], now: Stamp, max: u32) -> u32 {
        let key = subject_key(nas, subject);
        let mut subjects = self.shards[key as usize % SHARDS].lock();
        let before = subjects.len();
        if before >= SUBJECTS_MAX / SHARDS && !subjects.contains_key(&key) {
            subjects.retain(|_, (_, last)| now.since(*last) < QUIET_MS);
            self.remembered.fetch_sub(before - subjects.len(), Ordering::Relaxed);
            if subjects.len() >= SUBJECTS_MAX / SHARDS {
                return max;
            }
        }
        if !subjects.contains_key(&key) {
            self.remembered.fetch_add(1, Ordering::Relaxed);
        }
        let (count, last) = subjects.entry(key).or_insert((0, now));
        if now.since(*last) >= QUIET_MS {
            *count = 0;
        }
        let delay = count.checked_sub(1).map_or(0, |doublings| STEP_MS << doublings.min(10));
        *count = count.saturating_add(1);
        *last = now;
        delay.min(max)
    }

    /// An accept: the subject starts anew.
    pub(super) fn forgive(&self, nas: Uid, subject: &[u8]) {
        if self.remembered.load(Ordering::Relaxed) == 0 {
            return;
        }
        let key = subject_key(nas, subject);
        if self.shards[key as usize % SHARDS].lock().remove(&key).is_some() {
            self.remembered.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn subject_key(nas: Uid, subject: &[u8]) -> u64 {
    subject.iter().fold(nas.0 as u64 ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_starts_at_nothing_grows_and_is_forgotten() {
        let history = RejectHistory::default();
        let delay = |at: u64| history.delay(Uid(1), b"jan", Stamp::from_secs(at), 500);
        assert_eq!([delay(1), delay(2), delay(3), delay(4), delay(5), delay(6)], [0, 50, 100, 200, 400, 500]);
        assert_eq!(delay(200), 0);
        assert_eq!(delay(201), 50);
        history.forgive(Uid(1), b"jan");
        assert_eq!(delay(202), 0);
        assert_eq!(history.delay(Uid(1), b"ewa", Stamp::from_secs(202), 500), 0);
    }
}

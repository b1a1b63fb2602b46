//! Whether the clock of a start is believed (fault F9), and until when nothing ends because it is not.
//!
//! A start more than a day past the newest record doubts its clock. Its own records carry the stamps of the leap, so the next
//! start would find nothing odd: the doubt is kept in a file of the state directory, and stands for as long as the journal
//! says that Accepts are held for it. An operator's word ends that; so does the time.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::kept;
use crate::app::clock::ClockDoubt;
use crate::ledger::{Holds, Ledger};
use crate::limits::SESSION_TIMEOUT_DEFAULT_SECS;
use crate::snapshot::Snapshot;
use crate::time::{Clock, Stamp, SteadyClock};

/// A wall clock this far past the last record is not believed at once, in milliseconds.
const CLOCK_JUMP_MS: u64 = 86_400_000;
/// Lease assumed when no network says otherwise, in seconds.
const LEASE_DEFAULT_SECS: u64 = 3_600;

/// Raises the timeline past the last record, and says until when nothing may end by itself, and whether the wall clock is
/// believed. `clean` is how the node stopped, `directory` where it keeps its state.
pub(super) fn judge(
    clock: &SteadyClock,
    ledger: &Ledger,
    clean: bool,
    snapshot: &Snapshot,
    directory: &Path,
) -> (Holds, Option<ClockDoubt>) {
    let (newest, recovered) = (ledger.newest(), ledger.holds());
    let has_jumped = newest > Stamp::ZERO && clock.now().stamp.since(newest) > CLOCK_JUMP_MS;
    clock.raise_to(newest);
    let now = clock.now().stamp;
    // Nothing but a doubt holds Accepts. One that was confirmed or has passed holds them no longer.
    let kept = load(directory).filter(|_| recovered.accepts > now);
    let leases = snapshot.networks().map(|network| u64::from(network.spec.lease_time));
    let lease = leases.max().unwrap_or(LEASE_DEFAULT_SECS);
    let unclean = |from: Stamp| Holds {
        leases: if clean { Stamp::ZERO } else { from.plus_secs(lease) },
        accepts: Stamp::ZERO,
    };
    let right_before = kept.map_or(recovered, |kept| kept.holds_if_right);
    let doubted_since = |last_record| kept.map_or(last_record, |kept| kept.last_record);
    let (holds, doubt) = if has_jumped {
        // Sessions were to end by the time that had passed, too, not by the time that the clock leapt over.
        let timeouts = snapshot.plans().filter_map(|plan| plan.spec.session_timeout);
        let timeout = timeouts.chain([SESSION_TIMEOUT_DEFAULT_SECS]).max().map_or(0, u64::from);
        let last_record = doubted_since(newest);
        tracing::warn!(%last_record, %now, "the clock is more than a day past the last record: nothing ends by itself before the longest lease, or Session-Timeout, has passed; `lastmile clock confirm` if the clock is right");
        let holds = Holds { leases: now.plus_secs(lease), accepts: now.plus_secs(timeout) };
        (holds, Some(ClockDoubt { last_record, holds_if_right: unclean(newest).or_later(right_before) }))
    } else if let Some(kept) = kept {
        tracing::warn!(last_record = %kept.last_record, %now, until = %recovered.end(), "the clock is still not believed, as at an earlier start: nothing ends by itself; `lastmile clock confirm` if the clock is right");
        let holds = unclean(now).or_later(recovered);
        let last_record = kept.last_record;
        (holds, Some(ClockDoubt { last_record, holds_if_right: unclean(now).or_later(right_before) }))
    } else {
        (unclean(now), None)
    };
    keep(directory, doubt);
    (holds, doubt)
}

/// The file, in JSON: stamps in milliseconds since 1970.
#[derive(Serialize, Deserialize)]
struct Written {
    last_record: u64,
    hold_leases: u64,
    hold_accepts: u64,
}

fn path(directory: &Path) -> PathBuf {
    directory.join("clock.doubt")
}

fn load(directory: &Path) -> Option<ClockDoubt> {
    let path = path(directory);
    let read = std::fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice::<Written>(&bytes)?));
    let written = match read {
        Ok(written) => written,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(%error, file = %path.display(), "an earlier doubt about the clock cannot be read; it is not kept");
            return None;
        }
    };
    let holds_if_right = Holds { leases: Stamp(written.hold_leases), accepts: Stamp(written.hold_accepts) };
    Some(ClockDoubt { last_record: Stamp(written.last_record), holds_if_right })
}

/// Before the first record of this start: from then on only the file tells.
fn keep(directory: &Path, doubt: Option<ClockDoubt>) {
    let path = path(directory);
    let done = match doubt {
        Some(ClockDoubt { last_record, holds_if_right }) => {
            let written = Written {
                last_record: last_record.0,
                hold_leases: holds_if_right.leases.0,
                hold_accepts: holds_if_right.accepts.0,
            };
            serde_json::to_vec(&written)
                .map_err(io::Error::from)
                .and_then(|bytes| kept::replace(&path, &bytes))
        }
        None if path.exists() => std::fs::remove_file(&path),
        None => Ok(()),
    };
    if let Err(error) = done {
        tracing::warn!(%error, file = %path.display(), "the doubt about the clock could not be kept for the next start");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::{Record, StartRecord};

    const DAY_SECS: u64 = 86_400;

    /// What a start makes of a ledger whose newest record is so long ago; both as the next start finds them.
    fn start(ledger: &Ledger, clean: bool, directory: &Path) -> Option<ClockDoubt> {
        let clock = SteadyClock::start();
        let (holds, doubt) = judge(&clock, ledger, clean, &Snapshot::empty(), directory);
        ledger
            .apply(u64::MAX, &Record::Start(StartRecord { at: clock.now().stamp, hold_until: holds.leases }));
        ledger.extend_holds(holds);
        doubt
    }

    fn off_for(days: u64) -> (Ledger, Stamp) {
        let last_record = Stamp(SteadyClock::start().now().stamp.0 - days * DAY_SECS * 1_000);
        let ledger = Ledger::new();
        ledger.apply(1, &Record::Start(StartRecord { at: last_record, hold_until: Stamp::ZERO }));
        (ledger, last_record)
    }

    #[test]
    fn a_doubt_stands_from_start_to_start_until_somebody_confirms_the_clock() {
        let directory = tempfile::tempdir().unwrap();
        let (ledger, last_record) = off_for(2);
        let first = start(&ledger, false, directory.path()).unwrap();
        assert_eq!(first.last_record, last_record);
        for clean in [false, true] {
            let again = start(&ledger, clean, directory.path()).unwrap();
            assert_eq!(again.last_record, last_record, "not the records of the leap");
            assert_eq!(again.holds_if_right.accepts, Stamp::ZERO);
            assert!(again.holds_if_right.leases >= first.holds_if_right.leases);
        }
        ledger.end_holds(first.holds_if_right);
        assert_eq!(start(&ledger, true, directory.path()), None);
        assert!(!path(directory.path()).exists(), "nothing is left of it");
    }

    #[test]
    fn a_day_without_records_is_no_doubt_and_a_damaged_file_is_none_either() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(path(directory.path()), b"{").unwrap();
        let (ledger, _) = off_for(0);
        assert_eq!(start(&ledger, false, directory.path()), None);
        let holds = Holds { leases: Stamp::ZERO, accepts: Stamp::MAX };
        ledger.extend_holds(holds);
        assert_eq!(start(&ledger, false, directory.path()), None, "held without a doubt");
    }
}

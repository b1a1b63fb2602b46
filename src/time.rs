//! Time as values: what the cores see of clocks.
//!
//! Cores never read a clock. A datagram arrives with a [`Moment`], and every decision about it uses that one
//! value, so that a recorded run can be replayed exactly.
//!
//! [`Stamp`] is the node's *steady timeline*: the wall clock at process start plus monotonic time since. A
//! stepped wall clock therefore expires nothing and freezes nothing while the daemon runs; at start the
//! timeline is raised to the newest stamp found in the journal, so it never goes back across restarts either.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Milliseconds since the Unix epoch on the node's steady timeline. Never decreases on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The beginning of the timeline; older than anything real.
    pub const ZERO: Self = Self(0);
    /// Later than anything real; used for "never".
    pub const MAX: Self = Self(u64::MAX);

    /// The stamp at `secs` seconds since the Unix epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// This stamp moved `secs` seconds later, saturating.
    #[must_use]
    pub const fn plus_secs(self, secs: u64) -> Self {
        Self(self.0.saturating_add(secs.saturating_mul(1000)))
    }

    /// Milliseconds from `earlier` to this stamp; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The UTC day number (days since 1970-01-01): the partition key of history tables.
    pub const fn day(self) -> u32 {
        (self.0 / 86_400_000) as u32
    }
}

impl Add<Duration> for Stamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs.as_millis() as u64))
    }
}

impl Sub for Stamp {
    type Output = Duration;
    fn sub(self, rhs: Self) -> Duration {
        Duration::from_millis(self.since(rhs))
    }
}

impl fmt::Display for Stamp {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0).saturating_mul(1_000_000);
        match time::OffsetDateTime::from_unix_timestamp_nanos(nanos) {
            Ok(at) => write!(
                f,
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
                at.year(),
                u8::from(at.month()),
                at.day(),
                at.hour(),
                at.minute(),
                at.second(),
                at.millisecond()
            ),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl serde::Serialize for Stamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

/// Monotonic nanoseconds since an arbitrary start: for latencies and short timers only, never stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// Nanoseconds from `earlier` to this tick; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This tick moved `millis` milliseconds later, saturating.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis.saturating_mul(1_000_000)))
    }
}

/// One reading of the clock: what a datagram carries into the cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Position on the steady timeline.
    pub stamp: Stamp,
    /// Monotonic position, for latency.
    pub tick: Tick,
}

/// Where the effects layers take their time from.
pub trait Clock: Send + Sync {
    /// Reads the clock once.
    fn now(&self) -> Moment;
}

/// The real clock: wall time at construction plus monotonic time since.
#[derive(Debug)]
pub struct SteadyClock {
    origin: std::time::Instant,
    base: AtomicU64,
}

impl SteadyClock {
    /// Reads the wall clock once and anchors the steady timeline to it.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system clocks")]
    pub fn start() -> Self {
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64);
        Self { origin: std::time::Instant::now(), base: AtomicU64::new(wall) }
    }

    /// Raises the timeline so that it reads at least `floor` from now on; it is never lowered. Returns by how
    /// many milliseconds it was raised (zero when the wall clock was already past `floor`).
    pub fn raise_to(&self, floor: Stamp) -> u64 {
        let now = self.now().stamp;
        let behind = floor.since(now);
        self.base.fetch_add(behind, Ordering::AcqRel);
        behind
    }
}

impl SteadyClock {
    /// The system's wall clock in nanoseconds since the Unix epoch: only for comparing with kernel timestamps.
    #[expect(clippy::disallowed_methods, reason = "kernel receive timestamps are wall-clock times")]
    pub fn realtime_nanos(&self) -> u64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as u64)
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Moment {
        let elapsed = self.origin.elapsed();
        let base = self.base.load(Ordering::Acquire);
        Moment {
            stamp: Stamp(base.saturating_add(elapsed.as_millis() as u64)),
            tick: Tick(elapsed.as_nanos() as u64),
        }
    }
}

/// A clock that moves only when told to: for tests, transcripts and replay.
#[derive(Debug, Default)]
pub struct ManualClock {
    millis: AtomicU64,
}

impl ManualClock {
    /// A clock that reads `at` until moved.
    pub fn at(at: Stamp) -> Self {
        Self { millis: AtomicU64::new(at.0) }
    }

    /// Moves the clock `by` forward.
    pub fn advance(&self, by: Duration) {
        self.millis.fetch_add(by.as_millis() as u64, Ordering::AcqRel);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        let millis = self.millis.load(Ordering::Acquire);
        Moment { stamp: Stamp(millis), tick: Tick(millis.saturating_mul(1_000_000)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_print_as_rfc3339_and_split_into_utc_days() {
        let stamp = Stamp::from_secs(1_795_132_800).plus_secs(3661);
        assert_eq!(stamp.to_string(), "2026-11-20T01:01:01.000Z");
        assert_eq!(stamp.day(), 20_777);
    }

    #[test]
    fn the_steady_timeline_is_raised_and_never_lowered() {
        let clock = SteadyClock::start();
        let ahead = clock.now().stamp.plus_secs(3600);
        assert!(clock.raise_to(ahead) > 3_500_000);
        assert!(clock.now().stamp >= ahead);
        assert_eq!(clock.raise_to(Stamp::ZERO), 0);
        assert!(clock.now().stamp >= ahead);
    }
}

//! Until when nothing ends by itself, whatever the stamps of leases and Accepts say.
//!
//! After an unclean stop the newest promises may be missing from the journal (FIELD R3), and after a start whose clock leapt
//! ahead (fault F9) everything seems to have run out. Both are answered by a stamp before which time ends nothing. Evidence
//! (a Stop, a DHCPRELEASE) ends things all the same.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::time::Stamp;

/// Until when nothing ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// No lease ends before this stamp, and no Accept either.
    pub leases: Stamp,
    /// No Accept ends before this stamp.
    pub accepts: Stamp,
}

impl Holds {
    /// The later of both, each for itself.
    #[must_use]
    pub fn or_later(self, other: Self) -> Self {
        Self { leases: self.leases.max(other.leases), accepts: self.accepts.max(other.accepts) }
    }

    /// When time alone decides again.
    pub fn end(self) -> Stamp {
        self.leases.max(self.accepts)
    }
}

/// The holds of a ledger.
#[derive(Debug, Default)]
pub(super) struct Hold {
    leases: AtomicU64,
    accepts: AtomicU64,
}

impl Hold {
    pub(super) fn read(&self) -> Holds {
        Holds {
            leases: Stamp(self.leases.load(Ordering::Acquire)),
            accepts: Stamp(self.accepts.load(Ordering::Acquire)),
        }
    }

    pub(super) fn extend(&self, to: Holds) {
        self.leases.fetch_max(to.leases.0, Ordering::AcqRel);
        self.accepts.fetch_max(to.accepts.0, Ordering::AcqRel);
    }

    pub(super) fn end(&self, at: Holds) {
        self.leases.fetch_min(at.leases.0, Ordering::AcqRel);
        self.accepts.fetch_min(at.accepts.0, Ordering::AcqRel);
    }

    pub(super) fn replace(&self, with: Holds) {
        self.leases.store(with.leases.0, Ordering::Release);
        self.accepts.store(with.accepts.0, Ordering::Release);
    }
}

//! Until when nothing ends by itself, whatever the stamps of leases and Accepts say.
//!
//! After an unclean stop the newest promises may be missing from the journal (FIELD R3), and after a start whose clock leapt
//! ahead (fault F9) everything seems to have run out. Both are answered by a stamp before which time ends nothing. Evidence
//! (a Stop, a DHCPRELEASE) ends things all the same.
//!
//! # Accepts that a crash forgets
//!
//! An Accept that gives a subscriber its own last address leaves before its record is durable (FIELD R3). Some milliseconds
//! before a crash that record is lost, and the address looks released although it is in use. What recovery could do:
//!
//! - Keep every released address from others for the longest Session-Timeout. Sound, and it makes a full pool refuse
//!   newcomers for a day after every crash: nothing tells the few that came back in those milliseconds from all the others
//!   (FIELD R19).
//! - Let whoever returns wait for the journal. Sound, and a redial storm waits for the disk, and with a full disk nobody
//!   returns (FIELD R3).
//! - Wait for the evidence that such an Accept brings about: its Start, which a NAS repeats until it is answered. That is
//!   [`Ledger::settle`]: as long as an Accept waits for its Start in ordinary operation, released addresses of pools that
//!   serve NASes go to their last holders only. Newcomers get addresses never used and overflow pools; failing these,
//!   silence, never a Reject, so that they ask again or ask the other node.
//!
//! What stays: an Accept of those last milliseconds, or of a time when the journal took no records, whose Start comes later
//! or never, as on a NAS without accounting. Its address is then given to a newcomer when its turn comes: when the pool has
//! none that nobody used, and none that was left before it. There are never two grants of it; a late Start reports the
//! conflict (FIELD R2) and gets none. An Accept on a grant that is live, be it a lease, is not forgotten so: it writes its
//! end without waiting whenever the journal knows of an earlier one, so a crash takes the last milliseconds of these, too,
//! and a Stop of a session that nobody remembers proves nothing before [`Holds::leases`].

use std::sync::atomic::{AtomicU64, Ordering};

use super::Ledger;
use crate::ids::NasId;
use crate::limits::CONFIRM_WINDOW_SECS;
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

impl Ledger {
    /// After an unclean stop: keeps what is released for its last holders, in pools from which NASes were served, until the
    /// Accepts that the crash made it forget have shown themselves. Not kept by checkpoints: every unclean start begins anew.
    pub fn settle(&self, now: Stamp) {
        let until = now.plus_secs(CONFIRM_WINDOW_SECS);
        let mut pools = std::collections::BTreeSet::new();
        self.for_each(|_, state| {
            let grants = state.slots.iter().flat_map(|slot| slot.grants.iter());
            pools.extend(grants.filter(|grant| grant.nas != NasId::default()).map(|grant| grant.pool));
        });
        for pool in pools.into_iter().filter_map(|pool| self.pool(pool)) {
            pool.settle(until);
        }
    }
}

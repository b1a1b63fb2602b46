//! A clock that is not believed: what a start found, and the operator's word that it is right.
//!
//! A start whose wall clock is more than a day past the newest record (fault F9) cannot tell a long outage from a clock
//! that was set wrong, so it ends no lease before the longest one has passed, no Accept before the longest Session-Timeout
//! has, and removes no history. Whoever knows that
//! the clock is right says so here; then time alone decides again, at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::audit::Deed;
use super::{Action, Actor, App, Refusal, Resource};
use crate::ledger::Holds;
use crate::storage::ActedOn;
use crate::time::Stamp;

/// Why the clock of this start is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockDoubt {
    /// Stamp of the newest record before the start.
    pub last_record: Stamp,
    /// Until when nothing would end if the clock is right: what an unclean stop asks for, counted from the last record.
    pub holds_if_right: Holds,
}

/// The node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ClockView {
    /// Now, on the node's timeline.
    #[schema(value_type = String, format = DateTime)]
    pub now: Stamp,
    /// The newest record before this start, when the clock was not believed because of it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_record: Option<Stamp>,
    /// Until when nothing ends by itself; null when time alone decides.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub hold_until: Option<Stamp>,
}

impl App {
    /// Why the clock is not believed; none when it is, or since an operator confirmed it.
    pub fn clock_doubt(&self) -> Option<ClockDoubt> {
        self.parts().clock_doubt.filter(|_| !self.clock_confirmed.load(Ordering::Acquire))
    }

    /// Takes the operator's word that the clock is right. Safe to repeat; changes nothing when nobody doubts it. The journal
    /// has it soon after, without the answer waiting for that: after a crash in between the clock is confirmed again. Nor
    /// does it take the database, which may be why nobody saw to the clock before: the audit row follows when it answers.
    pub async fn confirm_clock(self: &Arc<Self>, actor: &Actor, request: &str) -> Result<ClockView, Refusal> {
        actor.require(Action::Admin, Resource::System)?;
        let before = self.clock_view();
        let doubt = self.clock_doubt().filter(|_| !self.clock_confirmed.swap(true, Ordering::AcqRel));
        if let Some(doubt) = doubt {
            self.parts().ledger.end_holds(doubt.holds_if_right);
            tracing::warn!(actor = actor.label(), last_record = %doubt.last_record, "the clock is confirmed: what has run out since the last record ends now");
            let on = ActedOn::Clock(self.parts().node_id);
            let deed = Deed { actor, request, tenant: actor.tenant, on };
            self.note_done(self.act(&deed, Some(&before), Some(&self.clock_view()))).await;
        }
        Ok(self.clock_view())
    }

    fn clock_view(&self) -> ClockView {
        let (now, hold_until) = (self.now(), self.parts().ledger.holds().end());
        ClockView {
            now,
            last_record: self.parts().clock_doubt.map(|doubt| doubt.last_record),
            hold_until: (hold_until > now).then_some(hold_until),
        }
    }
}

//! The one segment filled ahead.
//!
//! Place in the path: beside the commit thread, which takes the spare when its segment is full and asks for the
//! next; a background thread fills it. Without a spare the commit thread fills one itself: slower, never wrong.
//!
//! Invariants: at most one spare exists or is being made, so its fixed name is never contended.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::disk::{Disk, DiskFile};
use super::segment::{self, FileError};

/// Where the spare is.
pub(super) struct Spares {
    state: Mutex<State>,
    changed: Condvar,
    segment_bytes: u64,
}

enum State {
    /// None, and none is asked for.
    None,
    /// The background shall make one.
    Wanted,
    /// Somebody is making one.
    Filling,
    /// Filled and synced.
    Ready(Arc<dyn DiskFile>),
    /// The last attempt failed.
    Failed,
    /// No more are made in the background.
    Closed,
}

/// What the commit thread sees of the spare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Supply {
    /// None, and none asked for.
    None,
    /// Coming or there.
    Cared,
    /// The last attempt failed.
    Failed,
}

impl Spares {
    pub(super) fn new(segment_bytes: u64) -> Self {
        Self { state: Mutex::new(State::None), changed: Condvar::new(), segment_bytes }
    }

    /// Asks the background for a spare, unless there is one or one is coming.
    pub(super) fn want(&self) {
        let mut state = self.state.lock();
        if matches!(*state, State::None | State::Failed) {
            *state = State::Wanted;
            self.changed.notify_all();
        }
    }

    pub(super) fn supply(&self) -> Supply {
        match *self.state.lock() {
            State::None => Supply::None,
            State::Failed => Supply::Failed,
            State::Wanted | State::Filling | State::Ready(_) | State::Closed => Supply::Cared,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(*self.state.lock(), State::Ready(_))
    }

    /// The spare, or else one made now; waits for one that is being filled.
    pub(super) fn take_or_make(&self, disk: &dyn Disk) -> Result<Arc<dyn DiskFile>, FileError> {
        let mut state = self.state.lock();
        loop {
            match std::mem::replace(&mut *state, State::Filling) {
                State::Ready(file) => {
                    *state = State::None;
                    return Ok(file);
                }
                State::Filling => self.changed.wait(&mut state),
                State::Closed => {
                    *state = State::Closed;
                    break;
                }
                State::None | State::Wanted | State::Failed => break,
            }
        }
        drop(state);
        let made = segment::make_spare(disk, self.segment_bytes);
        self.settle(State::None);
        made
    }

    /// Makes a spare if one is wanted. Returns whether it tried.
    pub(super) fn fill_wanted(&self, disk: &dyn Disk) -> bool {
        let mut state = self.state.lock();
        if !matches!(*state, State::Wanted) {
            return false;
        }
        *state = State::Filling;
        drop(state);
        let outcome = segment::make_spare(disk, self.segment_bytes);
        self.settle(outcome.map_or(State::Failed, State::Ready));
        true
    }

    /// Fills spares as they are wanted, until closed.
    pub(super) fn fill_until_closed(&self, disk: &dyn Disk) {
        loop {
            self.fill_wanted(disk);
            let mut state = self.state.lock();
            loop {
                match *state {
                    State::Closed => return,
                    State::Wanted => break,
                    _ => self.changed.wait(&mut state),
                }
            }
        }
    }

    /// Makes no more spares in the background.
    pub(super) fn close(&self) {
        *self.state.lock() = State::Closed;
        self.changed.notify_all();
    }

    fn settle(&self, next: State) {
        let mut state = self.state.lock();
        if !matches!(*state, State::Closed) {
            *state = next;
        }
        self.changed.notify_all();
    }
}

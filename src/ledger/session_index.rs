//! Where a session is found: by our id from Class, and by the NAS's own Acct-Session-Id.
//!
//! Closed sessions are remembered for a while, so that what a NAS sends again after a Stop is recognised.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::holder::Session;
use super::id_table::{IdTable, halves, joined};
use super::pool::SpreadMap;
use super::{Ledger, SESSION_SHARDS};
use crate::ids::{NasId, SessionId, Uid};
use crate::journal::record::{Holder, SessionEvent, SessionRecord};
use crate::time::Stamp;
use parking_lot::Mutex;

/// Closed sessions remembered per index shard.
const CLOSED_MAX: usize = 2_048;

/// One shard of the index.
#[derive(Debug, Default)]
pub(super) struct SessionIndex {
    /// Holders, and session ids below, as two halves: without the alignment of a `u128`, an entry is a quarter smaller.
    by_id: IdTable<[u64; 2]>,
    by_nas: SpreadMap<u64, [u64; 2]>,
    closed: SpreadMap<u128, Closed>,
    /// The order in which closed sessions are forgotten, with the key of each in `by_nas`.
    closed_order: VecDeque<(SessionId, u64)>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    /// Whether the NAS said so; otherwise we closed it, and the NAS's own Stop is still news.
    pub(super) by_stop: bool,
    /// When it ended, as the event says.
    pub(super) at: Stamp,
}

impl Ledger {
    fn session_shard(&self, key: u64) -> &Mutex<SessionIndex> {
        &self.sessions[key as usize % SESSION_SHARDS]
    }

    fn session_key(session: SessionId) -> u64 {
        (session.0.0 as u64) ^ ((session.0.0 >> 64) as u64)
    }

    fn nas_key(nas: NasId, acct_session_id: &[u8]) -> u64 {
        let nas = nas.0.0 as u64 ^ ((nas.0.0 >> 64) as u64).rotate_left(32);
        // Mixed before the first byte, so that neighbouring ids of NASes and sessions do not cancel each other out.
        let mut hash = nas.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xcbf2_9ce4_8422_2325;
        for byte in acct_session_id {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        hash
    }

    /// The holder of an open session.
    pub fn holder_of_session(&self, session: SessionId) -> Option<Holder> {
        self.session_shard(Self::session_key(session))
            .lock()
            .by_id
            .at(session.0.0)
            .map(|halves| Holder(joined(*halves)))
    }

    /// Asks for the memory in which the holder of a session is found.
    pub fn touch_id(&self, session: SessionId) {
        self.session_shard(Self::session_key(session)).lock().by_id.touch(session.0.0);
    }

    /// The session that a NAS last reported under its own id, open or closed lately.
    pub fn session_of_nas(&self, nas: NasId, acct_session_id: &[u8]) -> Option<SessionId> {
        let key = Self::nas_key(nas, acct_session_id);
        self.session_shard(key).lock().by_nas.get(&key).map(|halves| SessionId(Uid(joined(*halves))))
    }

    /// How a session ended, if it did lately.
    pub(super) fn closed_lately(&self, session: SessionId) -> Option<Closed> {
        self.session_shard(Self::session_key(session)).lock().closed.get(&session.0.0).copied()
    }

    /// Enters an open session.
    pub(super) fn index(
        &self,
        session: SessionId,
        holder: Holder,
        nas: NasId,
        acct_session_id: &SmallVec<[u8; 24]>,
    ) {
        *self.session_shard(Self::session_key(session)).lock().by_id.entry(session.0.0) = halves(holder.0);
        let key = Self::nas_key(nas, acct_session_id);
        self.session_shard(key).lock().by_nas.insert(key, halves(session.0.0));
    }

    /// Files a session that `known` tells of under another NAS, or another id of it: a record of it came from there.
    pub(super) fn refile(&self, known: &Session, nas: NasId, acct_session_id: &[u8]) {
        let (before, now) =
            (Self::nas_key(known.nas, &known.acct_session_id), Self::nas_key(nas, acct_session_id));
        if before == now {
            return;
        }
        self.session_shard(before).lock().forget_nas_key(before, known.id);
        self.session_shard(now).lock().by_nas.insert(now, halves(known.id.0.0));
    }

    /// Moves a session to the closed ones.
    pub(super) fn unindex(&self, record: &SessionRecord) {
        let closed = Closed { by_stop: record.event == SessionEvent::Stop, at: record.event_at };
        let evicted = {
            let mut index = self.session_shard(Self::session_key(record.session)).lock();
            index.by_id.remove(record.session.0.0);
            index.close(record.session, Self::nas_key(record.nas, &record.acct_session_id), closed)
        };
        if let Some((session, key)) = evicted {
            self.session_shard(key).lock().forget_nas_key(key, session);
        }
    }
}

impl SessionIndex {
    /// Forgets what a NAS calls a session, unless it calls another one so by now.
    fn forget_nas_key(&mut self, key: u64, session: SessionId) {
        if self.by_nas.get(&key) == Some(&halves(session.0.0)) {
            self.by_nas.remove(&key);
        }
    }

    /// Remembers a closed session; returns the one forgotten for it.
    fn close(&mut self, session: SessionId, key: u64, closed: Closed) -> Option<(SessionId, u64)> {
        if let Some(known) = self.closed.get_mut(&session.0.0) {
            known.by_stop |= closed.by_stop;
            return None;
        }
        self.closed.insert(session.0.0, closed);
        self.closed_order.push_back((session, key));
        if self.closed_order.len() <= CLOSED_MAX {
            return None;
        }
        let oldest = self.closed_order.pop_front()?;
        self.closed.remove(&oldest.0.0.0);
        Some(oldest)
    }
}

//! Lanes: how workers hand records to the commit thread without meeting each other.
//!
//! Place in the path: the end of *allocate*; a worker encodes a record straight into its own lane.
//!
//! Each worker has one lane with its own lock, which only the worker and, briefly, the commit thread take. The
//! commit thread swaps a full buffer against an empty one, so in steady state nothing is allocated. Shared between
//! workers are only two counters (what is in flight), a flag (why records are refused) and the bell.
//!
//! Invariants: records of one lane keep their order; records of one [`Lane::submit_many`] are contiguous. Once the
//! journal refuses, a record is either refused or seen by the drain that follows: none is forgotten in a lane.
//!
//! Not here: sequences and files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering, fence};
use std::thread::Thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::frame::{KIND_FIRST, PAYLOAD_BYTES_MAX};
use super::token::{Ticket, Unavailable};

/// Why a record was not taken. Nothing of it, nor of its group, will be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many records or bytes wait as may wait; answer with silence, the sender retries.
    #[error("the commit queue is full")]
    Full,
    /// The journal takes no records at present.
    #[error("the journal is unavailable ({0})")]
    Unavailable(Unavailable),
    /// The payload is longer than a record may be.
    #[error("a payload of {bytes} bytes is longer than a record may carry ({PAYLOAD_BYTES_MAX})")]
    RecordTooLong {
        /// Length of the payload.
        bytes: usize,
    },
    /// The kind belongs to the journal itself.
    #[error("record kind {0} is reserved for the journal")]
    ReservedKind(u8),
}

/// A worker's way into the journal. One per thread: two threads on one lane work, but wait for each other.
pub struct Lane {
    slot: Arc<Slot>,
    intake: Arc<Intake>,
}

impl Lane {
    /// Queues one record; `encode` appends its payload to an empty buffer. With a ticket, the record is committed as
    /// soon as the disk allows and the sink is told; without, it goes with the next commit, or with its own after
    /// the configured delay. `encode` must not submit on the same lane.
    pub fn submit(
        &self,
        kind: u8,
        version: u8,
        ticket: Option<Ticket>,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Refused> {
        self.submit_many(|group| group.record(kind, version, ticket, encode))
    }

    /// Queues several records that follow each other in the journal, all or none. After a crash a first part of
    /// them may be found without the rest.
    pub fn submit_many(
        &self,
        fill: impl FnOnce(&mut Group<'_>) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let mut contents = self.slot.contents.lock();
        // Asked under the lane's lock, so that a drain after the flag was set meets everything that got past it.
        if let Some(reason) = self.intake.refusing() {
            return Err(Refused::Unavailable(reason));
        }
        let mut group = Group::begin(&mut contents, &self.intake);
        fill(&mut group)?;
        let waited = group.admit()?;
        drop(contents);
        self.intake.bell.ring(waited);
        Ok(())
    }
}

/// Records that are queued together.
pub struct Group<'a> {
    contents: &'a mut SlotContents,
    intake: &'a Intake,
    entries_before: usize,
    bytes_before: usize,
    waited_before: usize,
    admitted: bool,
}

impl<'a> Group<'a> {
    fn begin(contents: &'a mut SlotContents, intake: &'a Intake) -> Self {
        let LaneBuffer { bytes, entries, waited } = &contents.buffer;
        Self {
            entries_before: entries.len(),
            bytes_before: bytes.len(),
            waited_before: *waited,
            contents,
            intake,
            admitted: false,
        }
    }

    /// Adds one record; see [`Lane::submit`].
    pub fn record(
        &mut self,
        kind: u8,
        version: u8,
        ticket: Option<Ticket>,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Refused> {
        if kind < KIND_FIRST {
            return Err(Refused::ReservedKind(kind));
        }
        let (records, bytes) = self.size();
        if !self.intake.has_room(records + 1, bytes) {
            return Err(Refused::Full);
        }
        // The encoder works on a buffer of its own, so that whatever it does it cannot touch queued records.
        let scratch = &mut self.contents.scratch;
        scratch.clear();
        encode(scratch);
        if scratch.len() > PAYLOAD_BYTES_MAX {
            let bytes = scratch.len();
            scratch.truncate(PAYLOAD_BYTES_MAX);
            scratch.shrink_to_fit();
            return Err(Refused::RecordTooLong { bytes });
        }
        let buffer = &mut self.contents.buffer;
        buffer.bytes.extend_from_slice(scratch);
        buffer.entries.push(Queued { kind, version, ticket, payload_bytes: scratch.len() as u32 });
        buffer.waited += usize::from(ticket.is_some());
        Ok(())
    }

    fn size(&self) -> (usize, usize) {
        let buffer = &self.contents.buffer;
        (buffer.entries.len() - self.entries_before, buffer.bytes.len() - self.bytes_before)
    }

    /// Counts the group as in flight. Returns whether somebody waits for it.
    fn admit(mut self) -> Result<bool, Refused> {
        let (records, bytes) = self.size();
        self.intake.enter(records, bytes)?;
        self.admitted = true;
        Ok(self.contents.buffer.waited > self.waited_before)
    }
}

impl Drop for Group<'_> {
    /// Takes back a group that was refused, or whose encoder panicked.
    fn drop(&mut self) {
        if !self.admitted {
            let buffer = &mut self.contents.buffer;
            buffer.entries.truncate(self.entries_before);
            buffer.bytes.truncate(self.bytes_before);
            buffer.waited = self.waited_before;
        }
    }
}

/// One queued record; its payload follows those before it in the buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    pub(super) kind: u8,
    pub(super) version: u8,
    pub(super) ticket: Option<Ticket>,
    pub(super) payload_bytes: u32,
}

/// Records of one lane, in order.
#[derive(Debug, Default)]
pub(super) struct LaneBuffer {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<Queued>,
    /// How many entries have a ticket.
    pub(super) waited: usize,
}

impl LaneBuffer {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.waited = 0;
    }
}

#[derive(Default)]
struct SlotContents {
    buffer: LaneBuffer,
    scratch: Vec<u8>,
}

/// Aligned so that two lanes never share a cache line.
#[derive(Default)]
#[repr(align(128))]
struct Slot {
    contents: Mutex<SlotContents>,
}

/// What the commit thread was asked to do about its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
#[repr(u8)]
pub(super) enum Closing {
    /// Nothing.
    No = 0,
    /// Commit what is queued, then mark the end.
    Cleanly = 1,
    /// End at once, without a mark.
    AtOnce = 2,
}

/// All lanes, and what they share.
pub(super) struct Intake {
    slots: Vec<Arc<Slot>>,
    records_max: usize,
    bytes_max: usize,
    records: AtomicUsize,
    bytes: AtomicUsize,
    /// An [`Unavailable`] as its code; zero while records are taken.
    refusing: AtomicU8,
    closing: AtomicU8,
    nudged: AtomicBool,
    pub(super) bell: Bell,
}

impl Intake {
    pub(super) fn new(lanes: usize, records_max: usize, bytes_max: usize) -> (Arc<Self>, Vec<Lane>) {
        let slots: Vec<Arc<Slot>> = (0..lanes).map(|_| Arc::default()).collect();
        let intake = Arc::new(Self {
            slots: slots.clone(),
            records_max,
            bytes_max,
            records: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            refusing: AtomicU8::new(0),
            closing: AtomicU8::new(Closing::No as u8),
            nudged: AtomicBool::new(false),
            bell: Bell::default(),
        });
        let lanes = slots.into_iter().map(|slot| Lane { slot, intake: Arc::clone(&intake) }).collect();
        (intake, lanes)
    }

    /// Why records are refused, if they are.
    pub(super) fn refusing(&self) -> Option<Unavailable> {
        Unavailable::from_code(self.refusing.load(Ordering::Acquire))
    }

    /// Refuses from now on. A shut-down journal stays so.
    pub(super) fn refuse(&self, reason: Unavailable) {
        let shut = Unavailable::ShutDown as u8;
        let _ = self
            .refusing
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |code| (code != shut).then_some(reason as u8));
    }

    /// Takes records again, unless shut down.
    pub(super) fn accept(&self) {
        let shut = Unavailable::ShutDown as u8;
        let _ = self
            .refusing
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |code| (code != shut).then_some(0));
    }

    /// Refuses from now on and asks the commit thread to end.
    pub(super) fn close(&self, how: Closing) {
        self.refuse(Unavailable::ShutDown);
        self.closing.fetch_max(how as u8, Ordering::AcqRel);
        self.bell.ring(true);
    }

    pub(super) fn closing(&self) -> Closing {
        match self.closing.load(Ordering::Acquire) {
            0 => Closing::No,
            1 => Closing::Cleanly,
            _ => Closing::AtOnce,
        }
    }

    /// Asks an unavailable journal to try again now.
    pub(super) fn nudge(&self) {
        self.nudged.store(true, Ordering::Release);
        self.bell.ring(true);
    }

    pub(super) fn take_nudge(&self) -> bool {
        self.nudged.swap(false, Ordering::AcqRel)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.records.load(Ordering::Relaxed)
    }

    /// Records are committed or failed: others may come.
    pub(super) fn settle(&self, records: usize, bytes: usize) {
        self.records.fetch_sub(records, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Swaps every lane that holds records against an empty buffer.
    pub(super) fn collect(&self, mut empty: impl FnMut() -> LaneBuffer, mut full: impl FnMut(LaneBuffer)) {
        for slot in &self.slots {
            let mut contents = slot.contents.lock();
            if contents.buffer.entries.is_empty() {
                continue;
            }
            let taken = std::mem::replace(&mut contents.buffer, empty());
            drop(contents);
            full(taken);
        }
    }

    /// Waits on the bell, unless something is there to do. `waited_only`: records without a ticket can wait until
    /// the time is over.
    pub(super) fn sleep(&self, waited_only: bool, at_most: Option<Duration>) {
        self.bell.sleep(waited_only, at_most, || {
            self.closing() != Closing::No
                || self.nudged.load(Ordering::Acquire)
                || self.slots.iter().any(|slot| {
                    let contents = slot.contents.lock();
                    contents.buffer.waited > 0 || !waited_only && !contents.buffer.entries.is_empty()
                })
        });
    }

    fn has_room(&self, records: usize, bytes: usize) -> bool {
        self.records.load(Ordering::Relaxed).saturating_add(records) <= self.records_max
            && self.bytes.load(Ordering::Relaxed).saturating_add(bytes) <= self.bytes_max
    }

    fn enter(&self, records: usize, bytes: usize) -> Result<(), Refused> {
        let records_before = self.records.fetch_add(records, Ordering::AcqRel);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        if records_before + records > self.records_max || bytes_before + bytes > self.bytes_max {
            self.settle(records, bytes);
            return Err(Refused::Full);
        }
        Ok(())
    }
}

/// Wakes the commit thread, with a system call only when it sleeps.
#[derive(Default)]
pub(super) struct Bell {
    state: AtomicU8,
    thread: Mutex<Option<Thread>>,
}

const AWAKE: u8 = 0;
/// Sleeps until somebody waits for a record, or a time is over.
const DOZING: u8 = 1;
/// Sleeps until any record comes.
const ASLEEP: u8 = 2;

impl Bell {
    /// Says which thread sleeps here: the caller.
    pub(super) fn attach(&self) {
        *self.thread.lock() = Some(std::thread::current());
    }

    fn ring(&self, waited: bool) {
        // Pairs with the fence in `sleep`: either this load sees the sleeper, or the sleeper's look at the lanes
        // sees what was put there before.
        fence(Ordering::SeqCst);
        let state = self.state.load(Ordering::Relaxed);
        let wakes = state == ASLEEP || waited && state == DOZING;
        if wakes
            && self.state.swap(AWAKE, Ordering::AcqRel) != AWAKE
            && let Some(thread) = self.thread.lock().as_ref()
        {
            thread.unpark();
        }
    }

    fn sleep(&self, waited_only: bool, at_most: Option<Duration>, busy: impl FnOnce() -> bool) {
        let state = if waited_only { DOZING } else { ASLEEP };
        self.state.store(state, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !busy() {
            match at_most {
                Some(at_most) => std::thread::park_timeout(at_most),
                None => std::thread::park(),
            }
        }
        self.state.store(AWAKE, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_lane(records_max: usize, bytes_max: usize) -> (Arc<Intake>, Lane) {
        let (intake, mut lanes) = Intake::new(1, records_max, bytes_max);
        (intake, lanes.remove(0))
    }

    fn drained(intake: &Intake) -> Vec<Vec<u8>> {
        let mut payloads = Vec::new();
        intake.collect(LaneBuffer::default, |buffer| {
            let mut rest = &buffer.bytes[..];
            for entry in &buffer.entries {
                let (payload, after) = rest.split_at(entry.payload_bytes as usize);
                payloads.push(payload.to_vec());
                rest = after;
            }
        });
        payloads
    }

    fn put(lane: &Lane, payload: &[u8]) -> Result<(), Refused> {
        lane.submit(8, 1, None, |buffer| buffer.extend_from_slice(payload))
    }

    #[test]
    fn records_beyond_the_limits_are_refused_until_others_are_settled() {
        let (intake, lane) = one_lane(2, 10);
        put(&lane, b"one").unwrap();
        assert_eq!(put(&lane, b"far too long"), Err(Refused::Full));
        put(&lane, b"two").unwrap();
        assert_eq!(put(&lane, b""), Err(Refused::Full));
        assert_eq!(drained(&intake), [b"one", b"two"]);
        assert_eq!(put(&lane, b""), Err(Refused::Full), "taken is not yet settled");
        intake.settle(2, 6);
        put(&lane, b"").unwrap();
    }

    #[test]
    fn a_refused_group_leaves_nothing_behind() {
        let (intake, lane) = one_lane(10, 100_000);
        put(&lane, b"before").unwrap();
        let refused = lane.submit_many(|group| {
            group.record(8, 1, Some(Ticket(1)), |buffer| buffer.push(1))?;
            group.record(8, 1, None, |buffer| buffer.resize(PAYLOAD_BYTES_MAX + 1, 0))
        });
        let bytes = PAYLOAD_BYTES_MAX + 1;
        assert_eq!(refused, Err(Refused::RecordTooLong { bytes }));
        assert_eq!(lane.submit(KIND_FIRST - 1, 1, None, |_| {}), Err(Refused::ReservedKind(7)));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lane.submit_many(|group| {
                group.record(8, 1, None, |buffer| buffer.push(1))?;
                group.record(8, 1, None, |_| panic!("an encoder's fault"))
            })
        }));
        assert!(panicked.is_err());
        put(&lane, b"after").unwrap();
        assert_eq!(drained(&intake), [&b"before"[..], b"after"]);
        assert_eq!(intake.in_flight(), 2);
    }

    #[test]
    fn a_shut_down_journal_does_not_open_again() {
        let (intake, lane) = one_lane(10, 100);
        intake.refuse(Unavailable::DiskFull);
        assert_eq!(put(&lane, b""), Err(Refused::Unavailable(Unavailable::DiskFull)));
        intake.accept();
        put(&lane, b"").unwrap();
        intake.close(Closing::Cleanly);
        intake.refuse(Unavailable::DiskFull);
        intake.accept();
        assert_eq!(put(&lane, b""), Err(Refused::Unavailable(Unavailable::ShutDown)));
    }
}

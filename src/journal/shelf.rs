//! The segments on disk, and who still needs them.
//!
//! Place in the path: the commit thread adds segments; the tail reader looks up which one has a sequence; holders
//! (applier, checkpoint) release what they are done with, and what nobody holds is deleted.
//!
//! Invariants: the segment of a sequence is the last one whose first sequence is not beyond it, so a newer segment
//! supersedes the end of an older one. Segments are deleted oldest first, each deletion synced before the next, so
//! that no crash leaves a gap. The newest segment is never deleted. Nothing is deleted while there is no holder. A
//! holder that goes away keeps its hold until it is retired.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::disk::Disk;
use super::frame::SegmentId;
use super::segment::FileError;
use super::token::Sequence;

/// One segment on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shelved {
    pub(super) first: Sequence,
    pub(super) name: String,
    /// `None` when its header is damaged and the loss was accepted.
    pub(super) id: Option<SegmentId>,
    pub(super) bytes: u64,
    /// Damaged, its loss accepted: read past the damage, never deleted, not counted.
    pub(super) set_aside: bool,
}

/// All segments and holders.
#[derive(Debug)]
pub(super) struct Shelf {
    contents: Mutex<Contents>,
    /// One release at a time, so that deletions keep their order.
    releasing: Mutex<()>,
}

#[derive(Debug)]
struct Contents {
    /// By first sequence; of two with the same one, the one set aside comes first.
    segments: VecDeque<Shelved>,
    holders: Vec<(&'static str, Sequence)>,
}

impl Shelf {
    pub(super) fn new(segments: Vec<Shelved>) -> Self {
        Self {
            contents: Mutex::new(Contents { segments: segments.into(), holders: Vec::new() }),
            releasing: Mutex::new(()),
        }
    }

    /// Adds the newest segment. One with the same name is gone from the disk: the new one took its name.
    pub(super) fn add(&self, segment: Shelved) {
        let mut contents = self.contents.lock();
        contents.segments.retain(|other| other.name != segment.name);
        contents.segments.push_back(segment);
    }

    /// Whether one more segment of `bytes`, beginning with `first`, keeps all within `bytes_max`.
    pub(super) fn admits(&self, first: Sequence, bytes: u64, bytes_max: u64) -> bool {
        let contents = self.contents.lock();
        let others = contents
            .segments
            .iter()
            .filter(|segment| !segment.set_aside && segment.first != first)
            .map(|segment| segment.bytes)
            .sum::<u64>();
        others.saturating_add(bytes) <= bytes_max
    }

    /// The segment that holds `sequence`, and the first sequence of the one after it.
    pub(super) fn covering(&self, sequence: Sequence) -> Option<(Shelved, Option<Sequence>)> {
        let contents = self.contents.lock();
        let after = contents.segments.partition_point(|segment| segment.first <= sequence);
        let found = contents.segments.get(after.checked_sub(1)?)?;
        let next = contents.segments.get(after).map(|segment| segment.first);
        Some((found.clone(), next))
    }

    /// First sequence of the oldest segment.
    pub(super) fn oldest(&self) -> Option<Sequence> {
        self.contents.lock().segments.front().map(|segment| segment.first)
    }

    /// Number and bytes of the segments that are not set aside.
    pub(super) fn size(&self) -> (usize, u64) {
        let contents = self.contents.lock();
        let counted = contents.segments.iter().filter(|segment| !segment.set_aside);
        counted.fold((0, 0), |(count, bytes), segment| (count + 1, bytes + segment.bytes))
    }

    /// Registers a holder that needs everything after `from`, or resumes it: it then keeps the earlier of its
    /// two positions.
    pub(super) fn hold(&self, holder: &'static str, from: Sequence) {
        let mut contents = self.contents.lock();
        match contents.holders.iter_mut().find(|(name, _)| *name == holder) {
            Some((_, held)) => *held = from.min(*held),
            None => contents.holders.push((holder, from)),
        }
    }

    /// Forgets a holder.
    pub(super) fn retire(&self, holder: &str) {
        self.contents.lock().holders.retain(|(name, _)| *name != holder);
    }

    /// A holder needs nothing up to and including `up_to` any more. Deletes what nobody needs; returns how many
    /// segments that were.
    pub(super) fn release(&self, disk: &dyn Disk, holder: &str, up_to: Sequence) -> Result<usize, FileError> {
        let mut contents = self.contents.lock();
        if let Some((_, held)) = contents.holders.iter_mut().find(|(name, _)| *name == holder) {
            *held = up_to.max(*held);
        }
        drop(contents);
        let _order = self.releasing.lock();
        let mut deleted = 0;
        while let Some(segment) = self.take_unneeded() {
            if segment.set_aside {
                continue;
            }
            let outcome = disk
                .remove(&segment.name)
                .map_err(FileError::of("delete", &segment.name))
                .and_then(|()| disk.sync_dir().map_err(FileError::of("sync the deletion of", &segment.name)));
            if let Err(error) = outcome {
                // It may still be there and is counted until a later release gets rid of it.
                self.contents.lock().segments.push_front(segment);
                return Err(error);
            }
            deleted += 1;
        }
        Ok(deleted)
    }

    fn take_unneeded(&self) -> Option<Shelved> {
        let mut contents = self.contents.lock();
        let released = contents.holders.iter().map(|(_, held)| *held).min()?;
        let after = contents.segments.get(1)?.first;
        (after <= released.next()).then(|| contents.segments.pop_front()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::memory::{Fault, MemoryDisk, Operation};

    fn segment(first: u64) -> Shelved {
        Shelved { first: Sequence(first), name: first.to_string(), id: None, bytes: 100, set_aside: false }
    }

    fn shelf(disk: &MemoryDisk) -> Shelf {
        let segments = vec![segment(1), segment(11), segment(21)];
        for segment in &segments {
            disk.put(&segment.name, b"");
        }
        Shelf::new(segments)
    }

    #[test]
    fn a_segment_goes_when_no_holder_needs_any_record_of_it() {
        let disk = MemoryDisk::new(0);
        let shelf = shelf(&disk);
        assert_eq!(shelf.release(&disk, "nobody", Sequence(99)).unwrap(), 0);
        shelf.hold("applier", Sequence(0));
        shelf.hold("checkpoint", Sequence(0));
        assert_eq!(shelf.release(&disk, "applier", Sequence(25)).unwrap(), 0);
        assert_eq!(shelf.release(&disk, "checkpoint", Sequence(9)).unwrap(), 0);
        assert_eq!(shelf.release(&disk, "checkpoint", Sequence(10)).unwrap(), 1);
        shelf.retire("checkpoint");
        assert_eq!(shelf.release(&disk, "applier", Sequence(99)).unwrap(), 1);
        assert_eq!(disk.list().unwrap(), ["21"], "the newest stays");
    }

    #[test]
    fn a_segment_that_cannot_be_deleted_stays_counted_and_goes_later() {
        let disk = MemoryDisk::new(0);
        let shelf = shelf(&disk);
        shelf.hold("applier", Sequence(0));
        disk.fail(Fault {
            operation: Operation::Remove,
            after: 0,
            times: 1,
            error: std::io::ErrorKind::Other,
        });
        assert!(shelf.release(&disk, "applier", Sequence(25)).is_err());
        assert_eq!(shelf.size(), (3, 300));
        assert_eq!(shelf.release(&disk, "applier", Sequence(25)).unwrap(), 2);
    }

    #[test]
    fn the_newest_segment_that_may_hold_a_sequence_is_the_one_that_does() {
        let shelf = shelf(&MemoryDisk::new(0));
        let at = |sequence| shelf.covering(Sequence(sequence)).map(|(found, next)| (found.first.0, next));
        assert_eq!(at(0), None);
        assert_eq!(at(10), Some((1, Some(Sequence(11)))));
        assert_eq!(at(11), Some((11, Some(Sequence(21)))));
        assert_eq!(at(500), Some((21, None)));
    }
}

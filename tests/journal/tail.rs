//! Reading on while the journal runs.

use lastmile::journal::tail::{Reader, TailError};
use lastmile::journal::{Config, MemoryDisk, Operation, Sequence};

use super::support::{Rig, config, fails, read, segment_name, segments};

fn next(reader: &mut Reader, records: usize, bytes: usize) -> Vec<u64> {
    let batch = reader.read(records, bytes).unwrap();
    batch.iter().map(|record| record.sequence.0).collect()
}

#[test]
fn a_reader_never_sees_what_is_not_durable_and_goes_on_when_it_is() {
    let disk = MemoryDisk::new(1);
    let mut rig = Rig::new(&disk);
    let mut reader = rig.journal.reader("applier", Sequence(0));
    rig.submit(Some(1), b"one").unwrap();
    assert!(reader.read(10, 1000).unwrap().is_empty());
    assert!(!reader.wait(Some(std::time::Duration::ZERO)));
    rig.stepper.settle();
    assert!(reader.wait(None));
    assert_eq!(next(&mut reader, 10, 1000), [1]);
    assert!(next(&mut reader, 10, 1000).is_empty());
    rig.commit(b"two");
    assert_eq!(next(&mut reader, 10, 1000), [2]);
    assert_eq!(reader.position(), Sequence(2));
}

#[test]
fn batches_are_bounded_by_records_and_bytes_but_hold_at_least_one() {
    let disk = MemoryDisk::new(1);
    let mut rig = Rig::new(&disk);
    for _ in 0..6 {
        rig.commit(&[1; 100]);
    }
    let mut reader = rig.journal.reader("applier", Sequence(1));
    assert_eq!(next(&mut reader, 2, 1000), [2, 3]);
    assert_eq!(next(&mut reader, 10, 1), [4]);
    assert_eq!(next(&mut reader, 10, 200), [5, 6]);
}

#[test]
fn a_reader_follows_over_segments_failures_and_restarts() {
    let disk = MemoryDisk::new(1);
    let mut rig = Rig::new(&disk);
    let mut reader = rig.journal.reader("applier", Sequence(0));
    let mut seen = Vec::new();
    for number in 1..=60_u32 {
        if number % 7 == 0 {
            disk.fail(fails(Operation::Sync, 0, 1));
            rig.commit(b"fails");
        }
        rig.submit(Some(1), &[number as u8; 9_000]).unwrap();
        rig.stepper.settle();
        if number % 3 == 0 {
            let batch = reader.read(2, 1_000_000).unwrap();
            seen.extend(batch.iter().map(|record| (record.sequence.0, record.payload[0])));
        }
    }
    drop(rig);
    disk.kill();
    let mut rig = Rig::new(&disk);
    let mut reader = rig.journal.reader("applier", reader.position());
    rig.commit(&[61]);
    loop {
        let batch = reader.read(4, 1_000_000).unwrap();
        if batch.is_empty() {
            break;
        }
        seen.extend(batch.iter().map(|record| (record.sequence.0, record.payload[0])));
    }
    let expected: Vec<(u64, u8)> = (1..=61).map(|number| (number, number as u8)).collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_reader_is_not_misled_by_a_file_that_took_the_name_of_the_one_it_reads() {
    let disk = MemoryDisk::new(1);
    let mut rig = Rig::new(&disk);
    let mut reader = rig.journal.reader("applier", Sequence(0));
    // The reader waits for the first record of a segment whose first commit then fails.
    assert!(reader.read(1, 1).unwrap().is_empty());
    disk.fail(fails(Operation::Sync, 0, 1));
    rig.commit(b"failed");
    rig.commit(b"good");
    let batch = reader.read(10, 1000).unwrap();
    let payloads: Vec<&[u8]> = batch.iter().map(|record| record.payload).collect();
    assert_eq!(payloads, [b"good"]);
}

#[test]
fn segments_that_every_holder_released_are_deleted_and_recovery_needs_them_no_more() {
    let disk = MemoryDisk::new(1);
    let mut rig = Rig::new(&disk);
    let mut reader = rig.journal.reader("applier", Sequence(0));
    let checkpoint = rig.journal.hold("checkpoint", Sequence(0));
    for _ in 0..40 {
        rig.commit(&[1; 16_000]);
    }
    assert_eq!(segments(&disk).len(), 3);
    let all = next(&mut reader, 100, 10_000_000);
    assert_eq!(all.len(), 40);
    assert_eq!(reader.release(Sequence(999)).unwrap(), 0);
    assert_eq!(checkpoint.release(Sequence(20)).unwrap(), 1);
    assert_eq!(rig.journal.stats().segments, 2);
    let mut late = rig.journal.reader("late", Sequence(0));
    assert!(matches!(late.read(1, 1), Err(TailError::Released { .. })));
    drop(rig);
    disk.power_cut();
    let (_, visited) = read(&disk, &config(), 20).unwrap();
    assert_eq!(visited.first().unwrap().0, 21);
    assert!(read(&disk, &config(), 3).is_err(), "released records are not there");
}

#[test]
fn a_reader_passes_damage_whose_loss_was_accepted() {
    let disk = MemoryDisk::new(1);
    let mut rig = Rig::new(&disk);
    for number in 1..=5 {
        rig.commit(&[number; 10]);
    }
    drop(rig);
    disk.kill();
    let mut bytes = disk.contents(&segment_name(1)).unwrap();
    bytes[4096 + 30 + 20] ^= 1;
    disk.put(&segment_name(1), &bytes);
    let accepting = Config { accept_loss: true, ..config() };
    let mut rig = Rig::with(&disk, accepting);
    rig.commit(&[6; 10]);
    let mut reader = rig.journal.reader("applier", Sequence(0));
    assert_eq!(next(&mut reader, 100, 10_000), [1, 3, 4, 5, 6]);
}

#[test]
fn a_reader_names_damage_that_nobody_accepted() {
    let disk = MemoryDisk::new(1);
    let mut rig = Rig::new(&disk);
    rig.commit(&[1; 10]);
    let mut bytes = disk.contents(&segment_name(1)).unwrap();
    bytes[4096 + 20] ^= 1;
    disk.put(&segment_name(1), &bytes);
    let mut reader = rig.journal.reader("applier", Sequence(0));
    let refused = reader.read(1, 1).err().unwrap();
    assert!(matches!(refused, TailError::Corrupt { offset: 4096, sequence: Sequence(1), .. }));
}

#[test]
fn an_error_in_the_middle_of_a_batch_loses_nothing() {
    let disk = MemoryDisk::new(1);
    let mut rig = Rig::new(&disk);
    // More than is read from a file at once, in two segments.
    for _ in 0..40 {
        rig.commit(&[1; 16_000]);
    }
    for after in 0..6 {
        let mut reader = rig.journal.reader("applier", Sequence(0));
        disk.fail(fails(Operation::Read, after, 1));
        let mut seen = Vec::new();
        for _ in 0..4 {
            if let Ok(batch) = reader.read(100, 10_000_000) {
                seen.extend(batch.iter().map(|record| record.sequence.0));
            }
        }
        assert_eq!(seen, (1..=40).collect::<Vec<_>>(), "error after {after} reads");
        disk.heal();
    }
}

#[test]
fn deletions_reach_the_disk_before_release_returns() {
    for seed in 0..10 {
        let disk = MemoryDisk::new(seed);
        let mut rig = Rig::new(&disk);
        let applier = rig.journal.hold("applier", Sequence(0));
        for _ in 0..40 {
            rig.commit(&[1; 16_000]);
        }
        assert_eq!(applier.release(Sequence(40)).unwrap(), 2);
        disk.power_cut();
        assert_eq!(segments(&disk).len(), 1, "deleted ones do not come back");
    }
}

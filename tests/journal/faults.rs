//! Disks that fail.

use lastmile::journal::{Config, MemoryDisk, Operation, Refused, Turn, Unavailable};

use super::support::{Rig, SEGMENT, config, fails, read, segment_name, segments, sequences_read};

#[test]
fn a_failed_commit_is_told_and_the_journal_goes_on_in_a_segment_that_supersedes_it() {
    for operation in [Operation::Write, Operation::Sync] {
        let disk = MemoryDisk::new(3);
        let mut rig = Rig::new(&disk);
        rig.stepper.fill_ahead();
        rig.commit(b"good");
        disk.fail(fails(operation, 0, 1));
        rig.submit(None, b"nobody waits").unwrap();
        rig.submit(Some(5), b"bad").unwrap();
        rig.stepper.settle();
        assert_eq!(rig.journal.unavailable(), None);
        {
            let told = rig.told.lock().unwrap();
            assert_eq!(told.failed, [5]);
            let why = &told.failures[0];
            assert_eq!((why.reason, why.unwaited, why.in_doubt), (Unavailable::DiskError, 1, false));
            assert!(why.detail.contains(&segment_name(1)), "{}", why.detail);
        }
        let abandoned = disk.contents(&segment_name(1)).unwrap();
        rig.commit(b"next");
        assert_eq!(rig.sequences(), [1, 2], "the failed sequences are given again");
        assert_eq!(rig.payloads(), [b"good", b"next"]);
        assert_eq!(disk.contents(&segment_name(1)), Some(abandoned), "never written again");
        drop(rig);
        disk.kill();
        let (_, visited) = read(&disk, &config(), 0).unwrap();
        assert_eq!(visited, [(1, b"good".to_vec()), (2, b"next".to_vec())]);
    }
}

#[test]
fn a_failed_commit_does_not_come_back_even_if_nothing_follows_it() {
    for seed in 0..20 {
        let disk = MemoryDisk::new(seed);
        let mut rig = Rig::new(&disk);
        rig.commit(b"good");
        disk.fail(fails(Operation::Sync, 0, 1));
        rig.submit(Some(5), b"bad").unwrap();
        rig.stepper.settle();
        assert_eq!(rig.told.lock().unwrap().failed, [5]);
        drop(rig);
        if seed % 2 == 0 {
            disk.power_cut();
        } else {
            disk.kill();
        }
        assert_eq!(sequences_read(&disk), [1]);
    }
}

#[test]
fn a_failed_first_commit_of_a_segment_leaves_one_file() {
    let disk = MemoryDisk::new(3);
    let mut rig = Rig::new(&disk);
    disk.fail(fails(Operation::Sync, 0, 1));
    rig.commit(b"bad");
    rig.commit(b"good");
    assert_eq!(segments(&disk), [segment_name(1)]);
    assert_eq!(rig.journal.stats().segments, 1);
    drop(rig);
    disk.kill();
    assert_eq!(read(&disk, &config(), 0).unwrap().1, [(1, b"good".to_vec())]);
}

#[test]
fn without_a_new_segment_the_outcome_is_in_doubt_and_the_journal_probes_until_it_can_write() {
    let disk = MemoryDisk::new(3);
    let mut rig = Rig::new(&disk);
    rig.commit(b"good");
    rig.submit(Some(1), &[1; 16_000]).unwrap();
    for ticket in 2..40 {
        rig.submit(Some(ticket), &[2; 16_000]).unwrap();
    }
    disk.fail(fails(Operation::Sync, 0, 1));
    disk.fail(fails(Operation::Create, 0, 2));
    let turn = rig.stepper.settle();
    assert!(matches!(turn, Turn::Idle { until: Some(_), .. }));
    assert_eq!(rig.journal.unavailable(), Some(Unavailable::DiskError));
    {
        let told = rig.told.lock().unwrap();
        assert_eq!(told.failed, (1..40).collect::<Vec<_>>(), "nobody is left waiting");
        let doubts: Vec<bool> = told.failures.iter().map(|why| why.in_doubt).collect();
        assert_eq!(doubts, [true, false], "what was never written is not in doubt");
    }
    let refused = Err(Refused::Unavailable(Unavailable::DiskError));
    assert_eq!(rig.submit(Some(50), b"refused"), refused);
    assert_eq!(rig.journal.stats().in_flight, 0);
    rig.pass(999);
    rig.stepper.settle();
    assert_eq!(rig.submit(Some(50), b"refused"), refused, "not yet tried");
    rig.pass(1);
    rig.stepper.settle();
    assert_eq!(rig.submit(Some(50), b"refused"), refused, "tried in vain");
    rig.pass(1_000);
    rig.stepper.settle();
    assert_eq!(rig.journal.unavailable(), None);
    rig.commit(b"back");
    assert_eq!(rig.payloads(), [b"good", b"back"]);
    drop(rig);
    disk.power_cut();
    assert_eq!(sequences_read(&disk), [1, 2]);
}

#[test]
fn a_full_disk_stops_only_what_needs_a_new_segment_and_space_brings_it_back() {
    let disk = MemoryDisk::new(3);
    let mut rig = Rig::new(&disk);
    disk.limit_bytes(Some(SEGMENT + 1000));
    rig.stepper.fill_ahead();
    assert!(!rig.journal.stats().spare_ready);
    for _ in 0..16 {
        rig.commit(&[1; 16_000]);
    }
    assert_eq!(rig.sequences().len(), 16, "the segment at hand was filled ahead");
    rig.submit(Some(77), &[2; 16_000]).unwrap();
    rig.stepper.settle();
    assert_eq!(rig.journal.unavailable(), Some(Unavailable::DiskFull));
    assert_eq!(rig.told.lock().unwrap().failed, [77]);
    assert!(!rig.told.lock().unwrap().failures[0].in_doubt);
    disk.heal();
    rig.pass(1_000);
    rig.stepper.settle();
    rig.commit(b"back");
    assert_eq!(rig.sequences().last(), Some(&17));
}

#[test]
fn a_read_only_disk_is_named_and_start_succeeds_all_the_same() {
    let disk = MemoryDisk::new(3);
    Rig::new(&disk).shut_down();
    disk.set_read_only(true);
    let mut rig = Rig::new(&disk);
    assert_eq!(rig.journal.unavailable(), Some(Unavailable::ReadOnly));
    disk.set_read_only(false);
    rig.pass(1_000);
    rig.stepper.settle();
    rig.commit(b"good");
    assert_eq!(rig.payloads(), [b"good"]);
}

#[test]
fn a_full_backlog_refuses_until_segments_are_released_and_then_recovers_at_once() {
    let disk = MemoryDisk::new(3);
    let small = Config { backlog_bytes_max: 3 * SEGMENT, ..config() };
    let mut rig = Rig::with(&disk, small);
    let applier = rig.journal.hold("applier", lastmile::journal::Sequence(0));
    let mut taken = 0;
    // The backlog holds 48 such records.
    while taken < 1000 && rig.submit(Some(taken), &[1; 16_000]).is_ok() {
        rig.stepper.settle();
        rig.stepper.fill_ahead();
        taken += 1;
    }
    assert_eq!(rig.journal.unavailable(), Some(Unavailable::BacklogFull));
    assert_eq!(Unavailable::BacklogFull.to_string(), "journal-backlog-full");
    assert_eq!(rig.told.lock().unwrap().failed, [taken - 1]);
    assert_eq!(rig.journal.stats().segment_bytes, 3 * SEGMENT);
    applier.release(lastmile::journal::Sequence(20)).unwrap();
    rig.stepper.settle();
    assert_eq!(rig.journal.unavailable(), None, "no time passed");
    rig.commit(b"more");
}

#[test]
fn a_segment_whose_name_did_not_reach_the_disk_takes_no_records() {
    let disk = MemoryDisk::new(3);
    let mut rig = Rig::new(&disk);
    rig.commit(b"good");
    disk.fail(fails(Operation::Sync, 0, 1));
    disk.fail(fails(Operation::SyncDir, 0, 1));
    rig.commit(b"bad");
    assert!(rig.told.lock().unwrap().failures[0].in_doubt);
    rig.pass(1_000);
    rig.stepper.settle();
    rig.commit(b"next");
    drop(rig);
    disk.power_cut();
    let (_, visited) = read(&disk, &config(), 0).unwrap();
    assert_eq!(visited, [(1, b"good".to_vec()), (2, b"next".to_vec())]);
}

#[test]
fn what_a_restart_found_in_the_page_cache_alone_is_on_disk_before_anything_else() {
    for seed in 0..30 {
        let disk = MemoryDisk::new(seed);
        let mut rig = Rig::new(&disk);
        rig.commit(b"good");
        disk.fail(fails(Operation::Sync, 0, 1));
        disk.fail(fails(Operation::Create, 0, 1));
        rig.commit(b"in doubt");
        assert!(rig.told.lock().unwrap().failures[0].in_doubt);
        drop(rig);
        disk.kill();
        // The page cache shows it, whatever reached the device.
        let (recovered, visited) = read(&disk, &config(), 0).unwrap();
        assert_eq!(visited.len(), 2);
        let mut rig = Rig::start(&disk, config(), recovered, 2);
        rig.commit(b"after");
        drop(rig);
        disk.power_cut();
        assert_eq!(sequences_read(&disk), [1, 2, 3]);
    }
}

#[test]
fn a_shutdown_that_cannot_write_its_mark_says_so() {
    let disk = MemoryDisk::new(3);
    let mut rig = Rig::new(&disk);
    rig.commit(b"good");
    rig.submit(Some(9), b"queued").unwrap();
    disk.set_read_only(true);
    rig.journal.request_shutdown();
    assert_eq!(rig.stepper.settle(), Turn::Done);
    let why = rig.stepper.outcome().unwrap().clone().unwrap_err();
    assert_eq!(why.reason, Unavailable::ReadOnly);
    assert_eq!(rig.told.lock().unwrap().failed, [9]);
}

#[test]
fn a_full_backlog_does_not_keep_a_shutdown_from_being_clean() {
    let disk = MemoryDisk::new(3);
    let small = Config { backlog_bytes_max: 3 * SEGMENT, ..config() };
    let mut rig = Rig::with(&disk, small);
    for _ in 0..60 {
        let _ = rig.submit(Some(1), &[1; 16_000]);
        rig.stepper.settle();
    }
    assert_eq!(rig.journal.unavailable(), Some(Unavailable::BacklogFull));
    rig.shut_down();
    disk.power_cut();
    assert!(read(&disk, &config(), 0).unwrap().0.clean);
}

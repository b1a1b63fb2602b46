//! Group commit without faults.

use std::time::Duration;

use lastmile::journal::{Config, MemoryDisk, Refused, Sequence, Ticket, Turn, Unavailable};

use super::support::{KIND, Rig, config, read, segments};

#[test]
fn everything_that_arrived_shares_one_sync_and_comes_back_in_sequence_order() {
    let disk = MemoryDisk::new(1);
    let mut rig = Rig::new(&disk);
    for number in 0..10_u8 {
        let lane = &rig.lanes[usize::from(number % 2)];
        let ticket = Some(Ticket(u64::from(number)));
        lane.submit(KIND, 1, ticket, |buffer| buffer.push(number)).unwrap();
    }
    assert_eq!(rig.journal.stats().in_flight, 10);
    rig.stepper.settle();
    assert_eq!(rig.sequences(), (1..=10).collect::<Vec<_>>());
    let payloads: Vec<u8> = rig.payloads().concat();
    assert_eq!(payloads, [0, 2, 4, 6, 8, 1, 3, 5, 7, 9], "each lane keeps its order");
    let stats = rig.journal.stats();
    assert_eq!((stats.syncs, stats.records, stats.in_flight), (1, 10, 0));
    assert_eq!(stats.batch_sizes[3], 1);
    assert_eq!(stats.durable, Sequence(10));
    let told = rig.told.lock().unwrap();
    assert_eq!(told.durable.len(), 10);
    assert_eq!(told.durable[9].sequence(), Sequence(10));
}

#[test]
fn a_record_nobody_waits_for_goes_with_the_next_commit() {
    let disk = MemoryDisk::new(1);
    let mut rig = Rig::new(&disk);
    rig.submit(None, b"unwaited").unwrap();
    assert!(matches!(rig.stepper.settle(), Turn::Idle { until: Some(_), waited_only: true }));
    assert_eq!(rig.journal.stats().syncs, 0);
    rig.submit(Some(1), b"waited").unwrap();
    rig.stepper.settle();
    assert_eq!(rig.payloads(), [&b"unwaited"[..], b"waited"]);
    assert_eq!(rig.journal.stats().syncs, 1);
}

#[test]
fn a_record_nobody_waits_for_is_flushed_after_a_while() {
    let disk = MemoryDisk::new(1);
    let mut rig = Rig::new(&disk);
    rig.submit(None, b"unwaited").unwrap();
    rig.stepper.settle();
    rig.pass(4);
    rig.stepper.settle();
    assert_eq!(rig.journal.stats().syncs, 0);
    rig.pass(1);
    rig.stepper.settle();
    assert_eq!(rig.payloads(), [b"unwaited"]);
}

#[test]
fn a_group_is_contiguous_and_one_refused_record_refuses_all_of_it() {
    let disk = MemoryDisk::new(1);
    let mut rig = Rig::new(&disk);
    rig.lanes[0]
        .submit_many(|group| {
            group.record(KIND, 1, None, |buffer| buffer.push(1))?;
            group.record(KIND, 1, Some(Ticket(7)), |buffer| buffer.push(2))
        })
        .unwrap();
    let refused = rig.lanes[0].submit_many(|group| {
        group.record(KIND, 1, Some(Ticket(8)), |buffer| buffer.push(3))?;
        group.record(KIND, 1, None, |buffer| buffer.resize(20_000, 0))
    });
    assert_eq!(refused, Err(Refused::RecordTooLong { bytes: 20_000 }));
    rig.stepper.settle();
    assert_eq!(rig.payloads(), [[1], [2]]);
    assert_eq!(rig.told.lock().unwrap().answered, [7]);
}

#[test]
fn a_full_queue_refuses_and_takes_again_after_the_commit() {
    let disk = MemoryDisk::new(1);
    let limited = Config { queue_records_max: 3, ..config() };
    let mut rig = Rig::with(&disk, limited);
    for ticket in 0..3 {
        rig.submit(Some(ticket), b"x").unwrap();
    }
    assert_eq!(rig.submit(Some(3), b"x"), Err(Refused::Full));
    rig.stepper.settle();
    rig.submit(Some(4), b"x").unwrap();
}

#[test]
fn more_than_one_batch_may_hold_is_committed_in_several_in_order() {
    let disk = MemoryDisk::new(1);
    let mut rig = Rig::new(&disk);
    for number in 0..9_000_u32 {
        rig.submit(None, &number.to_le_bytes()).unwrap();
    }
    rig.submit(Some(1), b"last").unwrap();
    rig.stepper.settle();
    assert_eq!(rig.journal.stats().syncs, 3);
    let numbers = rig.payloads();
    assert!((0..9_000_u32).all(|number| numbers[number as usize] == number.to_le_bytes()));
    drop(rig);
    disk.kill();
    assert_eq!(read(&disk, &config(), 0).unwrap().1.len(), 9_001);
}

#[test]
fn a_full_segment_is_followed_by_another_filled_ahead() {
    let disk = MemoryDisk::new(1);
    let mut rig = Rig::new(&disk);
    assert!(rig.stepper.fill_ahead());
    for _ in 0..40 {
        assert!(rig.journal.stats().spare_ready);
        rig.commit(&[7; 16_000]);
        rig.stepper.fill_ahead();
    }
    let stats = rig.journal.stats();
    assert_eq!(stats.segments, 3);
    assert_eq!(stats.segment_bytes, 3 * 256 * 1024);
    assert_eq!(segments(&disk).len(), 3);
    assert_eq!(rig.sequences(), (1..=40).collect::<Vec<_>>());
    rig.shut_down();
    assert_eq!(read(&disk, &config(), 0).unwrap().1.len(), 40);
}

#[test]
fn a_clean_shutdown_commits_what_is_queued_and_says_so_on_the_next_start() {
    let disk = MemoryDisk::new(1);
    let mut rig = Rig::new(&disk);
    rig.commit(b"waited");
    rig.submit(None, b"unwaited").unwrap();
    rig.journal.request_shutdown();
    let refused = Err(Refused::Unavailable(Unavailable::ShutDown));
    assert_eq!(rig.submit(Some(2), b"late"), refused);
    assert_eq!(rig.stepper.settle(), Turn::Done);
    assert_eq!(rig.payloads(), [&b"waited"[..], b"unwaited"]);
    drop(rig);
    disk.power_cut();
    let (recovered, visited) = read(&disk, &config(), 0).unwrap();
    assert!(recovered.clean);
    assert_eq!(visited.len(), 2);
    assert_eq!(recovered.last.unwrap().kind, 0);
}

#[test]
fn a_journal_in_use_is_not_clean_even_if_it_has_taken_nothing_since_the_clean_end() {
    let disk = MemoryDisk::new(1);
    let mut rig = Rig::new(&disk);
    rig.commit(b"one");
    rig.shut_down();
    let rig = Rig::new(&disk);
    drop(rig);
    disk.power_cut();
    let (recovered, visited) = read(&disk, &config(), 0).unwrap();
    assert!(!recovered.clean);
    assert_eq!(visited, [(1, b"one".to_vec())]);
}

#[test]
fn configurations_out_of_bounds_are_refused() {
    assert!(config().check().is_ok());
    assert!(Config::of_node(1, 1, 4).check().is_ok());
    let wrong = [
        Config { segment_bytes: 1, ..config() },
        Config { segment_bytes: u64::MAX, ..config() },
        Config { backlog_bytes_max: 2 * config().segment_bytes, ..config() },
        Config { lanes: 0, ..config() },
        Config { lanes: 257, ..config() },
        Config { queue_records_max: 16_385, ..config() },
        Config { queue_bytes_max: 100, ..config() },
    ];
    for config in wrong {
        assert!(config.check().is_err(), "{config:?}");
    }
    let odd = Config { flush_after: Duration::ZERO, ..config() };
    assert!(odd.check().is_ok());
}

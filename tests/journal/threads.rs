//! The real thing: threads, the system's clock and entropy, files.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lastmile::ids::SystemEntropy;
use lastmile::journal::{
    Config, Disk, Journal, RealDisk, Refused, Sequence, Surroundings, Ticket, Unavailable, recover,
};
use lastmile::time::SteadyClock;

use super::support::{KIND, Log, SEGMENT, Told, config};

fn started(directory: &std::path::Path, config: Config, from: u64) -> Started {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::at(directory).unwrap());
    let mut visited = Vec::new();
    let recovered = recover(disk.as_ref(), &config, Sequence(from), &mut |record| {
        visited.push((record.sequence.0, record.payload.to_vec()));
        Ok(())
    })
    .unwrap();
    let clean = recovered.clean;
    let told = Arc::new(Mutex::new(Told::default()));
    let surroundings = Surroundings {
        disk,
        clock: Arc::new(SteadyClock::start()),
        entropy: Arc::new(SystemEntropy),
        sink: Box::new(Log(told.clone())),
    };
    let (journal, lanes) = Journal::start(config, recovered, surroundings).unwrap();
    Started { journal, lanes, told, visited, clean }
}

struct Started {
    journal: Journal,
    lanes: Vec<lastmile::journal::Lane>,
    told: Arc<Mutex<Told>>,
    visited: Vec<(u64, Vec<u8>)>,
    clean: bool,
}

#[test]
fn records_of_many_threads_are_committed_followed_and_read_back() {
    let root = tempfile::tempdir().unwrap();
    let many = Config { lanes: 4, ..config() };
    let Started { journal, lanes, told, .. } = started(root.path(), many.clone(), 0);
    let mut reader = journal.reader("applier", Sequence(0));
    let followed = std::thread::scope(|scope| {
        let following = scope.spawn(move || {
            let mut followed = Vec::new();
            while followed.len() < 8_000 && reader.wait(None) {
                let batch = reader.read(100, 100_000).unwrap();
                followed.extend(batch.iter().map(|record| (record.sequence.0, record.payload.to_vec())));
            }
            followed
        });
        for (index, lane) in lanes.iter().enumerate() {
            scope.spawn(move || {
                for number in 0..2_000_u64 {
                    let ticket = (number % 3 > 0).then_some(Ticket(number));
                    let payload = (index as u64 * 1_000_000 + number).to_le_bytes();
                    let fill = |buffer: &mut Vec<u8>| {
                        buffer.extend_from_slice(&payload);
                        buffer.extend_from_slice(&[5; 100]);
                    };
                    while let Err(refused) = lane.submit(KIND, 1, ticket, fill) {
                        assert_eq!(refused, Refused::Full);
                        std::thread::yield_now();
                    }
                }
            });
        }
        following.join().unwrap()
    });
    let stats = journal.stats();
    assert_eq!((stats.records, stats.in_flight), (8_000, 0));
    assert!(stats.segments > 3, "{stats:?}");
    journal.shutdown().unwrap();
    let committed = told.lock().unwrap().committed.clone();
    assert_eq!(committed.len(), 8_000);
    assert!(followed == committed, "the applier sees what the sink saw");
    let refused = lanes[0].submit(KIND, 1, None, |_| {});
    assert_eq!(refused, Err(Refused::Unavailable(Unavailable::ShutDown)));
    for index in 0..4_u64 {
        let own = committed
            .iter()
            .filter(|(_, payload)| u64::from_le_bytes(payload[..8].try_into().unwrap()) / 1_000_000 == index);
        assert!(own.is_sorted(), "lane {index} keeps its order");
    }
    drop(lanes);
    let again = started(root.path(), many, 0);
    assert!(again.clean);
    assert!(again.visited == committed);
}

#[test]
fn a_lone_record_that_nobody_waits_for_reaches_the_disk_by_itself() {
    let root = tempfile::tempdir().unwrap();
    let running = started(root.path(), config(), 0);
    let reader = running.journal.reader("applier", Sequence(0));
    running.lanes[0].submit(KIND, 1, None, |buffer| buffer.push(1)).unwrap();
    assert!(reader.wait(None));
}

#[test]
fn a_journal_that_is_dropped_leaves_no_mark_and_frees_the_directory() {
    let root = tempfile::tempdir().unwrap();
    let running = started(root.path(), config(), 0);
    let reader = running.journal.reader("applier", Sequence(0));
    running.lanes[0].submit(KIND, 1, Some(Ticket(1)), |buffer| buffer.push(1)).unwrap();
    assert!(reader.wait(None));
    drop(running.journal);
    assert!(!reader.wait(None) || running.told.lock().unwrap().committed.len() == 1);
    let again = started(root.path(), config(), 0);
    assert!(!again.clean);
    assert_eq!(again.visited, [(1, vec![1])]);
}

#[test]
fn a_released_backlog_wakes_the_commit_thread_without_waiting_for_its_next_attempt() {
    let root = tempfile::tempdir().unwrap();
    let small = Config { backlog_bytes_max: 3 * SEGMENT, probe_after: Duration::from_hours(24), ..config() };
    let running = started(root.path(), small, 0);
    let mut reader = running.journal.reader("applier", Sequence(0));
    let big = |buffer: &mut Vec<u8>| buffer.resize(16_000, 1);
    while running.journal.unavailable().is_none() {
        let _ = running.lanes[0].submit(KIND, 1, Some(Ticket(1)), big);
        std::thread::yield_now();
    }
    while !reader.read(1_000, 100_000_000).unwrap().is_empty() {}
    reader.release(reader.position()).unwrap();
    while running.journal.unavailable().is_some() {
        std::thread::yield_now();
    }
    running.lanes[0].submit(KIND, 1, Some(Ticket(2)), big).unwrap();
    assert!(reader.wait(None));
    running.journal.shutdown().unwrap();
}

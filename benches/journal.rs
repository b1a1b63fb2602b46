//! How many records a second the journal commits, by how many wait at once, and what filling segments ahead saves.
//!
//! Set `TMPDIR` to a directory on the disk in question: on a memory file system a sync costs nothing.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on stops, and prints what it found"
)]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lastmile::ids::SystemEntropy;
use lastmile::journal::{
    CommitFailure, CommittedBatch, Config, Journal, MemoryDisk, RealDisk, Sequence, Sink, Surroundings,
    Ticket, recover,
};
use lastmile::time::SteadyClock;

const PAYLOAD: [u8; 120] = [7; 120];
const IN_FLIGHT: [usize; 5] = [1, 16, 64, 256, 1024];

/// Counts answers and wakes the submitter when all are there.
struct Answers {
    missing: Arc<AtomicUsize>,
    submitter: Thread,
}

impl Sink for Answers {
    fn committed(&mut self, batch: &CommittedBatch<'_>) {
        let answered = batch.iter().filter(|item| item.ticket().is_some()).count();
        if self.missing.fetch_sub(answered, Ordering::AcqRel) == answered {
            self.submitter.unpark();
        }
    }

    fn failed(&mut self, _: &[Ticket], why: &CommitFailure) {
        panic!("{why}");
    }
}

/// Time from the first submit to the last answer, with so many records in flight.
fn commits(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("journal/commit");
    let root = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::at(root.path()).unwrap());
    let config = Config::of_node(1, 1, 1);
    let recovered = recover(disk.as_ref(), &config, Sequence::ZERO, &mut |_| Ok(())).unwrap();
    let missing = Arc::new(AtomicUsize::new(0));
    let surroundings = Surroundings {
        disk,
        clock: Arc::new(SteadyClock::start()),
        entropy: Arc::new(SystemEntropy),
        sink: Box::new(Answers { missing: Arc::clone(&missing), submitter: std::thread::current() }),
    };
    let (journal, lanes) = Journal::start(config, recovered, surroundings).unwrap();
    let applier = journal.hold("bench", Sequence::ZERO);
    for in_flight in IN_FLIGHT {
        group.throughput(Throughput::Elements(in_flight as u64));
        group.bench_function(BenchmarkId::new("in flight", in_flight), |bench| {
            bench.iter(|| {
                missing.store(in_flight, Ordering::Release);
                for number in 0..in_flight as u64 {
                    lanes[0]
                        .submit(9, 1, Some(Ticket(number)), |buffer| {
                            buffer.extend_from_slice(&PAYLOAD);
                        })
                        .unwrap();
                }
                while missing.load(Ordering::Acquire) > 0 {
                    std::thread::park();
                }
            });
            applier.release(journal.durable()).unwrap();
        });
    }
    group.finish();
    let stats = journal.stats();
    println!("{} records in {} syncs, batch sizes {:?}", stats.records, stats.syncs, stats.batch_sizes);
    drop(lanes);
    journal.shutdown().unwrap();
}

/// One write and fdatasync of a batch, at the end of a growing file and over zeros written before.
fn growing_versus_filled(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("journal/sync");
    let root = tempfile::tempdir().unwrap();
    let batch = [7; 16 * 140];
    let growing = File::create(root.path().join("growing")).unwrap();
    let mut offset = 0;
    group.bench_function("growing file", |bench| {
        bench.iter(|| {
            growing.write_all_at(&batch, offset).unwrap();
            growing.sync_data().unwrap();
            offset += batch.len() as u64;
        });
    });
    let filled = File::create(root.path().join("filled")).unwrap();
    let length = 64 * 1024 * 1024;
    filled.write_all_at(&vec![0; length as usize], 0).unwrap();
    filled.sync_all().unwrap();
    let mut offset = 0;
    group.bench_function("zero-filled file", |bench| {
        bench.iter(|| {
            filled.write_all_at(&batch, offset).unwrap();
            filled.sync_data().unwrap();
            offset = (offset + batch.len() as u64) % (length - batch.len() as u64);
        });
    });
    group.finish();
}

/// What a submit and its commit cost without a disk.
fn without_disk(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("journal/memory");
    let disk = MemoryDisk::new(1);
    let config = Config {
        segment_bytes: 4 * 1024 * 1024,
        backlog_bytes_max: 16 * 1024 * 1024,
        ..Config::of_node(1, 1, 1)
    };
    let recovered = recover(&disk, &config, Sequence::ZERO, &mut |_| Ok(())).unwrap();
    let surroundings = Surroundings {
        disk: Arc::new(disk),
        clock: Arc::new(SteadyClock::start()),
        entropy: Arc::new(SystemEntropy),
        sink: Box::new(Ignores),
    };
    let (journal, lanes, mut stepper) = Journal::stepped(config, recovered, surroundings).unwrap();
    let applier = journal.hold("bench", Sequence::ZERO);
    group.throughput(Throughput::Elements(256));
    group.bench_function("256 submits and a turn", |bench| {
        bench.iter(|| {
            for number in 0..256 {
                lanes[0]
                    .submit(9, 1, Some(Ticket(number)), |buffer| {
                        buffer.extend_from_slice(black_box(&PAYLOAD));
                    })
                    .unwrap();
            }
            stepper.settle();
            applier.release(journal.durable()).unwrap();
        });
    });
    group.finish();
}

struct Ignores;

impl Sink for Ignores {
    fn committed(&mut self, batch: &CommittedBatch<'_>) {
        black_box(batch.len());
    }

    fn failed(&mut self, _: &[Ticket], why: &CommitFailure) {
        panic!("{why}");
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = commits, growing_versus_filled, without_disk
}
criterion_main!(benches);

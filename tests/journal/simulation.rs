//! Random histories of submits, commits, faults, crashes and restarts, from a seed.
//!
//! The model knows what the sink was told. After every restart: all that was reported committed reads back, in order
//! and under its sequence; what was reported failed does not, unless it was in doubt and nothing was committed
//! since; what nobody was told about may read back at the end, and is history from then on.

use std::collections::BTreeSet;
use std::fmt::Write;

use lastmile::ids::{Entropy, SeededEntropy};
use lastmile::journal::tail::Reader;
use lastmile::journal::{Config, MemoryDisk, Operation, Sequence, Ticket, Unavailable};

use super::support::{KIND, Read, Rig, SEGMENT, config, fails, read};

const SEEDS: u64 = 320;
const STEPS: usize = 60;

struct Simulation {
    seed: u64,
    chance: SeededEntropy,
    disk: MemoryDisk,
    rig: Option<Rig>,
    /// Everything that must read back.
    history: Vec<Read>,
    /// Payload numbers that were reported failed for certain.
    failed: BTreeSet<u64>,
    /// Released up to here.
    released: u64,
    next_number: u64,
    /// Read back at the last start, but nobody was ever told that it is durable.
    adopted: Vec<Read>,
    /// What the applier read.
    applied: Vec<Read>,
    reader: Option<Reader>,
    transcript: String,
    seen: Seen,
}

/// What happened, to know that the simulation is worth its name.
#[derive(Debug, Default)]
struct Seen {
    crashes: usize,
    torn: usize,
    adopted: usize,
    unproven: usize,
    doubts: usize,
    revoked: usize,
    backlogs: usize,
    full: usize,
    committed: usize,
    applied: usize,
    deleted: usize,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.torn += other.torn;
        self.adopted += other.adopted;
        self.unproven += other.unproven;
        self.doubts += other.doubts;
        self.revoked += other.revoked;
        self.backlogs += other.backlogs;
        self.full += other.full;
        self.committed += other.committed;
        self.applied += other.applied;
        self.deleted += other.deleted;
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            chance: SeededEntropy::new(seed),
            disk: MemoryDisk::new(seed.wrapping_mul(31)),
            rig: None,
            history: Vec::new(),
            failed: BTreeSet::new(),
            released: 0,
            next_number: 1,
            adopted: Vec::new(),
            applied: Vec::new(),
            reader: None,
            transcript: String::new(),
            seen: Seen::default(),
        }
    }

    fn below(&self, limit: u64) -> u64 {
        self.chance.u64() % limit
    }

    fn config() -> Config {
        Config { backlog_bytes_max: 4 * SEGMENT, ..config() }
    }

    fn run(mut self) -> (String, Seen) {
        self.restart();
        for step in 0..STEPS {
            match self.below(24) {
                0..=7 => self.submit(),
                8..=11 => self.turns(),
                12 => {
                    self.rig.as_mut().unwrap().stepper.fill_ahead();
                }
                13 => self.plan_fault(),
                14 => self.disk.heal(),
                15 | 16 => {
                    let rig = self.rig.as_ref().unwrap();
                    rig.pass(self.below(1_500));
                }
                17 => self.release(),
                18 => self.crash(),
                19 | 20 => self.apply(),
                21 => self.crash_within_a_commit(),
                22 => self.fill_up(),
                _ if self.below(4) == 0 => self.shut_down(),
                _ => self.turns(),
            }
            writeln!(self.transcript, "{step} {}", self.rig.as_ref().unwrap().journal.durable()).unwrap();
        }
        self.crash();
        write!(self.transcript, "{:?}", self.history).unwrap();
        self.seen.committed = self.history.len();
        self.seen.applied = self.applied.len();
        (self.transcript, self.seen)
    }

    fn submit(&mut self) {
        let rig = self.rig.as_ref().unwrap();
        let lane = &rig.lanes[self.below(2) as usize];
        for _ in 0..=self.below(6) {
            let number = self.next_number;
            self.next_number += 1;
            let ticket = (self.below(3) > 0).then_some(Ticket(number));
            let filler = if self.below(8) == 0 { self.below(16_000) } else { self.below(300) };
            // Refusals are part of life here: the journal may be unavailable.
            let _ = lane.submit(KIND, 1, ticket, |buffer| {
                buffer.extend_from_slice(&number.to_le_bytes());
                buffer.resize(buffer.len() + filler as usize, number as u8);
            });
        }
    }

    fn turns(&mut self) {
        let rig = self.rig.as_mut().unwrap();
        rig.stepper.settle();
        self.note();
    }

    /// Takes over what the sink was told since.
    fn note(&mut self) {
        let rig = self.rig.as_ref().unwrap();
        let durable = rig.journal.durable().0;
        if self.adopted.last().is_some_and(|(last, _)| *last <= durable) {
            self.history.append(&mut self.adopted);
        }
        let mut told = rig.told.lock().unwrap();
        self.failed.extend(std::mem::take(&mut told.certain));
        let failures = std::mem::take(&mut told.failures);
        self.seen.doubts += failures.iter().filter(|why| why.in_doubt).count();
        self.seen.revoked += failures.iter().filter(|why| why.reason == Unavailable::DiskError).count();
        self.seen.backlogs += failures.iter().filter(|why| why.reason == Unavailable::BacklogFull).count();
        self.seen.full += failures.iter().filter(|why| why.reason == Unavailable::DiskFull).count();
        for (sequence, payload) in std::mem::take(&mut told.committed) {
            let expected = self.history.last().map_or(1, |(last, _)| *last + 1);
            assert!(sequence >= expected, "seed {}: {sequence} after {expected}", self.seed);
            self.history.push((sequence, payload));
        }
    }

    fn plan_fault(&mut self) {
        let operation = match self.below(8) {
            0 | 1 => Operation::Write,
            2..=4 => Operation::Sync,
            5 => Operation::Create,
            6 => Operation::Rename,
            _ => Operation::SyncDir,
        };
        if self.below(6) == 0 {
            self.disk.limit_bytes(Some(self.below(8) * SEGMENT));
        } else if self.below(10) == 0 {
            self.disk.set_read_only(true);
        } else {
            self.disk.fail(fails(operation, self.below(4) as u32, 1 + self.below(3) as u32));
        }
    }

    /// Reads on as the applier does; what it reads is history already.
    fn apply(&mut self) {
        self.turns();
        let (records, bytes) = (1 + self.below(30) as usize, self.below(40_000) as usize);
        let reader = self.reader.as_mut().unwrap();
        let durable = self.rig.as_ref().unwrap().journal.durable();
        let batch = reader.read(records, bytes).unwrap();
        for record in batch.iter() {
            assert!(record.sequence <= durable, "seed {}", self.seed);
            let read = (record.sequence.0, record.payload.to_vec());
            assert_eq!(Some(&read), self.history.get(self.applied.len()), "seed {}", self.seed);
            self.applied.push(read);
        }
    }

    fn release(&mut self) {
        let reader = self.reader.as_ref().unwrap();
        let applied = reader.position().0;
        let up_to = self.released + self.below(applied - self.released + 1);
        self.released = up_to;
        // A disk that fails here keeps the segment; a later release tries again.
        self.seen.deleted += reader.release(Sequence(up_to)).unwrap_or(0);
    }

    fn shut_down(&mut self) {
        self.disk.heal();
        let rig = self.rig.as_mut().unwrap();
        rig.journal.request_shutdown();
        rig.stepper.settle();
        let outcome = rig.stepper.outcome().cloned().unwrap();
        self.note();
        self.rig = None;
        self.disk.power_cut();
        let (recovered, _) = read(&self.disk, &Self::config(), self.released).unwrap();
        let full = outcome.is_err_and(|why| why.reason == Unavailable::BacklogFull);
        assert!(recovered.clean || full, "seed {}", self.seed);
        drop(recovered);
        self.restart();
    }

    fn crash(&mut self) {
        self.note();
        self.rig = None;
        self.seen.crashes += 1;
        self.disk.heal();
        if self.below(3) == 0 {
            self.disk.kill();
        } else {
            self.disk.power_cut();
        }
        self.restart();
    }

    /// The power goes between the write and the sync, or before what would revoke them.
    fn crash_within_a_commit(&mut self) {
        self.submit();
        self.disk.fail(fails(Operation::Sync, 0, 1_000));
        self.turns();
        self.crash();
    }

    /// More than the permitted backlog, or the disk, can hold.
    fn fill_up(&mut self) {
        if self.below(2) == 0 {
            self.disk.limit_bytes(Some(SEGMENT));
        }
        for _ in 0..self.below(30) {
            let rig = self.rig.as_ref().unwrap();
            let number = self.next_number;
            self.next_number += 1;
            let _ = rig.lanes[0].submit(KIND, 1, Some(Ticket(number)), |buffer| {
                buffer.extend_from_slice(&number.to_le_bytes());
                buffer.resize(16_000, number as u8);
            });
            self.turns();
        }
    }

    fn restart(&mut self) {
        let seed = self.seed;
        let (recovered, visited) = read(&self.disk, &Self::config(), self.released)
            .unwrap_or_else(|error| panic!("seed {seed}, crash {}: {error}", self.seen.crashes));
        let known: Vec<&Read> = self.history.iter().filter(|(at, _)| *at > self.released).collect();
        assert!(visited.len() >= known.len(), "seed {seed}: a committed record is lost");
        for (found, known) in visited.iter().zip(&known) {
            assert_eq!(found, *known, "seed {seed}: a committed record changed");
        }
        self.seen.torn += usize::from(recovered.torn_bytes > 0);
        self.seen.adopted += visited.len() - known.len();
        let adopted = visited[known.len()..].to_vec();
        for (_, payload) in &adopted {
            let number = u64::from_le_bytes(payload[..8].try_into().unwrap());
            assert!(!self.failed.contains(&number), "seed {seed}: failed record {number} is back");
            let before = self.history.iter().all(|(_, known)| known != payload);
            assert!(before, "seed {seed}: record {number} is there twice");
        }
        writeln!(self.transcript, "{recovered:?}").unwrap();
        let recovered_to = recovered.next.before();
        let rig = Rig::start(&self.disk, Self::config(), recovered, seed);
        // What was in doubt is history once a new segment repeats it. Without one it may yet be lost; it is not
        // durable, and neither is anything else until then.
        self.adopted = adopted;
        self.seen.unproven += usize::from(rig.journal.durable() < recovered_to);
        // The applier's own storage knows how far it came.
        rig.journal.hold("applier", Sequence(self.released));
        let applied = self.applied.last().map_or(0, |(sequence, _)| *sequence).max(self.released);
        self.reader = Some(rig.journal.reader("applier", Sequence(applied)));
        self.rig = Some(rig);
        self.note();
    }
}

#[test]
fn no_history_of_faults_and_crashes_loses_or_invents_a_record() {
    let mut seen = Seen::default();
    for seed in 0..SEEDS {
        seen.add(&Simulation::new(seed).run().1);
    }
    println!("{SEEDS} histories: {seen:?}");
    let happened = [
        seen.crashes,
        seen.torn,
        seen.adopted,
        seen.unproven,
        seen.doubts,
        seen.revoked,
        seen.backlogs,
        seen.full,
        seen.committed,
        seen.applied,
        seen.deleted,
    ];
    for happened in happened {
        assert!(happened > 5, "something that must be survived hardly happened");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [3, 77, 1_234] {
        assert_eq!(Simulation::new(seed).run().0, Simulation::new(seed).run().0);
    }
}

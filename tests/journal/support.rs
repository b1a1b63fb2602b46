//! A journal on a forgetful disk, driven turn by turn, and a sink that remembers what it was told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lastmile::ids::SeededEntropy;
use lastmile::journal::{
    CommitFailure, CommittedBatch, Config, Durable, Fault, Journal, Lane, MemoryDisk, Operation,
    RecoverError, Recovered, Refused, Sequence, Sink, Stepper, Surroundings, Ticket, recover,
};
use lastmile::time::{ManualClock, Stamp};

pub(crate) const KIND: u8 = 9;
pub(crate) const SEGMENT: u64 = 256 * 1024;

/// What the sink was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) committed: Vec<(u64, Vec<u8>)>,
    pub(crate) durable: Vec<Durable>,
    pub(crate) answered: Vec<u64>,
    pub(crate) failed: Vec<u64>,
    /// Failed for certain, or in doubt before something else was committed.
    pub(crate) certain: Vec<u64>,
    pub(crate) doubtful: Vec<u64>,
    pub(crate) failures: Vec<CommitFailure>,
}

pub(crate) struct Log(pub(crate) Arc<Mutex<Told>>);

impl Sink for Log {
    fn committed(&mut self, batch: &CommittedBatch<'_>) {
        let mut told = self.0.lock().unwrap();
        assert!(!batch.is_empty());
        let settled = std::mem::take(&mut told.doubtful);
        told.certain.extend(settled);
        for item in batch {
            assert_eq!((item.kind(), item.version()), (KIND, 1));
            told.committed.push((item.sequence().0, item.payload().to_vec()));
            if let Some(Ticket(ticket)) = item.ticket() {
                told.answered.push(ticket);
                told.durable.push(item.durable());
            }
        }
    }

    fn failed(&mut self, tickets: &[Ticket], why: &CommitFailure) {
        let mut told = self.0.lock().unwrap();
        told.failed.extend(tickets.iter().map(|ticket| ticket.0));
        let by_doubt = if why.in_doubt { &mut told.doubtful } else { &mut told.certain };
        by_doubt.extend(tickets.iter().map(|ticket| ticket.0));
        told.failures.push(why.clone());
    }
}

pub(crate) fn config() -> Config {
    Config { segment_bytes: SEGMENT, backlog_bytes_max: 64 * SEGMENT, ..Config::of_node(1, 1, 2) }
}

/// A running journal in a test's hands.
pub(crate) struct Rig {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) told: Arc<Mutex<Told>>,
    pub(crate) journal: Journal,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) stepper: Stepper,
}

impl Rig {
    pub(crate) fn new(disk: &MemoryDisk) -> Self {
        Self::with(disk, config())
    }

    pub(crate) fn with(disk: &MemoryDisk, config: Config) -> Self {
        let (recovered, _) = read(disk, &config, 0).unwrap();
        Self::start(disk, config, recovered, 1)
    }

    pub(crate) fn start(disk: &MemoryDisk, config: Config, recovered: Recovered, seed: u64) -> Self {
        let clock = Arc::new(ManualClock::at(Stamp::from_secs(1_000)));
        let told = Arc::new(Mutex::new(Told::default()));
        // Ids differ from start to start, as they do in life.
        let entropy =
            Arc::new(SeededEntropy::new(seed ^ recovered.next.0.rotate_left(17) ^ recovered.torn_bytes));
        let surroundings = Surroundings {
            disk: Arc::new(disk.clone()),
            clock: clock.clone(),
            entropy,
            sink: Box::new(Log(told.clone())),
        };
        let (journal, lanes, stepper) = Journal::stepped(config, recovered, surroundings).unwrap();
        Self { clock, told, journal, lanes, stepper }
    }

    pub(crate) fn submit(&self, ticket: Option<u64>, payload: &[u8]) -> Result<(), Refused> {
        self.lanes[0].submit(KIND, 1, ticket.map(Ticket), |buffer| {
            buffer.extend_from_slice(payload);
        })
    }

    /// Submits one waited record and commits it alone.
    pub(crate) fn commit(&mut self, payload: &[u8]) {
        self.submit(Some(0), payload).unwrap();
        self.stepper.settle();
    }

    pub(crate) fn pass(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
    }

    pub(crate) fn payloads(&self) -> Vec<Vec<u8>> {
        let told = self.told.lock().unwrap();
        told.committed.iter().map(|(_, payload)| payload.clone()).collect()
    }

    pub(crate) fn sequences(&self) -> Vec<u64> {
        let told = self.told.lock().unwrap();
        told.committed.iter().map(|(sequence, _)| *sequence).collect()
    }

    pub(crate) fn shut_down(mut self) {
        self.journal.request_shutdown();
        self.stepper.settle();
        assert_eq!(self.stepper.outcome(), Some(&Ok(())));
    }
}

pub(crate) type Read = (u64, Vec<u8>);

/// Recovers, collecting what is visited.
pub(crate) fn read(
    disk: &MemoryDisk,
    config: &Config,
    from: u64,
) -> Result<(Recovered, Vec<Read>), RecoverError> {
    let mut visited = Vec::new();
    let recovered = recover(disk, config, Sequence(from), &mut |record| {
        assert_eq!((record.kind, record.version), (KIND, 1));
        visited.push((record.sequence.0, record.payload.to_vec()));
        Ok(())
    })?;
    Ok((recovered, visited))
}

/// The sequences of what a recovery visits; the lock is given back.
pub(crate) fn sequences_read(disk: &MemoryDisk) -> Vec<u64> {
    let (_, visited) = read(disk, &config(), 0).unwrap();
    visited.into_iter().map(|(sequence, _)| sequence).collect()
}

pub(crate) fn fails(operation: Operation, after: u32, times: u32) -> Fault {
    Fault { operation, after, times, error: std::io::ErrorKind::Other }
}

pub(crate) fn segment_name(first: u64) -> String {
    format!("{first:020}.journal")
}

/// The segment files there are, in order.
pub(crate) fn segments(disk: &MemoryDisk) -> Vec<String> {
    use lastmile::journal::Disk;
    let mut names = disk.list().unwrap();
    names.retain(|name| name.contains(".journal"));
    names
}

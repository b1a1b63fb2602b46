//! The running journal: its handle, its two threads, its end.
//!
//! Place in the path: made by the daemon from what recovery returned, ended by it after the workers.
//!
//! Invariants: [`Journal::shutdown`] commits what was submitted before it was called and marks the end, so that the
//! next recovery finds a clean one; a journal that is dropped leaves no mark. A panic on the commit thread, for
//! instance in the sink, ends the process.
//!
//! [`Journal::stepped`] is the same journal without threads, for tests and simulations: the caller takes the turns.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::ids::Entropy;
use crate::limits::{JOURNAL_GATHER_RECORDS_MIN, JOURNAL_GATHER_US};
use crate::time::Clock;

use super::commit::{Committer, Shared, Turn, time_left};
use super::disk::Disk;
use super::lane::{Closing, Intake, Lane};
use super::recover::Recovered;
use super::shelf::Shelf;
use super::spare::Spares;
use super::stats::{Counters, Stats};
use super::tail::{Holder, Progress, Reader};
use super::token::{CommitFailure, Sequence, Sink, Unavailable};
use super::{Config, ConfigError};

/// What the journal takes from outside.
pub struct Surroundings {
    /// The directory that recovery read.
    pub disk: Arc<dyn Disk>,
    /// For latencies and timers.
    pub clock: Arc<dyn Clock>,
    /// For the ids of segments.
    pub entropy: Arc<dyn Entropy>,
    /// Who is told about outcomes.
    pub sink: Box<dyn Sink>,
}

/// Why the journal cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is out of bounds.
    #[error("the journal's configuration cannot be used")]
    Config(#[from] ConfigError),
    /// The journal on disk has a newer epoch than the configuration.
    #[error("the journal has epoch {newest}, this node is configured with epoch {epoch}: it was fenced off")]
    EpochBehind {
        /// The configured epoch.
        epoch: u32,
        /// The newest epoch found.
        newest: u32,
    },
    /// The system gave no thread.
    #[error("the journal's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// The handle of a running journal.
pub struct Journal {
    shared: Arc<Shared>,
    commit_thread: Option<JoinHandle<Result<(), CommitFailure>>>,
    fill_thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Starts the journal and its threads. One lane comes back for each configured one.
    pub fn start(
        config: Config,
        recovered: Recovered,
        surroundings: Surroundings,
    ) -> Result<(Self, Vec<Lane>), StartError> {
        let clock = Arc::clone(&surroundings.clock);
        let (shared, lanes, mut committer) = build(config, recovered, surroundings)?;
        let mut journal = Self { shared: Arc::clone(&shared), commit_thread: None, fill_thread: None };
        let filling = Arc::clone(&shared);
        let fill_thread = std::thread::Builder::new()
            .name("journal-fill".to_owned())
            .spawn(move || filling.spares.fill_until_closed(filling.disk.as_ref()))
            .map_err(StartError::Thread)?;
        journal.fill_thread = Some(fill_thread);
        let commit_thread = std::thread::Builder::new()
            .name("journal-commit".to_owned())
            .spawn(move || {
                let _abort = AbortOnPanic;
                run(&shared, clock.as_ref(), &mut committer)
            })
            .map_err(StartError::Thread)?;
        journal.commit_thread = Some(commit_thread);
        Ok((journal, lanes))
    }

    /// The same without threads: nothing happens but in the stepper's turns.
    pub fn stepped(
        config: Config,
        recovered: Recovered,
        surroundings: Surroundings,
    ) -> Result<(Self, Vec<Lane>, Stepper), StartError> {
        let (shared, lanes, committer) = build(config, recovered, surroundings)?;
        let journal = Self { shared: Arc::clone(&shared), commit_thread: None, fill_thread: None };
        Ok((journal, lanes, Stepper { shared, committer }))
    }

    /// Opens a reader for the records after `from`, which is also a holder of this name. A name that was used before
    /// resumes its hold.
    pub fn reader(&self, name: &'static str, from: Sequence) -> Reader {
        Reader::new(self.hold(name, from), from)
    }

    /// Keeps the records after `from` on disk until they are released.
    pub fn hold(&self, name: &'static str, from: Sequence) -> Holder {
        Holder::new(&self.shared, name, from)
    }

    /// Newest sequence known to be on disk. After a start it is behind what recovery visited until the first segment
    /// is made; see [`Recovered`].
    pub fn durable(&self) -> Sequence {
        self.shared.progress.durable()
    }

    /// Why records are refused at present, if they are.
    pub fn unavailable(&self) -> Option<Unavailable> {
        self.shared.intake.refusing()
    }

    /// The journal's numbers.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let counters = &shared.counters;
        let (segments, segment_bytes) = shared.shelf.size();
        Stats {
            durable: self.durable(),
            segments,
            segment_bytes,
            spare_ready: shared.spares.is_ready(),
            records: counters.records.load(Ordering::Relaxed),
            record_bytes: counters.record_bytes.load(Ordering::Relaxed),
            syncs: counters.syncs.load(Ordering::Relaxed),
            commits_failed: counters.commits_failed.load(Ordering::Relaxed),
            unwaited_dropped: counters.unwaited_dropped.load(Ordering::Relaxed),
            last_sync_ns: counters.last_sync_ns.load(Ordering::Relaxed),
            in_flight: shared.intake.in_flight(),
            batch_sizes: counters.batch_sizes(),
            unavailable: self.unavailable(),
        }
    }

    /// Refuses new records, and asks for a clean end. [`Journal::shutdown`] does this and waits; with a stepper the
    /// turns do the rest.
    pub fn request_shutdown(&self) {
        self.shared.intake.close(Closing::Cleanly);
    }

    /// Commits what was submitted, marks the end, and ends the threads. An error says that the mark, and perhaps
    /// records whose waiters were told so, did not reach the disk.
    pub fn shutdown(mut self) -> Result<(), CommitFailure> {
        self.request_shutdown();
        self.join()
    }

    fn join(&mut self) -> Result<(), CommitFailure> {
        let outcome = match self.commit_thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            // A panic has ended the process before anybody can see it here.
            Some(Err(_)) | None => Ok(()),
        };
        self.shared.spares.close();
        if let Some(thread) = self.fill_thread.take() {
            // It has nothing to report: a spare that could not be made is made later, or by the commit thread.
            let _ = thread.join();
        }
        outcome
    }
}

impl Drop for Journal {
    /// Ends the threads without committing what is queued: dropping is for errors, the clean end is `shutdown`.
    fn drop(&mut self) {
        if self.commit_thread.is_some() || self.fill_thread.is_some() {
            self.shared.intake.close(Closing::AtOnce);
            let _ = self.join();
        }
    }
}

/// Takes the turns of a journal without threads.
pub struct Stepper {
    shared: Arc<Shared>,
    committer: Committer,
}

impl Stepper {
    /// Does what is due on the commit thread.
    pub fn turn(&mut self) -> Turn {
        self.committer.turn()
    }

    /// Takes turns until nothing is due; returns the last one.
    pub fn settle(&mut self) -> Turn {
        loop {
            let turn = self.turn();
            if turn != Turn::Worked {
                return turn;
            }
        }
    }

    /// Does what is due on the background thread: makes a spare if one is wanted. Returns whether it tried.
    pub fn fill_ahead(&mut self) -> bool {
        self.shared.spares.fill_wanted(self.shared.disk.as_ref())
    }

    /// How the journal ended, once it has.
    pub fn outcome(&self) -> Option<&Result<(), CommitFailure>> {
        self.committer.outcome()
    }
}

fn build(
    config: Config,
    recovered: Recovered,
    surroundings: Surroundings,
) -> Result<(Arc<Shared>, Vec<Lane>, Committer), StartError> {
    config.check()?;
    if let Some(newest) = recovered.newest_epoch
        && newest > config.epoch
    {
        let epoch = config.epoch;
        return Err(StartError::EpochBehind { epoch, newest });
    }
    let Recovered { next, segments, unproven, lock, .. } = recovered;
    let (intake, lanes) = Intake::new(config.lanes, config.queue_records_max, config.queue_bytes_max);
    let shared = Arc::new(Shared {
        spares: Spares::new(config.segment_bytes),
        config,
        disk: surroundings.disk,
        intake,
        shelf: Shelf::new(segments),
        counters: Counters::default(),
        progress: Progress::new(unproven.first().unwrap_or(next).before()),
    });
    let committer = Committer::begin(
        Arc::clone(&shared),
        surroundings.clock,
        surroundings.entropy,
        surroundings.sink,
        next,
        unproven,
        lock,
    );
    Ok((shared, lanes, committer))
}

/// The commit thread.
fn run(shared: &Shared, clock: &dyn Clock, committer: &mut Committer) -> Result<(), CommitFailure> {
    shared.intake.bell.attach();
    let records = || shared.counters.records.load(Ordering::Relaxed);
    let mut before = records();
    loop {
        match committer.turn() {
            Turn::Worked => {
                let written = records();
                // Where many come at once, more are on their way: a fast disk would else be given a few at a time, and most
                // of the processor would go into waking and syncing. Whoever comes alone is not kept waiting.
                if written.saturating_sub(before) >= JOURNAL_GATHER_RECORDS_MIN
                    && shared.intake.closing() == Closing::No
                {
                    std::thread::sleep(Duration::from_micros(JOURNAL_GATHER_US));
                }
                before = written;
            }
            Turn::Idle { until, waited_only } => {
                let at_most = until.map(|until| time_left(clock.now().tick, until));
                shared.intake.sleep(waited_only, at_most);
            }
            Turn::Done => return committer.outcome().cloned().unwrap_or(Ok(())),
        }
    }
}

/// Once delivery of a committed batch broke off, the ledger is no longer what the journal says; a restart makes it so.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

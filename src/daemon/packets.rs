//! The packet path of a running daemon: journal, sockets, worker threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::recovery::StartFailure;
use super::{Bound, Parts};
use crate::config::Config;
use crate::decision::Plane;
use crate::dhcp::v4::core::Dhcp4Core;
use crate::ids::{Entropy, SystemEntropy};
use crate::journal::record::{HoldRecord, Record, StartRecord};
use crate::journal::{Journal, Lane, Surroundings};
use crate::limits::WORKERS_RANGE;
use crate::net::{ListenOptions, UdpListener, Waiter};
use crate::radius::duplicate::DuplicateCache;
use crate::radius::{AcctCore, AuthCore};
use crate::servers::waiting::Mailbox;
use crate::servers::{Cores, Endpoint, LedgerSink, Shared, Worker};
use crate::time::Clock;

/// The running packet path.
pub(crate) struct Packets {
    pub(crate) shared: Arc<Shared>,
    pub(crate) journal: Option<Arc<Journal>>,
    /// For the daemon's own records.
    pub(crate) lane: Arc<Lane>,
    pub(crate) bound: Bound,
    /// Whether the journal took the record of this start, with all there is to it.
    pub(crate) start_written: bool,
    mailboxes: Vec<Arc<Mailbox>>,
    workers: Vec<JoinHandle<()>>,
}

/// Worker threads: one per core, as far as the configuration would take so many, unless it says otherwise.
pub(crate) fn worker_count(config: &Config) -> usize {
    let asked = config
        .radius
        .as_ref()
        .map_or(0, |radius| radius.workers)
        .max(config.dhcp4.as_ref().map_or(0, |dhcp4| dhcp4.workers));
    if asked > 0 {
        asked
    } else {
        let most = *WORKERS_RANGE.end() as usize;
        std::thread::available_parallelism().map_or(1, usize::from).min(most)
    }
}

/// Starts the journal, binds the sockets, starts the workers.
pub(crate) fn start(parts: &mut Parts) -> Result<Packets, StartFailure> {
    let count = worker_count(&parts.config);
    let (endpoints, bound) = bind(&parts.config)?;
    let mut waiters = Vec::with_capacity(count);
    for _ in 0..count {
        waiters.push(waiter(&endpoints)?);
    }
    let mailboxes: Vec<Arc<Mailbox>> =
        waiters.iter().map(|waiter| Arc::new(Mailbox::new(waiter.wake()))).collect();
    let (journal, mut lanes) = start_journal(parts, &mailboxes)?;
    let lane = lanes.pop().map(Arc::new).ok_or_else(|| StartFailure::JournalRefused("no lane".to_owned()))?;
    let start_written = note_start(parts, &lane);
    let class = Arc::clone(&parts.recovered.class);
    let duplicates = Arc::new(DuplicateCache::new(parts.config.limits.duplicate_entries));
    let cores = Cores {
        auth: AuthCore::new(Arc::clone(&class), Arc::clone(&duplicates))
            .learning(Arc::clone(&parts.app.parts().signatures)),
        acct: AcctCore::new(class, duplicates),
        dhcp4: Dhcp4Core::default(),
    };
    let shared = Arc::new(Shared {
        publisher: Arc::clone(&parts.recovered.publisher),
        ledger: Arc::clone(&parts.recovered.ledger),
        cores: Arc::new(cores),
        endpoints,
        decisions: Arc::clone(&parts.app.parts().decisions),
        last: Arc::clone(&parts.app.parts().last),
        activity: Arc::clone(&parts.app.parts().activity),
        metrics: Arc::clone(&parts.metrics),
        clock: Arc::clone(&parts.clock),
        journal_available: AtomicBool::new(journal.unavailable().is_none()),
        stopping: AtomicBool::new(false),
    });
    let mut workers = Vec::with_capacity(count);
    for (number, ((waiter, lane), mailbox)) in waiters.into_iter().zip(lanes).zip(&mailboxes).enumerate() {
        let worker =
            Worker::new(number, Arc::clone(&shared), lane, Arc::clone(mailbox), waiter, SystemEntropy.u64());
        let thread =
            std::thread::Builder::new().name(format!("packets-{number}")).spawn(move || worker.run());
        workers.push(
            thread
                .map_err(|source| StartFailure::Io { doing: "start a worker thread".to_owned(), source })?,
        );
    }
    Ok(Packets { shared, journal: Some(Arc::new(journal)), lane, bound, start_written, mailboxes, workers })
}

impl Packets {
    /// Stops receiving, lets the workers finish what waits for the journal, and joins them.
    pub(crate) fn stop_workers(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        for mailbox in &self.mailboxes {
            mailbox.nudge();
        }
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a packet worker had panicked");
            }
        }
    }
}

fn bind(config: &Config) -> Result<(Vec<Endpoint>, Bound), StartFailure> {
    let mut endpoints = Vec::new();
    let mut bound = Bound::default();
    let mut open = |address: SocketAddr, plane: Plane, buffer: usize| -> Result<SocketAddr, StartFailure> {
        let options = ListenOptions {
            recv_buffer_bytes: Some(buffer),
            send_buffer_bytes: Some(buffer),
            broadcast: plane == Plane::Dhcp4,
            timestamps: true,
            ..ListenOptions::default()
        };
        let listener = UdpListener::bind(address, &options)?;
        let local = listener.local_addr();
        endpoints.push(Endpoint { listener, plane });
        Ok(local)
    };
    if let Some(radius) = &config.radius {
        for address in &radius.auth {
            bound.auth.push(open(*address, Plane::Auth, radius.receive_buffer_bytes)?);
        }
        for address in &radius.acct {
            bound.acct.push(open(*address, Plane::Acct, radius.receive_buffer_bytes)?);
        }
    }
    if let Some(dhcp4) = &config.dhcp4 {
        for address in &dhcp4.listen {
            bound.dhcp4.push(open(*address, Plane::Dhcp4, dhcp4.receive_buffer_bytes)?);
        }
    }
    Ok((endpoints, bound))
}

fn waiter(endpoints: &[Endpoint]) -> Result<Waiter, StartFailure> {
    let failed = |source| StartFailure::Io { doing: "wait for sockets".to_owned(), source };
    let mut waiter = Waiter::new().map_err(failed)?;
    for endpoint in endpoints {
        waiter.add(&endpoint.listener).map_err(failed)?;
    }
    Ok(waiter)
}

fn start_journal(
    parts: &mut Parts,
    mailboxes: &[Arc<Mailbox>],
) -> Result<(Journal, Vec<Lane>), StartFailure> {
    let sink = LedgerSink::new(
        Arc::clone(&parts.recovered.ledger),
        mailboxes.to_vec(),
        Arc::clone(&parts.ledger_applied),
    );
    let surroundings = Surroundings {
        disk: Arc::clone(&parts.recovered.disk),
        clock: Arc::clone(&parts.clock) as _,
        entropy: Arc::new(SystemEntropy),
        sink: Box::new(sink),
    };
    let recovered = parts
        .recovered
        .journal
        .take()
        .ok_or_else(|| StartFailure::JournalRefused("it was started before".to_owned()))?;
    Ok(Journal::start(parts.recovered.journal_config.clone(), recovered, surroundings)?)
}

/// Writes down that this node serves again, and until when no lease may end. The ledger knows at once; the record is for the
/// next recovery, so nobody waits for it. A journal that takes nothing now (the disk or the backlog is full) is no reason
/// not to answer those who are known: the watch writes it later. Returns whether the journal took everything.
fn note_start(parts: &Parts, lane: &Lane) -> bool {
    let (at, holds) = (parts.clock.now().stamp, parts.recovered.holds);
    let start = Record::Start(StartRecord { at, hold_until: holds.leases });
    parts.recovered.ledger.apply(u64::MAX, &start);
    parts.recovered.ledger.extend_holds(holds);
    // First: when Accepts are held because the clock is doubted, a start record alone would hide the leap.
    let all = parts.recovered.ledger.holds();
    let hold = Record::Hold(HoldRecord { at, leases: all.leases, accepts: all.accepts });
    let submitted = lane.submit_many(|group| {
        for record in [&hold, &start] {
            group.record(record.kind(), record.version(), None, |buffer| record.encode(buffer))?;
        }
        Ok(())
    });
    if let Err(refused) = &submitted {
        tracing::error!(%refused, "the journal takes no records: only what is known already is answered");
    }
    submitted.is_ok()
}

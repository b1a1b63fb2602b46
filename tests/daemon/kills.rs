//! Fault F1: the process is killed again and again under load, and nothing that it acknowledged may be lost or doubled.
//!
//! Clients keep a ledger of their own: of every Accounting-Response, every Accept with its address, every DHCPACK. They know
//! nothing of the kills and send again until they are answered. In the end the daemon and its database must agree with them.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use lastmile::dhcp::v4::wire::MessageType;
use lastmile::ids::{Entropy, SeededEntropy, TenantId};
use lastmile::model::observed::SessionRow;
use lastmile::storage::ObservedFilter;

use crate::network::{self, PASSWORD, Targets};
use crate::support::daemon::Settings;
use crate::support::note;
use crate::support::radius_client::{Event, INTERIM, START, STOP};

const KILLS: u32 = 20;
const STOPS: u32 = 5;
/// Acknowledgements between a start and the next kill, at most.
const ACKNOWLEDGED_MAX: u64 = 400;
const HOMES: usize = 240;
const LINES: usize = 1_200;
const NAS_CLIENTS: usize = 6;
const RELAY_CLIENTS: usize = 4;

/// What one session was acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) events: u64,
    pub(crate) octets_in: u64,
    pub(crate) stopped: bool,
}

/// What a client was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// By Acct-Session-Id.
    pub(crate) sessions: BTreeMap<String, Acknowledged>,
    /// By login or line.
    pub(crate) addresses: BTreeMap<String, Ipv4Addr>,
}

impl Told {
    pub(crate) fn address(&mut self, whose: &str, address: Ipv4Addr) {
        let known = self.addresses.entry(whose.to_owned()).or_insert(address);
        assert_eq!(*known, address, "{whose} was told another address before");
    }

    /// An event was acknowledged.
    pub(crate) fn acknowledged(&mut self, event: &Event) {
        let row = self.sessions.entry(event.session.clone()).or_default();
        row.events += 1;
        row.octets_in = if event.status == START { 0 } else { u64::from(event.octets) };
        row.stopped = event.status == STOP;
    }

    /// Takes in what another client was told; fails when both were told the same address.
    pub(crate) fn merge(&mut self, other: Self) {
        self.sessions.extend(other.sessions);
        for (whose, address) in other.addresses {
            self.address(&whose, address);
        }
        let mut owners = HashMap::new();
        for (whose, address) in &self.addresses {
            let before = owners.insert(address, whose);
            assert!(before.is_none(), "{address} was acknowledged to {before:?} and to {whose}");
        }
    }
}

/// Clients that do not stop before they are told to.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    acknowledgements: Receiver<()>,
    clients: Vec<JoinHandle<Told>>,
}

impl Load {
    /// Starts all clients.
    pub(crate) fn start(targets: &Targets) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, acknowledgements) = channel();
        let mut clients = Vec::new();
        for number in 0..NAS_CLIENTS {
            let (targets, stop, sender) = (targets.clone(), Arc::clone(&stop), sender.clone());
            clients.push(std::thread::spawn(move || homes(number, &targets, &stop, &sender)));
        }
        for number in 0..RELAY_CLIENTS {
            let (targets, stop, sender) = (targets.clone(), Arc::clone(&stop), sender.clone());
            clients.push(std::thread::spawn(move || lines(number, &targets, &stop, &sender)));
        }
        Self { stop, acknowledgements, clients }
    }

    /// Waits for so many acknowledgements.
    pub(crate) fn until_acknowledged(&self, count: u64) {
        for number in 0..count {
            let next = self.acknowledgements.recv_timeout(Duration::from_mins(1));
            assert!(next.is_ok(), "only {number} of {count} acknowledgements: {next:?}");
        }
    }

    /// Forgets the acknowledgements that nobody has waited for.
    pub(crate) fn forget_acknowledgements(&self) -> usize {
        self.acknowledgements.try_iter().count()
    }

    /// Lets the clients finish what they have begun; what all of them were told.
    pub(crate) fn finish(self) -> Told {
        self.stop.store(true, Ordering::Release);
        let mut told = Told::default();
        for client in self.clients {
            told.merge(client.join().unwrap());
        }
        told
    }
}

/// Sessions of homes, one after the other: login, Start, Interims, and mostly a Stop.
fn homes(number: usize, targets: &Targets, stop: &AtomicBool, acknowledged: &Sender<()>) -> Told {
    let mut nas = network::nas(number as u8 + 1);
    (nas.retry, nas.tries) = (Duration::from_millis(100), 600);
    let mut told = Told::default();
    let mut count = 0_u32;
    while !stop.load(Ordering::Acquire) {
        let login = network::login((number + count as usize * NAS_CLIENTS) % HOMES);
        let accept = nas.login(&|| targets.auth(), &login, PASSWORD).expect("an answer").accept();
        let address = accept.address.expect("an address");
        told.address(&login, address);
        let _ = acknowledged.send(());
        let session = format!("{number}-{count}");
        let statuses: &[u32] =
            if count % 4 == 3 { &[START, INTERIM] } else { &[START, INTERIM, INTERIM, STOP] };
        for (step, status) in (0..).zip(statuses) {
            let event = Event {
                status: *status,
                session: session.clone(),
                login: login.clone(),
                class: accept.class.clone(),
                address: Some(address),
                seconds: step * 60,
                octets: step * 1_000 + count,
                delay: None,
            };
            assert!(nas.account(&|| targets.acct(), &event), "no answer to {event:?}");
            told.acknowledged(&event);
            let _ = acknowledged.send(());
        }
        count += 1;
    }
    told
}

/// Leases of lines, one after the other, each with a confirmation of the one before.
fn lines(number: usize, targets: &Targets, stop: &AtomicBool, acknowledged: &Sender<()>) -> Told {
    let mut relay = network::relay(number as u8 + 1);
    (relay.retry, relay.tries) = (Duration::from_millis(100), 600);
    let mut told = Told::default();
    let mut next = number;
    while !stop.load(Ordering::Acquire) && next < LINES {
        let (line, name) = (network::line(next), format!("line{next}"));
        let lease = relay.lease(&|| targets.dhcp4(), &line).expect("a reply");
        told.address(&name, lease.address);
        let _ = acknowledged.send(());
        // Its neighbour restarts meanwhile.
        if let Some(before) = next.checked_sub(RELAY_CLIENTS) {
            let address = told.addresses[&format!("line{before}")];
            let reply = relay.confirm(&|| targets.dhcp4(), &network::line(before), address).expect("a reply");
            assert_eq!((reply.kind, reply.address), (MessageType::Ack, address), "line{before}");
        }
        next += RELAY_CLIENTS;
    }
    told
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long a restart took is printed, not judged")]
fn kills_under_load_lose_nothing_acknowledged_and_double_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let definitions = directory.path().join("definitions");
    network::write(&definitions, HOMES, LINES);
    let mut settings = Settings::new(directory.path()).with_definitions(&definitions);
    // Kills shall also meet checkpoints, and the removal of what they have made superfluous.
    settings.set_text("journal.segment", "256KiB");
    settings.set_text("journal.checkpoint_every", "256KiB");
    let mut daemon = settings.start();
    let settings = settings.without_definitions();
    let targets = Targets::of(&daemon);
    let load = Load::start(&targets);
    let moments = SeededEntropy::new(20);
    let mut restarts = Vec::new();
    for _ in 0..KILLS {
        load.until_acknowledged(1 + moments.u64() % ACKNOWLEDGED_MAX);
        let killed = std::time::Instant::now();
        daemon.kill();
        daemon = settings.start();
        load.forget_acknowledgements();
        targets.follow(&daemon);
        load.until_acknowledged(1);
        restarts.push(killed.elapsed().as_millis());
    }
    load.until_acknowledged(ACKNOWLEDGED_MAX);
    let told = load.finish();
    restarts.sort_unstable();
    note(&format!(
        "{KILLS} kills, {} sessions, {} events, {} addresses; ms from kill to first answer: {restarts:?}",
        told.sessions.len(),
        told.sessions.values().map(|session| session.events).sum::<u64>(),
        told.addresses.len(),
    ));
    assert_eq!(daemon.metrics().sum("lastmile_ledger_conflicts", &[]), 0);
    everybody_has_what_was_acknowledged(&told, &targets);
    daemon.until_drained();
    assert!(daemon.terminate().success());
    storage_has_each_event_once(&told, &settings.sqlite_url());
}

#[test]
fn ordered_stops_under_load_lose_nothing_either_and_leave_a_clean_journal() {
    let directory = tempfile::tempdir().unwrap();
    let definitions = directory.path().join("definitions");
    network::write(&definitions, HOMES, LINES);
    let settings = Settings::new(directory.path()).with_definitions(&definitions);
    let mut daemon = settings.start();
    let settings = settings.without_definitions();
    let targets = Targets::of(&daemon);
    let load = Load::start(&targets);
    for _ in 0..STOPS {
        load.until_acknowledged(100);
        let (status, log) = daemon.terminate_and_log();
        assert!(status.success(), "{status}");
        let complaints: Vec<&str> =
            log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
        daemon = settings.start();
        load.forget_acknowledgements();
        targets.follow(&daemon);
    }
    load.until_acknowledged(100);
    let told = load.finish();
    everybody_has_what_was_acknowledged(&told, &targets);
    assert!(daemon.terminate().success());
    storage_has_each_event_once(&told, &settings.sqlite_url());
}

/// Every acknowledged lease is confirmed to its owner, and every home gets its address again.
pub(crate) fn everybody_has_what_was_acknowledged(told: &Told, targets: &Targets) {
    let (mut nas, mut relay) = (network::nas(30), network::relay(30));
    for (whose, address) in &told.addresses {
        if let Some(number) = whose.strip_prefix("line") {
            let line = network::line(number.parse().unwrap());
            let reply = relay.confirm(&|| targets.dhcp4(), &line, *address).expect("a reply");
            assert_eq!((reply.kind, reply.address), (MessageType::Ack, *address), "{whose}");
        } else {
            let accept = nas.login(&|| targets.auth(), whose, PASSWORD).expect("an answer").accept();
            assert_eq!(accept.address, Some(*address), "{whose}");
        }
    }
}

/// Every session of the clients' ledger is one row with as many records as events were acknowledged.
pub(crate) fn storage_has_each_event_once(told: &Told, url: &str) {
    let rows = sessions(url);
    let mut by_id: BTreeMap<&str, &SessionRow> = BTreeMap::new();
    for row in &rows {
        let before = by_id.insert(&row.acct_session_id, row);
        assert!(before.is_none(), "two rows of one session: {before:?} and {row:?}");
    }
    for (id, acknowledged) in &told.sessions {
        let row = by_id.get(id.as_str()).unwrap_or_else(|| panic!("session {id} is not in storage"));
        let stored = Acknowledged {
            events: row.records,
            octets_in: row.octets_in,
            stopped: acknowledged.stopped && row.state == "closed",
        };
        assert_eq!(&stored, acknowledged, "session {id}: {row:?}");
    }
}

/// All sessions in storage.
pub(crate) fn sessions(url: &str) -> Vec<SessionRow> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let storage = lastmile::storage::open(url).await.unwrap();
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let page =
                storage.sessions(TenantId::DEFAULT, ObservedFilter::default(), after, 500).await.unwrap();
            rows.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return rows,
            }
        }
    })
}

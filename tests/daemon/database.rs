//! Faults F5, F6 and F21: the database is gone, silent or slow, at work and at the start. Packets are answered all the same, the
//! journal keeps what is acknowledged, and storage has each event once when the database is back.

use std::time::Duration;

use crate::disk::{account_until_silence, journal_unavailable};
use crate::kills::{Told, everybody_has_what_was_acknowledged, sessions, storage_has_each_event_once};
use crate::network::{self, PASSWORD, Targets};
use crate::support::daemon::{Daemon, Settings};
use crate::support::dhcp_client::Relay;
use crate::support::postgres::TestPostgres;
use crate::support::proxy::{Fault, Proxy};
use crate::support::radius_client::{Event, INTERIM, Nas, START, STOP};

/// Homes that log in in every round.
const KNOWN: usize = 10;
/// Homes and lines that get their address in a round.
const NEW: usize = 3;
const ROUNDS: usize = 8;

/// A daemon whose database is behind a proxy.
struct Site {
    postgres: TestPostgres,
    proxy: Proxy,
    directory: tempfile::TempDir,
    settings: Settings,
}

impl Site {
    fn new() -> Option<Self> {
        let postgres = TestPostgres::start()?;
        let proxy = Proxy::to(postgres.port());
        let directory = tempfile::tempdir().unwrap();
        let definitions = directory.path().join("definitions");
        network::write(&definitions, KNOWN + NEW * ROUNDS, NEW * ROUNDS);
        let mut settings = Settings::new(directory.path()).with_definitions(&definitions);
        let url = postgres.url().replace(&format!(":{}/", postgres.port()), &format!(":{}/", proxy.port()));
        settings.set_text("storage.url", &url);
        Some(Self { postgres, proxy, directory, settings })
    }
}

impl Site {
    /// The daemon, and clients that have had their first answers.
    fn at_work(&self) -> (Daemon, Targets, Clients) {
        let daemon = self.settings.start();
        let at = Targets::of(&daemon);
        let mut clients = Clients::new();
        clients.work(&at);
        (daemon, at, clients)
    }

    /// Brings the database back, and waits until it has what was acknowledged without it.
    fn bring_back(&self, daemon: &Daemon, clients: &Clients) {
        self.proxy.set(Fault::None);
        until_well(daemon);
        storage_has_each_event_once(&clients.told, &self.postgres.url());
    }
}

/// One NAS and one relay that work on, round after round.
struct Clients {
    nas: Nas,
    relay: Relay,
    round: usize,
    told: Told,
}

impl Clients {
    fn new() -> Self {
        let (mut nas, mut relay) = (network::nas(1), network::relay(1));
        (nas.retry, nas.tries) = (Duration::from_secs(1), 3);
        (relay.retry, relay.tries) = (Duration::from_secs(1), 3);
        Self { nas, relay, round: 0, told: Told::default() }
    }

    /// Known homes and new ones log in and account, new lines get a lease: all are answered.
    fn work(&mut self, at: &Targets) {
        let (round, told) = (self.round, &mut self.told);
        let new = KNOWN + round * NEW;
        for home in (0..KNOWN).chain(new..new + NEW) {
            let login = network::login(home);
            let accept = self.nas.login(&|| at.auth(), &login, PASSWORD).expect("an answer").accept();
            told.address(&login, accept.address.expect("an address"));
            let session = format!("{round}-{home}");
            for (seconds, status) in [(0, START), (60, INTERIM), (120, STOP)] {
                let event = Event {
                    status,
                    session: session.clone(),
                    login: login.clone(),
                    class: accept.class.clone(),
                    address: accept.address,
                    seconds,
                    octets: seconds * 7,
                    delay: None,
                };
                assert!(self.nas.account(&|| at.acct(), &event), "no answer to {event:?}");
                told.acknowledged(&event);
            }
        }
        for number in round * NEW..(round + 1) * NEW {
            let lease = self.relay.lease(&|| at.dhcp4(), &network::line(number)).expect("a lease");
            told.address(&format!("line{number}"), lease.address);
        }
        self.round += 1;
    }
}

fn until_degraded(daemon: &Daemon) {
    daemon.until("health names storage", |daemon| {
        let health = daemon.health();
        (health.starts_with("ready") && health.contains("degraded: storage")).then_some(())
    });
}

fn until_well(daemon: &Daemon) {
    daemon.until("nothing is degraded", |daemon| (daemon.health() == "ready\n").then_some(()));
    daemon.until_drained();
}

#[test]
fn without_its_database_the_daemon_answers_and_keeps_what_it_acknowledges() {
    let Some(site) = Site::new() else { return };
    let (daemon, at, mut clients) = site.at_work();
    for fault in [Fault::Refuse, Fault::BlackHole, Fault::Late(Duration::from_secs(5))] {
        site.proxy.set(fault);
        clients.work(&at);
        until_degraded(&daemon);
        clients.work(&at);
        site.bring_back(&daemon, &clients);
    }
    everybody_has_what_was_acknowledged(&clients.told, &at);
    assert!(daemon.terminate().success());
}

#[test]
fn a_start_without_the_database_serves_from_the_nodes_own_image() {
    let Some(site) = Site::new() else { return };
    let (daemon, at, mut clients) = site.at_work();
    // It must end although nobody at the other end says anything.
    site.proxy.set(Fault::BlackHole);
    clients.work(&at);
    assert!(daemon.terminate().success());

    for fault in [Fault::Refuse, Fault::BlackHole] {
        site.proxy.set(fault);
        let daemon = site.settings.start();
        at.follow(&daemon);
        assert!(daemon.health().contains("degraded: storage"), "{}", daemon.health());
        clients.work(&at);
        everybody_has_what_was_acknowledged(&clients.told, &at);
        daemon.kill();
    }
    let daemon = site.settings.start();
    at.follow(&daemon);
    clients.work(&at);
    site.bring_back(&daemon, &clients);
    everybody_has_what_was_acknowledged(&clients.told, &at);
    assert!(daemon.terminate().success());
}

#[test]
fn a_kill_right_after_the_first_start_leaves_an_image_to_start_from() {
    let Some(site) = Site::new() else { return };
    let daemon = site.settings.start();
    daemon.kill();
    site.proxy.set(Fault::Refuse);
    let daemon = site.settings.clone().without_definitions().start();
    Clients::new().work(&Targets::of(&daemon));
    assert!(daemon.terminate().success());
}

#[test]
fn a_backlog_at_its_bound_stops_accounting_until_the_database_is_back() {
    let Some(mut site) = Site::new() else { return };
    site.settings.set_text("journal.segment", "256KiB");
    site.settings.set_text("journal.backlog_max", "1MiB");
    let daemon = site.settings.start();
    let at = Targets::of(&daemon);
    let mut nas = network::nas(1);
    let known = nas.login(&|| at.auth(), &network::login(0), PASSWORD).unwrap().accept();
    until_well(&daemon);
    site.proxy.set(Fault::Refuse);
    let acknowledged = account_until_silence(&mut nas, &at, &known);
    daemon.until("health names the journal", |daemon| {
        daemon.health().contains("degraded: journal").then_some(())
    });
    assert!(journal_unavailable(&daemon) > 0);
    let again = nas.login(&|| at.auth(), &network::login(0), PASSWORD).unwrap().accept();
    assert_eq!(again.address, known.address);
    assert_eq!(nas.login(&|| at.auth(), &network::login(1), PASSWORD), None);
    site.proxy.set(Fault::None);
    until_well(&daemon);
    nas.tries = 20;
    assert!(nas.login(&|| at.auth(), &network::login(1), PASSWORD).unwrap().accept().address.is_some());
    assert!(daemon.terminate().success());
    let rows = sessions(&site.postgres.url());
    let row = rows.iter().find(|row| row.acct_session_id == "full-1").expect("the session is in storage");
    // The last Interim was sent three times without an answer, and may have become durable all the same.
    assert!((u64::from(acknowledged)..=u64::from(acknowledged) + 1).contains(&row.records), "{row:?}");
    drop(site.directory);
}

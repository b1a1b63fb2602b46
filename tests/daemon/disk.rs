//! Fault F3: the disk is full. Known subscribers go on; whatever would have to be written gets silence; nothing that was
//! acknowledged is lost, and nobody has to restart anything once there is room again.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lastmile::dhcp::v4::wire::MessageType;
use lastmile::journal::record::Record;
use lastmile::journal::{self, Config, RealDisk, Sequence};
use lastmile::time::Stamp;

use crate::kills::sessions;
use crate::network::{self, PASSWORD, Targets};
use crate::support::daemon::{Daemon, Settings};
use crate::support::dhcp_client::Relay;
use crate::support::mounts::SmallDisk;
use crate::support::radius_client::{Accept, Event, INTERIM, Nas, START};

/// Homes and lines that have an address when the disk fills up.
const KNOWN: usize = 20;

fn event(status: u32, accept: &Accept, octets: u32) -> Event {
    Event {
        status,
        session: "full-1".to_owned(),
        login: network::login(0),
        class: accept.class.clone(),
        address: accept.address,
        seconds: octets,
        octets,
        delay: None,
    }
}

/// Reports interims until nobody answers any more: segments are written ahead, so a full disk shows late. How many were
/// acknowledged.
pub(crate) fn account_until_silence(nas: &mut Nas, at: &Targets, accept: &Accept) -> u32 {
    (nas.retry, nas.tries) = (Duration::from_millis(500), 3);
    (1..20_000)
        .find(|number| !nas.account(&|| at.acct(), &event(INTERIM, accept, *number)))
        .map(|number| number - 1)
        .expect("the journal took more than there is room for")
}

pub(crate) fn journal_unavailable(daemon: &Daemon) -> u64 {
    daemon.metrics().sum("lastmile_decisions_total", &[("reason", "journal-unavailable")])
}

#[test]
fn a_full_disk_stops_new_grants_and_accounting_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&directory.path().join("state"), 48) else { return };
    let definitions = directory.path().join("definitions");
    network::write(&definitions, KNOWN + 10, KNOWN + 10);
    let mut settings = Settings::new(directory.path()).with_definitions(&definitions);
    settings.wrapper = disk.wrapper();
    settings.set_text("journal.segment", "256KiB");
    let daemon = settings.start();
    let at = Targets::of(&daemon);
    let (mut nas, mut relay) = (network::nas(1), network::relay(1));
    let accepts: Vec<Accept> = (0..KNOWN)
        .map(|home| nas.login(&|| at.auth(), &network::login(home), PASSWORD).unwrap().accept())
        .collect();
    let leases: Vec<_> =
        (0..KNOWN).map(|line| relay.lease(&|| at.dhcp4(), &network::line(line)).unwrap().address).collect();
    assert!(nas.account(&|| at.acct(), &event(START, &accepts[0], 0)));
    daemon.until_drained();

    disk.fill();
    let before = account_until_silence(&mut nas, &at, &accepts[0]);
    let health = daemon.until("health names the journal", |daemon| {
        let health = daemon.health();
        health.contains("degraded: journal").then_some(health)
    });
    assert!(health.starts_with("ready"), "{health}");
    assert_eq!(daemon.metrics().sum("lastmile_journal_available", &[]), 0);

    (nas.retry, nas.tries) = (Duration::from_millis(300), 3);
    (relay.retry, relay.tries) = (Duration::from_millis(300), 3);
    everybody_known_is_answered(&mut nas, &mut relay, &at, &accepts, &leases);
    let silences = journal_unavailable(&daemon);
    let newcomer = network::login(KNOWN);
    assert_eq!(nas.login(&|| at.auth(), &newcomer, PASSWORD), None);
    assert!(!nas.account(&|| at.acct(), &event(INTERIM, &accepts[0], before + 1)));
    assert_eq!(relay.lease(&|| at.dhcp4(), &network::line(KNOWN)), None);
    assert!(journal_unavailable(&daemon) >= silences + 3, "{}", daemon.metrics().0);

    // Whoever restarts it now, for want of a better idea, takes nothing from those who are known.
    daemon.kill();
    let daemon = settings.start();
    at.follow(&daemon);
    daemon.until("health names the journal", |daemon| {
        daemon.health().contains("degraded: journal").then_some(())
    });
    everybody_known_is_answered(&mut nas, &mut relay, &at, &accepts, &leases);
    assert_eq!(nas.login(&|| at.auth(), &newcomer, PASSWORD), None);

    disk.free();
    daemon.until("the journal takes records again", |daemon| {
        (!daemon.health().contains("degraded: journal")).then_some(())
    });
    daemon.until("the hold of the start is in the journal", |_| {
        let held = holds_of(&copy_of_journal(&disk, directory.path()));
        held.last().is_some_and(|until| *until > Stamp::ZERO).then_some(())
    });
    (nas.retry, nas.tries) = (Duration::from_millis(500), 20);
    (relay.retry, relay.tries) = (Duration::from_millis(500), 20);
    assert!(nas.account(&|| at.acct(), &event(INTERIM, &accepts[0], before + 1)));
    assert!(nas.login(&|| at.auth(), &newcomer, PASSWORD).unwrap().accept().address.is_some());
    assert!(relay.lease(&|| at.dhcp4(), &network::line(KNOWN)).is_some());
    daemon.until_drained();
    daemon.until("storage is not degraded", |daemon| (daemon.health() == "ready\n").then_some(()));
    assert!(daemon.terminate().success());

    let rows = sessions(&copy_of_database(&disk, directory.path()));
    let row = rows.iter().find(|row| row.acct_session_id == "full-1").expect("the session is in storage");
    // The Start, every Interim until the disk was full, and the one after.
    assert_eq!(row.records, u64::from(before) + 2, "{row:?}");
    assert_eq!(row.octets_in, u64::from(before) + 1);
}

/// Known homes log in five times and get their address, known lines are confirmed theirs.
fn everybody_known_is_answered(
    nas: &mut Nas,
    relay: &mut Relay,
    at: &Targets,
    accepts: &[Accept],
    leases: &[Ipv4Addr],
) {
    for _ in 0..5 {
        for (home, known) in accepts.iter().enumerate() {
            let login = nas.login(&|| at.auth(), &network::login(home), PASSWORD);
            assert_eq!(login.expect("a known subscriber is answered").accept().address, known.address);
        }
    }
    for (line, known) in leases.iter().enumerate() {
        let reply = relay.confirm(&|| at.dhcp4(), &network::line(line), *known);
        assert_eq!(reply.expect("a durable lease is confirmed").kind, MessageType::Ack);
    }
}

/// URL of a copy outside the disk: SQLite would not find its way there.
fn copy_of_database(disk: &SmallDisk, to: &Path) -> String {
    for name in ["lastmile.db", "lastmile.db-wal"] {
        let from = disk.path().join(name);
        if from.exists() {
            std::fs::copy(from, to.join(name)).unwrap();
        }
    }
    format!("sqlite:{}", to.join("lastmile.db").display())
}

/// A copy of the journal as it stands on the disk.
fn copy_of_journal(disk: &SmallDisk, to: &Path) -> PathBuf {
    let copy = to.join("journal");
    let _ = std::fs::remove_dir_all(&copy);
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(disk.path().join("journal")).unwrap().map(Result::unwrap) {
        // The next segment is made under another name, and may have gone meanwhile.
        let _ = std::fs::copy(file.path(), copy.join(file.file_name()));
    }
    copy
}

/// What the hold records of a journal say of leases, oldest first.
fn holds_of(directory: &Path) -> Vec<Stamp> {
    let disk = RealDisk::at(directory).unwrap();
    let mut held = Vec::new();
    let mut visit = |item: journal::Record<'_>| -> Result<(), journal::VisitError> {
        if let Record::Hold(hold) = Record::decode(item.kind, item.version, item.payload)? {
            held.push(hold.leases);
        }
        Ok(())
    };
    let config = Config { segment_bytes: 256 * 1024, ..Config::of_node(1, 1, 1) };
    // A copy taken while the journal is written may end in the middle of a commit.
    let _ = journal::recover(&disk, &config, Sequence::ZERO, &mut visit);
    held
}

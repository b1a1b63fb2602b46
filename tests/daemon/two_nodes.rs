//! Two nodes over one PostgreSQL, each with half of every pool (FIELD R5).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::kills::sessions;
use crate::network::{self, FIXED, PASSWORD, Targets};
use crate::support::daemon::{Daemon, Settings};
use crate::support::postgres::TestPostgres;
use crate::support::proxy::{Fault, Proxy};
use crate::support::radius_client::{Accept, Event, INTERIM, START, STOP};

const HOMES: usize = 40;

fn node(directory: &Path, number: u16, url: &str) -> Settings {
    let mut settings = Settings::new(&directory.join(format!("node{number}")));
    settings.set_text("storage.url", url);
    settings.set("node.id", &number.to_string());
    settings.set_text("node.name", &format!("node-{number}"));
    settings.set_text("node.share", &format!("{number}/2"));
    // The master key is the installation's.
    settings.set_text("secrets.key_file", &directory.join("secret.key").display().to_string());
    settings
}

/// How many records of the other node a node took for `lesson`.
fn learned(daemon: &Daemon, lesson: &str) -> u64 {
    daemon.metrics().sum("lastmile_feed_records_total", &[("lesson", lesson)])
}

fn until_learned(daemon: &Daemon, count: u64) {
    daemon
        .until("the node learned of the other", |daemon| (learned(daemon, "learned") >= count).then_some(()));
}

fn until_granted(daemon: &Daemon, pool: &str, count: u64) {
    daemon.until("the node knows how many addresses are in use", |daemon| {
        let labels = [("pool", pool), ("state", "granted")];
        (daemon.metrics().sum("lastmile_pool_addresses", &labels) == count).then_some(())
    });
}

#[test]
fn two_nodes_give_different_newcomers_different_addresses_and_take_each_others_accounting() {
    let Some(postgres) = TestPostgres::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let definitions = directory.path().join("definitions");
    network::write(&definitions, HOMES, 1);
    let first = node(directory.path(), 1, &postgres.url()).with_definitions(&definitions).start();
    let second = node(directory.path(), 2, &postgres.url()).start();
    let nodes = [Targets::of(&first), Targets::of(&second)];

    // Newcomers, now here, now there.
    let mut nas = network::nas(1);
    let mut accepts: Vec<Accept> = Vec::new();
    for home in 0..HOMES {
        let at = &nodes[home % 2];
        accepts.push(nas.login(&|| at.auth(), &network::login(home), PASSWORD).unwrap().accept());
    }
    let addresses: Vec<Ipv4Addr> = accepts.iter().map(|accept| accept.address.unwrap()).collect();
    let distinct: BTreeSet<Ipv4Addr> = addresses.iter().copied().collect();
    assert_eq!(distinct.len(), HOMES, "{addresses:?}");

    // A fixed address needs no share.
    for at in &nodes {
        let accept = nas.login(&|| at.auth(), "fixed", PASSWORD).unwrap().accept();
        assert_eq!(accept.address, Some(FIXED));
    }

    // What one node accepted, the other accounts.
    for (home, accept) in accepts.iter().enumerate().skip(1) {
        let other = &nodes[(home + 1) % 2];
        for (seconds, status) in [(0, START), (60, INTERIM), (120, STOP)] {
            let event = Event {
                status,
                session: format!("across-{home}"),
                login: network::login(home),
                class: accept.class.clone(),
                address: accept.address,
                seconds,
                octets: seconds * 3,
                delay: None,
            };
            assert!(nas.account(&|| other.acct(), &event), "no answer to {event:?}");
        }
    }

    // What was left comes back from the node whose share it is of.
    let back = nas.login(&|| nodes[1].auth(), &network::login(1), PASSWORD).unwrap().accept();
    assert_eq!(back.address, accepts[1].address);

    for daemon in [first, second] {
        daemon.until_drained();
        assert_eq!(daemon.metrics().sum("lastmile_ledger_conflicts", &[]), 0);
        assert_eq!(learned(&daemon, "conflict"), 0);
        assert!(daemon.terminate().success());
    }
    let rows = sessions(&postgres.url());
    for home in 1..HOMES {
        let id = format!("across-{home}");
        let of_home: Vec<_> = rows.iter().filter(|row| row.acct_session_id == id).collect();
        assert!(matches!(of_home[..], [row] if row.records == 3 && row.state == "closed"), "{of_home:#?}");
    }
}

#[test]
fn a_subscriber_keeps_its_address_whichever_node_answers_and_leaves_it_at_either() {
    let Some(postgres) = TestPostgres::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let definitions = directory.path().join("definitions");
    network::write(&definitions, 4, 2);
    let first = node(directory.path(), 1, &postgres.url()).with_definitions(&definitions).start();
    let proxy = Proxy::to(postgres.port());
    let far = postgres.url().replace(&format!(":{}/", postgres.port()), &format!(":{}/", proxy.port()));
    let second = node(directory.path(), 2, &far).start();
    let nodes = [Targets::of(&first), Targets::of(&second)];
    let mut nas = network::nas(1);
    let mut relay = network::relay(1);

    // PPPoE: from the first node to the second, which ends it.
    let login = network::login(0);
    let accept = nas.login(&|| nodes[0].auth(), &login, PASSWORD).unwrap().accept();
    until_learned(&second, 1);
    let moved = nas.login(&|| nodes[1].auth(), &login, PASSWORD).unwrap().accept();
    assert_eq!(moved.address, accept.address);
    until_learned(&first, 1);
    for (seconds, status) in [(0, START), (60, STOP)] {
        let event = Event {
            status,
            session: "moved".to_owned(),
            login: login.clone(),
            class: moved.class.clone(),
            address: moved.address,
            seconds,
            octets: seconds,
            delay: None,
        };
        assert!(nas.account(&|| nodes[1].acct(), &event), "no answer to {event:?}");
    }
    until_granted(&second, "homes", 0);
    until_granted(&first, "homes", 0);

    // DHCP, and a home that stays.
    let lease = relay.lease(&|| nodes[0].dhcp4(), &network::line(1)).expect("a lease");
    let stays = nas.login(&|| nodes[0].auth(), &network::login(1), PASSWORD).unwrap().accept();
    until_granted(&second, "homes", 1);
    until_granted(&second, "lines", 1);
    let again = relay.lease(&|| nodes[1].dhcp4(), &network::line(1)).expect("a lease");
    assert_eq!(again.address, lease.address);

    // What the second node learned it knows without the database, too.
    assert!(second.terminate().success());
    proxy.set(Fault::Refuse);
    let second = node(directory.path(), 2, &far).start();
    nodes[1].follow(&second);
    assert!(second.health().contains("degraded: storage"), "{}", second.health());
    let answer = nas.login(&|| nodes[1].auth(), &network::login(1), PASSWORD).unwrap().accept();
    assert_eq!(answer.address, stays.address);
    proxy.set(Fault::None);
    second.until_drained();
    for daemon in [first, second] {
        assert_eq!(learned(&daemon, "conflict"), 0);
        assert!(daemon.terminate().success());
    }
}

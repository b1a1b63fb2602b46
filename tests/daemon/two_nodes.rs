//! Two nodes over one PostgreSQL, each with half of every pool (FIELD R5).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::kills::sessions;
use crate::network::{self, FIXED, PASSWORD, Targets};
use crate::support::daemon::Settings;
use crate::support::note;
use crate::support::postgres::TestPostgres;
use crate::support::radius_client::{Accept, Event, INTERIM, START, STOP};

const HOMES: usize = 40;

#[test]
fn two_nodes_give_different_newcomers_different_addresses_and_take_each_others_accounting() {
    let Some(postgres) = TestPostgres::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let definitions = directory.path().join("definitions");
    network::write(&definitions, HOMES, 1);
    let node = |number: u16| {
        let mut settings = Settings::new(&directory.path().join(format!("node{number}")));
        settings.set_text("storage.url", &postgres.url());
        settings.set("node.id", &number.to_string());
        settings.set_text("node.name", &format!("node-{number}"));
        settings.set_text("node.share", &format!("{number}/2"));
        // The master key is the installation's.
        settings.set_text("secrets.key_file", &directory.path().join("secret.key").display().to_string());
        settings
    };
    let first = node(1).with_definitions(&definitions).start();
    let second = node(2).start();
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

    // The other node has heard nothing of home 0, and gives it an address of its own half; of home 1 it has, by accounting.
    let [unheard, heard] = [(0, 1), (1, 0)].map(|(home, node): (usize, usize)| {
        let answer = nas.login(&|| nodes[node].auth(), &network::login(home), PASSWORD);
        answer.unwrap().accept().address.unwrap()
    });
    note(&format!("home 0 had {} on node 1, gets {unheard} on node 2", addresses[0]));
    assert!(!addresses[1..].contains(&unheard), "{unheard} is somebody else's");
    assert_eq!(heard, addresses[1]);

    for daemon in [first, second] {
        daemon.until_drained();
        assert_eq!(daemon.metrics().sum("lastmile_ledger_conflicts", &[]), 0);
        assert!(daemon.terminate().success());
    }
    let rows = sessions(&postgres.url());
    for home in 1..HOMES {
        let id = format!("across-{home}");
        let of_home: Vec<_> = rows.iter().filter(|row| row.acct_session_id == id).collect();
        assert!(matches!(of_home[..], [row] if row.records == 3 && row.state == "closed"), "{of_home:#?}");
    }
}

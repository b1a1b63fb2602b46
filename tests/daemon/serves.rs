//! What a daemon with the example definitions does for its clients, across an ordered stop and start.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::network::Targets;
use crate::support::daemon::Settings;
use crate::support::dhcp_client::{Line, Relay};
use crate::support::radius_client::{Event, INTERIM, Login, Nas, START};
use crate::support::skip;

const SECRET: &str = "testing123-lab";
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn example(directory: &Path) -> Settings {
    let definitions = Path::new(env!("CARGO_MANIFEST_DIR")).join("netdefs/example-isp");
    Settings::new(directory).with_definitions(&definitions)
}

/// The line of access a1002.
fn fibre_line() -> Line {
    Line {
        mac: [2, 0, 0x5e, 0, 0x53, 2],
        circuit_id: b"OLT7 eth 1/3/27/1/1:300".to_vec(),
        remote_id: vec![0x02, 0x00, 0x5e, 0x00, 0x53, 0x01],
    }
}

#[test]
fn a_login_and_a_lease_keep_their_address_over_an_ordered_restart() {
    let directory = tempfile::tempdir().unwrap();
    let settings = example(directory.path());
    let daemon = settings.start();
    let at = Targets::of(&daemon);
    let mut nas = Nas::at(LOOPBACK, SECRET, 1);
    let mut relay = Relay::at(LOOPBACK, Ipv4Addr::new(198, 51, 100, 1), 1);

    let first = nas.login(&|| at.auth(), "home1001", "lab-password-1001").unwrap().accept();
    assert_eq!(nas.login(&|| at.auth(), "home1001", "wrong").unwrap(), Login::Reject);
    let why = settings.command_line(&["why", "home1001"]);
    assert!(why.contains("auth.last_reject: password-mismatch ×1 since "), "{why}");
    let mut event = Event {
        status: START,
        session: "s-1".to_owned(),
        login: "home1001".to_owned(),
        class: first.class.clone(),
        address: first.address,
        ..Event::default()
    };
    assert!(nas.account(&|| at.acct(), &event));
    let lease = relay.lease(&|| at.dhcp4(), &fibre_line()).unwrap();
    assert_eq!(lease.address.octets()[..3], [198, 51, 100]);
    assert_eq!(lease.lease_secs, 3600);

    let metrics = daemon.metrics();
    let decisions = |plane, outcome, reason| {
        let labels = [("plane", plane), ("outcome", outcome), ("reason", reason)];
        metrics.sum("lastmile_decisions_total", &labels)
    };
    assert_eq!(decisions("auth", "granted", "accepted"), 1, "{}", metrics.0);
    assert_eq!(decisions("auth", "refused", "password-mismatch"), 1, "{}", metrics.0);
    assert_eq!(decisions("acct", "granted", "accounted"), 1, "{}", metrics.0);
    assert_eq!(metrics.sum("lastmile_ledger_sessions", &[]), 1);
    assert_eq!(metrics.sum("lastmile_ledger_leases", &[]), 1);
    let of_nas = |name| metrics.sum(name, &[("nas", "bras1")]);
    assert_eq!(
        (of_nas("lastmile_nas_accepts_total"), of_nas("lastmile_nas_starts_total")),
        (1, 1),
        "{}",
        metrics.0
    );
    assert!(of_nas("lastmile_nas_last_heard_seconds") > 0);
    assert_eq!(daemon.health(), "ready\n");
    assert!(daemon.terminate().success());

    let daemon = settings.start();
    at.follow(&daemon);
    let metrics = daemon.metrics();
    assert_eq!(metrics.sum("lastmile_ledger_sessions", &[]), 1, "{}", metrics.0);
    assert_eq!(metrics.sum("lastmile_ledger_leases", &[]), 1, "{}", metrics.0);
    (event.status, event.seconds, event.octets) = (INTERIM, 60, 1_000);
    assert!(nas.account(&|| at.acct(), &event));
    assert_eq!(relay.confirm(&|| at.dhcp4(), &fibre_line(), lease.address).unwrap().address, lease.address);
    let again = nas.login(&|| at.auth(), "home1001", "lab-password-1001").unwrap().accept();
    assert_eq!(again.address, first.address);
    assert!(daemon.terminate().success());
}

#[test]
fn radclient_is_answered_on_both_ports() {
    if Command::new("radclient").arg("-v").output().is_err() {
        skip("no radclient");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let daemon = example(directory.path()).start();
    let (auth, acct) = (daemon.listener("radius-auth"), daemon.listener("radius-acct"));
    let signed = "Message-Authenticator = 0x00\n";
    let login = "User-Name = home1001\nUser-Password = lab-password-1001\nService-Type = Framed-User\n\
                 Framed-Protocol = PPP\nNAS-Port-Id = ether3\n";
    let accept = radclient(auth, "auth", &format!("{login}{signed}"));
    assert!(accept.contains("Received Access-Accept"), "{accept}");
    assert!(accept.contains("Framed-IP-Address = 100.64."), "{accept}");
    let start =
        "User-Name = home1001\nAcct-Status-Type = Start\nAcct-Session-Id = r-1\nNAS-Port-Id = ether3\n";
    let response = radclient(acct, "acct", start);
    assert!(response.contains("Received Accounting-Response"), "{response}");
    assert!(radclient(auth, "status", signed).contains("Received Access-Accept"));
    assert!(radclient(acct, "status", signed).contains("Received Accounting-Response"));
    let wrong = login.replace("lab-password-1001", "wrong");
    assert!(radclient(auth, "auth", &format!("{wrong}{signed}")).contains("Received Access-Reject"));
    // Unsigned requests get no answer where signatures are required.
    let silence = radclient_from(auth, "auth", login, &["-r", "1", "-t", "1"]);
    assert!(!silence.contains("Received"), "{silence}");
    assert!(daemon.terminate().success());
}

fn radclient(server: SocketAddr, command: &str, attributes: &str) -> String {
    radclient_from(server, command, attributes, &[])
}

fn radclient_from(server: SocketAddr, command: &str, attributes: &str, options: &[&str]) -> String {
    let mut child = Command::new("radclient")
        .arg("-x")
        .args(options)
        .args([&server.to_string(), command, SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(attributes.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn threads_that_wait_for_a_database_or_a_person_run_at_a_lower_priority_than_packets() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = example(directory.path()).start();
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.process_id())).unwrap();
    // Whoever runs the tests may have lowered their priority: the daemon's packets then have the same.
    let own = rustix::process::getpriority_process(None).unwrap();
    let mut seen = Vec::new();
    for task in tasks {
        // A thread may have ended since it was listed.
        let Ok(stat) = std::fs::read_to_string(task.unwrap().path().join("stat")) else { continue };
        let (name, fields) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).unwrap();
        // proc_pid_stat(5): nice is the 19th field, the 17th behind the name.
        let nice: i32 = fields.split_whitespace().nth(16).unwrap().parse().unwrap();
        let of_control =
            ["control", "applier", "sqlx", "lastmile"].iter().any(|known| name.starts_with(known));
        assert_eq!(nice, if of_control { own.max(10) } else { own }, "thread {name}");
        seen.push(name.to_owned());
    }
    for wanted in ["packets-0", "journal-commit", "applier", "control", "sqlx"] {
        assert!(seen.iter().any(|name| name.starts_with(wanted)), "no {wanted} among {seen:?}");
    }
    assert!(daemon.terminate().success());
}

//! The log says what was refused or not answered, and why, without becoming a flood itself (fault F13).

use std::net::{Ipv4Addr, SocketAddr};

use crate::network::{self, PASSWORD, Targets};
use crate::support::daemon::{Daemon, Settings};
use crate::support::radius_client::{Login, Nas};

/// Sources that no NAS has, as a scan of the port has.
const STRANGERS: u8 = 100;
const WRONG: u64 = 30;

fn lines(log: &str, reason: &str) -> Vec<String> {
    log.lines().filter(|line| line.contains(&format!("reason=\"{reason}\""))).map(str::to_owned).collect()
}

fn until_counted(daemon: &Daemon, reason: &str, times: u64) {
    daemon.until("all are counted", |daemon| {
        let counted = daemon.metrics().sum("lastmile_decisions_total", &[("reason", reason)]);
        (counted >= times).then_some(())
    });
}

#[test]
fn refusals_and_strangers_are_logged_once_with_their_reason_and_then_counted() {
    let directory = tempfile::tempdir().unwrap();
    let definitions = directory.path().join("definitions");
    network::write(&definitions, 1, 1);
    let daemon = Settings::new(directory.path()).with_definitions(&definitions).start();
    let at = Targets::of(&daemon);
    let target = || -> SocketAddr { at.auth() };

    let mut nas = network::nas(1);
    let hostile = "eve\u{1b}[2J\n\"x\"";
    assert_eq!(nas.login(&target, hostile, "hunter22-secret"), Some(Login::Reject));
    daemon.until("the reject is logged", |daemon| {
        (!lines(&daemon.log(), "unknown-login").is_empty()).then_some(())
    });
    for _ in 0..WRONG {
        assert_eq!(nas.login(&target, &network::login(0), "hunter22-secret"), Some(Login::Reject));
    }
    for host in 1..=STRANGERS {
        let mut stranger = Nas::at(Ipv4Addr::new(127, 9, 9, host), PASSWORD, u64::from(host));
        let request = stranger.access_request("x", "y");
        stranger.send(&request, target());
    }
    until_counted(&daemon, "password-mismatch", WRONG);
    until_counted(&daemon, "unknown-nas", u64::from(STRANGERS));
    daemon.until("the strangers are logged", |daemon| {
        (!lines(&daemon.log(), "unknown-nas").is_empty()).then_some(())
    });
    let (status, log) = daemon.terminate_and_log();
    assert!(status.success());

    let unknown = lines(&log, "unknown-login");
    assert!(unknown[0].contains("login=\"0x6576651b5b324a0a227822\""), "{unknown:?}");
    assert!(
        unknown[0].contains("INFO") && unknown[0].contains("nas=\"") && unknown[0].contains("plane=\"auth\""),
        "{unknown:?}"
    );
    for (reason, sent) in [("password-mismatch", WRONG), ("unknown-nas", u64::from(STRANGERS))] {
        let lines = lines(&log, reason);
        assert!(!lines.is_empty() && (lines.len() as u64) < sent / 3, "{lines:#?}");
    }
    assert!(lines(&log, "unknown-nas")[0].contains("WARN"), "{log}");
    assert!(!log.contains("hunter22") && !log.contains('\u{1b}'), "{log}");
}

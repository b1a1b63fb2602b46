//! Does `lastmile demo` show what it promises, with the real binary, and clean up behind itself?
//!
//! The demo checks every answer itself and fails otherwise, so its exit status is the test of the whole: API, RADIUS,
//! DHCP, journal and recovery.

#![expect(clippy::unwrap_used, reason = "only tests call it: a panic is a failed test")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The demo with its temporary directory below `temporary`.
fn demo(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lastmile"));
    command.arg("demo").args(arguments).env("TMPDIR", temporary).stdin(Stdio::null());
    command
}

/// Its output, after it ended well.
fn played(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}\n{text}", output.status);
    text
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn the_tour_ends_well_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let text = played(&demo(temporary.path(), &["--exit"]).output().unwrap());
    for line in [
        "ok  a token for the CRM: 201",
        "ok  a wrong password: Access-Reject",
        "ok  the right password: Access-Accept",
        "ok  accounting, answered once it is durable: Accounting-Response",
        "ok  its fixed address: 203.0.113.20",
        "ok  the lease, answered once it is durable: DHCPACK",
        "kill -9",
        "ok  sessions of the login: 1",
        "ok  and keeps its address: 198.51.100.",
        "ok  the service is in force: in_force",
        "ok  the answer to why: password-mismatch",
        "checks passed.",
        "ok  the daemon ended in order: exit status: 0",
    ] {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
    for secret in ["lab-password", "testing123", "lm_pat_"] {
        assert!(!text.contains(secret), "{secret} is shown in\n{text}");
    }
    assert!(is_empty(temporary.path()));
}

#[test]
fn a_state_that_was_kept_serves_the_next_tour() {
    let temporary = tempfile::tempdir().unwrap();
    let state = tempfile::tempdir().unwrap();
    let arguments = ["--exit", "--state", state.path().to_str().unwrap()];
    let first = played(&demo(temporary.path(), &arguments).output().unwrap());
    assert!(first.contains("201 created"), "{first}");
    let second = played(&demo(temporary.path(), &arguments).output().unwrap());
    assert!(second.contains("200 unchanged") && !second.contains("201 created"), "{second}");
    assert!(state.path().join("netdefs/plans.toml").exists());
}

#[test]
fn a_daemon_that_was_left_up_stops_when_it_is_asked_to() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = demo(temporary.path(), &[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let invitation: Vec<String> = lines.by_ref().take_while(|line| !line.contains("daemon's log")).collect();
    assert!(invitation.iter().any(|line| line.contains("curl -s")), "{}", invitation.join("\n"));
    for line in invitation.iter().filter(|line| line.contains("radclient")) {
        assert!(line.contains("Message-Authenticator=0x00"), "{line}");
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let rest: Vec<String> = lines.collect();
    assert!(child.wait().unwrap().success(), "{}", rest.join("\n"));
    assert!(rest.iter().any(|line| line.contains("ended in order")), "{}", rest.join("\n"));
    assert!(is_empty(temporary.path()));
}

//! Fault F9: the wall clock is stepped under a running daemon, and between two of its runs. Nothing ends that has not run
//! out, nothing freezes, and after a leap that nobody can explain an operator has the last word.
//!
//! The daemon alone sees the false time, by libfaketime; its monotonic clock goes on as a machine's does.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use lastmile::dhcp::v4::wire::MessageType;
use lastmile::time::{Clock, SteadyClock};

use crate::kills::sessions;
use crate::network::{self, PASSWORD, Targets};
use crate::support::daemon::{Daemon, Settings};
use crate::support::dhcp_client::Relay;
use crate::support::radius_client::{Accept, Event, INTERIM, Nas, START, STOP};
use crate::support::skip;

const HOMES: usize = 12;
const LINES: usize = 12;
/// Homes and lines that come for the first time in a round.
const NEW: usize = 2;
const ROUNDS: usize = 6;
const DAY_SECS: i64 = 86_400;
/// One sweep over the ledger and a bit, in seconds of the daemon's own uptime.
const SWEPT_SECS: u64 = 12;

/// A wall clock that the test sets.
struct FakeClock {
    file: PathBuf,
    seconds: i64,
}

impl FakeClock {
    /// Where libfaketime is, if anywhere.
    fn library() -> Option<String> {
        let places = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
        let library = |place: &Path| place.join("faketime/libfaketimeMT.so.1");
        let found = places.map(|place| library(&place.path())).find(|library| library.exists());
        if found.is_none() {
            skip("no libfaketimeMT.so.1 (Debian package libfaketime)");
        }
        found.map(|library| library.display().to_string())
    }

    fn install(directory: &Path, settings: &mut Settings) -> Option<Self> {
        let library = Self::library()?;
        let file = directory.join("clock");
        for (name, value) in [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ] {
            settings.environment.push((name.to_owned(), value.to_owned()));
        }
        let mut clock = Self { file, seconds: 0 };
        clock.set(0);
        Some(clock)
    }

    /// The daemon's wall clock is so far from the true one from now on.
    fn set(&mut self, seconds: i64) {
        self.seconds = seconds;
        let fresh = self.file.with_extension("new");
        std::fs::write(&fresh, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(&fresh, &self.file).unwrap();
    }

    /// Waits until the daemon's log carries the false date: a test whose clock was never stepped proves nothing.
    fn until_seen_by(&self, daemon: &Daemon) {
        let true_secs = i64::try_from(SteadyClock::start().now().stamp.secs()).unwrap();
        daemon.until("the daemon sees the stepped clock", |daemon| {
            daemon.reload();
            let log = daemon.log();
            let newest = log.lines().rev().find(|line| !line.is_empty())?;
            let seen = parse(newest)?;
            ((seen - true_secs - self.seconds).abs() < 300).then_some(())
        });
    }
}

/// Seconds since the Unix epoch of an RFC 3339 stamp in UTC.
fn parse(date: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| date.get(range)?.parse::<i64>().ok();
    let month = time::Month::try_from(u8::try_from(number(5..7)?).ok()?).ok()?;
    let day = u8::try_from(number(8..10)?).ok()?;
    let date_only = time::Date::from_calendar_date(i32::try_from(number(0..4)?).ok()?, month, day).ok()?;
    let midnight = date_only.midnight().assume_utc().unix_timestamp();
    Some(midnight + number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?)
}

/// Subscribers who were online before the clock was touched, and what they were told.
struct Subscribers {
    nas: Nas,
    relay: Relay,
    accepts: Vec<Accept>,
    leases: Vec<Ipv4Addr>,
    interims: u32,
    rounds: usize,
}

impl Subscribers {
    fn online(at: &Targets) -> Self {
        let (mut nas, mut relay) = (network::nas(1), network::relay(1));
        let mut accepts = Vec::new();
        for home in 0..HOMES {
            let accept = nas.login(&|| at.auth(), &network::login(home), PASSWORD).unwrap().accept();
            assert!(nas.account(&|| at.acct(), &event(home, START, &accept, 0)));
            accepts.push(accept);
        }
        let lease = |line| relay.lease(&|| at.dhcp4(), &network::line(line)).unwrap().address;
        let leases = (0..LINES).map(lease).collect();
        Self { nas, relay, accepts, leases, interims: 0, rounds: 0 }
    }

    /// Everybody reports or renews and is answered; newcomers get what nobody has.
    fn go_on(&mut self, at: &Targets) {
        self.interims += 1;
        for (home, accept) in self.accepts.iter().enumerate() {
            let interim = event(home, INTERIM, accept, self.interims * 60);
            assert!(self.nas.account(&|| at.acct(), &interim), "no answer to {interim:?}");
        }
        for (line, address) in self.leases.iter().enumerate() {
            let reply = self.relay.confirm(&|| at.dhcp4(), &network::line(line), *address).unwrap();
            assert_eq!((reply.kind, reply.address), (MessageType::Ack, *address), "line {line}");
        }
        for number in self.rounds * NEW..(self.rounds + 1) * NEW {
            let login = network::login(HOMES + number);
            let accept = self.nas.login(&|| at.auth(), &login, PASSWORD).unwrap().accept();
            assert!(self.accepts.iter().all(|known| known.address != accept.address));
            let lease = self.relay.lease(&|| at.dhcp4(), &network::line(LINES + number)).unwrap();
            assert!(!self.leases.contains(&lease.address));
        }
        self.rounds += 1;
    }
}

fn event(home: usize, status: u32, accept: &Accept, seconds: u32) -> Event {
    Event {
        status,
        session: format!("clock-{home}"),
        login: network::login(home),
        class: accept.class.clone(),
        address: accept.address,
        seconds,
        octets: seconds,
        delay: None,
    }
}

fn live(daemon: &Daemon) -> (u64, u64) {
    let metrics = daemon.metrics();
    (metrics.sum("lastmile_ledger_sessions", &[]), metrics.sum("lastmile_ledger_leases", &[]))
}

/// Waits until the ledger was swept from one end to the other.
fn until_swept(daemon: &Daemon) {
    let uptime = |daemon: &Daemon| daemon.metrics().sum("lastmile_process_uptime_seconds", &[]);
    let from = uptime(daemon);
    daemon.until("a sweep", |daemon| (uptime(daemon) >= from + SWEPT_SECS).then_some(()));
}

fn site(directory: &Path) -> Settings {
    let definitions = directory.join("definitions");
    network::write(&definitions, HOMES + NEW * ROUNDS, LINES + NEW * ROUNDS);
    Settings::new(directory).with_definitions(&definitions)
}

#[test]
fn a_stepped_clock_ends_nothing_and_freezes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = site(directory.path());
    let Some(mut clock) = FakeClock::install(directory.path(), &mut settings) else { return };
    let daemon = settings.start();
    let at = Targets::of(&daemon);
    let mut subscribers = Subscribers::online(&at);
    for seconds in [3_600, -3_600, 400 * DAY_SECS, -400 * DAY_SECS] {
        clock.set(seconds);
        clock.until_seen_by(&daemon);
        subscribers.go_on(&at);
        if seconds.abs() > DAY_SECS {
            until_swept(&daemon);
        }
        let leases = LINES + NEW * subscribers.rounds;
        assert_eq!(live(&daemon), (HOMES as u64, leases as u64), "{seconds}: {}", daemon.metrics().0);
    }
    // Time goes on: a release is a release, and its address is the line's when it comes back.
    let stop = event(0, STOP, &subscribers.accepts[0], 600);
    assert!(subscribers.nas.account(&|| at.acct(), &stop));
    let again = subscribers.nas.login(&|| at.auth(), &network::login(0), PASSWORD).unwrap().accept();
    assert_eq!(again.address, subscribers.accepts[0].address);
    daemon.until_drained();
    assert!(daemon.terminate().success());
    let rows = sessions(&settings.sqlite_url());
    assert_eq!(rows.len(), HOMES);
    for row in rows {
        let began_first = row.started_at <= row.updated_at;
        let lasted_secs = row.updated_at.since(row.started_at) / 1000;
        assert!(began_first && lasted_secs < 3_600, "{row:?}");
        assert_eq!(row.stopped_at.is_some(), row.acct_session_id == "clock-0", "{row:?}");
    }
}

/// `lastmile clock confirm` against a daemon of these settings; what it printed.
fn confirm(settings: &Settings) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_lastmile"))
        .args(["clock", "confirm", "--output", "json", "--socket"])
        .arg(settings.directory.join("run/admin.sock"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn is_doubted(daemon: &Daemon) -> bool {
    daemon.health().contains("degraded: clock")
}

#[test]
fn a_start_long_after_the_last_record_ends_nothing_until_an_operator_confirms_the_clock() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = site(directory.path());
    let Some(mut clock) = FakeClock::install(directory.path(), &mut settings) else { return };
    let daemon = settings.start();
    let settings = settings.without_definitions();
    let at = Targets::of(&daemon);
    let mut subscribers = Subscribers::online(&at);
    subscribers.go_on(&at);
    let everybody = live(&daemon);
    assert!(!is_doubted(&daemon));
    // Cleanly, so that recovery reads no record: what it knows of time stands in the checkpoint.
    assert!(daemon.terminate().success());

    clock.set(2 * DAY_SECS);
    let daemon = settings.start();
    at.follow(&daemon);
    assert!(is_doubted(&daemon), "{}", daemon.health());
    until_swept(&daemon);
    assert_eq!(live(&daemon), everybody);
    // One home and one line go on, as clients do that were online all the time.
    let home = event(0, INTERIM, &subscribers.accepts[0], 3_600);
    assert!(subscribers.nas.account(&|| at.acct(), &home));
    let (line, address) = (network::line(0), subscribers.leases[0]);
    assert_eq!(subscribers.relay.confirm(&|| at.dhcp4(), &line, address).unwrap().address, address);

    let said = confirm(&settings);
    assert!(said.contains("\"hold_until\": null"), "{said}");
    daemon.until("what ran out has ended", |daemon| (live(daemon) == (1, 1)).then_some(()));
    daemon.until("the clock is believed", |daemon| (!is_doubted(daemon)).then_some(()));
    assert_eq!(subscribers.relay.confirm(&|| at.dhcp4(), &line, address).unwrap().address, address);
    daemon.until_drained();
    assert!(daemon.terminate().success());

    let daemon = settings.start();
    assert!(!is_doubted(&daemon), "{}", daemon.health());
    let said = confirm(&settings);
    assert!(said.contains("\"last_record\": null") && said.contains("\"hold_until\": null"), "{said}");
    assert!(daemon.terminate().success());
}

#[test]
fn a_start_after_a_kill_with_the_clock_far_ahead_or_set_back_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = site(directory.path());
    let Some(mut clock) = FakeClock::install(directory.path(), &mut settings) else { return };
    let mut daemon = settings.start();
    let settings = settings.without_definitions();
    let at = Targets::of(&daemon);
    let mut subscribers = Subscribers::online(&at);
    let mut leases = LINES;
    // The doubt outlives the leap: the timeline does not go back, and nobody has confirmed anything.
    for (seconds, is_doubtful) in
        [(-400 * DAY_SECS, false), (400 * DAY_SECS, true), (400 * DAY_SECS, true), (0, true)]
    {
        daemon.kill();
        clock.set(seconds);
        daemon = settings.start();
        at.follow(&daemon);
        assert_eq!(is_doubted(&daemon), is_doubtful, "{seconds}: {}", daemon.health());
        until_swept(&daemon);
        assert_eq!(live(&daemon), (HOMES as u64, leases as u64), "{seconds}: {}", daemon.metrics().0);
        subscribers.go_on(&at);
        leases += NEW;
        assert_eq!(live(&daemon), (HOMES as u64, leases as u64), "{seconds}: {}", daemon.metrics().0);
    }
    // What the last kill asks for is held all the same, an hour from then.
    let said = confirm(&settings);
    assert!(!said.contains("\"last_record\": null") && !said.contains("\"hold_until\": null"), "{said}");
    daemon.until("the clock is believed", |daemon| (!is_doubted(daemon)).then_some(()));
    assert!(daemon.terminate().success());
    let daemon = settings.start();
    assert!(!is_doubted(&daemon), "{}", daemon.health());
    assert!(daemon.terminate().success());
}

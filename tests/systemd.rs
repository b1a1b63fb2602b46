//! The unit, the user and the directories of the package: what they promise the daemon, and how far they confine it.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

mod support;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{note, skip};

/// Worst score of `systemd-analyze security` that may be shipped, in tenths; 0 is best, 100 worst.
const EXPOSURE_MAX: u32 = 30;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

/// Values of a setting of the unit, in order.
fn settings(key: &str) -> Vec<String> {
    let unit = std::fs::read_to_string(shipped("lastmile.service")).unwrap();
    let values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.map(ToOwned::to_owned).collect()
}

/// Runs a program of systemd, unless it is not there.
fn systemd(program: &str, arguments: &[&str]) -> Option<Output> {
    let run =
        Command::new(program).args(arguments).env("SYSTEMD_COLORS", "0").env("LC_ALL", "C.UTF-8").output();
    match run {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skip(&format!("{program} is not installed"));
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_unit_starts_watches_and_reloads_the_daemon() {
    assert_eq!(settings("Type"), ["notify"]);
    assert_eq!(settings("WatchdogSec"), ["30"]);
    assert_eq!(settings("ExecStartPre"), ["/usr/bin/lastmile check"]);
    assert_eq!(settings("ExecStart"), ["/usr/bin/lastmile serve"]);
    assert_eq!(settings("ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    assert_eq!(settings("Restart"), ["on-failure"]);
    assert_eq!(
        settings("StartLimitIntervalSec"),
        ["0"],
        "the daemon must come back, however often it failed"
    );
}

#[test]
fn the_unit_provides_the_directories_that_the_configuration_names_by_default() {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/all-keys.toml");
    let keys: toml::Table = std::fs::read_to_string(keys).unwrap().parse().unwrap();
    let default = |key: &str| keys["node"][key].as_str().unwrap().to_owned();
    assert_eq!(default("state"), format!("/var/lib/{}", settings("StateDirectory")[0]));
    assert_eq!(default("run"), format!("/run/{}", settings("RuntimeDirectory")[0]));
    assert_eq!(settings("WorkingDirectory"), [default("state")]);
}

#[test]
fn a_master_key_may_come_as_a_credential_and_may_be_absent() {
    let credentials = settings("LoadCredential");
    let (name, source) = credentials[0].split_once(':').unwrap();
    assert_eq!(name, "master-key", "the name that the configuration documents");
    assert!(!source.contains('/'), "a path that does not exist refuses the start, a name does not");
}

#[test]
fn threads_may_lower_their_own_priority() {
    let filters = settings("SystemCallFilter");
    let taken = filters.iter().position(|filter| filter.starts_with('~') && filter.contains("@resources"));
    let given = filters.iter().position(|filter| filter == "setpriority");
    assert!(given > taken && taken.is_some(), "later lines decide: {filters:?}");
}

#[test]
fn the_daemon_may_bind_low_ports_and_nothing_else() {
    assert_eq!(settings("User"), ["lastmile"]);
    assert_eq!(settings("CapabilityBoundingSet"), ["CAP_NET_BIND_SERVICE"]);
    assert_eq!(settings("AmbientCapabilities"), ["CAP_NET_BIND_SERVICE"]);
    assert_eq!(settings("RestrictAddressFamilies"), ["AF_INET AF_INET6 AF_UNIX"]);
}

#[test]
fn systemd_finds_the_unit_well_confined() {
    let unit = shipped("lastmile.service");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let arguments = ["security", "--no-pager", "--offline=true", &threshold, unit.to_str().unwrap()];
    let Some(output) = systemd("systemd-analyze", &arguments) else { return };
    let report = text(&output);
    let score = report.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_default();
    note(score.trim_start_matches('→').trim());
    assert!(output.status.success() && !score.is_empty(), "{report}");
}

#[test]
fn systemd_understands_every_line_of_the_unit() {
    let Some(version) = systemd("systemd-analyze", &["--version"]) else { return };
    let version: u32 = text(&version).split_whitespace().nth(1).unwrap().parse().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("lastmile.service");
    let unit = std::fs::read_to_string(shipped("lastmile.service")).unwrap();
    std::fs::write(&copy, unit.replace("/usr/bin/lastmile", env!("CARGO_BIN_EXE_lastmile"))).unwrap();
    let arguments =
        ["verify", "--man=no", "--generators=no", "--recursive-errors=no", copy.to_str().unwrap()];
    let Some(output) = systemd("systemd-analyze", &arguments) else { return };
    // An older systemd ignores the steps of the back-off, which the unit says.
    let steps =
        |line: &&str| version < 254 && (line.contains("RestartSteps") || line.contains("RestartMaxDelaySec"));
    let report = text(&output);
    let complaints: Vec<&str> = report.lines().filter(|line| !steps(line)).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn the_user_and_its_directories_come_into_being() {
    if Path::new("/proc/self").metadata().unwrap().uid() != 0 {
        return skip("making users and directories in a root of its own takes root");
    }
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    let within = format!("--root={}", root.path().display());
    let (users, directories) = (shipped("lastmile.sysusers"), shipped("lastmile.tmpfiles"));
    let Some(made) = systemd("systemd-sysusers", &[&within, users.to_str().unwrap()]) else { return };
    assert!(made.status.success(), "{}", text(&made));
    let Some(made) = systemd("systemd-tmpfiles", &["--create", &within, directories.to_str().unwrap()])
    else {
        return;
    };
    assert!(made.status.success(), "{}", text(&made));

    let user = std::fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    let user: Vec<&str> =
        user.lines().find(|line| line.starts_with("lastmile:")).unwrap().split(':').collect();
    let (uid, gid): (u32, u32) = (user[2].parse().unwrap(), user[3].parse().unwrap());
    for (directory, mode, owner) in
        [("etc/lastmile", 0o750, 0), ("var/lib/lastmile", 0o700, uid), ("run/lastmile", 0o755, uid)]
    {
        let made = root.path().join(directory).metadata().unwrap();
        assert_eq!((made.mode() & 0o7777, made.uid(), made.gid()), (mode, owner, gid), "{directory}");
    }
}

#[test]
fn the_unit_and_the_package_agree_on_the_modes_of_directories() {
    let tmpfiles = std::fs::read_to_string(shipped("lastmile.tmpfiles")).unwrap();
    for (setting, directory) in [
        ("StateDirectoryMode", "/var/lib/lastmile"),
        ("RuntimeDirectoryMode", "/run/lastmile"),
        ("ConfigurationDirectoryMode", "/etc/lastmile"),
    ] {
        let line = tmpfiles.lines().find(|line| line.contains(&format!(" {directory} "))).unwrap();
        let mode = line.split_whitespace().nth(2).unwrap();
        assert_eq!(settings(setting), [mode], "{directory}");
    }
}

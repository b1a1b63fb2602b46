//! Is every mistake in `lastmile.toml` reported at once and in its place, and do the documents say what the code does?

use std::path::{Path, PathBuf};
use std::time::Duration;

use lastmile::config::{Config, ConfigErrors, LogFormat, StorageBackend, all_keys, reference};
use lastmile::limits;

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[expect(clippy::panic, reason = "a test helper whose failure is the test's")]
fn problems(text: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    match Config::from_text("lastmile.toml", text, environment(pairs)) {
        Err(ConfigErrors::Wrong(problems)) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("expected problems, got {other:?}"),
    }
}

fn documented(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(path)
}

/// With `UPDATE=1` the document is rewritten, to be reviewed as a diff.
#[expect(clippy::expect_used, reason = "a test helper whose failure is the test's")]
fn assert_document(path: &str, rendered: &str) {
    let path = documented(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, rendered).expect("the document is writable");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == rendered,
        "{} is not what the code says; run the test with UPDATE=1 and review the diff",
        path.display()
    );
}

#[test]
fn the_reference_names_every_key_with_type_default_and_meaning() {
    assert_document("config.md", &reference());
}

#[test]
fn the_all_keys_example_names_every_key_with_its_default_and_loads() {
    assert_document("examples/all-keys.toml", &all_keys());
    let loaded = Config::load(&documented("examples/all-keys.toml"), []).unwrap();
    assert_eq!(loaded, Config::defaults().unwrap());
    for table in lastmile::config::wire::TABLES {
        for key in table.keys {
            assert!(!key.doc.is_empty(), "{}.{}", table.name, key.name);
            assert!(all_keys().contains(&format!("\n{} = ", key.name)), "{}", key.name);
        }
    }
}

#[test]
fn the_minimal_example_loads() {
    let config = Config::load(&documented("examples/minimal.toml"), []).unwrap();
    assert_eq!(config.radius.unwrap().auth, ["192.0.2.10:1812".parse().unwrap()]);
}

#[test]
fn an_empty_file_means_the_defaults() {
    let config = Config::defaults().unwrap();
    assert_eq!(config.node.id, 1);
    assert_eq!(config.journal.dir, Path::new("/var/lib/lastmile/journal"));
    assert_eq!(config.journal.segment_bytes, 64 << 20);
    assert_eq!(config.journal.flush_after, Duration::from_millis(5));
    assert_eq!(
        config.storage.backend,
        StorageBackend::Sqlite(PathBuf::from("/var/lib/lastmile/lastmile.db"))
    );
    assert_eq!(config.api.socket, Path::new("/run/lastmile/admin.sock"));
    assert_eq!(config.log.format, LogFormat::Text);
    assert_eq!(config.netdefs.dir, None);
    let radius = config.radius.unwrap();
    assert_eq!(radius.acct, ["0.0.0.0:1813".parse().unwrap(), "[::]:1813".parse().unwrap()]);
    assert_eq!(config.dhcp4.unwrap().listen.len(), 1);
}

#[test]
fn the_defaults_and_documented_ranges_are_the_limits() {
    let defaults = Config::defaults().unwrap().limits;
    assert_eq!(defaults.decisions, limits::DECISIONS_MAX);
    assert_eq!(defaults.duplicate_entries, limits::DUPLICATE_ENTRIES_MAX);
    assert_eq!(defaults.commits_in_flight, limits::COMMITS_IN_FLIGHT_MAX);
    for (key, range) in [
        ("decisions", limits::DECISIONS_RANGE),
        ("duplicate_entries", limits::DUPLICATE_ENTRIES_RANGE),
        ("commits_in_flight", limits::COMMITS_IN_FLIGHT_RANGE),
        ("retention_days", limits::RETENTION_DAYS_RANGE),
    ] {
        let documented = format!("{} to {}", range.start(), range.end());
        let row =
            reference().lines().find(|line| line.starts_with(&format!("| `{key}` |"))).map(str::to_owned);
        assert!(row.unwrap().contains(&documented), "{key}");
        let beyond = format!("[limits]\n{key} = {}\n", range.end() + 1);
        assert!(problems(&beyond, &[])[0].contains("out of range"), "{key}");
    }
}

#[test]
fn a_misspelt_key_is_named_with_its_place_and_the_nearest_known_key() {
    assert_eq!(
        problems("[dhcp4]\nlisen = [\"0.0.0.0:67\"]\n[raduis]\n", &[]),
        [
            "unknown key `lisen` in [dhcp4] at lastmile.toml:2:1; did you mean `listen`?",
            "unknown table [raduis] at lastmile.toml:3:2; did you mean `radius`?",
        ]
    );
}

#[test]
fn all_problems_of_a_file_are_reported_at_once_in_its_order() {
    let text = "\
[node]
id = 0
name = \"node one\"
[storage]
url = \"mysql://root:hunter2@db/x\"
[journal]
segment = \"64MB\"
flush_after = \"3s\"
backlog_max = \"100MiB\"
[radius]
workers = 256
auth = [\"1812\"]
acct = []
[dhcp4]
listen = [\"[::]:67\"]
[dhcp6]
enabled = true
[api]
socket = \"run/admin.sock\"
[metrics]
listen = \"127.0.0.1:8620\"
[log]
format = \"jsno\"
level = \"loud\"
[limits]
retention_days = \"forever\"
";
    let found = problems(text, &[]);
    let lines: Vec<&str> = found
        .iter()
        .filter_map(|problem| problem.split("lastmile.toml:").nth(problem.matches("lastmile.toml:").count()))
        .filter_map(|rest| rest.split(':').next())
        .collect();
    let all = found.join("\n");
    assert_eq!(
        lines,
        ["2", "3", "5", "7", "8", "9", "11", "12", "13", "15", "17", "19", "21", "23", "24", "26"],
        "{all}"
    );
    for expected in [
        "node.id: 0 is out of range at lastmile.toml:2:1; write a number from 1 to 65535",
        "journal.segment: `64MB` is not a size at lastmile.toml:7:1; write for example \"256KiB\", \"64MiB\" or \"8GiB\"",
        "dhcp6.enabled: DHCPv6 is not in this version at lastmile.toml:17:1; write `enabled = false`",
        "metrics.listen: 127.0.0.1:8620 is already taken by `api.listen` at the built-in default at lastmile.toml:21:1",
        "log.format: `jsno` is not one of: text, json at lastmile.toml:23:1; did you mean `json`?",
    ] {
        assert!(all.contains(expected), "{expected}\n--\n{all}");
    }
    assert!(!all.contains("hunter2"), "{all}");
}

#[test]
fn a_syntax_error_does_not_hide_the_other_mistakes() {
    let found = problems("[radius]\nauth = [\n[node]\nid = 70000\n", &[]);
    assert!(found[0].contains("lastmile.toml:"), "{found:?}");
    let found = problems("[node]\nid = = 1\n[api]\nwrokers = 1\n", &[]);
    assert!(found.iter().any(|problem| problem.contains("lastmile.toml:2:")), "{found:?}");
    assert!(found.iter().any(|problem| problem.contains("`wrokers`")), "{found:?}");
}

#[test]
fn the_environment_overrides_the_file_key_by_key() {
    let pairs = [
        ("LASTMILE_NODE__STATE", "/srv/lm"),
        ("LASTMILE_RADIUS__AUTH", "127.0.0.1:18120, [::1]:18120"),
        ("LASTMILE_RADIUS__WORKERS", "3"),
        ("LASTMILE_DHCP4__ENABLED", "false"),
        ("LASTMILE_STORAGE__URL", "postgres://lm:hunter2@db/lm"),
        ("LASTMILE_TOKEN", "belongs to the command line"),
        ("PATH", "/bin"),
        ("CREDENTIALS_DIRECTORY", "/run/credentials/lastmile.service"),
    ];
    let config =
        Config::from_text("f.toml", "[radius]\nworkers = 9\nacct = [\"127.0.0.1:1\"]\n", environment(&pairs))
            .unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.storage.backend, StorageBackend::Postgres);
    assert_eq!(config.storage.url.expose(), b"postgres://lm:hunter2@db/lm");
    assert_eq!(config.dhcp4, None);
    assert_eq!(config.journal.dir, Path::new("/srv/lm/journal"));
    let radius = config.radius.unwrap();
    assert_eq!((radius.workers, radius.auth.len(), radius.acct.len()), (3, 2, 1));
    assert_eq!(
        config.secrets.credential.as_deref(),
        Some(Path::new("/run/credentials/lastmile.service/master-key"))
    );
}

#[test]
fn a_wrong_variable_is_named_and_an_unknown_one_gets_a_suggestion() {
    assert_eq!(
        problems("", &[("LASTMILE_RADIUS__WORKER", "3"), ("LASTMILE_NODE__ID", "x")]),
        [
            "unknown key `LASTMILE_RADIUS__WORKER` in environment variable LASTMILE_RADIUS__WORKER; did you mean \
             `LASTMILE_RADIUS__WORKERS`?",
            "node.id: expected a whole number, got a string in environment variable LASTMILE_NODE__ID",
        ]
    );
}

#[test]
fn a_systemd_credential_wins_over_the_key_file_when_it_exists() {
    let directory = tempfile::tempdir().unwrap();
    let pairs = environment(&[("CREDENTIALS_DIRECTORY", directory.path().to_str().unwrap())]);
    let secrets = Config::from_text("f.toml", "", pairs).unwrap().secrets;
    assert_eq!(secrets.key_path(), Path::new("/var/lib/lastmile/secret.key"));
    std::fs::write(directory.path().join("master-key"), "k").unwrap();
    assert_eq!(secrets.key_path(), directory.path().join("master-key"));
}

#[test]
fn a_missing_file_is_an_error_that_says_what_to_do() {
    let error = Config::load(Path::new("/nonexistent/lastmile.toml"), []).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/lastmile.toml"), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

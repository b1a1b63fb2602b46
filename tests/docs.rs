//! Do the documents say what is there?
//!
//! Metrics, reason codes, files, functions and links that the documents name are compared with the code. What is rendered
//! from the code is rewritten with `UPDATE=1`, for review in the diff.

#![expect(clippy::unwrap_used, reason = "only tests call it: a panic is a failed test")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lastmile::decision::{Decision, Outcome, Plane, REASONS};
use lastmile::telemetry::metrics::Metrics;
use lastmile::time::Stamp;

/// Documents at the top of the repository and below `docs/`.
fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for directory in [root(), root().join("docs")] {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What stands between backticks, on one line each; code blocks left out.
fn quoted(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        }
        if !in_block && !line.starts_with("    ") {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// Words beginning with `lastmile_`, as metrics do; a name ends before labels.
fn metrics_named(text: &str) -> BTreeSet<String> {
    let is_part = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
    let words =
        text.split(|byte| !is_part(byte)).filter(|word| word.len() > 9 && word.starts_with("lastmile_"));
    // A histogram is one metric under three names.
    let base = |word: &str| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).map(str::to_owned)
    };
    words.map(|word| base(word).unwrap_or_else(|| word.to_owned())).collect()
}

/// Every metric with one label set each, because one without is not gathered.
fn metrics_served() -> BTreeSet<String> {
    let metrics = Metrics::new();
    let mut worker = metrics.worker();
    let decision = Decision::new(Stamp(0), Plane::Auth, "Access-Request");
    worker.decided(&decision.concluded(Outcome::Granted, "accepted"));
    metrics.pool.with_label_values(&["home", "free"]).set(0.0);
    metrics.signing.with_label_values(&["learning"]).set(0);
    for counter in [&metrics.nas_accepts, &metrics.nas_starts] {
        counter.with_label_values(&["bras1"]).inc();
    }
    metrics.nas_heard.with_label_values(&["bras1"]).set(0);
    metrics.feed_records.with_label_values(&["learned"]).inc();
    metrics.api_requests.with_label_values(&["GET", "list_pools", "200"]).inc();
    metrics.catalogue().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn every_metric_is_documented_once_and_no_other_is() {
    let served = metrics_served();
    let source = include_str!("../src/telemetry/metrics.rs");
    assert_eq!(metrics_named(source), served, "a metric that is declared and not gathered by this test");
    let text = document("docs/metrics.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let documented: Vec<&str> = rows.filter(|name| name.starts_with("lastmile_")).collect();
    let names: BTreeSet<String> = documented.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(names, served);
    assert_eq!(documented.len(), names.len(), "a metric has two rows");
}

#[test]
fn alerts_and_documents_use_metrics_that_exist() {
    let served = metrics_served();
    for (path, text) in documents() {
        for name in metrics_named(&text) {
            assert!(served.contains(&name), "{} names {name}, which is not served", path.display());
        }
    }
}

#[test]
fn the_alert_rules_as_a_file_are_those_of_the_operators_guide() {
    let guide = document("docs/operate.md");
    let table = guide.split_once("| alert | rule | for |").unwrap().1;
    let mut expected = Vec::new();
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let (name, rest) = row.trim_start_matches("| ").split_once(" | `").unwrap();
        let (rule, lasting) = rest.rsplit_once("` | ").unwrap();
        let lasting = lasting.trim_end_matches(" |").replace(" min", "m").replace("at once", "0m");
        expected.push((name.to_owned(), rule.replace("\\|", "|"), lasting));
    }
    let file = document("docs/examples/alerts.yml");
    let mut lines = file.lines().map(str::trim);
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("- alert: ") else { continue };
        assert_eq!(lines.next(), Some("expr: >-"));
        let rule = lines.next().unwrap().to_owned();
        let lasting = lines.next().unwrap().strip_prefix("for: ").unwrap().to_owned();
        found.push((name.to_owned(), rule, lasting));
    }
    assert_eq!(found.len(), 8);
    assert_eq!(found, expected);
}

#[test]
fn docs_reasons_md_is_rendered_from_the_codes() {
    let mut text = String::from(
        "# Reasons\n\n\
         Why a request was granted, refused or not answered at all: the label `reason` of `lastmile_decisions_total`, the\n\
         member `reason` of `GET /v1/decisions` and `GET /v1/why`, and what `lastmile why` shows. The codes are stable.\n\n\
         A code that begins with `radius-` or `dhcp4-` and is not listed here says in which way a packet was malformed or\n\
         not authentic; such packets get silence.\n\n\
         | code | meaning, and what to do |\n|---|---|\n",
    );
    for (code, meaning) in REASONS {
        let _ = writeln!(text, "| `{code}` | {} |", meaning.replace('|', "\\|"));
    }
    let path = root().join("docs/reasons.md");
    if std::env::vars().any(|(name, _)| name == "UPDATE") {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "docs/reasons.md differs from decision::REASONS: UPDATE=1 rewrites it");
}

#[test]
fn files_that_the_architecture_names_exist() {
    let text = document("ARCHITECTURE.md");
    let roots = ["src/", "tests/", "docs/", "netdefs/", "migrations/", "systemd/", "benches/"];
    let paths: Vec<&str> =
        quoted(&text).into_iter().filter(|word| roots.iter().any(|root| word.starts_with(root))).collect();
    assert!(paths.len() > 40, "only {} paths were found", paths.len());
    for path in paths {
        assert!(root().join(path).exists(), "ARCHITECTURE.md names {path}, which does not exist");
    }
}

/// A row `| step | file | functions | what |` promises that the functions are in the file.
#[test]
fn functions_that_the_architecture_names_are_where_it_says() {
    let text = document("ARCHITECTURE.md");
    let mut rows = 0;
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, file, functions, ..] = cells.as_slice() else { continue };
        let Some(file) = file.strip_prefix('`').and_then(|file| file.strip_suffix('`')) else { continue };
        if Path::new(file).extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = document(file);
        for function in quoted(functions) {
            let name = function.rsplit("::").next().unwrap_or(function);
            let defined = ["(", "<"].iter().any(|next| source.contains(&format!("fn {name}{next}")));
            assert!(defined, "{file} has no function {name}");
            rows += 1;
        }
    }
    assert!(rows > 15, "only {rows} functions were found");
}

#[test]
fn links_between_documents_lead_somewhere() {
    for (path, text) in documents() {
        let directory = path.parent().unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            assert!(
                directory.join(file).exists(),
                "{} links to {target}, which does not exist",
                path.display()
            );
        }
    }
}

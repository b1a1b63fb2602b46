//! The reference of `lastmile.toml`, rendered from the declarations in `config::wire`.
//!
//! `docs/config.md` and `docs/examples/all-keys.toml` are these texts; a test compares them, so that neither can lag.

use std::fmt::Write;

use super::wire::{Key, TABLES, variable};

const INTRODUCTION: &str = "\
# lastmile.toml

What one node needs to start: addresses, paths, limits. What changes daily (subscribers, plans, pools) is not here but
behind the admin API. The file is `/etc/lastmile/lastmile.toml` unless the command line names another. Every key has a
default; an unknown key is an error, with the nearest known one as a suggestion.

An environment variable `LASTMILE_<TABLE>__<KEY>` (two underscores before the key) overrides the file. Lists are written
with commas there: `LASTMILE_RADIUS__AUTH=127.0.0.1:1812,[::1]:1812`.

Durations are written with their unit: `\"500ms\"`, `\"30s\"`, `\"5m\"`, `\"1h\"`, `\"7d\"`. So are sizes: `\"256KiB\"`, `\"64MiB\"`,
`\"8GiB\"`. Paths are absolute. In defaults, `<state>` and `<run>` stand for `node.state` and `node.run`.

This page is rendered from the declarations that the daemon reads the file by.
";

/// `docs/config.md`.
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    for table in TABLES {
        let _ = write!(page, "\n## [{}]\n\n{}\n\n", table.name, joined(table.doc));
        page.push_str("| Key | Type | Default | Meaning |\n| --- | --- | --- | --- |\n");
        for key in table.keys {
            let meaning = joined(key.doc).replace('|', "\\|");
            let default = default(key);
            let _ = writeln!(page, "| `{}` | {} | `{default}` | {meaning} |", key.name, key.kind);
        }
    }
    page
}

/// `docs/examples/all-keys.toml`: every key with its default.
pub fn all_keys() -> String {
    let mut file = String::from(
        "# Every key of lastmile.toml with its default. Copy what you change; leave out the rest.\n\
         # An environment variable overrides a key: its name stands beside it.\n",
    );
    for table in TABLES {
        let _ = write!(file, "\n{}[{}]\n", comments(table.doc), table.name);
        for key in table.keys {
            let default =
                default(key).replace("<state>", "/var/lib/lastmile").replace("<run>", "/run/lastmile");
            let _ = write!(
                file,
                "\n{}# {}\n{} = {default}\n",
                comments(key.doc),
                variable(table.name, key.name),
                key.name
            );
        }
    }
    file
}

/// The default as TOML: texts, lists, numbers and booleans are written there as in JSON.
fn default(key: &Key) -> String {
    match (key.literal)(key.default) {
        serde_json::Value::Array(items) => {
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

fn joined(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

fn comments(lines: &[&str]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "# {}", line.trim());
        text
    })
}

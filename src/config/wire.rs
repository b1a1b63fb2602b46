//! `lastmile.toml` as it is written: tables, keys, their types, defaults and meaning.
//!
//! One list declares every key. Its doc comments are the reference that `docs/config.md` and
//! `docs/examples/all-keys.toml` are rendered from ([`super::reference`]), and its defaults are read by the same code as
//! the file, so neither can drift. A value comes from the environment, else from the file, else from the default; each
//! keeps its [`Origin`] so that a later check can say where it was written. Relations between keys are the business of
//! `config::check`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::value::{Size, Wire};
use super::{ConfigProblem, LogFormat};
use crate::document::{Document, Place};
use crate::model::decode::{kind_of, nearest};
use crate::secret::Secret;

/// One table of the file, for the reference.
#[derive(Debug)]
pub struct Table {
    /// Name between the brackets.
    pub name: &'static str,
    /// What it is about, a line each.
    pub doc: &'static [&'static str],
    /// Its keys in the order of the reference.
    pub keys: &'static [Key],
}

/// One key of a table, for the reference.
#[derive(Debug)]
pub struct Key {
    /// Name left of the equals sign.
    pub name: &'static str,
    /// Type in words.
    pub kind: &'static str,
    /// Default as the environment would give it; `<state>` and `<run>` stand for those directories.
    pub default: &'static str,
    /// Meaning, a line each.
    pub doc: &'static [&'static str],
    /// Turns the text of an environment variable into the value the file would hold.
    pub literal: fn(&str) -> Value,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In the file.
    File(Place),
    /// In this environment variable.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the built-in default"),
            Self::File(place) => fmt::Display::fmt(place, f),
            Self::Environment(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub struct Item<T> {
    /// `table.key`.
    pub key: &'static str,
    /// The value.
    pub value: T,
    /// Where it was written.
    pub origin: Origin,
}

macro_rules! tables {
    ($(
        $(#[doc = $table_doc:literal])+
        $table:ident: $Table:ident {
            $( $(#[doc = $doc:literal])+ $key:ident: $Type:ty = $default:literal, )+
        }
    )+) => {
        $(
            $(#[doc = $table_doc])+
            #[derive(Clone, Debug)]
            pub struct $Table {
                $( $(#[doc = $doc])+ pub $key: Item<$Type>, )+
            }

            impl $Table {
                /// Reads the table; problems are left in `source`.
                pub fn read(source: &mut Source<'_>) -> Option<Self> {
                    $( let $key = source.item::<$Type>(
                        stringify!($table),
                        stringify!($key),
                        concat!(stringify!($table), ".", stringify!($key)),
                        $default,
                    ); )+
                    Some(Self { $( $key: $key? ),+ })
                }
            }
        )+

        /// Every table and key, in the order of the reference.
        pub const TABLES: &[Table] = &[$(
            Table {
                name: stringify!($table),
                doc: &[$($table_doc),+],
                keys: &[$(
                    Key {
                        name: stringify!($key),
                        kind: <$Type as Wire>::KIND,
                        default: $default,
                        doc: &[$($doc),+],
                        literal: <$Type as Wire>::literal,
                    }
                ),+],
            }
        ),+];
    };
}

tables! {
    /// Who this node is and where it keeps its files.
    node: Node {
        /// Number of this node, 1 to 65535, unique among the nodes of one installation.
        /// It is written into every journal record: never give a number to another machine.
        id: u64 = "1",
        /// Name shown to operators and in metrics: 1 to 64 letters, digits, `.`, `_` or `-`.
        name: String = "node-1",
        /// This node's part of every pool, `part/of`: of two nodes on one database one has `1/2`, the other `2/2`.
        /// Newcomers get an address of the part of the node that they ask; who has one gets it from either. Change it on all nodes together.
        share: String = "1/1",
        /// Directory of everything that must survive a reboot.
        state: PathBuf = "/var/lib/lastmile",
        /// Directory of the admin socket; may be lost at reboot.
        run: PathBuf = "/run/lastmile",
    }

    /// The database of desired state and history.
    storage: Storage {
        /// `sqlite:/path/file.db`, or `postgres://user:password@host/database` shared by several nodes.
        /// A URL with a password belongs in the environment rather than in the file.
        url: Secret = "sqlite:<state>/lastmile.db",
    }

    /// The node's durable log: nothing that grants an address is answered before it is written here.
    journal: Journal {
        /// Directory of the segments; on the fastest disk that survives a power cut.
        dir: PathBuf = "<state>/journal",
        /// Size of one segment, 256KiB to 1GiB; segments are written ahead, so they take their space at once.
        segment: Size = "64MiB",
        /// All segments together at most; beyond it new grants are refused until the database has caught up.
        backlog_max: Size = "8GiB",
        /// How long records may wait for company before they are written, 0ms to 100ms.
        flush_after: Duration = "5ms",
        /// The ledger is checkpointed when this much was written since, or about a quarter of a million records; less makes restarts faster.
        checkpoint_every: Size = "256MiB",
    }

    /// The RADIUS server.
    radius: Radius {
        /// Whether RADIUS is served at all.
        enabled: bool = "true",
        /// Addresses for authentication.
        auth: Vec<SocketAddr> = "0.0.0.0:1812,[::]:1812",
        /// Addresses for accounting.
        acct: Vec<SocketAddr> = "0.0.0.0:1813,[::]:1813",
        /// Worker threads, 0 to 255; 0 means one per processor core.
        workers: u64 = "0",
        /// Kernel receive buffer of each socket, 64KiB to 1GiB; the kernel may grant less.
        receive_buffer: Size = "8MiB",
    }

    /// The DHCPv4 server.
    dhcp4: Dhcp4 {
        /// Whether DHCPv4 is served at all.
        enabled: bool = "true",
        /// Addresses for relayed requests.
        listen: Vec<SocketAddr> = "0.0.0.0:67",
        /// Worker threads, 0 to 255; 0 means one per processor core.
        workers: u64 = "0",
        /// Kernel receive buffer of each socket, 64KiB to 1GiB; the kernel may grant less.
        receive_buffer: Size = "8MiB",
    }

    /// The DHCPv6 server; not in this version.
    dhcp6: Dhcp6 {
        /// Must be false: DHCPv6 is not in this version.
        enabled: bool = "false",
    }

    /// The admin API.
    api: Api {
        /// Address of the HTTP listener, for tokens; put TLS in front before it leaves this machine.
        listen: SocketAddr = "127.0.0.1:8620",
        /// Unix socket of the command line, where the peer's user decides what is allowed.
        socket: PathBuf = "<run>/admin.sock",
        /// Threads of the control plane, 1 to 64.
        workers: u64 = "2",
    }

    /// Prometheus metrics and health.
    metrics: Metrics {
        /// Address of the HTTP listener of `/metrics` and `/health`.
        listen: SocketAddr = "127.0.0.1:9620",
    }

    /// What is logged, on standard error.
    log: Log {
        /// `text` for people, `json` for collectors.
        format: LogFormat = "text",
        /// `error`, `warn`, `info`, `debug` or `trace`, or per module: `info,lastmile::radius=debug`.
        level: String = "info",
    }

    /// Network knowledge and definitions kept in files.
    netdefs: Netdefs {
        /// Directory of the operator's own definitions (`networks.toml`, `plans.toml`, …); empty for none.
        dir: PathBuf = "",
        /// Directory with `radius/*.dict` and `dhcp/options4.toml` that replace or extend the built-in ones; empty for none.
        override_dir: PathBuf = "",
    }

    /// The key that seals secrets in the database.
    secrets: Secrets {
        /// File of the master key, readable by the daemon only.
        /// A systemd credential named `master-key` is used instead when there is one.
        key_file: PathBuf = "<state>/secret.key",
    }

    /// Bounds that depend on the size of the network and of the machine.
    limits: Limits {
        /// Decisions kept in memory for `lastmile why`, 1 to 4194304.
        decisions: u64 = "65536",
        /// Entries of the cache of answers to retransmissions, 1024 to 1048576.
        duplicate_entries: u64 = "65536",
        /// Requests that may wait for the journal at once, 64 to 65536.
        commits_in_flight: u64 = "16384",
        /// Days that closed sessions, bindings and usage are kept, 1 to 3650. The law of your country may set it.
        retention_days: u64 = "365",
    }
}

/// File, environment and defaults together, and what was wrong with them. Not `Debug`: the environment holds passwords.
pub struct Source<'a> {
    document: &'a Document,
    environment: BTreeMap<String, String>,
    substitutes: Vec<(&'static str, String)>,
    /// Everything found so far.
    pub problems: Vec<ConfigProblem>,
}

impl<'a> Source<'a> {
    /// Begins with syntax errors and with every unknown table, key and variable.
    pub fn new(document: &'a Document, environment: BTreeMap<String, String>) -> Self {
        let mut source = Self { document, environment, substitutes: Vec::new(), problems: Vec::new() };
        for (place, detail) in &document.errors {
            source.problem("", Origin::File(place.clone()), detail, None);
        }
        source.unknown_keys();
        source.unknown_variables();
        source
    }

    /// From now on `marker` in a default stands for `path`.
    pub fn substitute(&mut self, marker: &'static str, path: &std::path::Path) {
        self.substitutes.push((marker, path.display().to_string()));
    }

    /// Notes a problem.
    pub fn problem(
        &mut self,
        key: &str,
        origin: Origin,
        detail: impl Into<String>,
        suggestion: Option<String>,
    ) {
        self.problems.push(ConfigProblem { key: key.to_owned(), origin, detail: detail.into(), suggestion });
    }

    /// Reads one key. After a wrong value the default takes its place, so that the checks after it still run.
    fn item<T: Wire>(
        &mut self,
        table: &str,
        name: &str,
        key: &'static str,
        default: &'static str,
    ) -> Option<Item<T>> {
        let variable = variable(table, name);
        let pointer = format!("/{table}/{name}");
        let written = if let Some(text) = self.environment.get(&variable) {
            Some((T::literal(text), Origin::Environment(variable)))
        } else {
            let value = self.document.value.pointer(&pointer);
            value.map(|value| (value.clone(), Origin::File(self.document.place(&pointer))))
        };
        if let Some((value, origin)) = written {
            match T::read(&value) {
                Ok(value) => return Some(Item { key, value, origin }),
                Err(detail) => match detail.split_once("; ") {
                    Some((detail, advice)) => self.problem(key, origin, detail, Some(advice.to_owned())),
                    None => self.problem(key, origin, detail, None),
                },
            }
        }
        let text = self
            .substitutes
            .iter()
            .fold(default.to_owned(), |text, (marker, path)| text.replace(marker, path));
        match T::read(&T::literal(&text)) {
            Ok(value) => Some(Item { key, value, origin: Origin::Default }),
            Err(detail) => {
                self.problem(key, Origin::Default, detail, None);
                None
            }
        }
    }

    fn unknown_keys(&mut self) {
        let document = self.document;
        let tables: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
        for (name, value) in document.value.as_object().into_iter().flatten() {
            let origin = |pointer: String| Origin::File(document.place(&pointer));
            let Some(table) = TABLES.iter().find(|table| table.name == name) else {
                let hint = hint(name, &tables, "tables");
                let at = origin(format!("/{}", crate::model::decode::escape(name)));
                self.problem(name, at, format!("unknown table [{name}]"), Some(hint));
                continue;
            };
            let Some(members) = value.as_object() else {
                let detail = format!("expected a table [{name}], got {}", kind_of(value));
                self.problem(name, origin(format!("/{name}")), detail, None);
                continue;
            };
            let keys: Vec<&str> = table.keys.iter().map(|key| key.name).collect();
            for member in members.keys().filter(|member| !keys.contains(&member.as_str())) {
                let at = origin(format!("/{name}/{}", crate::model::decode::escape(member)));
                let detail = format!("unknown key `{member}` in [{name}]");
                let hint = hint(member, &keys, "keys");
                self.problem(&format!("{name}.{member}"), at, detail, Some(hint));
            }
        }
    }

    /// Variables without `__` belong to the command line.
    fn unknown_variables(&mut self) {
        let known: Vec<String> = TABLES
            .iter()
            .flat_map(|table| table.keys.iter().map(|key| variable(table.name, key.name)))
            .collect();
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        let unknown: Vec<String> =
            self.environment.keys().filter(|name| !names.contains(&name.as_str())).cloned().collect();
        for name in unknown {
            let suggestion = nearest(&name, &names).map(|near| format!("did you mean `{near}`?"));
            let detail = format!("unknown key `{name}`");
            self.problem(&name.clone(), Origin::Environment(name), detail, suggestion);
        }
    }
}

fn hint(name: &str, known: &[&str], what: &str) -> String {
    nearest(name, known).map_or_else(
        || format!("known {what}: {}", known.join(", ")),
        |near| format!("did you mean `{near}`?"),
    )
}

/// Prefix of the environment variables that override keys.
pub const VARIABLE_PREFIX: &str = "LASTMILE_";

/// `LASTMILE_<TABLE>__<KEY>`.
pub fn variable(table: &str, key: &str) -> String {
    format!("{VARIABLE_PREFIX}{table}__{key}").to_ascii_uppercase()
}

//! The configuration of one node: `lastmile.toml`, overridden key by key from the environment.
//!
//! `config::wire` declares what may be written, `config::check` turns it into the values below, each task taking its own
//! section by value. *All* problems are reported at once, each with its place and what to write instead. What an
//! operator changes daily (subscribers, plans, pools) is not here but behind the admin API. Apart from reading the file
//! and the environment, nothing here does I/O.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::document::Document;
use crate::secret::Secret;

mod check;
mod reference;
pub mod value;
pub mod wire;

pub use reference::{all_keys, reference};
pub use wire::Origin;

/// Where the file is looked for when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/lastmile/lastmile.toml";

/// The checked configuration of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who this node is.
    pub node: NodeConfig,
    /// The database.
    pub storage: StorageConfig,
    /// The durable log.
    pub journal: JournalConfig,
    /// The RADIUS server; `None` when it is switched off.
    pub radius: Option<RadiusConfig>,
    /// The DHCPv4 server; `None` when it is switched off.
    pub dhcp4: Option<Dhcp4Config>,
    /// The admin API.
    pub api: ApiConfig,
    /// Metrics and health.
    pub metrics: MetricsConfig,
    /// Logging.
    pub log: LogConfig,
    /// Definitions kept in files.
    pub netdefs: NetdefsConfig,
    /// The master key.
    pub secrets: SecretsConfig,
    /// Bounds.
    pub limits: LimitsConfig,
}

/// Who this node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Number of the node, from 1.
    pub id: u16,
    /// Name for operators.
    pub name: String,
    /// This node's part of every pool, and of how many.
    pub share: (u32, u32),
    /// Directory of what must survive a reboot.
    pub state: PathBuf,
    /// Directory of what need not.
    pub run: PathBuf,
}

/// The database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// Its URL; it may hold a password.
    pub url: Secret,
    /// Which database it names.
    pub backend: StorageBackend,
}

/// The databases that can hold desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageBackend {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server, by the URL beside.
    Postgres,
}

/// The durable log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// Directory of the segments.
    pub dir: PathBuf,
    /// Size of one segment, in bytes.
    pub segment_bytes: u64,
    /// All segments together, in bytes.
    pub backlog_bytes_max: u64,
    /// How long records wait for company.
    pub flush_after: Duration,
    /// Bytes written between two checkpoints.
    pub checkpoint_every_bytes: u64,
}

/// The RADIUS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RadiusConfig {
    /// Addresses for authentication.
    pub auth: Vec<SocketAddr>,
    /// Addresses for accounting.
    pub acct: Vec<SocketAddr>,
    /// Worker threads; 0 means one per core.
    pub workers: usize,
    /// Kernel receive buffer of each socket, in bytes.
    pub receive_buffer_bytes: usize,
}

/// The DHCPv4 server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dhcp4Config {
    /// Addresses for relayed requests.
    pub listen: Vec<SocketAddr>,
    /// Worker threads; 0 means one per core.
    pub workers: usize,
    /// Kernel receive buffer of each socket, in bytes.
    pub receive_buffer_bytes: usize,
}

/// The admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// Address of the HTTP listener.
    pub listen: SocketAddr,
    /// Unix socket of the command line.
    pub socket: PathBuf,
    /// Threads of the control plane, at least 1.
    pub workers: usize,
}

/// Metrics and health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Address of the HTTP listener.
    pub listen: SocketAddr,
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Form of a line.
    pub format: LogFormat,
    /// Filter directives.
    pub level: String,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For collectors.
    Json,
}

/// Definitions kept in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetdefsConfig {
    /// The operator's own definitions.
    pub dir: Option<PathBuf>,
    /// What replaces or extends the built-in dictionaries.
    pub override_dir: Option<PathBuf>,
}

/// The master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretsConfig {
    /// Its file.
    pub key_file: PathBuf,
    /// Where systemd would put it as a credential.
    pub credential: Option<PathBuf>,
}

impl SecretsConfig {
    /// The file to read: the systemd credential when there is one.
    pub fn key_path(&self) -> &Path {
        match &self.credential {
            Some(credential) if credential.is_file() => credential,
            _ => &self.key_file,
        }
    }
}

/// Bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Decisions kept in memory.
    pub decisions: usize,
    /// Entries of the duplicate cache.
    pub duplicate_entries: usize,
    /// Requests waiting for the journal at once.
    pub commits_in_flight: usize,
    /// Days that history is kept.
    pub retention_days: u32,
}

impl Config {
    /// Reads and checks the file at `path`, overridden by `environment` (pairs of name and value).
    pub fn load(
        path: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigErrors::Unreadable { path: path.to_owned(), source })?;
        let name = path
            .file_name()
            .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        Self::from_text(&name, &text, environment)
    }

    /// Checks a text; `file` is only a name for messages.
    pub fn from_text(
        file: &str,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let mut overrides = BTreeMap::new();
        let mut credentials = None;
        for (name, value) in environment {
            if name == "CREDENTIALS_DIRECTORY" {
                credentials = Some(PathBuf::from(value));
            } else if name.starts_with(wire::VARIABLE_PREFIX) && name.contains("__") {
                overrides.insert(name, value);
            }
        }
        let document = Document::parse(file, text);
        check::check(&document, overrides, credentials.as_deref()).map_err(ConfigErrors::Wrong)
    }

    /// What an empty file means.
    pub fn defaults() -> Result<Self, ConfigErrors> {
        Self::from_text("lastmile.toml", "", [])
    }
}

/// The environment of this process, for [`Config::load`]: the one place where it is read.
///
/// A value that is not UTF-8 is kept with replacement characters, so that it fails its check rather than vanish.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Key path such as `radius.auth`; empty for a syntax error.
    pub key: String,
    /// Where it was written.
    pub origin: Origin,
    /// What is wrong.
    pub detail: String,
    /// What to write instead.
    pub suggestion: Option<String>,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.contains('.') && !self.detail.starts_with("unknown key") {
            write!(f, "{}: ", self.key)?;
        }
        match &self.origin {
            Origin::Environment(_) => write!(f, "{} in {}", self.detail, self.origin)?,
            Origin::File(_) | Origin::Default => write!(f, "{} at {}", self.detail, self.origin)?,
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; {suggestion}")?;
        }
        Ok(())
    }
}

impl Serialize for ConfigProblem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigErrors {
    /// The file cannot be read.
    #[error("cannot read {}; write one (docs/examples/minimal.toml is a start) or name another", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Its content is wrong.
    #[error("{}", lines(.0))]
    Wrong(
        /// Every problem found, in the order of the file where it has one.
        Vec<ConfigProblem>,
    ),
}

fn lines(problems: &[ConfigProblem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

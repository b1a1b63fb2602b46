//! Use-cases: everything a CRM or an operator can ask of the daemon, whoever carries the request here.
//!
//! Place: between the edge (API, command line) and the parts below. An edge parses, calls one use-case and renders; every
//! rule of the business is here. Each use-case takes an [`Actor`], asks what it may do, and answers with values or with a
//! [`Refusal`].
//!
//! - [`objects`]: the eight kinds of object: put, read, list, delete.
//! - [`apply`]: a whole set of definitions in one change.
//! - [`access_status`]: when was an access last accepted or rejected?
//! - [`status`]: is a service in force? [`live`]: sessions, leases, pools. [`why`]: why can somebody not get online?
//! - [`nas`]: does a NAS sign its requests?
//! - [`tokens`]: API tokens. [`clock`]: a clock that is not believed.
//!
//! Invariants: a write that was answered is durable, and this node decides by it; no use-case returns a secret.

pub mod access_status;
pub mod actor;
pub mod apply;
mod audit;
pub mod clock;
mod commit;
pub mod history;
pub mod live;
pub mod live_views;
pub mod nas;
pub mod objects;
mod recognise;
pub mod refusal;
pub mod status;
pub mod system;
pub mod tokens;
pub mod why;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::Mutex;

pub use actor::{Action, Actor, ActorKind, Resource};
pub use refusal::Refusal;

use crate::decision::DecisionRing;
use crate::ids::Entropy;
use crate::last_outcome::LastOutcomes;
use crate::ledger::Ledger;
use crate::nas_activity::NasActivity;
use crate::netdefs::OptionTable;
use crate::radius::signatures::Signatures;
use crate::snapshot::publish::Publisher;
use crate::storage::Storage;
use crate::time::{Clock, Stamp};
use crate::vault::Vault;

/// What the use-cases work with.
pub struct Parts {
    /// The database.
    pub storage: Arc<dyn Storage>,
    /// The current snapshot.
    pub publisher: Arc<Publisher>,
    /// Keys and sealed secrets.
    pub vault: Arc<Vault>,
    /// Who holds what.
    pub ledger: Arc<Ledger>,
    /// The newest decisions.
    pub decisions: Arc<DecisionRing>,
    /// The last accept and reject of each access.
    pub last: Arc<LastOutcomes>,
    /// What each NAS did.
    pub activity: Arc<NasActivity>,
    /// Which NASes sign their requests, as this node has learned.
    pub signatures: Arc<Signatures>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Judge of DHCP options in definitions.
    pub options4: OptionTable,
    /// Name of this node, for people.
    pub node_name: String,
    /// Number of this node.
    pub node_id: u16,
    /// Why the clock was not believed at the start.
    pub clock_doubt: Option<clock::ClockDoubt>,
}

/// The use-cases, shared by all connections.
pub struct App {
    parts: Parts,
    /// Held from the check of addresses until the snapshot knows the result: no two writes of this node can each find an
    /// address free that the other takes.
    addresses: Mutex<()>,
    tokens: tokens::TokenCache,
    ready: AtomicBool,
    clock_confirmed: AtomicBool,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("node", &self.parts.node_name).finish_non_exhaustive()
    }
}

impl App {
    /// The use-cases over these parts; not ready until [`App::set_ready`].
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            addresses: Mutex::new(()),
            tokens: tokens::TokenCache::default(),
            ready: AtomicBool::new(false),
            clock_confirmed: AtomicBool::new(false),
        })
    }

    /// What it works with.
    pub const fn parts(&self) -> &Parts {
        &self.parts
    }

    fn now(&self) -> Stamp {
        self.parts.clock.now().stamp
    }

    fn storage(&self) -> &dyn Storage {
        self.parts.storage.as_ref()
    }
}

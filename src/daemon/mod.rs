//! The composition root: builds every part, starts them in order, supervises them, stops them in order.
//!
//! Start: state directory, keys, storage, snapshot (node image, then SQL), ledger (checkpoint, then journal), journal, sockets,
//! workers, listeners; ready only then. Stop: sockets first, then what waits, the journal, the applier, a last checkpoint and
//! image. Nothing here decides anything about a packet.

mod background;
mod confirmed;
mod control;
mod doubt;
mod kept;
mod learned;
mod packets;
mod recovery;
mod refused;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use crate::app::App;
use crate::config::Config;
use crate::decision::DecisionRing;
use crate::ids::SystemEntropy;
use crate::nas_activity::NasActivity;
use crate::netdefs::Netdefs;
use crate::snapshot::Snapshot;
use crate::snapshot::publish::Publisher;
use crate::telemetry::http::Health;
use crate::telemetry::metrics::Metrics;
use crate::time::SteadyClock;

pub use recovery::StartFailure;

/// How `serve` was asked to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServeOptions {
    /// Start although the journal or a checkpoint is damaged, setting the damaged part aside.
    pub accept_loss: bool,
    /// Print where every listener was bound, one per line, as the demo and tests read it.
    pub print_listeners: bool,
}

/// Addresses that were bound, with the ports the kernel chose where 0 was asked for.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    /// RADIUS authentication.
    pub auth: Vec<SocketAddr>,
    /// RADIUS accounting.
    pub acct: Vec<SocketAddr>,
    /// DHCPv4.
    pub dhcp4: Vec<SocketAddr>,
    /// Admin API.
    pub api: Option<SocketAddr>,
    /// Metrics and health.
    pub metrics: Option<SocketAddr>,
}

/// Parts shared by the tasks of a running daemon.
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    pub(crate) app: Arc<App>,
    pub(crate) recovered: recovery::Node,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
    pub(crate) clock: Arc<SteadyClock>,
    /// Sequence up to which the ledger is current.
    pub(crate) ledger_applied: Arc<AtomicU64>,
    /// Sequence up to which storage is current.
    pub(crate) storage_applied: Arc<AtomicU64>,
    pub(crate) stopping: Arc<AtomicBool>,
}

/// How long a stop may take at most, step by step.
const STOP_STEP: Duration = Duration::from_secs(10);

/// Runs the daemon until SIGTERM or SIGINT.
pub fn serve(config: Config, options: ServeOptions) -> Result<(), StartFailure> {
    let config = Arc::new(config);
    let runtime = control::runtime(config.api.workers)?;
    let clock = Arc::new(SteadyClock::start());
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::default());
    // On a thread of the control plane: SQLite's own threads inherit the priority of the one that opens a connection.
    let recovering = runtime.spawn(recovery::recover(
        Arc::clone(&config),
        options,
        Arc::clone(&clock),
        Arc::clone(&health),
    ));
    let node = runtime.block_on(recovering).map_err(StartFailure::interrupted)??;
    let knowledge = Netdefs::load(config.netdefs.override_dir.as_deref())?;
    let signatures = learned::load(&config.node.state);
    learned::follow(&signatures, &node.publisher);
    let app = App::new(crate::app::Parts {
        storage: Arc::clone(&node.storage),
        publisher: Arc::clone(&node.publisher),
        vault: Arc::clone(&node.vault),
        ledger: Arc::clone(&node.ledger),
        decisions: Arc::new(DecisionRing::new(packets::worker_count(&config), config.limits.decisions)),
        last: Arc::default(),
        activity: followed_activity(&node.publisher),
        signatures: Arc::clone(&signatures),
        clock: Arc::clone(&clock) as _,
        entropy: Arc::new(SystemEntropy),
        options4: knowledge.options4,
        node_name: config.node.name.clone(),
        node_id: config.node.id,
        clock_doubt: node.clock_doubt,
    });
    let mut parts = Parts {
        app,
        metrics,
        health,
        clock,
        ledger_applied: Arc::new(AtomicU64::new(node.applied)),
        storage_applied: Arc::new(AtomicU64::new(0)),
        stopping: Arc::new(AtomicBool::new(false)),
        recovered: node,
        config,
    };
    if parts.recovered.clock_doubt.is_some() {
        let what = "far past the last record; nothing ends by itself until `lastmile clock confirm` or the longest promise has passed";
        parts.health.set_degraded("clock", Some(what.to_owned()));
    }
    let mut packets = packets::start(&mut parts)?;
    // From here on this thread is one more of the control plane's.
    control::lower_priority();
    let background = background::start(&parts, &packets, runtime.handle());
    let outcome = runtime.block_on(control::run(&parts, &packets, &background, options));
    parts.health.set_ready(false);
    packets.stop_workers();
    background.stop(&parts, &mut packets, STOP_STEP);
    runtime.shutdown_timeout(STOP_STEP);
    outcome
}

/// Counts of each NAS that is or will be defined.
fn followed_activity(publisher: &Publisher) -> Arc<NasActivity> {
    let activity = Arc::new(NasActivity::default());
    let ids = |snapshot: &Snapshot| snapshot.all_nas().map(|nas| nas.id).collect::<Vec<_>>();
    activity.follow(ids(&publisher.load()).into_iter());
    let followed = Arc::clone(&activity);
    publisher.subscribe(move |publication| {
        // Most changes are of subscribers.
        let now = ids(publication.snapshot);
        if ids(publication.before) != now {
            followed.follow(now.into_iter());
        }
    });
    activity
}

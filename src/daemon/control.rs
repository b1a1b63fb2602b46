//! The control plane of a running daemon: its runtime, its listeners, its signals.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::background::Background;
use super::packets::Packets;
use super::recovery::StartFailure;
use super::{Bound, Parts, ServeOptions, background};
use crate::api::serve;
use crate::app::Actor;
use crate::app::apply::Apply;
use crate::telemetry;
use crate::telemetry::metrics::Metrics;

/// A runtime on threads of its own at a lower priority, so that the control plane cannot slow the packet path.
pub(crate) fn runtime(threads: usize) -> Result<tokio::runtime::Runtime, StartFailure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .thread_name("control")
        .on_thread_start(lower_priority)
        .enable_all()
        .build()
        .map_err(|source| StartFailure::Io { doing: "start the control plane's threads".to_owned(), source })
}

/// Nice value of threads that packets must not wait for.
const CONTROL_NICE: i32 = 10;

/// Lowers the calling thread's priority, and never raises it: whoever started the daemon may have lowered it further. A
/// system that does not allow it costs nothing but the preference.
pub(crate) fn lower_priority() {
    let now = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, now.max(CONTROL_NICE));
}

/// Listens, says that it is ready, and waits for the signal to stop.
pub(crate) async fn run(
    parts: &Parts,
    packets: &Packets,
    background: &Background,
    options: ServeOptions,
) -> Result<(), StartFailure> {
    let mut bound = packets.bound.clone();
    let api = listen(parts.config.api.listen, "the admin API").await?;
    let metrics = listen(parts.config.metrics.listen, "metrics and health").await?;
    bound.api = api.local_addr().ok();
    bound.metrics = metrics.local_addr().ok();
    let socket = unix_listener(parts)?;
    tokio::spawn(serve_http(metrics, observability(parts, packets)));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let (connections, router) = (
        serve::Connections::new(stopped),
        measured(crate::api::router(Arc::clone(&parts.app)), &parts.metrics),
    );
    let (socket, owner) = socket;
    let listeners = [
        tokio::spawn(serve::tcp(api, router.clone(), connections.clone())),
        tokio::spawn(serve::unix(socket, owner, router, connections)),
    ];
    let definitions = parts.config.netdefs.dir.clone();
    if let Some(directory) = &definitions {
        apply_definitions(parts, directory).await;
    }
    background.keep_first_image().await;
    parts.health.set_ready(true);
    parts.app.set_ready(true);
    parts.metrics.ready.set(1);
    // Before anybody is told: whoever is may send a signal at once, and one that nobody listens for ends the process.
    let signals = Signals::listen()?;
    announce(parts, &bound, options);
    background.keep_image();
    let outcome = wait_for_stop(parts, signals, definitions.as_deref()).await;
    parts.app.set_ready(false);
    let _ = stop.send(true);
    for listener in listeners {
        // What was begun is answered; whoever keeps a connection open learns of it by the stop.
        let _ = tokio::time::timeout(Duration::from_secs(2), listener).await;
    }
    outcome
}

async fn listen(address: std::net::SocketAddr, what: &str) -> Result<TcpListener, StartFailure> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartFailure::Io { doing: format!("listen on {address} for {what}"), source })
}

/// The command line's socket. The journal's lock already tells that no other daemon uses this state.
fn unix_listener(parts: &Parts) -> Result<(UnixListener, u32), StartFailure> {
    let path = &parts.config.api.socket;
    let failed =
        |source: io::Error| StartFailure::Io { doing: format!("listen on {}", path.display()), source };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    serve::bind_unix(path).map_err(failed)
}

/// Counts API requests by method, operation (the route, never a name in it) and status, and times them.
fn measured(router: axum::Router, metrics: &Arc<Metrics>) -> axum::Router {
    let metrics = Arc::clone(metrics);
    router.layer(axum::middleware::from_fn(move |request: Request, next: Next| {
        let metrics = Arc::clone(&metrics);
        async move {
            let method = request.method().as_str().to_owned();
            let operation =
                request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
            let timer = metrics.api_latency.start_timer();
            let response = next.run(request).await;
            timer.observe_duration();
            let known = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"].contains(&method.as_str());
            let method = if known { method.as_str() } else { "other" };
            metrics.api_requests.with_label_values(&[method, &operation, response.status().as_str()]).inc();
            response
        }
    }))
}

fn observability(parts: &Parts, packets: &Packets) -> axum::Router {
    let metrics = Arc::clone(&parts.metrics);
    let app = Arc::clone(&parts.app);
    let ledger = Arc::clone(&parts.recovered.ledger);
    let publisher = Arc::clone(&parts.recovered.publisher);
    let applied = Arc::clone(&parts.storage_applied);
    let clock = Arc::clone(&parts.clock);
    let journal = packets.journal.as_ref().map(Arc::downgrade);
    let refresh = move || {
        if let Some(journal) = journal.as_ref().and_then(std::sync::Weak::upgrade) {
            background::refresh(&metrics, &app, &ledger, &journal, &publisher, &applied, clock.as_ref());
        }
    };
    telemetry::http::routes(Arc::clone(&parts.metrics), &parts.health, Arc::new(refresh))
}

async fn serve_http(listener: TcpListener, routes: axum::Router) {
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "the metrics listener ended");
    }
}

fn announce(parts: &Parts, bound: &Bound, options: ServeOptions) {
    let listeners = || {
        let packets = [("radius-auth", &bound.auth), ("radius-acct", &bound.acct), ("dhcp4", &bound.dhcp4)];
        let packets =
            packets.into_iter().flat_map(|(name, all)| all.iter().map(move |address| (name, *address)));
        let control = [("api", bound.api), ("metrics", bound.metrics)];
        packets.chain(control.into_iter().filter_map(|(name, address)| Some((name, address?))))
    };
    for (name, address) in listeners() {
        tracing::info!(%name, %address, "listening");
    }
    if options.print_listeners {
        use std::io::Write;
        let mut out = io::stdout().lock();
        for (name, address) in listeners() {
            let _ = writeln!(out, "listening {name} {address}");
        }
        let _ = writeln!(out, "listening socket {}", parts.config.api.socket.display());
        let _ = writeln!(out, "ready");
        let _ = out.flush();
    }
    let snapshot = parts.recovered.publisher.load();
    let status = format!("STATUS=serving, desired state at seq {}", snapshot.seq());
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Custom(&status)]);
    tracing::info!(seq = snapshot.seq(), "ready");
}

/// Applies the definitions of the configured directory; an invalid set changes nothing and is told in the log.
async fn apply_definitions(parts: &Parts, directory: &std::path::Path) {
    let files = match crate::netdefs::definition_files(directory) {
        Ok(files) => files,
        Err(error) => {
            tracing::error!(directory = %directory.display(), %error, "definitions were not read; nothing was changed");
            return;
        }
    };
    let request = "configured definitions".to_owned();
    let apply = Apply { files, prune: false, dry_run: false, request };
    match parts.app.apply(&Actor::system(), apply).await {
        Ok(applied) => {
            for warning in &applied.warnings {
                tracing::warn!(%warning, "definitions");
            }
            tracing::info!(directory = %directory.display(), seq = applied.applied_seq, plan = %applied.plan, "definitions applied");
        }
        Err(refusal) => {
            tracing::error!(directory = %directory.display(), %refusal, "definitions were not applied; nothing was changed");
        }
    }
}

/// The signals that the daemon obeys.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, StartFailure> {
        let listen = |kind| {
            signal(kind).map_err(|source| StartFailure::Io { doing: "listen for signals".to_owned(), source })
        };
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }
}

/// SIGHUP applies the definitions again, SIGTERM and SIGINT stop.
async fn wait_for_stop(
    parts: &Parts,
    mut signals: Signals,
    definitions: Option<&std::path::Path>,
) -> Result<(), StartFailure> {
    let mut watchdog = tokio::time::interval(Duration::from_secs(10));
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.hangup.recv() => if let Some(directory) = definitions { apply_definitions(parts, directory).await } else { tracing::info!("SIGHUP: netdefs.dir is not set, so there is nothing to apply") },
            _ = watchdog.tick() => {
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
            }
        }
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping: finishing what was taken");
    Ok(())
}

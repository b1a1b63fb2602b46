//! Load on a whole server over loopback: `cargo bench --bench load -- echo --seconds 5 --json`.
//!
//! Each run starts the server as its own process (this binary again), loads it, and reports throughput, CPU per
//! request on both sides, latency and loss. Several workloads alternate over `--runs`. Without `--bench`, which
//! cargo adds for benches but not for tests, a tiny run checks only that everything answers.
#![expect(
    clippy::print_stdout,
    reason = "the bench reports on standard output; the print lint guards the daemon"
)]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts and times become rates for people; none comes near 2^53, none is negative"
)]

mod daemon;
mod dhcp;
mod echo;
mod generator;
mod plan;
mod process;
mod radius;
mod report;
mod seed;
mod source;
mod start;
mod statistics;
mod workload;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use lastmile::secret::Secret;
use lastmile::time::{Clock, SteadyClock};

use crate::daemon::Daemon;
use crate::dhcp::Dora;
use crate::echo::Echo;
use crate::generator::Generator;
use crate::plan::{Edge, Plan};
use crate::process::{Server, own_cpu_us};
use crate::radius::{Nas, Radius, Traffic};
use crate::report::{Ratio, Report};
use crate::seed::{Population, Recognised, States};
use crate::workload::Workload;

/// A limit for what happens before the measured time: an hour.
const FILL_NS_MAX: u64 = 3_600_000_000_000;
/// The address below the relays': the first is 127.0.1.1.
const RELAYS: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 0);
/// Where a server answers a relay (RFC 2131 §4.1).
const DHCP_SERVER_PORT: u16 = 67;

/// What to measure and how.
#[derive(Parser)]
#[command(name = "load", about = "Loads a server over loopback and reports what a request costs")]
struct Options {
    /// Workloads to run, in turn.
    #[arg(value_enum, default_value = "echo")]
    workloads: Vec<Kind>,
    /// Measured time of one run.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Time before measuring.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Runs of each workload.
    #[arg(long, default_value_t = 1)]
    runs: u32,
    /// Requests outstanding at once, over all sources.
    #[arg(long, default_value_t = 1024)]
    window: usize,
    /// Source sockets.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=64))]
    sources: u16,
    /// Transactions per second at fixed times (open loop; the generator spins); without it, as fast as answered.
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// Milliseconds without an answer after which a message is repeated or lost.
    #[arg(long, default_value_t = 1000)]
    timeout_ms: u64,
    /// How often an unanswered message is sent again.
    #[arg(long, default_value_t = 0)]
    retransmits: u32,
    /// Worker threads of the server.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Bytes of an echo request.
    #[arg(long, default_value_t = 128)]
    bytes: usize,
    /// Exchanges that make one echo transaction; 2 has the shape of DHCP's Discover and Request.
    #[arg(long, default_value_t = 1)]
    steps: u32,
    /// RADIUS authentication server to load, on loopback; this project's own daemon when not given.
    #[arg(long)]
    auth_server: Option<SocketAddr>,
    /// RADIUS accounting server to load, on loopback; this project's own daemon when not given.
    #[arg(long)]
    acct_server: Option<SocketAddr>,
    /// DHCPv4 server to load, on loopback; this project's own daemon when not given. The generator is relays on
    /// 127.0.1.x, which needs port 67.
    #[arg(long)]
    dhcp_server: Option<SocketAddr>,
    /// Process whose CPU time is the server's.
    #[arg(long)]
    server_pid: Option<u32>,
    /// RADIUS shared secret.
    #[arg(long, default_value = "testing123-load")]
    secret: String,
    /// Password of every login.
    #[arg(long, default_value = "password")]
    password: String,
    /// Logins (user000000 and on) or DHCP clients to take turns.
    #[arg(long, default_value_t = 10_000)]
    subscribers: u32,
    /// Directory in which seeded states are kept and looked for: a million subscribers take minutes to write.
    #[arg(long)]
    states: Option<PathBuf>,
    /// One JSON object per line instead of text.
    #[arg(long)]
    json: bool,
    /// Be the echo server on this address.
    #[arg(long, hide = true)]
    serve_echo: Option<SocketAddr>,
    /// Added by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A workload by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Bytes back as they came, through the daemon's sockets and nothing else.
    Echo,
    /// Access-Requests by password of subscribers who all have an address: each logs in once before the measured time,
    /// then they do so at random.
    Auth,
    /// Access-Requests by password of subscribers who have no address yet, each once: every Accept waits for the journal.
    New,
    /// Accounting-Requests: Start, Interim-Update, Stop.
    Acct,
    /// DHCPv4 Discover to Ack through relays.
    Dora,
    /// No load: how long the daemon takes to be ready, from SQLite and from its node image, and how long a write takes.
    Start,
}

/// A server, what to send it, and from where.
struct Subject {
    daemon: Option<Daemon>,
    server: Server,
    workload: Box<dyn Workload>,
    sources: Vec<SocketAddr>,
    /// Transactions that begin before the measured ones, at any rate and unmeasured.
    before: u64,
    /// Transactions measured, unless time ends first.
    transactions: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    // The test harness's protocol asks for a list of tests; there are none here by name.
    if arguments.iter().any(|argument| argument == "--list") {
        return Ok(());
    }
    if !arguments.iter().any(|argument| argument == "--bench" || argument == "--serve-echo") {
        return smoke();
    }
    let options = Options::parse();
    match options.serve_echo {
        Some(address) => echo::serve(address, options.workers),
        None => measure(&options),
    }
}

/// A run short enough for every test run: all answered, nothing lost or wrong, in both loops.
fn smoke() -> anyhow::Result<()> {
    // More slots than transactions and endless patience: a slow machine makes this slow, not wrong.
    let short = ["load", "--seconds", "0.1", "--warmup", "0.02", "--sources", "4", "--timeout-ms", "60000"];
    for extra in [&["--steps", "2"][..], &["--rate", "2000"][..]] {
        let options = Options::try_parse_from(short.iter().chain(extra))?;
        let report = run(&options, Kind::Echo, &mut States::default())?;
        anyhow::ensure!(
            report.per_second > 0.0 && report.loss <= 0.0 && report.wrong <= 0.0,
            "the smoke run failed: {}",
            report.line()
        );
    }
    Ok(())
}

fn measure(options: &Options) -> anyhow::Result<()> {
    let mut reports: Vec<Vec<Report>> = vec![Vec::new(); options.workloads.len()];
    let mut states = States::kept_in(options.states.clone());
    for _ in 0..options.runs {
        for (kind, reports) in options.workloads.iter().zip(&mut reports) {
            if *kind == Kind::Start {
                let (value, line) =
                    start::measure(&population(options, Recognised::ByLogin), &mut states, options.workers)?;
                print(options, "start", &value, &line)?;
                continue;
            }
            let report = run(options, *kind, &mut states)?;
            print(options, "run", &report, &report.line())?;
            reports.push(report);
        }
    }
    if options.runs < 2 && options.workloads.len() < 2 {
        return Ok(());
    }
    let medians: Vec<Report> = reports.iter().filter_map(|reports| Report::median(reports)).collect();
    for median in &medians {
        print(options, "median", median, &format!("median  {}", median.line()))?;
    }
    if let Some((first, others)) = medians.split_first() {
        for other in others {
            let ratio = Ratio::new(other, first);
            let line = format!(
                "{} / {}: throughput {:.3}, server CPU {:.2}",
                ratio.workload, ratio.to, ratio.per_second, ratio.server_us
            );
            print(options, "ratio", &ratio, &line)?;
        }
    }
    Ok(())
}

fn run(options: &Options, kind: Kind, states: &mut States) -> anyhow::Result<Report> {
    let Subject { daemon, server, mut workload, sources, before, transactions } =
        subject(options, kind, states)?;
    let plan = Plan {
        target: server.address,
        sources,
        window: options.window,
        rate: options.rate,
        timeout_ns: options.timeout_ms * 1_000_000,
        retransmits: options.retransmits,
        warmup_ns: if transactions.is_some() { 0 } else { (options.warmup * 1e9) as u64 },
        measure_ns: (options.seconds * 1e9) as u64,
        transactions,
    };
    let clock = SteadyClock::start();
    if before > 0 {
        let fill = Plan {
            rate: None,
            warmup_ns: 0,
            measure_ns: FILL_NS_MAX,
            transactions: Some(before),
            ..plan.clone()
        };
        let filled = Generator::new(fill, &mut *workload, &clock)?.run(&mut |_| {})?;
        anyhow::ensure!(
            filled.lost + filled.wrong == 0,
            "{} first logins failed",
            filled.lost + filled.wrong
        );
        if let Some(daemon) = &daemon {
            daemon.drain();
        }
    }
    let mut cpu = [(0, 0); 2];
    let outcome = Generator::new(plan, &mut *workload, &clock)?.run(&mut |edge| {
        cpu[usize::from(edge == Edge::MeasuringEnds)] = (server.cpu_us(), own_cpu_us());
    })?;
    let [begin, end] = cpu;
    let server_us = end.0.saturating_sub(begin.0);
    if let Some(daemon) = &daemon {
        describe(options, daemon, outcome.elapsed_ns)?;
    }
    Ok(Report::new(&name_of(kind), &outcome, server_us, end.1.saturating_sub(begin.1)))
}

/// What the daemon itself says after a run: memory, syncs, and how long the applier takes to catch up.
fn describe(options: &Options, daemon: &Daemon, elapsed_ns: u64) -> anyhow::Result<()> {
    let applied_per_second = daemon.metric("lastmile_applier_records_total") * 1e9 / elapsed_ns.max(1) as f64;
    let (records, syncs) =
        (daemon.metric("lastmile_journal_records"), daemon.metric("lastmile_journal_syncs"));
    let resident = daemon.resident_bytes();
    let (backlog, drain_secs) = daemon.drain();
    let value = serde_json::json!({
        "ready_secs": daemon.ready_secs,
        "resident_bytes": resident,
        "journal_records": records,
        "journal_syncs": syncs,
        "applied_per_second": applied_per_second,
        "applier_backlog": backlog,
        "drain_secs": drain_secs,
        "state": daemon.state(),
    });
    let line = format!(
        "daemon  ready in {:.2} s, {} MiB resident, {records} records in {syncs} syncs, {applied_per_second:.0} rows/s applied meanwhile, backlog {backlog} drained in {drain_secs:.1} s",
        daemon.ready_secs,
        resident >> 20,
    );
    print(options, "daemon", &value, &line)
}

/// The server at `given`, or a daemon of our own.
fn server_for(
    options: &Options,
    states: &mut States,
    given: Option<SocketAddr>,
    recognised: Recognised,
    address: impl Fn(&Daemon) -> SocketAddr,
) -> anyhow::Result<(Option<Daemon>, Server)> {
    if let Some(given) = given {
        return Ok((None, Server::running(given, options.server_pid)?));
    }
    let state = states.copy(&population(options, recognised))?;
    let daemon = Daemon::start(state, options.workers)?;
    let server = Server::running(address(&daemon), Some(daemon.pid()))?;
    Ok((Some(daemon), server))
}

fn subject(options: &Options, kind: Kind, states: &mut States) -> anyhow::Result<Subject> {
    // At least one slot per source, whatever the window.
    let slots = options.window.max(usize::from(options.sources));
    let anywhere = vec![(Ipv4Addr::LOCALHOST, 0).into(); usize::from(options.sources)];
    let each = u64::from(options.subscribers);
    Ok(match kind {
        Kind::Echo | Kind::Start => {
            let workers = options.workers.to_string();
            Subject {
                daemon: None,
                server: Server::start(&["--serve-echo", "127.0.0.1:0", "--workers", &workers])?,
                workload: Box::new(Echo::new(slots, options.bytes, options.steps)),
                sources: anywhere,
                before: 0,
                transactions: None,
            }
        }
        Kind::Auth | Kind::New => {
            let (daemon, server) =
                server_for(options, states, options.auth_server, Recognised::ByLogin, |daemon| daemon.auth)?;
            let workload = Box::new(Radius::new(Traffic::Login, nas(options), slots));
            let (before, transactions) = if kind == Kind::New { (0, Some(each)) } else { (each, None) };
            Subject { daemon, server, workload, sources: anywhere, before, transactions }
        }
        Kind::Acct => {
            let (daemon, server) =
                server_for(options, states, options.acct_server, Recognised::ByLogin, |daemon| daemon.acct)?;
            let workload = Box::new(Radius::new(Traffic::Accounting, nas(options), slots));
            Subject { daemon, server, workload, sources: anywhere, before: 0, transactions: None }
        }
        Kind::Dora => {
            let hosts = 1..=u32::from(options.sources);
            let relays: Vec<Ipv4Addr> = hosts.map(|host| (RELAYS.to_bits() + host).into()).collect();
            let sources = relays.iter().map(|relay| (*relay, DHCP_SERVER_PORT).into()).collect();
            let workload = Box::new(Dora::new(relays, options.subscribers, slots));
            let (daemon, server) =
                server_for(options, states, options.dhcp_server, Recognised::ByLine, |daemon| daemon.dhcp4)?;
            Subject { daemon, server, workload, sources, before: 0, transactions: None }
        }
    })
}

fn population(options: &Options, recognised: Recognised) -> Population {
    Population {
        subscribers: options.subscribers,
        recognised,
        secret: options.secret.clone(),
        password: options.password.clone(),
    }
}

fn nas(options: &Options) -> Nas {
    Nas {
        secret: Secret::new(options.secret.as_bytes()),
        address: Ipv4Addr::LOCALHOST,
        subscribers: options.subscribers,
        password: Secret::new(options.password.as_bytes()),
        began_secs: (SteadyClock::start().now().stamp.0 / 1000) as u32,
    }
}

fn name_of(kind: Kind) -> String {
    kind.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn print(options: &Options, what: &str, value: &impl serde::Serialize, line: &str) -> anyhow::Result<()> {
    if options.json {
        println!("{}", serde_json::json!({ "what": what, "value": serde_json::to_value(value)? }));
    } else {
        println!("{line}");
    }
    Ok(())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err("a rate is above zero".to_owned()) }
}

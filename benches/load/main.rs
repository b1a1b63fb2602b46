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

mod echo;
mod generator;
mod plan;
mod process;
mod report;
mod source;
mod statistics;
mod workload;

use std::net::{Ipv4Addr, SocketAddr};

use clap::{Parser, ValueEnum};
use lastmile::time::SteadyClock;

use crate::generator::Generator;
use crate::plan::{Edge, Plan};
use crate::process::{Server, own_cpu_us};
use crate::report::{Ratio, Report};
use crate::workload::Workload;

/// What to measure and how.
#[derive(Clone, Debug, Parser)]
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
        let report = run(&options, Kind::Echo)?;
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
    for _ in 0..options.runs {
        for (kind, reports) in options.workloads.iter().zip(&mut reports) {
            let report = run(options, *kind)?;
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

fn run(options: &Options, kind: Kind) -> anyhow::Result<Report> {
    let (server, mut workload) = start(options, kind)?;
    let plan = Plan {
        target: server.address,
        sources: vec![(Ipv4Addr::LOCALHOST, 0).into(); usize::from(options.sources)],
        window: options.window,
        rate: options.rate,
        timeout_ns: options.timeout_ms * 1_000_000,
        retransmits: options.retransmits,
        warmup_ns: (options.warmup * 1e9) as u64,
        measure_ns: (options.seconds * 1e9) as u64,
    };
    let clock = SteadyClock::start();
    let mut cpu = [(0, 0); 2];
    let outcome = Generator::new(plan, &mut *workload, &clock)?.run(&mut |edge| {
        cpu[usize::from(edge == Edge::MeasuringEnds)] = (server.cpu_us(), own_cpu_us());
    })?;
    let [begin, end] = cpu;
    Ok(Report::new(&name_of(kind), &outcome, end.0 - begin.0, end.1 - begin.1))
}

/// The server process of a workload and what to send it.
fn start(options: &Options, kind: Kind) -> anyhow::Result<(Server, Box<dyn Workload>)> {
    match kind {
        Kind::Echo => {
            let workers = options.workers.to_string();
            let server = Server::start(&["--serve-echo", "127.0.0.1:0", "--workers", &workers])?;
            Ok((server, Box::new(echo::Echo::new(options.window.max(64), options.bytes, options.steps))))
        }
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

//! Prometheus metrics: names, labels, help. docs/metrics.md lists them, and a test compares the two.
//!
//! Names are `lastmile_<area>_<what>_<unit>` in base units, counters end in `_total`. Labels are bounded: plane, outcome,
//! reason, pool, state; never a login, MAC or address. Workers hold handles resolved once per label set.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::decision::{Decision, Outcome, Plane};
use crate::limits::SOCKETS_PER_WAITER_MAX;
use crate::refusals::Counted;

/// All metrics of the daemon.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    decisions: IntCounterVec,
    received: IntCounterVec,
    latency: HistogramVec,
    stale: IntCounter,
    kernel_dropped: IntCounter,
    /// Per socket, the kernel's own count at the last look of any worker.
    kernel_counts: Arc<[AtomicU32]>,
    receive_errors: IntCounter,
    send_errors: IntCounter,
    panics: IntCounter,
    unwritten: IntCounter,
    journal_failed: IntCounter,
    /// Whether the journal takes records (1) or not (0).
    pub journal_available: IntGauge,
    /// Newest durable journal sequence.
    pub journal_sequence: IntGauge,
    /// Bytes of journal segments on disk.
    pub journal_bytes: IntGauge,
    /// Syncs since start.
    pub journal_syncs: IntGauge,
    /// Records since start.
    pub journal_records: IntGauge,
    /// Records not yet applied to storage.
    pub applier_lag: IntGauge,
    /// Rows written to storage by the applier.
    pub applier_records: IntCounter,
    /// Failures of the applier.
    pub applier_errors: IntCounter,
    /// What became of other nodes' records.
    pub feed_records: IntCounterVec,
    /// Looks at the feed that failed.
    pub feed_errors: IntCounter,
    /// Seconds since nothing was left to learn of other nodes.
    pub feed_age: Gauge,
    /// Commit number this node decides by.
    pub snapshot_seq: IntGauge,
    /// Live sessions.
    pub sessions: IntGauge,
    /// Live leases.
    pub leases: IntGauge,
    /// Grants applied although another holder's was live.
    pub conflicts: IntGauge,
    /// Addresses by pool and state.
    pub pool: GaugeVec,
    /// NASes of which it is learned whether they sign, by how far that has come.
    pub signing: IntGaugeVec,
    /// Accepts by NAS.
    pub nas_accepts: IntCounterVec,
    /// Started sessions by NAS.
    pub nas_starts: IntCounterVec,
    /// When each NAS was last heard, in seconds since 1970.
    pub nas_heard: IntGaugeVec,
    /// 1 when the daemon is ready.
    pub ready: IntGauge,
    /// Seconds since the daemon started.
    pub uptime: Gauge,
    /// API requests by method, route and status.
    pub api_requests: IntCounterVec,
    /// API latency.
    pub api_latency: Histogram,
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::with_opts(Opts::new(name, help)))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::with_opts(Opts::new(name, help)))
}

/// Registers a metric. Names are constants, so a failure is a defect that the first start in a test shows.
#[expect(clippy::expect_used, reason = "metric names are constants; a test starts this code")]
fn register<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let metric = made.expect("metric options are constants");
    registry.register(Box::new(metric.clone())).expect("metric names are unique");
    metric
}

/// Upper bounds of latency buckets, in seconds: 50 µs to 5 s.
const LATENCY_BUCKETS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with all metrics at zero.
    #[expect(clippy::too_many_lines, reason = "one list of all metrics reads better than several")]
    pub fn new() -> Self {
        let r = Registry::new();
        let latency = HistogramOpts::new(
            "lastmile_request_duration_seconds",
            "Time from the kernel's receipt of a request to its answer, by plane.",
        );
        let api_latency =
            HistogramOpts::new("lastmile_api_request_duration_seconds", "Time to answer an API request.");
        let uptime = Gauge::with_opts(Opts::new(
            "lastmile_process_uptime_seconds",
            "Seconds since the daemon started.",
        ));
        let signing = Opts::new(
            "lastmile_radius_nas_signing",
            "NASes with require_message_authenticator = auto, by what was learned of them.",
        );
        let heard = Opts::new(
            "lastmile_nas_last_heard_seconds",
            "When a valid request of the NAS last came, in seconds since 1970.",
        );
        let feed_age = Gauge::with_opts(Opts::new(
            "lastmile_feed_age_seconds",
            "Seconds since nothing was left to learn of other nodes.",
        ));
        let pool = Opts::new("lastmile_pool_addresses", "Addresses or prefixes of a pool by state.");
        Self {
            decisions: counters(
                &r,
                "lastmile_decisions_total",
                "Requests by plane, outcome and reason.",
                &["plane", "outcome", "reason"],
            ),
            received: counters(
                &r,
                "lastmile_datagrams_received_total",
                "Datagrams received, by plane.",
                &["plane"],
            ),
            latency: register(&r, HistogramVec::new(latency.buckets(LATENCY_BUCKETS.to_vec()), &["plane"])),
            stale: counter(
                &r,
                "lastmile_datagrams_stale_total",
                "Datagrams dropped because they had waited too long in the socket buffer.",
            ),
            kernel_dropped: counter(
                &r,
                "lastmile_datagrams_dropped_total",
                "Datagrams the kernel dropped because a socket buffer was full.",
            ),
            kernel_counts: (0..SOCKETS_PER_WAITER_MAX).map(|_| AtomicU32::new(0)).collect(),
            receive_errors: counter(&r, "lastmile_receive_errors_total", "Failed receive calls."),
            send_errors: counter(&r, "lastmile_send_errors_total", "Replies the kernel would not send."),
            panics: counter(&r, "lastmile_panics_total", "Datagrams dropped because a packet core panicked."),
            unwritten: counter(
                &r,
                "lastmile_journal_unwritten_total",
                "Records nobody waits for that the journal refused.",
            ),
            journal_failed: counter(
                &r,
                "lastmile_journal_failed_total",
                "Requests that got no answer because writing their record failed.",
            ),
            journal_available: gauge(&r, "lastmile_journal_available", "1 while the journal takes records."),
            journal_sequence: gauge(
                &r,
                "lastmile_journal_durable_sequence",
                "Newest durable journal sequence.",
            ),
            journal_bytes: gauge(&r, "lastmile_journal_size_bytes", "Bytes of journal segments on disk."),
            journal_syncs: gauge(&r, "lastmile_journal_syncs", "Syncs of the journal since start."),
            journal_records: gauge(
                &r,
                "lastmile_journal_records",
                "Records written to the journal since start.",
            ),
            applier_lag: gauge(
                &r,
                "lastmile_applier_lag_records",
                "Journal records not yet applied to storage.",
            ),
            applier_records: counter(
                &r,
                "lastmile_applier_records_total",
                "Journal records applied to storage.",
            ),
            applier_errors: counter(
                &r,
                "lastmile_applier_errors_total",
                "Failed attempts to write to storage.",
            ),
            feed_records: counters(
                &r,
                "lastmile_feed_records_total",
                "Records of other nodes by what they meant here.",
                &["lesson"],
            ),
            feed_errors: counter(
                &r,
                "lastmile_feed_errors_total",
                "Failed attempts to read what other nodes grant.",
            ),
            feed_age: register(&r, feed_age),
            snapshot_seq: gauge(&r, "lastmile_snapshot_seq", "Commit number this node decides by."),
            sessions: gauge(&r, "lastmile_ledger_sessions", "Live RADIUS sessions."),
            leases: gauge(&r, "lastmile_ledger_leases", "Live DHCP leases."),
            conflicts: gauge(
                &r,
                "lastmile_ledger_conflicts",
                "Grants applied although another holder's was live; anything but 0 is a defect.",
            ),
            pool: register(&r, GaugeVec::new(pool, &["pool", "state"])),
            signing: register(&r, IntGaugeVec::new(signing, &["state"])),
            ready: gauge(&r, "lastmile_ready", "1 when the daemon is ready."),
            nas_accepts: counters(&r, "lastmile_nas_accepts_total", "Access-Accepts by NAS.", &["nas"]),
            nas_starts: counters(&r, "lastmile_nas_starts_total", "Sessions started by NAS.", &["nas"]),
            nas_heard: register(&r, IntGaugeVec::new(heard, &["nas"])),
            uptime: register(&r, uptime),
            api_requests: counters(
                &r,
                "lastmile_api_requests_total",
                "API requests by method, operation and status.",
                &["method", "operation", "status"],
            ),
            api_latency: register(&r, Histogram::with_opts(api_latency)),
            registry: r,
        }
    }

    /// Handles for one worker.
    pub fn worker(&self) -> WorkerMetrics {
        let planes = [Plane::Auth, Plane::Acct, Plane::Dhcp4];
        WorkerMetrics {
            decisions: self.decisions.clone(),
            known: HashMap::new(),
            latest: [const { None }; 3],
            received: planes.map(|plane| self.received.with_label_values(&[plane.name()])),
            latency: planes.map(|plane| self.latency.with_label_values(&[plane.name()])),
            stale: self.stale.clone(),
            receive_errors: self.receive_errors.clone(),
            send_errors: self.send_errors.clone(),
            panics: self.panics.clone(),
            unwritten: self.unwritten.clone(),
            journal_failed: self.journal_failed.clone(),
            kernel_dropped: self.kernel_dropped.clone(),
            kernel_counts: Arc::clone(&self.kernel_counts),
        }
    }

    /// How often what was decided, of all workers.
    pub fn decided(&self) -> Vec<Counted> {
        let families = self.decisions.collect();
        let series = families.iter().flat_map(prometheus::proto::MetricFamily::get_metric);
        let counted = series.map(|metric| {
            let label = |name: &str| {
                let label = metric.get_label().iter().find(|label| label.name() == name);
                label.map(|label| label.value().to_owned()).unwrap_or_default()
            };
            let reason = label("reason");
            let total =
                self.decisions.with_label_values(&[&label("plane"), &label("outcome"), &reason]).get();
            Counted { plane: label("plane"), outcome: label("outcome"), reason, total }
        });
        counted.collect()
    }

    /// Everything in the Prometheus text format.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("# metrics could not be rendered: {error}\n"),
        }
    }

    /// (name, kind, help) of every metric that has been touched, for the documentation test.
    pub fn catalogue(&self) -> Vec<(String, String)> {
        self.registry
            .gather()
            .iter()
            .map(|family| (family.name().to_owned(), family.help().to_owned()))
            .collect()
    }
}

/// Handles of one worker, resolved once.
#[derive(Debug)]
pub struct WorkerMetrics {
    decisions: IntCounterVec,
    known: HashMap<(Plane, Outcome, &'static str), IntCounter>,
    /// The newest of `known`, by plane.
    latest: [Option<(Outcome, &'static str, IntCounter)>; 3],
    received: [IntCounter; 3],
    latency: [Histogram; 3],
    /// Datagrams dropped for their age.
    pub stale: IntCounter,
    /// Failed receive calls.
    pub receive_errors: IntCounter,
    /// Replies the kernel would not send.
    pub send_errors: IntCounter,
    /// Panics of a core.
    pub panics: IntCounter,
    /// Unwaited records refused.
    pub unwritten: IntCounter,
    /// Requests without an answer because the journal failed.
    pub journal_failed: IntCounter,
    kernel_dropped: IntCounter,
    kernel_counts: Arc<[AtomicU32]>,
}

const fn place(plane: Plane) -> usize {
    match plane {
        Plane::Auth => 0,
        Plane::Acct => 1,
        Plane::Dhcp4 => 2,
    }
}

impl WorkerMetrics {
    /// A datagram came in.
    pub fn received(&self, plane: Plane) {
        self.received[place(plane)].inc();
    }

    /// A request was answered `nanos` after its receipt.
    #[expect(clippy::cast_precision_loss, reason = "a latency of 2^53 ns is 104 days")]
    pub fn answered(&self, plane: Plane, nanos: u64) {
        self.latency[place(plane)].observe(nanos as f64 / 1e9);
    }

    /// A decision was taken.
    pub fn decided(&mut self, decision: &Decision) {
        // Nearly always it is the same as the last one of its kind, in the very same constant.
        let latest = &mut self.latest[place(decision.plane)];
        if let Some((outcome, reason, counter)) = latest
            && *outcome == decision.outcome
            && std::ptr::eq(*reason, decision.reason)
        {
            counter.inc();
            return;
        }
        let key = (decision.plane, decision.outcome, decision.reason);
        let counter = self.known.entry(key).or_insert_with(|| {
            self.decisions.with_label_values(&[
                decision.plane.name(),
                decision.outcome.name(),
                decision.reason,
            ])
        });
        counter.inc();
        *latest = Some((decision.outcome, decision.reason, counter.clone()));
    }

    /// The kernel's count of datagrams it dropped on a socket: it only grows, and all workers see it, so only what no
    /// worker has seen yet is added.
    pub fn kernel_drops(&self, socket: usize, count: u32) {
        if let Some(seen) = self.kernel_counts.get(socket) {
            let before = seen.fetch_max(count, Ordering::Relaxed);
            self.kernel_dropped.inc_by(u64::from(count.saturating_sub(before)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Stamp;

    #[test]
    fn what_the_kernel_dropped_is_counted_once_however_many_workers_see_it() {
        let metrics = Metrics::new();
        let (one, other) = (metrics.worker(), metrics.worker());
        one.kernel_drops(0, 5);
        other.kernel_drops(0, 5);
        other.kernel_drops(0, 7);
        one.kernel_drops(1, 2);
        assert!(metrics.render().contains("lastmile_datagrams_dropped_total 9"), "{}", metrics.render());
    }

    #[test]
    fn decisions_are_counted_by_plane_outcome_and_reason() {
        let metrics = Metrics::new();
        let mut worker = metrics.worker();
        let decision = Decision::new(Stamp(0), Plane::Auth, "Access-Request");
        worker.decided(&decision.clone().concluded(Outcome::Refused, "password-mismatch"));
        worker.decided(&decision.concluded(Outcome::Refused, "password-mismatch"));
        let text = metrics.render();
        let reason = "password-mismatch".to_owned();
        let counted = Counted { plane: "auth".to_owned(), outcome: "refused".to_owned(), reason, total: 2 };
        assert_eq!(metrics.decided(), [counted]);
        assert!(
            text.contains(
                "lastmile_decisions_total{outcome=\"refused\",plane=\"auth\",reason=\"password-mismatch\"} 2"
            ),
            "{text}"
        );
    }
}

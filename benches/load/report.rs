//! What a run says: one line for people or one JSON object per run, then medians and ratios over all runs.
//!
//! Runs alternate between workloads, so that a machine that slows down slows all of them; the median of each
//! number over the runs is reported, and ratios are taken to the first workload named.

use serde::Serialize;

use crate::plan::Outcome;
use crate::statistics::median;

/// The numbers of one run, or the medians of several.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) workload: String,
    /// Transactions per second.
    pub(crate) per_second: f64,
    /// Answered messages per second: more than one per transaction for DHCP.
    pub(crate) messages_per_second: f64,
    /// CPU of the server process per transaction, in microseconds.
    pub(crate) server_us: f64,
    /// CPU of the generator per transaction, in microseconds.
    pub(crate) generator_us: f64,
    /// Transactions whose latency was measured.
    pub(crate) samples: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    /// Share of measured transactions without an answer, including those an open loop could not send.
    pub(crate) loss: f64,
    pub(crate) wrong: f64,
    pub(crate) stray: f64,
    pub(crate) retransmitted: f64,
}

impl Report {
    /// The numbers of `outcome`, given the CPU time both processes used while it was measured.
    pub(crate) fn new(workload: &str, outcome: &Outcome, server_cpu_us: u64, generator_cpu_us: u64) -> Self {
        let seconds = (outcome.elapsed_ns as f64 / 1e9).max(f64::MIN_POSITIVE);
        let ended = (outcome.ended as f64).max(1.0);
        let owed = ((outcome.begun + outcome.unsent) as f64).max(1.0);
        let micros = |share: f64| outcome.latency.quantile(share) as f64 / 1e3;
        Self {
            workload: workload.to_owned(),
            per_second: outcome.ended as f64 / seconds,
            messages_per_second: outcome.answered as f64 / seconds,
            server_us: server_cpu_us as f64 / ended,
            generator_us: generator_cpu_us as f64 / ended,
            samples: outcome.latency.len() as f64,
            p50_us: micros(0.5),
            p99_us: micros(0.99),
            p999_us: micros(0.999),
            max_us: micros(1.0),
            loss: (outcome.lost + outcome.unsent) as f64 / owed,
            wrong: outcome.wrong as f64,
            stray: outcome.stray as f64,
            retransmitted: outcome.retransmitted as f64,
        }
    }

    /// Number by number the median of `reports`, which are of one workload; `None` without any.
    pub(crate) fn median(reports: &[Self]) -> Option<Self> {
        let of = |number: fn(&Self) -> f64| median(reports.iter().map(number).collect());
        Some(Self {
            workload: reports.first()?.workload.clone(),
            per_second: of(|report| report.per_second),
            messages_per_second: of(|report| report.messages_per_second),
            server_us: of(|report| report.server_us),
            generator_us: of(|report| report.generator_us),
            samples: of(|report| report.samples),
            p50_us: of(|report| report.p50_us),
            p99_us: of(|report| report.p99_us),
            p999_us: of(|report| report.p999_us),
            max_us: of(|report| report.max_us),
            loss: of(|report| report.loss),
            wrong: of(|report| report.wrong),
            stray: of(|report| report.stray),
            retransmitted: of(|report| report.retransmitted),
        })
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        format!(
            "{:<12} {:>9.0}/s  server {:>6.2} us  generator {:>6.2} us  p50 {:>7.0} us  p99 {:>7.0} us  p99.9 {:>7.0} us  \
             max {:>7.0} us  loss {:.5} %  wrong {}  stray {}",
            self.workload,
            self.per_second,
            self.server_us,
            self.generator_us,
            self.p50_us,
            self.p99_us,
            self.p999_us,
            self.max_us,
            self.loss * 100.0,
            self.wrong,
            self.stray,
        )
    }
}

/// One workload's medians beside the first workload's.
#[derive(Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) workload: String,
    pub(crate) to: String,
    /// Throughput as a share of the other's.
    pub(crate) per_second: f64,
    /// Server CPU per transaction as a multiple of the other's.
    pub(crate) server_us: f64,
}

impl Ratio {
    pub(crate) fn new(report: &Report, to: &Report) -> Self {
        Self {
            workload: report.workload.clone(),
            to: to.workload.clone(),
            per_second: report.per_second / to.per_second,
            server_us: report.server_us / to.server_us,
        }
    }
}

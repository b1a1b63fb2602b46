//! The load generator against servers that lose, shorten or delay: does it count what happened?
//!
//! The generator is bench code without a test harness of its own, so its files are compiled here once more.
//! Time is a clock that moves at each reading; nothing here depends on how fast the machine is.
#![allow(
    dead_code,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "compiled as part of the bench, where all of it is used and the casts are explained"
)]
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its server fails at once")]

#[path = "../benches/load/echo.rs"]
mod echo;
#[path = "../benches/load/generator.rs"]
mod generator;
#[path = "../benches/load/plan.rs"]
mod plan;
#[path = "../benches/load/source.rs"]
mod source;
#[path = "../benches/load/statistics.rs"]
mod statistics;
#[path = "../benches/load/workload.rs"]
mod workload;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use lastmile::net::{Datagram, ListenOptions, RecvBatch, SendBatch, UdpListener, Waiter, Wake};
use lastmile::time::{Clock, Moment, Stamp, Tick};

use echo::Echo;
use generator::Generator;
use plan::{Outcome, Plan};

const MS: u64 = 1_000_000;
const SLOTS: usize = 8;

/// A clock that each reading moves on by one millisecond.
struct SteppingClock(AtomicU64);

impl Clock for SteppingClock {
    fn now(&self) -> Moment {
        let millis = self.0.fetch_add(1, Ordering::Relaxed);
        Moment { stamp: Stamp(millis), tick: Tick(millis * MS) }
    }
}

/// An echo server on its own thread that sends back as many bytes as `answer` says, or nothing.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    wake: Wake,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(mut answer: impl FnMut(&Datagram<'_>) -> Option<usize> + Send + 'static) -> Self {
        let listener = UdpListener::bind("127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap();
        let mut waiter = Waiter::new().unwrap();
        waiter.add(&listener).unwrap();
        let (address, wake, stop) = (listener.local_addr(), waiter.wake(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (mut requests, mut replies) = (RecvBatch::new(), SendBatch::new());
            while !stopped.load(Ordering::Acquire) {
                waiter.wait(None).unwrap();
                requests.recv(&listener).unwrap();
                for request in requests.iter() {
                    let Some(length) = answer(&request) else { continue };
                    replies
                        .push(request.reply(), |slot| {
                            slot.get_mut(..length)?.copy_from_slice(request.bytes.get(..length)?);
                            Some(length)
                        })
                        .unwrap();
                }
                replies.flush(&listener);
            }
        });
        Self { address, stop, wake, thread: Some(thread) }
    }

    fn load(&self, steps: u32, adjust: impl FnOnce(&mut Plan)) -> Outcome {
        let mut plan = Plan {
            target: self.address,
            sources: vec!["127.0.0.1:0".parse().unwrap(); 2],
            window: SLOTS,
            rate: None,
            timeout_ns: 50 * MS,
            retransmits: 0,
            warmup_ns: 0,
            measure_ns: 300 * MS,
            transactions: None,
        };
        adjust(&mut plan);
        let (mut workload, clock) = (Echo::new(plan.window, 32, steps), SteppingClock(AtomicU64::new(0)));
        Generator::new(plan, &mut workload, &clock).unwrap().run(&mut |_| {}).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.wake.wake();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Enough patience that a slow machine loses nothing.
fn patient(plan: &mut Plan) {
    plan.timeout_ns = 100_000 * MS;
}

#[test]
fn every_transaction_begun_in_the_measured_time_is_accounted_for() {
    let outcome = Server::start(|request| Some(request.bytes.len())).load(1, patient);
    assert!(outcome.begun > 0);
    assert_eq!((outcome.lost, outcome.wrong, outcome.stray), (0, 0, 0));
    assert_eq!(outcome.latency.len(), outcome.begun);
    assert!(outcome.ended <= outcome.begun && outcome.ended + SLOTS as u64 >= outcome.begun);
}

#[test]
fn transactions_of_two_steps_end_with_the_second_answer() {
    let outcome = Server::start(|request| Some(request.bytes.len())).load(2, patient);
    assert!(outcome.ended > 0);
    assert!(outcome.answered >= 2 * outcome.ended);
    assert!(outcome.answered <= 2 * outcome.ended + SLOTS as u64);
    assert_eq!(outcome.latency.len(), outcome.begun);
}

#[test]
fn requests_without_an_answer_are_lost() {
    let outcome = Server::start(|_| None).load(1, |_| {});
    assert!(outcome.begun >= SLOTS as u64);
    assert_eq!((outcome.lost, outcome.ended, outcome.latency.len()), (outcome.begun, 0, 0));
}

#[test]
fn a_request_lost_once_is_sent_again_unchanged() {
    let mut seen = HashSet::new();
    let server = Server::start(move |request| {
        let first = seen.insert((request.source, request.bytes.to_vec()));
        (!first).then_some(request.bytes.len())
    });
    let outcome = server.load(1, |plan| plan.retransmits = 10_000);
    assert!(outcome.begun > 0);
    assert_eq!((outcome.lost, outcome.latency.len()), (0, outcome.begun));
    assert!(outcome.retransmitted >= outcome.begun);
}

#[test]
fn an_answer_that_is_not_the_expected_one_is_wrong() {
    let outcome = Server::start(|request| Some(request.bytes.len() - 1)).load(1, patient);
    assert!(outcome.begun > 0);
    assert_eq!((outcome.wrong, outcome.ended), (outcome.begun, 0));
}

#[test]
fn an_open_loop_counts_latency_from_the_due_time_and_reports_what_it_could_not_send() {
    // One slot and a transaction due per millisecond, but each round takes several: the backlog grows.
    let outcome = Server::start(|request| Some(request.bytes.len())).load(1, |plan| {
        patient(plan);
        plan.sources.truncate(1);
        plan.window = 1;
        plan.rate = Some(1000.0);
        plan.measure_ns = 20_000 * MS;
    });
    assert!(outcome.unsent > 0);
    let owed = outcome.begun + outcome.unsent;
    assert!((19_900..=20_001).contains(&owed), "{owed}");
    // The last one begun was due `begun` milliseconds after the start and left near the end of the time.
    assert!(outcome.latency.quantile(1.0) > (19_000 - outcome.begun) * MS);
}

#[test]
fn an_open_loop_that_keeps_up_begins_what_was_due_and_no_more() {
    let outcome = Server::start(|request| Some(request.bytes.len())).load(1, |plan| {
        patient(plan);
        // More slots than transactions, so that a server that is slow to be scheduled delays none.
        plan.window = 64;
        plan.rate = Some(100.0);
        plan.measure_ns = 100 * MS;
    });
    assert_eq!((outcome.begun, outcome.unsent), (10, 0));
    assert_eq!(outcome.latency.len(), 10);
}

mod statistics_tests {
    use crate::statistics::{Histogram, median};

    #[test]
    fn quantiles_of_known_values_are_within_a_bucket() {
        let mut histogram = Histogram::default();
        for value in 1..=100_000 {
            histogram.record(value);
        }
        assert_eq!(histogram.len(), 100_000);
        for (share, exact) in [(0.5, 50_000.0), (0.99, 99_000.0), (0.999, 99_900.0)] {
            let found = histogram.quantile(share) as f64;
            assert!(found >= exact && found <= exact * 1.016, "{share}: {found}");
        }
        assert_eq!(histogram.quantile(1.0), 100_000);
    }

    #[test]
    fn any_value_reads_back_at_most_a_sixty_fourth_too_high() {
        for shift in 0..u64::BITS {
            for value in [1_u64 << shift, (1_u64 << shift) - 1, (1_u64 << shift) + (1_u64 << shift) / 3] {
                let mut histogram = Histogram::default();
                histogram.record(value);
                histogram.record(u64::MAX);
                let found = histogram.quantile(0.5);
                assert!(found >= value && found - value <= value / 64, "{value} reads {found}");
            }
        }
    }

    #[test]
    fn an_empty_histogram_reads_zero() {
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }

    #[test]
    fn the_median_is_the_middle_value_or_the_mean_of_the_middle_two() {
        assert!((median(vec![3.0, 1.0, 100.0]) - 3.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 100.0]) - 3.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).abs() < f64::EPSILON);
    }
}

#[test]
fn a_run_of_so_many_transactions_ends_when_they_have_begun_and_follows_each_to_its_answer() {
    let server = Server::start(|request| Some(request.bytes.len()));
    let outcome = server.load(1, |plan| {
        patient(plan);
        plan.measure_ns = u64::MAX / 2;
        plan.transactions = Some(100);
    });
    assert_eq!((outcome.begun, outcome.lost, outcome.latency.len()), (100, 0, 100));
}

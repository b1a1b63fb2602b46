//! What the ledger costs: an allocation with its record applied, the reuse of a live grant, an Interim-Update, each at
//! 10 k, 100 k and 1 M holders and a pool that is nearly full; and resident bytes per session and per lease.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up ends here")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lastmile::ids::{NasId, NetworkId, SessionId, TenantId, Uid};
use lastmile::journal::record::{Holder, LeaseFacts, Owner, Record, ReleaseReason, Role, SessionEvent};
use lastmile::ledger::{Accounted, AccountingFacts, Admission, AdmitRequest, Ledger, Want, WantSource};
use lastmile::model::Prefix;
use lastmile::model::pool::ExhaustedAction;
use lastmile::snapshot::types::{Pool, Space};
use lastmile::time::Stamp;

const T0: Stamp = Stamp(1_795_132_800_000);
const SIZES: [u64; 3] = [10_000, 100_000, 1_000_000];

fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn holder(number: u64) -> Holder {
    Holder((u128::from(mixed(number)) << 64) | u128::from(mixed(!number)))
}

fn session(number: u64) -> SessionId {
    SessionId(Uid(holder(number ^ 0xffff_0000_0000).0))
}

/// A ledger with `online` holders whose pool has 2 % left.
struct Loaded {
    ledger: Ledger,
    pools: Vec<Arc<Pool>>,
    space: Arc<Space>,
    online: u64,
    sequence: u64,
}

impl Loaded {
    fn new(online: u64, leases: bool) -> Self {
        let last = online + online / 50 - 1;
        let range = format!("10.0.0.0-10.{}.{}.{}", last >> 16, (last >> 8) & 255, last & 255);
        let space = Space { tenant: TenantId::DEFAULT, vrf: "".into() };
        let pool = Pool {
            id: Uid(77),
            name: "home".into(),
            space: space.clone(),
            network: Uid::NIL,
            class: "home".into(),
            group: None,
            ranges: vec![range.parse().expect("a range")],
            wide_len: 128,
            order: 0,
            quarantine: 300,
            exhausted_action: ExhaustedAction::default(),
            draining: false,
            seq: 0,
        };
        let ledger = Ledger::new();
        let pools = vec![Arc::new(pool)];
        ledger.set_pools(pools.iter().map(AsRef::as_ref), &|_, _| true);
        let mut loaded = Self { ledger, pools, space: Arc::new(space), online, sequence: 0 };
        for number in 0..online {
            loaded.open(number, leases);
            if !leases {
                let Accounted::Record { records, .. } = loaded.account(number, SessionEvent::Start, 0) else {
                    continue;
                };
                loaded.apply(&records);
            }
        }
        loaded
    }

    fn admit(&self, number: u64, leased: bool) -> Admission {
        let lease = leased.then(|| LeaseFacts {
            client_id: [1, 2, 0, 0, 0, 0, 1].as_slice().into(),
            relay_agent: b"\x01\x0eeth 0/1/2:1234".as_slice().into(),
            giaddr: 0x0a00_0001,
        });
        let wants = [Want { role: Role::V4, source: WantSource::Pools(&self.pools) }];
        let request = AdmitRequest {
            now: T0,
            holder: holder(number),
            space: &self.space,
            owner: Owner { line: number + 1, ..Owner::default() },
            line: b"ge-0/0/1:1000.100",
            max_slots: 1,
            wants: &wants,
            nas: NasId::default(),
            network: NetworkId::default(),
            session: if leased { SessionId::default() } else { session(number) },
            pending_until: T0.plus_secs(120),
            ends_at: T0.plus_secs(86_400),
            lease: lease.as_ref(),
            requested: None,
            digest: 1,
            fixed_holder: &|_, _| None,
        };
        self.ledger.admit(&request).expect("room in the pool")
    }

    fn open(&mut self, number: u64, leased: bool) -> Prefix {
        let admission = self.admit(number, leased);
        self.apply(&admission.wait_for);
        self.apply(&admission.write);
        admission.addresses[0].prefix
    }

    fn apply(&mut self, records: &[Record]) {
        for record in records {
            self.sequence += 1;
            self.ledger.apply(self.sequence, record);
        }
    }

    fn account(&self, number: u64, event: SessionEvent, time: u32) -> Accounted {
        let id = number.to_be_bytes();
        self.ledger.account(&AccountingFacts {
            now: T0,
            event_at: T0,
            event,
            class: Some(session(number)),
            fresh: SessionId::default(),
            nas: NasId::default(),
            acct_session_id: &id,
            login: b"user-12345@isp.example",
            owner: Owner { line: number + 1, ..Owner::default() },
            line: b"ge-0/0/1:1000.100",
            session_time: time,
            octets_in: u64::from(time) * 1_000,
            octets_out: u64::from(time) * 9_000,
            packets_in: 1,
            packets_out: 1,
            cause: 0,
            addresses: &[],
            holder: holder(number),
            space: Arc::clone(&self.space),
        })
    }

    fn leave(&mut self, number: u64, prefix: Prefix) {
        let now = T0.plus_secs(172_800);
        let record = self.ledger.release(holder(number), &self.space, prefix, ReleaseReason::Released, now);
        self.apply(&record.into_iter().collect::<Vec<_>>());
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn timed(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}

#[expect(clippy::print_stdout, reason = "criterion prints, too")]
fn memory(_: &mut Criterion) {
    println!(
        "slot {} bytes, of which a grant {}; session {}",
        size_of::<lastmile::ledger::Slot>(),
        size_of::<lastmile::ledger::Grant>(),
        size_of::<lastmile::ledger::Session>()
    );
    for leases in [false, true] {
        for online in SIZES.into_iter().rev() {
            let before = resident();
            let loaded = Loaded::new(online, leases);
            let bytes = resident().saturating_sub(before) / online;
            println!(
                "{} {}: {bytes} bytes resident each",
                loaded.online,
                if leases { "leases" } else { "sessions" }
            );
            // Memory given back would be used again, unseen by the next measurement.
            std::mem::forget(loaded);
        }
    }
}

fn packets(criterion: &mut Criterion) {
    for online in SIZES {
        let mut loaded = Loaded::new(online, false);
        let mut group = criterion.benchmark_group("ledger");
        let mut next = online;
        group.bench_function(BenchmarkId::new("allocate and apply", online), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                let mut left = iterations;
                while left > 0 {
                    // What is left of the pool bounds how many can be opened at once.
                    let chunk = left.min(online / 100);
                    left -= chunk;
                    let mut opened = Vec::with_capacity(chunk as usize);
                    spent += timed(|| {
                        for number in next..next + chunk {
                            opened.push((number, loaded.open(number, false)));
                        }
                    });
                    next += chunk;
                    for (number, prefix) in opened {
                        loaded.leave(number, prefix);
                    }
                }
                spent
            });
        });
        let mut at = 0;
        group.bench_function(BenchmarkId::new("reuse", online), |bencher| {
            bencher.iter_custom(|iterations| {
                timed(|| {
                    for _ in 0..iterations {
                        at += 1;
                        black_box(loaded.admit(mixed(at) % online, false));
                    }
                })
            });
        });
        group.bench_function(BenchmarkId::new("interim and apply", online), |bencher| {
            bencher.iter_custom(|iterations| {
                timed(|| {
                    for _ in 0..iterations {
                        at += 1;
                        let accounted = loaded.account(mixed(at) % online, SessionEvent::Interim, at as u32);
                        if let Accounted::Record { records, .. } = accounted {
                            loaded.apply(&records);
                        }
                    }
                })
            });
        });
        group.bench_function(BenchmarkId::new("reuse on two threads", online), |bencher| {
            bencher.iter_custom(|iterations| {
                let half = |thread: u64| {
                    for round in 0..iterations.div_ceil(2) {
                        black_box(loaded.admit(mixed(round * 2 + thread) % online, false));
                    }
                };
                timed(|| {
                    std::thread::scope(|scope| {
                        scope.spawn(|| half(1));
                        half(0);
                    });
                })
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = memory, packets
}
criterion_main!(benches);

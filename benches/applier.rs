//! What a journal record costs on its way into storage: decoding, folding and SQLite together, as CPU time of the process.
//!
//! `cargo bench --bench applier -- acct 2000000 --batch 400000` writes the records of 400 k sessions (Start with its grant,
//! Interim-Update, Stop with its release) of 10 k services; `new` writes one grant each of a million services. The first
//! and the last tenth are printed beside the whole, because trees that grow cost more.

#![expect(
    clippy::print_stdout,
    reason = "the bench reports on standard output; the print lint guards the daemon"
)]
#![expect(clippy::cast_precision_loss, reason = "counts become rates for people; none comes near 2^53")]

use std::fs;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use lastmile::history::Collector;
use lastmile::ids::{NasId, NetworkId, PoolId, SeededEntropy, SessionId, TenantId, Uid};
use lastmile::journal::record::{
    GrantRecord, Holder, Owner, Record, ReleaseReason, ReleaseRecord, Role, SessionEvent, SessionRecord,
};
use lastmile::model::{Mac, Prefix};
use lastmile::storage::Storage;
use lastmile::time::{Clock, Stamp, SteadyClock};
use smallvec::SmallVec;

/// When the first record is decided.
const BEGIN_MS: u64 = 1_795_132_800_000;
/// Sessions that end, or logins that come, in one millisecond.
const PER_MS: u64 = 16;
/// Sessions that are open at once.
const OPEN: u64 = 1_024;
/// Microseconds in one clock tick of `/proc/self/stat`: the kernel's ABI fixes 100 ticks per second.
const TICK_US: u64 = 10_000;

#[derive(Parser)]
#[command(name = "applier", about = "Writes journal records into storage and reports what one costs")]
struct Options {
    /// What the records are about.
    #[arg(value_enum, default_value = "acct")]
    traffic: Traffic,
    /// Records written.
    #[arg(default_value_t = 1_000)]
    records: u64,
    /// Records in one transaction.
    #[arg(long, default_value_t = 20_000)]
    batch: usize,
    /// Services that take turns.
    #[arg(long, default_value_t = 10_000)]
    services: u64,
    /// Database to write into, empty; a file of its own when not given.
    #[arg(long)]
    url: Option<String>,
    /// Added by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Traffic {
    /// Accounting.
    Acct,
    /// First logins.
    New,
}

fn main() -> anyhow::Result<()> {
    // The test harness's protocol asks for a list of tests; there are none here by name.
    if std::env::args().any(|argument| argument == "--list") {
        return Ok(());
    }
    let options = Options::parse();
    let directory = tempfile::tempdir()?;
    let file = format!("sqlite:{}", directory.path().join("lastmile.db").display());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let storage = runtime.block_on(lastmile::storage::open(options.url.as_ref().unwrap_or(&file)))?;
    measure(&options, &runtime, &storage)
}

fn measure(
    options: &Options,
    runtime: &tokio::runtime::Runtime,
    storage: &Arc<dyn Storage>,
) -> anyhow::Result<()> {
    let clock = SteadyClock::start();
    let mut journal = Journal::new(options);
    let mut tenths: Vec<Cost> = Vec::new();
    let (mut sum, mut tenth) = (Cost::default(), Cost::default());
    while sum.records < options.records {
        let batch = journal.next(options.batch);
        let (cpu, began) = (cpu_us(), clock.now().tick);
        let mut collector = Collector::new(1, sum.records).for_others(storage.is_shared());
        for (at, bytes) in &batch {
            collector.add(*at, &Record::from_bytes(bytes)?);
        }
        runtime.block_on(storage.apply_observed(collector.finish()))?;
        let cost = Cost {
            records: batch.len() as u64,
            cpu_us: cpu_us() - cpu,
            wall_us: clock.now().tick.since(began) / 1_000,
        };
        sum.add(&cost);
        tenth.add(&cost);
        if tenth.records * 10 >= options.records {
            tenths.push(std::mem::take(&mut tenth));
        }
    }
    let (first, last) = (tenths.first().unwrap_or(&sum), tenths.last().unwrap_or(&sum));
    println!("whole {}; first {}; last {}", sum.line(), first.line(), last.line());
    Ok(())
}

#[derive(Default)]
struct Cost {
    records: u64,
    cpu_us: u64,
    wall_us: u64,
}

impl Cost {
    const fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.cpu_us += other.cpu_us;
        self.wall_us += other.wall_us;
    }

    fn line(&self) -> String {
        let each = self.cpu_us as f64 / self.records as f64;
        let per_second = self.records as f64 * 1e6 / self.wall_us.max(1) as f64;
        format!("{each:.2} us CPU per record, {per_second:.0} records/s")
    }
}

/// User and system time of this process, all threads.
fn cpu_us() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * TICK_US
}

/// Records as a daemon under load writes them.
struct Journal {
    traffic: Traffic,
    holders: Vec<Holder>,
    sequence: u64,
    number: u64,
    entropy: SeededEntropy,
    open: std::collections::VecDeque<(u64, SessionId)>,
    ready: std::collections::VecDeque<Vec<u8>>,
}

impl Journal {
    fn new(options: &Options) -> Self {
        let services = if options.traffic == Traffic::New { options.records } else { options.services };
        let entropy = SeededEntropy::new(1);
        // Ids of services are as old as they are; the load comes in that order, as the load generator's does.
        let holders = (0..services).map(|number| Holder(Uid::mint(Stamp(number * 3), &entropy).0)).collect();
        Self {
            traffic: options.traffic,
            holders,
            sequence: 0,
            number: 0,
            entropy,
            open: std::collections::VecDeque::new(),
            ready: std::collections::VecDeque::new(),
        }
    }

    fn next(&mut self, records: usize) -> Vec<(u64, Vec<u8>)> {
        let mut batch = Vec::with_capacity(records);
        while batch.len() < records {
            if let Some(bytes) = self.ready.pop_front() {
                self.sequence += 1;
                batch.push((self.sequence, bytes));
            } else {
                self.happen();
            }
        }
        batch
    }

    fn happen(&mut self) {
        let at = Stamp(BEGIN_MS + self.number / PER_MS);
        let session = SessionId(Uid::mint(at, &self.entropy));
        let number = self.number;
        self.number += 1;
        if self.traffic == Traffic::New {
            let grant = self.grant(number, at, session, false);
            self.ready.push_back(Record::Grant(grant).to_bytes());
            return;
        }
        self.write(number, session, at, SessionEvent::Start);
        let grant = self.grant(number, at, session, true);
        self.ready.push_back(Record::Grant(grant).to_bytes());
        self.open.push_back((number, session));
        if self.open.len() as u64 > OPEN / 2 {
            let (reporting, session) = self.open[(OPEN / 4) as usize];
            self.write(reporting, session, at, SessionEvent::Interim);
        }
        if self.open.len() as u64 > OPEN {
            let Some((ended, session)) = self.open.pop_front() else { return };
            self.write(ended, session, at, SessionEvent::Stop);
            let release = ReleaseRecord {
                at,
                tenant: TenantId::DEFAULT,
                vrf: SmallVec::new(),
                prefix: prefix(ended % self.holders.len() as u64),
                holder: self.holder(ended),
                slot: 0,
                reason: ReleaseReason::Stop,
                evidence_at: at,
            };
            self.ready.push_back(Record::Release(release).to_bytes());
        }
    }

    fn holder(&self, number: u64) -> Holder {
        self.holders[(number % self.holders.len() as u64) as usize]
    }

    fn owner(&self, number: u64) -> Owner {
        let [.., high, middle, low] = (number % self.holders.len() as u64).to_be_bytes();
        Owner { line: 0, mac: Mac([2, 0, 0, high, middle, low]) }
    }

    fn grant(&self, number: u64, at: Stamp, session: SessionId, heard: bool) -> GrantRecord {
        GrantRecord {
            at,
            tenant: TenantId::DEFAULT,
            vrf: SmallVec::new(),
            prefix: prefix(number % self.holders.len() as u64),
            role: Role::V4,
            holder: self.holder(number),
            slot: 0,
            pool: PoolId(Uid(77)),
            network: NetworkId(Uid(78)),
            owner: self.owner(number),
            line: SmallVec::from_slice(b"ge-0/0/1.100:100-200"),
            nas: NasId(Uid(79)),
            session,
            lease: None,
            ends_at: Stamp::MAX,
            digest: u64::from(!heard),
            renewal: false,
        }
    }

    fn write(&mut self, number: u64, session: SessionId, at: Stamp, event: SessionEvent) {
        let record = SessionRecord {
            at,
            event_at: at,
            event,
            session,
            tenant: TenantId::DEFAULT,
            holder: self.holder(number),
            slot: 0,
            nas: NasId(Uid(79)),
            acct_session_id: SmallVec::from_slice(format!("{number:08x}").as_bytes()),
            login: SmallVec::from_slice(format!("user{:06}", number % self.holders.len() as u64).as_bytes()),
            owner: self.owner(number),
            line: SmallVec::from_slice(b"ge-0/0/1.100:100-200"),
            started_at: Stamp(BEGIN_MS + number / PER_MS),
            session_time: 600,
            octets_in: 1_000_000,
            octets_out: 40_000_000,
            packets_in: 20_000,
            packets_out: 40_000,
            cause: 1,
            addresses: SmallVec::from_elem(prefix(number % self.holders.len() as u64), 1),
            records: 3,
            digest: 0x0123_4567_89ab_cdef,
        };
        self.ready.push_back(Record::Session(record).to_bytes());
    }
}

fn prefix(number: u64) -> Prefix {
    Prefix::host(std::net::Ipv4Addr::from(0x6440_0000 + number as u32).into())
}

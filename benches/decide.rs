//! One PAP login of a subscriber whose grant is live, from datagram to signed Accept, at 10 k, 100 k and 1 M services.
//!
//! It is what a redial storm consists of: nothing waits for the journal, so the core is all there is besides the socket.
//! Run under `cargo test --benches` it uses a thousand services and checks only that everything works.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use lastmile::ids::{Entropy, SeededEntropy, TenantId, Uid};
use lastmile::ledger::Ledger;
use lastmile::model::{Envelope, Kind, Object, Problems, Spec};
use lastmile::pipeline::{Datagram, Protocol, Verdict, World};
use lastmile::radius::AuthCore;
use lastmile::radius::duplicate::DuplicateCache;
use lastmile::radius::wire::attribute::kind;
use lastmile::radius::wire::class::ClassKey;
use lastmile::radius::wire::encode::{PacketWriter, Signing};
use lastmile::radius::wire::integrity::SharedKey;
use lastmile::secret::Secret;
use lastmile::snapshot::Snapshot;
use lastmile::snapshot::build::Builder;
use lastmile::snapshot::compile::Opened;
use lastmile::time::{Moment, Stamp, Tick};
use serde_json::{Value, json};

/// Different requests in the measured loop: more than fit into a core's cache.
const REQUESTS: u32 = 20_000;
const SECRET: &str = "shared secret";

fn uid(kind: Kind, number: u32) -> Uid {
    // As minted: a time that grows, and bits that look random.
    let scattered = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ kind as u64;
    Uid((u128::from(number) << 80) | u128::from(scattered))
}

fn object(kind: Kind, number: u32, spec: &Value) -> Option<Opened> {
    let spec = Spec::decode(kind, spec, "", &mut Problems::default())?;
    let envelope = Envelope {
        kind,
        id: uid(kind, number),
        tenant: TenantId::DEFAULT,
        source: None,
        external_id: None,
        generation: 1,
        source_version: None,
        labels: std::collections::BTreeMap::default(),
        annotations: std::collections::BTreeMap::default(),
        created_at: Stamp(0),
        updated_at: Stamp(0),
        updated_by: String::new(),
        deleted_at: None,
        seq: 1,
    };
    Some(Opened { object: Object { envelope, spec } })
}

fn id(kind: Kind, number: u32) -> String {
    kind.format_id(uid(kind, number))
}

fn build(services: u32) -> Snapshot {
    let mut builder = Builder::new();
    let mut add = |kind: Kind, number: u32, spec: &Value| {
        if let Some(opened) = object(kind, number, spec) {
            builder.add(&opened);
        }
    };
    add(Kind::Network, 0, &json!({"prefixes": ["10.0.0.0/8"], "dns": ["192.0.2.5", "192.0.2.6"]}));
    let home = id(Kind::Network, 0);
    for number in 0..4 {
        let range = format!("10.{}.0.0/14", 4 * number);
        add(Kind::Pool, number, &json!({"network": home, "class": "home", "ranges": [range]}));
    }
    let plan = json!({"pool_class_v4": "home", "rate_up": 50_000_000, "rate_down": 300_000_000});
    add(Kind::Plan, 0, &plan);
    let nas =
        json!({"addresses": ["192.0.2.1"], "secret": SECRET, "vendor": "mikrotik", "accounting": "proven"});
    add(Kind::Nas, 0, &nas);
    for number in 0..services {
        let service = json!({"subscriber": "somebody", "plan": id(Kind::Plan, 0)});
        add(Kind::Service, number, &service);
        let access = json!({
            "service": id(Kind::Service, number), "type": "pppoe", "login": login(number), "password": password(number)
        });
        add(Kind::Access, number, &access);
    }
    builder.finish(1)
}

fn login(number: u32) -> String {
    format!("sub{number:08}@isp")
}

fn password(number: u32) -> String {
    format!("pw{number:08}")
}

fn request(key: &SharedKey, number: u32, entropy: &dyn Entropy) -> Option<Vec<u8>> {
    let mut authenticator = [0; 16];
    entropy.fill(&mut authenticator);
    let mut buffer = [0; 512];
    let mut writer =
        PacketWriter::access_request(&mut buffer, number as u8, authenticator, Signing::First).ok()?;
    writer.text(kind::USER_NAME, &login(number)).ok()?;
    writer.user_password(key, &Secret::new(password(number))).ok()?;
    writer.u32(kind::SERVICE_TYPE, 2).ok()?;
    writer.u32(kind::FRAMED_PROTOCOL, 1).ok()?;
    let [_, a, b, c] = number.to_be_bytes();
    writer.text(kind::CALLING_STATION_ID, &format!("02:00:00:{a:02X}:{b:02X}:{c:02X}")).ok()?;
    writer.text(kind::NAS_PORT_ID, "ether1").ok()?;
    writer.text(kind::NAS_IDENTIFIER, "bras-1").ok()?;
    writer.finish(key).ok().map(<[u8]>::to_vec)
}

struct Node {
    snapshot: Snapshot,
    ledger: Ledger,
    core: AuthCore,
    entropy: SeededEntropy,
    source: SocketAddr,
    sequence: u64,
}

impl Node {
    fn new(services: u32) -> Self {
        let snapshot = build(services);
        let ledger = Ledger::new();
        ledger.set_pools(snapshot.pools().map(|pool| &**pool), &|_, _| true);
        let class = Arc::new(ClassKey::new(&Secret::new("class")));
        let core = AuthCore::new(class, Arc::new(DuplicateCache::new(65_536)));
        let source = SocketAddr::from(([192, 0, 2, 1], 40_000));
        Self { snapshot, ledger, core, entropy: SeededEntropy::new(1), source, sequence: 0 }
    }

    /// One request, a millisecond after the one before; whether it was accepted at once.
    fn hear(&mut self, bytes: &[u8], millis: u64) -> bool {
        let at = Moment { stamp: Stamp(1_800_000_000_000 + millis), tick: Tick(millis * 1_000_000) };
        let datagram = Datagram { bytes, source: self.source, local: self.source.ip(), at };
        let world = World {
            snapshot: &self.snapshot,
            ledger: &self.ledger,
            entropy: &self.entropy,
            journal_available: true,
        };
        let mut out = [0; 4096];
        match self.core.admit(&world, &datagram, &mut out).verdict {
            Verdict::Wait { wait_for, .. } => {
                for record in &wait_for {
                    self.sequence += 1;
                    self.ledger.apply(self.sequence, record);
                }
                false
            }
            Verdict::Send { .. } => black_box(out[0] == 2),
            Verdict::Discard { .. } => false,
        }
    }
}

fn decide(criterion: &mut Criterion) {
    let measured = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[u32] = if measured { &[10_000, 100_000, 1_000_000] } else { &[1_000] };
    let key = SharedKey::new(Secret::new(SECRET));
    for services in sizes {
        let mut node = Node::new(*services);
        let mut millis = 0;
        let chosen = |at: u32| (u64::from(at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as u32 % services;
        let entropy = SeededEntropy::new(2);
        for number in 0..*services {
            let first = request(&key, number, &entropy).unwrap_or_default();
            millis += 1;
            node.hear(&first, millis);
        }
        // Twenty seconds pass before a request comes again: it is no duplicate any more.
        let requests: Vec<Vec<u8>> =
            (0..REQUESTS).filter_map(|at| request(&key, chosen(at), &entropy)).collect();
        let mut next = requests.iter().cycle();
        criterion.bench_function(&format!("decide/PAP login, live grant, {services} services"), |bencher| {
            bencher.iter(|| {
                millis += 1;
                assert!(next.next().is_some_and(|bytes| node.hear(bytes, millis)), "accepted at once");
            });
        });
    }
}

criterion_group!(benches, decide);
criterion_main!(benches);

//! The snapshot at a million subscribers: reads of the packet path, one write, and the start from an image.
//!
//! Run under `cargo test --benches` it uses a thousand subscribers and checks only that everything works.

use std::hint::black_box;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use lastmile::ids::{TenantId, Uid};
use lastmile::model::access::{AccessSpec, Identity, LineId};
use lastmile::model::decode::SecretField;
use lastmile::model::plan::PlanSpec;
use lastmile::model::service::{Addressing, Ipv4Source, ServiceSpec, ServiceState};
use lastmile::model::{Envelope, Kind, Object, Problems, Ref, Spec};
use lastmile::secret::Secret;
use lastmile::snapshot::Snapshot;
use lastmile::snapshot::build::Builder;
use lastmile::snapshot::compile::Opened;
use lastmile::snapshot::image::{self, Seal};
use lastmile::time::Stamp;

const PLANS: u32 = 50;

fn uid(kind: Kind, number: u32) -> Uid {
    // As minted: a time that grows, and bits that look random.
    let scattered = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ kind as u64;
    Uid((u128::from(number) << 80) | u128::from(scattered))
}

fn reference(kind: Kind, number: u32) -> Ref {
    Ref::Id(kind, uid(kind, number))
}

fn object(number: u32, spec: Spec) -> Object {
    let kind = spec.kind();
    let envelope = Envelope {
        kind,
        id: uid(kind, number),
        tenant: TenantId::DEFAULT,
        source: None,
        external_id: Some(format!("{}-{number}", kind.name())),
        generation: 1,
        source_version: None,
        labels: std::collections::BTreeMap::default(),
        annotations: std::collections::BTreeMap::default(),
        created_at: Stamp(0),
        updated_at: Stamp(0),
        updated_by: String::new(),
        deleted_at: None,
        seq: u64::from(number),
    };
    Object { envelope, spec }
}

/// One in ten has a fixed address.
fn service(number: u32) -> Object {
    let ipv4 = if number.is_multiple_of(10) {
        Ipv4Source::Address((0x0a00_0000 + number).into())
    } else {
        Ipv4Source::Pool
    };
    let spec = ServiceSpec {
        subscriber: reference(Kind::Subscriber, number),
        plan: reference(Kind::Plan, number % PLANS),
        state: ServiceState::Active,
        addressing: Addressing { ipv4, ..Addressing::default() },
        max_sessions: None,
        reply_message: None,
    };
    object(number, Spec::Service(spec))
}

fn login(number: u32) -> String {
    format!("sub{number:08}@isp")
}

fn circuit(number: u32) -> Vec<u8> {
    format!("olt-{:04} xpon 0/{}/{}:{}", number / 4096, number / 64 % 16, number % 64, number % 7)
        .into_bytes()
}

/// Three quarters are PPPoE logins with a password, the rest lines.
fn access(number: u32) -> Object {
    let identity = if number.is_multiple_of(4) {
        Identity::IpoeOpt82 {
            circuit_id: Some(LineId(circuit(number))),
            remote_id: Some(LineId(number.to_be_bytes().to_vec())),
        }
    } else {
        Identity::Pppoe {
            login: login(number),
            password: SecretField::Set(Secret::new(format!("pw{number:08}"))),
        }
    };
    let spec = AccessSpec {
        service: reference(Kind::Service, number),
        identity,
        network: None,
        group: None,
        bind_mac: None,
        bind_vlan: None,
        enabled: true,
    };
    object(number, Spec::Access(spec))
}

fn plan(number: u32) -> Object {
    let spec = PlanSpec {
        rate_down: Some(1_000_000 * u64::from(number + 1)),
        pool_class_v4: Some("home".to_owned()),
        ..PlanSpec::default()
    };
    object(number, Spec::Plan(spec))
}

fn decoded(kind: Kind, number: u32, spec: &serde_json::Value) -> Option<Object> {
    Spec::decode(kind, spec, "", &mut Problems::default()).map(|spec| object(number, spec))
}

fn build(subscribers: u32) -> Snapshot {
    let mut builder = Builder::new();
    let mut add = |object: Object| builder.add(&Opened { object });
    (0..PLANS).map(plan).for_each(&mut add);
    let network = serde_json::json!({"prefixes": ["10.0.0.0/8"]});
    decoded(Kind::Network, 1, &network).into_iter().for_each(&mut add);
    let id = Kind::Network.format_id(uid(Kind::Network, 1));
    for number in 0..32 {
        let range = format!("10.{number}.0.0/16");
        let pool = serde_json::json!({"network": id, "class": "home", "ranges": [range], "group": format!("bng{}", number % 8)});
        decoded(Kind::Pool, number, &pool).into_iter().for_each(&mut add);
        let address = format!("192.0.2.{number}");
        let nas = serde_json::json!({"addresses": [address], "secret": "shared secret"});
        decoded(Kind::Nas, number, &nas).into_iter().for_each(&mut add);
    }
    for number in 0..subscribers {
        add(service(number));
        add(access(number));
    }
    builder.finish(u64::from(subscribers))
}

struct Sealed(ChaCha20Poly1305);

impl Sealed {
    fn nonce(aad: &[u8]) -> Nonce {
        let mut nonce = [0; 12];
        for (to, from) in nonce.iter_mut().zip(aad.iter().rev()) {
            *to = *from;
        }
        nonce.into()
    }
}

impl Seal for Sealed {
    fn seal(&self, aad: &[u8], msg: &[u8]) -> Vec<u8> {
        let sealed = self.0.encrypt(&Self::nonce(aad), Payload { msg, aad });
        sealed.unwrap_or_default()
    }
    fn open(&self, aad: &[u8], msg: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(&Self::nonce(aad), Payload { msg, aad }).ok()
    }
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

fn reads(criterion: &mut Criterion, snapshot: &Snapshot, subscribers: u32) {
    let mut group = criterion.benchmark_group("snapshot/read");
    // A large odd step visits the subscribers in an order that no cache foresees.
    let mut next = 0_u32;
    let mut any = move |offset: u32| {
        next = next.wrapping_add(0x9e37_79b1) % (subscribers / 4);
        next * 4 + offset
    };
    let logins: Vec<String> = (0..subscribers).map(login).collect();
    let circuits: Vec<Vec<u8>> = (0..subscribers).map(circuit).collect();
    group.bench_function("login", |bencher| {
        bencher.iter(|| {
            let login = logins[any(1) as usize].as_bytes();
            black_box(snapshot.access_by_login(TenantId::DEFAULT, Some("bng1"), login))
        });
    });
    group.bench_function("line", |bencher| {
        bencher.iter(|| {
            let number = any(0);
            let (remote, circuit) = (number.to_be_bytes(), &circuits[number as usize]);
            black_box(snapshot.access_by_line(
                TenantId::DEFAULT,
                Some("bng1"),
                None,
                Some(&remote),
                Some(circuit),
            ))
        });
    });
    group.bench_function("line of nobody", |bencher| {
        bencher.iter(|| {
            let circuit = &circuits[any(0) as usize];
            black_box(snapshot.access_by_line(
                TenantId::DEFAULT,
                Some("bng1"),
                None,
                Some(b"none"),
                Some(circuit),
            ))
        });
    });
    group.bench_function("service by id", |bencher| {
        bencher.iter(|| black_box(snapshot.service(uid(Kind::Service, any(2)))));
    });
    group.bench_function("nas by source", |bencher| {
        bencher.iter(|| black_box(snapshot.nas_by_source([192, 0, 2, (any(0) % 32) as u8].into(), None)));
    });
    if let (Some(service), Some(plan)) =
        (snapshot.service(uid(Kind::Service, 1)), snapshot.plan(uid(Kind::Plan, 1)))
    {
        let space = snapshot.space_of(service, plan);
        group.bench_function("pools of a class", |bencher| {
            bencher.iter(|| black_box(snapshot.pools_for(space, "home", Some("bng3"))));
        });
        group.bench_function("policy digest", |bencher| {
            bencher.iter(|| black_box(snapshot.policy_digest(service, plan)));
        });
        let key = space.key();
        group.bench_function("fixed holder", |bencher| {
            bencher.iter(|| {
                let address = std::net::Ipv4Addr::from(0x0a00_0000 + any(0) / 20 * 20);
                black_box(snapshot.fixed_holder(key, lastmile::model::Prefix::v4(address)))
            });
        });
    }
    group.finish();
}

fn writes(criterion: &mut Criterion, snapshot: &Snapshot, subscribers: u32) {
    let mut group = criterion.benchmark_group("snapshot/write");
    let mut next = 0_u32;
    let mut any = move || {
        next = next.wrapping_add(0x9e37_79b1) % subscribers;
        next
    };
    // Each result is the next version, as in life: the one before is freed within the measurement.
    let mut current = snapshot.clone();
    group.bench_function("one service and one access", |bencher| {
        bencher.iter_batched(
            || {
                let number = any();
                [service(number), access(number)]
            },
            |changes| current = current.with(&changes, current.seq() + 1),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("one plan", |bencher| {
        bencher.iter_batched(
            || [plan(any() % PLANS)],
            |changes| current = current.with(&changes, current.seq() + 1),
            BatchSize::SmallInput,
        );
    });
    group.sample_size(10);
    group.bench_function("ten thousand services", |bencher| {
        bencher.iter_batched(
            || (0..10_000).map(|_| service(any())).collect::<Vec<_>>(),
            |changes| current = current.with(&changes, current.seq() + 1),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn images(criterion: &mut Criterion, snapshot: &Snapshot) {
    let mut group = criterion.benchmark_group("snapshot/image");
    group.sample_size(10);
    let seal = Sealed(ChaCha20Poly1305::new(&[7; 32].into()));
    let Ok(directory) = tempfile::tempdir() else {
        return;
    };
    let path = directory.path().join("snapshot.image");
    group.bench_function("write", |bencher| {
        bencher.iter(|| black_box(image::write(&path, snapshot, &seal).is_ok()));
    });
    group.bench_function("read", |bencher| {
        bencher.iter_batched(|| (), |()| image::read(&path, &seal), BatchSize::PerIteration);
    });
    report(&format!("image: {} bytes", std::fs::metadata(&path).map_or(0, |metadata| metadata.len())));
    group.finish();
}

#[expect(clippy::print_stdout, reason = "the figures that criterion does not print")]
fn report(text: &str) {
    println!("{text}");
}

fn snapshot(criterion: &mut Criterion) {
    let measured = std::env::args().any(|argument| argument == "--bench");
    let subscribers = if measured { 1_000_000 } else { 1_000 };
    let before = resident();
    let snapshot = build(subscribers);
    let each = resident().saturating_sub(before) / u64::from(subscribers);
    report(&format!("resident: {each} bytes for each subscriber"));
    reads(criterion, &snapshot, subscribers);
    writes(criterion, &snapshot, subscribers);
    images(criterion, &snapshot);
}

criterion_group!(benches, snapshot);
criterion_main!(benches);

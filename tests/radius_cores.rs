//! The RADIUS core under what no transcript can write down: many threads, and a line that redials.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use lastmile::ids::{Entropy, SeededEntropy, TenantId, Uid};
use lastmile::ledger::Ledger;
use lastmile::model::object::Envelope;
use lastmile::model::{Kind, Object, Problems, Ref, Spec};
use lastmile::pipeline::{Datagram, Protocol, Verdict, World};
use lastmile::radius::AuthCore;
use lastmile::radius::duplicate::DuplicateCache;
use lastmile::radius::wire::attribute::kind;
use lastmile::radius::wire::class::ClassKey;
use lastmile::radius::wire::encode::{PacketWriter, Signing};
use lastmile::radius::wire::integrity::SharedKey;
use lastmile::radius::wire::packet::Code;
use lastmile::secret::Secret;
use lastmile::snapshot::Snapshot;
use lastmile::time::{Moment, Stamp, Tick};

fn object(at: u128, kind: Kind, json: &str, named: &dyn Fn(&str) -> Option<Uid>) -> Object {
    let value = serde_json::from_str(json).unwrap();
    let mut problems = Problems::default();
    let spec = Spec::decode(kind, &value, "", &mut problems);
    let mut spec = spec.unwrap_or_else(|| panic!("{problems:?}"));
    for (_, kind, reference) in spec.refs_mut() {
        if let Ref::External { id, .. } = reference
            && let Some(uid) = named(id)
        {
            *reference = Ref::Id(kind, uid);
        }
    }
    let envelope = Envelope {
        kind,
        id: Uid(0x0190_0000_0000_7000_8000_0000_0000_0000 + at),
        tenant: TenantId::DEFAULT,
        source: None,
        external_id: None,
        generation: 1,
        source_version: None,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        created_at: Stamp::ZERO,
        updated_at: Stamp::ZERO,
        updated_by: String::new(),
        deleted_at: None,
        seq: 1,
    };
    Object { envelope, spec }
}

const OBJECTS: &[(Kind, &str, &str)] = &[
    (Kind::Network, "home", r#"{"prefixes": ["10.0.0.0/16"]}"#),
    (Kind::Pool, "home-pool", r#"{"network": "home", "class": "home", "ranges": ["10.0.0.0-10.0.15.255"]}"#),
    (Kind::Plan, "basic", r#"{"pool_class_v4": "home"}"#),
    (Kind::Nas, "bras", r#"{"addresses": ["192.0.2.1"], "secret": "correct horse", "accounting": "proven"}"#),
    (Kind::Service, "jan", r#"{"subscriber": "somebody", "plan": "basic"}"#),
    (
        Kind::Access,
        "login",
        r#"{"service": "jan", "type": "pppoe", "login": "jan", "password": "bigbluedog"}"#,
    ),
];

fn installation() -> (Snapshot, Ledger) {
    let id = |at: usize| Uid(0x0190_0000_0000_7000_8000_0000_0000_0000 + at as u128);
    let named = |name: &str| OBJECTS.iter().position(|(_, known, _)| *known == name).map(id);
    let objects: Vec<Object> = OBJECTS
        .iter()
        .enumerate()
        .map(|(at, (kind, _, json))| object(at as u128, *kind, json, &named))
        .collect();
    let snapshot = Snapshot::of(&objects, 1);
    let ledger = Ledger::new();
    ledger.set_pools(snapshot.pools().map(|pool| &**pool), &|_, _| true);
    (snapshot, ledger)
}

/// A login of `jan` from the line with this number.
fn login(number: u32, authenticator: [u8; 16]) -> Vec<u8> {
    let key = SharedKey::new(Secret::new("correct horse"));
    let mut buffer = [0; 512];
    let mut writer =
        PacketWriter::access_request(&mut buffer, number as u8, authenticator, Signing::First).unwrap();
    writer.text(kind::USER_NAME, "jan").unwrap();
    writer.user_password(&key, &Secret::new("bigbluedog")).unwrap();
    writer.u32(kind::FRAMED_PROTOCOL, 1).unwrap();
    writer
        .text(kind::CALLING_STATION_ID, &format!("02:00:00:00:{:02x}:{:02x}", number >> 8, number & 0xff))
        .unwrap();
    writer.finish(&key).unwrap().to_vec()
}

/// Whether the request is accepted, its records becoming durable at once.
fn accepted(core: &AuthCore, world: &World<'_>, sequence: &AtomicU64, bytes: &[u8], at: Stamp) -> bool {
    let source: SocketAddr = "192.0.2.1:40000".parse().unwrap();
    let at = Moment { stamp: at, tick: Tick(at.0 * 1_000_000) };
    let datagram = Datagram { bytes, source, local: source.ip(), at };
    let mut out = [0; 4096];
    let records = match core.admit(world, &datagram, &mut out).verdict {
        Verdict::Send { write, .. } if out[0] == Code::ACCESS_ACCEPT.0 => write,
        Verdict::Discard { .. } | Verdict::Send { .. } => return false,
        Verdict::Wait { mut wait_for, write, .. } => {
            wait_for.extend(write);
            wait_for
        }
    };
    for record in &records {
        // Under one lock in the daemon, too: the journal applies in order.
        world.ledger.apply(sequence.fetch_add(1, Ordering::SeqCst) + 1, record);
    }
    true
}

#[test]
fn of_256_parallel_logins_with_one_session_allowed_one_is_accepted() {
    let (snapshot, ledger) = installation();
    let class = Arc::new(ClassKey::new(&Secret::new("class")));
    let core = AuthCore::new(class, Arc::new(DuplicateCache::new(4_096)));
    let (sequence, wins) = (AtomicU64::new(0), AtomicUsize::new(0));
    let barrier = std::sync::Barrier::new(256);
    let (snapshot, ledger, core, sequence, barrier) = (&snapshot, &ledger, &core, &sequence, &barrier);
    std::thread::scope(|scope| {
        for number in 0..256_u32 {
            let wins = &wins;
            scope.spawn(move || {
                let entropy = SeededEntropy::new(u64::from(number));
                let world = World { snapshot, ledger, entropy: &entropy, journal_available: true };
                let mut authenticator = [0; 16];
                entropy.fill(&mut authenticator);
                let bytes = login(number, authenticator);
                barrier.wait();
                if accepted(core, &world, sequence, &bytes, Stamp::from_secs(1_800_000_000)) {
                    wins.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(wins.load(Ordering::SeqCst), 1);
}

#[test]
fn a_line_that_redials_twenty_times_in_a_minute_is_accepted_each_time() {
    let (snapshot, ledger) = installation();
    let class = Arc::new(ClassKey::new(&Secret::new("class")));
    let core = AuthCore::new(class, Arc::new(DuplicateCache::new(4_096)));
    let sequence = AtomicU64::new(0);
    let entropy = SeededEntropy::new(3);
    let world = World { snapshot: &snapshot, ledger: &ledger, entropy: &entropy, journal_available: true };
    for dial in 0..20_u64 {
        let mut authenticator = [0; 16];
        entropy.fill(&mut authenticator);
        let at = Stamp::from_secs(1_800_000_000 + 3 * dial);
        assert!(accepted(&core, &world, &sequence, &login(1, authenticator), at), "dial {dial}");
        // Another line does not get in between.
        entropy.fill(&mut authenticator);
        assert!(!accepted(&core, &world, &sequence, &login(2, authenticator), at), "dial {dial}");
    }
}

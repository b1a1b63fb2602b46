//! The RADIUS cores under what no transcript can write down: a hundred thousand damaged requests, and many threads.

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
use lastmile::radius::fuzz::{self, Node};
use lastmile::radius::wire::attribute::kind;
use lastmile::radius::wire::class::ClassKey;
use lastmile::radius::wire::encode::{PacketWriter, Signing};
use lastmile::radius::wire::integrity::SharedKey;
use lastmile::radius::wire::packet::Code;
use lastmile::secret::Secret;
use lastmile::snapshot::Snapshot;
use lastmile::time::{Moment, Stamp, Tick};

const DAMAGED: u32 = 33_000;

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

/// Requests from which damaged ones are made.
fn seeds() -> Vec<Vec<u8>> {
    let key = SharedKey::new(Secret::new(fuzz::SECRET));
    let mut seeds = Vec::new();
    let mut push = |code: Code, fill: &dyn Fn(&mut PacketWriter<'_>)| {
        let mut buffer = [0; 4096];
        let mut writer = match code {
            Code::ACCESS_REQUEST => PacketWriter::access_request(&mut buffer, 1, [7; 16], Signing::First),
            Code::STATUS_SERVER => PacketWriter::status_server(&mut buffer, 1, [7; 16]),
            code => PacketWriter::request(&mut buffer, code, 1, Signing::Omitted),
        }
        .unwrap();
        fill(&mut writer);
        seeds.push(writer.finish(&key).unwrap().to_vec());
    };
    push(Code::STATUS_SERVER, &|_| ());
    push(Code::ACCESS_REQUEST, &|writer| {
        writer.text(kind::USER_NAME, "jan").unwrap();
        writer.user_password(&key, &Secret::new(fuzz::PASSWORD)).unwrap();
        writer.u32(kind::FRAMED_PROTOCOL, 1).unwrap();
        writer.text(kind::CALLING_STATION_ID, "02:00:5e:00:53:01").unwrap();
        writer.raw(kind::PROXY_STATE, b"proxy").unwrap();
    });
    push(Code::ACCESS_REQUEST, &|writer| {
        writer.text(kind::USER_NAME, "02:00:5e:00:53:11").unwrap();
        writer.user_password(&key, &Secret::new(fuzz::PASSWORD)).unwrap();
        writer.text(kind::NAS_PORT_ID, "vlan7").unwrap();
        writer.vendor(3561, 1, b"port 1").unwrap();
        writer.vendor(2352, 96, b"remote").unwrap();
    });
    push(Code::ACCESS_REQUEST, &|writer| {
        writer.text(kind::USER_NAME, "jan").unwrap();
        writer.raw(kind::CHAP_CHALLENGE, &[5; 16]).unwrap();
        writer.raw(kind::CHAP_PASSWORD, &[6; 17]).unwrap();
    });
    for status in [1, 3, 2, 7] {
        push(Code::ACCOUNTING_REQUEST, &|writer| {
            writer.u32(kind::ACCT_STATUS_TYPE, status).unwrap();
            writer.text(kind::ACCT_SESSION_ID, "s").unwrap();
            writer.raw(kind::CLASS, &[0]).unwrap();
            writer.text(kind::USER_NAME, "jan").unwrap();
            writer.ipv4(kind::FRAMED_IP_ADDRESS, [10, 0, 0, 12].into()).unwrap();
            writer.u32(kind::ACCT_SESSION_TIME, 100).unwrap();
            writer.u32(kind::ACCT_INPUT_OCTETS, 1_000).unwrap();
            writer.u32(kind::EVENT_TIMESTAMP, 1_800_000_000).unwrap();
        });
    }
    seeds
}

/// Changes bytes, mostly within attributes, and now and then what frames them.
fn damaged(seed: &[u8], random: &SeededEntropy) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.u64() % 4 {
        let word = random.u64();
        let at = (word >> 8) as usize % bytes.len();
        match word % 8 {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_slice(&seed[20.min(seed.len())..at.max(20).min(seed.len())]),
            _ => bytes[at] = (word >> 40) as u8,
        }
        if bytes.len() < 4 {
            break;
        }
        // Else nearly every change of length would end at the frame.
        if word & 0x100 == 0 {
            let len = (bytes.len() as u16).to_be_bytes();
            bytes[2..4].copy_from_slice(&len);
        }
    }
    bytes
}

#[test]
fn damaged_requests_end_in_a_decision_and_every_reply_verifies() {
    let (node, random, seeds) = (Node::new(), SeededEntropy::new(0x1a57), seeds());
    for round in 0..DAMAGED {
        // Each is heard as it is, and signed anew on both ports.
        node.hear(&damaged(&seeds[round as usize % seeds.len()], &random));
    }
    let reasons = node.reasons();
    let deep = ["accepted", "accounted", "duplicate", "password-mismatch", "unknown-line", "status"];
    assert!(deep.iter().all(|reason| reasons.contains(reason)), "{reasons:?}");
}

#[test]
fn looking_ahead_changes_no_decision_and_no_reply() {
    let (ahead, blind) = (Node::new(), Node::new().without_looking_ahead());
    let (random, seeds) = (SeededEntropy::new(0x00a4_ead0), seeds());
    for round in 0..DAMAGED / 10 {
        let bytes = damaged(&seeds[round as usize % seeds.len()], &random);
        ahead.hear(&bytes);
        blind.hear(&bytes);
    }
    assert_eq!(ahead.reasons(), blind.reasons());
    assert_eq!(ahead.digest(), blind.digest());
}

//! Damaged RADIUS requests on both ports.

use lastmile::ids::{Entropy, SeededEntropy};
use lastmile::radius::fuzz::{self, Node};
use lastmile::radius::wire::attribute::kind;
use lastmile::radius::wire::encode::{PacketWriter, Signing};
use lastmile::radius::wire::integrity::SharedKey;
use lastmile::radius::wire::packet::Code;
use lastmile::secret::Secret;

use crate::run::{is_judged, run};

/// Each is heard as it is, and signed anew on both ports.
const INPUTS: u64 = 33_000;
/// Sessions that begin and end before memory is judged: more than the ledger remembers of closed ones.
const CLOSED_BEFORE: u32 = 300_000;

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

/// A Start or Stop of a session of its own.
fn of_session(number: u32, status: u32) -> Vec<u8> {
    let mut buffer = [0; 512];
    let mut writer =
        PacketWriter::request(&mut buffer, Code::ACCOUNTING_REQUEST, 1, Signing::Omitted).unwrap();
    writer.u32(kind::ACCT_STATUS_TYPE, status).unwrap();
    writer.text(kind::ACCT_SESSION_ID, &format!("closed-{number}")).unwrap();
    writer.finish(&SharedKey::new(Secret::new(fuzz::SECRET))).unwrap().to_vec()
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
    let node = Node::new();
    if is_judged(INPUTS) {
        for number in 0..CLOSED_BEFORE {
            for status in [1, 2] {
                node.hear(&of_session(number, status));
            }
        }
    }
    run("RADIUS", INPUTS, &seeds(), damaged, |bytes| node.hear(bytes));
    let reasons = node.reasons();
    let deep = ["accepted", "accounted", "duplicate", "password-mismatch", "unknown-line", "status"];
    assert!(deep.iter().all(|reason| reasons.contains(reason)), "{reasons:?}");
}

#[test]
fn looking_ahead_changes_no_decision_and_no_reply() {
    let (ahead, blind) = (Node::new(), Node::new().without_looking_ahead());
    let (random, seeds) = (SeededEntropy::new(0x00a4_ead0), seeds());
    for seed in seeds.iter().cycle().take(3_000) {
        let bytes = damaged(seed, &random);
        ahead.hear(&bytes);
        blind.hear(&bytes);
    }
    assert_eq!(ahead.reasons(), blind.reasons());
    assert_eq!(ahead.digest(), blind.digest());
}

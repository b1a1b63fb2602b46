//! The load generator's protocol workloads against the codecs: would a server take the requests, and does each
//! answer get the right verdict?
#![allow(dead_code, reason = "compiled as part of the bench, where all of it is used")]
#![expect(clippy::unwrap_used, reason = "a test that cannot write its packets fails at once")]

#[path = "../benches/load/dhcp.rs"]
mod dhcp;
#[path = "../benches/load/radius.rs"]
mod radius;
#[path = "../benches/load/workload.rs"]
mod workload;

use std::net::Ipv4Addr;

use lastmile::dhcp::v4::wire::{
    LeaseTimes, Message, MessageType, RelayEcho, ReplyHead, ReplyKind, ReplyWriter, code,
};
use lastmile::radius::wire::attribute::kind;
use lastmile::radius::wire::encode::{PacketWriter, Signing};
use lastmile::radius::wire::hiding::reveal_user_password;
use lastmile::radius::wire::integrity::{SharedKey, Signature};
use lastmile::radius::wire::packet::{Code, Packet, ReplyTo};
use lastmile::secret::Secret;

use dhcp::Dora;
use radius::{Nas, Radius, Traffic};
use workload::{Slot, Verdict, Workload};

const SLOT: Slot = Slot { index: 3, within: 1, source: 1 };

fn key() -> SharedKey {
    SharedKey::new(Secret::new("testing123"))
}

fn bras(traffic: Traffic) -> Radius {
    let nas = Nas {
        secret: Secret::new("testing123"),
        address: Ipv4Addr::LOCALHOST,
        subscribers: 2,
        password: Secret::new("password"),
        began_secs: 1_790_000_000,
    };
    Radius::new(traffic, nas, 4)
}

fn next(workload: &mut dyn Workload, step: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let length = workload.next(SLOT, step, &mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

fn reply(code: Code, to: &ReplyTo) -> Vec<u8> {
    let mut bytes = [0; 4096];
    PacketWriter::reply(&mut bytes, code, to, Signing::First).unwrap().finish(&key()).unwrap().to_vec()
}

#[test]
fn a_login_is_signed_and_carries_the_password_and_an_accept_ends_it() {
    let mut bras = bras(Traffic::Login);
    let bytes = next(&mut bras, 0);
    let request = Packet::parse(&bytes).unwrap();
    assert_eq!(key().verify_request(&request), Ok(Signature::MessageAuthenticator));
    assert_eq!(request.find(kind::USER_NAME).unwrap().value, b"user000000");
    let hidden = request.find(kind::USER_PASSWORD).unwrap().value;
    let mut clear = [0; 128];
    let revealed = reveal_user_password(&key(), request.authenticator(), hidden, &mut clear).unwrap();
    assert_eq!(revealed, b"password");

    let accept = reply(Code::ACCESS_ACCEPT, &request.reply_to());
    assert_eq!(bras.slot_within(&accept), Some(SLOT.within));
    assert_eq!(bras.verify(SLOT, 0, &accept), Verdict::Done);
    assert_eq!(bras.verify(SLOT, 0, &reply(Code::ACCESS_REJECT, &request.reply_to())), Verdict::Wrong);
    assert_eq!(bras.verify(SLOT, 0, &accept[..10]), Verdict::Wrong);
}

#[test]
fn a_late_accept_to_the_login_before_is_stale() {
    let mut bras = bras(Traffic::Login);
    let before = next(&mut bras, 0);
    let late = reply(Code::ACCESS_ACCEPT, &Packet::parse(&before).unwrap().reply_to());
    let bytes = next(&mut bras, 0);
    assert_eq!(Packet::parse(&bytes).unwrap().find(kind::USER_NAME).unwrap().value, b"user000001");
    assert_eq!(bras.verify(SLOT, 0, &late), Verdict::Stale);
}

#[test]
fn a_session_starts_reports_and_stops_before_the_next_one_begins() {
    let mut bras = bras(Traffic::Accounting);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let bytes = next(&mut bras, 0);
        let request = Packet::parse(&bytes).unwrap();
        assert!(key().verify_request(&request).is_ok());
        let status = request.find(kind::ACCT_STATUS_TYPE).unwrap().u32().unwrap();
        let session = request.find(kind::ACCT_SESSION_ID).unwrap().text().unwrap().to_owned();
        seen.push((status, session));
        let response = reply(Code::ACCOUNTING_RESPONSE, &request.reply_to());
        assert_eq!(bras.verify(SLOT, 0, &response), Verdict::Done);
    }
    let expected = [(1, "00000000"), (3, "00000000"), (2, "00000000"), (1, "00000001")];
    assert_eq!(seen, expected.map(|(status, session)| (status, session.to_owned())));
}

fn answer(request: &[u8], kind: ReplyKind) -> Vec<u8> {
    let head = ReplyHead {
        kind,
        server_id: Ipv4Addr::LOCALHOST,
        siaddr: Ipv4Addr::UNSPECIFIED,
        relay_echo: RelayEcho::AsReceived,
    };
    let (request, mut bytes) = (Message::parse(request).unwrap(), [0; 1500]);
    let written = ReplyWriter::new(&request, &head, &mut bytes).unwrap().finish();
    bytes[..written.len].to_vec()
}

#[test]
fn a_client_takes_the_offer_it_gets_and_ends_with_the_ack_of_that_address() {
    let relay = Ipv4Addr::new(127, 0, 1, 2);
    let mut dora = Dora::new(vec![Ipv4Addr::new(127, 0, 1, 1), relay], 100, 4);
    let times = LeaseTimes { lease_secs: 3600, renew_secs: 1800, rebind_secs: 3150 };
    let yiaddr = Ipv4Addr::new(100, 64, 0, 7);
    let offer = |bytes: &[u8], yiaddr| answer(bytes, ReplyKind::Offer { yiaddr, times });
    let ack = |bytes: &[u8], yiaddr| answer(bytes, ReplyKind::Ack { yiaddr, ciaddr: [0; 4].into(), times });

    let bytes = next(&mut dora, 0);
    let discover = Message::parse(&bytes).unwrap();
    assert_eq!((discover.message_type(), discover.giaddr()), (Some(MessageType::Discover), relay));
    let mut scratch = [0; 64];
    assert!(discover.relay_agent(&mut scratch).unwrap().unwrap().circuit_id().is_some());
    let offered = offer(&bytes, yiaddr);
    assert_eq!(dora.slot_within(&offered), Some(SLOT.within));
    assert_eq!(dora.verify(SLOT, 0, &offered), Verdict::Again);

    let bytes = next(&mut dora, 1);
    let request = Message::parse(&bytes).unwrap();
    assert_eq!(request.message_type(), Some(MessageType::Request));
    assert_eq!(
        (request.requested_address(), request.server_id()),
        (Some(yiaddr), Some([127, 0, 0, 1].into()))
    );
    assert!(request.codes().contains(code::RELAY_AGENT_INFORMATION));
    assert_eq!(dora.verify(SLOT, 1, &offered), Verdict::Stale);
    assert_eq!(dora.verify(SLOT, 1, &answer(&bytes, ReplyKind::Nak)), Verdict::Wrong);
    assert_eq!(dora.verify(SLOT, 1, &ack(&bytes, Ipv4Addr::new(100, 64, 0, 8))), Verdict::Wrong);
    let acked = ack(&bytes, yiaddr);
    assert_eq!(dora.verify(SLOT, 1, &acked), Verdict::Done);

    next(&mut dora, 0);
    assert_eq!(dora.verify(SLOT, 0, &offered), Verdict::Stale);
}

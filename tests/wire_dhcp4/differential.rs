//! The codec against `dhcproto`: what one writes the other must read the same.
//!
//! Left out, each because that crate (0.15) reads or writes it wrongly:
//!
//! - text that is not UTF-8, and fixed-size options of another size: its walk ends there without an error;
//! - `hlen` above 16: its accessor panics;
//! - options without a value: its writer drops them;
//! - option overload: it does not read `file` and `sname`;
//! - parts of one option that are not adjacent: the last one wins;
//! - sub-options out of order or repeated: it keeps them in a sorted map.
#![expect(clippy::unwrap_used, reason = "only tests call it: a panic is a failed test")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::v4::relay::{RelayCode, RelayInfo};
use dhcproto::v4::{self, DhcpOption, OptionCode};
use dhcproto::{Decodable, Encodable};
use lastmile::dhcp::v4::wire::{
    LeaseTimes, Message, MessageType, RelayAgentWriter, RelayEcho, ReplyHead, ReplyKind, ReplyWriter,
    RequestHead, RequestWriter,
};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Request {
    message_type: u8,
    chaddr: Vec<u8>,
    hops: u8,
    xid: u32,
    secs: u16,
    broadcast: bool,
    ciaddr: u32,
    giaddr: u32,
    options: BTreeMap<u8, Vec<u8>>,
    sub_options: BTreeMap<u8, Vec<u8>>,
}

fn option() -> impl Strategy<Value = (u8, Vec<u8>)> {
    prop_oneof![
        "[a-z0-9.-]{1,255}".prop_map(|name| (12, name.into_bytes())),
        any::<[u8; 4]>().prop_map(|address| (50, address.to_vec())),
        any::<[u8; 4]>().prop_map(|address| (51, address.to_vec())),
        any::<[u8; 4]>().prop_map(|address| (54, address.to_vec())),
        vec(1u8..=254, 1..60).prop_map(|list| (55, list)),
        any::<[u8; 2]>().prop_map(|size| (57, size.to_vec())),
        vec(any::<u8>(), 1..100).prop_map(|class| (60, class)),
        // Longer than one part: both sides split and join.
        vec(any::<u8>(), 1..600).prop_map(|id| (61, id)),
        vec(any::<u8>(), 1..40).prop_map(|class| (77, class)),
        any::<[u8; 4]>().prop_map(|subnet| (118, subnet.to_vec())),
        vec(any::<u8>(), 1..40).prop_map(|site| (224, site)),
    ]
}

fn sub_option() -> impl Strategy<Value = (u8, Vec<u8>)> {
    prop_oneof![
        vec(any::<u8>(), 1..50).prop_map(|id| (1, id)),
        vec(any::<u8>(), 1..50).prop_map(|id| (2, id)),
        any::<[u8; 4]>().prop_map(|link| (5, link.to_vec())),
        vec(any::<u8>(), 1..20).prop_map(|id| (6, id)),
        any::<[u8; 4]>().prop_map(|server| (11, server.to_vec())),
        vec(any::<u8>(), 1..20).prop_map(|id| (12, id)),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let head = (1u8..=8, vec(any::<u8>(), 0..=16), any::<(u8, u32, u16, bool, u32, u32)>());
    (head, vec(option(), 0..10), vec(sub_option(), 1..6)).prop_map(|(head, options, sub_options)| {
        let (message_type, chaddr, (hops, xid, secs, broadcast, ciaddr, giaddr)) = head;
        let (options, sub_options) = (options.into_iter().collect(), sub_options.into_iter().collect());
        Request { message_type, chaddr, hops, xid, secs, broadcast, ciaddr, giaddr, options, sub_options }
    })
}

fn write(request: &Request) -> Vec<u8> {
    let head = RequestHead {
        message_type: MessageType::from_wire(request.message_type).unwrap(),
        htype: 1,
        chaddr: &request.chaddr,
        hops: request.hops,
        xid: request.xid,
        secs: request.secs,
        broadcast: request.broadcast,
        ciaddr: request.ciaddr.into(),
        giaddr: request.giaddr.into(),
    };
    let mut out = [0; 1500];
    let mut writer = RequestWriter::new(&head, &mut out).unwrap();
    for (code, value) in &request.options {
        assert!(writer.option(*code, value));
    }
    let mut relay_agent = [0; 300];
    let mut sub_options = RelayAgentWriter::new(&mut relay_agent);
    for (code, value) in &request.sub_options {
        assert!(sub_options.sub_option(*code, value));
    }
    let written = writer.finish_relayed(sub_options.finish());
    assert!(written.dropped.is_empty());
    out[..written.len].to_vec()
}

/// Compares all that both sides give by type.
fn assert_same(ours: &Message<'_>, theirs: &v4::Message) {
    assert_eq!(ours.op().wire(), u8::from(theirs.opcode()));
    assert_eq!(ours.chaddr(), theirs.chaddr());
    assert_eq!((ours.hops(), ours.xid(), ours.secs()), (theirs.hops(), theirs.xid(), theirs.secs()));
    assert_eq!(ours.broadcast(), theirs.flags().broadcast());
    assert_eq!((ours.ciaddr(), ours.yiaddr()), (theirs.ciaddr(), theirs.yiaddr()));
    assert_eq!((ours.siaddr(), ours.giaddr()), (theirs.siaddr(), theirs.giaddr()));
    assert_eq!(ours.message_type().map(MessageType::wire), theirs.opts().msg_type().map(u8::from));
    assert_eq!(ours.codes().iter().count(), theirs.opts().len());
    let joined = |code| ours.find(code).map(|value| value.bytes().collect::<Vec<u8>>());
    for (code, option) in theirs.opts().iter() {
        let code = u8::from(*code);
        match option {
            // Compared above and below.
            DhcpOption::MessageType(_) | DhcpOption::RelayAgentInformation(_) => {}
            DhcpOption::RequestedIpAddress(address) => assert_eq!(ours.requested_address(), Some(*address)),
            DhcpOption::ServerIdentifier(address) => assert_eq!(ours.server_id(), Some(*address)),
            DhcpOption::SubnetSelection(address) => assert_eq!(ours.subnet_selection(), Some(*address)),
            DhcpOption::AddressLeaseTime(secs) => assert_eq!(ours.lease_secs(), Some(*secs)),
            DhcpOption::MaxMessageSize(size) => {
                assert_eq!(ours.datagram_bytes_max(), Some(*size).filter(|size| *size >= 576));
            }
            DhcpOption::Hostname(name) => assert_eq!(joined(12), Some(name.clone().into_bytes())),
            DhcpOption::ParameterRequestList(list) => {
                assert_eq!(joined(55), Some(list.iter().map(|code| u8::from(*code)).collect()));
            }
            DhcpOption::ClassIdentifier(value)
            | DhcpOption::ClientIdentifier(value)
            | DhcpOption::UserClass(value) => {
                assert_eq!(joined(code).as_ref(), Some(value));
            }
            DhcpOption::SubnetMask(mask) => assert_eq!(joined(1), Some(mask.octets().to_vec())),
            DhcpOption::Renewal(secs) | DhcpOption::Rebinding(secs) => {
                assert_eq!(joined(code), Some(secs.to_be_bytes().to_vec()));
            }
            DhcpOption::Unknown(option) => assert_eq!(joined(code), Some(option.data().to_vec())),
            other => panic!("no comparison for {other:?}"),
        }
    }
    assert_same_line(ours, theirs);
}

fn assert_same_line(ours: &Message<'_>, theirs: &v4::Message) {
    let mut scratch = [0; 1500];
    let ours = ours.relay_agent(&mut scratch).unwrap();
    let Some(DhcpOption::RelayAgentInformation(theirs)) =
        theirs.opts().get(OptionCode::RelayAgentInformation)
    else {
        assert!(ours.is_none());
        return;
    };
    let ours = ours.unwrap();
    assert_eq!(ours.sub_options().count(), theirs.iter().count());
    for (code, info) in theirs.iter() {
        match info {
            RelayInfo::AgentCircuitId(id) => assert_eq!(ours.circuit_id(), Some(&id[..])),
            RelayInfo::AgentRemoteId(id) => assert_eq!(ours.remote_id(), Some(&id[..])),
            RelayInfo::LinkSelection(link) => assert_eq!(ours.link_selection(), Some(*link)),
            RelayInfo::SubscriberId(id) => assert_eq!(ours.subscriber_id(), Some(&id[..])),
            RelayInfo::ServerIdentifierOverride(server) => {
                assert_eq!(ours.server_id_override(), Some(*server));
            }
            RelayInfo::Unknown(info) => {
                assert_eq!(*code, RelayCode::Unknown(12));
                assert_eq!(ours.relay_id(), Some(info.data()));
            }
            other => panic!("no comparison for {other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn requests_we_write_are_read_the_same(request in request()) {
        let bytes = write(&request);
        let theirs = v4::Message::from_bytes(&bytes).unwrap();
        assert_same(&Message::parse(&bytes).unwrap(), &theirs);
        prop_assert_eq!(theirs.opts().len(), request.options.len() + 2);
    }

    #[test]
    fn requests_they_write_are_read_the_same(request in request()) {
        let theirs = v4::Message::from_bytes(&write(&request)).unwrap();
        let bytes = theirs.to_vec().unwrap();
        assert_same(&Message::parse(&bytes).unwrap(), &theirs);
    }

    #[test]
    fn replies_we_write_are_read_the_same(request in request(), yiaddr: u32, lease_secs: u32, mask: [u8; 4]) {
        let bytes = write(&request);
        let request = Message::parse(&bytes).unwrap();
        let times = LeaseTimes { lease_secs, renew_secs: lease_secs / 4, rebind_secs: lease_secs / 8 * 7 };
        let kind = ReplyKind::Ack { yiaddr: yiaddr.into(), ciaddr: request.ciaddr(), times };
        let server_id = Ipv4Addr::new(192, 0, 2, 1);
        let head = ReplyHead { kind, server_id, siaddr: server_id, relay_echo: RelayEcho::AsReceived };
        let mut out = [0; 1500];
        let mut writer = ReplyWriter::new(&request, &head, &mut out).unwrap();
        writer.option(1, &mask);
        let written = writer.finish();
        let reply = &out[..written.len];
        assert_same(&Message::parse(reply).unwrap(), &v4::Message::from_bytes(reply).unwrap());
    }
}

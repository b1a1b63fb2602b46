//! Damaged DHCPv4 requests of lines, devices and guests.

use std::net::Ipv4Addr;

use lastmile::dhcp::v4::fuzz::{Node, SERVER, TRUSTED, UNTRUSTED};
use lastmile::dhcp::v4::wire::code::sub;
use lastmile::dhcp::v4::wire::{MessageType, RelayAgentWriter, RequestHead, RequestWriter, code};
use lastmile::ids::{Entropy, SeededEntropy};

use crate::run::{below, run};

/// Each is heard as it is, and as if whoever was given an address last had sent it.
const INPUTS: u64 = 30_000;
/// Bytes before the options, the cookie included.
const FIXED_BYTES: usize = 240;

/// A request of every kind, from `mac` behind the relay at `giaddr`.
fn requests(mac: [u8; 6], giaddr: Ipv4Addr, circuit_id: &[u8]) -> Vec<Vec<u8>> {
    let address = Ipv4Addr::new(10, 0, 0, 10).octets();
    let named: [(MessageType, &[u8]); 9] = [
        (MessageType::Discover, &[code::ADDRESS_REQUEST]),
        (MessageType::Discover, &[]),
        (MessageType::Request, &[code::ADDRESS_REQUEST, code::DHCP_SERVER_ID]),
        (MessageType::Request, &[code::ADDRESS_REQUEST, code::DHCP_SERVER_ID, code::CLIENT_ID]),
        (MessageType::Request, &[code::ADDRESS_REQUEST]),
        (MessageType::Request, &[]),
        (MessageType::Decline, &[code::ADDRESS_REQUEST, code::DHCP_SERVER_ID]),
        (MessageType::Release, &[code::DHCP_SERVER_ID]),
        (MessageType::Inform, &[]),
    ];
    let request = |(kind, options): (MessageType, &[u8])| {
        let mut bytes = [0; 1_500];
        let mut head = RequestHead::new(kind, 7, &mac);
        (head.hops, head.giaddr) = (1, giaddr);
        let has_address = matches!(kind, MessageType::Release | MessageType::Inform)
            || (kind == MessageType::Request && options.is_empty());
        if has_address {
            head.ciaddr = address.into();
        }
        let mut writer = RequestWriter::new(&head, &mut bytes).unwrap();
        for option in options {
            let value: &[u8] = match *option {
                code::DHCP_SERVER_ID => &SERVER.octets(),
                code::CLIENT_ID => &[1, 2, 0, 0x5e, 0, 0x53, 1],
                _ => &address,
            };
            writer.option(*option, value);
        }
        writer.option(code::PARAMETER_LIST, &[1, 3, 6, 15, 51, 121]);
        let mut agent = [0; 255];
        let mut relay_agent = RelayAgentWriter::new(&mut agent);
        relay_agent.sub_option(sub::CIRCUIT_ID, circuit_id);
        let length = writer.finish_relayed(relay_agent.finish()).len;
        bytes[..length].to_vec()
    };
    named.into_iter().map(request).collect()
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = requests([2, 0, 0x5e, 0, 0x53, 1], TRUSTED, b"port 1");
    seeds.extend(requests([2, 0, 0x5e, 0, 0x53, 0x11], TRUSTED, b"port 2"));
    seeds.extend(requests([2, 0, 0x5e, 0, 0x53, 2], UNTRUSTED, b"port 1"));
    seeds
}

/// Another device now and then, and changes of bytes, mostly among the options.
fn damaged(seed: &[u8], random: &SeededEntropy) -> Vec<u8> {
    const TELLING: [u8; 12] = [0, 1, 2, 3, 6, 50, 53, 54, 61, 82, 151, 255];
    let mut bytes = seed.to_vec();
    if random.u64().is_multiple_of(4) {
        bytes[32..34].copy_from_slice(&(random.u64() as u16).to_be_bytes());
    }
    for _ in 0..below(random, 4) {
        let among =
            |length: usize| FIXED_BYTES.min(length) + below(random, length.saturating_sub(FIXED_BYTES));
        let at = if random.u64().is_multiple_of(4) { below(random, bytes.len()) } else { among(bytes.len()) };
        match below(random, 6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), TELLING[below(random, TELLING.len())]),
            2 => {
                let copy: Vec<u8> = bytes.iter().copied().skip(at).take(below(random, 40)).collect();
                let to = among(bytes.len());
                bytes.splice(to..to, copy);
            }
            change => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte =
                        if change == 3 { TELLING[below(random, TELLING.len())] } else { random.u64() as u8 };
                }
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

#[test]
fn damaged_requests_end_in_a_decision_and_every_reply_is_the_clients_own() {
    let node = Node::new();
    run("DHCPv4", INPUTS, &seeds(), damaged, |bytes| node.hear(bytes));
    let reasons = node.reasons();
    let deep = [
        "offered",
        "leased",
        "renewed",
        "informed",
        "released",
        "declined",
        "wrong-address",
        "pool-exhausted",
    ];
    assert!(deep.iter().all(|reason| reasons.contains(reason)), "{reasons:?}");
}

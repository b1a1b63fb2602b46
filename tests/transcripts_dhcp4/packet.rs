//! Packets as text.
//!
//! `mac=`, `htype=`, `ciaddr=`, `giaddr=`, `broadcast=yes` are header fields; `from=` (address:port) and `to=` are the
//! datagram's; `<code>=` is an option and `82.<code>=` a sub-option of the relay. A value is an address, `"text"`, `0x…`,
//! a number (options 51 and 57) or a list of codes (option 55); `""` is empty.
#![expect(clippy::unwrap_used, reason = "only tests call it: a panic is a failed test")]

use std::collections::HashMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};

use lastmile::dhcp::v4::wire::{Message, MessageType, RelayAgentWriter, RequestHead, RequestWriter, code};
use lastmile::model::Mac;
use lastmile::pipeline::Outgoing;

use crate::transcript::node::Sent;
use crate::transcript::{fields, octets};

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);

fn value(code: u8, text: &str) -> Vec<u8> {
    if let Some(text) = text.strip_prefix('"') {
        return text.strip_suffix('"').unwrap().as_bytes().to_vec();
    }
    if let Some(bytes) = octets(text) {
        return bytes;
    }
    match code {
        code::ADDRESS_TIME => text.parse::<u32>().unwrap().to_be_bytes().to_vec(),
        code::DHCP_MAX_MSG_SIZE => text.parse::<u16>().unwrap().to_be_bytes().to_vec(),
        code::PARAMETER_LIST => text.split(',').map(|code| code.parse().unwrap()).collect(),
        _ => text.parse::<Ipv4Addr>().unwrap_or_else(|_| panic!("{code}={text}")).octets().to_vec(),
    }
}

/// Reads a packet line.
pub(crate) fn parse(line: &str, clients: &HashMap<String, String>) -> Sent {
    let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
    let name = format!("DHCP{kind}");
    let kind = MessageType::ALL.iter().find(|known| known.name() == name);
    let kind = *kind.unwrap_or_else(|| panic!("`{line}` is neither a packet nor a command"));
    let fields = fields(rest, clients);
    let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let address = |name: &str| field(name).map_or(Ipv4Addr::UNSPECIFIED, |text| text.parse().unwrap());
    let mac: Mac = field("mac").map_or_else(Mac::default, |text| text.parse().unwrap());
    let mut head = RequestHead::new(kind, 7, &mac.0);
    head.htype = field("htype").map_or(1, |text| text.parse().unwrap());
    head.broadcast = field("broadcast").is_some();
    (head.ciaddr, head.giaddr) = (address("ciaddr"), address("giaddr"));
    let relayed = !head.giaddr.is_unspecified();
    head.hops = u8::from(relayed);
    let mut bytes = vec![0; 1400];
    let mut writer = RequestWriter::new(&head, &mut bytes).unwrap();
    let mut agent_bytes = [0; 512];
    let mut agent = RelayAgentWriter::new(&mut agent_bytes);
    let mut has_agent = false;
    for (name, text) in &fields {
        if let Some(sub) = name.strip_prefix("82.") {
            has_agent = true;
            assert!(agent.sub_option(sub.parse().unwrap(), &value(0, text)));
        } else if let Ok(code) = name.parse() {
            assert!(writer.option(code, &value(code, text)), "{line}");
        }
    }
    let written = if has_agent { writer.finish_relayed(agent.finish()) } else { writer.finish() };
    bytes.truncate(written.len);
    let default = if relayed { SocketAddr::from((head.giaddr, 67)) } else { (head.ciaddr, 68).into() };
    Sent {
        bytes,
        source: field("from").map_or(default, |text| text.parse().unwrap()),
        local: field("to").map_or(SERVER.into(), |text| text.parse().unwrap()),
    }
}

/// The addresses of a message, for descriptions.
fn shown(message: &Message<'_>) -> Vec<(&'static str, Ipv4Addr)> {
    [("yiaddr", message.yiaddr()), ("ciaddr", message.ciaddr())]
        .into_iter()
        .filter(|(_, address)| !address.is_unspecified())
        .collect()
}

/// A reply in words; `request` is what it answers.
pub(crate) fn describe(request: &[u8], reply: &Outgoing, bytes: &[u8]) -> String {
    let (request, message) = (Message::parse(request).unwrap(), Message::parse(bytes).unwrap());
    assert_eq!((message.xid(), message.giaddr()), (request.xid(), request.giaddr()));
    assert_eq!(message.chaddr(), request.chaddr());
    assert_eq!(request.client_id().is_some(), message.client_id().is_some(), "RFC 6842");
    let name = message.message_type().unwrap().name().trim_start_matches("DHCP");
    let mut text = format!("{name} to {}", reply.to);
    for (what, address) in shown(&message) {
        let _ = write!(text, " {what} {address}");
    }
    if message.broadcast() {
        text.push_str(" broadcast");
    }
    if bytes.len() > 300 {
        let _ = write!(text, " {} bytes", bytes.len());
    }
    let mut codes: Vec<u8> = message.options().map(|(code, _)| code).collect();
    codes.dedup();
    for code in codes.into_iter().filter(|code| *code != code::DHCP_MSG_TYPE) {
        let value: Vec<u8> = message.find(code).unwrap().bytes().collect();
        let as_received = request.find(code).is_some_and(|sent| sent.bytes().eq(value.iter().copied()));
        let shown = match code {
            code::RELAY_AGENT_INFORMATION | code::CLIENT_ID if as_received => "as received".to_owned(),
            _ => option(code, &value),
        };
        let _ = write!(text, " {code}={shown}");
    }
    text
}

fn option(code: u8, value: &[u8]) -> String {
    match code {
        code::ADDRESS_TIME | code::RENEWAL_TIME | code::REBINDING_TIME => {
            u32::from_be_bytes(value.try_into().unwrap()).to_string()
        }
        code::SUBNET_MASK
        | code::ROUTER
        | code::DOMAIN_SERVER
        | code::BROADCAST_ADDRESS
        | code::NTP_SERVERS
        | code::DHCP_SERVER_ID => {
            let addresses = value.chunks(4).map(|octets| <[u8; 4]>::try_from(octets).unwrap());
            addresses.map(|octets| Ipv4Addr::from(octets).to_string()).collect::<Vec<_>>().join(",")
        }
        code::MTU_INTERFACE => u16::from_be_bytes(value.try_into().unwrap()).to_string(),
        code::DOMAIN_NAME | code::DHCP_MESSAGE => format!("\"{}\"", String::from_utf8_lossy(value)),
        code::CLASSLESS_STATIC_ROUTE => routes(value),
        _ => value.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}

fn routes(mut value: &[u8]) -> String {
    let mut routes = Vec::new();
    while let Some((width, rest)) = value.split_first() {
        let (to, rest) = rest.split_at(usize::from(width.div_ceil(8)));
        let (via, rest) = rest.split_at(4);
        let mut octets = [0; 4];
        octets[..to.len()].copy_from_slice(to);
        let via = Ipv4Addr::from(<[u8; 4]>::try_from(via).unwrap());
        routes.push(format!("{}/{width}>{via}", Ipv4Addr::from(octets)));
        value = rest;
    }
    routes.join(",")
}

//! RADIUS packets as text.
//!
//! `from=`, `secret=`, `port=auth|acct` say how a datagram comes; `signed=first|last|bad|no` where its Message-Authenticator
//! is (first by default for Access-Requests, nowhere for accounting); `id=` its identifier; `as=NAME` keeps it for
//! `again NAME`. `flip=N`, `cut=N`, `pad=N` and `length=N` damage the finished packet.
//!
//! Every other field is an attribute by its dictionary name (or its number, as bytes), in order. A value is `"text"`, `0x…`,
//! an address, a prefix, a number, the name of a value, or for dates `now`, `now-30`. User-Password and CHAP-Password are
//! given in clear. `Class=NAME` is the Class of the Accept that `as=NAME` got; `elsewhere` one of another node, `forged` one
//! with a wrong seal.
#![expect(clippy::unwrap_used, reason = "only tests call it: a panic is a failed test")]

use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddr;

use hmac::{Hmac, KeyInit, Mac};
use lastmile::ids::{Entropy, SeededEntropy, SessionId, Uid};
use lastmile::netdefs::dictionary::{Dictionary, Type};
use lastmile::pipeline::Outgoing;
use lastmile::radius::wire::append::ipv6_prefix_value;
use lastmile::radius::wire::attribute::kind;
use lastmile::radius::wire::class::ClassKey;
use lastmile::radius::wire::encode::{PacketWriter, Signing};
use lastmile::radius::wire::hiding::ChapPassword;
use lastmile::radius::wire::integrity::{SharedKey, Signature};
use lastmile::radius::wire::packet::{Authenticator, Code, Packet};
use lastmile::secret::Secret;
use lastmile::time::Stamp;

use crate::transcript::node::Sent;
use crate::transcript::record::Names;
use crate::transcript::{fields, octets};

/// What packets are written and read with.
pub(crate) struct Language {
    pub(crate) dictionary: Dictionary,
    pub(crate) class: ClassKey,
    authenticators: SeededEntropy,
    identifier: u8,
}

/// A request as it goes out.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) sent: Sent,
    pub(crate) accounting: bool,
    pub(crate) name: Option<String>,
    pub(crate) secret: String,
}

impl Language {
    pub(crate) const fn new(dictionary: Dictionary, class: ClassKey) -> Self {
        Self { dictionary, class, authenticators: SeededEntropy::new(2), identifier: 0 }
    }

    /// Reads a packet line.
    pub(crate) fn parse(
        &mut self,
        line: &str,
        clients: &HashMap<String, String>,
        classes: &HashMap<String, Vec<u8>>,
        now: Stamp,
    ) -> Request {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (code, status) =
            code_of(verb).unwrap_or_else(|| panic!("`{line}` is neither a packet nor a command"));
        let (attributes, how) = How::of(fields(rest, clients));
        self.identifier = how.number("id").map_or(self.identifier.wrapping_add(1), |id| id as u8);
        let secret = how.text("secret").map_or("correct horse", quoted).to_owned();
        let by_default = if is_digest(code) { "no" } else { "first" };
        let signed = how.text("signed").unwrap_or(by_default);
        let mut bytes = self.write(&attributes, (code, status), (&secret, signed), classes, now);
        for damage in ["flip", "pad", "length", "cut"] {
            match (damage, how.number(damage)) {
                ("flip", Some(at)) => bytes[at] ^= 1,
                ("pad", Some(more)) => bytes.resize(bytes.len() + more, 0),
                ("length", Some(length)) => bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes()),
                ("cut", Some(at)) => bytes.truncate(at),
                _ => {}
            }
        }
        let sent = Sent { bytes, source: how.source(), local: "192.0.2.53".parse().unwrap() };
        let accounting = how.text("port").map_or(code == Code::ACCOUNTING_REQUEST, |port| port == "acct");
        Request { sent, accounting, name: how.text("as").map(str::to_owned), secret }
    }

    fn write(
        &self,
        attributes: &[(String, String)],
        (code, status): (Code, Option<u32>),
        (secret, signed): (&str, &str),
        classes: &HashMap<String, Vec<u8>>,
        now: Stamp,
    ) -> Vec<u8> {
        let key = SharedKey::new(Secret::new(secret.as_bytes()));
        let mut authenticator = Authenticator::default();
        self.authenticators.fill(&mut authenticator);
        let signing = if matches!(signed, "first" | "bad") { Signing::First } else { Signing::Omitted };
        let mut buffer = [0; 4096];
        let mut writer = match code {
            Code::ACCESS_REQUEST => {
                PacketWriter::access_request(&mut buffer, self.identifier, authenticator, signing)
            }
            Code::STATUS_SERVER => PacketWriter::status_server(&mut buffer, self.identifier, authenticator),
            code => PacketWriter::request(&mut buffer, code, self.identifier, signing),
        }
        .unwrap();
        if let Some(status) = status {
            writer.u32(kind::ACCT_STATUS_TYPE, status).unwrap();
        }
        let challenge = attributes.iter().find(|(name, _)| name == "CHAP-Challenge");
        let challenge = challenge.map_or(authenticator.to_vec(), |(_, text)| octets(text).unwrap());
        for (name, text) in attributes {
            match name.as_str() {
                "User-Password" if text.starts_with('"') => {
                    writer.user_password(&key, &Secret::new(quoted(text).as_bytes())).unwrap();
                }
                "CHAP-Password" if text.starts_with('"') => {
                    let password = Secret::new(quoted(text).as_bytes());
                    writer.chap_password(&ChapPassword::answer(7, &password, &challenge)).unwrap();
                }
                "Class" if !text.starts_with("0x") => {
                    writer.raw(kind::CLASS, &self.class_named(text, classes)).unwrap();
                }
                _ => self.attribute(&mut writer, name, text, now),
            }
        }
        if signed == "last" {
            writer.raw(kind::MESSAGE_AUTHENTICATOR, &[0; 16]).unwrap();
        }
        let mut bytes = writer.finish(&key).unwrap().to_vec();
        match signed {
            "last" => {
                let mut hmac = Hmac::<md5::Md5>::new_from_slice(secret.as_bytes()).unwrap();
                hmac.update(&bytes);
                let at = bytes.len() - 16;
                bytes[at..].copy_from_slice(&hmac.finalize().into_bytes());
            }
            "bad" => bytes[25] ^= 1,
            _ => {}
        }
        bytes
    }

    fn class_named(&self, name: &str, classes: &HashMap<String, Vec<u8>>) -> Vec<u8> {
        let elsewhere = *self.class.issue(Uid(0x0190_0000_0000_7000_8000_0000_00ff_ffff)).bytes();
        match name {
            "elsewhere" => elsewhere.to_vec(),
            "forged" => [&elsewhere[..24], &[elsewhere[24] ^ 1]].concat(),
            _ => classes.get(name).unwrap_or_else(|| panic!("no Accept as {name}")).clone(),
        }
    }

    fn attribute(&self, writer: &mut PacketWriter<'_>, name: &str, text: &str, now: Stamp) {
        if let Ok(kind) = name.parse() {
            return writer.raw(kind, &octets(text).unwrap()).unwrap();
        }
        let attribute = self.dictionary.named(name).unwrap_or_else(|| panic!("no attribute {name}"));
        let value = if let Some(bytes) = octets(text) {
            bytes
        } else if text.starts_with('"') {
            quoted(text).as_bytes().to_vec()
        } else {
            match attribute.data {
                Type::Ipv4Address => text.parse::<std::net::Ipv4Addr>().unwrap().octets().to_vec(),
                Type::Ipv6Prefix => {
                    let (bytes, len) = ipv6_prefix_value(text.parse().unwrap());
                    bytes[..len].to_vec()
                }
                Type::Date => {
                    let off = text.strip_prefix("now").unwrap();
                    let off: i64 = if off.is_empty() { 0 } else { off.parse().unwrap() };
                    (now.secs().saturating_add_signed(off) as u32).to_be_bytes().to_vec()
                }
                Type::Integer => {
                    let named = self.dictionary.value_named(attribute.number, text);
                    let number = named.map_or_else(|| text.parse().unwrap(), |number| number as u32);
                    number.to_be_bytes().to_vec()
                }
                other => panic!("{name}={text}: write {other:?} as bytes"),
            }
        };
        let kind = attribute.number.kind as u8;
        match attribute.number.vendor {
            0 => writer.raw(kind, &value).unwrap(),
            vendor => writer.vendor(vendor, kind, &value).unwrap(),
        }
    }

    /// A reply in words, after checking what every reply must fulfil; and the Class it carries.
    pub(crate) fn describe(
        &self,
        request: &Request,
        reply: &Outgoing,
        bytes: &[u8],
        names: &mut Names,
    ) -> String {
        let asked = Packet::parse(&request.sent.bytes).unwrap();
        let packet = Packet::parse(bytes).unwrap();
        assert_eq!(bytes.len(), packet.bytes().len(), "nothing after the packet");
        assert_eq!(packet.identifier(), asked.identifier());
        assert_eq!((reply.to, reply.from), (request.sent.source, request.sent.local));
        let key = SharedKey::new(Secret::new(request.secret.as_bytes()));
        let signature = key.verify_response(&packet, asked.authenticator());
        let signature = signature.unwrap_or_else(|error| panic!("the reply does not verify: {error}"));
        let mut text = packet.code().to_string();
        if signature == Signature::MessageAuthenticator {
            assert_eq!(packet.attributes().next().unwrap().kind, kind::MESSAGE_AUTHENTICATOR, "not first");
        } else if asked.code() != Code::ACCOUNTING_REQUEST {
            text.push_str(" unsigned");
        }
        if reply.delay_ms > 0 {
            let _ = write!(text, " after {} ms", reply.delay_ms);
        }
        let proxied: Vec<&[u8]> = asked.all(kind::PROXY_STATE).map(|state| state.value).collect();
        let states: Vec<&[u8]> = packet.all(kind::PROXY_STATE).map(|state| state.value).collect();
        assert_eq!(proxied, states, "Proxy-State comes back as it was");
        let count = packet.attributes().count();
        let tail = packet.attributes().skip(count - proxied.len());
        assert!(tail.clone().all(|attribute| attribute.kind == kind::PROXY_STATE), "Proxy-State is not last");
        for attribute in packet.attributes().filter(|known| known.kind != kind::MESSAGE_AUTHENTICATOR) {
            let shown = match (attribute.kind, self.class.verify(attribute.value)) {
                (kind::CLASS, Ok(session)) => format!("Class = {}", names.session(SessionId(session))),
                _ => self.dictionary.describe(0, attribute.kind.into(), attribute.value),
            };
            let _ = write!(text, ", {shown}");
        }
        text
    }
}

fn code_of(verb: &str) -> Option<(Code, Option<u32>)> {
    let accounting = |status| Some((Code::ACCOUNTING_REQUEST, Some(status)));
    match verb {
        "Access-Request" => Some((Code::ACCESS_REQUEST, None)),
        "Status-Server" => Some((Code::STATUS_SERVER, None)),
        "Disconnect-Request" => Some((Code::DISCONNECT_REQUEST, None)),
        "Accounting-Request" => Some((Code::ACCOUNTING_REQUEST, None)),
        "Accounting-Start" => accounting(1),
        "Accounting-Stop" => accounting(2),
        "Accounting-Interim" => accounting(3),
        "Accounting-On" => accounting(7),
        "Accounting-Off" => accounting(8),
        _ => None,
    }
}

const fn is_digest(code: Code) -> bool {
    matches!(code, Code::ACCOUNTING_REQUEST | Code::DISCONNECT_REQUEST)
}

/// The fields that are no attributes: how a datagram is made and sent.
struct How(HashMap<String, String>);

impl How {
    const NAMES: [&str; 10] =
        ["from", "secret", "port", "signed", "id", "as", "flip", "pad", "length", "cut"];

    /// Splits fields into attributes, in order, and the rest.
    fn of(fields: Vec<(String, String)>) -> (Vec<(String, String)>, Self) {
        let (how, attributes): (Vec<_>, Vec<_>) =
            fields.into_iter().partition(|(name, _)| Self::NAMES.contains(&name.as_str()));
        (attributes, Self(how.into_iter().collect()))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.text(name).map(|text| text.parse().unwrap())
    }

    /// An address with or without a port.
    fn source(&self) -> SocketAddr {
        let from = self.text("from").unwrap_or("192.0.2.1");
        from.parse().unwrap_or_else(|_| SocketAddr::new(from.parse().unwrap(), 40_000))
    }
}

/// The Class of an Accept.
pub(crate) fn class_of(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(Packet::parse(bytes).unwrap().find(kind::CLASS)?.value.to_vec())
}

fn quoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_else(|| panic!("{text}: quotes"))
}

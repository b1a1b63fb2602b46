//! Vectors of the DHCPv4 codec: text files that say what bytes mean.
//!
//! ```text
//! case a sentence
//! rule RFC 3046 §2.1
//! wire                       the message, in hex; 00*64 is a byte repeated
//!   01010601 3903f326 00*12
//! error dhcp4-bad-cookie     it is discarded with this reason; or
//! read                       it reads as follows; or
//! both ways                  it reads as follows, and a request written from these lines is `wire`
//!   op request               header fields that are zero are left out
//!   key hardware 1 00005e005301
//!   option 82 0101 in 2 parts
//!   relay agent              its sub-options follow; or `relay agent error` and the reason
//!   sub 1 70
//! answer offer yiaddr 192.0.2.9 server 192.0.2.1 times 3600 900 3150
//!   from 198.51.100.1:67     the datagram's source
//!   option 1 ffffff00        what the caller adds
//! dropped 15 125             codes left out
//! to relay 198.51.100.1:67   where it goes
//! gives                      the reply, in hex
//! ```
//!
//! `-` is a value without bytes. A case may have several answers.
#![expect(clippy::unwrap_used, reason = "only tests call it: a panic is a failed test")]

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use lastmile::dhcp::v4::wire::{
    ClientKey, Destination, LeaseTimes, Message, MessageType, Op, RelayEcho, ReplyHead, ReplyKind,
    ReplyWriter, RequestHead, RequestWriter, destination,
};

/// Longest message of any test, with room for those that are too long.
pub(crate) const BUFFER: usize = 1600;

#[derive(Debug, Default)]
pub(crate) struct Case {
    /// File, line and sentence.
    pub(crate) name: String,
    pub(crate) wire: Vec<u8>,
    pub(crate) error: Option<String>,
    pub(crate) read: Vec<String>,
    pub(crate) both_ways: bool,
    pub(crate) answers: Vec<Answer>,
}

#[derive(Debug, Default)]
pub(crate) struct Answer {
    kind: String,
    lines: Vec<String>,
    dropped: String,
    to: String,
    gives: Vec<u8>,
}

pub(crate) fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/dhcp4");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let cases: Vec<Case> = files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "txt"))
        .flat_map(|file| parse(file))
        .collect();
    assert!(cases.len() > 80, "only {} vectors found", cases.len());
    cases
}

fn parse(file: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut cases: Vec<Case> = Vec::new();
    let mut section = "";
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = || format!("{}:{}", file.file_name().unwrap().display(), number + 1);
        if let Some(name) = line.strip_prefix("case ") {
            cases.push(Case { name: format!("{} {name}", place()), ..Case::default() });
            continue;
        }
        let case = cases.last_mut().unwrap();
        if let Some(body) = line.strip_prefix("  ") {
            match (section, case.answers.last_mut()) {
                ("wire", None) => case.wire.extend(hex(body)),
                ("read" | "both", None) => case.read.push(body.to_owned()),
                ("answer", Some(answer)) => answer.lines.push(body.to_owned()),
                ("gives", Some(answer)) => answer.gives.extend(hex(body)),
                _ => panic!("{}: no section takes this line", place()),
            }
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        section = word;
        match (word, case.answers.last_mut()) {
            ("rule" | "wire" | "read" | "gives", _) => {}
            ("both", _) => case.both_ways = true,
            ("error", _) => case.error = Some(rest.to_owned()),
            ("answer", _) => case.answers.push(Answer { kind: rest.to_owned(), ..Answer::default() }),
            ("dropped", Some(answer)) => rest.clone_into(&mut answer.dropped),
            ("to", Some(answer)) => rest.clone_into(&mut answer.to),
            _ => panic!("{}: unknown word `{word}`", place()),
        }
    }
    cases
}

fn hex(text: &str) -> Vec<u8> {
    let byte = |digits: &str| u8::from_str_radix(digits, 16).unwrap();
    let mut bytes = Vec::new();
    for word in text.split(' ').filter(|word| *word != "-") {
        match word.split_once('*') {
            Some((digits, count)) => bytes.extend(vec![byte(digits); count.parse().unwrap()]),
            None => bytes.extend((0..word.len()).step_by(2).map(|at| byte(&word[at..at + 2]))),
        }
    }
    bytes
}

/// The inverse of [`hex`] without its repetitions, which a caller expands before comparing.
fn plain(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    if text.is_empty() { "-".to_owned() } else { text }
}

/// A `read` line with its hex expanded.
pub(crate) fn expanded(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let start = match words[..] {
        ["option" | "sub", ..] => 2,
        ["key", "hardware", ..] => 3,
        ["chaddr", ..] | ["key", "client-id", ..] => 1 + usize::from(words[0] == "key"),
        _ => return line.to_owned(),
    };
    let end = words.iter().position(|word| *word == "in").unwrap_or(words.len());
    let mut parts: Vec<String> = words[..start].iter().map(|word| (*word).to_owned()).collect();
    parts.push(plain(&hex(&words[start..end].join(" "))));
    parts.extend(words[end..].iter().map(|word| (*word).to_owned()));
    parts.join(" ")
}

/// What `message` reads as.
pub(crate) fn render(message: &Message<'_>) -> Vec<String> {
    let op = if message.op() == Op::Request { "request" } else { "reply" };
    let mut lines = vec![format!("op {op}"), format!("htype {}", message.htype())];
    lines.push(format!("chaddr {}", plain(message.chaddr())));
    lines.push(format!("xid {:08x}", message.xid()));
    let mut unless_zero = |zero: bool, line: String| {
        if !zero {
            lines.push(line);
        }
    };
    unless_zero(message.hops() == 0, format!("hops {}", message.hops()));
    unless_zero(message.secs() == 0, format!("secs {}", message.secs()));
    unless_zero(message.flags() == 0, format!("flags {:04x}", message.flags()));
    for (name, address) in [
        ("ciaddr", message.ciaddr()),
        ("yiaddr", message.yiaddr()),
        ("siaddr", message.siaddr()),
        ("giaddr", message.giaddr()),
    ] {
        unless_zero(address.is_unspecified(), format!("{name} {address}"));
    }
    lines.push(format!("type {}", message.message_type().map_or("none", MessageType::name)));
    lines.push(match message.client_key() {
        None => "key none".to_owned(),
        Some(ClientKey::ClientId(id)) => format!("key client-id {}", plain(&id.bytes().collect::<Vec<u8>>())),
        Some(ClientKey::Hardware { htype, chaddr }) => format!("key hardware {htype} {}", plain(chaddr)),
    });
    lines.push(format!("reply-bytes-max {}", message.reply_bytes_max()));
    let mut shown = Vec::new();
    for (code, _) in message.options().filter(|(code, _)| message.codes().contains(*code)) {
        if shown.contains(&code) {
            continue;
        }
        shown.push(code);
        let value = message.find(code).unwrap();
        let parts = value.parts().count();
        let suffix = if parts > 1 { format!(" in {parts} parts") } else { String::new() };
        lines.push(format!("option {code} {}{suffix}", plain(&value.bytes().collect::<Vec<u8>>())));
    }
    match message.relay_agent(&mut [0; BUFFER]) {
        Ok(None) => {}
        Ok(Some(agent)) => {
            lines.push("relay agent".to_owned());
            lines.extend(agent.sub_options().map(|(code, value)| format!("sub {code} {}", plain(value))));
        }
        Err(error) => lines.push(format!("relay agent error {}", error.reason())),
    }
    lines
}

/// The request that `lines` describe, by the request writer.
pub(crate) fn write_request(lines: &[String]) -> Vec<u8> {
    let field = |name: &str| {
        lines.iter().find_map(|line| line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')))
    };
    let address = |name| field(name).map_or(Ipv4Addr::UNSPECIFIED, |text| text.parse().unwrap());
    let number = |name| field(name).map_or(0u16, |text| text.parse().unwrap());
    let chaddr = hex(field("chaddr").unwrap());
    let type_name = field("type").unwrap();
    let head = RequestHead {
        message_type: *MessageType::ALL.iter().find(|kind| kind.name() == type_name).unwrap(),
        htype: number("htype") as u8,
        chaddr: &chaddr,
        hops: number("hops") as u8,
        xid: u32::from_str_radix(field("xid").unwrap(), 16).unwrap(),
        secs: number("secs"),
        broadcast: field("flags").is_some(),
        ciaddr: address("ciaddr"),
        giaddr: address("giaddr"),
    };
    let mut out = [0xaa; BUFFER];
    let mut writer = RequestWriter::new(&head, &mut out).unwrap();
    let mut relay_agent = None;
    for (code, value) in options(lines) {
        match code {
            53 => {}
            82 => relay_agent = Some(value),
            code => assert!(writer.option(code, &value), "no room for option {code}"),
        }
    }
    let written = match &relay_agent {
        Some(value) => writer.finish_relayed(value),
        None => writer.finish(),
    };
    out[..written.len].to_vec()
}

fn options(lines: &[String]) -> impl Iterator<Item = (u8, Vec<u8>)> {
    lines.iter().filter_map(|line| line.strip_prefix("option ")).map(|line| {
        let (code, value) = line.split_once(' ').unwrap();
        (code.parse().unwrap(), hex(value))
    })
}

/// The reply that a vector's `answer` line names, and its server id.
fn reply_kind(text: &str) -> (ReplyKind, Ipv4Addr) {
    let words: Vec<&str> = text.split(' ').collect();
    let after = |word: &str| words.iter().position(|found| *found == word).map(|at| &words[at + 1..]);
    let address = |word| after(word).map_or(Ipv4Addr::UNSPECIFIED, |rest| rest[0].parse().unwrap());
    let (yiaddr, ciaddr) = (address("yiaddr"), address("ciaddr"));
    let seconds = |at: usize| after("times").unwrap()[at].parse().unwrap();
    let times = || LeaseTimes { lease_secs: seconds(0), renew_secs: seconds(1), rebind_secs: seconds(2) };
    let kind = match words[0] {
        "offer" => ReplyKind::Offer { yiaddr, times: times() },
        "ack" => ReplyKind::Ack { yiaddr, ciaddr, times: times() },
        "inform-ack" => ReplyKind::InformAck { ciaddr },
        "nak" => ReplyKind::Nak,
        other => panic!("unknown reply `{other}`"),
    };
    (kind, address("server"))
}

/// Writes the answer to `request`, and compares it with what the vector says.
pub(crate) fn check_answer(name: &str, request: &Message<'_>, answer: &Answer) {
    let (kind, server_id) = reply_kind(&answer.kind);
    let (mut scratch, mut echo) = ([0; BUFFER], [0; BUFFER]);
    let agent = request.relay_agent(&mut scratch).unwrap();
    let relay_echo = match agent.filter(|_| answer.kind.ends_with(" without-vss-control")) {
        Some(agent) => RelayEcho::Value(agent.without_vss_control(&mut echo).unwrap()),
        None => RelayEcho::AsReceived,
    };
    let head = ReplyHead { kind, server_id, siaddr: Ipv4Addr::UNSPECIFIED, relay_echo };
    let mut out = [0xaa; BUFFER];
    let mut writer = ReplyWriter::new(request, &head, &mut out).unwrap();
    for (code, value) in options(&answer.lines) {
        writer.option(code, &value);
    }
    let written = writer.finish();
    assert_eq!(plain(&out[..written.len]), plain(&answer.gives), "{name}: {}", answer.kind);
    let dropped: Vec<String> = written.dropped.iter().map(|code| code.to_string()).collect();
    let dropped = if dropped.is_empty() { "none".to_owned() } else { dropped.join(" ") };
    assert_eq!(dropped, answer.dropped, "{name}");
    let source: SocketAddrV4 =
        answer.lines.iter().find_map(|line| line.strip_prefix("from ")).unwrap().parse().unwrap();
    let to = match destination(request, kind, source, agent.is_some_and(|agent| agent.relay_source_port())) {
        Destination::Relay(address) => format!("relay {address}"),
        Destination::Unicast(address) => format!("unicast {address}"),
        Destination::Broadcast => "broadcast".to_owned(),
        Destination::UnicastLink(address) => format!("link {address}"),
    };
    assert_eq!(to, answer.to, "{name}");
}

//! Runs `tests/vectors/radius/*.txt`: packets in hexadecimal beside what they mean.
//!
//! ```text
//! case <sentence>
//! secret <text>                   the shared secret, where digests or hidden values matter
//! answers the request above       the packet is a reply to the last packet that was not one
//! packet                          hexadecimal, on indented lines
//! reads <code> <identifier>       then one indented line per attribute, see `notation`
//! verifies <signature or reason>  message-authenticator, authenticator, none, or why it is refused
//! discard <reason>                it is not a packet
//! ```
//!
//! What a case reads is also written back, attribute by attribute and, where we could have sent the packet,
//! as a whole with its signature; both must give the bytes of the file.

use std::path::{Path, PathBuf};

use lastmile::radius::wire::attribute::kind;
use lastmile::radius::wire::encode::{PacketWriter, Signing};
use lastmile::radius::wire::integrity::{IntegrityError, SharedKey, Signature};
use lastmile::radius::wire::packet::{Authenticator, Code, Packet, ReplyTo};
use lastmile::secret::Secret;

use crate::notation::{self, Context};

/// One case of a vector file.
#[derive(Default)]
struct Case {
    title: String,
    secret: String,
    answers: bool,
    packet: Vec<u8>,
    reads: Option<(String, Vec<String>)>,
    verifies: Option<String>,
    discard: Option<String>,
}

#[test]
fn every_vector_reads_and_verifies_and_is_written_back() {
    let mut cases = 0;
    for file in files() {
        let mut request = Authenticator::default();
        for case in parse(&std::fs::read_to_string(&file).unwrap()) {
            let at = format!("{}: {}", file.file_name().unwrap().to_string_lossy(), case.title);
            run(&case, &mut request, &at);
            cases += 1;
        }
    }
    assert!(cases >= 80, "only {cases} cases were found");
}

/// Every packet of every file, to start mutations from.
pub(crate) fn packets() -> Vec<Vec<u8>> {
    let texts = files().into_iter().map(|file| std::fs::read_to_string(file).unwrap());
    texts.flat_map(|text| parse(&text)).map(|case| case.packet).collect()
}

fn run(case: &Case, request: &mut Authenticator, at: &str) {
    let packet = match (Packet::parse(&case.packet), &case.discard) {
        (Err(error), Some(reason)) => return assert_eq!(error.reason(), reason, "{at}"),
        (Ok(packet), None) => packet,
        (outcome, expected) => panic!("{at}: {outcome:?}, expected discard {expected:?}"),
    };
    if !case.answers {
        *request = *packet.authenticator();
    }
    let key = SharedKey::new(Secret::new(case.secret.as_str()));
    let context = Context { key: &key, authenticator: *request };
    if let Some((head, lines)) = &case.reads {
        let code = packet.code().name().map_or(packet.code().0.to_string(), str::to_owned);
        assert_eq!(format!("{code} {}", packet.identifier()), *head, "{at}");
        read(&packet, lines, &context, at);
        write(&packet, lines, &context, at);
    }
    if let Some(expected) = &case.verifies {
        let outcome =
            if case.answers { key.verify_response(&packet, request) } else { key.verify_request(&packet) };
        assert_eq!(signature(outcome), expected, "{at}");
        if let (Ok(_), Some((_, lines))) = (outcome, &case.reads) {
            send(&packet, lines, &context, case, at);
        }
    }
}

fn signature(outcome: Result<Signature, IntegrityError>) -> &'static str {
    match outcome {
        Ok(Signature::MessageAuthenticator) => "message-authenticator",
        Ok(Signature::Authenticator) => "authenticator",
        Ok(Signature::None) => "none",
        Err(error) => error.reason(),
    }
}

fn read(packet: &Packet<'_>, lines: &[String], context: &Context<'_>, at: &str) {
    assert_eq!(packet.attributes().count(), lines.len(), "{at}: attributes");
    for (attribute, line) in packet.attributes().zip(lines) {
        assert_eq!(notation::read(attribute, line, context), line.trim_start_matches('~'), "{at}");
    }
}

/// Each attribute alone, since a signed packet's order is not always ours.
fn write(packet: &Packet<'_>, lines: &[String], context: &Context<'_>, at: &str) {
    for (attribute, line) in packet.attributes().zip(lines).filter(|(_, line)| !line.starts_with('~')) {
        let mut buffer = [0; 4096];
        let mut writer =
            PacketWriter::access_request(&mut buffer, 0, context.authenticator, Signing::Omitted).unwrap();
        notation::write(&mut writer, line, context).unwrap();
        let written = writer.finish(context.key).unwrap();
        assert_eq!(written[22..], *attribute.value, "{at}: {line}");
        assert_eq!(written[20], attribute.kind, "{at}: {line}");
    }
}

/// The packet as a whole, if it is of a form that we send: Message-Authenticator first or not at all.
fn send(packet: &Packet<'_>, lines: &[String], context: &Context<'_>, case: &Case, at: &str) {
    let signing = match packet.attributes().position(|found| found.kind == kind::MESSAGE_AUTHENTICATOR) {
        None => Signing::Omitted,
        Some(0) => Signing::First,
        Some(_) => return,
    };
    let mut buffer = [0; 4096];
    let (code, identifier) = (packet.code(), packet.identifier());
    let to = ReplyTo { identifier, authenticator: context.authenticator };
    let writer = match code {
        _ if case.answers => PacketWriter::reply(&mut buffer, code, &to, signing),
        Code::ACCESS_REQUEST => {
            PacketWriter::access_request(&mut buffer, identifier, context.authenticator, signing)
        }
        Code::STATUS_SERVER => PacketWriter::status_server(&mut buffer, identifier, context.authenticator),
        code => PacketWriter::request(&mut buffer, code, identifier, signing),
    };
    let mut writer = writer.unwrap();
    for (attribute, line) in packet.attributes().zip(lines) {
        if attribute.kind == kind::MESSAGE_AUTHENTICATOR {
            continue;
        }
        if line.starts_with('~') {
            writer.raw(attribute.kind, attribute.value).unwrap();
        } else {
            notation::write(&mut writer, line, context).unwrap();
        }
    }
    assert_eq!(writer.finish(context.key).unwrap(), packet.bytes(), "{at}: as sent");
}

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/radius");
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|ext| ext == "txt")).collect();
    files.sort();
    files
}

fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        if let Some(title) = line.strip_prefix("case ") {
            cases.push(Case { title: title.to_owned(), ..Case::default() });
            continue;
        }
        let case = cases.last_mut().expect("a file begins with a case");
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, &mut case.reads) {
            ("", Some((_, lines))) => lines.push(line.trim().to_owned()),
            ("", None) => case.packet.extend(notation::bytes(&line.replace(' ', ""))),
            ("packet", _) => {}
            ("secret", _) => rest.clone_into(&mut case.secret),
            ("answers", _) => case.answers = true,
            ("reads", _) => case.reads = Some((rest.to_owned(), Vec::new())),
            ("verifies", _) => case.verifies = Some(rest.to_owned()),
            ("discard", _) => case.discard = Some(rest.to_owned()),
            _ => panic!("{}: what is `{line}`?", case.title),
        }
    }
    cases
}

//! `{ref}` in a path: an id, `ext:<external id>` or `ext:<source>~<external id>`, percent-encoded.
//!
//! It is taken from the path as sent: the first literal `~` divides source and id, so one inside either is encoded.

use super::problem::Failure;
use crate::app::Refusal;
use crate::model::{Kind, Ref};

/// Reads the object that a path segment names.
pub(super) fn parse(kind: Kind, raw: &str) -> Result<Ref, Failure> {
    let unknown = || missing(raw);
    // Some clients encode the colon of the prefix as well; nothing else can be meant by it.
    let external = raw
        .strip_prefix("ext:")
        .or_else(|| raw.strip_prefix("ext%3A"))
        .or_else(|| raw.strip_prefix("ext%3a"));
    if let Some(rest) = external {
        let (source, id) = match rest.split_once('~') {
            Some((source, id)) => (Some(decode(source).ok_or_else(unknown)?), id),
            None => (None, rest),
        };
        let id = decode(id).ok_or_else(unknown)?;
        if id.is_empty() || source.as_ref().is_some_and(String::is_empty) {
            return Err(unknown());
        }
        return Ok(Ref::External { source, id });
    }
    match Kind::parse_id(raw) {
        Some((of, uid)) if of == kind => Ok(Ref::Id(of, uid)),
        _ => Err(unknown()),
    }
}

/// The failure for a path that names nothing.
pub(super) fn missing(raw: &str) -> Failure {
    let shown: String = raw.chars().take(64).collect();
    Refusal::NotFound {
        what: format!("object `{shown}`: write an id, ext:<external id> or ext:<source>~<external id>"),
    }
    .into()
}

/// Percent-decodes (RFC 3986 §2.1); `None` for broken escapes and for what is not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| (byte as char).to_digit(16);
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            bytes.push((high * 16 + low) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Percent-encodes everything but the unreserved characters that divide nothing here.
pub fn encode(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            encoded.push(byte as char);
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_from_the_raw_path() {
        let external = |source: Option<&str>, id: &str| Ref::External {
            source: source.map(str::to_owned),
            id: id.to_owned(),
        };
        for (raw, expected) in [
            ("ext:UM%2F2024%2F00123-1", external(None, "UM/2024/00123-1")),
            ("ext:crm~a%7Eb", external(Some("crm"), "a~b")),
            ("ext%3Ajan", external(None, "jan")),
            ("ext:a%3Areset", external(None, "a:reset")),
            ("ext:zażółć", external(None, "zażółć")),
        ] {
            assert_eq!(parse(Kind::Service, raw).unwrap(), expected, "{raw}");
        }
        for raw in ["", "ext:", "ext:~x", "ext:s~", "ext:%", "ext:%f", "ext:%ff", "jan", "svc_short"] {
            assert!(parse(Kind::Service, raw).is_err(), "{raw}");
        }
        assert!(parse(Kind::Service, "pln_01jd3v8m4q7z00000000000000").is_err());
    }

    #[test]
    fn what_is_encoded_reads_back() {
        let text = "UM/2024:1~ż %";
        assert_eq!(decode(&encode(text)).as_deref(), Some(text));
    }
}

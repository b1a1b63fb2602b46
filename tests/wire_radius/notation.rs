//! Attribute lines: `[~]<name or number> <type> <value>`, in both directions.
//!
//! `~` marks a form that is read but would be written otherwise. The type `not <type>` says that the value
//! cannot be read as that type. Texts are quoted, bytes are hexadecimal or `-` when there are none.

use std::fmt::Write as _;

use lastmile::radius::wire::attribute::{Attribute, kind};
use lastmile::radius::wire::encode::{EncodeError, PacketWriter};
use lastmile::radius::wire::hiding::{
    ChapPassword, reveal_salted, reveal_tunnel_password, reveal_user_password,
};
use lastmile::radius::wire::integrity::SharedKey;
use lastmile::radius::wire::packet::Authenticator;
use lastmile::secret::Secret;
use lastmile::time::Stamp;

/// What hidden values need.
pub(crate) struct Context<'a> {
    pub(crate) key: &'a SharedKey,
    pub(crate) authenticator: Authenticator,
}

/// The attribute in the notation of `line`, whose type and passwords it follows.
pub(crate) fn read(attribute: Attribute<'_>, line: &str, context: &Context<'_>) -> String {
    let name = kind::name(attribute.kind).map_or(attribute.kind.to_string(), str::to_owned);
    let mut words = line.splitn(3, ' ').skip(1);
    let (form, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if form == "not" {
        let outcome = value(attribute, rest, rest, context);
        return outcome.map_or(format!("{name} not {rest}"), |found| format!("{name} {rest} {found}"));
    }
    let found = value(attribute, form, rest, context).unwrap_or_else(|| "is malformed".to_owned());
    format!("{name} {form} {found}")
}

/// Appends the attribute of `line`.
pub(crate) fn write(
    writer: &mut PacketWriter<'_>,
    line: &str,
    context: &Context<'_>,
) -> Result<(), EncodeError> {
    let mut words = line.splitn(3, ' ');
    let mut next = || words.next().unwrap();
    let (name, form, rest) = (next(), next(), next());
    let kind = kind::by_name(name).unwrap_or_else(|| name.parse().unwrap());
    match form {
        "text" => writer.text(kind, &unquote(rest)),
        "bytes" => writer.raw(kind, &bytes(rest)),
        "u32" => writer.u32(kind, rest.parse().unwrap()),
        "date" => writer.date(kind, Stamp::from_secs(rest.parse().unwrap())),
        "ipv4" => writer.ipv4(kind, rest.parse().unwrap()),
        "ipv6" => writer.ipv6(kind, rest.parse().unwrap()),
        "ifid" => writer.interface_id(kind, bytes(rest).try_into().unwrap()),
        "ipv6prefix" => writer.ipv6_prefix(kind, rest.parse().unwrap()),
        _ => write_compound(writer, kind, (form, rest), context),
    }
}

fn write_compound(
    writer: &mut PacketWriter<'_>,
    kind: u8,
    (form, rest): (&str, &str),
    context: &Context<'_>,
) -> Result<(), EncodeError> {
    let (first, tail) = rest.split_once(' ').unwrap_or((rest, ""));
    let (second, last) = tail.split_once(' ').unwrap_or((tail, ""));
    match form {
        "password" => writer.user_password(context.key, &Secret::new(unquote(rest))),
        "chap" => {
            let password = Secret::new(unquote(tail));
            writer.chap_password(&ChapPassword::answer(
                first.parse().unwrap(),
                &password,
                challenge(first, context),
            ))
        }
        "tagged-text" => writer.tagged_text(kind, first.parse().unwrap(), &unquote(tail)),
        "tagged-u32" => writer.tagged_u32(kind, first.parse().unwrap(), tail.parse().unwrap()),
        "tunnel-password" => {
            let salt = u16::from_str_radix(second, 16).unwrap();
            let password = Secret::new(unquote(last));
            writer.tunnel_password(context.key, first.parse().unwrap(), salt, &password)
        }
        "vendor" => {
            let (inner, value) = tail.split_once('=').unwrap();
            writer.vendor(first.parse().unwrap(), inner.parse().unwrap(), &either(value))
        }
        "vendor-raw" => writer.vendor_raw(first.parse().unwrap(), &bytes(tail)),
        "vendor-salted" => {
            let (salt, clear) = last.split_once(' ').unwrap();
            let inner = (first.parse().unwrap(), second.parse().unwrap());
            let salt = u16::from_str_radix(salt, 16).unwrap();
            writer.vendor_salted(context.key, inner, salt, &Secret::new(bytes(clear)))
        }
        "extended" if kind >= kind::EXTENDED_ATTRIBUTE_5 => {
            writer.long_extended(kind, first.parse().unwrap(), &either(tail))
        }
        "extended" => writer.extended(kind, first.parse().unwrap(), &either(tail)),
        "evs" => writer.extended_vendor(kind, first.parse().unwrap(), second.parse().unwrap(), &either(last)),
        _ => panic!("no such type: {form}"),
    }
}

fn value(attribute: Attribute<'_>, form: &str, expected: &str, context: &Context<'_>) -> Option<String> {
    match form {
        "text" => attribute.text().ok().map(|text| format!("{text:?}")),
        "bytes" => Some(hex(attribute.value)),
        "u32" => attribute.u32().ok().map(|number| number.to_string()),
        "u64" => attribute.u64().ok().map(|number| number.to_string()),
        "date" => attribute.date().ok().map(|at| at.secs().to_string()),
        "ipv4" => attribute.ipv4().ok().map(|address| address.to_string()),
        "ipv6" => attribute.ipv6().ok().map(|address| address.to_string()),
        "ifid" => attribute.interface_id().ok().map(|value| hex(&value)),
        "ipv4prefix" => attribute.ipv4_prefix().ok().map(|prefix| prefix.to_string()),
        "ipv6prefix" => attribute.ipv6_prefix().ok().map(|prefix| prefix.to_string()),
        "tagged-u32" => attribute.tagged_u32().ok().map(|found| format!("{} {}", found.tag, found.value)),
        "tagged-text" => {
            let found = attribute.tagged_string();
            Some(format!("{} {:?}", found.tag, String::from_utf8_lossy(found.value)))
        }
        "vendor" | "vendor-raw" | "vendor-salted" => vendor(attribute, form, context),
        "extended" => {
            let found = attribute.extended()?;
            let more = if found.more { "+" } else { "" };
            Some(format!("{}{more} {}", found.extended_kind, quote_or_hex(found.value)))
        }
        "evs" => {
            let found = attribute.extended()?.vendor_specific()?;
            let inner = found.attribute;
            Some(format!("{} {} {}", found.vendor, inner.kind, quote_or_hex(inner.value)))
        }
        _ => hidden(attribute, form, expected, context),
    }
}

fn vendor(attribute: Attribute<'_>, form: &str, context: &Context<'_>) -> Option<String> {
    let found = attribute.vendor_specific()?;
    if form == "vendor-raw" {
        assert!(found.attributes().is_none_or(|inner| inner.count() == 0), "it has the common form");
        return Some(format!("{} {}", found.vendor, hex(found.data)));
    }
    let mut text = found.vendor.to_string();
    for inner in found.attributes()? {
        if form == "vendor" {
            write!(text, " {}={}", inner.kind, quote_or_hex(inner.value)).unwrap();
            continue;
        }
        let mut buffer = [0; _];
        let clear = reveal_salted(context.key, &context.authenticator, inner.value, &mut buffer).ok()?;
        write!(text, " {} {} {}", inner.kind, hex(&inner.value[..2]), hex(clear)).unwrap();
    }
    Some(text)
}

fn hidden(attribute: Attribute<'_>, form: &str, expected: &str, context: &Context<'_>) -> Option<String> {
    let Context { key, authenticator } = context;
    match form {
        "password" => {
            let mut buffer = [0; _];
            let clear = reveal_user_password(key, authenticator, attribute.value, &mut buffer).ok()?;
            Some(format!("{:?}", str::from_utf8(clear).ok()?))
        }
        "tunnel-password" => {
            let mut buffer = [0; _];
            let found = reveal_tunnel_password(key, authenticator, attribute.value, &mut buffer).ok()?;
            let clear = str::from_utf8(found.password).ok()?;
            Some(format!("{} {} {clear:?}", found.tag, hex(&attribute.value[1..3])))
        }
        "chap" => {
            let chap = ChapPassword::parse(attribute.value)?;
            let identifier = chap.identifier.to_string();
            let (_, password) = expected.split_once(' ')?;
            let password_matches =
                chap.matches(&Secret::new(unquote(password)), challenge(&identifier, context));
            password_matches.then(|| format!("{identifier} {password}"))
        }
        _ => panic!("no such type: {form}"),
    }
}

/// The challenge of the vector with CHAP identifier 5 is in its CHAP-Challenge; all others use the
/// authenticator.
fn challenge<'a>(identifier: &str, context: &'a Context<'_>) -> &'a [u8] {
    if identifier == "5" { b"challenge of another length" } else { &context.authenticator }
}

pub(crate) fn bytes(text: &str) -> Vec<u8> {
    if text == "-" {
        return Vec::new();
    }
    assert!(text.len().is_multiple_of(2), "half a byte in {text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".to_owned();
    }
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn either(text: &str) -> Vec<u8> {
    match text.strip_prefix("0x") {
        Some(digits) => bytes(digits),
        None if text == "-" => Vec::new(),
        None => unquote(text).into_bytes(),
    }
}

fn quote_or_hex(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        _ if bytes.is_empty() => "-".to_owned(),
        Ok(text) if !text.contains(char::is_control) => format!("{text:?}"),
        _ => format!("0x{}", hex(bytes)),
    }
}

fn unquote(text: &str) -> String {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or_else(|| panic!("not quoted: {text}")).replace("\\0", "\0")
}

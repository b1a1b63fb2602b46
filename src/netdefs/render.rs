//! RADIUS values as people read them: names of values, addresses, nested attributes, never a secret.
//!
//! Total on hostile bytes: a value that does not fit its type is shown as `0x…`, the rest of a broken nesting is only
//! counted (it may hold half a secret), and depth and length are bounded by `limits`. Used for decisions, transcripts and `why`, not on the
//! packet path.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::dictionary::{Attribute, Dictionary, Number, Type};
use crate::limits;
use crate::model::{Mac, Prefix};
use crate::time::Stamp;

/// What is shown in place of a secret.
const SECRET: &str = "<secret>";

/// After these words inside a vendor's text comes a secret.
const SECRET_WORDS: [&[u8]; 3] = [b"password=", b"secret=", b"key="];

impl Dictionary {
    /// The value of the attribute (`vendor` 0 for the standard space) as text.
    ///
    /// Names of values and addresses stand as they are, text in quotes, bytes as `0x…`, nested attributes in braces.
    pub fn render(&self, vendor: u32, kind: u32, value: &[u8]) -> String {
        self.value(Number::new(vendor, kind), value, 0)
    }

    /// The attribute as `Name = value`; one that is in no dictionary as `Attribute-<number> = 0x…`.
    pub fn describe(&self, vendor: u32, kind: u32, value: &[u8]) -> String {
        self.pair(Number::new(vendor, kind), value, 0)
    }

    fn pair(&self, number: Number, value: &[u8], depth: usize) -> String {
        let rendered = self.value(number, value, depth);
        match self.numbered(number) {
            Some(attribute) => format!("{} = {rendered}", attribute.name),
            None => format!("Attribute-{number} = {rendered}"),
        }
    }

    fn value(&self, number: Number, value: &[u8], depth: usize) -> String {
        let Some(attribute) = self.numbered(number) else {
            return hex(value);
        };
        if attribute.is_secret() {
            return SECRET.to_owned();
        }
        if depth > limits::TLV_DEPTH_MAX {
            return hex(value);
        }
        match attribute.data {
            Type::Tlv => self.members(number, value, depth),
            Type::Extended => match value {
                [kind, rest @ ..] => self.extended(number, *kind, rest, depth),
                [] => hex(value),
            },
            // The flags octet says only whether the value goes on in the next attribute.
            Type::LongExtended => match value {
                [kind, _flags, rest @ ..] => self.extended(number, *kind, rest, depth),
                _ => hex(value),
            },
            Type::Vendor => self.vendor_specific(value, depth),
            _ if attribute.flags.tag => self.tagged(attribute, value),
            _ => self.plain(attribute, value),
        }
    }

    /// A tag octet (RFC 2868 §3): always there before a number, before a text only when it is 0x1f or less.
    fn tagged(&self, attribute: &Attribute, value: &[u8]) -> String {
        match (attribute.data, value) {
            (Type::Integer, [tag, a, b, c]) => {
                let number = u32::from_be_bytes([0, *a, *b, *c]);
                format!("{}{}", tag_text(*tag), self.number(attribute, u64::from(number)))
            }
            (Type::Integer, _) => hex(value),
            (_, [tag @ 0..=0x1f, rest @ ..]) => format!("{}{}", tag_text(*tag), self.plain(attribute, rest)),
            _ => self.plain(attribute, value),
        }
    }

    fn plain(&self, attribute: &Attribute, value: &[u8]) -> String {
        let known = match attribute.data {
            Type::Text => Some(text(value, attribute.number.vendor != 0)),
            Type::Ipv4Address => fixed::<4>(value).map(|bytes| Ipv4Addr::from(bytes).to_string()),
            Type::Ipv6Address => fixed::<16>(value).map(|bytes| Ipv6Addr::from(bytes).to_string()),
            Type::Ipv4Prefix => prefix::<4>(value),
            Type::Ipv6Prefix => prefix::<16>(value),
            Type::InterfaceId => interface_id(value),
            Type::Byte => fixed(value).map(|bytes| self.number(attribute, u8::from_be_bytes(bytes).into())),
            Type::Short => fixed(value).map(|bytes| self.number(attribute, u16::from_be_bytes(bytes).into())),
            Type::Integer => {
                fixed(value).map(|bytes| self.number(attribute, u32::from_be_bytes(bytes).into()))
            }
            Type::Integer64 => fixed(value).map(|bytes| self.number(attribute, u64::from_be_bytes(bytes))),
            Type::Signed => fixed(value).map(|bytes| i32::from_be_bytes(bytes).to_string()),
            Type::Date => {
                fixed(value).map(|bytes| Stamp::from_secs(u32::from_be_bytes(bytes).into()).to_string())
            }
            Type::Ether => fixed(value).map(|bytes| Mac(bytes).to_string()),
            Type::Octets | Type::Tlv | Type::Extended | Type::LongExtended | Type::Vendor => None,
        };
        known.unwrap_or_else(|| hex(value))
    }

    fn number(&self, attribute: &Attribute, value: u64) -> String {
        self.value_name(attribute.number, value).map_or_else(|| value.to_string(), str::to_owned)
    }

    /// Members of type, length, value (RFC 6929 §2.3).
    fn members(&self, tlv: Number, mut bytes: &[u8], depth: usize) -> String {
        let mut shown = Vec::new();
        while let [kind, length, ..] = bytes {
            let Some(((number, value), rest)) = tlv
                .member(*kind)
                .zip(bytes.get(2..usize::from(*length)))
                .zip(bytes.get(usize::from(*length)..))
            else {
                break;
            };
            shown.push(self.pair(number, value, depth + 1));
            bytes = rest;
        }
        braces(shown, bytes)
    }

    /// What follows the extended type (RFC 6929 §2.1); type 26 holds a vendor's own (RFC 6929 §2.4).
    fn extended(&self, number: Number, kind: u8, value: &[u8], depth: usize) -> String {
        if kind == 26
            && let [0, a, b, c, own, rest @ ..] = value
        {
            let vendor = u32::from_be_bytes([0, *a, *b, *c]);
            return format!("{{ {number}.26.{vendor}.{own} = {} }}", hex(rest));
        }
        match number.member(kind) {
            Some(member) => format!("{{ {} }}", self.pair(member, value, depth + 1)),
            None => hex(value),
        }
    }

    /// A vendor's attributes (RFC 2865 §5.26), by the field widths of its dictionary.
    fn vendor_specific(&self, value: &[u8], depth: usize) -> String {
        let Some((id, mut bytes)) = value.split_first_chunk::<4>() else {
            return hex(value);
        };
        let id = u32::from_be_bytes(*id);
        let Some(vendor) = self.vendor(id) else {
            return format!("{{ Vendor-{id} = {} }}", hex(bytes));
        };
        let (type_bytes, length_bytes) = (usize::from(vendor.type_bytes), usize::from(vendor.length_bytes));
        let header = type_bytes + length_bytes;
        let mut shown = Vec::new();
        while let Some(kind) = bytes.get(..type_bytes).map(big_endian) {
            let length = match bytes.get(type_bytes..header).map(big_endian) {
                Some(_) if length_bytes == 0 => bytes.len(),
                Some(length) => usize::try_from(length).unwrap_or(usize::MAX),
                None => break,
            };
            // An attribute shorter than its own header would be read for ever.
            let cut = (length >= header).then(|| bytes.split_at_checked(length)).flatten();
            let Some((value, rest)) = cut.and_then(|(own, rest)| Some((own.get(header..)?, rest))) else {
                break;
            };
            let kind = u32::try_from(kind).unwrap_or(u32::MAX);
            shown.push(self.pair(Number::new(id, kind), value, depth + 1));
            bytes = rest;
        }
        braces(shown, bytes)
    }
}

fn braces(mut shown: Vec<String>, rest: &[u8]) -> String {
    if !rest.is_empty() {
        shown.push(format!("<malformed, {} bytes>", rest.len()));
    }
    format!("{{ {} }}", shown.join(", "))
}

/// Tag 0 means untagged (RFC 2868 §3.1).
fn tag_text(tag: u8) -> String {
    match tag {
        0 => String::new(),
        tag => format!(":{tag} "),
    }
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

fn fixed<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    value.try_into().ok()
}

/// Reserved byte, length in bits, and as many bytes as the sender found worth sending; bits beyond the length are
/// ignored, as some NASes leave them set.
fn prefix<const N: usize>(value: &[u8]) -> Option<String> {
    let (length, bytes) = match value {
        [_reserved, length, bytes @ ..] if bytes.len() <= N => (*length, bytes),
        _ => return None,
    };
    let mut address = [0_u8; N];
    address.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let address = match <[u8; 4]>::try_from(&address[..]) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(&address[..]).ok()?),
    };
    let prefix = Prefix::new(address, length)?;
    Some(format!("{}/{}", prefix.address(), prefix.len()))
}

fn interface_id(value: &[u8]) -> Option<String> {
    let bytes = fixed::<8>(value)?;
    let (groups, _) = bytes.as_chunks::<2>();
    let groups: Vec<String> =
        groups.iter().map(|group| format!("{:x}", u16::from_be_bytes(*group))).collect();
    Some(groups.join(":"))
}

/// Text in quotes, or bytes. Vendors carry `…password=` inside text, so what follows such a word is not shown.
fn text(value: &[u8], vendor: bool) -> String {
    let lower = value.to_ascii_lowercase();
    let end = SECRET_WORDS.iter().filter(|_| vendor).filter_map(|word| {
        let at = lower.windows(word.len()).position(|window| window == *word)?;
        Some(at + word.len())
    });
    match end.min().and_then(|end| value.get(..end)) {
        Some(open) => format!("{}{SECRET}", quoted(open).unwrap_or_else(|| hex(open))),
        None => quoted(value).unwrap_or_else(|| hex(value)),
    }
}

/// Text in quotes; `None` when it is not printable.
fn quoted(value: &[u8]) -> Option<String> {
    let shown = value.get(..limits::RENDERED_BYTES_MAX).unwrap_or(value);
    let text = std::str::from_utf8(shown).ok()?;
    if text.chars().any(char::is_control) {
        return None;
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    Some(format!("\"{escaped}\"{}", omitted(value.len())))
}

fn hex(value: &[u8]) -> String {
    let shown = value.get(..limits::RENDERED_BYTES_MAX).unwrap_or(value);
    let mut text = String::with_capacity(2 + 2 * shown.len());
    text.push_str("0x");
    for byte in shown {
        let _ = write!(text, "{byte:02x}");
    }
    text.push_str(&omitted(value.len()));
    text
}

fn omitted(length: usize) -> String {
    match length.saturating_sub(limits::RENDERED_BYTES_MAX) {
        0 => String::new(),
        more => format!("… and {more} bytes"),
    }
}

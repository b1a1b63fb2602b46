//! The shapes of DHCPv4 option values as text: addresses, routes, domain names, identifiers, sub-options.
//!
//! Each function is total: it answers `None` (or what it could not read) for bytes that do not have its shape, and its
//! work is bounded by their number.

use std::net::Ipv4Addr;

use crate::limits;
use crate::model::Mac;
use crate::model::decode::octets_to_text;

/// Bytes as text where they are printable; long ones are cut.
pub(super) fn bytes(value: &[u8]) -> String {
    let shown = value.get(..limits::RENDERED_BYTES_MAX).unwrap_or(value);
    let text = octets_to_text(shown);
    match value.len() - shown.len() {
        0 => text,
        more => format!("{text}… and {more} bytes"),
    }
}

pub(super) fn listed(items: impl Iterator<Item = String>) -> Option<String> {
    let items: Vec<String> = items.collect();
    (!items.is_empty()).then(|| items.join(", "))
}

pub(super) fn addresses(value: &[u8]) -> Option<String> {
    let (addresses, []) = value.as_chunks::<4>() else {
        return None;
    };
    listed(addresses.iter().map(|address| Ipv4Addr::from(*address).to_string()))
}

/// Type 1 and a MAC address, type 255 with IAID and DUID (RFC 4361 §6.1), or anything else as bytes.
pub(super) fn client_id(value: &[u8]) -> Option<String> {
    match value {
        [1, mac @ ..] if mac.len() == 6 => {
            let mac: [u8; 6] = mac.try_into().ok()?;
            Some(format!("ethernet {}", Mac(mac)))
        }
        [255, a, b, c, d, duid @ ..] if !duid.is_empty() => {
            let iaid = u32::from_be_bytes([*a, *b, *c, *d]);
            Some(format!("iaid {iaid} duid {}", hex(duid)))
        }
        [kind, rest @ ..] if !rest.is_empty() => Some(format!("type {kind} {}", bytes(rest))),
        _ => None,
    }
}

/// A DUID is never text, even when its bytes are printable.
fn hex(value: &[u8]) -> String {
    use std::fmt::Write;
    let shown = value.get(..limits::RENDERED_BYTES_MAX).unwrap_or(value);
    shown.iter().fold(String::from("0x"), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Destination length, as many destination bytes as that needs, next hop.
pub(super) fn routes(mut value: &[u8]) -> Option<Vec<String>> {
    let mut routes = Vec::new();
    while let [length @ 0..=32, rest @ ..] = value {
        let bytes = usize::from(length.div_ceil(8));
        let mut destination = [0_u8; 4];
        destination.get_mut(..bytes)?.copy_from_slice(rest.get(..bytes)?);
        let (via, rest) = rest.get(bytes..)?.split_first_chunk::<4>()?;
        routes.push(format!("{}/{length} via {}", Ipv4Addr::from(destination), Ipv4Addr::from(*via)));
        value = rest;
    }
    value.is_empty().then_some(routes)
}

/// Names in DNS wire form; a pointer may only go back (RFC 1035 §4.1.4), so each name ends.
pub(super) fn domains(value: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut at = 0;
    while at < value.len() {
        let (name, next) = domain(value, at)?;
        names.push(name);
        at = next;
    }
    Some(names)
}

fn domain(value: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut at, mut earliest) = (start, start);
    let mut next = None;
    let mut labels: Vec<String> = Vec::new();
    loop {
        match *value.get(at)? {
            0 => return Some((labels.join("."), next.unwrap_or(at + 1))),
            length @ 1..=63 => {
                let end = at + 1 + usize::from(length);
                labels.push(octets_to_text(value.get(at + 1..end)?));
                // RFC 1035 §2.3.4: 255 bytes, so never more than 127 labels.
                if labels.len() > 127 {
                    return None;
                }
                at = end;
            }
            high @ 0xc0.. => {
                let target = usize::from(u16::from_be_bytes([high & 0x3f, *value.get(at + 1)?]));
                if target >= earliest {
                    return None;
                }
                next = next.or(Some(at + 2));
                earliest = target;
                at = target;
            }
            _ => return None,
        }
    }
}

/// Code, length, value; and what could not be read.
pub(super) fn pieces(mut value: &[u8]) -> (Vec<(u8, &[u8])>, &[u8]) {
    let mut pieces = Vec::new();
    loop {
        match value {
            [code, length, rest @ ..] => match rest.split_at_checked(usize::from(*length)) {
                Some((own, rest)) => {
                    pieces.push((*code, own));
                    value = rest;
                }
                None => return (pieces, value),
            },
            _ => return (pieces, value),
        }
    }
}

//! A checked view of one RADIUS datagram: header, length rules, and where each attribute type first occurs.
//!
//! First step of the path: everything after it works on a [`Packet`] and can rely on every attribute lying
//! inside Length. RFC 2865 §3 (header, padding), RFC 2865 §5 (attribute framing), RFC 5997 §4
//! (Status-Server).
//!
//! ```text
//!    0                   1                   2                   3
//!    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!   |     Code      |  Identifier   |            Length             |
//!   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!   |                    Authenticator (16 octets)                  |
//!   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!   |  Type | Length | Value ...                       (RFC 2865 §3)
//! ```
//!
//! Invariants: no copy and no allocation; one pass over the attributes; a lookup by type costs the same in a
//! packet of ten attributes and in a hostile one of two thousand. It does not look into values and does not
//! check integrity.

use std::fmt;

use super::attribute::{Attribute, Attributes, kind};
use super::extended::{VendorAttribute, VendorSpecific};
use crate::limits::{RADIUS_PACKET_BYTES_MAX, RADIUS_PACKET_BYTES_MIN};

/// Bytes of an authenticator field (RFC 2865 §3).
pub const AUTHENTICATOR_BYTES: usize = 16;

/// A Request or Response Authenticator (RFC 2865 §3).
pub type Authenticator = [u8; AUTHENTICATOR_BYTES];

/// A packet code; unknown ones are values too, so that they can be counted and logged.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u8);

macro_rules! codes {
    ($($constant:ident = $number:literal, $name:literal, $source:literal;)+) => {
        impl Code {
            $(
                #[doc = concat!($name, " (", $source, ").")]
                pub const $constant: Self = Self($number);
            )+

            /// The registry's name, or `None` for a code we do not know.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$constant => Some($name),)+
                    _ => None,
                }
            }
        }
    };
}

codes! {
    ACCESS_REQUEST = 1, "Access-Request", "RFC 2865 §4.1";
    ACCESS_ACCEPT = 2, "Access-Accept", "RFC 2865 §4.2";
    ACCESS_REJECT = 3, "Access-Reject", "RFC 2865 §4.3";
    ACCOUNTING_REQUEST = 4, "Accounting-Request", "RFC 2866 §4.1";
    ACCOUNTING_RESPONSE = 5, "Accounting-Response", "RFC 2866 §4.2";
    ACCESS_CHALLENGE = 11, "Access-Challenge", "RFC 2865 §4.4";
    STATUS_SERVER = 12, "Status-Server", "RFC 5997 §3";
    STATUS_CLIENT = 13, "Status-Client", "RFC 2865 §3";
    DISCONNECT_REQUEST = 40, "Disconnect-Request", "RFC 5176 §2.1";
    DISCONNECT_ACK = 41, "Disconnect-ACK", "RFC 5176 §2.1";
    DISCONNECT_NAK = 42, "Disconnect-NAK", "RFC 5176 §2.1";
    COA_REQUEST = 43, "CoA-Request", "RFC 5176 §2.2";
    COA_ACK = 44, "CoA-ACK", "RFC 5176 §2.2";
    COA_NAK = 45, "CoA-NAK", "RFC 5176 §2.2";
    PROTOCOL_ERROR = 52, "Protocol-Error", "RFC 7930 §4";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "code {}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a datagram is not a RADIUS packet. RFC 2865 §3 asks for silence in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Fewer bytes than a header.
    #[error("{received} bytes received, a RADIUS header has 20: not RADIUS, or cut on the way")]
    Runt {
        /// Bytes received.
        received: usize,
    },
    /// Length below the header's own size.
    #[error("the Length field says {length}, less than the header's 20 bytes: the sender is broken")]
    LengthShort {
        /// The Length field.
        length: usize,
    },
    /// Length above the largest packet.
    #[error("the Length field says {length}, more than the 4096 bytes RADIUS allows: the sender is broken")]
    Overlong {
        /// The Length field.
        length: usize,
    },
    /// Fewer bytes than Length announces.
    #[error("{received} bytes received of {length} announced: the datagram was cut, check MTU and fragments")]
    Truncated {
        /// Bytes received.
        received: usize,
        /// The Length field.
        length: usize,
    },
    /// An attribute whose length does not cover its own two-byte header.
    #[error("the attribute at byte {offset} has length {length}, less than its header's 2 bytes")]
    AttributeShort {
        /// Position of the attribute from the start of the packet.
        offset: usize,
        /// Its length field.
        length: usize,
    },
    /// An attribute that runs past the end of the packet.
    #[error("the attribute at byte {offset} runs past the end of the packet")]
    AttributeOverrun {
        /// Position of the attribute from the start of the packet.
        offset: usize,
    },
}

impl WireError {
    /// The discard reason, as counted and shown.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Runt { .. } => "radius-runt",
            Self::LengthShort { .. } => "radius-length-short",
            Self::Overlong { .. } => "radius-overlong",
            Self::Truncated { .. } => "radius-truncated",
            Self::AttributeShort { .. } => "radius-attribute-short",
            Self::AttributeOverrun { .. } => "radius-attribute-overrun",
        }
    }
}

/// What a reply must repeat of its request; small enough to keep while the request waits for the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// Identifier of the request.
    pub identifier: u8,
    /// Request Authenticator.
    pub authenticator: Authenticator,
}

/// A datagram that obeys the framing rules, cut to its Length field.
#[derive(Clone)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    authenticator: &'a Authenticator,
    code: Code,
    identifier: u8,
    first: [u16; 256],
}

impl<'a> Packet<'a> {
    /// Checks a datagram. Octets beyond Length are padding and ignored (RFC 2865 §3).
    pub fn parse(datagram: &'a [u8]) -> Result<Self, WireError> {
        let received = datagram.len();
        let Some((&[code, identifier, high, low], rest)) = datagram.split_first_chunk() else {
            return Err(WireError::Runt { received });
        };
        let Some((authenticator, _)) = rest.split_first_chunk() else {
            return Err(WireError::Runt { received });
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < RADIUS_PACKET_BYTES_MIN {
            return Err(WireError::LengthShort { length });
        }
        if length > RADIUS_PACKET_BYTES_MAX {
            return Err(WireError::Overlong { length });
        }
        let bytes = datagram.get(..length).ok_or(WireError::Truncated { received, length })?;
        let first = index(bytes)?;
        Ok(Self { bytes, authenticator, code: Code(code), identifier, first })
    }

    /// The packet code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The identifier that pairs requests and replies (RFC 2865 §3).
    pub const fn identifier(&self) -> u8 {
        self.identifier
    }

    /// The authenticator field as received.
    pub const fn authenticator(&self) -> &'a Authenticator {
        self.authenticator
    }

    /// What a reply to this packet repeats.
    pub const fn reply_to(&self) -> ReplyTo {
        ReplyTo { identifier: self.identifier, authenticator: *self.authenticator }
    }

    /// The packet without padding: exactly Length bytes.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// All attributes, in wire order.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.bytes.get(RADIUS_PACKET_BYTES_MIN..).unwrap_or_default())
    }

    /// The first attribute of a type.
    pub fn find(&self, kind: u8) -> Option<Attribute<'a>> {
        Attributes::new(self.bytes.get(self.position(kind)?..)?).next()
    }

    /// Whether an attribute of this type is present.
    pub fn has(&self, kind: u8) -> bool {
        self.position(kind).is_some()
    }

    /// Every attribute of a type, in wire order.
    pub fn all(&self, kind: u8) -> impl Iterator<Item = Attribute<'a>> + Clone + use<'a> {
        let from = self.position(kind).and_then(|at| self.bytes.get(at..)).unwrap_or_default();
        Attributes::new(from).filter(move |attribute| attribute.kind == kind)
    }

    /// The values of all attributes of a type, to be read as one value: EAP-Message (RFC 3579 §3.1) and
    /// NAS-Filter-Rule (RFC 4849 §2).
    pub fn concat(&self, kind: u8) -> Concat<impl Iterator<Item = &'a [u8]> + Clone + use<'a>> {
        Concat { parts: self.all(kind).map(|attribute| attribute.value) }
    }

    /// Every Vendor-Specific attribute (RFC 2865 §5.26), payload unopened.
    pub fn vendor_specific(&self) -> impl Iterator<Item = VendorSpecific<'a>> + Clone + use<'a> {
        self.all(kind::VENDOR_SPECIFIC).filter_map(|attribute| attribute.vendor_specific())
    }

    /// Every vendor attribute in the common one-byte type, one-byte length form, also where a sender packed
    /// several into one Vendor-Specific. Payloads in another form yield nothing here and stay available raw.
    pub fn vendor_attributes(&self) -> impl Iterator<Item = VendorAttribute<'a>> + Clone + use<'a> {
        self.vendor_specific().flat_map(|specific| {
            let inner = specific.attributes().unwrap_or_default();
            inner.map(move |attribute| VendorAttribute { vendor: specific.vendor, attribute })
        })
    }

    /// The first vendor attribute of that vendor and type.
    pub fn find_vendor(&self, vendor: u32, kind: u8) -> Option<Attribute<'a>> {
        self.vendor_attributes()
            .find(|found| found.vendor == vendor && found.attribute.kind == kind)
            .map(|found| found.attribute)
    }

    /// Where the first attribute of a type starts, from the start of the packet.
    pub(super) fn position(&self, kind: u8) -> Option<usize> {
        let at = *self.first.get(usize::from(kind))?;
        (at != 0).then_some(usize::from(at))
    }
}

impl fmt::Debug for Packet<'_> {
    /// The header only: attribute values may be passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} id {}, {} bytes", self.code, self.identifier, self.bytes.len())
    }
}

/// Values to be read as one, in pieces as they lie in the packet.
#[derive(Clone, Debug)]
pub struct Concat<I> {
    parts: I,
}

impl<'a, I: Iterator<Item = &'a [u8]> + Clone> Concat<I> {
    /// The pieces, in wire order.
    pub fn parts(&self) -> I {
        self.parts.clone()
    }

    /// Bytes of the whole value.
    pub fn len(&self) -> usize {
        self.parts().map(<[u8]>::len).sum()
    }

    /// Whether the whole value has no bytes, or no attribute carries it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the whole value to the front of `buffer`; `None` when it does not fit.
    pub fn copy_to<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let mut filled = 0_usize;
        for part in self.parts() {
            let end = filled.checked_add(part.len())?;
            buffer.get_mut(filled..end)?.copy_from_slice(part);
            filled = end;
        }
        buffer.get(..filled)
    }
}

/// Checks the framing of every attribute and notes where each type first starts; 0 means absent.
fn index(bytes: &[u8]) -> Result<[u16; 256], WireError> {
    let mut first = [0_u16; 256];
    let mut at = RADIUS_PACKET_BYTES_MIN;
    let mut rest = bytes.get(at..).unwrap_or_default();
    while let [kind, remainder @ ..] = rest {
        let Some(length) = remainder.first().map(|length| usize::from(*length)) else {
            return Err(WireError::AttributeOverrun { offset: at });
        };
        if length < 2 {
            return Err(WireError::AttributeShort { offset: at, length });
        }
        let Some(after) = rest.get(length..) else {
            return Err(WireError::AttributeOverrun { offset: at });
        };
        if let Some(slot) = first.get_mut(usize::from(*kind))
            && *slot == 0
        {
            *slot = at as u16;
        }
        at = at.saturating_add(length);
        rest = after;
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet_of(attributes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![1, 7, 0, (20 + attributes.len()) as u8];
        bytes.extend([0xAA; 16]);
        bytes.extend(attributes);
        bytes
    }

    #[test]
    fn octets_beyond_the_length_field_are_ignored() {
        let mut bytes = packet_of(&[1, 5, b'b', b'o', b'b']);
        bytes.extend([26, 0, 0]);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.bytes().len(), 25);
        assert_eq!(packet.attributes().count(), 1);
    }

    #[test]
    fn each_broken_frame_has_its_own_reason() {
        let reason = |bytes: &[u8]| Packet::parse(bytes).map_err(|error| error.reason()).unwrap_err();
        assert_eq!(reason(&[]), "radius-runt");
        assert_eq!(reason(&packet_of(&[])[..19]), "radius-runt");
        let with_length = |length: u16| {
            let mut bytes = packet_of(&[]);
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes
        };
        assert_eq!(reason(&with_length(19)), "radius-length-short");
        assert_eq!(reason(&with_length(21)), "radius-truncated");
        assert_eq!(reason(&with_length(4097)), "radius-overlong");
        assert_eq!(reason(&packet_of(&[1])), "radius-attribute-overrun");
        assert_eq!(reason(&packet_of(&[1, 1, 0])), "radius-attribute-short");
        assert_eq!(reason(&packet_of(&[1, 4, 0])), "radius-attribute-overrun");
    }

    #[test]
    fn find_returns_the_first_of_a_type_and_all_returns_every_one_in_order() {
        let bytes = packet_of(&[33, 3, 1, 1, 3, b'x', 33, 3, 2, 33, 2]);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.find(33).map(|found| found.value), Some(&[1][..]));
        let all: Vec<&[u8]> = packet.all(33).map(|found| found.value).collect();
        assert_eq!(all, [&[1][..], &[2], &[]]);
        assert_eq!(packet.find(2), None);
        assert_eq!(packet.all(2).count(), 0);
    }

    #[test]
    fn a_split_value_reads_as_one() {
        let bytes = packet_of(&[79, 4, 1, 2, 1, 3, b'x', 79, 3, 3]);
        let packet = Packet::parse(&bytes).unwrap();
        let whole = packet.concat(kind::EAP_MESSAGE);
        assert_eq!(whole.len(), 3);
        assert_eq!(whole.copy_to(&mut [0; 8]), Some(&[1, 2, 3][..]));
        assert_eq!(whole.copy_to(&mut [0; 2]), None);
        assert!(packet.concat(kind::NAS_FILTER_RULE).is_empty());
    }

    #[test]
    fn an_unknown_code_is_a_value() {
        let mut bytes = packet_of(&[]);
        bytes[0] = 200;
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.code(), Code(200));
        assert_eq!(packet.code().to_string(), "code 200");
        assert_eq!(Code::COA_NAK.to_string(), "CoA-NAK");
    }
}

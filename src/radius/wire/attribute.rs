//! One attribute and its typed value.
//!
//! Used by everything that reads a packet after [`packet`](super::packet) checked it. RFC 2865 §5 (framing,
//! basic types), RFC 2868 §3 (tags), RFC 3162 §2 (IPv6), RFC 8044 §3 (data types).
//!
//! Invariants: readers borrow, never allocate, and a value of the wrong size is a named error. Text stays
//! bytes until somebody needs characters: logins are not always UTF-8. It does not know which attribute has
//! which type; the caller asks for the type it expects.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{Ipv4Network, Ipv6Network};

use super::extended::{Extended, VendorSpecific};
pub use super::kind;
use crate::time::Stamp;

/// Largest tag (RFC 2868 §3): a first octet above it belongs to the value.
pub const TAG_MAX: u8 = 0x1f;

/// One attribute: a type number and the value bytes.
///
/// ```text
///    0                   1                   2
///    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-
///   |     Type      |    Length     |  Value ...       (RFC 2865 §5)
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The type number; see [`kind`].
    pub kind: u8,
    /// The value, 0 to 253 bytes in a packet.
    pub value: &'a [u8],
}

/// Why a value cannot be read as the type asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The value has the wrong number of bytes.
    #[error("attribute {kind} has a value of {found} bytes where {expected} are needed")]
    Length {
        /// Attribute type.
        kind: u8,
        /// Bytes that the type needs, in words.
        expected: &'static str,
        /// Bytes found.
        found: usize,
    },
    /// A prefix length outside the family's range.
    #[error("attribute {kind} has prefix length {found}, the family allows {allowed}")]
    PrefixLength {
        /// Attribute type.
        kind: u8,
        /// Longest prefix of the family.
        allowed: u8,
        /// Prefix length found.
        found: u8,
    },
    /// The value is not UTF-8.
    #[error("attribute {kind} is not UTF-8 text")]
    NotText {
        /// Attribute type.
        kind: u8,
    },
}

/// A value with its RFC 2868 tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tagged<T> {
    /// Tunnel that the attribute belongs to, 1 to 31; 0 when the sender used no tag.
    pub tag: u8,
    /// The value without the tag octet.
    pub value: T,
}

impl<'a> Attribute<'a> {
    /// The value as UTF-8 text; [`Attribute::value`] is the lossless form.
    pub fn text(&self) -> Result<&'a str, ValueError> {
        std::str::from_utf8(self.value).map_err(|_| ValueError::NotText { kind: self.kind })
    }

    /// `integer`, four bytes (RFC 8044 §3.1).
    pub fn u32(&self) -> Result<u32, ValueError> {
        self.array("4").map(u32::from_be_bytes)
    }

    /// `integer64`, eight bytes (RFC 8044 §3.12).
    pub fn u64(&self) -> Result<u64, ValueError> {
        self.array("8").map(u64::from_be_bytes)
    }

    /// `time`, seconds since the Unix epoch in four bytes (RFC 8044 §3.3).
    pub fn date(&self) -> Result<Stamp, ValueError> {
        self.u32().map(|secs| Stamp::from_secs(u64::from(secs)))
    }

    /// `ipv4addr`, four bytes (RFC 8044 §3.8).
    pub fn ipv4(&self) -> Result<Ipv4Addr, ValueError> {
        self.array::<4>("4").map(Ipv4Addr::from)
    }

    /// `ipv6addr`, sixteen bytes (RFC 8044 §3.9).
    pub fn ipv6(&self) -> Result<Ipv6Addr, ValueError> {
        self.array::<16>("16").map(Ipv6Addr::from)
    }

    /// `ifid`, eight bytes (RFC 3162 §2.2).
    pub fn interface_id(&self) -> Result<[u8; 8], ValueError> {
        self.array("8")
    }

    /// `ipv6prefix`: a reserved octet, the prefix length, and up to 16 bytes (RFC 3162 §2.3).
    ///
    /// Host bits must be zero but some equipment sends an address: they are masked. Octets that a sender left
    /// out are zero, because the field is "up to 16 octets" and some trim trailing zeros.
    pub fn ipv6_prefix(&self) -> Result<Ipv6Network, ValueError> {
        let [_reserved, length, prefix @ ..] = self.value else {
            return Err(self.length("2 to 18"));
        };
        let mut octets = [0; 16];
        let filled = octets.get_mut(..prefix.len()).ok_or_else(|| self.length("2 to 18"))?;
        filled.copy_from_slice(prefix);
        let out_of_range = ValueError::PrefixLength { kind: self.kind, allowed: 128, found: *length };
        let whole = Ipv6Network::new(Ipv6Addr::from(octets), *length).map_err(|_| out_of_range)?;
        Ipv6Network::new(whole.network(), *length).map_err(|_| out_of_range)
    }

    /// `ipv4prefix`: a reserved octet, six bits of prefix length, and four bytes (RFC 8044 §3.11). Host bits
    /// are masked.
    pub fn ipv4_prefix(&self) -> Result<Ipv4Network, ValueError> {
        let [_reserved, length, a, b, c, d] = *self.array::<6>("6")?.as_slice() else {
            return Err(self.length("6"));
        };
        let length = length & 0x3f;
        let out_of_range = ValueError::PrefixLength { kind: self.kind, allowed: 32, found: length };
        let whole = Ipv4Network::new(Ipv4Addr::new(a, b, c, d), length).map_err(|_| out_of_range)?;
        Ipv4Network::new(whole.network(), length).map_err(|_| out_of_range)
    }

    /// A string attribute that may begin with a tag (RFC 2868 §3.3): a first octet above 0x1f is already
    /// text.
    pub fn tagged_string(&self) -> Tagged<&'a [u8]> {
        match self.value {
            [tag @ 0..=TAG_MAX, value @ ..] => Tagged { tag: *tag, value },
            value => Tagged { tag: 0, value },
        }
    }

    /// An integer attribute with a tag octet and a 24-bit value (RFC 2868 §3.1). A tag out of range is
    /// ignored.
    pub fn tagged_u32(&self) -> Result<Tagged<u32>, ValueError> {
        let [tag, high, middle, low] = self.array("4")?;
        let tag = if tag <= TAG_MAX { tag } else { 0 };
        Ok(Tagged { tag, value: u32::from_be_bytes([0, high, middle, low]) })
    }

    /// Vendor and payload of a Vendor-Specific value (RFC 2865 §5.26); `None` when shorter than a vendor id.
    pub fn vendor_specific(&self) -> Option<VendorSpecific<'a>> {
        VendorSpecific::parse(self.value)
    }

    /// The parts of an extended attribute (RFC 6929 §2); `None` for other types and for values too short.
    pub fn extended(&self) -> Option<Extended<'a>> {
        Extended::parse(*self)
    }

    fn array<const N: usize>(&self, expected: &'static str) -> Result<[u8; N], ValueError> {
        self.value.try_into().map_err(|_| self.length(expected))
    }

    const fn length(&self, expected: &'static str) -> ValueError {
        ValueError::Length { kind: self.kind, expected, found: self.value.len() }
    }
}

impl fmt::Debug for Attribute<'_> {
    /// Type and length only: some vendors send passwords in the clear.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attribute {} of {} bytes", self.kind, self.value.len())
    }
}

/// Attributes one after another, as they lie in a packet or in a vendor payload.
#[derive(Clone, Default)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Walks bytes whose framing was checked; at broken framing the walk ends.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Walks bytes that are attributes to the last byte, or refuses them.
    pub fn checked(bytes: &'a [u8]) -> Option<Self> {
        let mut walk = Self::new(bytes);
        while walk.next().is_some() {}
        walk.rest.is_empty().then(|| Self::new(bytes))
    }
}

impl fmt::Debug for Attributes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let [kind, length, rest @ ..] = self.rest else {
            return None;
        };
        let (value, rest) = rest.split_at_checked(usize::from(length.checked_sub(2)?))?;
        self.rest = rest;
        Some(Attribute { kind: *kind, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &[u8]) -> Attribute<'_> {
        Attribute { kind: 97, value }
    }

    #[test]
    fn an_ipv6_prefix_of_any_length_is_read_and_its_host_bits_are_masked() {
        let read = |bytes: &[u8]| of(bytes).ipv6_prefix().map(|prefix| prefix.to_string());
        assert_eq!(read(&[0, 0]), Ok("::/0".into()));
        assert_eq!(read(&[0, 62, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 7]), Ok("2001:db8:0:4::/62".into()));
        assert_eq!(read(&[0, 64, 0x20, 1, 0x0d, 0xb8]), Ok("2001:db8::/64".into()));
        let mut full = [0xff; 18];
        full[..2].copy_from_slice(&[0, 128]);
        assert_eq!(read(&full), Ok("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128".into()));
    }

    #[test]
    fn an_impossible_prefix_is_an_error() {
        assert!(matches!(of(&[0, 129]).ipv6_prefix(), Err(ValueError::PrefixLength { found: 129, .. })));
        assert!(matches!(of(&[0]).ipv6_prefix(), Err(ValueError::Length { found: 1, .. })));
        assert!(matches!(of(&[0; 19]).ipv6_prefix(), Err(ValueError::Length { found: 19, .. })));
        assert!(matches!(of(&[0, 33, 1, 2, 3, 4]).ipv4_prefix(), Err(ValueError::PrefixLength { .. })));
    }

    #[test]
    fn a_first_octet_above_0x1f_is_text_and_not_a_tag() {
        assert_eq!(of(b"\x01lns").tagged_string(), Tagged { tag: 1, value: &b"lns"[..] });
        assert_eq!(of(b"\x00lns").tagged_string(), Tagged { tag: 0, value: &b"lns"[..] });
        assert_eq!(of(b"\x1flns").tagged_string(), Tagged { tag: 31, value: &b"lns"[..] });
        assert_eq!(of(b" lns").tagged_string(), Tagged { tag: 0, value: &b" lns"[..] });
        assert_eq!(of(b"").tagged_string(), Tagged { tag: 0, value: &b""[..] });
    }

    #[test]
    fn a_tagged_integer_has_24_bits() {
        assert_eq!(of(&[2, 0, 0, 3]).tagged_u32(), Ok(Tagged { tag: 2, value: 3 }));
        assert_eq!(of(&[0xff, 1, 0, 3]).tagged_u32(), Ok(Tagged { tag: 0, value: 0x1_0003 }));
        assert!(of(&[0, 3]).tagged_u32().is_err());
    }

    #[test]
    fn a_value_of_the_wrong_size_is_named_in_the_error() {
        let error = of(&[1, 2, 3]).u32().unwrap_err();
        assert_eq!(error.to_string(), "attribute 97 has a value of 3 bytes where 4 are needed");
        assert!(of(&[0; 5]).ipv4().is_err());
        assert!(of(&[0; 15]).ipv6().is_err());
        assert!(of(&[0; 7]).interface_id().is_err());
        assert!(of(&[0; 4]).u64().is_err());
        assert!(of(&[0xff]).text().is_err());
    }

    #[test]
    fn values_are_not_printed() {
        let attribute = Attribute { kind: 9, value: b"cleartext" };
        assert_eq!(format!("{attribute:?}"), "attribute 9 of 9 bytes");
        let walk = Attributes::new(b"\x09\x05abc\x01\x02");
        assert_eq!(format!("{walk:?}"), "[attribute 9 of 3 bytes, attribute 1 of 0 bytes]");
    }

    #[test]
    fn a_walk_is_checked_to_the_last_byte() {
        assert_eq!(Attributes::checked(&[1, 3, 9, 2, 2]).map(Iterator::count), Some(2));
        assert!(Attributes::checked(&[1, 3, 9, 2]).is_none());
        assert!(Attributes::checked(&[1, 1]).is_none());
        assert!(Attributes::checked(&[1, 4, 0]).is_none());
    }
}

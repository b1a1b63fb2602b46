//! Attributes inside attributes: Vendor-Specific and the RFC 6929 extended space, as raw parts.
//!
//! Reached from [`Attribute`] and [`Packet`](super::packet::Packet). RFC 2865 §5.26 (Vendor-Specific),
//! RFC 6929 §2.1 (extended), RFC 6929 §2.2 (long extended), RFC 6929 §2.4 (extended vendor-specific).
//!
//! Invariants: an unknown or unusual payload is never lost, its bytes stay readable. It does not know
//! vendors: those with wider type or length fields are opened by the dictionary, from
//! [`VendorSpecific::data`].

use std::fmt;

use super::attribute::{Attribute, Attributes, kind};

/// Extended-Type of an extended vendor-specific attribute (RFC 6929 §2.4).
pub const EXTENDED_VENDOR_SPECIFIC: u8 = 26;

/// The More flag of a long extended attribute (RFC 6929 §2.2).
pub const MORE: u8 = 0x80;

/// A Vendor-Specific value.
///
/// ```text
///    0                   1                   2                   3
///    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |   Type = 26   |    Length     |            Vendor-Id
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///        Vendor-Id (cont)           | String ...     (RFC 2865 §5.26)
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VendorSpecific<'a> {
    /// Private enterprise number.
    pub vendor: u32,
    /// Everything after the vendor id.
    pub data: &'a [u8],
}

impl<'a> VendorSpecific<'a> {
    /// Splits a value into vendor and payload.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (vendor, data) = value.split_first_chunk()?;
        Some(Self { vendor: u32::from_be_bytes(*vendor), data })
    }

    /// The vendor attributes, when the payload is in the one-byte type, one-byte length form to its last
    /// byte; `None` for any other form, which must then be taken whole from `data`.
    pub fn attributes(&self) -> Option<Attributes<'a>> {
        Attributes::checked(self.data)
    }
}

impl fmt::Debug for VendorSpecific<'_> {
    /// Vendor and length only: some vendors send passwords in the clear.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vendor {} with {} bytes", self.vendor, self.data.len())
    }
}

/// One attribute in a vendor's space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VendorAttribute<'a> {
    /// Private enterprise number.
    pub vendor: u32,
    /// Type and value within that vendor's space.
    pub attribute: Attribute<'a>,
}

/// An extended (241 to 244) or long extended (245, 246) attribute.
///
/// ```text
///    0                   1                   2                   3
///    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |     Type      |    Length     | Extended-Type |M|  Reserved   |   long form (RFC 6929 §2.2);
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+   the short one has no M octet
///   |  Value ...
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Extended<'a> {
    /// The outer type, 241 to 246.
    pub kind: u8,
    /// The Extended-Type.
    pub extended_kind: u8,
    /// More fragments of this value follow; always false in the short form.
    pub more: bool,
    /// The value, or this fragment of it.
    pub value: &'a [u8],
}

impl<'a> Extended<'a> {
    pub(super) fn parse(attribute: Attribute<'a>) -> Option<Self> {
        match (attribute.kind, attribute.value) {
            (kind @ kind::EXTENDED_ATTRIBUTE_1..=kind::EXTENDED_ATTRIBUTE_4, [extended_kind, value @ ..]) => {
                Some(Self { kind, extended_kind: *extended_kind, more: false, value })
            }
            (
                kind @ kind::EXTENDED_ATTRIBUTE_5..=kind::EXTENDED_ATTRIBUTE_6,
                [extended_kind, flags, value @ ..],
            ) => Some(Self { kind, extended_kind: *extended_kind, more: flags & MORE != 0, value }),
            _ => None,
        }
    }

    /// Vendor, vendor type and value of an extended vendor-specific attribute (RFC 6929 §2.4). A
    /// fragmented one must be opened at its first fragment: the rest continue the value.
    pub fn vendor_specific(&self) -> Option<VendorAttribute<'a>> {
        if self.extended_kind != EXTENDED_VENDOR_SPECIFIC {
            return None;
        }
        let VendorSpecific { vendor, data: [kind, value @ ..] } = VendorSpecific::parse(self.value)? else {
            return None;
        };
        Some(VendorAttribute { vendor, attribute: Attribute { kind: *kind, value } })
    }
}

impl fmt::Debug for Extended<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.more { ", more follow" } else { "" };
        write!(f, "attribute {}.{} of {} bytes{more}", self.kind, self.extended_kind, self.value.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_vendor_attributes_packed_in_one_are_all_found() {
        let specific = VendorSpecific::parse(&[0, 0, 0x3a, 0x8c, 8, 4, b'1', b'M', 19, 3, b'x']).unwrap();
        assert_eq!(specific.vendor, 14_988);
        let kinds: Vec<u8> = specific.attributes().unwrap().map(|inner| inner.kind).collect();
        assert_eq!(kinds, [8, 19]);
    }

    #[test]
    fn a_payload_in_another_form_is_kept_raw() {
        let specific = VendorSpecific::parse(&[0, 0, 1, 0xad, 0, 1, 0, 6, 1, 2]).unwrap();
        assert!(specific.attributes().is_none());
        assert_eq!(specific.data, [0, 1, 0, 6, 1, 2]);
        assert_eq!(VendorSpecific::parse(&[0, 0, 1]), None);
    }

    #[test]
    fn the_more_flag_exists_only_in_the_long_form() {
        let short = Attribute { kind: 241, value: &[5, 0x80, 1] }.extended().unwrap();
        assert_eq!((short.extended_kind, short.more, short.value), (5, false, &[0x80, 1][..]));
        let long = Attribute { kind: 245, value: &[4, 0x80, 1] }.extended().unwrap();
        assert_eq!((long.extended_kind, long.more, long.value), (4, true, &[1][..]));
        assert_eq!(Attribute { kind: 245, value: &[4] }.extended(), None);
        assert_eq!(Attribute { kind: 26, value: &[4, 0, 0] }.extended(), None);
    }

    #[test]
    fn an_extended_vendor_specific_attribute_opens_into_its_parts() {
        let value = [26, 0, 0, 0x19, 0x7f, 88, b's', b'v', b'c'];
        let found = Attribute { kind: 241, value: &value }.extended().unwrap().vendor_specific().unwrap();
        assert_eq!((found.vendor, found.attribute.kind, found.attribute.value), (6527, 88, &b"svc"[..]));
    }
}

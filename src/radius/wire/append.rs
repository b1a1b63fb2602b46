//! Typed values into a packet being written: the attributes' data types, tags, vendors, fragments, hiding.
//!
//! Extends [`PacketWriter`]; see [`encode`](super::encode) for the packet itself. RFC 8044 §3 (data types),
//! RFC 2868 §3 (tags), RFC 2865 §5.26 and RFC 6929 §2 (vendor and extended attributes), RFC 2865 §5.33
//! (Proxy-State comes back unchanged and in order).
//!
//! Invariants: a value that its attribute cannot carry is an error and leaves the packet as it was; one that
//! takes several attributes is written whole or not at all. It does not know which attribute has which type.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::Ipv6Network;

use super::attribute::{Attribute, TAG_MAX, kind};
use super::encode::{EncodeError, PacketWriter};
use super::extended::{EXTENDED_VENDOR_SPECIFIC, MORE};
use super::hiding::{self, ChapPassword};
use super::integrity::SharedKey;
use crate::limits::RADIUS_VALUE_BYTES_MAX;
use crate::secret::Secret;
use crate::time::Stamp;

/// Value bytes of one long extended fragment, after Extended-Type and flags (RFC 6929 §2.2).
const FRAGMENT_BYTES: usize = RADIUS_VALUE_BYTES_MAX - 2;

impl PacketWriter<'_> {
    /// Text of 1 to 253 bytes (RFC 8044 §3.4).
    pub fn text(&mut self, kind: u8, text: &str) -> Result<(), EncodeError> {
        if text.is_empty() {
            return Err(EncodeError::ValueLength { kind, length: 0 });
        }
        self.raw(kind, text.as_bytes())
    }

    /// A four-byte number (RFC 8044 §3.1).
    pub fn u32(&mut self, kind: u8, value: u32) -> Result<(), EncodeError> {
        self.raw(kind, &value.to_be_bytes())
    }

    /// Seconds since the Unix epoch in four bytes (RFC 8044 §3.3); a time beyond them is the last one.
    pub fn date(&mut self, kind: u8, at: Stamp) -> Result<(), EncodeError> {
        self.u32(kind, u32::try_from(at.secs()).unwrap_or(u32::MAX))
    }

    /// An IPv4 address (RFC 8044 §3.8).
    pub fn ipv4(&mut self, kind: u8, address: Ipv4Addr) -> Result<(), EncodeError> {
        self.raw(kind, &address.octets())
    }

    /// An IPv6 address (RFC 8044 §3.9).
    pub fn ipv6(&mut self, kind: u8, address: Ipv6Addr) -> Result<(), EncodeError> {
        self.raw(kind, &address.octets())
    }

    /// An interface identifier (RFC 3162 §2.2).
    pub fn interface_id(&mut self, kind: u8, value: [u8; 8]) -> Result<(), EncodeError> {
        self.raw(kind, &value)
    }

    /// An IPv6 prefix: host bits masked, no more octets than the prefix needs (RFC 8044 §3.10).
    pub fn ipv6_prefix(&mut self, kind: u8, prefix: Ipv6Network) -> Result<(), EncodeError> {
        let (bytes, length) = ipv6_prefix_value(prefix);
        self.raw(kind, bytes.get(..length).unwrap_or(&bytes))
    }

    /// A string with a tag octet (RFC 2868 §3.3); tag 0 means no tunnel in particular.
    pub fn tagged_text(&mut self, kind: u8, tag: u8, text: &str) -> Result<(), EncodeError> {
        if tag > TAG_MAX {
            return Err(EncodeError::Tagged { kind });
        }
        self.push(kind, [&[tag], text.as_bytes()])
    }

    /// A 24-bit number with a tag octet (RFC 2868 §3.1).
    pub fn tagged_u32(&mut self, kind: u8, tag: u8, value: u32) -> Result<(), EncodeError> {
        let [0, high, middle, low] = value.to_be_bytes() else {
            return Err(EncodeError::Tagged { kind });
        };
        if tag > TAG_MAX {
            return Err(EncodeError::Tagged { kind });
        }
        self.raw(kind, &[tag, high, middle, low])
    }

    /// One vendor attribute in its own Vendor-Specific, in the common form (RFC 2865 §5.26): 0 to 247 bytes.
    pub fn vendor(&mut self, vendor: u32, kind: u8, value: &[u8]) -> Result<(), EncodeError> {
        let vendor = vendor.to_be_bytes();
        let length = u8::try_from(value.len().saturating_add(2));
        let length = length.map_err(|_| EncodeError::ValueLength { kind, length: value.len() })?;
        self.push(kind::VENDOR_SPECIFIC, [&vendor[..], &[kind, length], value])
    }

    /// A Vendor-Specific whose payload the caller has formed, for vendors with other widths.
    pub fn vendor_raw(&mut self, vendor: u32, data: &[u8]) -> Result<(), EncodeError> {
        self.push(kind::VENDOR_SPECIFIC, [&vendor.to_be_bytes()[..], data])
    }

    /// An extended attribute, outer types 241 to 244 (RFC 6929 §2.1).
    pub fn extended(&mut self, kind: u8, extended_kind: u8, value: &[u8]) -> Result<(), EncodeError> {
        if !(kind::EXTENDED_ATTRIBUTE_1..=kind::EXTENDED_ATTRIBUTE_4).contains(&kind) {
            return Err(EncodeError::NotExtended { kind });
        }
        self.push(kind, [&[extended_kind], value])
    }

    /// An extended vendor-specific attribute, outer types 241 to 244 (RFC 6929 §2.4).
    pub fn extended_vendor(
        &mut self,
        kind: u8,
        vendor: u32,
        vendor_kind: u8,
        value: &[u8],
    ) -> Result<(), EncodeError> {
        if !(kind::EXTENDED_ATTRIBUTE_1..=kind::EXTENDED_ATTRIBUTE_4).contains(&kind) {
            return Err(EncodeError::NotExtended { kind });
        }
        self.push(kind, [&[EXTENDED_VENDOR_SPECIFIC], &vendor.to_be_bytes()[..], &[vendor_kind], value])
    }

    /// A long extended attribute, outer types 245 and 246, in as many fragments as it takes (RFC 6929 §2.2).
    pub fn long_extended(&mut self, kind: u8, extended_kind: u8, value: &[u8]) -> Result<(), EncodeError> {
        if !(kind::EXTENDED_ATTRIBUTE_5..=kind::EXTENDED_ATTRIBUTE_6).contains(&kind) {
            return Err(EncodeError::NotExtended { kind });
        }
        self.whole(|writer| {
            let mut rest = value;
            while let Some((fragment, after)) = rest.split_at_checked(FRAGMENT_BYTES)
                && !after.is_empty()
            {
                writer.push(kind, [&[extended_kind, MORE], fragment])?;
                rest = after;
            }
            writer.push(kind, [&[extended_kind, 0], rest])
        })
    }

    /// A value of any length over as many attributes as it takes: EAP-Message (RFC 3579 §3.1),
    /// NAS-Filter-Rule (RFC 4849 §2).
    pub fn concat(&mut self, kind: u8, value: &[u8]) -> Result<(), EncodeError> {
        self.whole(|writer| value.chunks(RADIUS_VALUE_BYTES_MAX).try_for_each(|part| writer.raw(kind, part)))
    }

    /// Attributes of another packet, unchanged and in order: Proxy-State into a reply (RFC 2865 §5.33), State
    /// and Class into a CoA-Request.
    pub fn copy<'a>(
        &mut self,
        attributes: impl IntoIterator<Item = Attribute<'a>>,
    ) -> Result<(), EncodeError> {
        self.whole(|writer| {
            attributes.into_iter().try_for_each(|attribute| writer.raw(attribute.kind, attribute.value))
        })
    }

    /// User-Password, hidden (RFC 2865 §5.2).
    pub fn user_password(&mut self, key: &SharedKey, password: &Secret) -> Result<(), EncodeError> {
        let mut buffer = [0; _];
        let authenticator = self.authenticator()?;
        let hidden = hiding::hide_user_password(key, &authenticator, password, &mut buffer)?;
        self.raw(kind::USER_PASSWORD, hidden)
    }

    /// CHAP-Password (RFC 2865 §5.3).
    pub fn chap_password(&mut self, chap: &ChapPassword) -> Result<(), EncodeError> {
        self.push(kind::CHAP_PASSWORD, [&[chap.identifier][..], &chap.response])
    }

    /// Tunnel-Password, hidden under a salt that no other attribute of this packet has (RFC 2868 §3.5).
    pub fn tunnel_password(
        &mut self,
        key: &SharedKey,
        tag: u8,
        salt: u16,
        password: &Secret,
    ) -> Result<(), EncodeError> {
        if tag > TAG_MAX {
            return Err(EncodeError::Tagged { kind: kind::TUNNEL_PASSWORD });
        }
        let mut buffer = [0; _];
        let authenticator = self.authenticator()?;
        let salted = hiding::hide_salted(key, &authenticator, salt, password, &mut buffer)?;
        self.push(kind::TUNNEL_PASSWORD, [&[tag], salted])
    }

    /// A salt-encrypted vendor attribute: MS-MPPE-Send-Key and MS-MPPE-Recv-Key (RFC 2548 §2.4.2).
    pub fn vendor_salted(
        &mut self,
        key: &SharedKey,
        (vendor, kind): (u32, u8),
        salt: u16,
        cleartext: &Secret,
    ) -> Result<(), EncodeError> {
        let mut buffer = [0; _];
        let authenticator = self.authenticator()?;
        let salted = hiding::hide_salted(key, &authenticator, salt, cleartext, &mut buffer)?;
        self.vendor(vendor, kind, salted)
    }
}

/// The value of an `ipv6prefix` and how many of its bytes to send; for vendor attributes of that type.
pub fn ipv6_prefix_value(prefix: Ipv6Network) -> ([u8; 18], usize) {
    let mut value = [0; 18];
    let octets = prefix.network().octets();
    let bytes = [0, prefix.prefix()].into_iter().chain(octets);
    for (slot, byte) in value.iter_mut().zip(bytes) {
        *slot = byte;
    }
    (value, usize::from(prefix.prefix().div_ceil(8)).saturating_add(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::radius::wire::encode::Signing;
    use crate::radius::wire::packet::{Code, Packet, ReplyTo};

    const TO: ReplyTo = ReplyTo { identifier: 9, authenticator: *b"0123456789abcdef" };

    fn key() -> SharedKey {
        SharedKey::new(Secret::new("xyzzy5461"))
    }

    fn accept(buffer: &mut [u8]) -> PacketWriter<'_> {
        PacketWriter::reply(buffer, Code::ACCESS_ACCEPT, &TO, Signing::First).unwrap()
    }

    #[test]
    fn a_value_over_several_attributes_is_written_whole_or_not_at_all() {
        let mut buffer = [0; 38 + 300];
        let mut writer = accept(&mut buffer);
        assert_eq!(writer.concat(kind::EAP_MESSAGE, &[1; 300]), Err(EncodeError::Full));
        assert_eq!(writer.long_extended(245, 4, &[1; 300]), Err(EncodeError::Full));
        let proxied = [Attribute { kind: 33, value: &[1; 200] }; 2];
        assert_eq!(writer.copy(proxied), Err(EncodeError::Full));
        assert_eq!(writer.length(), 38);
        assert_eq!(writer.concat(kind::EAP_MESSAGE, &[1; 296]), Ok(()));
        assert_eq!(writer.length(), 38 + 300);
    }

    #[test]
    fn values_an_attribute_cannot_carry_are_refused() {
        let mut buffer = [0; 4096];
        let mut writer = accept(&mut buffer);
        let refused = |result: Result<(), EncodeError>| !matches!(result, Ok(()) | Err(EncodeError::Full));
        assert!(refused(writer.text(18, "")));
        assert!(refused(writer.text(18, &"x".repeat(254))));
        assert!(refused(writer.vendor(9, 1, &[0; 248])));
        assert!(refused(writer.vendor(9, 1, &[0; 300])));
        assert!(refused(writer.tagged_u32(64, 1, 0x0100_0000)));
        assert!(refused(writer.tagged_u32(64, 32, 1)));
        assert!(refused(writer.tagged_text(66, 32, "lns")));
        assert!(refused(writer.extended(245, 1, b"x")));
        assert!(refused(writer.extended_vendor(26, 1, 1, b"x")));
        assert!(refused(writer.long_extended(241, 1, b"x")));
        assert_eq!(writer.length(), 38);
        let mut digest = PacketWriter::request(&mut buffer, Code::COA_REQUEST, 1, Signing::Omitted).unwrap();
        let hidden = digest.tunnel_password(&key(), 0, 1, &Secret::new("x"));
        assert_eq!(hidden, Err(EncodeError::NoAuthenticator));
    }

    #[test]
    fn an_ipv6_prefix_is_written_masked_and_no_longer_than_needed() {
        let value = |text: &str| {
            let (bytes, length) = ipv6_prefix_value(text.parse().unwrap());
            bytes[..length].to_vec()
        };
        assert_eq!(value("2001:db8:0:7::1/62"), [0, 62, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 4]);
        assert_eq!(value("::/0"), [0, 0]);
        assert_eq!(value("ffff::/1"), [0, 1, 0x80]);
        assert_eq!(value("2001:db8::1/128").len(), 18);
    }

    #[test]
    fn a_long_value_is_cut_into_fragments_with_the_more_flag_on_all_but_the_last() {
        for (bytes, fragments) in [(0, 1), (251, 1), (252, 2), (502, 2), (503, 3)] {
            let mut buffer = [0; 4096];
            let mut writer = accept(&mut buffer);
            writer.long_extended(245, 4, &vec![5; bytes]).unwrap();
            let packet = Packet::parse(writer.finish(&key()).unwrap()).unwrap();
            let parts: Vec<_> = packet.all(245).filter_map(|found| found.extended()).collect();
            assert_eq!(parts.len(), fragments, "{bytes}");
            assert_eq!(parts.iter().map(|part| part.value.len()).sum::<usize>(), bytes);
            let more: Vec<bool> = parts.iter().map(|part| part.more).collect();
            assert_eq!(more.iter().filter(|more| **more).count(), fragments - 1);
            assert_eq!(more.last(), Some(&false));
        }
    }
}

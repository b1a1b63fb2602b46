//! Link-layer addresses and prefixes of both IP families, small enough to be keys.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An EUI-48 address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Reads the notations found in RADIUS and DHCP: `aa:bb:…`, `AA-BB-…`, `aabb.ccdd.eeff`, `aabbccddeeff`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut bytes = [0_u8; 6];
        let mut digits = 0_usize;
        for symbol in text {
            let value = match symbol {
                b'0'..=b'9' => symbol - b'0',
                b'a'..=b'f' => symbol - b'a' + 10,
                b'A'..=b'F' => symbol - b'A' + 10,
                b':' | b'-' | b'.' if digits > 0 && digits < 12 && digits.is_multiple_of(2) => continue,
                _ => return None,
            };
            let byte = bytes.get_mut(digits / 2)?;
            *byte = (*byte << 4) | value;
            digits += 1;
        }
        (digits == 12).then_some(Self(bytes))
    }

    /// The address as the low 48 bits of a number.
    pub fn to_u64(self) -> u64 {
        self.0.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if position == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text.as_bytes())
            .ok_or_else(|| format!("`{text}` is not a MAC address such as 02:00:5e:00:53:01"))
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 6]>::deserialize(deserializer).map(Self)
        }
    }
}

/// An address or prefix of either family with host bits zero: the unit the ledger grants.
///
/// IPv4 is held in the IPv4-mapped range of IPv6, so that one ordering and one containment test serve both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    first: u128,
    len: u8,
}

const MAPPED: u128 = 0xffff_u128 << 32;

impl Prefix {
    /// The prefix of `address` with `len` bits (0–32 or 0–128 by family); host bits are cleared.
    pub fn new(address: IpAddr, len: u8) -> Option<Self> {
        let (bits, len) = match address {
            IpAddr::V4(v4) if len <= 32 => (MAPPED | u128::from(u32::from(v4)), len + 96),
            IpAddr::V6(v6) if len <= 128 => (u128::from(v6), len),
            _ => return None,
        };
        Some(Self { first: bits & mask(len), len })
    }

    /// A single address.
    pub fn host(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::v4(v4),
            IpAddr::V6(v6) => Self { first: u128::from(v6), len: 128 },
        }
    }

    /// A single IPv4 address.
    pub fn v4(address: Ipv4Addr) -> Self {
        Self { first: MAPPED | u128::from(u32::from(address)), len: 128 }
    }

    /// From the raw form written by [`Prefix::raw`].
    pub fn from_raw(first: u128, len: u8) -> Option<Self> {
        (len <= 128 && first & !mask(len) == 0).then_some(Self { first, len })
    }

    /// First address as a number (IPv4 mapped into IPv6) and length in 128-bit terms.
    pub const fn raw(self) -> (u128, u8) {
        (self.first, self.len)
    }

    /// Whether this is an IPv4 prefix.
    pub const fn is_v4(self) -> bool {
        self.len >= 96 && self.first >> 32 == MAPPED >> 32
    }

    /// First address.
    pub fn address(self) -> IpAddr {
        if self.is_v4() {
            IpAddr::V4(Ipv4Addr::from(self.first as u32))
        } else {
            IpAddr::V6(Ipv6Addr::from(self.first))
        }
    }

    /// Length in the family's own terms (0–32 or 0–128).
    pub const fn len(self) -> u8 {
        if self.is_v4() { self.len - 96 } else { self.len }
    }

    /// Whether this prefix covers everything of its family.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether it is one single address.
    pub const fn is_host(self) -> bool {
        self.len == 128
    }

    /// First address as a number.
    pub const fn first(self) -> u128 {
        self.first
    }

    /// Last address as a number.
    pub const fn last(self) -> u128 {
        self.first | !mask(self.len)
    }

    /// Whether `other` lies wholly inside this prefix.
    pub const fn contains(self, other: Self) -> bool {
        self.len <= other.len && other.first & mask(self.len) == self.first
    }

    /// Whether the two share an address; for prefixes that means one contains the other.
    pub const fn overlaps(self, other: Self) -> bool {
        self.contains(other) || other.contains(self)
    }
}

const fn mask(len: u8) -> u128 {
    if len == 0 { 0 } else { u128::MAX << (128 - len as u32) }
}

impl From<Ipv4Network> for Prefix {
    fn from(network: Ipv4Network) -> Self {
        let len = network.prefix() + 96;
        Self { first: (MAPPED | u128::from(u32::from(network.ip()))) & mask(len), len }
    }
}

impl From<Ipv6Network> for Prefix {
    fn from(network: Ipv6Network) -> Self {
        Self { first: u128::from(network.ip()) & mask(network.prefix()), len: network.prefix() }
    }
}

impl From<IpNetwork> for Prefix {
    fn from(network: IpNetwork) -> Self {
        match network {
            IpNetwork::V4(v4) => v4.into(),
            IpNetwork::V6(v6) => v6.into(),
        }
    }
}

impl fmt::Display for Prefix {
    /// A bare address for a host, otherwise CIDR notation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() {
            write!(f, "{}", self.address())
        } else {
            write!(f, "{}/{}", self.address(), self.len())
        }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Prefix {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an address or prefix such as 192.0.2.1 or 2001:db8::/48");
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let len = len.unwrap_or(if address.is_ipv4() { 32 } else { 128 });
        let prefix = Self::new(address, len).ok_or_else(wrong)?;
        if prefix.address() != address {
            return Err(format!("`{text}` has host bits set; the prefix is {prefix}"));
        }
        Ok(prefix)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (self.first.to_be_bytes(), self.len).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            let (first, len) = <([u8; 16], u8)>::deserialize(deserializer)?;
            Self::from_raw(u128::from_be_bytes(first), len).ok_or_else(|| D::Error::custom("not a prefix"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_read_in_every_notation_that_nases_use() {
        let expected = Some(Mac([0x02, 0, 0x5e, 0, 0x53, 0xab]));
        for text in ["02:00:5e:00:53:ab", "02-00-5E-00-53-AB", "0200.5e00.53ab", "02005e0053AB"] {
            assert_eq!(Mac::parse(text.as_bytes()), expected, "{text}");
        }
        for text in [
            "",
            "02:00:5e:00:53",
            "02:00:5e:00:53:ab:cd",
            "0:200:5e:00:53:ab",
            "02:00:5e:00:53:ag",
            "02005e0053ab:",
        ] {
            assert_eq!(Mac::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn overlap_is_containment_within_one_family() {
        let prefix = |text: &str| text.parse::<Prefix>().unwrap();
        assert!(prefix("10.0.0.0/8").contains(prefix("10.1.2.3")));
        assert!(!prefix("10.1.2.3").contains(prefix("10.0.0.0/8")));
        assert!(prefix("10.1.2.3").overlaps(prefix("10.0.0.0/8")));
        assert!(!prefix("10.0.0.0/9").overlaps(prefix("10.128.0.0/9")));
        assert!(prefix("2001:db8::/32").contains(prefix("2001:db8:1::/48")));
        assert_eq!(prefix("10.0.0.0/24").last() - prefix("10.0.0.0/24").first(), 255);
        assert!("10.0.0.1/24".parse::<Prefix>().unwrap_err().contains("10.0.0.0/24"));
        assert_eq!(prefix("0.0.0.0/0").len(), 0);
        assert_eq!(prefix("192.0.2.9").to_string(), "192.0.2.9");
        assert_eq!(prefix("2001:db8::/56").to_string(), "2001:db8::/56");
    }
}

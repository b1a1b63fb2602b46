//! Identifiers: a three- or two-letter prefix, an underscore, and a UUIDv7 as 26 lowercase Crockford base32
//! characters (RFC 9562 §5.7).
//!
//! An id is minted once and never reused. The 128-bit value alone ([`Uid`]) is the key in memory, journal and
//! storage; the prefix exists for people and for catching mix-ups at the API.

use std::fmt;
use std::str::FromStr;

use crate::limits::RETRANSMISSION_MS_MAX;
use crate::time::Stamp;

/// Source of randomness for ids and keys; deterministic in tests and replay.
pub trait Entropy: Send + Sync {
    /// Fills `buffer` with random bytes.
    fn fill(&self, buffer: &mut [u8]);

    /// A random 64-bit number.
    fn u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// A UUIDv7 as a number: sorts by creation time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uid(pub u128);

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl Uid {
    /// The all-zero value: no object has it.
    pub const NIL: Self = Self(0);

    /// Mints a UUIDv7 from a time and 74 random bits (RFC 9562 §5.7).
    pub fn mint(at: Stamp, entropy: &dyn Entropy) -> Self {
        let mut random = [0; 10];
        entropy.fill(&mut random);
        let mut wide = [0; 16];
        wide[6..].copy_from_slice(&random);
        let random = u128::from_be_bytes(wide);
        let rand_a = (random >> 64) & 0xfff;
        let rand_b = random & 0x3fff_ffff_ffff_ffff;
        let millis = u128::from(at.millis()) & 0xffff_ffff_ffff;
        Self((millis << 80) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b)
    }

    /// When it was minted, to the millisecond; of an id that was not minted by us, any time.
    pub const fn minted_at(self) -> Stamp {
        Stamp((self.0 >> 80) as u64)
    }

    /// Big-endian bytes, as in RFC 9562 §4.
    pub const fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// From big-endian bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// From a byte slice of exactly 16 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_bytes)
    }

    /// The 26-character text without a prefix.
    pub fn base32(self) -> String {
        let mut text = String::with_capacity(26);
        for position in (0..26).rev() {
            let index = (self.0 >> (position * 5)) & 0x1f;
            text.push(char::from(ALPHABET[index as usize]));
        }
        text
    }

    /// Parses 26 base32 characters; only the lowercase alphabet is accepted, so that an id has one spelling.
    pub fn parse_base32(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 26 || bytes.first().is_none_or(|first| *first > b'7') {
            return None;
        }
        let mut value: u128 = 0;
        for byte in bytes {
            let digit = ALPHABET.iter().position(|known| known == byte)?;
            value = (value << 5) | digit as u128;
        }
        Some(Self(value))
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base32())
    }
}

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id of the form {prefix}_<26 lowercase base32 characters>")]
pub struct IdError {
    prefix: &'static str,
    text: String,
}

macro_rules! id_types {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
            pub struct $name(pub Uid);

            impl $name {
                /// The prefix of this kind of id.
                pub const PREFIX: &'static str = $prefix;

                /// Mints a new id.
                pub fn mint(at: Stamp, entropy: &dyn Entropy) -> Self {
                    Self(Uid::mint(at, entropy))
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write!(f, concat!($prefix, "_{}"), self.0.base32())
                }
            }

            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Display::fmt(self, f)
                }
            }

            impl FromStr for $name {
                type Err = IdError;
                fn from_str(text: &str) -> Result<Self, IdError> {
                    text.strip_prefix(concat!($prefix, "_"))
                        .and_then(Uid::parse_base32)
                        .map(Self)
                        .ok_or_else(|| IdError { prefix: $prefix, text: text.to_owned() })
                }
            }

            impl serde::Serialize for $name {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    if serializer.is_human_readable() {
                        serializer.collect_str(self)
                    } else {
                        self.0.bytes().serialize(serializer)
                    }
                }
            }

            impl<'de> serde::Deserialize<'de> for $name {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    if deserializer.is_human_readable() {
                        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                        text.parse().map_err(serde::de::Error::custom)
                    } else {
                        <[u8; 16]>::deserialize(deserializer).map(|bytes| Self(Uid::from_bytes(bytes)))
                    }
                }
            }
        )+
    };
}

id_types! {
    /// An operator sharing this installation.
    TenantId = "ten";
    /// The CRM's customer.
    SubscriberId = "sub";
    /// One subscription.
    ServiceId = "svc";
    /// How a service is recognised on the network.
    AccessId = "acc";
    /// Network policy.
    PlanId = "pln";
    /// A network segment.
    NetworkId = "net";
    /// Addresses or delegated prefixes of a network.
    PoolId = "pool";
    /// An address kept for a service.
    ReservationId = "rsv";
    /// A RADIUS client.
    NasId = "nas";
    /// A DHCP relay.
    RelayId = "rly";
    /// An OLT or switch under management.
    DeviceId = "dev";
    /// A session on a NAS.
    SessionId = "ses";
    /// A DHCP lease.
    LeaseId = "lse";
    /// An event row.
    EventId = "evt";
    /// An API token.
    TokenId = "tok";
    /// A background job.
    JobId = "job";
    /// One API request.
    RequestId = "req";
    /// The recorded outcome of one packet.
    DecisionId = "dec";
}

/// Bits of a session id that come from the request.
const REQUEST_BITS: u128 = 0x3fff_ffff_ffff_ffff;

impl SessionId {
    /// Mints the id of a session for a request, of which `request` is a hash: if the same request is decided again, the two
    /// ids can be told to be of one. Part of it is random, so that ids stay apart where requests do not.
    pub fn mint_for(at: Stamp, request: u64, entropy: &dyn Entropy) -> Self {
        let minted = Uid::mint(at, entropy).0;
        Self(Uid((minted & !REQUEST_BITS) | (u128::from(request) & REQUEST_BITS)))
    }

    /// Whether both ids were minted for one request, at most [`RETRANSMISSION_MS_MAX`] apart: a NAS that gives every request
    /// the same authenticator uses its 256 identifiers again, some time later.
    pub const fn is_of_same_request(self, other: Self) -> bool {
        let (one, two) = (self.0.0, other.0.0);
        ((one ^ two) & REQUEST_BITS) == 0 && (one >> 80).abs_diff(two >> 80) <= RETRANSMISSION_MS_MAX as u128
    }
}

impl TenantId {
    /// The tenant that exists from the first start; single-operator installations have no other.
    pub const DEFAULT: Self = Self(Uid(0x0000_0000_0000_7000_8000_0000_0000_0001));
}

/// A deterministic stream for tests, transcripts and simulations (SplitMix64).
#[derive(Debug)]
pub struct SeededEntropy(std::sync::atomic::AtomicU64);

impl SeededEntropy {
    /// A stream that depends on `seed` alone.
    pub const fn new(seed: u64) -> Self {
        Self(std::sync::atomic::AtomicU64::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let step = 0x9e37_79b9_7f4a_7c15_u64;
            let state = self.0.fetch_add(step, std::sync::atomic::Ordering::Relaxed).wrapping_add(step);
            let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// The operating system's random source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system for randomness")]
    #[expect(clippy::expect_used, reason = "without a random source no id or key can be made; stop at once")]
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system has no random source");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_text() {
        let id = ServiceId::mint(Stamp::from_secs(1_795_132_800), &SeededEntropy::new(7));
        let text = id.to_string();
        assert_eq!(text.len(), 4 + 26);
        assert!(text.starts_with("svc_01"));
        assert_eq!(text.parse::<ServiceId>(), Ok(id));
        assert!(text.to_uppercase().parse::<ServiceId>().is_err());
        assert!(text.replace("svc", "sub").parse::<ServiceId>().is_err());
    }

    #[test]
    fn sessions_of_one_request_are_known_as_such_for_a_minute() {
        let entropy = SeededEntropy::new(1);
        let mint =
            |millis: u64, request: u64| SessionId::mint_for(Stamp(100_000 + millis), request, &entropy);
        let first = mint(0, 7);
        assert_eq!(((first.0.0 >> 76) & 0xf, (first.0.0 >> 62) & 0b11), (7, 0b10));
        let again = mint(RETRANSMISSION_MS_MAX, 7);
        assert!(first.is_of_same_request(again) && again.is_of_same_request(first));
        assert!(!first.is_of_same_request(mint(RETRANSMISSION_MS_MAX + 1, 7)));
        assert!(!first.is_of_same_request(mint(0, 8)));
        assert_ne!(first, mint(0, 7));
    }

    #[test]
    fn minted_ids_carry_version_seven_and_the_rfc_variant_and_sort_by_time() {
        let entropy = SeededEntropy::new(1);
        let early = Uid::mint(Stamp(1000), &entropy);
        let late = Uid::mint(Stamp(1001), &entropy);
        assert_eq!((early.0 >> 76) & 0xf, 7);
        assert_eq!((early.0 >> 62) & 0b11, 0b10);
        assert!(early < late);
    }
}

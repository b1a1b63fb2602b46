//! Hashes of keys and digests of policy.
//!
//! Two different needs: an *index hash* lives as long as the process and only has to be quick and even; a *digest* is
//! kept in grants and sessions and compared by other nodes and later versions, so it is SHA-256 over a fixed encoding,
//! cut to 64 bits.

use std::hash::{DefaultHasher, Hash, Hasher};

use sha2::{Digest as _, Sha256};

use crate::ids::Uid;
use crate::model::Prefix;

/// Spreads every bit of a number over all bits (the finaliser of MurmurHash3).
pub(crate) const fn avalanche(number: u64) -> u64 {
    let number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ (number >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

/// One number that depends on two, in this order.
pub(crate) const fn mix(left: u64, right: u64) -> u64 {
    avalanche(avalanche(left).wrapping_add(0x9e37_79b9_7f4a_7c15) ^ right.rotate_left(32))
}

/// Index hash of an id: ids made in a row differ in few bits.
pub(crate) const fn of_uid(id: Uid) -> u64 {
    mix((id.0 >> 64) as u64, id.0 as u64)
}

/// Index hash of a prefix.
pub(crate) const fn of_prefix(prefix: Prefix) -> u64 {
    let (first, len) = prefix.raw();
    mix(mix((first >> 64) as u64, first as u64), len as u64)
}

/// Index hash of anything else: SipHash-1-3 with a fixed key.
pub(crate) fn of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Writes the members of a policy part one after another.
#[derive(Debug, Default)]
pub(crate) struct Digest(Sha256);

impl Digest {
    /// Starts a digest; `what` keeps equal members of different kinds apart.
    pub(crate) fn of(what: &str) -> Self {
        let mut digest = Self::default();
        digest.bytes(what.as_bytes());
        digest
    }

    /// Adds bytes with their length, so that neighbouring members cannot trade bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    /// Adds a number.
    pub(crate) fn number(&mut self, number: u64) {
        self.0.update(number.to_be_bytes());
    }

    /// Adds an optional text; absent and empty differ.
    pub(crate) fn text(&mut self, text: Option<&str>) {
        self.number(u64::from(text.is_some()));
        self.bytes(text.unwrap_or_default().as_bytes());
    }

    /// Adds an optional prefix.
    pub(crate) fn prefix(&mut self, prefix: Option<Prefix>) {
        self.number(u64::from(prefix.is_some()));
        if let Some(prefix) = prefix {
            let (first, len) = prefix.raw();
            self.0.update(first.to_be_bytes());
            self.number(u64::from(len));
        }
    }

    /// The digest.
    pub(crate) fn finish(self) -> u64 {
        let bytes = self.0.finalize();
        bytes.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_a_row_spread_over_all_top_bits() {
        let mut used = [0_u32; 256];
        for number in 0..65_536_u128 {
            used[(of_uid(Uid(number << 3)) >> 56) as usize] += 1;
        }
        assert!(used.iter().all(|count| (150..400).contains(count)), "{used:?}");
    }

    #[test]
    fn a_digest_is_the_same_on_every_node_and_version() {
        let mut digest = Digest::of("plan");
        digest.text(Some("a"));
        digest.prefix(Some(Prefix::v4([192, 0, 2, 1].into())));
        // Computed with another SHA-256.
        assert_eq!(digest.finish(), 0x479d_240f_173e_739a);
    }
}

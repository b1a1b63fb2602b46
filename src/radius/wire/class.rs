//! Our Class attribute: the session's id, sealed, so that accounting leads back to the Accept that caused it.
//!
//! Written into an Access-Accept, returned by the NAS in every Accounting-Request of the session (RFC 2865
//! §5.25). Sealed because a NAS returns whatever Class it was given, also by another server, and the id
//! decides whose counters grow.
//!
//! ```text
//!   +---------+-------------------------------+---------------------------------+
//!   | version | session id, 16 bytes          | first 8 bytes of HMAC-SHA256    |
//!   |  = 1    | (RFC 9562 §4 byte order)      | over version and session id     |
//!   +---------+-------------------------------+---------------------------------+
//! ```
//!
//! Invariants: all nodes share the key, so any of them recognises any token; comparison takes constant time.
//! It does not say that the session still exists.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::integrity::keyed;
use crate::ids::Uid;
use crate::secret::{Secret, constant_time_eq};

/// Bytes of a token.
pub const CLASS_TOKEN_BYTES: usize = 25;

const VERSION: u8 = 1;
const SEALED_BYTES: usize = 17;
const SEAL_BYTES: usize = 8;

/// Why a Class value is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClassError {
    /// Another length or version: another server's Class.
    #[error("the Class value is not ours: another length or version")]
    Foreign,
    /// Our form, but not sealed under our key.
    #[error("the Class value has our form but not our seal: forged, or the nodes' Class keys differ")]
    Forged,
}

/// The nodes' shared Class key with its HMAC state prepared.
#[derive(Clone)]
pub struct ClassKey {
    hmac: Hmac<Sha256>,
}

impl ClassKey {
    /// Prepares the shared key.
    pub fn new(secret: &Secret) -> Self {
        Self { hmac: keyed(secret.expose()) }
    }

    /// The Class value for a session.
    pub fn issue(&self, session: Uid) -> ClassToken {
        let mut token = [VERSION; CLASS_TOKEN_BYTES];
        let seal = self.seal(session);
        let bytes = session.bytes().into_iter().chain(seal);
        for (slot, byte) in token.iter_mut().skip(1).zip(bytes) {
            *slot = byte;
        }
        ClassToken(token)
    }

    /// The session a Class value was issued for.
    pub fn verify(&self, value: &[u8]) -> Result<Uid, ClassError> {
        let [VERSION, rest @ ..] = value else {
            return Err(ClassError::Foreign);
        };
        let (session, seal) = rest.split_first_chunk().ok_or(ClassError::Foreign)?;
        if seal.len() != SEAL_BYTES {
            return Err(ClassError::Foreign);
        }
        let session = Uid::from_bytes(*session);
        if constant_time_eq(&self.seal(session), seal) { Ok(session) } else { Err(ClassError::Forged) }
    }

    /// The session that a Class value names, sealed or not: a hint of what will be looked for, and no more.
    pub fn named(value: &[u8]) -> Option<Uid> {
        let [VERSION, rest @ ..] = value else { return None };
        let (session, seal) = rest.split_first_chunk()?;
        (seal.len() == SEAL_BYTES).then(|| Uid::from_bytes(*session))
    }

    fn seal(&self, session: Uid) -> [u8; SEAL_BYTES] {
        let mac = self.hmac.clone().chain_update([VERSION]).chain_update(session.bytes()).finalize();
        let mac: [u8; 32] = mac.into_bytes().into();
        mac.first_chunk().copied().unwrap_or_default()
    }
}

impl fmt::Debug for ClassKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<class key>")
    }
}

/// A Class value to put into an Access-Accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassToken([u8; CLASS_TOKEN_BYTES]);

impl ClassToken {
    /// The attribute value.
    pub const fn bytes(&self) -> &[u8; CLASS_TOKEN_BYTES] {
        &self.0
    }
}

const _: () = assert!(SEALED_BYTES + SEAL_BYTES == CLASS_TOKEN_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Uid = Uid(0x0190_0000_0000_7000_8000_0000_0000_0001);

    fn key() -> ClassKey {
        ClassKey::new(&Secret::new("a key the nodes share"))
    }

    #[test]
    fn a_token_leads_back_to_its_session_on_any_node_with_the_key() {
        let token = key().issue(SESSION);
        assert_eq!(token.bytes().len(), 25);
        assert_eq!(token.bytes()[0], 1);
        assert_eq!(token.bytes()[1..17], SESSION.bytes());
        assert_eq!(key().verify(token.bytes()), Ok(SESSION));
    }

    #[test]
    fn any_flipped_bit_is_forged_and_a_flipped_version_is_foreign() {
        let token = *key().issue(SESSION).bytes();
        for bit in 0..token.len() * 8 {
            let mut changed = token;
            changed[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 8 { ClassError::Foreign } else { ClassError::Forged };
            assert_eq!(key().verify(&changed), Err(expected), "bit {bit}");
        }
    }

    #[test]
    fn another_length_is_foreign_and_another_key_is_forged() {
        let token = *key().issue(SESSION).bytes();
        assert_eq!(key().verify(&token[..24]), Err(ClassError::Foreign));
        assert_eq!(key().verify(&[1; 26]), Err(ClassError::Foreign));
        assert_eq!(key().verify(&[]), Err(ClassError::Foreign));
        let other = ClassKey::new(&Secret::new("another"));
        assert_eq!(other.verify(&token), Err(ClassError::Forged));
    }
}

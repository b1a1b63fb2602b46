//! Values hidden under the shared secret: User-Password, salt-encrypted attributes, and the CHAP check.
//!
//! Used after [`integrity`](super::integrity) and before a password is compared. RFC 2865 §5.2
//! (User-Password), RFC 2868 §3.5 (Tunnel-Password), RFC 2548 §2.4.2 (MS-MPPE keys), RFC 2865 §5.3 and RFC
//! 1994 §4.1 (CHAP).
//!
//! Invariants: cleartext goes into the caller's buffer (keep it in `Zeroizing`), never into an allocation or
//! an error; only trailing NULs are padding, a NUL inside a password is a character of it. It does not decide
//! whether a password is right: hiding has no checksum, a wrong secret simply reveals noise.

use md5::{Digest, Md5};

use super::attribute::TAG_MAX;
use super::integrity::SharedKey;
use super::packet::Authenticator;
use crate::limits::{RADIUS_PASSWORD_BYTES_MAX, RADIUS_SALTED_BYTES_MAX};
use crate::secret::{Secret, constant_time_eq};

const BLOCK_BYTES: usize = 16;

/// Room for a revealed User-Password.
pub type PasswordBuffer = [u8; RADIUS_PASSWORD_BYTES_MAX];

/// Room for a revealed or hidden salt-encrypted value: salt, length octet and cleartext, in whole blocks.
pub type SaltedBuffer = [u8; 2 + 1 + RADIUS_SALTED_BYTES_MAX];

/// Why a hidden value cannot be revealed or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HidingError {
    /// The hidden value is not a whole number of 16-byte blocks within its attribute's range.
    #[error("a hidden value of {found} bytes is malformed: {expected}")]
    Length {
        /// The rule, in words.
        expected: &'static str,
        /// Bytes found.
        found: usize,
    },
    /// The revealed length octet exceeds the revealed bytes (RFC 2868 §3.5): almost always a wrong secret.
    #[error("the hidden value's length octet does not fit: the shared secret is probably wrong")]
    DataLength,
    /// The cleartext is too long to hide.
    #[error("{found} bytes cannot be hidden, the attribute holds at most {allowed}")]
    Cleartext {
        /// Bytes allowed.
        allowed: usize,
        /// Bytes given.
        found: usize,
    },
}

impl HidingError {
    /// The discard reason, as counted and shown.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Length { .. } => "radius-hidden-length",
            Self::DataLength => "radius-hidden-data-length",
            Self::Cleartext { .. } => "radius-hidden-cleartext",
        }
    }
}

/// Reveals a User-Password value into `buffer` (RFC 2865 §5.2).
pub fn reveal_user_password<'b>(
    key: &SharedKey,
    authenticator: &Authenticator,
    hidden: &[u8],
    buffer: &'b mut PasswordBuffer,
) -> Result<&'b [u8], HidingError> {
    let malformed = HidingError::Length { expected: "16 to 128, in blocks of 16", found: hidden.len() };
    let clear = buffer.get_mut(..hidden.len()).ok_or(malformed)?;
    let (blocks, []) = hidden.as_chunks::<BLOCK_BYTES>() else {
        return Err(malformed);
    };
    if blocks.is_empty() {
        return Err(malformed);
    }
    reveal(key, [authenticator, &[]], blocks, clear);
    let length = clear.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    Ok(clear.get(..length).unwrap_or_default())
}

/// Hides a password of 0 to 128 bytes into `buffer` (RFC 2865 §5.2).
pub fn hide_user_password<'b>(
    key: &SharedKey,
    authenticator: &Authenticator,
    password: &Secret,
    buffer: &'b mut PasswordBuffer,
) -> Result<&'b [u8], HidingError> {
    let (allowed, found) = (RADIUS_PASSWORD_BYTES_MAX, password.len());
    let too_long = HidingError::Cleartext { allowed, found };
    *buffer = [0; RADIUS_PASSWORD_BYTES_MAX];
    buffer.get_mut(..found).ok_or(too_long)?.copy_from_slice(password.expose());
    let hidden = buffer.get_mut(..found.max(1).next_multiple_of(BLOCK_BYTES)).ok_or(too_long)?;
    hide(key, [authenticator, &[]], hidden);
    Ok(hidden)
}

/// Reveals a salt-encrypted value: two salt octets, then blocks that begin with a length octet. This is the
/// whole value of an MS-MPPE key (RFC 2548 §2.4.2) and a Tunnel-Password after its tag (RFC 2868 §3.5).
///
/// The salt's leading bit must be set by senders; a receiver gains nothing by insisting, so it is not
/// checked.
pub fn reveal_salted<'b>(
    key: &SharedKey,
    authenticator: &Authenticator,
    salted: &[u8],
    buffer: &'b mut SaltedBuffer,
) -> Result<&'b [u8], HidingError> {
    let malformed =
        HidingError::Length { expected: "2 of salt, then 16 to 240 in blocks of 16", found: salted.len() };
    let (salt, hidden) = salted.split_first_chunk::<2>().ok_or(malformed)?;
    let (blocks, []) = hidden.as_chunks::<BLOCK_BYTES>() else {
        return Err(malformed);
    };
    if blocks.is_empty() || hidden.len() > RADIUS_SALTED_BYTES_MAX.saturating_add(1) {
        return Err(malformed);
    }
    let clear = buffer.get_mut(..hidden.len()).ok_or(malformed)?;
    reveal(key, [authenticator, salt], blocks, clear);
    let (length, data) = clear.split_first().ok_or(malformed)?;
    data.get(..usize::from(*length)).ok_or(HidingError::DataLength)
}

/// Hides 0 to 239 bytes under `salt` into `buffer`; the salt's leading bit is set here (RFC 2868 §3.5). The
/// caller takes a different salt for each salt-encrypted attribute of one packet.
pub fn hide_salted<'b>(
    key: &SharedKey,
    authenticator: &Authenticator,
    salt: u16,
    cleartext: &Secret,
    buffer: &'b mut SaltedBuffer,
) -> Result<&'b [u8], HidingError> {
    let (allowed, found) = (RADIUS_SALTED_BYTES_MAX, cleartext.len());
    let too_long = HidingError::Cleartext { allowed, found };
    *buffer = [0; 2 + 1 + RADIUS_SALTED_BYTES_MAX];
    let length = u8::try_from(found).map_err(|_| too_long)?;
    let salt = (salt | 0x8000).to_be_bytes();
    let blocks_end = found.saturating_add(1).next_multiple_of(BLOCK_BYTES).saturating_add(2);
    let value = buffer.get_mut(..blocks_end).ok_or(too_long)?;
    let (head, rest) = value.split_at_mut_checked(2).ok_or(too_long)?;
    head.copy_from_slice(&salt);
    if let Some((first, data)) = rest.split_first_mut() {
        *first = length;
        data.get_mut(..found).ok_or(too_long)?.copy_from_slice(cleartext.expose());
    }
    hide(key, [authenticator, &salt], rest);
    Ok(value)
}

/// A revealed Tunnel-Password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TunnelPassword<'b> {
    /// Tunnel that the password belongs to, 1 to 31; 0 when the sender used no tag.
    pub tag: u8,
    /// The cleartext.
    pub password: &'b [u8],
}

/// Reveals a Tunnel-Password value: tag, salt, hidden password (RFC 2868 §3.5). Its tag octet is always
/// there; one out of range is ignored.
pub fn reveal_tunnel_password<'b>(
    key: &SharedKey,
    authenticator: &Authenticator,
    value: &[u8],
    buffer: &'b mut SaltedBuffer,
) -> Result<TunnelPassword<'b>, HidingError> {
    let [tag, salted @ ..] = value else {
        return Err(HidingError::Length { expected: "a tag, 2 of salt, then blocks of 16", found: 0 });
    };
    let password = reveal_salted(key, authenticator, salted, buffer)?;
    Ok(TunnelPassword { tag: if *tag <= TAG_MAX { *tag } else { 0 }, password })
}

/// A CHAP-Password value: the CHAP identifier and the response (RFC 2865 §5.3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChapPassword {
    /// CHAP identifier.
    pub identifier: u8,
    /// CHAP response.
    pub response: [u8; 16],
}

impl ChapPassword {
    /// Splits a CHAP-Password value; `None` unless it is 17 bytes.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (identifier, response) = value.split_first()?;
        Some(Self { identifier: *identifier, response: response.try_into().ok()? })
    }

    /// The value a peer that knows `password` sends: MD5 over identifier, password, challenge (RFC 1994
    /// §4.1).
    pub fn answer(identifier: u8, password: &Secret, challenge: &[u8]) -> Self {
        let digest = Md5::new().chain_update([identifier]).chain_update(password.expose());
        Self { identifier, response: digest.chain_update(challenge).finalize().into() }
    }

    /// Whether this is the answer to `challenge` under `password`, in constant time. The challenge is the
    /// CHAP-Challenge value, or the Request Authenticator when that attribute is absent (RFC 2865 §5.3).
    pub fn matches(&self, password: &Secret, challenge: &[u8]) -> bool {
        let expected = Self::answer(self.identifier, password, challenge);
        constant_time_eq(&expected.response, &self.response)
    }
}

/// XORs each hidden block with the digest of secret and previous hidden block (RFC 2865 §5.2).
fn reveal(key: &SharedKey, first: [&[u8]; 2], hidden: &[[u8; BLOCK_BYTES]], clear: &mut [u8]) {
    let mut stream = first;
    for (block, out) in hidden.iter().zip(clear.chunks_exact_mut(BLOCK_BYTES)) {
        out.copy_from_slice(block);
        xor(out, &key.secret_then_digest(stream));
        stream = [block, &[]];
    }
}

/// The same in place and forward: each block's key stream comes from the hidden block before it.
fn hide(key: &SharedKey, first: [&[u8]; 2], clear: &mut [u8]) {
    let mut previous: Option<[u8; BLOCK_BYTES]> = None;
    let (blocks, _) = clear.as_chunks_mut::<BLOCK_BYTES>();
    for block in blocks {
        let stream = match &previous {
            None => key.secret_then_digest(first),
            Some(hidden) => key.secret_then_digest([hidden, &[]]),
        };
        xor(block, &stream);
        previous = Some(*block);
    }
}

fn xor(block: &mut [u8], stream: &[u8; BLOCK_BYTES]) {
    for (byte, key) in block.iter_mut().zip(stream) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHENTICATOR: Authenticator = *b"0123456789abcdef";

    fn key() -> SharedKey {
        SharedKey::new(Secret::new("xyzzy5461"))
    }

    fn round(password: &[u8]) -> Result<Vec<u8>, HidingError> {
        let (mut hidden, mut clear) = ([0; 128], [0; 128]);
        let hidden = hide_user_password(&key(), &AUTHENTICATOR, &Secret::new(password), &mut hidden)?;
        reveal_user_password(&key(), &AUTHENTICATOR, hidden, &mut clear).map(<[u8]>::to_vec)
    }

    #[test]
    fn a_password_of_any_allowed_length_comes_back() {
        for length in 0..=128 {
            let password = vec![b'p'; length];
            assert_eq!(round(&password), Ok(password));
        }
        assert_eq!(round(&[b'p'; 129]), Err(HidingError::Cleartext { allowed: 128, found: 129 }));
    }

    #[test]
    fn only_trailing_nuls_are_padding() {
        assert_eq!(round(b"a\0b\0\0"), Ok(b"a\0b".to_vec()));
    }

    #[test]
    fn a_user_password_that_is_not_whole_blocks_is_malformed() {
        for length in [0, 1, 15, 17, 127, 129, 144, 253] {
            let revealed =
                reveal_user_password(&key(), &AUTHENTICATOR, &vec![0; length], &mut [0; 128]).err();
            assert_eq!(revealed.map(|error| error.reason()), Some("radius-hidden-length"), "{length}");
        }
    }

    #[test]
    fn a_salted_value_carries_its_length_octet_and_a_marked_salt() {
        for length in [0, 1, 14, 15, 16, 32, 239] {
            let (mut hidden, mut clear) = ([0; 242], [0; 242]);
            let secret = Secret::new(vec![7; length]);
            let hidden = hide_salted(&key(), &AUTHENTICATOR, 0x0102, &secret, &mut hidden).unwrap();
            assert_eq!(hidden[..2], [0x81, 0x02]);
            assert_eq!((hidden.len() - 2) % 16, 0);
            let revealed = reveal_salted(&key(), &AUTHENTICATOR, hidden, &mut clear).unwrap();
            assert_eq!(revealed, secret.expose());
        }
        let long = Secret::new(vec![7; 240]);
        assert!(hide_salted(&key(), &AUTHENTICATOR, 1, &long, &mut [0; 242]).is_err());
    }

    #[test]
    fn the_first_hidden_block_of_a_tunnel_password_begins_with_the_length_octet() {
        let mut hidden = [0; 242];
        let hidden = hide_salted(&key(), &AUTHENTICATOR, 1, &Secret::new("abc"), &mut hidden).unwrap();
        let stream = key().secret_then_digest([&AUTHENTICATOR, &hidden[..2]]);
        let block: Vec<u8> = hidden[2..].iter().zip(stream).map(|(byte, key)| byte ^ key).collect();
        assert_eq!(block, b"\x03abc\0\0\0\0\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn a_length_octet_beyond_the_value_is_refused() {
        let stream = key().secret_then_digest([&AUTHENTICATOR, &[0x80, 0]]);
        let mut value = vec![0x80, 0];
        value.extend(stream);
        value[2] ^= 16;
        let mut clear = [0; 242];
        let revealed = reveal_salted(&key(), &AUTHENTICATOR, &value, &mut clear);
        assert_eq!(revealed, Err(HidingError::DataLength));
    }

    #[test]
    fn malformed_tunnel_passwords_are_errors() {
        for length in [0, 1, 2, 3, 18, 20, 252, 253] {
            let value = vec![0; length];
            assert!(reveal_tunnel_password(&key(), &AUTHENTICATOR, &value, &mut [0; 242]).is_err());
        }
    }

    #[test]
    fn chap_accepts_the_right_password_only() {
        let password = Secret::new("arctangent");
        let chap = ChapPassword::answer(0x16, &password, &AUTHENTICATOR);
        assert!(chap.matches(&password, &AUTHENTICATOR));
        assert!(!chap.matches(&Secret::new("arctangenu"), &AUTHENTICATOR));
        assert!(!chap.matches(&password, b"another challenge"));
        assert!(ChapPassword::parse(&[0; 16]).is_none());
        assert!(ChapPassword::parse(&[0; 18]).is_none());
    }
}

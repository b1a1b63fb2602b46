//! Who signed a packet: authenticators and Message-Authenticator, made and verified under a shared secret.
//!
//! Second step of the path, between [`packet`](super::packet) and everything that believes a packet.
//! RFC 2865 §3 (Response Authenticator), RFC 2866 §3 and RFC 5176 §2.3 (Request Authenticator as a digest),
//! RFC 2869 §5.14 and RFC 3579 §3.2 (Message-Authenticator), RFC 5997 §3 (Status-Server).
//!
//! Invariants: comparisons take constant time; octets beyond Length are never hashed; the datagram is not
//! copied, its pieces are fed to the digest. The keyed HMAC state is made once per secret and cloned per
//! packet: MD5 is nine tenths of a request's cost and keying it would add two blocks to each.
//!
//! Whether an unsigned Access-Request is acceptable is the NAS's policy and decided elsewhere: here it is
//! told apart from a forged one.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};

use super::attribute::{Attribute, kind};
use super::packet::{AUTHENTICATOR_BYTES, Authenticator, Code, Packet};
use crate::secret::{Secret, constant_time_eq};

const ZEROS: Authenticator = [0; AUTHENTICATOR_BYTES];

/// Bytes before the authenticator: code, identifier, Length.
const HEAD_BYTES: usize = 4;

/// How a packet that passed verification was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// By a Message-Authenticator, which covers the whole packet.
    MessageAuthenticator,
    /// By its authenticator field alone (RFC 2866 §3, RFC 5176 §2.3, RFC 2865 §3).
    Authenticator,
    /// Not at all: an Access-Request without Message-Authenticator.
    None,
}

/// Why a packet is not from a holder of the secret, or cannot be told to be. Silence in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntegrityError {
    /// The authenticator field is not the digest it must be.
    #[error("the authenticator does not match: wrong shared secret, or not from this peer")]
    AuthenticatorMismatch,
    /// The Message-Authenticator is not the HMAC it must be.
    #[error("Message-Authenticator does not match: wrong shared secret, or not from this peer")]
    MessageAuthenticatorMismatch,
    /// More than one Message-Authenticator, or one that is not 16 bytes.
    #[error("Message-Authenticator is malformed: exactly one of exactly 16 bytes is allowed")]
    MessageAuthenticatorMalformed,
    /// No Message-Authenticator where it is mandatory: Status-Server (RFC 5997 §3), EAP (RFC 3579 §3.1).
    #[error("Message-Authenticator is missing: Status-Server and EAP requests must carry it")]
    MessageAuthenticatorMissing,
    /// A code that is not a request (or not a response) that we verify.
    #[error("{0} is not expected here")]
    UnexpectedCode(Code),
}

impl IntegrityError {
    /// The discard reason, as counted and shown.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::AuthenticatorMismatch => "radius-authenticator-mismatch",
            Self::MessageAuthenticatorMismatch => "radius-message-authenticator-mismatch",
            Self::MessageAuthenticatorMalformed => "radius-message-authenticator-malformed",
            Self::MessageAuthenticatorMissing => "radius-message-authenticator-missing",
            Self::UnexpectedCode(_) => "radius-code-unexpected",
        }
    }
}

/// A shared secret with its digest states prepared; one per NAS, built when the NAS is loaded.
///
/// An empty secret signs nothing worth having (RFC 2865 §3 forbids it): configuration refuses it.
#[derive(Clone)]
pub struct SharedKey {
    secret: Secret,
    hmac: Hmac<Md5>,
    digest: Md5,
}

impl SharedKey {
    /// Prepares a shared secret.
    pub fn new(secret: Secret) -> Self {
        let hmac = keyed(secret.expose());
        let digest = Md5::new_with_prefix(secret.expose());
        Self { secret, hmac, digest }
    }

    /// Verifies a request by the rules of its code.
    ///
    /// - Access-Request: Message-Authenticator when present; EAP-Message makes it mandatory (RFC 3579 §3.1).
    /// - Status-Server: Message-Authenticator, mandatory.
    /// - Accounting-, CoA- and Disconnect-Request: the Request Authenticator, and Message-Authenticator when
    ///   present, computed with the Request Authenticator taken as zero (RFC 5176 §3.4).
    pub fn verify_request(&self, request: &Packet<'_>) -> Result<Signature, IntegrityError> {
        match request.code() {
            Code::ACCESS_REQUEST | Code::STATUS_SERVER => {
                if let Some(at) = sole_message_authenticator(request)? {
                    self.check_message_authenticator(request, at, request.authenticator())?;
                    return Ok(Signature::MessageAuthenticator);
                }
                if request.code() == Code::STATUS_SERVER || request.has(kind::EAP_MESSAGE) {
                    return Err(IntegrityError::MessageAuthenticatorMissing);
                }
                Ok(Signature::None)
            }
            Code::ACCOUNTING_REQUEST | Code::COA_REQUEST | Code::DISCONNECT_REQUEST => {
                self.verify_over(request, &ZEROS)
            }
            other => Err(IntegrityError::UnexpectedCode(other)),
        }
    }

    /// Verifies a response against the authenticator of the request it answers: the Response Authenticator
    /// (RFC 2865 §3), and Message-Authenticator when present. The caller pairs identifiers and addresses.
    pub fn verify_response(
        &self,
        response: &Packet<'_>,
        request_authenticator: &Authenticator,
    ) -> Result<Signature, IntegrityError> {
        match response.code() {
            Code::ACCESS_ACCEPT
            | Code::ACCESS_REJECT
            | Code::ACCESS_CHALLENGE
            | Code::ACCOUNTING_RESPONSE
            | Code::DISCONNECT_ACK
            | Code::DISCONNECT_NAK
            | Code::COA_ACK
            | Code::COA_NAK
            | Code::PROTOCOL_ERROR => self.verify_over(response, request_authenticator),
            other => Err(IntegrityError::UnexpectedCode(other)),
        }
    }

    /// Message-Authenticator over a finished packet image that carries the right authenticator and zeros
    /// where the result will go (RFC 2869 §5.14).
    pub(super) fn message_authenticator(&self, image: &[u8]) -> [u8; 16] {
        self.hmac.clone().chain_update(image).finalize().into_bytes().into()
    }

    /// Digest of a finished packet image followed by the secret: the Response Authenticator, or the Request
    /// Authenticator when the image carries zeros (RFC 2865 §3, RFC 2866 §3).
    pub(super) fn digest_then_secret(&self, image: &[u8]) -> Authenticator {
        Md5::new().chain_update(image).chain_update(self.secret.expose()).finalize().into()
    }

    /// Digest of the secret followed by `pieces`: the key stream of hidden values (RFC 2865 §5.2).
    pub(super) fn secret_then_digest(&self, pieces: [&[u8]; 2]) -> [u8; 16] {
        let [first, second] = pieces;
        self.digest.clone().chain_update(first).chain_update(second).finalize().into()
    }

    fn verify_over(&self, packet: &Packet<'_>, over: &Authenticator) -> Result<Signature, IntegrityError> {
        let signed = sole_message_authenticator(packet)?;
        let (head, tail) = around_authenticator(packet);
        let expected: Authenticator = Md5::new()
            .chain_update(head)
            .chain_update(over)
            .chain_update(tail)
            .chain_update(self.secret.expose())
            .finalize()
            .into();
        if !constant_time_eq(&expected, packet.authenticator()) {
            return Err(IntegrityError::AuthenticatorMismatch);
        }
        match signed {
            Some(at) => {
                self.check_message_authenticator(packet, at, over)?;
                Ok(Signature::MessageAuthenticator)
            }
            None => Ok(Signature::Authenticator),
        }
    }

    /// Compares the attribute at `at` with the HMAC over the packet, that attribute's value taken as zero.
    fn check_message_authenticator(
        &self,
        packet: &Packet<'_>,
        at: usize,
        over: &Authenticator,
    ) -> Result<(), IntegrityError> {
        let (head, tail) = around_authenticator(packet);
        let value = at.saturating_add(2).saturating_sub(HEAD_BYTES + AUTHENTICATOR_BYTES);
        let malformed = IntegrityError::MessageAuthenticatorMalformed;
        let (before, rest) = tail.split_at_checked(value).ok_or(malformed)?;
        let (received, after) = rest.split_first_chunk::<16>().ok_or(malformed)?;
        let expected: [u8; 16] = self
            .hmac
            .clone()
            .chain_update(head)
            .chain_update(over)
            .chain_update(before)
            .chain_update(ZEROS)
            .chain_update(after)
            .finalize()
            .into_bytes()
            .into();
        if constant_time_eq(&expected, received) {
            Ok(())
        } else {
            Err(IntegrityError::MessageAuthenticatorMismatch)
        }
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<shared key>")
    }
}

/// An HMAC state under a key of any length.
#[expect(clippy::expect_used, reason = "HMAC takes keys of every length (RFC 2104 §3): it cannot fail")]
pub(super) fn keyed<M: Mac + KeyInit>(key: &[u8]) -> M {
    <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of every length")
}

/// Position of the packet's only Message-Authenticator. A second one is malformed, not ignored: whoever
/// looked at the other one would see another signature.
fn sole_message_authenticator(packet: &Packet<'_>) -> Result<Option<usize>, IntegrityError> {
    let mut found = packet.all(kind::MESSAGE_AUTHENTICATOR);
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some(Attribute { value, .. }), None) if value.len() == 16 => {
            Ok(packet.position(kind::MESSAGE_AUTHENTICATOR))
        }
        _ => Err(IntegrityError::MessageAuthenticatorMalformed),
    }
}

/// The packet before and after its authenticator field.
fn around_authenticator<'a>(packet: &Packet<'a>) -> (&'a [u8], &'a [u8]) {
    let bytes = packet.bytes();
    (
        bytes.get(..HEAD_BYTES).unwrap_or_default(),
        bytes.get(HEAD_BYTES + AUTHENTICATOR_BYTES..).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::radius::wire::encode::{PacketWriter, Signing};

    const AUTHENTICATOR: Authenticator = *b"0123456789abcdef";

    fn key() -> SharedKey {
        SharedKey::new(Secret::new("xyzzy5461"))
    }

    fn verify(bytes: &[u8]) -> Result<Signature, IntegrityError> {
        key().verify_request(&Packet::parse(bytes).unwrap())
    }

    fn access_request() -> Vec<u8> {
        let mut buffer = [0; 4096];
        let mut writer = PacketWriter::access_request(&mut buffer, 9, AUTHENTICATOR, Signing::First).unwrap();
        writer.text(kind::USER_NAME, "nemo").unwrap();
        writer.finish(&key()).unwrap().to_vec()
    }

    #[test]
    fn the_same_secret_verifies_and_another_does_not() {
        let bytes = access_request();
        assert_eq!(verify(&bytes), Ok(Signature::MessageAuthenticator));
        let other = SharedKey::new(Secret::new("xyzzy5462"));
        assert_eq!(
            other.verify_request(&Packet::parse(&bytes).unwrap()),
            Err(IntegrityError::MessageAuthenticatorMismatch)
        );
    }

    #[test]
    fn padding_behind_length_is_not_hashed() {
        let mut bytes = access_request();
        bytes.extend([1, 2, 3]);
        assert_eq!(verify(&bytes), Ok(Signature::MessageAuthenticator));
        let mut buffer = [0; 4096];
        let writer =
            PacketWriter::request(&mut buffer, Code::ACCOUNTING_REQUEST, 1, Signing::Omitted).unwrap();
        let mut bytes = writer.finish(&key()).unwrap().to_vec();
        bytes.extend([0; 40]);
        assert_eq!(verify(&bytes), Ok(Signature::Authenticator));
    }

    #[test]
    fn a_second_message_authenticator_is_malformed() {
        let mut bytes = access_request();
        bytes.extend([80, 18]);
        bytes.extend([0; 16]);
        bytes[3] = bytes.len() as u8;
        assert_eq!(verify(&bytes), Err(IntegrityError::MessageAuthenticatorMalformed));
    }

    #[test]
    fn a_message_authenticator_of_another_length_is_malformed() {
        let mut bytes = vec![1, 1, 0, 20 + 17];
        bytes.extend(AUTHENTICATOR);
        bytes.extend([80, 17]);
        bytes.extend([0; 15]);
        assert_eq!(verify(&bytes), Err(IntegrityError::MessageAuthenticatorMalformed));
    }

    #[test]
    fn unsigned_is_told_apart_from_forged_and_refused_where_signing_is_mandatory() {
        let bare = |code: u8, attributes: &[u8]| {
            let mut bytes = vec![code, 1, 0, (20 + attributes.len()) as u8];
            bytes.extend(AUTHENTICATOR);
            bytes.extend(attributes);
            bytes
        };
        assert_eq!(verify(&bare(1, &[1, 3, b'x'])), Ok(Signature::None));
        assert_eq!(verify(&bare(1, &[79, 3, 2])), Err(IntegrityError::MessageAuthenticatorMissing));
        assert_eq!(verify(&bare(12, &[])), Err(IntegrityError::MessageAuthenticatorMissing));
        assert_eq!(verify(&bare(4, &[])), Err(IntegrityError::AuthenticatorMismatch));
        assert_eq!(verify(&bare(2, &[])), Err(IntegrityError::UnexpectedCode(Code::ACCESS_ACCEPT)));
    }

    #[test]
    fn a_shared_key_prints_nothing_of_itself() {
        assert_eq!(format!("{:?}", key()), "<shared key>");
    }
}

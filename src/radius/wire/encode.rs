//! Writing packets: replies and requests, signed as their code demands, into the caller's buffer.
//!
//! Last step of the path, and the first one where we are the client: CoA, Disconnect, the load generator.
//! RFC 2865 §3 (Response Authenticator), RFC 2866 §3 and RFC 5176 §2.3 (Request Authenticator as a digest),
//! RFC 2869 §5.14 (Message-Authenticator). Values of each type are appended by [`append`](super::append).
//!
//! ```text
//!   header │ Message-Authenticator │ attributes in the order appended │ Proxy-State, copied last
//!          └ reserved first, so that what precedes it is not an attacker's to choose (CVE-2024-3596)
//! ```
//!
//! Invariants: nothing is written beyond 4096 bytes or the buffer; an append that fails leaves the packet as
//! it was; [`PacketWriter::finish`] is the only way to the bytes, so no packet leaves with an empty
//! signature. It does not know which attributes belong into which packet.

use super::attribute::kind;
use super::hiding::HidingError;
use super::integrity::SharedKey;
use super::packet::{Authenticator, Code, ReplyTo};
use crate::limits::{RADIUS_PACKET_BYTES_MAX, RADIUS_PACKET_BYTES_MIN, RADIUS_VALUE_BYTES_MAX};

/// Where the value of a Message-Authenticator written first begins.
const SIGNATURE_AT: usize = RADIUS_PACKET_BYTES_MIN + 2;

/// Whether a packet carries Message-Authenticator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// As the first attribute: every reply to an Access-Request, every Access-Request of ours.
    First,
    /// Not at all: accounting, and equipment that breaks on it.
    Omitted,
}

/// Why a packet could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// No room left in 4096 bytes or in the buffer.
    #[error("the packet is full: 4096 bytes, or the buffer given")]
    Full,
    /// A value of a length its attribute cannot have.
    #[error("attribute {kind} cannot carry a value of {length} bytes")]
    ValueLength {
        /// Attribute type.
        kind: u8,
        /// Bytes given.
        length: usize,
    },
    /// A tag above 31 or a tagged integer above 24 bits (RFC 2868 §3.1).
    #[error("attribute {kind} cannot carry this tag and number: tags are 0 to 31, numbers have 24 bits")]
    Tagged {
        /// Attribute type.
        kind: u8,
    },
    /// An extended type outside 241 to 246, or the wrong form for it (RFC 6929 §2).
    #[error("attribute {kind} is not of that extended form")]
    NotExtended {
        /// Attribute type.
        kind: u8,
    },
    /// Hiding needs an authenticator that exists before the attributes do; accounting and CoA have none.
    #[error("a value cannot be hidden in a packet whose authenticator is computed last")]
    NoAuthenticator,
    /// The value could not be hidden.
    #[error(transparent)]
    Hiding(#[from] HidingError),
}

/// What goes into the authenticator field.
#[derive(Clone, Copy)]
enum Seal {
    /// The digest over the request's authenticator (RFC 2865 §3).
    Response(Authenticator),
    /// Random bytes of the client (RFC 2865 §3).
    Random(Authenticator),
    /// The digest over zeros (RFC 2866 §3).
    Digest,
}

/// A packet being written.
pub struct PacketWriter<'b> {
    buffer: &'b mut [u8],
    length: usize,
    seal: Seal,
    signing: Signing,
}

impl<'b> PacketWriter<'b> {
    /// A reply: Accept, Reject, Challenge, Accounting-Response, CoA or Disconnect ACK and NAK.
    pub fn reply(
        buffer: &'b mut [u8],
        code: Code,
        to: &ReplyTo,
        signing: Signing,
    ) -> Result<Self, EncodeError> {
        Self::start(buffer, code, to.identifier, Seal::Response(to.authenticator), signing)
    }

    /// An Access-Request under an authenticator that is random and never repeated (RFC 2865 §3).
    pub fn access_request(
        buffer: &'b mut [u8],
        identifier: u8,
        authenticator: Authenticator,
        signing: Signing,
    ) -> Result<Self, EncodeError> {
        Self::start(buffer, Code::ACCESS_REQUEST, identifier, Seal::Random(authenticator), signing)
    }

    /// A Status-Server request, always signed (RFC 5997 §3).
    pub fn status_server(
        buffer: &'b mut [u8],
        identifier: u8,
        authenticator: Authenticator,
    ) -> Result<Self, EncodeError> {
        Self::start(buffer, Code::STATUS_SERVER, identifier, Seal::Random(authenticator), Signing::First)
    }

    /// A request whose authenticator is a digest: Accounting-, CoA- or Disconnect-Request.
    pub fn request(
        buffer: &'b mut [u8],
        code: Code,
        identifier: u8,
        signing: Signing,
    ) -> Result<Self, EncodeError> {
        Self::start(buffer, code, identifier, Seal::Digest, signing)
    }

    fn start(
        buffer: &'b mut [u8],
        code: Code,
        identifier: u8,
        seal: Seal,
        signing: Signing,
    ) -> Result<Self, EncodeError> {
        let room = buffer.len().min(RADIUS_PACKET_BYTES_MAX);
        let buffer = buffer.get_mut(..room).ok_or(EncodeError::Full)?;
        let header = buffer.first_chunk_mut::<RADIUS_PACKET_BYTES_MIN>().ok_or(EncodeError::Full)?;
        *header = [0; RADIUS_PACKET_BYTES_MIN];
        let [code_at, identifier_at, ..] = header;
        (*code_at, *identifier_at) = (code.0, identifier);
        let mut writer = Self { buffer, length: RADIUS_PACKET_BYTES_MIN, seal, signing };
        if signing == Signing::First {
            writer.raw(kind::MESSAGE_AUTHENTICATOR, &[0; 16])?;
        }
        Ok(writer)
    }

    /// Bytes written so far.
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Signs the packet and gives its bytes: Length, then Message-Authenticator, then the authenticator that
    /// covers it.
    pub fn finish(self, key: &SharedKey) -> Result<&'b [u8], EncodeError> {
        let Self { buffer, length, seal, signing } = self;
        let packet = buffer.get_mut(..length).ok_or(EncodeError::Full)?;
        let under = match seal {
            Seal::Response(authenticator) | Seal::Random(authenticator) => authenticator,
            Seal::Digest => Authenticator::default(),
        };
        put(packet, 2, &(length as u16).to_be_bytes())?;
        put(packet, 4, &under)?;
        if signing == Signing::First {
            let signature = key.message_authenticator(packet);
            put(packet, SIGNATURE_AT, &signature)?;
        }
        if !matches!(seal, Seal::Random(_)) {
            let authenticator = key.digest_then_secret(packet);
            put(packet, 4, &authenticator)?;
        }
        Ok(packet)
    }

    /// A value of 0 to 253 bytes as it is. Empty values exist only to repeat what somebody sent: RFC 2865 §5
    /// forbids making them.
    pub fn raw(&mut self, kind: u8, value: &[u8]) -> Result<(), EncodeError> {
        self.push(kind, [value])
    }

    pub(super) fn authenticator(&self) -> Result<Authenticator, EncodeError> {
        match self.seal {
            Seal::Response(authenticator) | Seal::Random(authenticator) => Ok(authenticator),
            Seal::Digest => Err(EncodeError::NoAuthenticator),
        }
    }

    /// Runs appends of which all or none must be in the packet.
    pub(super) fn whole(
        &mut self,
        append: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let before = self.length;
        append(self).inspect_err(|_| self.length = before)
    }

    pub(super) fn push<const N: usize>(&mut self, kind: u8, parts: [&[u8]; N]) -> Result<(), EncodeError> {
        let length = parts.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        if length > RADIUS_VALUE_BYTES_MAX {
            return Err(EncodeError::ValueLength { kind, length });
        }
        let end = self.length.saturating_add(2).saturating_add(length);
        let slot = self.buffer.get_mut(self.length..end).ok_or(EncodeError::Full)?;
        let (head, mut rest) = slot.split_first_chunk_mut::<2>().ok_or(EncodeError::Full)?;
        *head = [kind, length.saturating_add(2) as u8];
        for part in parts {
            let (here, after) = rest.split_at_mut_checked(part.len()).ok_or(EncodeError::Full)?;
            here.copy_from_slice(part);
            rest = after;
        }
        self.length = end;
        Ok(())
    }
}

fn put(packet: &mut [u8], at: usize, bytes: &[u8]) -> Result<(), EncodeError> {
    let end = at.saturating_add(bytes.len());
    packet.get_mut(at..end).ok_or(EncodeError::Full)?.copy_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::radius::wire::integrity::Signature;
    use crate::radius::wire::packet::Packet;
    use crate::secret::Secret;

    const TO: ReplyTo = ReplyTo { identifier: 9, authenticator: *b"0123456789abcdef" };

    fn key() -> SharedKey {
        SharedKey::new(Secret::new("xyzzy5461"))
    }

    fn accept(buffer: &mut [u8]) -> PacketWriter<'_> {
        PacketWriter::reply(buffer, Code::ACCESS_ACCEPT, &TO, Signing::First).unwrap()
    }

    #[test]
    fn message_authenticator_is_the_first_attribute_of_a_reply_and_verifies() {
        let mut buffer = [0; 4096];
        let mut writer = accept(&mut buffer);
        writer.text(kind::REPLY_MESSAGE, "hello").unwrap();
        let packet = Packet::parse(writer.finish(&key()).unwrap()).unwrap();
        assert_eq!(packet.attributes().next().map(|first| first.kind), Some(kind::MESSAGE_AUTHENTICATOR));
        assert_eq!(key().verify_response(&packet, &TO.authenticator), Ok(Signature::MessageAuthenticator));
        assert_eq!(packet.identifier(), 9);
    }

    #[test]
    fn message_authenticator_can_be_omitted() {
        let mut buffer = [0; 4096];
        let writer = PacketWriter::reply(&mut buffer, Code::ACCESS_REJECT, &TO, Signing::Omitted).unwrap();
        let packet = Packet::parse(writer.finish(&key()).unwrap()).unwrap();
        assert_eq!(packet.attributes().count(), 0);
        assert_eq!(key().verify_response(&packet, &TO.authenticator), Ok(Signature::Authenticator));
    }

    #[test]
    fn a_request_with_a_digest_authenticator_verifies_signed_or_not() {
        for signing in [Signing::First, Signing::Omitted] {
            for code in [Code::ACCOUNTING_REQUEST, Code::COA_REQUEST, Code::DISCONNECT_REQUEST] {
                let mut buffer = [0; 4096];
                let mut writer = PacketWriter::request(&mut buffer, code, 1, signing).unwrap();
                writer.text(kind::ACCT_SESSION_ID, "8100").unwrap();
                let packet = Packet::parse(writer.finish(&key()).unwrap()).unwrap();
                assert!(key().verify_request(&packet).is_ok(), "{code} {signing:?}");
            }
        }
    }

    #[test]
    fn a_full_packet_refuses_more_and_stays_as_it_was() {
        let mut buffer = [0; 5000];
        let mut writer = accept(&mut buffer);
        while writer.raw(kind::CLASS, &[7; 253]).is_ok() {}
        let length = writer.length();
        assert_eq!(writer.concat(kind::EAP_MESSAGE, &[1; 600]), Err(EncodeError::Full));
        assert_eq!(writer.length(), length);
        assert_eq!(writer.raw(kind::CLASS, &vec![7; 4096 - length - 2]), Ok(()));
        assert_eq!(writer.raw(kind::CLASS, &[]), Err(EncodeError::Full));
        let packet = Packet::parse(writer.finish(&key()).unwrap()).unwrap();
        assert_eq!(packet.bytes().len(), 4096);
        assert!(key().verify_response(&packet, &TO.authenticator).is_ok());
        assert!(PacketWriter::status_server(&mut [0; 37], 1, TO.authenticator).is_err());
    }
}

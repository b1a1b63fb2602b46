//! Writes a server's replies, within what the client takes.
//!
//! Last stage of the path. RFC 2131 §4.3.1 (table 3), RFC 3046 §2.2, RFC 3396 §6, RFC 6842 §3.
//!
//! Order in a reply, and at the same time the order in which options find room:
//!
//! 1. message type (53), server id (54), lease time (51), T1 (58), T2 (59);
//! 2. at the end, with its room kept from the start: relay agent information (82), then END;
//! 3. the client identifier (61), echoed;
//! 4. what the caller adds, first come first served. RFC 2132 §9.8 wants the order of the client's parameter
//!    list.
//!
//! Invariants: a reply is at most [`Message::reply_bytes_max`] long and at least 300 bytes; an option is
//! written whole or left out and named in [`Written::dropped`]; groups 1 and 2 always fit, except an option
//! 82 of more than 255 bytes, without which the reply goes out then (RFC 3046 §2.2). No allocation.
//!
//! It does not choose, nor check sizes: addresses, times and options come from the caller, and so does what a NAK may carry.

use std::net::Ipv4Addr;

use super::header::{BROADCAST, COOKIE};
use super::{Message, MessageType, Op, OptionBytes, OptionSet, code};
use crate::limits::{DHCP4_MESSAGE_BYTES_MIN, DHCP4_OPTIONS_MAX, DHCP4_PADDED_BYTES_MIN};

/// Why a message cannot be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The buffer is too short: for a reply, shorter than what the client takes.
    #[error("buffer of {len} bytes is shorter than the {need} that the message may need")]
    BufferTooShort {
        /// Bytes of the buffer.
        len: usize,
        /// Bytes it should have.
        need: usize,
    },
    /// Replies answer requests only: answering a reply would loop.
    #[error("the message to answer is itself a reply")]
    NotARequest,
    /// `chaddr` holds 16 bytes.
    #[error("hardware address of {len} bytes is longer than the 16 of chaddr")]
    HardwareAddressTooLong {
        /// Bytes given.
        len: usize,
    },
}

/// The three times of a lease, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// Option 51; `u32::MAX` is forever.
    pub lease_secs: u32,
    /// Option 58, T1: when the client renews.
    pub renew_secs: u32,
    /// Option 59, T2: when it asks any server.
    pub rebind_secs: u32,
}

/// The replies of a DHCP server, each with the fields that only it has (RFC 2131 §4.3.1, table 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// DHCPOFFER.
    Offer {
        /// The address offered.
        yiaddr: Ipv4Addr,
        /// For how long.
        times: LeaseTimes,
    },
    /// DHCPACK to a DHCPREQUEST.
    Ack {
        /// The address leased.
        yiaddr: Ipv4Addr,
        /// As in the request, or zero.
        ciaddr: Ipv4Addr,
        /// For how long.
        times: LeaseTimes,
    },
    /// DHCPACK to a DHCPINFORM: no address and no times (RFC 2131 §4.3.5).
    InformAck {
        /// As in the request.
        ciaddr: Ipv4Addr,
    },
    /// DHCPNAK.
    Nak,
}

impl ReplyKind {
    /// Option 53 of the reply.
    pub const fn message_type(self) -> MessageType {
        match self {
            Self::Offer { .. } => MessageType::Offer,
            Self::Ack { .. } | Self::InformAck { .. } => MessageType::Ack,
            Self::Nak => MessageType::Nak,
        }
    }

    /// The address given, zero for none.
    pub const fn yiaddr(self) -> Ipv4Addr {
        match self {
            Self::Offer { yiaddr, .. } | Self::Ack { yiaddr, .. } => yiaddr,
            Self::InformAck { .. } | Self::Nak => Ipv4Addr::UNSPECIFIED,
        }
    }

    const fn ciaddr(self) -> Ipv4Addr {
        match self {
            Self::Ack { ciaddr, .. } | Self::InformAck { ciaddr } => ciaddr,
            Self::Offer { .. } | Self::Nak => Ipv4Addr::UNSPECIFIED,
        }
    }

    const fn times(self) -> Option<LeaseTimes> {
        match self {
            Self::Offer { times, .. } | Self::Ack { times, .. } => Some(times),
            Self::InformAck { .. } | Self::Nak => None,
        }
    }
}

/// What stands for option 82 in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayEcho<'a> {
    /// The request's option 82, byte for byte (RFC 3046 §2.2).
    AsReceived,
    /// Another value: the one of `RelayAgent::without_vss_control`.
    Value(&'a [u8]),
}

/// The fixed part of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHead<'a> {
    /// Which reply, with its addresses and times.
    pub kind: ReplyKind,
    /// Option 54: our address, or the relay's override (RFC 5107).
    pub server_id: Ipv4Addr,
    /// The next server to boot from; zero for none.
    pub siaddr: Ipv4Addr,
    /// What stands for option 82.
    pub relay_echo: RelayEcho<'a>,
}

/// A finished message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the message, from the start of the buffer.
    pub len: usize,
    /// Options that had no room, or that the writer does not take from the caller.
    pub dropped: OptionSet,
}

/// Bytes of an option of `len` bytes with the code and length of each part (RFC 3396 §6).
fn option_bytes(len: usize) -> usize {
    let parts = len.div_ceil(usize::from(u8::MAX)).max(1);
    len.saturating_add(parts.saturating_mul(2))
}

/// A message under construction: fixed header, then options up to `end`.
#[derive(Debug)]
pub(super) struct Frame<'b> {
    out: &'b mut [u8],
    len: usize,
    /// Where options added now must stop.
    end: usize,
    /// Parts of options, of which a message has at most [`DHCP4_OPTIONS_MAX`].
    parts: usize,
    codes: OptionSet,
    dropped: OptionSet,
}

impl<'b> Frame<'b> {
    pub(super) fn new(
        out: &'b mut [u8],
        bytes_max: usize,
    ) -> Result<(Self, &'b mut [u8; DHCP4_MESSAGE_BYTES_MIN]), EncodeError> {
        let len = out.len();
        let short = EncodeError::BufferTooShort { len, need: bytes_max };
        if len < bytes_max {
            return Err(short);
        }
        let Some((head, out)) = out.split_first_chunk_mut() else {
            return Err(short);
        };
        *head = [0; DHCP4_MESSAGE_BYTES_MIN];
        head[236..].copy_from_slice(&COOKIE);
        let room = bytes_max.saturating_sub(DHCP4_MESSAGE_BYTES_MIN);
        let end = room.saturating_sub(1);
        let (codes, dropped) = (OptionSet::EMPTY, OptionSet::EMPTY);
        Ok((Self { out, len: 0, end, parts: 0, codes, dropped }, head))
    }

    /// Writes one part, which the caller has found room for.
    fn part(&mut self, code: u8, value: &[u8]) {
        let end = self.len.saturating_add(2).saturating_add(value.len());
        if let Some([code_at, len_at, value_at @ ..]) = self.out.get_mut(self.len..end) {
            (*code_at, *len_at) = (code, value.len() as u8);
            value_at.copy_from_slice(value);
            self.len = end;
            self.parts = self.parts.saturating_add(1);
        }
    }

    fn has_room(&self, bytes: usize, parts: usize) -> bool {
        self.len.saturating_add(bytes) <= self.end && self.parts.saturating_add(parts) <= DHCP4_OPTIONS_MAX
    }

    /// Writes an option in as many parts as it needs; false when there is no room or it was written before.
    pub(super) fn option(&mut self, code: u8, value: &[u8]) -> bool {
        let bytes = option_bytes(value.len());
        let parts = bytes.saturating_sub(value.len()) / 2;
        let taken =
            !matches!(code, code::PAD | code::END) && self.has_room(bytes, parts) && self.codes.insert(code);
        if !taken {
            self.dropped.insert(code);
            return false;
        }
        if value.is_empty() {
            self.part(code, value);
        }
        for part in value.chunks(usize::from(u8::MAX)) {
            self.part(code, part);
        }
        true
    }

    /// Writes an option in the parts in which it came; false as for [`Self::option`].
    fn echo(&mut self, code: u8, value: &OptionBytes<'_>) -> bool {
        let parts = value.parts().count();
        let bytes = value.len().saturating_add(parts.saturating_mul(2));
        if !(self.has_room(bytes, parts) && self.codes.insert(code)) {
            self.dropped.insert(code);
            return false;
        }
        for part in value.parts() {
            self.part(code, part);
        }
        true
    }

    pub(super) fn finish(self) -> Written {
        let padded = DHCP4_PADDED_BYTES_MIN.saturating_sub(DHCP4_MESSAGE_BYTES_MIN);
        let mut end = self.len;
        if let Some(at) = self.out.get_mut(self.len) {
            *at = code::END;
            end = end.saturating_add(1);
        }
        if let Some(padding) = self.out.get_mut(end..padded) {
            padding.fill(code::PAD);
            end = padded;
        }
        Written { len: end.saturating_add(DHCP4_MESSAGE_BYTES_MIN), dropped: self.dropped }
    }
}

/// Writes the answer to a request.
#[derive(Debug)]
pub struct ReplyWriter<'a, 'b> {
    frame: Frame<'b>,
    head: &'b mut [u8; DHCP4_MESSAGE_BYTES_MIN],
    /// What is written last, with its bytes already taken from the frame's room.
    relay_agent: Option<(OptionBytes<'a>, usize, usize)>,
}

impl<'a, 'b> ReplyWriter<'a, 'b> {
    /// Begins the answer to `request` in `out`: header, groups 1 and 3, and the room of group 2.
    ///
    /// Copied from the request: htype, hlen, xid, flags, giaddr, chaddr. A DHCPNAK through a relay gets the
    /// broadcast bit, for the client may have no address that works (RFC 2131 §4.3.2).
    pub fn new(request: &Message<'a>, head: &ReplyHead<'a>, out: &'b mut [u8]) -> Result<Self, EncodeError> {
        if request.op() != Op::Request {
            return Err(EncodeError::NotARequest);
        }
        let (mut frame, bytes) = Frame::new(out, request.reply_bytes_max())?;
        bytes[0] = Op::Reply.wire();
        bytes[1] = request.htype();
        bytes[2] = request.hlen();
        bytes[4..8].copy_from_slice(&request.xid().to_be_bytes());
        let relayed_nak = head.kind == ReplyKind::Nak && !request.giaddr().is_unspecified();
        let flags = request.flags() | if relayed_nak { BROADCAST } else { 0 };
        bytes[10..12].copy_from_slice(&flags.to_be_bytes());
        bytes[12..16].copy_from_slice(&head.kind.ciaddr().octets());
        bytes[16..20].copy_from_slice(&head.kind.yiaddr().octets());
        bytes[20..24].copy_from_slice(&head.siaddr.octets());
        bytes[24..28].copy_from_slice(&request.giaddr().octets());
        copy_padded(&mut bytes[28..44], request.chaddr());

        frame.option(code::DHCP_MSG_TYPE, &[head.kind.message_type().wire()]);
        frame.option(code::DHCP_SERVER_ID, &head.server_id.octets());
        if let Some(times) = head.kind.times() {
            frame.option(code::ADDRESS_TIME, &times.lease_secs.to_be_bytes());
            frame.option(code::RENEWAL_TIME, &times.renew_secs.to_be_bytes());
            frame.option(code::REBINDING_TIME, &times.rebind_secs.to_be_bytes());
        }
        let mut writer = Self { frame, head: bytes, relay_agent: None };
        writer.keep_relay_agent(request, head.relay_echo);
        if let Some(client_id) = request.client_id() {
            writer.frame.echo(code::CLIENT_ID, &client_id);
        }
        Ok(writer)
    }

    fn keep_relay_agent(&mut self, request: &Message<'a>, echo: RelayEcho<'a>) {
        let Some(received) = request.relay_agent_bytes() else {
            return;
        };
        let (value, parts) = match echo {
            RelayEcho::AsReceived => (received, received.parts().count()),
            RelayEcho::Value(value) => (value.into(), value.len().div_ceil(usize::from(u8::MAX)).max(1)),
        };
        let bytes = value.len().saturating_add(parts.saturating_mul(2));
        if self.frame.has_room(bytes, parts) {
            self.frame.end = self.frame.end.saturating_sub(bytes);
            self.frame.parts = self.frame.parts.saturating_add(parts);
            self.relay_agent = Some((value, bytes, parts));
        } else {
            self.frame.dropped.insert(code::RELAY_AGENT_INFORMATION);
        }
    }

    /// Adds an option; a value of more than 255 bytes is split (RFC 3396 §6).
    ///
    /// False, and the code noted in [`Written::dropped`], when it has no room, was added before, or is one
    /// that [`Self::new`] decides on (51 to 54, 58, 59, 61, 82) or no option (0, 255).
    pub fn option(&mut self, code: u8, value: &[u8]) -> bool {
        let reserved = matches!(
            code,
            code::DHCP_MSG_TYPE
                | code::DHCP_SERVER_ID
                | code::ADDRESS_TIME
                | code::OVERLOAD
                | code::RENEWAL_TIME
                | code::REBINDING_TIME
                | code::CLIENT_ID
                | code::RELAY_AGENT_INFORMATION
        );
        if reserved {
            self.frame.dropped.insert(code);
            return false;
        }
        self.frame.option(code, value)
    }

    /// Sets the `file` field, the boot file's name; false, and nothing set, when it has more than 127 bytes.
    pub fn file(&mut self, name: &[u8]) -> bool {
        name.len() < 128 && copy_padded(&mut self.head[108..236], name)
    }

    /// Sets the `sname` field, the boot server's name; false, and nothing set, when it has more than 63
    /// bytes.
    pub fn sname(&mut self, name: &[u8]) -> bool {
        name.len() < 64 && copy_padded(&mut self.head[44..108], name)
    }

    /// Writes option 82 and END, and pads to 300 bytes.
    pub fn finish(mut self) -> Written {
        if let Some((value, bytes, parts)) = self.relay_agent {
            self.frame.end = self.frame.end.saturating_add(bytes);
            self.frame.parts = self.frame.parts.saturating_sub(parts);
            match value.as_slice() {
                Some(value) => self.frame.option(code::RELAY_AGENT_INFORMATION, value),
                None => self.frame.echo(code::RELAY_AGENT_INFORMATION, &value),
            };
        }
        self.frame.finish()
    }
}

/// Copies `from` to the start of `to` and zeroes the rest; false when it does not fit.
pub(super) fn copy_padded(to: &mut [u8], from: &[u8]) -> bool {
    let Some((start, rest)) = to.split_at_mut_checked(from.len()) else {
        return false;
    };
    start.copy_from_slice(from);
    rest.fill(0);
    true
}

#[cfg(test)]
mod tests {
    use super::super::{RequestHead, RequestWriter};
    use super::*;

    const NAK: ReplyHead<'_> = ReplyHead {
        kind: ReplyKind::Nak,
        server_id: Ipv4Addr::new(192, 0, 2, 1),
        siaddr: Ipv4Addr::new(192, 0, 2, 2),
        relay_echo: RelayEcho::AsReceived,
    };

    fn request(out: &mut [u8; 300]) -> Message<'_> {
        let head = RequestHead::new(MessageType::Request, 7, &[0, 0, 0x5e, 0, 0x53, 1]);
        RequestWriter::new(&head, out).unwrap().finish();
        Message::parse(out).unwrap()
    }

    #[test]
    fn a_reply_is_not_answered() {
        let (mut request_bytes, mut reply) = ([0; 300], [0; 548]);
        let written = ReplyWriter::new(&request(&mut request_bytes), &NAK, &mut reply).unwrap().finish();
        let reply = Message::parse(&reply[..written.len]).unwrap();
        let error = ReplyWriter::new(&reply, &NAK, &mut [0; 548]).unwrap_err();
        assert_eq!(error, EncodeError::NotARequest);
    }

    #[test]
    fn a_buffer_must_hold_what_the_client_takes() {
        let mut bytes = [0; 300];
        let error = ReplyWriter::new(&request(&mut bytes), &NAK, &mut [0; 547]).unwrap_err();
        assert_eq!(error, EncodeError::BufferTooShort { len: 547, need: 548 });
    }

    #[test]
    fn a_reply_has_no_more_options_than_a_reader_takes() {
        let (mut bytes, mut out) = ([0; 300], [0; 548]);
        let mut writer = ReplyWriter::new(&request(&mut bytes), &NAK, &mut out).unwrap();
        // Message type and server id are in already.
        let taken = (130..230).filter(|code| writer.option(*code, &[])).count();
        assert_eq!(taken, DHCP4_OPTIONS_MAX - 2);
        let written = writer.finish();
        assert!(Message::parse(&out[..written.len]).is_ok());
    }

    #[test]
    fn boot_names_keep_their_terminating_zero() {
        let (mut bytes, mut out) = ([0; 300], [0; 548]);
        let mut writer = ReplyWriter::new(&request(&mut bytes), &NAK, &mut out).unwrap();
        assert!(!writer.file(&[b'f'; 128]) && writer.file(&[b'f'; 127]) && writer.file(b"boot"));
        assert!(!writer.sname(&[b's'; 64]) && writer.sname(&[b's'; 63]));
        let written = writer.finish();
        let reply = Message::parse(&out[..written.len]).unwrap();
        assert_eq!((reply.file()[..5].to_vec(), reply.file()[126]), (b"boot\0".to_vec(), 0));
        assert_eq!((reply.sname()[62], reply.sname()[63]), (b's', 0));
        assert_eq!(reply.siaddr(), NAK.siaddr);
    }
}

//! Writes requests as a client and its relay would: for the demo, the load generator and tests.
//!
//! RFC 2131 §4.4.1 (table 5), RFC 3046 §2.1: a relay puts its option 82 behind all others.
//!
//! It does not check what a client may send: tests need the odd ones too.

use std::net::Ipv4Addr;

use super::encode::{Frame, Written, copy_padded};
use super::header::{BROADCAST, CHADDR_BYTES};
use super::{EncodeError, MessageType, Op, code};
use crate::limits::DHCP4_PADDED_BYTES_MIN;

/// The fixed part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead<'a> {
    /// Option 53.
    pub message_type: MessageType,
    /// Hardware type; 1 is Ethernet.
    pub htype: u8,
    /// Hardware address, at most 16 bytes.
    pub chaddr: &'a [u8],
    /// Relays passed.
    pub hops: u8,
    /// Transaction id.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// Whether a broadcast reply is asked for.
    pub broadcast: bool,
    /// The address the client has.
    pub ciaddr: Ipv4Addr,
    /// The first relay.
    pub giaddr: Ipv4Addr,
}

impl<'a> RequestHead<'a> {
    /// A first message over Ethernet: all addresses zero, no relay.
    pub const fn new(message_type: MessageType, xid: u32, chaddr: &'a [u8]) -> Self {
        Self {
            message_type,
            htype: 1,
            chaddr,
            hops: 0,
            xid,
            secs: 0,
            broadcast: false,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
        }
    }
}

/// Writes one request.
#[derive(Debug)]
pub struct RequestWriter<'b> {
    frame: Frame<'b>,
}

impl<'b> RequestWriter<'b> {
    /// Begins a request in `out`, which also bounds its length.
    pub fn new(head: &RequestHead<'_>, out: &'b mut [u8]) -> Result<Self, EncodeError> {
        if head.chaddr.len() > CHADDR_BYTES {
            return Err(EncodeError::HardwareAddressTooLong { len: head.chaddr.len() });
        }
        let bytes_max = out.len().max(DHCP4_PADDED_BYTES_MIN);
        let (mut frame, bytes) = Frame::new(out, bytes_max)?;
        bytes[0] = Op::Request.wire();
        bytes[1] = head.htype;
        bytes[2] = head.chaddr.len() as u8;
        bytes[3] = head.hops;
        bytes[4..8].copy_from_slice(&head.xid.to_be_bytes());
        bytes[8..10].copy_from_slice(&head.secs.to_be_bytes());
        let flags = if head.broadcast { BROADCAST } else { 0 };
        bytes[10..12].copy_from_slice(&flags.to_be_bytes());
        bytes[12..16].copy_from_slice(&head.ciaddr.octets());
        bytes[24..28].copy_from_slice(&head.giaddr.octets());
        copy_padded(&mut bytes[28..44], head.chaddr);
        frame.option(code::DHCP_MSG_TYPE, &[head.message_type.wire()]);
        Ok(Self { frame })
    }

    /// Adds an option; false when it has no room or was added before.
    pub fn option(&mut self, code: u8, value: &[u8]) -> bool {
        self.frame.option(code, value)
    }

    /// Adds option 82 behind all others, as a relay does, then END, and pads to 300 bytes (RFC 3046 §2.1).
    pub fn finish_relayed(mut self, relay_agent: &[u8]) -> Written {
        self.frame.option(code::RELAY_AGENT_INFORMATION, relay_agent);
        self.frame.finish()
    }

    /// Adds END and pads to 300 bytes.
    pub fn finish(self) -> Written {
        self.frame.finish()
    }
}

//! A DHCPv4 message as a checked view over its bytes.
//!
//! ```text
//!  0               1               2               3
//! +---------------+---------------+---------------+---------------+
//! |     op (1)    |   htype (1)   |   hlen (1)    |   hops (1)    |   0
//! +---------------+---------------+---------------+---------------+
//! |                            xid (4)                            |   4
//! +-------------------------------+-------------------------------+
//! |           secs (2)            |B|          flags (2)          |   8
//! +-------------------------------+-------------------------------+
//! |                          ciaddr  (4)                          |  12
//! |                          yiaddr  (4)                          |  16
//! |                          siaddr  (4)                          |  20
//! |                          giaddr  (4)                          |  24
//! |                          chaddr  (16)                         |  28
//! |                          sname   (64)                         |  44
//! |                          file    (128)                        | 108
//! +---------------------------------------------------------------+
//! |                 cookie 99.130.83.99 (4)                       | 236
//! +---------------------------------------------------------------+
//! |                 options (variable)                            | 240
//! ```
//!
//! RFC 2131 §2 (figure and fields), §3 (cookie); RFC 2132 §9 for the options read by name.
//!
//! Invariants: a `Message` was walked to its end without a fault, its `hlen` is at most 16, and each option
//! read here by type has its size. It borrows the datagram and owns nothing.
//!
//! It does not check that a message makes sense as a whole: whether a DHCPREQUEST has a server id is the
//! core's matter.

use std::net::Ipv4Addr;

use super::option::Options;
use super::{ClientKey, MessageType, OptionBytes, OptionSet, RelayAgent, WireError, code};
use crate::limits::{
    DHCP4_CLIENT_DATAGRAM_BYTES_MAX, DHCP4_CLIENT_DATAGRAM_BYTES_MIN, DHCP4_MESSAGE_BYTES_MAX,
    DHCP4_MESSAGE_BYTES_MIN, IPV4_UDP_HEADER_BYTES,
};

/// First bytes of the options of every DHCP message (RFC 2131 §3).
pub const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Bytes of `chaddr`.
pub const CHADDR_BYTES: usize = 16;
/// The broadcast bit of `flags` (RFC 2131 §2, figure 2).
pub const BROADCAST: u16 = 0x8000;

/// Direction of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// BOOTREQUEST: from a client or relay.
    Request,
    /// BOOTREPLY: from a server.
    Reply,
}

impl Op {
    /// The byte on the wire.
    pub const fn wire(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Reply => 2,
        }
    }
}

/// A DHCPv4 message: a view over the datagram that carried it.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    head: &'a [u8; DHCP4_MESSAGE_BYTES_MIN],
    op: Op,
    options: Options<'a>,
    kind: Option<MessageType>,
}

impl<'a> Message<'a> {
    /// Checks `bytes` and indexes its options, in one pass.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        if bytes.len() > DHCP4_MESSAGE_BYTES_MAX {
            return Err(WireError::TooLong { len: bytes.len() });
        }
        let Some(head) = bytes.first_chunk::<DHCP4_MESSAGE_BYTES_MIN>() else {
            return Err(WireError::Truncated { len: bytes.len() });
        };
        let op = match head[0] {
            1 => Op::Request,
            2 => Op::Reply,
            op => return Err(WireError::BadOp { op }),
        };
        if usize::from(head[2]) > CHADDR_BYTES {
            return Err(WireError::HardwareAddressTooLong { hlen: head[2] });
        }
        if head[236..] != COOKIE {
            return Err(WireError::BadCookie);
        }
        let options = Options::index(bytes)?;
        let kind = match options.array::<1>(code::DHCP_MSG_TYPE) {
            None => None,
            Some([value]) => match MessageType::from_wire(value) {
                None => return Err(WireError::UnknownMessageType { value }),
                kind => kind,
            },
        };
        Ok(Self { head, op, options, kind })
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        let bytes = self.head.get(at..).and_then(<[u8]>::first_chunk::<4>);
        bytes.map_or(Ipv4Addr::UNSPECIFIED, |bytes| Ipv4Addr::from(*bytes))
    }

    /// Request or reply.
    pub fn op(&self) -> Op {
        self.op
    }

    /// Hardware type; 1 is Ethernet.
    pub fn htype(&self) -> u8 {
        self.head[1]
    }

    /// Bytes of the hardware address, at most 16.
    pub fn hlen(&self) -> u8 {
        self.head[2]
    }

    /// Relays passed.
    pub fn hops(&self) -> u8 {
        self.head[3]
    }

    /// Transaction id.
    pub fn xid(&self) -> u32 {
        u32::from_be_bytes([self.head[4], self.head[5], self.head[6], self.head[7]])
    }

    /// Seconds since the client began.
    pub fn secs(&self) -> u16 {
        u16::from_be_bytes([self.head[8], self.head[9]])
    }

    /// All 16 flags.
    pub fn flags(&self) -> u16 {
        u16::from_be_bytes([self.head[10], self.head[11]])
    }

    /// Whether the client asks for a broadcast reply.
    pub fn broadcast(&self) -> bool {
        self.flags() & BROADCAST != 0
    }

    /// The address the client has and answers ARP for.
    pub fn ciaddr(&self) -> Ipv4Addr {
        self.address(12)
    }

    /// The address the server gives.
    pub fn yiaddr(&self) -> Ipv4Addr {
        self.address(16)
    }

    /// The next server to boot from.
    pub fn siaddr(&self) -> Ipv4Addr {
        self.address(20)
    }

    /// The first relay.
    pub fn giaddr(&self) -> Ipv4Addr {
        self.address(24)
    }

    /// The hardware address, `hlen` bytes.
    pub fn chaddr(&self) -> &'a [u8] {
        let head: &'a [u8] = &self.head[28..44];
        head.get(..usize::from(self.hlen())).unwrap_or_default()
    }

    /// All 64 bytes of `sname`, which hold options when the message overloads it.
    pub fn sname(&self) -> &'a [u8] {
        &self.head[44..108]
    }

    /// All 128 bytes of `file`, which hold options when the message overloads it.
    pub fn file(&self) -> &'a [u8] {
        &self.head[108..236]
    }

    /// The value of option `code`, its parts joined; none when it is absent.
    pub fn find(&self, code: u8) -> Option<OptionBytes<'a>> {
        self.options.find(code)
    }

    /// All options in the order of the walk, the parts of a split one apart.
    pub fn options(&self) -> impl Iterator<Item = (u8, &'a [u8])> {
        self.options.iter()
    }

    /// The codes present.
    pub fn codes(&self) -> OptionSet {
        self.options.codes()
    }

    fn option_address(&self, code: u8) -> Option<Ipv4Addr> {
        self.options.array::<4>(code).map(Ipv4Addr::from)
    }

    /// What the message is for (option 53); none in plain BOOTP.
    pub fn message_type(&self) -> Option<MessageType> {
        self.kind
    }

    /// The address the client asks for (option 50).
    pub fn requested_address(&self) -> Option<Ipv4Addr> {
        self.option_address(code::ADDRESS_REQUEST)
    }

    /// The server the client chose, or that answered (option 54).
    pub fn server_id(&self) -> Option<Ipv4Addr> {
        self.option_address(code::DHCP_SERVER_ID)
    }

    /// The lease time asked for or given, in seconds (option 51).
    pub fn lease_secs(&self) -> Option<u32> {
        self.options.array::<4>(code::ADDRESS_TIME).map(u32::from_be_bytes)
    }

    /// The subnet to choose from, by its number (option 118, RFC 3011).
    pub fn subnet_selection(&self) -> Option<Ipv4Addr> {
        self.option_address(code::SUBNET_SELECTION)
    }

    /// Largest IP datagram the client takes (option 57); below 576 it is invalid and ignored (RFC 2132 §9.10).
    pub fn datagram_bytes_max(&self) -> Option<u16> {
        let bytes = self.options.array::<2>(code::DHCP_MAX_MSG_SIZE)?;
        Some(u16::from_be_bytes(bytes)).filter(|size| *size >= DHCP4_CLIENT_DATAGRAM_BYTES_MIN)
    }

    /// Longest DHCP message to answer with: the client's datagram, or 576, without IP and UDP headers, and
    /// never more than an Ethernet frame carries.
    pub fn reply_bytes_max(&self) -> usize {
        let datagram = self.datagram_bytes_max().unwrap_or(DHCP4_CLIENT_DATAGRAM_BYTES_MIN);
        usize::from(datagram.min(DHCP4_CLIENT_DATAGRAM_BYTES_MAX).saturating_sub(IPV4_UDP_HEADER_BYTES))
    }

    /// The client identifier (option 61) as received; use [`Self::client_key`] to identify.
    pub fn client_id(&self) -> Option<OptionBytes<'a>> {
        self.find(code::CLIENT_ID)
    }

    /// What a lease is bound to; none when the client gives neither an identifier nor a hardware address.
    pub fn client_key(&self) -> Option<ClientKey<'a>> {
        ClientKey::of(self)
    }

    /// The option codes the client asks for, in its order of preference (option 55).
    pub fn parameter_list(&self) -> Option<OptionBytes<'a>> {
        self.find(code::PARAMETER_LIST)
    }

    /// The vendor class (option 60).
    pub fn vendor_class(&self) -> Option<OptionBytes<'a>> {
        self.find(code::CLASS_ID)
    }

    /// The host name (option 12): any bytes, often not text.
    pub fn hostname(&self) -> Option<OptionBytes<'a>> {
        self.find(code::HOSTNAME)
    }

    /// The user class (option 77): many clients send plain text here and not the form of RFC 3004 §4.
    pub fn user_class(&self) -> Option<OptionBytes<'a>> {
        self.find(code::USER_CLASS)
    }

    /// What the relay says of the line (option 82), as received.
    pub fn relay_agent_bytes(&self) -> Option<OptionBytes<'a>> {
        self.find(code::RELAY_AGENT_INFORMATION)
    }

    /// What the relay says of the line (option 82), checked; `scratch` is used only when the option arrived
    /// in parts.
    pub fn relay_agent<'b>(&self, scratch: &'b mut [u8]) -> Result<Option<RelayAgent<'b>>, WireError>
    where
        'a: 'b,
    {
        let Some(bytes) = self.relay_agent_bytes() else {
            return Ok(None);
        };
        if bytes.as_slice().is_none() {
            // Only an option too long for one part has several; see the deviations of DHCPv4.
            let mut parts = bytes.parts().peekable();
            while let Some(part) = parts.next() {
                if part.len() < usize::from(u8::MAX) && parts.peek().is_some() {
                    return Err(WireError::RelayAgentRepeated);
                }
            }
        }
        RelayAgent::parse(bytes.joined(scratch)?).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; 236];
        message[0] = 1;
        message[1] = 1;
        message[2] = 6;
        message.extend_from_slice(&COOKIE);
        message.extend_from_slice(options);
        message
    }

    #[test]
    fn a_hardware_address_is_as_long_as_hlen_says_and_no_longer_than_sixteen() {
        let mut bytes = message(&[255]);
        for hlen in 0..=255 {
            bytes[2] = hlen;
            match Message::parse(&bytes) {
                Ok(message) => assert_eq!(message.chaddr().len(), usize::from(hlen)),
                Err(error) => assert_eq!(error, WireError::HardwareAddressTooLong { hlen }),
            }
            assert_eq!(Message::parse(&bytes).is_ok(), hlen <= 16);
        }
    }

    #[test]
    fn options_of_one_size_are_refused_in_any_other() {
        for (code, size) in [(50, 4), (51, 4), (52, 1), (53, 1), (54, 4), (57, 2), (118, 4)] {
            for len in 0..=6u8 {
                let mut options = vec![code, len];
                options.extend(std::iter::repeat_n(1, usize::from(len)));
                options.push(255);
                let bytes = message(&options);
                let result = Message::parse(&bytes).map(|_| ());
                let expected = if len == size { Ok(()) } else { Err(WireError::OptionLength { code, len }) };
                assert_eq!(result, expected);
            }
        }
    }

    #[test]
    fn a_maximum_size_below_576_is_ignored_and_a_large_one_is_capped() {
        for (size, max) in
            [(0u16, 548), (300, 548), (575, 548), (576, 548), (1000, 972), (1500, 1472), (65535, 1472)]
        {
            let [high, low] = size.to_be_bytes();
            let bytes = message(&[57, 2, high, low, 255]);
            assert_eq!(Message::parse(&bytes).unwrap().reply_bytes_max(), max);
        }
        assert_eq!(Message::parse(&message(&[255])).unwrap().reply_bytes_max(), 548);
    }

    #[test]
    fn two_short_relay_agent_options_are_not_joined() {
        let bytes = message(&[82, 3, 1, 1, b'x', 82, 3, 2, 1, b'y', 255]);
        let error = Message::parse(&bytes).unwrap().relay_agent(&mut [0; 64]).unwrap_err();
        assert_eq!(error.reason(), "dhcp4-relay-agent-repeated");
    }

    #[test]
    fn a_relay_agent_option_too_long_for_one_part_is_joined() {
        let mut options = vec![82, 255, 1, 253];
        options.extend([b'c'; 253]);
        options.extend([82, 4, 2, 2, b'r', b'r', 255]);
        let bytes = message(&options);
        let mut scratch = [0; DHCP4_MESSAGE_BYTES_MAX];
        let agent = Message::parse(&bytes).unwrap().relay_agent(&mut scratch).unwrap().unwrap();
        assert_eq!(agent.circuit_id(), Some(&[b'c'; 253][..]));
        assert_eq!(agent.remote_id(), Some(&b"rr"[..]));
    }
}

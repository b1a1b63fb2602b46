//! The CPE of the demo, and the OLT before it: a DHCP client whose relay adds option 82.
//!
//! RFC 2131 §4.4 (client), RFC 3046 §2.1 (relay agent information), RFC 3527 (the relay names the network, because its own
//! address is loopback), RFC 8357 (answers come to the relay's own port, so none below 1024 is needed).

use std::net::{Ipv4Addr, SocketAddr};

use super::DemoFailure;
use super::show::Show;
use super::wire::Endpoint;
use crate::dhcp::v4::wire::code::sub;
use crate::dhcp::v4::wire::{
    EncodeError, Message, MessageType, Op, RelayAgentWriter, RequestHead, RequestWriter, code,
};
use crate::ids::{Entropy, SystemEntropy};
use crate::limits::DHCP4_MESSAGE_BYTES_MAX;

/// What CPEs usually ask for: mask, router, name servers, domain, lease and renewal times (RFC 2132).
const PARAMETERS: [u8; 7] = [1, 3, 6, 15, 51, 58, 59];

/// The line, as the OLT names it.
pub(super) struct Line {
    pub(super) circuit_id: &'static str,
    pub(super) remote_id: [u8; 6],
    /// Address of the network that the relay asks for (RFC 3527).
    pub(super) link: Ipv4Addr,
}

/// A CPE on a line.
pub(super) struct Cpe {
    endpoint: Endpoint,
    mac: [u8; 6],
    line: Line,
    /// Its address; unspecified before the first lease.
    pub(super) address: Ipv4Addr,
    server: Ipv4Addr,
    /// Transaction of the offer, kept by the request for it (RFC 2131 §4.4.1).
    xid: u32,
}

/// What the server said.
pub(super) struct Told {
    /// Name of the message.
    pub(super) message: &'static str,
    /// The address in it.
    pub(super) address: Ipv4Addr,
    /// The lease in seconds, 0 when none was given.
    pub(super) lease_secs: u32,
}

impl Cpe {
    /// A CPE without an address.
    pub(super) fn new(mac: [u8; 6], line: Line) -> Result<Self, DemoFailure> {
        let none = Ipv4Addr::UNSPECIFIED;
        Ok(Self { endpoint: Endpoint::new()?, mac, line, address: none, server: none, xid: 0 })
    }

    /// DHCPDISCOVER; the offer is remembered.
    pub(super) async fn discover(&mut self, show: &Show, server: SocketAddr) -> Result<Told, DemoFailure> {
        self.xid = transaction();
        let head = RequestHead::new(MessageType::Discover, self.xid, &[]);
        self.exchange(show, server, head, &[]).await
    }

    /// DHCPREQUEST for what was offered (state SELECTING, RFC 2131 §4.3.2).
    pub(super) async fn request(&mut self, show: &Show, server: SocketAddr) -> Result<Told, DemoFailure> {
        let (address, by) = (self.address.octets(), self.server.octets());
        let head = RequestHead::new(MessageType::Request, self.xid, &[]);
        let options = [(code::ADDRESS_REQUEST, address.as_slice()), (code::DHCP_SERVER_ID, by.as_slice())];
        self.exchange(show, server, head, &options).await
    }

    /// DHCPREQUEST of a client that has its address (RENEWING or REBINDING, RFC 2131 §4.3.2), as relays pass it on.
    pub(super) async fn renew(&mut self, show: &Show, server: SocketAddr) -> Result<Told, DemoFailure> {
        let mut head = RequestHead::new(MessageType::Request, transaction(), &[]);
        head.ciaddr = self.address;
        self.exchange(show, server, head, &[]).await
    }

    async fn exchange(
        &mut self,
        show: &Show,
        server: SocketAddr,
        head: RequestHead<'_>,
        options: &[(u8, &[u8])],
    ) -> Result<Told, DemoFailure> {
        let mut buffer = [0; DHCP4_MESSAGE_BYTES_MAX];
        let len = self.write(head, options, &mut buffer)?;
        let request = buffer.get(..len).unwrap_or_default();
        show.dhcp("->", &parse(request)?);
        let is_reply = |bytes: &[u8]| {
            Message::parse(bytes).is_ok_and(|reply| reply.op() == Op::Reply && reply.xid() == head.xid)
        };
        let reply = self.endpoint.ask(server, request, "DHCP", is_reply).await?;
        let reply = parse(&reply)?;
        show.dhcp("<-", &reply);
        if let (false, Some(server)) = (reply.yiaddr().is_unspecified(), reply.server_id()) {
            (self.address, self.server) = (reply.yiaddr(), server);
        }
        Ok(Told {
            message: reply.message_type().map_or("unknown", |kind| kind.name()),
            address: reply.yiaddr(),
            lease_secs: reply.lease_secs().unwrap_or(0),
        })
    }

    fn write(
        &self,
        head: RequestHead<'_>,
        options: &[(u8, &[u8])],
        buffer: &mut [u8],
    ) -> Result<usize, EncodeError> {
        let giaddr = Ipv4Addr::LOCALHOST;
        let head = RequestHead { hops: 1, chaddr: &self.mac, giaddr, ..head };
        let mut writer = RequestWriter::new(&head, buffer)?;
        // Hardware type 1 and the address itself (RFC 2132 §9.14), as most CPEs do.
        writer.option(code::CLIENT_ID, &[&[1], self.mac.as_slice()].concat());
        for (code, value) in options {
            writer.option(*code, value);
        }
        writer.option(code::PARAMETER_LIST, &PARAMETERS);
        let mut room = [0; 128];
        let mut agent = RelayAgentWriter::new(&mut room);
        agent.sub_option(sub::CIRCUIT_ID, self.line.circuit_id.as_bytes());
        agent.sub_option(sub::REMOTE_ID, &self.line.remote_id);
        agent.sub_option(sub::LINK_SELECTION, &self.line.link.octets());
        agent.sub_option(sub::RELAY_SOURCE_PORT, &[]);
        Ok(writer.finish_relayed(agent.finish()).len)
    }
}

fn transaction() -> u32 {
    SystemEntropy.u64() as u32
}

fn parse(bytes: &[u8]) -> Result<Message<'_>, DemoFailure> {
    Message::parse(bytes).map_err(|error| DemoFailure::Packet { what: "DHCP", why: error.to_string() })
}

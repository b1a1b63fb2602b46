//! DHCP clients of the test's own behind a relay of the test's own: the relay inserts option 82 and is answered on the port it
//! sends from (RFC 8357), so that it needs neither port 67 nor an address of the subscriber's network.

#![expect(clippy::unwrap_used, reason = "a client that cannot send is a failed test")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use lastmile::dhcp::v4::wire::code::sub;
use lastmile::dhcp::v4::wire::{
    Message, MessageType, Op, RelayAgentWriter, RequestHead, RequestWriter, code,
};

/// How often a DHCPREQUEST for an offer is sent before the client begins anew (RFC 2131 §3.1, step 5).
const REQUEST_TRIES: usize = 4;

/// A subscriber's line and the device on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) mac: [u8; 6],
    pub(crate) circuit_id: Vec<u8>,
    pub(crate) remote_id: Vec<u8>,
}

/// What the tests read of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) kind: MessageType,
    pub(crate) address: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
    pub(crate) lease_secs: u32,
}

/// A relay and the clients behind it.
pub(crate) struct Relay {
    socket: UdpSocket,
    giaddr: Ipv4Addr,
    link: Ipv4Addr,
    xid: u32,
    /// How long a reply is waited for before the request is sent again.
    pub(crate) retry: Duration,
    /// How often a request is sent.
    pub(crate) tries: usize,
}

impl Relay {
    /// A relay at a loopback address, with clients on the network of `link` (RFC 3527).
    #[expect(clippy::disallowed_methods, reason = "a test's client opens a socket of its own")]
    pub(crate) fn at(giaddr: Ipv4Addr, link: Ipv4Addr, first_xid: u32) -> Self {
        let socket = UdpSocket::bind((giaddr, 0)).unwrap();
        Self { socket, giaddr, link, xid: first_xid, retry: Duration::from_millis(500), tries: 20 }
    }

    fn exchange(
        &mut self,
        target: &dyn Fn() -> SocketAddr,
        kind: MessageType,
        line: &Line,
        named: &[(u8, Ipv4Addr)],
        accepts: &[MessageType],
    ) -> Option<Reply> {
        self.xid = self.xid.wrapping_add(1);
        let request = self.write(kind, line, named);
        let mut buffer = [0; 1500];
        self.socket.set_read_timeout(Some(self.retry)).unwrap();
        for _ in 0..self.tries {
            self.socket.send_to(&request, target()).unwrap();
            while let Ok(length) = self.socket.recv(&mut buffer) {
                let Ok(message) = Message::parse(&buffer[..length]) else { continue };
                let Some(kind) = message.message_type().filter(|kind| accepts.contains(kind)) else {
                    continue;
                };
                if message.op() == Op::Reply && message.xid() == self.xid {
                    return Some(Reply {
                        kind,
                        address: message.yiaddr(),
                        server: message.server_id().unwrap(),
                        lease_secs: message.lease_secs().unwrap_or(0),
                    });
                }
            }
        }
        None
    }

    fn write(&self, kind: MessageType, line: &Line, named: &[(u8, Ipv4Addr)]) -> Vec<u8> {
        let mut bytes = [0; 1500];
        let mut head = RequestHead::new(kind, self.xid, &line.mac);
        (head.hops, head.giaddr) = (1, self.giaddr);
        let mut writer = RequestWriter::new(&head, &mut bytes).unwrap();
        writer.option(code::PARAMETER_LIST, &[1, 3, 6, 51]);
        for (code, address) in named {
            writer.option(*code, &address.octets());
        }
        let mut agent = [0; 255];
        let mut relay_agent = RelayAgentWriter::new(&mut agent);
        relay_agent.sub_option(sub::CIRCUIT_ID, &line.circuit_id);
        relay_agent.sub_option(sub::REMOTE_ID, &line.remote_id);
        relay_agent.sub_option(sub::LINK_SELECTION, &self.link.octets());
        relay_agent.sub_option(sub::RELAY_SOURCE_PORT, &[]);
        let length = writer.finish_relayed(relay_agent.finish()).len;
        bytes[..length].to_vec()
    }

    /// DHCPDISCOVER; the offer.
    pub(crate) fn discover(&mut self, target: &dyn Fn() -> SocketAddr, line: &Line) -> Option<Reply> {
        self.exchange(target, MessageType::Discover, line, &[], &[MessageType::Offer])
    }

    /// DHCPREQUEST for an offer; the DHCPACK or DHCPNAK.
    pub(crate) fn request(
        &mut self,
        target: &dyn Fn() -> SocketAddr,
        line: &Line,
        offer: Reply,
    ) -> Option<Reply> {
        let named = [(code::ADDRESS_REQUEST, offer.address), (code::DHCP_SERVER_ID, offer.server)];
        self.exchange(target, MessageType::Request, line, &named, &[MessageType::Ack, MessageType::Nak])
    }

    /// Discover to Ack; begins anew when the offer is not confirmed any more, as a client does.
    pub(crate) fn lease(&mut self, target: &dyn Fn() -> SocketAddr, line: &Line) -> Option<Reply> {
        let tries = self.tries;
        for _ in 0..tries {
            let offer = self.discover(target, line)?;
            // A server that was restarted may not know its offer any more.
            self.tries = REQUEST_TRIES.min(tries);
            let reply = self.request(target, line, offer);
            self.tries = tries;
            if let Some(reply) = reply.filter(|reply| reply.kind == MessageType::Ack) {
                return Some(reply);
            }
        }
        None
    }

    /// DHCPREQUEST of a client that has restarted and remembers `address` (INIT-REBOOT).
    pub(crate) fn confirm(
        &mut self,
        target: &dyn Fn() -> SocketAddr,
        line: &Line,
        address: Ipv4Addr,
    ) -> Option<Reply> {
        let named = [(code::ADDRESS_REQUEST, address)];
        self.exchange(target, MessageType::Request, line, &named, &[MessageType::Ack, MessageType::Nak])
    }
}

//! DHCPv4 as a relay passes it on: Discover, Offer, Request, Ack, a new client each time.
//!
//! RFC 2131 §3.1, RFC 3046 §2.1. A server answers a relay at port 67 of giaddr, so each source is a relay with
//! its own address and that port. A transaction is two exchanges; one that loses a message begins anew with
//! another client.

use std::net::Ipv4Addr;

use lastmile::dhcp::v4::wire::code::sub;
use lastmile::dhcp::v4::wire::{
    Message, MessageType, Op, RelayAgentWriter, RequestHead, RequestWriter, code,
};

use crate::workload::{Slot, Verdict, Workload};

/// What clients usually ask for: mask, router, DNS, domain, lease time and renewal times (RFC 2132).
const PARAMETERS: [u8; 7] = [1, 3, 6, 15, 51, 58, 59];

/// Discover to Ack through relays.
pub(crate) struct Dora {
    relays: Vec<Ipv4Addr>,
    clients: u32,
    begun: u32,
    leases: Vec<Lease>,
}

#[derive(Clone, Copy)]
struct Lease {
    client: u32,
    xid: u32,
    address: Ipv4Addr,
    server: Ipv4Addr,
}

impl Dora {
    /// `clients` clients in turn behind `relays` (one per source), `slots` of them at once.
    pub(crate) fn new(relays: Vec<Ipv4Addr>, clients: u32, slots: usize) -> Self {
        let none = Lease { client: 0, xid: 0, address: Ipv4Addr::UNSPECIFIED, server: Ipv4Addr::UNSPECIFIED };
        Self { relays, clients, begun: 0, leases: vec![none; slots] }
    }

    fn write(&self, slot: Slot, step: u32, lease: Lease, bytes: &mut [u8]) -> Option<usize> {
        let client = lease.client.to_be_bytes();
        let [high, upper, lower, low] = client;
        let hardware = [2, 0, high, upper, lower, low];
        let kind = if step == 0 { MessageType::Discover } else { MessageType::Request };
        let mut head = RequestHead::new(kind, lease.xid, &hardware);
        head.hops = 1;
        head.giaddr = self.relays.get(slot.source).copied()?;
        let mut writer = RequestWriter::new(&head, bytes).ok()?;
        writer.option(code::PARAMETER_LIST, &PARAMETERS);
        if step > 0 {
            writer.option(code::ADDRESS_REQUEST, &lease.address.octets());
            writer.option(code::DHCP_SERVER_ID, &lease.server.octets());
        }
        let mut agent = [0; 16];
        let mut line = RelayAgentWriter::new(&mut agent);
        line.sub_option(sub::CIRCUIT_ID, &client);
        line.sub_option(sub::REMOTE_ID, &hardware);
        Some(writer.finish_relayed(line.finish()).len)
    }
}

impl Workload for Dora {
    fn slots_per_source_max(&self) -> usize {
        1 << 16
    }

    fn next(&mut self, slot: Slot, step: u32, bytes: &mut [u8]) -> Option<usize> {
        if step == 0 {
            let number = self.begun;
            self.begun = self.begun.wrapping_add(1);
            let lease = self.leases.get_mut(slot.index)?;
            lease.client = number % self.clients.max(1);
            // The slot in one half names the slot of a reply, the count in the other tells late ones.
            lease.xid = (number << 16) | (slot.within as u32 & 0xffff);
        }
        let lease = self.leases.get(slot.index).copied()?;
        self.write(slot, step, lease, bytes)
    }

    fn slot_within(&self, reply: &[u8]) -> Option<usize> {
        let xid = reply.get(4..)?.first_chunk()?;
        Some((u32::from_be_bytes(*xid) & 0xffff) as usize)
    }

    fn verify(&mut self, slot: Slot, step: u32, reply: &[u8]) -> Verdict {
        let Some(lease) = self.leases.get_mut(slot.index) else { return Verdict::Stale };
        let Ok(message) = Message::parse(reply) else { return Verdict::Wrong };
        if message.op() != Op::Reply || message.xid() != lease.xid {
            return Verdict::Stale;
        }
        match (step, message.message_type(), message.server_id()) {
            (0, Some(MessageType::Offer), Some(server)) => {
                lease.address = message.yiaddr();
                lease.server = server;
                Verdict::Again
            }
            // A second Offer answers a Discover that was sent twice.
            (1, Some(MessageType::Offer), _) => Verdict::Stale,
            (1, Some(MessageType::Ack), _) if message.yiaddr() == lease.address => Verdict::Done,
            _ => Verdict::Wrong,
        }
    }
}

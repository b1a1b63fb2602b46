//! What a client wants: the typed forms of a request.
//!
//! After decoding, before *identify*. RFC 2131 §4.3.2 (table 4: which fields a DHCPREQUEST has in which state), §4.4.1
//! (table 5: those of the other messages), §4.4.3, §4.4.4.
//!
//! Invariants: each form holds the addresses that it must have; a message that fits no form is refused by name, because
//! guessing a state could confirm an address that the client did not mean.
//!
//! It does not look at the network or the ledger.

use std::net::Ipv4Addr;

use super::wire::{ClientKey, Message, MessageType, Op, RelayAgent};
use crate::model::Mac;

/// A stable reason code, explained in [`crate::decision::REASONS`].
pub type Reason = &'static str;

/// What the client wants, and in which state it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// It looks for servers.
    Discover,
    /// It accepts an offer.
    Selecting {
        /// The server it chose.
        server_id: Ipv4Addr,
        /// The address it was offered.
        requested: Ipv4Addr,
    },
    /// It restarted and asks whether its former address is still good.
    InitReboot {
        /// That address.
        requested: Ipv4Addr,
    },
    /// It extends its lease with the server that gave it.
    Renewing {
        /// Its address.
        ciaddr: Ipv4Addr,
    },
    /// It extends its lease with any server.
    Rebinding {
        /// Its address.
        ciaddr: Ipv4Addr,
    },
    /// It found its new address in use.
    Decline {
        /// That address.
        declined: Ipv4Addr,
        /// The server that gave it, if named.
        server_id: Option<Ipv4Addr>,
    },
    /// It gives its address back.
    Release {
        /// That address.
        ciaddr: Ipv4Addr,
        /// The server that gave it, if named.
        server_id: Option<Ipv4Addr>,
    },
    /// It has an address from elsewhere and asks for options.
    Inform {
        /// That address; zero from clients that leave it out.
        ciaddr: Ipv4Addr,
    },
}

impl Form {
    /// The form of `message`; see the module.
    pub fn of(message: &Message<'_>) -> Result<Self, Reason> {
        if message.op() != Op::Request {
            return Err("not-a-request");
        }
        let set = |address: Ipv4Addr| Some(address).filter(|address| !address.is_unspecified());
        let ciaddr = set(message.ciaddr());
        let requested = message.requested_address().and_then(set);
        let server_id = message.server_id();
        match message.message_type() {
            Some(MessageType::Discover) => Ok(Self::Discover),
            Some(MessageType::Request) => Self::of_request(message, server_id, requested, ciaddr),
            Some(MessageType::Decline) => {
                requested.map(|declined| Self::Decline { declined, server_id }).ok_or("dhcp4-request-form")
            }
            Some(MessageType::Release) => {
                ciaddr.map(|ciaddr| Self::Release { ciaddr, server_id }).ok_or("dhcp4-request-form")
            }
            Some(MessageType::Inform) => Ok(Self::Inform { ciaddr: message.ciaddr() }),
            _ => Err("not-a-request"),
        }
    }

    fn of_request(
        message: &Message<'_>,
        server_id: Option<Ipv4Addr>,
        requested: Option<Ipv4Addr>,
        ciaddr: Option<Ipv4Addr>,
    ) -> Result<Self, Reason> {
        match (server_id, requested, ciaddr) {
            (Some(server_id), Some(requested), None) => Ok(Self::Selecting { server_id, requested }),
            (None, Some(requested), None) => Ok(Self::InitReboot { requested }),
            // The two differ by how the client sent it: unicast reaches us without a relay. Where the relay is the
            // server in the client's eyes (RFC 5107) a renewal looks like a rebinding, and is answered like one.
            (None, None, Some(ciaddr)) if message.giaddr().is_unspecified() => Ok(Self::Renewing { ciaddr }),
            (None, None, Some(ciaddr)) => Ok(Self::Rebinding { ciaddr }),
            _ => Err("dhcp4-request-form"),
        }
    }

    /// The address that the client asks for, confirms or leaves; none when it names none.
    pub fn address(self) -> Option<Ipv4Addr> {
        match self {
            Self::Discover => None,
            Self::Selecting { requested, .. } | Self::InitReboot { requested } => Some(requested),
            Self::Renewing { ciaddr } | Self::Rebinding { ciaddr } | Self::Release { ciaddr, .. } => {
                Some(ciaddr)
            }
            Self::Decline { declined, .. } => Some(declined),
            Self::Inform { ciaddr } => Some(ciaddr).filter(|ciaddr| !ciaddr.is_unspecified()),
        }
    }
}

/// A request, read as far as it can be without knowing the network.
#[derive(Debug)]
pub struct Request<'a> {
    /// The message.
    pub message: &'a Message<'a>,
    /// What the client wants.
    pub form: Form,
    /// Its Ethernet address; none on other media, and none when it is all zero.
    pub mac: Option<Mac>,
    /// What its leases are bound to.
    pub client: ClientKey<'a>,
    /// What the relay says, not yet believed.
    pub relay_agent: Option<RelayAgent<'a>>,
}

impl<'a> Request<'a> {
    /// Reads `message`; `scratch` holds an option 82 that arrived in parts.
    pub fn read(message: &'a Message<'a>, scratch: &'a mut [u8]) -> Result<Self, Reason> {
        let form = Form::of(message)?;
        let client = message.client_key().filter(is_somebody).ok_or("no-client")?;
        let relay_agent = message.relay_agent(scratch).map_err(super::wire::WireError::reason)?;
        Ok(Self { message, form, mac: ethernet_address(message), client, relay_agent })
    }
}

/// Whether a key tells clients apart: a hardware address of zeros would make one client of all that send it.
fn is_somebody(client: &ClientKey<'_>) -> bool {
    match client {
        ClientKey::ClientId(_) => true,
        ClientKey::Hardware { chaddr, .. } => chaddr.iter().any(|byte| *byte != 0),
    }
}

/// The MAC address of the client, where it has one that can be anybody's.
pub fn ethernet_address(message: &Message<'_>) -> Option<Mac> {
    let bytes: [u8; 6] = message.chaddr().try_into().ok()?;
    (message.htype() == 1 && bytes != [0; 6]).then_some(Mac(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::wire::{RequestHead, RequestWriter, code};
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
    const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const ZERO: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

    /// The form of a message with these values of (server id, requested address, ciaddr, giaddr).
    fn form(
        kind: MessageType,
        server_id: Option<Ipv4Addr>,
        requested: Option<Ipv4Addr>,
        (ciaddr, giaddr): (Ipv4Addr, Ipv4Addr),
    ) -> Result<Form, Reason> {
        let mut head = RequestHead::new(kind, 1, &[2, 0, 0, 0, 0, 1]);
        (head.ciaddr, head.giaddr) = (ciaddr, giaddr);
        let mut bytes = [0; 548];
        let mut writer = RequestWriter::new(&head, &mut bytes).unwrap();
        for (code, value) in [(code::DHCP_SERVER_ID, server_id), (code::ADDRESS_REQUEST, requested)] {
            value.map(|value| writer.option(code, &value.octets()));
        }
        let written = writer.finish();
        Form::of(&Message::parse(&bytes[..written.len]).unwrap())
    }

    #[test]
    fn a_dhcprequest_has_the_state_that_table_4_gives_its_fields() {
        let request = |server, requested, addresses| form(MessageType::Request, server, requested, addresses);
        assert_eq!(request(Some(B), Some(A), (ZERO, B)), Ok(Form::Selecting { server_id: B, requested: A }));
        assert_eq!(request(None, Some(A), (ZERO, B)), Ok(Form::InitReboot { requested: A }));
        assert_eq!(request(None, None, (A, ZERO)), Ok(Form::Renewing { ciaddr: A }));
        assert_eq!(request(None, None, (A, B)), Ok(Form::Rebinding { ciaddr: A }));
    }

    #[test]
    fn a_dhcprequest_that_fits_no_state_is_refused_by_name() {
        for (server, requested, ciaddr) in [
            (None, None, ZERO),
            (Some(B), None, ZERO),
            (Some(B), None, A),
            (None, Some(A), A),
            (Some(B), Some(A), A),
            (Some(B), Some(ZERO), ZERO),
        ] {
            let form = form(MessageType::Request, server, requested, (ciaddr, B));
            assert_eq!(form, Err("dhcp4-request-form"), "{server:?} {requested:?} {ciaddr}");
        }
    }

    #[test]
    fn releases_and_declines_must_name_the_address() {
        assert_eq!(form(MessageType::Release, None, None, (ZERO, ZERO)), Err("dhcp4-request-form"));
        assert_eq!(form(MessageType::Decline, None, None, (ZERO, B)), Err("dhcp4-request-form"));
        let release = form(MessageType::Release, Some(B), None, (A, ZERO));
        assert_eq!(release, Ok(Form::Release { ciaddr: A, server_id: Some(B) }));
    }

    #[test]
    fn messages_that_servers_send_are_no_requests() {
        for kind in MessageType::ALL {
            let wanted = matches!(
                kind,
                MessageType::Discover
                    | MessageType::Request
                    | MessageType::Decline
                    | MessageType::Release
                    | MessageType::Inform
            );
            let refused = form(*kind, Some(B), Some(A), (ZERO, B)) == Err("not-a-request");
            assert_eq!(refused, !wanted, "{kind}");
        }
    }

    #[test]
    fn only_ethernet_addresses_that_are_not_zero_are_mac_addresses() {
        for (htype, chaddr, mac) in [
            (1, &[2, 0, 0, 0, 0, 1][..], Some(Mac([2, 0, 0, 0, 0, 1]))),
            (6, &[2, 0, 0, 0, 0, 1], None),
            (1, &[0; 6], None),
            (1, &[2, 0, 0, 0, 0, 1, 2, 3], None),
        ] {
            let mut head = RequestHead::new(MessageType::Discover, 1, chaddr);
            head.htype = htype;
            let mut bytes = [0; 300];
            let written = RequestWriter::new(&head, &mut bytes).unwrap().finish();
            let message = Message::parse(&bytes[..written.len]).unwrap();
            assert_eq!(ethernet_address(&message), mac);
        }
    }
}

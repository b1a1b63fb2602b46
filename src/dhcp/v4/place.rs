//! Where a request comes from: its relay, its network, and which server the client takes us for.
//!
//! First half of *identify*. RFC 2131 §4.3.1 (giaddr chooses the subnet), RFC 3527 (link-selection), RFC 5107 (server id
//! override), RFC 6607 (virtual subnet selection).
//!
//! The network of a relayed request, the first that applies:
//!
//! 1. address space: the VRF that the relay names (sub-option 151), else that of the relay's own network, else any of
//!    the relay's tenant;
//! 2. in it the network of link-selection (sub-option 5), else of giaddr;
//! 3. when that address lies in none, the relay's own network.
//!
//! Sub-options count only from a listed relay that is trusted. Option 118 (RFC 3011) never does: any CPE could choose its
//! network with it, and RFC 3527 lets sub-option 5 win anyway. A request without a relay is placed by the address that
//! its client has.
//!
//! Invariants: whoever is not placed is not answered; the server id is an address that the client can reach.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::request::{Reason, Request};
use super::wire::{RelayAgent, VirtualSubnet};
use crate::ledger::RenewalBasis;
use crate::model::Prefix;
use crate::pipeline::World;
use crate::snapshot::Snapshot;
use crate::snapshot::types::{Network, Relay, Space};

/// Where a request comes from.
#[derive(Debug)]
pub struct Place<'w> {
    /// Its network.
    pub network: &'w Arc<Network>,
    /// Its relay, when listed.
    pub relay: Option<&'w Arc<Relay>>,
    /// The address by which the relay is listed, to find it again; giaddr when it is not listed; zero without relay.
    pub relay_address: Ipv4Addr,
    /// Whether a relay brought it: only then does a reply reach a client that has no address.
    pub relayed: bool,
    /// Whether the network was chosen by the VRF that the relay named (RFC 6607).
    pub by_virtual_subnet: bool,
    /// The relay's address in our place (RFC 5107).
    server_id_override: Option<Ipv4Addr>,
    local: Option<Ipv4Addr>,
}

impl<'w> Place<'w> {
    /// The place of a request that came through a relay.
    pub fn relayed(
        snapshot: &'w Snapshot,
        request: &Request<'_>,
        (relay, relay_address): (Option<&'w Arc<Relay>>, Ipv4Addr),
        local: IpAddr,
    ) -> Result<Self, Reason> {
        let giaddr = request.message.giaddr();
        let agent = request.relay_agent.filter(|_| is_trusted(relay));
        let virtual_subnet = agent.and_then(|agent| agent.virtual_subnet());
        let network = match network_of(snapshot, giaddr, relay, agent.as_ref(), virtual_subnet) {
            Some(network) => network,
            None if relay.is_none() => return Err("unknown-relay"),
            None => return Err("unknown-network"),
        };
        Ok(Self {
            network,
            relay,
            relay_address,
            relayed: true,
            by_virtual_subnet: virtual_subnet.is_some(),
            server_id_override: agent.and_then(|agent| agent.server_id_override()),
            local: usable(local),
        })
    }

    /// The place of a request that its client sent straight to us, with what is known of the lease it names.
    ///
    /// Several VRFs may have the address; the one in which it belongs to this very client is meant. Without such a
    /// lease nothing vouches for the client, and no answer but one to its own address would reach it.
    pub fn of_lease(
        world: &World<'w>,
        request: &Request<'_>,
        ciaddr: Ipv4Addr,
        local: IpAddr,
    ) -> Result<(Self, RenewalBasis), Reason> {
        let address = IpAddr::V4(ciaddr);
        let first = world.snapshot.network_containing(None, address).ok_or("no-relay")?;
        let mut reason = "no-record";
        let others = world.snapshot.networks().filter(|network| network.space != first.space);
        for network in std::iter::once(first).chain(others.filter(|other| other.prefix_of(address).is_some()))
        {
            let Some(basis) = world.ledger.basis_of(&network.space, Prefix::v4(ciaddr)) else { continue };
            if request.is_client_of(&basis) {
                return Ok((Self::direct(world.snapshot, network, &basis, local), basis));
            }
            reason = "not-holder";
        }
        Err(reason)
    }

    /// The place of a DHCPINFORM that its client sent straight to us.
    pub fn of_address(snapshot: &'w Snapshot, address: IpAddr, local: IpAddr) -> Result<Self, Reason> {
        let network = snapshot.network_containing(None, address).ok_or("no-relay")?;
        Ok(Self {
            network,
            relay: None,
            relay_address: Ipv4Addr::UNSPECIFIED,
            relayed: false,
            by_virtual_subnet: false,
            server_id_override: None,
            local: usable(local),
        })
    }

    fn direct(
        snapshot: &'w Snapshot,
        network: &'w Arc<Network>,
        basis: &RenewalBasis,
        local: IpAddr,
    ) -> Self {
        let remembered = basis.lease.as_ref().map_or(0, |lease| lease.giaddr);
        let relay_address = Ipv4Addr::from(remembered);
        let relay = (remembered != 0).then(|| snapshot.relay_by_address(relay_address.into())).flatten();
        Self {
            network,
            relay,
            relay_address,
            relayed: false,
            by_virtual_subnet: false,
            server_id_override: None,
            local: usable(local),
        }
    }

    /// Whether option 82 of this relay identifies lines.
    pub fn trusts_relay_agent(&self) -> bool {
        is_trusted(self.relay)
    }

    /// The relay's group.
    pub fn group(&self) -> Option<&'w str> {
        self.relay.and_then(|relay| relay.group.as_deref())
    }

    /// What the client is told to call us (option 54).
    pub fn server_id(&self) -> Result<Ipv4Addr, Reason> {
        self.server_id_override.or(self.network.spec.server_id).or(self.local).ok_or("no-server-id")
    }

    /// Whether a client that names this server means us.
    pub fn is_us(&self, server_id: Ipv4Addr) -> bool {
        let names = [self.server_id_override, self.network.spec.server_id, self.local];
        names.into_iter().flatten().any(|name| name == server_id)
    }

    /// Whether `address` belongs to the network.
    pub fn holds(&self, address: Ipv4Addr) -> bool {
        self.network.prefix_of(address.into()).is_some()
    }
}

/// The relay by giaddr, else by where the datagram came from, and the address that found it; giaddr when none did.
pub fn listed_relay(
    snapshot: &Snapshot,
    giaddr: Ipv4Addr,
    source: IpAddr,
) -> (Option<&Arc<Relay>>, Ipv4Addr) {
    if let Some(relay) = snapshot.relay_by_address(giaddr.into()) {
        return (Some(relay), giaddr);
    }
    match (snapshot.relay_by_address(source), source) {
        (Some(relay), IpAddr::V4(source)) => (Some(relay), source),
        _ => (None, giaddr),
    }
}

fn is_trusted(relay: Option<&Arc<Relay>>) -> bool {
    relay.is_some_and(|relay| relay.trust_option82)
}

fn network_of<'w>(
    snapshot: &'w Snapshot,
    giaddr: Ipv4Addr,
    relay: Option<&'w Arc<Relay>>,
    agent: Option<&RelayAgent<'_>>,
    virtual_subnet: Option<VirtualSubnet<'_>>,
) -> Option<&'w Arc<Network>> {
    let link = agent.and_then(RelayAgent::link_selection).unwrap_or(giaddr).into();
    let Some(relay) = relay else {
        return snapshot.network_containing(None, link);
    };
    if let Some(virtual_subnet) = virtual_subnet {
        let vrf = match virtual_subnet {
            VirtualSubnet::Global => Some(""),
            VirtualSubnet::Name(name) => std::str::from_utf8(name).ok(),
            VirtualSubnet::VpnId(_) | VirtualSubnet::Other(..) => None,
        };
        // A VRF that we do not know is not a reason to allocate in another one.
        return snapshot.network_in(&Space { tenant: relay.tenant, vrf: vrf?.into() }, link);
    }
    let own = snapshot.network(relay.network);
    own.and_then(|own| snapshot.network_in(&own.space, link))
        .or_else(|| snapshot.network_containing(Some(relay.tenant), link))
        .or(own)
}

/// The address a datagram came to, when a client can send to it.
fn usable(local: IpAddr) -> Option<Ipv4Addr> {
    match local {
        IpAddr::V4(local) if !local.is_unspecified() && !local.is_broadcast() && !local.is_multicast() => {
            Some(local)
        }
        _ => None,
    }
}

//! What an Access-Accept says: from grants and policy to attributes.
//!
//! Addresses and routes by RFC 2865, 3162, 4818 and 6911; name servers for PPP by RFC 2548; rates by the vendor of the NAS.
//! Order: Message-Authenticator first, Proxy-State last.
//!
//! Nothing that the subscriber chooses is echoed, whether the NAS must sign or not: it would be the attacker's part of the
//! hash in CVE-2024-3596. What stands in Reply-Message is the operator's.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnetwork::Ipv6Network;

use super::request::framed;
use super::vendor;
use super::wire::attribute::kind;
use super::wire::encode::{EncodeError, PacketWriter};
use crate::journal::record::Role;
use crate::ledger::GrantedAddress;
use crate::limits::RADIUS_VALUE_BYTES_MAX;
use crate::model::Prefix;
use crate::snapshot::Snapshot;
use crate::snapshot::types::{Nas, Network, Plan, Service, Space};

const VENDOR_MICROSOFT: u32 = 311;
const MS_PRIMARY_DNS_SERVER: u8 = 28;
const MS_SECONDARY_DNS_SERVER: u8 = 29;

/// Interim interval when the plan names none, in seconds (FIELD R15).
pub(super) const INTERIM_DEFAULT_SECS: u32 = 900;

/// Everything an Accept is made of.
pub(super) struct Accept<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) nas: &'a Nas,
    pub(super) service: &'a Service,
    pub(super) plan: &'a Plan,
    pub(super) space: &'a Space,
    pub(super) addresses: &'a [GrantedAddress],
    pub(super) class: &'a [u8],
    pub(super) session_timeout: Option<u32>,
    pub(super) ppp: bool,
    /// Spreads interims over ±10 %; from the session id.
    pub(super) jitter: u64,
}

impl Accept<'_> {
    /// Appends all attributes.
    pub(super) fn write(&self, writer: &mut PacketWriter<'_>) -> Result<(), EncodeError> {
        if self.ppp {
            writer.u32(kind::SERVICE_TYPE, framed::FRAMED)?;
            writer.u32(kind::FRAMED_PROTOCOL, framed::PPP)?;
        }
        for address in self.addresses {
            self.write_address(writer, address)?;
        }
        self.write_dns(writer)?;
        self.write_routes(writer)?;
        writer.raw(kind::CLASS, self.class)?;
        if let Some(secs) = self.session_timeout {
            writer.u32(kind::SESSION_TIMEOUT, secs)?;
        }
        if let Some(secs) = self.plan.spec.idle_timeout {
            writer.u32(kind::IDLE_TIMEOUT, secs)?;
        }
        writer.u32(kind::ACCT_INTERIM_INTERVAL, self.interim())?;
        if let Some(filter) = &self.plan.spec.filter_id {
            writer.text(kind::FILTER_ID, filter)?;
        }
        vendor::write_rates(writer, self.nas, &self.plan.spec)?;
        let own = self.service.extras.as_ref().and_then(|extras| extras.reply_message.as_deref());
        if let Some(message) = own.or(self.plan.spec.reply_message.as_deref()) {
            write_message(writer, message)?;
        }
        Ok(())
    }

    fn interim(&self) -> u32 {
        let base =
            u64::from(self.plan.spec.interim.unwrap_or(INTERIM_DEFAULT_SECS).max(self.nas.interim_min));
        // 90 % to 110 %, or as much above the floor, so that sessions that began together do not report together.
        let shortest = (base * 9 / 10).max(u64::from(self.nas.interim_min));
        (shortest + self.jitter % (base / 5 + 1)) as u32
    }

    fn write_address(
        &self,
        writer: &mut PacketWriter<'_>,
        granted: &GrantedAddress,
    ) -> Result<(), EncodeError> {
        match (granted.role, granted.prefix.address()) {
            (Role::V4, IpAddr::V4(address)) => {
                let network = self.network_of(granted);
                writer.ipv4(kind::FRAMED_IP_ADDRESS, address)?;
                writer.ipv4(kind::FRAMED_IP_NETMASK, self.netmask(network, address))
            }
            (Role::Wan, IpAddr::V6(_)) => prefix_attribute(writer, kind::FRAMED_IPV6_PREFIX, granted.prefix),
            (Role::Delegated, IpAddr::V6(_)) => {
                prefix_attribute(writer, kind::DELEGATED_IPV6_PREFIX, granted.prefix)
            }
            _ => Ok(()),
        }
    }

    fn network_of(&self, granted: &GrantedAddress) -> Option<&Arc<Network>> {
        match self.snapshot.pool(granted.pool.0) {
            Some(pool) => self.snapshot.network(pool.network),
            None => self.snapshot.network_in(self.space, granted.prefix.address()),
        }
    }

    /// PPP links are point to point; an IPoE host needs the mask of its network.
    fn netmask(&self, network: Option<&Arc<Network>>, address: Ipv4Addr) -> Ipv4Addr {
        let prefix = network.and_then(|network| network.prefix_of(IpAddr::V4(address)));
        match prefix {
            Some(prefix) if !self.ppp => {
                Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(prefix.len())).unwrap_or(0))
            }
            _ => Ipv4Addr::BROADCAST,
        }
    }

    /// Name servers of each family, from the networks of the addresses of that family.
    fn write_dns(&self, writer: &mut PacketWriter<'_>) -> Result<(), EncodeError> {
        let network_for = |role: Role| {
            let granted = self.addresses.iter().find(|granted| granted.role == role)?;
            self.network_of(granted)
        };
        let v4 = network_for(Role::V4);
        let kinds = [MS_PRIMARY_DNS_SERVER, MS_SECONDARY_DNS_SERVER];
        for (address, vendor_kind) in v4.into_iter().flat_map(|network| &network.dns_v4).zip(kinds) {
            writer.vendor(VENDOR_MICROSOFT, vendor_kind, &address.octets())?;
        }
        let has_v6 = |network: &&Arc<Network>| network.spec.dns.iter().any(IpAddr::is_ipv6);
        let v6 = [network_for(Role::Wan), network_for(Role::Delegated), v4];
        let network = v6.into_iter().flatten().find(has_v6);
        for address in network.into_iter().flat_map(|network| &network.spec.dns) {
            if let IpAddr::V6(address) = address {
                writer.ipv6(kind::DNS_SERVER_IPV6_ADDRESS, *address)?;
            }
        }
        Ok(())
    }

    fn write_routes(&self, writer: &mut PacketWriter<'_>) -> Result<(), EncodeError> {
        for granted in self.addresses.iter().filter(|granted| granted.role == Role::Routed) {
            let prefix = granted.prefix;
            // An unspecified gateway means the session itself (RFC 2865 §5.22, RFC 3162 §2.5).
            if prefix.is_v4() {
                let route = format!("{}/{} 0.0.0.0 1", prefix.address(), prefix.len());
                writer.text(kind::FRAMED_ROUTE, &route)?;
            } else {
                let route = format!("{}/{} :: 1", prefix.address(), prefix.len());
                writer.text(kind::FRAMED_IPV6_ROUTE, &route)?;
            }
        }
        Ok(())
    }
}

fn prefix_attribute(writer: &mut PacketWriter<'_>, kind: u8, prefix: Prefix) -> Result<(), EncodeError> {
    let IpAddr::V6(address) = prefix.address() else { return Ok(()) };
    match Ipv6Network::new(address, prefix.len()) {
        Ok(network) => writer.ipv6_prefix(kind, network),
        Err(_) => Ok(()),
    }
}

/// Text of any length over as many Reply-Messages as it takes (RFC 2865 §5.18), split between characters.
fn write_message(writer: &mut PacketWriter<'_>, message: &str) -> Result<(), EncodeError> {
    let mut rest = message;
    while !rest.is_empty() {
        let (part, after) = rest.split_at(rest.floor_char_boundary(RADIUS_VALUE_BYTES_MAX));
        writer.raw(kind::REPLY_MESSAGE, part.as_bytes())?;
        rest = after;
    }
    Ok(())
}

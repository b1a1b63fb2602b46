//! Who asks: the service behind a request.
//!
//! Second half of *identify*, after [`super::place`]. Precedence: line (remote-id and circuit-id of a trusted relay), then
//! MAC address (`chaddr`), each within (tenant, relay group, network), because one line carries several services. Who is
//! recognised by neither is a client without a service.
//!
//! The client identifier (option 61) recognises no service: nothing on the way checks it, unlike `chaddr`, which access
//! nodes compare with the frame. It binds leases (RFC 2131 §4.2) and is compared when a client comes back for one.
//!
//! Invariants: two identifiers that name two services are reported, and the stronger one is used; an access that may not
//! be used is a refusal and never falls through to a weaker identifier or to the rules for unknown clients.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use super::place::Place;
use super::request::{Reason, Request};
use super::wire::{ClientKey, RelayAgent};
use crate::ids::Uid;
use crate::journal::record::{Holder, LeaseFacts, Owner};
use crate::ledger::RenewalBasis;
use crate::model::Mac;
use crate::model::service::ServiceState;
use crate::snapshot::Snapshot;
use crate::snapshot::types::{Access, Network, Plan, Service};

/// A line as the access node names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line<'a> {
    /// Agent remote-id.
    pub remote_id: Option<&'a [u8]>,
    /// Agent circuit-id.
    pub circuit_id: Option<&'a [u8]>,
}

impl<'a> Line<'a> {
    /// What option 82 names; none when it names no line.
    pub fn of(agent: &RelayAgent<'a>) -> Option<Self> {
        let line = Self { remote_id: agent.remote_id(), circuit_id: agent.circuit_id() };
        (line != Self::default()).then_some(line)
    }

    /// The line as the ledger compares it, over RADIUS and DHCP alike; never 0.
    pub fn key(&self) -> u64 {
        Owner::line_key(self.remote_id, self.circuit_id)
    }

    /// Readable and unambiguous: remote-id and circuit-id with a space between, each as text or `0x…`.
    pub fn text(&self) -> SmallVec<[u8; 24]> {
        let mut text = SmallVec::new();
        for id in [self.remote_id, self.circuit_id].into_iter().flatten() {
            if !text.is_empty() {
                text.push(b' ');
            }
            let printable = id.iter().all(|byte| (0x20..0x7f).contains(byte)) && !id.starts_with(b"0x");
            if printable {
                text.extend_from_slice(id);
                continue;
            }
            text.extend_from_slice(b"0x");
            for byte in id {
                text.extend([byte >> 4, byte & 0xf].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
            }
        }
        text
    }
}

/// A service that may be served, with how it was recognised.
#[derive(Clone, Copy, Debug)]
pub struct Known<'w> {
    /// The service.
    pub service: &'w Arc<Service>,
    /// Its plan.
    pub plan: &'w Arc<Plan>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Identified<'w> {
    /// The service; none for a client without one.
    pub known: Option<Known<'w>>,
    /// The other service, which a weaker identifier names.
    pub conflict: Option<Uid>,
}

/// Why a recognised client is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// The service that its access names.
    pub service: Uid,
}

/// Finds the service behind a line and a MAC address.
pub fn identify<'w>(
    snapshot: &'w Snapshot,
    place: &Place<'_>,
    line: Option<Line<'_>>,
    mac: Option<Mac>,
) -> Result<Identified<'w>, Refused> {
    let (tenant, network) = (place.network.space.tenant, Some(place.network.id));
    let by_line = line.and_then(|line| {
        snapshot.access_by_line(tenant, place.group(), network, line.remote_id, line.circuit_id)
    });
    let by_mac = mac.and_then(|mac| snapshot.access_by_mac(tenant, place.group(), network, mac));
    let Some(access) = by_line.or(by_mac) else {
        return Ok(Identified { known: None, conflict: None });
    };
    let conflict = by_mac.map(|by_mac| by_mac.service).filter(|service| *service != access.service);
    let known = check(snapshot, place.network, access, mac)
        .map_err(|reason| Refused { reason, service: access.service })?;
    Ok(Identified { known: Some(known), conflict })
}

/// Whether the access may be used, here and now.
fn check<'w>(
    snapshot: &'w Snapshot,
    network: &Network,
    access: &Access,
    mac: Option<Mac>,
) -> Result<Known<'w>, Reason> {
    if !access.enabled {
        return Err("access-disabled");
    }
    if access.bind_mac != Mac::default() && Some(access.bind_mac) != mac {
        return Err("mac-bind-mismatch");
    }
    // DHCP does not say on which VLAN a client is; its network does, when it is one VLAN.
    if access.bind_vlan != 0 && network.spec.vlan.is_some_and(|vlan| vlan != access.bind_vlan) {
        return Err("vlan-bind-mismatch");
    }
    let service = snapshot.service(access.service).ok_or("service-missing")?;
    match service.state {
        ServiceState::Active => {}
        ServiceState::Paused => return Err("service-paused"),
        ServiceState::Terminated => return Err("service-terminated"),
    }
    let plan = snapshot.plan(service.plan).ok_or("plan-missing")?;
    Ok(Known { service, plan })
}

/// The holder that stands for a client without a service: the same client on the same network, and nobody else.
pub fn client_holder(network: Uid, client: &ClientKey<'_>) -> Holder {
    let mut digest = Sha256::new();
    digest.update(network.bytes());
    match client {
        ClientKey::ClientId(id) => {
            digest.update([0]);
            id.parts().for_each(|part| digest.update(part));
        }
        ClientKey::Hardware { htype, chaddr } => {
            digest.update([1, *htype]);
            digest.update(chaddr);
        }
    }
    let digest: [u8; 32] = digest.finalize().into();
    let half = digest.first_chunk::<16>().copied().unwrap_or_default();
    Holder::client(u128::from_be_bytes(half))
}

impl Request<'_> {
    /// Whether the client is the one that has, or had last, this address: the same device or the same identifier.
    pub fn is_client_of(&self, basis: &RenewalBasis) -> bool {
        let same_device = self.mac.is_some() && self.mac == Some(basis.owner.mac);
        let same_id = match (&self.client, &basis.lease) {
            (ClientKey::ClientId(id), Some(LeaseFacts { client_id, .. })) => {
                id.len() == client_id.len() && id.bytes().eq(client_id.iter().copied())
            }
            _ => false,
        };
        same_device || same_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_text_where_it_is_text() {
        let line = Line { remote_id: Some(&[0, 0x5e, 0xff]), circuit_id: Some(b"ge-1/0/1.0:43") };
        assert_eq!(line.text().as_slice(), b"0x005eff ge-1/0/1.0:43");
        assert_eq!(Line { circuit_id: Some(b"0x41"), ..line }.text().as_slice(), b"0x005eff 0x30783431");
    }

    #[test]
    fn a_client_without_a_service_is_another_holder_on_another_network() {
        let (id, mac) = ([1, 2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 1]);
        let by_id = ClientKey::ClientId(id.as_slice().into());
        let by_mac = ClientKey::Hardware { htype: 1, chaddr: &mac };
        let holders = [
            client_holder(Uid(1), &by_id),
            client_holder(Uid(2), &by_id),
            client_holder(Uid(1), &by_mac),
            client_holder(Uid(1), &ClientKey::Hardware { htype: 6, chaddr: &mac }),
        ];
        for (at, holder) in holders.iter().enumerate() {
            assert!(holder.is_client());
            assert!(holders.iter().skip(at + 1).all(|other| other != holder));
        }
        assert_eq!(client_holder(Uid(1), &by_id), holders[0]);
    }
}

//! What the client may have: holder, slot owner, and where its address comes from.
//!
//! First half of *decide*. A service has the address that is assigned to it by name, or one of the pools of its plan's
//! class that belong to this network; a client without a service has what the network gives unknown clients.
//!
//! Invariants: an address of another network is never given, whatever class its pool has; a plan for several devices
//! gives each MAC address a slot of its own, because devices behind one line would take each other's address over.
//!
//! It chooses no address: that is the ledger's.

use std::sync::Arc;

use smallvec::SmallVec;

use super::identify::{Identified, Known, Line, client_holder};
use super::place::Place;
use super::request::{Reason, Request};
use crate::journal::record::{Holder, Owner, Role};
use crate::ledger::{Want, WantSource};
use crate::model::Prefix;
use crate::model::network::UnknownClients;
use crate::pipeline::World;
use crate::snapshot::types::{Network, Pool, ServiceIpv4, Space};

/// Where an address comes from.
#[derive(Debug)]
pub enum Source<'w> {
    /// Assigned by name.
    Fixed(Prefix),
    /// These pools, in order.
    Pools(&'w [Arc<Pool>]),
    /// The same, picked from a class that leads to other networks too.
    Picked(SmallVec<[Arc<Pool>; 4]>),
}

impl Source<'_> {
    /// As the ledger wants it.
    pub fn want(&self) -> Want<'_> {
        let source = match self {
            Self::Fixed(prefix) => WantSource::Fixed(*prefix),
            Self::Pools(pools) => WantSource::Pools(pools),
            Self::Picked(pools) => WantSource::Pools(pools),
        };
        Want { role: Role::V4, source }
    }
}

/// What one client may have.
#[derive(Debug)]
pub struct Entitlement<'w> {
    /// Who will hold the address.
    pub holder: Holder,
    /// Whether the holder is a service.
    pub known: bool,
    /// Who uses the slot.
    pub owner: Owner,
    /// How many slots there are.
    pub max_slots: u8,
    /// Where the address comes from.
    pub source: Source<'w>,
    /// Address space.
    pub space: Arc<Space>,
    /// Digest of the policy.
    pub digest: u64,
}

impl<'w> Entitlement<'w> {
    /// What the identified client may have at this place.
    pub fn of(
        world: &World<'w>,
        place: &Place<'w>,
        request: &Request<'_>,
        line: Option<Line<'_>>,
        identified: &Identified<'w>,
    ) -> Result<Self, Reason> {
        match identified.known {
            Some(known) => Self::of_service(world, place, request, line, known),
            None => Self::of_client(world, place, request, line),
        }
    }

    fn of_service(
        world: &World<'w>,
        place: &Place<'w>,
        request: &Request<'_>,
        line: Option<Line<'_>>,
        Known { service, plan }: Known<'w>,
    ) -> Result<Self, Reason> {
        let network: &'w Network = place.network;
        let own_space = world.snapshot.space_of(service, plan);
        let in_own_space = **own_space == network.space;
        let source = match service.ipv4 {
            ServiceIpv4::None => return Err("no-ipv4"),
            ServiceIpv4::Fixed(address) if in_own_space && place.holds(address) => {
                Source::Fixed(Prefix::v4(address))
            }
            ServiceIpv4::Fixed(_) => return Err("address-off-network"),
            ServiceIpv4::Pool => {
                let class = plan.spec.pool_class_v4.as_deref().ok_or("no-pool")?;
                pools_of(world, place, class)
            }
        };
        let max_slots = match service.max_sessions {
            0 => plan.spec.max_sessions.unwrap_or(1),
            own => own,
        };
        let by_line = line.filter(|_| max_slots == 1 || request.mac.is_none());
        Ok(Self {
            holder: Holder(service.id.0),
            known: true,
            owner: owner(request, by_line),
            max_slots,
            source,
            space: if in_own_space { Arc::clone(own_space) } else { space_of(world, network) },
            digest: world.snapshot.policy_digest(service, plan),
        })
    }

    fn of_client(
        world: &World<'w>,
        place: &Place<'w>,
        request: &Request<'_>,
        line: Option<Line<'_>>,
    ) -> Result<Self, Reason> {
        let network: &'w Network = place.network;
        let UnknownClients::PoolClass(class) = &network.spec.unknown_clients else {
            let untrusted = request.relay_agent.is_some() && place.relayed && !place.trusts_relay_agent();
            return Err(if untrusted { "untrusted-line" } else { "unknown-client" });
        };
        Ok(Self {
            holder: client_holder(network.id, &request.client),
            known: false,
            owner: owner(request, line),
            max_slots: 1,
            source: pools_of(world, place, class),
            space: space_of(world, network),
            digest: network.digest,
        })
    }

    /// Whether another address than `prefix` is assigned by name.
    pub fn is_assigned_other_than(&self, prefix: Prefix) -> bool {
        matches!(self.source, Source::Fixed(fixed) if fixed != prefix)
    }
}

fn owner(request: &Request<'_>, line: Option<Line<'_>>) -> Owner {
    Owner { line: line.map_or(0, |line| line.key()), mac: request.mac.unwrap_or_default() }
}

fn space_of(world: &World<'_>, network: &Network) -> Arc<Space> {
    world.ledger.space(network.space.tenant, network.space.vrf.as_bytes())
}

/// The pools of a class that lie in this network and hold IPv4 addresses.
fn pools_of<'w>(world: &World<'w>, place: &Place<'w>, class: &str) -> Source<'w> {
    let here = |pool: &&Arc<Pool>| {
        let single_v4 = pool.wide_len == 128 && pool.ranges.first().is_some_and(|range| range.first.is_v4());
        pool.network == place.network.id && single_v4
    };
    let pools = world.snapshot.pools_for(&place.network.space, class, place.group());
    if pools.iter().all(|pool| here(&pool)) {
        return Source::Pools(pools);
    }
    Source::Picked(pools.iter().filter(here).map(Arc::clone).collect())
}

//! Snapshot: desired state at one seq, compiled for decisions.
//!
//! Packets read it and never wait; the API waits until its own write is in it. One packet works with one [`Snapshot`].
//!
//! - [`types`]: the compiled objects; [`compile`] makes them from desired state, one by one.
//! - [`Snapshot`] (here): the lookups that decisions need; `trie` below it is the persistent map that makes a write
//!   copy one path and a reader keep what it has.
//! - [`build`]: a snapshot from everything, at start; [`delta`]: the next snapshot from a change.
//! - [`gap`]: what is defined but cannot work.
//! - [`image`]: the node-local file from which a node starts without the database.
//! - [`publish`]: the current snapshot, and how it follows storage.
//!
//! Invariants: a snapshot never changes; one built by deltas equals one built from scratch at the same seq, in whatever
//! order the objects came; a lookup neither allocates nor locks. It holds secrets in clear, in memory only.

pub mod build;
pub mod compile;
mod definitions;
pub mod delta;
mod fixed;
pub mod gap;
mod hash;
pub mod image;
mod index;
mod prefix_table;
pub mod publish;
mod trie;
pub mod types;

use std::net::IpAddr;
use std::sync::Arc;

use crate::ids::{TenantId, Uid};
use crate::model::{Kind, Mac, Prefix};
use definitions::{ById, Definitions, Reach, find};
use fixed::FixedIndex;
use index::{AccessIndex, Shown};
use trie::Trie;
use types::{Access, Nas, Network, Plan, Pool, Relay, Service, ServiceIpv4, Space};

/// Why a datagram has no NAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NasMiss {
    /// No NAS sends from there, or none with that NAS-Identifier.
    Unknown,
    /// Several do, and nothing tells them apart.
    Ambiguous,
}

/// Desired state at one seq; see the module. A clone shares everything.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    seq: u64,
    definitions: Arc<Definitions>,
    services: ById<Service>,
    accesses: ById<Access>,
    access_index: AccessIndex,
    fixed: FixedIndex,
    /// Objects whose stored form could not be opened: not served, but not forgotten.
    unreadable: Trie<u64, (Kind, Uid)>,
}

impl Snapshot {
    /// The snapshot of an installation in which nothing was ever written.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The commit number of which this is the state.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// The NAS that sends from `source`: those with the longest address prefix, among them the one with this
    /// NAS-Identifier, else the one without any.
    pub fn nas_by_source(&self, source: IpAddr, identifier: Option<&[u8]>) -> Result<&Arc<Nas>, NasMiss> {
        let table = &self.definitions.nas_by_source;
        let candidates = table.matches(source).next().ok_or(NasMiss::Unknown)?;
        let with = |wanted: Option<&[u8]>| {
            let mut matching = candidates.iter().filter(move |nas| nas.identifier.as_deref() == wanted);
            let first = matching.next();
            if matching.next().is_some() {
                return Err(NasMiss::Ambiguous);
            }
            Ok(first)
        };
        if let Some(nas) = with(identifier)? {
            return Ok(nas);
        }
        match with(None)? {
            Some(nas) => Ok(nas),
            // All of several have a NAS-Identifier and the packet brought none: operators should hear why.
            None if identifier.is_none() && candidates.len() > 1 => Err(NasMiss::Ambiguous),
            None => Err(NasMiss::Unknown),
        }
    }

    /// The NAS with this id.
    pub fn nas(&self, id: Uid) -> Option<&Arc<Nas>> {
        find(&self.definitions.nases, id)
    }

    /// Every NAS, in no particular order.
    pub fn all_nas(&self) -> impl Iterator<Item = &Arc<Nas>> {
        self.definitions.nases.iter()
    }

    /// The relay with the longest prefix that holds `address` (giaddr or datagram source); the oldest of equal ones.
    pub fn relay_by_address(&self, address: IpAddr) -> Option<&Arc<Relay>> {
        self.definitions.relay_by_address.matches(address).flatten().next()
    }

    /// The relay with this id.
    pub fn relay(&self, id: Uid) -> Option<&Arc<Relay>> {
        find(&self.definitions.relays, id)
    }

    /// Every relay, in no particular order.
    pub fn all_relays(&self) -> impl Iterator<Item = &Arc<Relay>> {
        self.definitions.relays.iter()
    }

    /// The access with this login: of the group first, then of any.
    pub fn access_by_login(
        &self,
        tenant: TenantId,
        group: Option<&str>,
        login: &[u8],
    ) -> Option<&Arc<Access>> {
        self.access_index.find(tenant, group, None, Shown::Login(login))
    }

    /// Asks for memory on the way to the access with this login, of the group if any login is of one, else of none; the hash
    /// under which it is filed.
    pub fn touch_login(&self, tenant: TenantId, group: Option<&str>, login: &[u8]) -> Option<u64> {
        self.access_index.touch_login(tenant, group, login)
    }

    /// Second step: the entry itself.
    pub fn touch_filed(&self, hash: u64) {
        self.access_index.touch_filed(hash);
    }

    /// The first access filed under a hash.
    pub fn filed_at(&self, hash: u64) -> Option<&Access> {
        self.access_index.filed_at(hash)
    }

    /// Asks for memory on the way to a service.
    pub fn touch_service_way(&self, id: Uid) {
        self.services.touch_way(hash::of_uid(id));
    }

    /// Second step: its entry.
    pub fn touch_service(&self, id: Uid) {
        self.services.touch(hash::of_uid(id));
    }

    /// The access with this MAC address: (group, network), (group, any), (any, network), (any, any).
    pub fn access_by_mac(
        &self,
        tenant: TenantId,
        group: Option<&str>,
        network: Option<Uid>,
        mac: Mac,
    ) -> Option<&Arc<Access>> {
        self.access_index.find(tenant, group, network, Shown::Mac(mac))
    }

    /// The access of this line: scopes as for MAC addresses, and within each remote-id with circuit-id, circuit-id
    /// alone, remote-id alone.
    pub fn access_by_line(
        &self,
        tenant: TenantId,
        group: Option<&str>,
        network: Option<Uid>,
        remote_id: Option<&[u8]>,
        circuit_id: Option<&[u8]>,
    ) -> Option<&Arc<Access>> {
        let line = Shown::Line(remote_id, circuit_id);
        self.access_index.find(tenant, group, network, line)
    }

    /// The access with this id.
    pub fn access(&self, id: Uid) -> Option<&Arc<Access>> {
        find(&self.accesses, id)
    }

    /// Every access, in no particular order.
    pub fn accesses(&self) -> impl Iterator<Item = &Arc<Access>> {
        self.accesses.iter()
    }

    /// Number of accesses.
    pub const fn accesses_len(&self) -> usize {
        self.accesses.len()
    }

    /// The service with this id.
    pub fn service(&self, id: Uid) -> Option<&Arc<Service>> {
        find(&self.services, id)
    }

    /// Every service, in no particular order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.iter()
    }

    /// Number of services.
    pub const fn services_len(&self) -> usize {
        self.services.len()
    }

    /// The plan with this id.
    pub fn plan(&self, id: Uid) -> Option<&Arc<Plan>> {
        find(&self.definitions.plans, id).map(|entry| &entry.plan)
    }

    /// Every plan, in no particular order.
    pub fn plans(&self) -> impl Iterator<Item = &Arc<Plan>> {
        self.definitions.plans.iter().map(|entry| &entry.plan)
    }

    /// The network with this id.
    pub fn network(&self, id: Uid) -> Option<&Arc<Network>> {
        find(&self.definitions.networks, id)
    }

    /// Every network, in no particular order.
    pub fn networks(&self) -> impl Iterator<Item = &Arc<Network>> {
        self.definitions.networks.iter()
    }

    /// The network with the longest prefix that holds `address`, of one tenant or of all. Where several address spaces
    /// have that prefix, the default VRF answers, then the first VRF by name.
    pub fn network_containing(&self, tenant: Option<TenantId>, address: IpAddr) -> Option<&Arc<Network>> {
        self.network_where(address, |space| tenant.is_none_or(|tenant| tenant == space.tenant))
    }

    /// The network of one address space with the longest prefix that holds `address`.
    pub fn network_in(&self, space: &Space, address: IpAddr) -> Option<&Arc<Network>> {
        self.network_where(address, |of_network| of_network == space)
    }

    fn network_where(&self, address: IpAddr, wanted: impl Fn(&Space) -> bool) -> Option<&Arc<Network>> {
        let rows = self.definitions.network_by_address.matches(address);
        rows.flatten().find(|network| wanted(&network.space))
    }

    /// The pool with this id.
    pub fn pool(&self, id: Uid) -> Option<&Arc<Pool>> {
        find(&self.definitions.pools, id)
    }

    /// Every pool, in no particular order.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.definitions.pools.iter()
    }

    /// Pools of a class for a NAS or relay group, in the order in which they are tried: those of the group, then those
    /// without one, each by (order, name). Pools of other groups never. A class may hold pools of both families.
    pub fn pools_for(&self, space: &Space, class: &str, group: Option<&str>) -> &[Arc<Pool>] {
        self.definitions.pools_for(space, class, group)
    }

    /// The service to which exactly this prefix is assigned by name; `space_key` is [`Space::key`].
    pub fn fixed_holder(&self, space_key: u64, prefix: Prefix) -> Option<Uid> {
        self.fixed.holder(space_key, prefix)
    }

    /// Every prefix assigned by name that contains `prefix` or lies in it, and its service. As long as the answer.
    pub fn fixed_overlapping(&self, space_key: u64, prefix: Prefix) -> Vec<(Prefix, Uid)> {
        self.fixed.overlapping(space_key, prefix)
    }

    /// The address space of a service: its own VRF, else the plan's, else the default one.
    pub fn space_of<'a>(&self, service: &'a Service, plan: &'a Plan) -> &'a Arc<Space> {
        own_space(service).unwrap_or(&plan.space)
    }

    /// Digest of the compiled policy of a service: its own part, its plan, and the networks that its pool classes lead
    /// to. Labels, annotations and secrets change no digest.
    pub fn policy_digest(&self, service: &Service, plan: &Plan) -> u64 {
        let reach = self.reach(service, plan);
        hash::mix(hash::mix(service.digest, plan.digest), reach.digest)
    }

    /// The newest seq at which an object behind the policy of a service was written. An edit of labels counts, so two
    /// seqs may have one digest.
    pub fn policy_seq(&self, service: &Service, plan: &Plan, access: Option<&Access>) -> u64 {
        let access = access.map_or(0, |access| access.seq);
        let reach = self.reach(service, plan);
        service.seq.max(plan.seq).max(reach.seq).max(access)
    }

    fn reach(&self, service: &Service, plan: &Plan) -> Reach {
        let space = self.space_of(service, plan);
        // The stored answer is for this very plan; a plan that is only being simulated has its id but not its classes.
        match find(&self.definitions.plans, plan.id) {
            Some(entry) if std::ptr::eq(Arc::as_ptr(&entry.plan), plan) && *space == plan.space => {
                entry.reach
            }
            _ => self.definitions.reach(plan, space),
        }
    }
}

fn own_space(service: &Service) -> Option<&Arc<Space>> {
    service.extras.as_ref()?.space.as_ref()
}

/// Every prefix that is assigned to a service by name.
fn assigned(service: &Service) -> impl Iterator<Item = Prefix> + '_ {
    let v4 = match service.ipv4 {
        ServiceIpv4::Fixed(address) => Some(Prefix::v4(address)),
        ServiceIpv4::Pool | ServiceIpv4::None => None,
    };
    let extras = service.extras.iter().flat_map(|extras| {
        let named = [extras.wan, extras.delegated].into_iter().flatten();
        named.chain(extras.routed.iter().copied())
    });
    v4.into_iter().chain(extras)
}

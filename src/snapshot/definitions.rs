//! The few objects behind the many subscribers: networks, pools, plans, NASes and relays, and the tables derived from
//! them.
//!
//! There are hundreds or thousands of them, not millions, so a change of one derives the tables of its family anew
//! (clients, or addressing): about a microsecond for each object. The objects themselves are shared between versions.
//!
//! Invariants: derived tables are a function of the objects alone; a pool's address space is that of its network; a pool
//! whose network is missing serves no class.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::compile::Compiled;
use super::hash;
use super::prefix_table::PrefixTable;
use super::trie::Trie;
use super::types::{Nas, Network, Plan, Pool, Relay, Space};
use crate::ids::Uid;
use crate::model::Kind;

/// Objects of one kind by id.
pub(super) type ById<V> = Trie<u64, Arc<V>>;

/// A compiled object that knows its id.
pub(super) trait Identified {
    /// Its id.
    fn id(&self) -> Uid;
}

macro_rules! identified {
    ($($name:ty),+) => {
        $(impl Identified for $name {
            fn id(&self) -> Uid {
                self.id
            }
        })+
    };
}
identified!(Nas, Relay, Network, Pool, super::types::Service, super::types::Access);

impl Identified for PlanEntry {
    fn id(&self) -> Uid {
        self.plan.id
    }
}

/// Finds, puts and removes by id.
pub(super) fn find<V: Identified>(map: &ById<V>, id: Uid) -> Option<&Arc<V>> {
    map.find(hash::of_uid(id), |value| value.id() == id)
}

pub(super) fn put<V: Identified>(map: &mut ById<V>, value: Arc<V>) -> Option<Arc<V>> {
    let id = value.id();
    map.insert(hash::of_uid(id), value, |value| value.id() == id)
}

pub(super) fn take<V: Identified>(map: &mut ById<V>, id: Uid) -> Option<Arc<V>> {
    map.remove(hash::of_uid(id), |value| value.id() == id)
}

/// A plan with what its pool classes lead to.
#[derive(Debug)]
pub(super) struct PlanEntry {
    pub(super) plan: Arc<Plan>,
    /// For services in the plan's own address space.
    pub(super) reach: Reach,
}

/// The networks that pool classes lead to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// Digest over their digests.
    pub(super) digest: u64,
    /// Newest of their seqs.
    pub(super) seq: u64,
}

/// Pools of one class in one address space.
#[derive(Debug)]
pub(super) struct ClassPools {
    space: Space,
    class: Box<str>,
    /// Pools without a group, in order.
    any: Vec<Arc<Pool>>,
    /// Per group, sorted: pools of the group, then those without one.
    groups: Vec<(Box<str>, Vec<Arc<Pool>>)>,
    reach: Reach,
}

/// All definitions; see the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Definitions {
    pub(super) networks: ById<Network>,
    pub(super) pools: ById<Pool>,
    pub(super) plans: ById<PlanEntry>,
    pub(super) nases: ById<Nas>,
    pub(super) relays: ById<Relay>,
    pub(super) nas_by_source: Arc<PrefixTable<Nas>>,
    pub(super) relay_by_address: Arc<PrefixTable<Relay>>,
    pub(super) network_by_address: Arc<PrefixTable<Network>>,
    classes: Trie<u64, Arc<ClassPools>>,
}

impl Definitions {
    /// Puts an object; the derived tables lag until [`Definitions::derive`].
    pub(super) fn put(&mut self, object: Compiled) {
        match object {
            Compiled::Network(network) => drop(put(&mut self.networks, network)),
            Compiled::Pool(pool) => drop(put(&mut self.pools, pool)),
            Compiled::Nas(nas) => drop(put(&mut self.nases, nas)),
            Compiled::Relay(relay) => drop(put(&mut self.relays, relay)),
            Compiled::Plan(plan) => {
                let reach = Reach::default();
                drop(put(&mut self.plans, Arc::new(PlanEntry { plan, reach })));
            }
            Compiled::Service(_) | Compiled::Access(_) => {}
        }
    }

    /// Removes an object; likewise.
    pub(super) fn remove(&mut self, kind: Kind, id: Uid) {
        match kind {
            Kind::Network => drop(take(&mut self.networks, id)),
            Kind::Pool => drop(take(&mut self.pools, id)),
            Kind::Nas => drop(take(&mut self.nases, id)),
            Kind::Relay => drop(take(&mut self.relays, id)),
            Kind::Plan => drop(take(&mut self.plans, id)),
            Kind::Subscriber | Kind::Service | Kind::Access => {}
        }
    }

    /// Derives the tables of the families that were touched.
    pub(super) fn derive(&mut self, touched: Touched) {
        if touched.clients {
            self.derive_clients();
        }
        if touched.addressing {
            self.derive_addressing();
        }
    }

    fn derive_clients(&mut self) {
        let mut nases: Vec<&Arc<Nas>> = self.nases.iter().collect();
        nases.sort_by_key(|nas| (nas.tenant, nas.id));
        self.nas_by_source = Arc::new(PrefixTable::build(nases.into_iter().flat_map(|nas| {
            let addresses = nas.addresses.iter();
            addresses.map(move |address| (*address, Arc::clone(nas)))
        })));
        let mut relays: Vec<&Arc<Relay>> = self.relays.iter().collect();
        relays.sort_by_key(|relay| (relay.tenant, relay.id));
        self.relay_by_address = Arc::new(PrefixTable::build(relays.into_iter().flat_map(|relay| {
            let addresses = relay.addresses.iter();
            addresses.map(move |address| (*address, Arc::clone(relay)))
        })));
    }

    fn derive_addressing(&mut self) {
        let mut networks: Vec<&Arc<Network>> = self.networks.iter().collect();
        // Where several address spaces hold an address, the default VRF answers first.
        networks.sort_by_key(|network| {
            let space = &network.space;
            (!space.vrf.is_empty(), &space.vrf, space.tenant, network.id)
        });
        self.network_by_address = Arc::new(PrefixTable::build(networks.into_iter().flat_map(|network| {
            let prefixes = network.spec.prefixes.iter();
            prefixes.map(move |prefix| (*prefix, Arc::clone(network)))
        })));
        self.place_pools();
        self.derive_classes();
        let plans = self.plans.iter().map(|entry| {
            let reach = self.reach(&entry.plan, &entry.plan.space);
            if reach == entry.reach {
                return Arc::clone(entry);
            }
            let plan = Arc::clone(&entry.plan);
            Arc::new(PlanEntry { plan, reach })
        });
        let plans = plans.map(|entry| (hash::of_uid(entry.plan.id), entry));
        self.plans = Trie::from_entries(plans.collect());
    }

    /// Moves pools into the address space of their network.
    fn place_pools(&mut self) {
        let misplaced: Vec<Arc<Pool>> = self
            .pools
            .iter()
            .filter_map(|pool| {
                let vrf = find(&self.networks, pool.network).map_or("", |network| &network.space.vrf);
                (*pool.space.vrf != *vrf).then(|| {
                    let mut placed = Pool::clone(pool);
                    placed.space.vrf = vrf.into();
                    Arc::new(placed)
                })
            })
            .collect();
        for pool in misplaced {
            put(&mut self.pools, pool);
        }
    }

    fn derive_classes(&mut self) {
        let mut classes: BTreeMap<(&Space, &str), Vec<&Arc<Pool>>> = BTreeMap::new();
        for pool in self.pools.iter() {
            if find(&self.networks, pool.network).is_some() {
                classes.entry((&pool.space, &pool.class)).or_default().push(pool);
            }
        }
        let entries = classes
            .into_iter()
            .map(|((space, class), pools)| {
                let class = self.class_pools(space, class, pools);
                (hash::of(&(&class.space, &class.class)), Arc::new(class))
            })
            .collect();
        self.classes = Trie::from_entries(entries);
    }

    fn class_pools(&self, space: &Space, class: &str, mut pools: Vec<&Arc<Pool>>) -> ClassPools {
        pools.sort_by_key(|pool| (pool.order, &pool.name, pool.id));
        let of = |group: Option<&str>| {
            let pools = pools.iter().filter(move |pool| pool.group.as_deref() == group);
            pools.map(|pool| Arc::clone(pool)).collect::<Vec<_>>()
        };
        let any = of(None);
        let mut names: Vec<&str> = pools.iter().filter_map(|pool| pool.group.as_deref()).collect();
        names.sort_unstable();
        names.dedup();
        let groups =
            names.into_iter().map(|group| (group.into(), [of(Some(group)), any.clone()].concat())).collect();
        let mut ids: Vec<Uid> = pools.iter().map(|pool| pool.network).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut reach = Reach::default();
        for network in ids.into_iter().filter_map(|id| find(&self.networks, id)) {
            reach.digest = hash::mix(reach.digest, network.digest);
            reach.seq = reach.seq.max(network.seq);
        }
        ClassPools { space: space.clone(), class: class.into(), any, groups, reach }
    }

    fn class(&self, space: &Space, class: &str) -> Option<&Arc<ClassPools>> {
        self.classes.find(hash::of(&(space, class)), |pools| *pools.class == *class && pools.space == *space)
    }

    /// Pools of a class for a group, in the order in which they are tried.
    pub(super) fn pools_for(&self, space: &Space, class: &str, group: Option<&str>) -> &[Arc<Pool>] {
        let Some(pools) = self.class(space, class) else {
            return &[];
        };
        let own = group.and_then(|group| {
            let at = pools.groups.binary_search_by(|(known, _)| (**known).cmp(group)).ok()?;
            pools.groups.get(at)
        });
        own.map_or(&pools.any, |(_, pools)| pools)
    }

    /// All pools of a class, whatever their group.
    pub(super) fn pools_of_class(&self, space: &Space, class: &str) -> impl Iterator<Item = &Arc<Pool>> {
        let pools = self.class(space, class);
        pools.into_iter().flat_map(|pools| {
            let grouped = pools.groups.iter().flat_map(|(_, pools)| pools);
            pools.any.iter().chain(grouped)
        })
    }

    /// The networks that a plan's pool classes lead to in one address space.
    pub(super) fn reach(&self, plan: &Plan, space: &Space) -> Reach {
        let spec = &plan.spec;
        let classes = [&spec.pool_class_v4, &spec.pool_class_wan, &spec.pool_class_pd];
        let mut reach = Reach::default();
        for class in classes {
            let found = class.as_ref().and_then(|class| self.class(space, class));
            let one = found.map_or_else(Reach::default, |pools| pools.reach);
            reach.digest = hash::mix(reach.digest, one.digest);
            reach.seq = reach.seq.max(one.seq);
        }
        reach
    }
}

/// Which families of definitions a change touched.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Touched {
    pub(super) clients: bool,
    pub(super) addressing: bool,
}

impl Touched {
    /// Everything, for a build from scratch.
    pub(super) const ALL: Self = Self { clients: true, addressing: true };

    /// Notes an object of `kind`.
    pub(super) const fn note(&mut self, kind: Kind) {
        match kind {
            Kind::Nas | Kind::Relay => self.clients = true,
            Kind::Network | Kind::Pool | Kind::Plan => self.addressing = true,
            Kind::Subscriber | Kind::Service | Kind::Access => {}
        }
    }

    pub(super) const fn any(self) -> bool {
        self.clients || self.addressing
    }
}

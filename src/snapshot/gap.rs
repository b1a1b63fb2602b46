//! What is defined but cannot work: for reports, never for packets.
//!
//! Storage forbids dangling references, so most of these mean damage or a change that is only half known. The list is
//! computed when asked for, by walking everything: about a second for a million services.

use super::Snapshot;
use super::definitions::find;
use super::types::Plan;
use crate::ids::Uid;
use crate::limits::SNAPSHOT_GAPS_MAX;
use crate::model::Kind;

/// One gap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gap {
    /// The stored form could not be opened, so the object is not served.
    Unreadable {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: Uid,
    },
    /// An object refers to one that is not there.
    Dangling {
        /// Kind of the object that refers.
        kind: Kind,
        /// Its id.
        id: Uid,
        /// Kind of the missing object.
        to_kind: Kind,
        /// Its id; nil when the reference was never resolved.
        to: Uid,
    },
    /// A plan names a class that has no pool of the family in the plan's address space.
    ClassWithoutPool {
        /// The plan.
        plan: Uid,
        /// The class.
        class: Box<str>,
        /// Whether IPv4 pools are wanted.
        v4: bool,
    },
}

impl Snapshot {
    /// The first [`SNAPSHOT_GAPS_MAX`] gaps: definitions, then services, then accesses.
    pub fn gaps(&self) -> Vec<Gap> {
        let unreadable = self.unreadable.iter().map(|(kind, id)| Gap::Unreadable { kind: *kind, id: *id });
        unreadable
            .chain(self.plans().flat_map(|plan| self.gaps_of_plan(plan)))
            .chain(self.dangling_definitions())
            .chain(self.dangling_subscribers())
            .take(SNAPSHOT_GAPS_MAX)
            .collect()
    }

    fn gaps_of_plan<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = Gap> + 'a {
        let spec = &plan.spec;
        let classes =
            [(&spec.pool_class_v4, true), (&spec.pool_class_wan, false), (&spec.pool_class_pd, false)];
        classes.into_iter().filter_map(move |(class, v4)| {
            let class = class.as_deref()?;
            let mut of_class = self.definitions.pools_of_class(&plan.space, class);
            let served =
                of_class.any(|pool| pool.ranges.first().is_some_and(|range| range.first.is_v4() == v4));
            (!served).then(|| Gap::ClassWithoutPool { plan: plan.id, class: class.into(), v4 })
        })
    }

    fn dangling_definitions(&self) -> impl Iterator<Item = Gap> + '_ {
        let pools = self.pools().map(|pool| (Kind::Pool, pool.id, pool.network));
        let relays = self.all_relays().map(|relay| (Kind::Relay, relay.id, relay.network));
        let relays = relays.filter(|(.., network)| *network != Uid::NIL);
        pools
            .chain(relays)
            .filter(|(.., network)| self.network(*network).is_none())
            .map(|(kind, id, to)| Gap::Dangling { kind, id, to_kind: Kind::Network, to })
    }

    fn dangling_subscribers(&self) -> impl Iterator<Item = Gap> + '_ {
        let services = self.services().map(|service| {
            let missing = find(&self.definitions.plans, service.plan).is_none();
            (missing, Kind::Service, service.id, Kind::Plan, service.plan)
        });
        let accesses = self.accesses().map(|access| {
            let missing = self.service(access.service).is_none();
            (missing, Kind::Access, access.id, Kind::Service, access.service)
        });
        let networks = self.accesses().map(|access| {
            let missing = access.network != Uid::NIL && self.network(access.network).is_none();
            (missing, Kind::Access, access.id, Kind::Network, access.network)
        });
        services
            .chain(accesses)
            .chain(networks)
            .filter(|(missing, ..)| *missing)
            .map(|(_, kind, id, to_kind, to)| Gap::Dangling { kind, id, to_kind, to })
    }
}

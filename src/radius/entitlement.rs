//! What a service may have on a NAS: the prefixes that its policy gives, and where each comes from.
//!
//! Between *decide* and *allocate*. What is assigned by name comes before pools (FIELD R6); a class may hold pools of both
//! families, and an access bound to a network takes from the pools of that network only. It does not look at what is free.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::ids::Uid;
use crate::journal::record::Role;
use crate::ledger::{Want, WantSource};
use crate::model::Prefix;
use crate::snapshot::Snapshot;
use crate::snapshot::types::{Nas, Plan, Pool, Service, ServiceIpv4, Space};

/// What is decided about a subscriber who may use the network.
pub(super) struct Policy<'s> {
    pub(super) service: &'s Arc<Service>,
    pub(super) plan: &'s Arc<Plan>,
    pub(super) space: Arc<Space>,
    /// The network that the access is bound to; nil for any.
    pub(super) network: Uid,
}

/// Where one prefix comes from.
enum Source<'s> {
    Fixed(Prefix),
    Pools(Cow<'s, [Arc<Pool>]>),
}

/// The prefixes of a service, in the order in which they are answered.
pub(super) struct Entitlement<'s>(SmallVec<[(Role, Source<'s>); 4]>);

impl<'s> Entitlement<'s> {
    /// What the policy gives on this NAS.
    pub(super) fn of(snapshot: &'s Snapshot, nas: &Nas, policy: &Policy<'s>) -> Self {
        let spec = &policy.plan.spec;
        let pools = |role: Role, class: &Option<String>| {
            let pools = snapshot.pools_for(&policy.space, class.as_deref()?, nas.group.as_deref());
            Some(Source::Pools(fitting(pools, role, policy.network)))
        };
        let fixed = |prefix: Option<Prefix>| prefix.map(Source::Fixed);
        let v4 = match policy.service.ipv4 {
            ServiceIpv4::Fixed(address) => Some(Source::Fixed(Prefix::v4(address))),
            ServiceIpv4::Pool => pools(Role::V4, &spec.pool_class_v4),
            ServiceIpv4::None => None,
        };
        let extras = policy.service.extras.as_deref();
        let no_wan = extras.is_some_and(|extras| extras.no_wan);
        let wan = fixed(extras.and_then(|extras| extras.wan))
            .or_else(|| if no_wan { None } else { pools(Role::Wan, &spec.pool_class_wan) });
        let no_delegated = extras.is_some_and(|extras| extras.no_delegated);
        let delegated = fixed(extras.and_then(|extras| extras.delegated))
            .or_else(|| if no_delegated { None } else { pools(Role::Delegated, &spec.pool_class_pd) });
        let routed = extras.map(|extras| extras.routed.as_slice()).unwrap_or_default();
        let one = |role: Role, source: Option<Source<'s>>| source.map(|source| (role, source));
        let named = [one(Role::V4, v4), one(Role::Wan, wan), one(Role::Delegated, delegated)];
        let routed = routed.iter().map(|prefix| (Role::Routed, Source::Fixed(*prefix)));
        Self(named.into_iter().flatten().chain(routed).collect())
    }

    /// The same as the ledger takes it.
    pub(super) fn wants(&self) -> SmallVec<[Want<'_>; 4]> {
        let mut wants = SmallVec::new();
        for (role, source) in &self.0 {
            let source = match source {
                Source::Fixed(prefix) => WantSource::Fixed(*prefix),
                Source::Pools(pools) => WantSource::Pools(pools),
            };
            wants.push(Want { role: *role, source });
        }
        wants
    }
}

fn fitting(pools: &[Arc<Pool>], role: Role, network: Uid) -> Cow<'_, [Arc<Pool>]> {
    let fits = |pool: &&Arc<Pool>| {
        let v4 = pool.ranges.first().is_some_and(|range| range.first.is_v4());
        v4 == (role == Role::V4) && (network == Uid::NIL || pool.network == network)
    };
    if pools.iter().all(|pool| fits(&pool)) {
        return Cow::Borrowed(pools);
    }
    Cow::Owned(pools.iter().filter(fits).map(Arc::clone).collect())
}

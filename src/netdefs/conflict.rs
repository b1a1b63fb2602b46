//! Contradictions between objects: overlapping addresses, gateways inside pools, one address for two NASes, gaps.
//!
//! A pure function over the objects of one tenant, so that the loader of definitions and the admin API find the same
//! things. Every conflict names both sides by index and JSON pointer; the caller knows where those stand. Addresses are
//! compared within one VRF only. Time grows with n log n in ranges; of many ranges overlapping one, each is reported
//! once, against the one that reaches furthest.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::Uid;
use crate::model::network::{Assignment, NetworkSpec, UnknownClients};
use crate::model::plan::PlanSpec;
use crate::model::pool::{PoolSpec, Range};
use crate::model::{Kind, Prefix, Ref, Spec};

/// VRF of objects that name none.
const DEFAULT_VRF: &str = "default";

/// One object as the checks see it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// External id, or id where there is none; shown to people.
    pub name: &'a str,
    /// Its id, when references are resolved.
    pub id: Option<Uid>,
    /// Desired state.
    pub spec: &'a Spec,
}

/// Whether a conflict must be repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It must: addresses would be given twice, or requests could not be told apart.
    Error,
    /// It may be meant.
    Warning,
}

/// One side of a conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Index into the subjects.
    pub index: usize,
    /// JSON pointer inside the spec.
    pub pointer: String,
}

/// Two objects that contradict each other, or one that lacks something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Whether it must be repaired.
    pub severity: Severity,
    /// Stable code, such as `pool-overlap`.
    pub code: &'static str,
    /// What is wrong, naming both objects.
    pub detail: String,
    /// The side to repair first.
    pub first: Side,
    /// The other side; none for a gap.
    pub second: Option<Side>,
}

/// Every conflict among `subjects`, which are all objects of one tenant.
pub fn conflicts(subjects: &[Subject<'_>]) -> Vec<Conflict> {
    let view = View::new(subjects);
    let mut found = Vec::new();
    view.network_overlaps(&mut found);
    view.pool_overlaps(&mut found);
    view.pools_in_networks(&mut found);
    view.fixed_overlaps(&mut found);
    view.duplicates(&mut found);
    view.plan_gaps(&mut found);
    view.unknown_client_gaps(&mut found);
    found
}

/// The subjects, found by reference.
struct View<'a> {
    subjects: &'a [Subject<'a>],
    by_name: BTreeMap<(Kind, &'a str), usize>,
    by_id: BTreeMap<Uid, usize>,
}

/// A run of addresses that nobody else in its VRF may have.
struct Span<'a> {
    vrf: &'a str,
    first: u128,
    last: u128,
    text: String,
    side: Side,
}

impl<'a> View<'a> {
    fn new(subjects: &'a [Subject<'a>]) -> Self {
        let numbered = || subjects.iter().enumerate();
        Self {
            subjects,
            by_name: numbered()
                .map(|(index, subject)| ((subject.spec.kind(), subject.name), index))
                .collect(),
            by_id: numbered().filter_map(|(index, subject)| Some((subject.id?, index))).collect(),
        }
    }

    fn resolve(&self, kind: Kind, reference: &Ref) -> Option<(usize, &'a Spec)> {
        let index = match reference {
            Ref::Id(_, uid) => self.by_id.get(uid),
            Ref::External { id, .. } => self.by_name.get(&(kind, id.as_str())),
        };
        let index = *index?;
        let spec = self.subjects.get(index)?.spec;
        (spec.kind() == kind).then_some((index, spec))
    }

    fn network(&self, reference: &Ref) -> Option<(usize, &'a NetworkSpec)> {
        match self.resolve(Kind::Network, reference)? {
            (index, Spec::Network(network)) => Some((index, network)),
            _ => None,
        }
    }

    /// "pool `home-1`".
    fn title(&self, index: usize) -> String {
        self.subjects
            .get(index)
            .map_or_else(String::new, |subject| format!("{} `{}`", subject.spec.kind().name(), subject.name))
    }

    fn networks(&self) -> impl Iterator<Item = (usize, &'a NetworkSpec)> {
        let subjects = self.subjects;
        subjects.iter().enumerate().filter_map(|(index, subject)| match subject.spec {
            Spec::Network(network) => Some((index, network)),
            _ => None,
        })
    }

    /// Pools with their network; a pool of an unknown network is somebody else's complaint.
    fn pools(&self) -> impl Iterator<Item = (usize, &'a PoolSpec, (usize, &'a NetworkSpec))> {
        self.subjects.iter().enumerate().filter_map(|(index, subject)| match subject.spec {
            Spec::Pool(pool) => Some((index, pool, self.network(&pool.network)?)),
            _ => None,
        })
    }

    fn network_overlaps(&self, found: &mut Vec<Conflict>) {
        let mut spans = Vec::new();
        for (index, network) in self.networks() {
            for (position, prefix) in network.prefixes.iter().enumerate() {
                spans.push(Span::of_prefix(vrf(network), *prefix, index, format!("/prefixes/{position}")));
            }
        }
        self.overlaps("network-overlap", spans, found);
    }

    fn pool_overlaps(&self, found: &mut Vec<Conflict>) {
        let mut spans = Vec::new();
        for (index, pool, (_, network)) in self.pools() {
            for (position, range) in pool.ranges.iter().enumerate() {
                spans.push(Span {
                    vrf: vrf(network),
                    first: range.first.first(),
                    last: range.last.last(),
                    text: range.to_string(),
                    side: side(index, format!("/ranges/{position}")),
                });
            }
        }
        self.overlaps("pool-overlap", spans, found);
    }

    /// Addresses fixed by services, in the service's VRF or its plan's.
    fn fixed_overlaps(&self, found: &mut Vec<Conflict>) {
        let mut spans = Vec::new();
        for (index, subject) in self.subjects.iter().enumerate() {
            let Spec::Service(service) = subject.spec else {
                continue;
            };
            let plan_vrf = match self.resolve(Kind::Plan, &service.plan) {
                Some((_, Spec::Plan(plan))) => plan.vrf.as_deref(),
                _ => None,
            };
            let vrf = service.addressing.vrf.as_deref().or(plan_vrf).unwrap_or(DEFAULT_VRF);
            for prefix in service.addressing.fixed() {
                spans.push(Span::of_prefix(vrf, prefix, index, "/addressing".to_owned()));
            }
        }
        self.overlaps("address-overlap", spans, found);
    }

    /// Sorted by first address, a span overlaps an earlier one exactly if it begins before the furthest end so far.
    fn overlaps(&self, code: &'static str, mut spans: Vec<Span<'a>>, found: &mut Vec<Conflict>) {
        spans.sort_by(|a, b| (a.vrf, a.first, &a.side.index).cmp(&(b.vrf, b.first, &b.side.index)));
        let mut furthest: Option<&Span<'_>> = None;
        for span in &spans {
            match furthest.filter(|before| before.vrf == span.vrf && span.first <= before.last) {
                Some(before) => {
                    found.push(Conflict {
                        severity: Severity::Error,
                        code,
                        detail: format!(
                            "{} of {} overlaps {} of {} in VRF {}",
                            span.text,
                            self.title(span.side.index),
                            before.text,
                            self.title(before.side.index),
                            span.vrf
                        ),
                        first: span.side.clone(),
                        second: Some(before.side.clone()),
                    });
                    if span.last > before.last {
                        furthest = Some(span);
                    }
                }
                None => furthest = Some(span),
            }
        }
    }

    /// Ranges lie inside one prefix of their network and leave its own addresses alone.
    fn pools_in_networks(&self, found: &mut Vec<Conflict>) {
        for (index, pool, (network_index, network)) in self.pools() {
            for (position, range) in pool.ranges.iter().enumerate() {
                let first = side(index, format!("/ranges/{position}"));
                let inside = network
                    .prefixes
                    .iter()
                    .any(|prefix| prefix.contains(range.first) && prefix.contains(range.last));
                if !inside {
                    found.push(Conflict {
                        severity: Severity::Error,
                        code: "pool-outside-network",
                        detail: format!(
                            "{range} of {} lies in none of the prefixes of {}",
                            self.title(index),
                            self.title(network_index)
                        ),
                        first: first.clone(),
                        second: Some(side(network_index, "/prefixes".to_owned())),
                    });
                }
                for (what, address, pointer) in own_addresses(network, pool) {
                    if in_range(range, address) {
                        found.push(Conflict {
                            severity: Severity::Error,
                            code: "pool-holds-network-address",
                            detail: format!(
                                "{range} of {} holds {address}, {what} of {}",
                                self.title(index),
                                self.title(network_index)
                            ),
                            first: first.clone(),
                            second: Some(side(network_index, pointer)),
                        });
                    }
                }
            }
        }
    }

    /// Keys that must be unique: accesses, NAS addresses, relay addresses.
    fn duplicates(&self, found: &mut Vec<Conflict>) {
        let mut holders: BTreeMap<String, usize> = BTreeMap::new();
        for (index, subject) in self.subjects.iter().enumerate() {
            let mut keys = subject.spec.unique_keys();
            if let Spec::Relay(relay) = subject.spec {
                keys.extend(relay.addresses.iter().map(|address| format!("relay:{address}:")));
            }
            for key in keys {
                let Some(&other) = holders.get(&key) else {
                    holders.insert(key, index);
                    continue;
                };
                let (_, shown) = key.split_once(':').unwrap_or(("", &key));
                let member = match subject.spec.kind() {
                    Kind::Nas | Kind::Relay => "/addresses",
                    _ => "",
                };
                found.push(Conflict {
                    severity: Severity::Error,
                    code: "duplicate-identity",
                    detail: format!(
                        "{} and {} both have `{}`",
                        self.title(index),
                        self.title(other),
                        shown.trim_end_matches(':')
                    ),
                    first: side(index, member.to_owned()),
                    second: Some(side(other, member.to_owned())),
                });
            }
        }
    }

    /// A plan names pool classes; each needs a pool of the right family, in the plan's VRF, for every NAS group (or for
    /// all). A plan that DHCP relays serve alone may mean to leave a NAS group out, so this is a warning.
    fn plan_gaps(&self, found: &mut Vec<Conflict>) {
        let groups: BTreeMap<&str, &str> = self
            .subjects
            .iter()
            .filter_map(|subject| match subject.spec {
                Spec::Nas(nas) => Some((nas.group.as_deref()?, subject.name)),
                _ => None,
            })
            .collect();
        let mut served: BTreeMap<(&str, bool, &str), BTreeSet<Option<&str>>> = BTreeMap::new();
        for (_, pool, (_, network)) in self.pools() {
            let v4 = pool.ranges.iter().any(|range| range.first.is_v4());
            let groups = served.entry((&pool.class, v4, vrf(network))).or_default();
            groups.insert(pool.group.as_deref());
        }
        for (index, subject) in self.subjects.iter().enumerate() {
            let Spec::Plan(plan) = subject.spec else {
                continue;
            };
            let plan_vrf = plan.vrf.as_deref().unwrap_or(DEFAULT_VRF);
            for (member, class, v4) in classes(plan) {
                let family = if v4 { "IPv4" } else { "IPv6" };
                let what =
                    format!("{}: no {family} pool of class `{class}` in VRF {plan_vrf}", self.title(index));
                let mut gap = |detail: String| {
                    found.push(Conflict {
                        severity: Severity::Warning,
                        code: "pool-class-gap",
                        detail,
                        first: side(index, format!("/{member}")),
                        second: None,
                    });
                };
                match served.get(&(class, v4, plan_vrf)) {
                    None => gap(what),
                    Some(by_group) if by_group.contains(&None) => {}
                    Some(by_group) => {
                        let unserved = groups.iter().filter(|(group, _)| !by_group.contains(&Some(**group)));
                        for (group, nas) in unserved {
                            gap(format!("{what} serves NAS group `{group}` (NAS `{nas}`)"));
                        }
                    }
                }
            }
        }
    }

    /// Unknown clients are sent to a class of their own network.
    fn unknown_client_gaps(&self, found: &mut Vec<Conflict>) {
        for (index, network) in self.networks() {
            let UnknownClients::PoolClass(class) = &network.unknown_clients else {
                continue;
            };
            let served = self.pools().any(|(_, pool, (of, _))| of == index && pool.class == *class);
            if !served {
                found.push(Conflict {
                    severity: Severity::Warning,
                    code: "pool-class-gap",
                    detail: format!(
                        "{} gives unknown clients class `{class}` but has no pool of it",
                        self.title(index)
                    ),
                    first: side(index, "/unknown_clients".to_owned()),
                    second: None,
                });
            }
        }
    }
}

impl<'a> Span<'a> {
    fn of_prefix(vrf: &'a str, prefix: Prefix, index: usize, pointer: String) -> Self {
        Self {
            vrf,
            first: prefix.first(),
            last: prefix.last(),
            text: prefix.to_string(),
            side: side(index, pointer),
        }
    }
}

fn side(index: usize, pointer: String) -> Side {
    Side { index, pointer }
}

fn vrf(network: &NetworkSpec) -> &str {
    network.vrf.as_deref().unwrap_or(DEFAULT_VRF)
}

fn in_range(range: &Range, address: Prefix) -> bool {
    (range.first.first()..=range.last.last()).contains(&address.first())
}

/// Pool classes of a plan: member, class, whether IPv4.
fn classes(plan: &PlanSpec) -> impl Iterator<Item = (&'static str, &str, bool)> {
    [
        ("pool_class_v4", &plan.pool_class_v4, true),
        ("pool_class_wan", &plan.pool_class_wan, false),
        ("pool_class_pd", &plan.pool_class_pd, false),
    ]
    .into_iter()
    .filter_map(|(member, class, v4)| Some((member, class.as_deref()?, v4)))
}

/// Addresses of a network that no subscriber can have: gateways, the server, and on broadcast links the first and last
/// address of each IPv4 prefix. PPP has no broadcast: every address of a PPPoE network but the gateway is usable.
fn own_addresses(network: &NetworkSpec, pool: &PoolSpec) -> Vec<(&'static str, Prefix, String)> {
    let mut own: Vec<(&'static str, Prefix, String)> = Vec::new();
    for (position, gateway) in network.gateways.iter().enumerate() {
        own.push(("a gateway", Prefix::v4(*gateway), format!("/gateways/{position}")));
    }
    if let Some(gateway) = network.gateway_v6 {
        own.push(("the gateway", Prefix::host(gateway.into()), "/gateway_v6".to_owned()));
    }
    if let Some(server) = network.server_id {
        own.push(("the server identifier", Prefix::v4(server), "/server_id".to_owned()));
    }
    if network.assignment != Assignment::Pppoe && pool.wide_len() == 128 {
        for (position, prefix) in network.prefixes.iter().enumerate() {
            // A /31 is a link of two hosts (RFC 3021 §2.1).
            if !prefix.is_v4() || prefix.len() > 30 {
                continue;
            }
            let pointer = format!("/prefixes/{position}");
            own.push(("the network address", Prefix::host(prefix.address()), pointer.clone()));
            own.extend(
                Prefix::from_raw(prefix.last(), 128).map(|last| ("the broadcast address", last, pointer)),
            );
        }
    }
    own
}

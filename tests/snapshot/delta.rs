//! Deltas: equal to a rebuild, invisible to readers of older snapshots, and small.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use lastmile::ids::Uid;
use lastmile::model::{Kind, Object, Prefix};
use lastmile::snapshot::Snapshot;
use lastmile::snapshot::delta::Change;
use lastmile::snapshot::gap::Gap;
use lastmile::snapshot::types::Space;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::installation::{TENANT, access, deleted, id, network, object, service, uid};

const GROUPS: [Option<&str>; 3] = [None, Some("north"), Some("south")];
const VRFS: [Option<&str>; 3] = [None, Some("blue"), Some("green")];
const CLASSES: [&str; 2] = ["home", "business"];
const SOURCES: [&str; 3] = ["10.0.0.9", "10.0.0.0/24", "10.0.0.10"];
const IDENTIFIERS: [Option<&str>; 2] = [None, Some("edge")];
const FIXED: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.1.0.1"];

/// An object of some kind, its spec chosen by the bits of `choice`. Specs overlap on purpose: keys move between objects,
/// references dangle, plans change VRF under their services.
fn arbitrary(kind: Kind, number: u32, choice: u32, seq: u64) -> Object {
    let pick = |shift: u32, of: usize| (choice >> shift) as usize % of;
    let group = GROUPS[pick(0, 3)];
    let spec = match kind {
        Kind::Network => {
            let prefixes = ["10.0.0.0/16", "10.0.0.0/24", "10.1.0.0/16"];
            json!({"prefixes": [prefixes[pick(2, 3)]], "vrf": VRFS[pick(4, 3)], "mtu": 1400 + pick(6, 2)})
        }
        Kind::Pool => json!({
            "network": id(Kind::Network, pick(2, 4) as u32),
            "class": CLASSES[pick(4, 2)],
            "ranges": [if pick(5, 2) == 0 { "10.0.0.0/28" } else { "10.1.0.0/28" }],
            "group": group,
            "order": pick(6, 3),
        }),
        Kind::Plan => json!({
            "rate_down": 1_000_000 * (1 + pick(2, 3)),
            "pool_class_v4": CLASSES[pick(4, 2)],
            "vrf": VRFS[pick(6, 3)],
        }),
        Kind::Nas => json!({
            "addresses": [SOURCES[pick(2, 3)]],
            "identifier": IDENTIFIERS[pick(4, 2)],
            "secret": "shared secret",
        }),
        Kind::Relay => json!({
            "addresses": [SOURCES[pick(2, 3)]],
            "group": group,
        }),
        Kind::Access => {
            let mut spec = json!({"service": id(Kind::Service, pick(2, 6) as u32), "group": group});
            if pick(4, 2) == 1 {
                spec["network"] = json!(id(Kind::Network, pick(5, 3) as u32));
            }
            merge(&mut spec, identity(pick(7, 8)));
            spec
        }
        Kind::Service | Kind::Subscriber => {
            let mut addressing = json!({});
            if pick(2, 3) > 0 {
                addressing["ipv4"] = json!({"address": FIXED[pick(4, 3)]});
            }
            if pick(6, 4) == 0 {
                addressing["routed_v4"] = json!(["10.0.0.0/29"]);
            }
            if pick(8, 3) == 0 {
                addressing["vrf"] = json!(VRFS[1 + pick(10, 2)]);
            }
            json!({
                "subscriber": id(Kind::Subscriber, 1),
                "plan": id(Kind::Plan, pick(11, 4) as u32),
                "addressing": addressing,
            })
        }
    };
    object(kind, number, seq, &spec)
}

fn identity(choice: usize) -> Value {
    match choice {
        0..3 => json!({"type": "pppoe", "login": format!("login{choice}")}),
        3..5 => json!({"type": "ipoe_mac", "mac": format!("02:00:5e:00:53:0{choice}")}),
        5 => json!({"type": "ipoe_opt82", "remote_id": "olt", "circuit_id": "eth1"}),
        6 => json!({"type": "ipoe_opt82", "circuit_id": "eth1"}),
        _ => json!({"type": "ipoe_opt82", "remote_id": "olt"}),
    }
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

/// Everything that can be asked of a snapshot, as text in a fixed order.
pub(crate) fn describe(snapshot: &Snapshot) -> Vec<String> {
    let mut lines = vec![format!("seq {}", snapshot.seq())];
    lines.extend(snapshot.networks().map(|network| format!("{network:?}")));
    lines.extend(snapshot.pools().map(|pool| format!("{pool:?}")));
    lines.extend(snapshot.all_nas().map(|nas| format!("{nas:?}")));
    lines.extend(snapshot.all_relays().map(|relay| format!("{relay:?}")));
    lines.extend(snapshot.plans().map(|plan| format!("{plan:?}")));
    for access in snapshot.accesses() {
        lines.push(format!(
            "{access:?} {:?} {:?} {:?} {:?} {} {} {} {}",
            access.service,
            access.network,
            access.group,
            access.bind_mac,
            access.bind_vlan,
            access.enabled,
            access.seq,
            access.password.as_ref().map_or(0, |password| password.len()),
        ));
    }
    for service in snapshot.services() {
        let plan = snapshot.plan(service.plan);
        let digest = plan.map(|plan| snapshot.policy_digest(service, plan));
        let seq = plan.map(|plan| snapshot.policy_seq(service, plan, None));
        lines.push(format!("{service:?} {digest:?} {seq:?}"));
    }
    lines.sort();
    lines.extend(
        snapshot.gaps().into_iter().map(|gap| format!("{gap:?}")).collect::<std::collections::BTreeSet<_>>(),
    );
    lines.extend(describe_lookups(snapshot));
    lines.push(format!("{} {}", snapshot.services_len(), snapshot.accesses_len()));
    lines
}

fn describe_lookups(snapshot: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    let addresses: Vec<IpAddr> =
        ["10.0.0.9", "10.0.0.10", "10.0.0.77", "10.1.0.1"].iter().map(|text| text.parse().unwrap()).collect();
    for address in &addresses {
        let nas = |identifier| snapshot.nas_by_source(*address, identifier).map(|nas| nas.id);
        let relay = snapshot.relay_by_address(*address).map(|relay| relay.id);
        let network = snapshot.network_containing(None, *address).map(|network| network.id);
        lines.push(format!("{address} {:?} {:?} {relay:?} {network:?}", nas(None), nas(Some(b"edge"))));
    }
    for group in GROUPS {
        for network in [None, Some(uid(Kind::Network, 1)), Some(uid(Kind::Network, 2))] {
            let mac = |text: &str| snapshot.access_by_mac(TENANT, group, network, text.parse().unwrap());
            let line = snapshot.access_by_line(TENANT, group, network, Some(b"olt"), Some(b"eth1"));
            let login = snapshot.access_by_login(TENANT, group, b"login1");
            let found = [mac("02:00:5e:00:53:03"), mac("02:00:5e:00:53:04"), line, login];
            let ids = found.map(|access| access.map(|access| access.id));
            lines.push(format!("{group:?} {network:?} {ids:?}"));
        }
    }
    for vrf in VRFS {
        let space = Space { tenant: TENANT, vrf: vrf.unwrap_or_default().into() };
        for class in CLASSES {
            for group in GROUPS {
                let pools = snapshot.pools_for(&space, class, group);
                let ids: Vec<Uid> = pools.iter().map(|pool| pool.id).collect();
                lines.push(format!("{vrf:?} {class} {group:?} {ids:?}"));
            }
        }
        let everything: Prefix = "0.0.0.0/0".parse().unwrap();
        lines.push(format!("{vrf:?} {:?}", snapshot.fixed_overlapping(space.key(), everything)));
        for address in FIXED {
            lines.push(format!("{:?}", snapshot.fixed_holder(space.key(), address.parse().unwrap())));
        }
    }
    lines
}

/// Every lookup of an access answers with one that has the key asked for, exactly when there is one.
fn check_accesses(snapshot: &Snapshot) {
    for access in snapshot.accesses() {
        use lastmile::snapshot::types::AccessKey;
        let group = access.group.as_deref();
        let network = (access.network != Uid::NIL).then_some(access.network);
        let found = match &access.key {
            AccessKey::Login(login) => snapshot.access_by_login(TENANT, group, login),
            AccessKey::Mac(mac) => snapshot.access_by_mac(TENANT, group, network, *mac),
            AccessKey::Line { remote_id, circuit_id } => {
                snapshot.access_by_line(TENANT, group, network, remote_id.as_deref(), circuit_id.as_deref())
            }
        };
        let found = found.unwrap();
        assert_eq!(found.key, access.key);
        assert_eq!(found.group, access.group);
        assert!(Arc::ptr_eq(found, snapshot.access(found.id).unwrap()), "a stale access is still filed");
    }
    for login in 0..3 {
        let login = format!("login{login}");
        let found = snapshot.access_by_login(TENANT, Some("north"), login.as_bytes());
        assert!(found.is_none_or(|found| snapshot.access(found.id).is_some()));
    }
}

const KINDS: [Kind; 7] =
    [Kind::Network, Kind::Pool, Kind::Plan, Kind::Nas, Kind::Relay, Kind::Service, Kind::Access];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_snapshot_grown_by_deltas_equals_one_built_at_once_from_rows_in_any_order(
        steps in proptest::collection::vec(
            proptest::collection::vec((0_usize..7, 0_u32..6, any::<u32>(), 0_u8..5), 1..6),
            1..20,
        ),
        order in any::<u64>(),
    ) {
        let mut living: BTreeMap<(Kind, u32), Object> = BTreeMap::new();
        let mut snapshot = Snapshot::empty();
        let mut versions = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let seq = at as u64 + 1;
            let mut changes: BTreeMap<(Kind, u32), Object> = BTreeMap::new();
            for (kind, number, choice, action) in step {
                let kind = KINDS[*kind];
                let written = arbitrary(kind, *number, *choice, seq);
                let written = if *action == 0 { deleted(written, seq) } else { written };
                changes.insert((kind, *number), written);
            }
            for (key, object) in &changes {
                if object.envelope.deleted_at.is_none() {
                    living.insert(*key, object.clone());
                } else {
                    living.remove(key);
                }
            }
            let mut changes: Vec<Object> = changes.into_values().collect();
            let turn = order as usize % changes.len();
            changes.rotate_left(turn);
            snapshot = snapshot.with(&changes, seq);
            check_accesses(&snapshot);
            versions.push((snapshot.clone(), describe(&snapshot)));
        }
        let mut rows: Vec<&Object> = living.values().collect();
        let turn = order as usize % rows.len().max(1);
        rows.rotate_left(turn);
        if order & 1 == 0 {
            rows.reverse();
        }
        let rebuilt = Snapshot::of(rows, snapshot.seq());
        check_accesses(&rebuilt);
        prop_assert_eq!(describe(&snapshot), describe(&rebuilt));
        for (version, described) in versions {
            prop_assert_eq!(describe(&version), described, "an old snapshot changed");
        }
    }
}

#[test]
fn a_key_that_moves_between_accesses_in_one_change_is_found_whatever_the_order() {
    let jan = |number, login: &str| access(number, &json!({"type": "pppoe", "login": login}));
    let start = Snapshot::of(&[jan(1, "jan"), jan(2, "ola")], 1);
    for swapped in [[jan(1, "ola"), jan(2, "jan")], [jan(2, "jan"), jan(1, "ola")]] {
        let next = start.with(&swapped, 2);
        let found = |login: &[u8]| next.access_by_login(TENANT, None, login).map(|access| access.id);
        assert_eq!(found(b"jan"), Some(uid(Kind::Access, 2)));
        assert_eq!(found(b"ola"), Some(uid(Kind::Access, 1)));
    }
}

#[test]
fn a_reader_keeps_the_state_it_started_with() {
    let old = Snapshot::of(&[access(1, &json!({"type": "pppoe", "login": "jan"}))], 1);
    let renamed = access(1, &json!({"type": "pppoe", "login": "jan2"}));
    let new = old.with(&[renamed], 2);
    assert!(old.access_by_login(TENANT, None, b"jan").is_some());
    assert!(old.access_by_login(TENANT, None, b"jan2").is_none());
    assert!(new.access_by_login(TENANT, None, b"jan").is_none());
    assert!(new.access_by_login(TENANT, None, b"jan2").is_some());
    assert_eq!((old.seq(), new.seq()), (1, 2));
}

#[test]
fn a_write_shares_every_other_object_with_the_snapshot_before() {
    let mut objects: Vec<Object> = (0..500).map(|number| service(number, 1, &json!({}))).collect();
    objects.push(network(1, "10.0.0.0/16", None));
    objects.push(object(Kind::Plan, 1, 1, &json!({"rate_down": 1_000_000})));
    let old = Snapshot::of(&objects, 1);
    let new = old.with(&[service(7, 1, &json!({"ipv4": "none"}))], 2);
    for service in old.services() {
        let shared = Arc::ptr_eq(service, new.service(service.id).unwrap());
        assert_eq!(shared, service.id != uid(Kind::Service, 7));
    }
    let network = uid(Kind::Network, 1);
    assert!(Arc::ptr_eq(old.network(network).unwrap(), new.network(network).unwrap()));
    let other = new.with(&[crate::installation::nas(1, &["10.0.0.1"], None)], 3);
    assert!(Arc::ptr_eq(new.plan(uid(Kind::Plan, 1)).unwrap(), other.plan(uid(Kind::Plan, 1)).unwrap()));
}

#[test]
fn an_object_that_cannot_be_opened_is_taken_out_of_service_until_it_can() {
    let jan = access(1, &json!({"type": "pppoe", "login": "jan"}));
    let start = Snapshot::of([&jan], 1);
    let id = uid(Kind::Access, 1);
    let broken = start.with_changes(&[Change::Unreadable(Kind::Access, id)], 2);
    assert!(broken.access_by_login(TENANT, None, b"jan").is_none());
    let kind = Kind::Access;
    assert_eq!(broken.gaps(), [Gap::Unreadable { kind, id }]);
    let mended = broken.with(&[jan], 3);
    assert!(mended.access_by_login(TENANT, None, b"jan").is_some());
    assert!(!mended.gaps().contains(&Gap::Unreadable { kind, id }));
    let gone = broken.with_changes(&[Change::Gone(kind, id)], 3);
    assert_eq!(gone.gaps(), []);
}

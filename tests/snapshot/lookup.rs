//! Lookups: what is found, and what wins when several things match.

use lastmile::ids::{TenantId, Uid};
use lastmile::model::{Kind, Mac, Object, Prefix};
use lastmile::snapshot::types::{Access, Space};
use lastmile::snapshot::{NasMiss, Snapshot};
use serde_json::json;
use std::sync::Arc;

use crate::installation::{TENANT, access, deleted, id, nas, network, object, pool, service, uid};

fn number(found: Option<&Arc<Access>>) -> Option<u128> {
    found.map(|access| access.id.0 & 0xffff)
}

#[test]
fn an_empty_snapshot_finds_nothing() {
    let snapshot = Snapshot::empty();
    assert_eq!(snapshot.seq(), 0);
    assert!(snapshot.access_by_login(TENANT, Some("a"), b"jan").is_none());
    assert_eq!(snapshot.nas_by_source([10, 0, 0, 1].into(), None).unwrap_err(), NasMiss::Unknown);
    assert_eq!(snapshot.gaps(), []);
}

#[test]
fn a_login_of_the_group_wins_over_one_of_any_group_and_tenants_are_apart() {
    let mut foreign = access(4, &json!({"type": "pppoe", "login": "jan"}));
    foreign.envelope.tenant = TenantId(Uid(9));
    let snapshot = Snapshot::of(
        &[
            access(1, &json!({"type": "pppoe", "login": "jan"})),
            access(2, &json!({"type": "pppoe", "login": "jan", "group": "north", "password": "hunter22"})),
            access(3, &json!({"type": "pppoe", "login": "ola", "group": "north"})),
            foreign,
        ],
        7,
    );
    let by_login = |group, login: &str| number(snapshot.access_by_login(TENANT, group, login.as_bytes()));
    assert_eq!(by_login(Some("north"), "jan"), Some(2));
    assert_eq!(by_login(Some("south"), "jan"), Some(1));
    assert_eq!(by_login(None, "jan"), Some(1));
    assert_eq!(by_login(None, "ola"), None);
    assert_eq!(by_login(Some("north"), "Jan"), None);
    let foreign = snapshot.access_by_login(TenantId(Uid(9)), Some("north"), b"jan");
    assert_eq!(number(foreign), Some(4));
    let north = snapshot.access(uid(Kind::Access, 2)).unwrap();
    assert_eq!(north.password.as_ref().unwrap().expose(), b"hunter22");
}

#[test]
fn a_mac_address_is_searched_from_the_narrowest_scope_to_the_widest() {
    let mac = "02:00:5e:00:53:01";
    let scoped = |number, group: Option<&str>, net: Option<u32>| {
        let network = net.map(|net| id(Kind::Network, net));
        access(number, &json!({"type": "ipoe_mac", "mac": mac, "group": group, "network": network}))
    };
    let all = [
        scoped(1, Some("north"), Some(1)),
        scoped(2, Some("north"), None),
        scoped(3, None, Some(1)),
        scoped(4, None, None),
    ];
    let mac: Mac = mac.parse().unwrap();
    let net = Some(uid(Kind::Network, 1));
    for narrowest in 0..4 {
        let snapshot = Snapshot::of(&all[narrowest..], 1);
        let found = |group, net| number(snapshot.access_by_mac(TENANT, group, net, mac));
        let first =
            |candidates: &[u128]| candidates.iter().copied().find(|number| *number > narrowest as u128);
        assert_eq!(found(Some("north"), net), first(&[1, 2, 3, 4]));
        assert_eq!(found(Some("north"), Some(uid(Kind::Network, 2))), first(&[2, 4]));
        assert_eq!(found(Some("south"), net), first(&[3, 4]));
        assert_eq!(found(None, net), first(&[3, 4]));
        assert_eq!(found(Some("north"), None), first(&[2, 4]));
        assert_eq!(found(None, None), first(&[4]));
    }
}

#[test]
fn a_line_prefers_both_ids_then_the_circuit_then_the_remote_within_each_scope() {
    let line = |number, remote: Option<&str>, circuit: Option<&str>, net: Option<u32>| {
        let network = net.map(|net| id(Kind::Network, net));
        let spec =
            json!({"type": "ipoe_opt82", "remote_id": remote, "circuit_id": circuit, "network": network});
        access(number, &spec)
    };
    let all = [
        line(1, None, Some("eth 0/1"), Some(1)),
        line(2, Some("olt-1"), Some("eth 0/1"), None),
        line(3, None, Some("eth 0/1"), None),
        line(4, Some("olt-1"), None, None),
    ];
    let snapshot = Snapshot::of(&all, 1);
    let found = |net: Option<u32>, remote: Option<&str>, circuit: Option<&str>| {
        let (remote, circuit) = (remote.map(str::as_bytes), circuit.map(str::as_bytes));
        let net = net.map(|net| uid(Kind::Network, net));
        number(snapshot.access_by_line(TENANT, None, net, remote, circuit))
    };
    let (olt, eth) = (Some("olt-1"), Some("eth 0/1"));
    assert_eq!(found(Some(1), olt, eth), Some(1), "the service of this network wins");
    assert_eq!(found(Some(2), olt, eth), Some(2));
    assert_eq!(found(None, Some("olt-2"), eth), Some(3));
    assert_eq!(found(None, None, eth), Some(3));
    assert_eq!(found(None, olt, Some("eth 0/2")), Some(4));
    assert_eq!(found(None, olt, None), Some(4));
    assert_eq!(found(None, None, None), None);
    let snapshot = snapshot.with(&[deleted(all[1].clone(), 2)], 2);
    let both = snapshot.access_by_line(TENANT, None, None, Some(b"olt-1"), Some(b"eth 0/1"));
    assert_eq!(number(both), Some(3));
}

#[test]
fn a_nas_is_chosen_by_the_longest_prefix_and_then_by_its_identifier() {
    let mut other_tenant = nas(6, &["10.9.9.9"], None);
    other_tenant.envelope.tenant = TenantId(Uid(9));
    let snapshot = Snapshot::of(
        &[
            nas(1, &["10.0.0.0/8"], None),
            nas(2, &["10.1.1.1", "10.1.1.1", "2001:db8::1"], Some("north")),
            nas(3, &["10.1.1.1"], Some("south")),
            nas(4, &["10.2.2.2"], None),
            nas(5, &["10.2.2.2"], Some("edge")),
            nas(7, &["10.9.9.9"], None),
            nas(8, &["10.8.8.8"], Some("alone")),
            other_tenant,
        ],
        1,
    );
    let found = |source: &str, identifier: Option<&str>| {
        let nas = snapshot.nas_by_source(source.parse().unwrap(), identifier.map(str::as_bytes));
        nas.map(|nas| nas.id.0 & 0xffff)
    };
    assert_eq!(found("10.200.0.1", Some("anything")), Ok(1));
    assert_eq!(found("10.1.1.1", Some("north")), Ok(2));
    assert_eq!(found("10.1.1.1", Some("south")), Ok(3));
    assert_eq!(found("2001:db8::1", Some("north")), Ok(2));
    assert_eq!(found("10.1.1.1", Some("west")), Err(NasMiss::Unknown));
    assert_eq!(found("10.1.1.1", None), Err(NasMiss::Ambiguous));
    assert_eq!(found("10.2.2.2", None), Ok(4));
    assert_eq!(found("10.2.2.2", Some("west")), Ok(4));
    assert_eq!(found("10.2.2.2", Some("edge")), Ok(5));
    assert_eq!(found("10.9.9.9", None), Err(NasMiss::Ambiguous));
    assert_eq!(found("10.8.8.8", None), Err(NasMiss::Unknown));
    assert_eq!(found("192.0.2.1", None), Err(NasMiss::Unknown));
    let two = snapshot.nas(uid(Kind::Nas, 2)).unwrap();
    assert_eq!(two.secrets[0].expose(), b"shared secret 2");
}

#[test]
fn a_relay_is_found_by_the_longest_prefix_of_its_address() {
    let relay = |number, address: &str| object(Kind::Relay, number, 1, &json!({"addresses": [address]}));
    let snapshot = Snapshot::of(&[relay(1, "10.0.0.0/24"), relay(2, "10.0.0.1")], 1);
    let found = |address: &str| {
        let relay = snapshot.relay_by_address(address.parse().unwrap());
        relay.map(|relay| relay.id)
    };
    assert_eq!(found("10.0.0.1"), Some(uid(Kind::Relay, 2)));
    assert_eq!(found("10.0.0.2"), Some(uid(Kind::Relay, 1)));
    assert_eq!(found("10.0.1.1"), None);
    assert_eq!(snapshot.all_relays().count(), 2);
}

#[test]
fn an_address_in_several_vrfs_belongs_to_the_default_one_unless_the_space_is_known() {
    let snapshot = Snapshot::of(
        &[
            network(1, "10.0.0.0/16", Some("blue")),
            network(2, "10.0.0.0/16", None),
            network(3, "10.0.5.0/24", Some("amber")),
        ],
        1,
    );
    let space = |vrf: &str| Space { tenant: TENANT, vrf: vrf.into() };
    let anywhere = |address: &str| {
        let network = snapshot.network_containing(Some(TENANT), address.parse().unwrap());
        network.map(|network| network.id.0 & 0xffff)
    };
    let within = |vrf: &str, address: &str| {
        let network = snapshot.network_in(&space(vrf), address.parse().unwrap());
        network.map(|network| network.id.0 & 0xffff)
    };
    assert_eq!(anywhere("10.0.1.1"), Some(2));
    assert_eq!(anywhere("10.0.5.1"), Some(3), "the longest prefix comes before the VRF");
    assert_eq!(within("blue", "10.0.5.1"), Some(1));
    assert_eq!(within("", "10.0.5.1"), Some(2));
    assert_eq!(within("amber", "10.0.1.1"), None);
    assert!(snapshot.network_containing(Some(TenantId(Uid(9))), [10, 0, 1, 1].into()).is_none());
    assert!(snapshot.network_containing(None, [10, 0, 1, 1].into()).is_some());
}

#[test]
fn pools_of_the_group_come_first_and_pools_of_other_groups_never() {
    let all: Vec<Object> = vec![
        network(1, "10.0.0.0/16", None),
        network(2, "10.0.0.0/16", Some("blue")),
        pool(1, 1, "10.0.1.0/24", &json!({"order": 2})),
        pool(2, 1, "10.0.2.0/24", &json!({"order": 1})),
        pool(3, 1, "10.0.3.0/24", &json!({"order": 9, "group": "north"})),
        pool(4, 1, "10.0.4.0/24", &json!({"group": "south"})),
        pool(5, 1, "10.0.5.0/24", &json!({"class": "business"})),
        pool(6, 2, "10.0.6.0/24", &json!({})),
        pool(7, 1, "10.0.7.0/24", &json!({"order": 1})),
    ];
    let snapshot = Snapshot::of(&all, 1);
    let space = |vrf: &str| Space { tenant: TENANT, vrf: vrf.into() };
    let found = |vrf: &str, class: &str, group: Option<&str>| -> Vec<u128> {
        let pools = snapshot.pools_for(&space(vrf), class, group);
        pools.iter().map(|pool| pool.id.0 & 0xffff).collect()
    };
    assert_eq!(found("", "home", Some("north")), [3, 2, 7, 1]);
    assert_eq!(found("", "home", Some("south")), [4, 2, 7, 1]);
    assert_eq!(found("", "home", Some("west")), [2, 7, 1]);
    assert_eq!(found("", "home", None), [2, 7, 1]);
    assert_eq!(found("", "business", Some("north")), [5]);
    assert_eq!(found("blue", "home", None), [6]);
    assert_eq!(found("blue", "business", None), [0_u128; 0]);
    assert_eq!(*snapshot.pool(uid(Kind::Pool, 6)).unwrap().space.vrf, *"blue");
}

#[test]
fn a_fixed_address_is_found_in_the_address_space_of_its_service_only() {
    let plan = |number, vrf: Option<&str>| object(Kind::Plan, number, 1, &json!({"vrf": vrf}));
    let fixed = json!({"ipv4": {"address": "10.0.0.1"}});
    let own = json!({
        "vrf": "green",
        "ipv4": "none",
        "ipv6_pd": {"prefix": "2001:db8:1::/56"},
        "routed_v4": ["10.0.0.0/29"],
    });
    let snapshot = Snapshot::of(
        &[
            plan(1, None),
            plan(2, Some("blue")),
            service(1, 1, &fixed),
            service(2, 2, &fixed),
            service(3, 2, &own),
        ],
        1,
    );
    let key = |vrf: &str| {
        let space = Space { tenant: TENANT, vrf: vrf.into() };
        space.key()
    };
    let address: Prefix = "10.0.0.1".parse().unwrap();
    assert_eq!(snapshot.fixed_holder(key(""), address), Some(uid(Kind::Service, 1)));
    assert_eq!(snapshot.fixed_holder(key("blue"), address), Some(uid(Kind::Service, 2)));
    assert_eq!(snapshot.fixed_holder(key("green"), address), None);
    let subnet: Prefix = "10.0.0.0/29".parse().unwrap();
    let three = uid(Kind::Service, 3);
    assert_eq!(snapshot.fixed_overlapping(key("green"), address), [(subnet, three)]);
    let within: Prefix = "2001:db8:1:7::/64".parse().unwrap();
    assert_eq!(snapshot.fixed_overlapping(key("green"), within).len(), 1);
    for (service, vrf) in [(1, ""), (2, "blue"), (3, "green")] {
        let service = snapshot.service(uid(Kind::Service, service)).unwrap();
        let plan = snapshot.plan(service.plan).unwrap();
        assert_eq!(*snapshot.space_of(service, plan).vrf, *vrf);
    }
}

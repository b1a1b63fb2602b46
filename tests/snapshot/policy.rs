//! Digests and seqs of policy, and gaps.

use lastmile::model::{Kind, Object};
use lastmile::snapshot::Snapshot;
use lastmile::snapshot::gap::Gap;
use serde_json::json;

use crate::installation::{access, deleted, id, network, object, pool, service, uid};

fn plan(rate: u64, seq: u64) -> Object {
    object(Kind::Plan, 1, seq, &json!({"rate_down": rate, "pool_class_v4": "home"}))
}

fn small() -> Vec<Object> {
    vec![
        network(1, "10.0.0.0/16", None),
        network(2, "10.1.0.0/16", None),
        pool(1, 1, "10.0.1.0/24", &json!({})),
        plan(300_000_000, 1),
        service(1, 1, &json!({})),
        access(1, &json!({"type": "pppoe", "login": "jan"})),
    ]
}

fn policy(snapshot: &Snapshot) -> (u64, u64) {
    let service = snapshot.service(uid(Kind::Service, 1)).unwrap();
    let plan = snapshot.plan(service.plan).unwrap();
    let access = snapshot.access(uid(Kind::Access, 1)).unwrap();
    (snapshot.policy_digest(service, plan), snapshot.policy_seq(service, plan, Some(access)))
}

#[test]
fn what_subscribers_notice_changes_the_policy_digest_and_labels_do_not() {
    let start = Snapshot::of(&small(), 1);
    let (digest, seq) = policy(&start);
    assert_eq!(seq, 1);

    let mut labelled = plan(300_000_000, 2);
    labelled.envelope.labels.insert("city".into(), "Gdynia".into());
    labelled.envelope.annotations.insert("note".into(), "x".into());
    assert_eq!(policy(&start.with(&[labelled], 2)).0, digest);

    let faster = start.with(&[plan(600_000_000, 3)], 3);
    assert_ne!(policy(&faster).0, digest);
    assert_eq!(policy(&faster).1, 3);

    let mut paused = service(1, 1, &json!({}));
    if let lastmile::model::Spec::Service(spec) = &mut paused.spec {
        spec.state = lastmile::model::service::ServiceState::Paused;
    }
    assert_ne!(policy(&start.with(&[paused], 4)).0, digest);

    let dns = json!({"prefixes": ["10.0.0.0/16"], "dns": ["192.0.2.53"]});
    let reached = start.with(&[object(Kind::Network, 1, 5, &dns)], 5);
    assert_ne!(policy(&reached).0, digest);
    assert_eq!(policy(&reached).1, 5);

    let dns = json!({"prefixes": ["10.1.0.0/16"], "dns": ["192.0.2.53"]});
    let elsewhere = start.with(&[object(Kind::Network, 2, 6, &dns)], 6);
    assert_eq!(policy(&elsewhere), (digest, 1), "no pool class leads to this network");

    let second = start.with(&[pool(2, 2, "10.1.1.0/24", &json!({}))], 7);
    assert_ne!(policy(&second).0, digest, "the class now leads to two networks");
    let back = faster.with(&[plan(300_000_000, 8)], 8);
    assert_eq!(policy(&back).0, digest, "a digest says what the policy is, not how it came about");
}

#[test]
fn a_plan_that_is_only_simulated_is_measured_by_its_own_classes() {
    let mut objects = small();
    objects.push(pool(2, 2, "10.1.1.0/24", &json!({"class": "business"})));
    let snapshot = Snapshot::of(&objects, 1);
    let other = Snapshot::of(
        &[object(Kind::Plan, 1, 1, &json!({"rate_down": 300_000_000, "pool_class_v4": "business"}))],
        1,
    );
    let service = snapshot.service(uid(Kind::Service, 1)).unwrap();
    let simulated = other.plan(uid(Kind::Plan, 1)).unwrap();
    let committed = snapshot.with(
        &[object(Kind::Plan, 1, 1, &json!({"rate_down": 300_000_000, "pool_class_v4": "business"}))],
        2,
    );
    assert_eq!(snapshot.policy_digest(service, simulated), policy(&committed).0);
}

#[test]
fn nothing_that_cannot_work_is_served_and_everything_that_cannot_is_listed() {
    let mut objects = small();
    objects.push(object(Kind::Plan, 2, 1, &json!({"pool_class_v4": "business", "pool_class_pd": "home"})));
    objects.push(pool(9, 77, "10.7.0.0/24", &json!({"class": "business"})));
    objects.push(service(5, 88, &json!({"ipv4": {"address": "10.0.0.5"}})));
    objects.push(access(6, &json!({"type": "pppoe", "login": "lost", "network": id(Kind::Network, 99)})));
    let snapshot = Snapshot::of(&objects, 1);
    let dangling = |kind, number, to_kind, to| Gap::Dangling {
        kind,
        id: uid(kind, number),
        to_kind,
        to: uid(to_kind, to),
    };
    let class = |class: &str, v4| Gap::ClassWithoutPool { plan: uid(Kind::Plan, 2), class: class.into(), v4 };
    assert_eq!(
        snapshot.gaps(),
        [
            class("business", true),
            class("home", false),
            dangling(Kind::Pool, 9, Kind::Network, 77),
            dangling(Kind::Service, 5, Kind::Plan, 88),
            dangling(Kind::Access, 6, Kind::Service, 6),
            dangling(Kind::Access, 6, Kind::Network, 99),
        ]
    );
    let space = &snapshot.plan(uid(Kind::Plan, 2)).unwrap().space;
    assert!(snapshot.pools_for(space, "business", None).is_empty());
    let mended = snapshot.with(
        &[
            deleted(objects[6].clone(), 2),
            deleted(objects[7].clone(), 2),
            deleted(objects[8].clone(), 2),
            deleted(objects[9].clone(), 2),
        ],
        2,
    );
    assert_eq!(mended.gaps(), []);
}

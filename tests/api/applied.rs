//! A set of definitions is applied as a whole, again and again, or not at all.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, CANARY, Daemon, plan};

fn files(pool: &str) -> Vec<(&'static str, String)> {
    let pools = format!("[home-1]\nnetwork = \"home\"\nclass = \"home\"\nranges = [\"{pool}\"]\n");
    vec![
        ("networks.toml", "[home]\nprefixes = [\"100.64.0.0/16\"]\nassignment = \"pppoe\"\n".to_owned()),
        ("pools.toml", pools),
        ("plans.toml", "[home-300]\nrate_down = 300_000_000\npool_class_v4 = \"home\"\n".to_owned()),
        ("nas.toml", format!("[bras1]\naddresses = [\"192.0.2.10\"]\nsecret = \"{CANARY}\"\n")),
        ("subscribers.toml", "[c1]\ndisplay = \"UM/1\"\n".to_owned()),
        ("services.toml", "[s1]\nsubscriber = \"c1\"\nplan = \"home-300\"\n".to_owned()),
    ]
}

async fn apply(daemon: &Daemon, files: &[(&str, String)], options: Value) -> Answer {
    let files: Vec<Value> = files.iter().map(|(name, text)| json!({"name": name, "text": text})).collect();
    let mut body = json!({ "files": files });
    if let (Some(members), Some(options)) = (body.as_object_mut(), options.as_object()) {
        members.extend(options.clone());
    }
    daemon.ask(Method::POST, "/v1/apply").json(&body).send().await
}

#[tokio::test]
async fn applying_twice_changes_nothing_the_second_time() {
    let daemon = Daemon::start().await;
    let set = files("100.64.1.0/24");
    let dry = apply(&daemon, &set, json!({"dry_run": true})).await.expect(200);
    assert_eq!(dry.body["create"].as_array().unwrap().len(), 6);
    assert_eq!(daemon.app.parts().storage.seq().await.unwrap(), 0, "a dry run writes nothing");
    let first = apply(&daemon, &set, json!({})).await.expect(200);
    assert_eq!(first.body["applied_seq"], 1, "one change");
    assert_eq!(daemon.app.parts().publisher.load_full().services_len(), 1);
    let second = apply(&daemon, &set, json!({})).await.expect(200);
    assert_eq!((&second.body["unchanged"], &second.body["create"]), (&json!(6), &json!([])));
    assert_eq!(daemon.app.parts().storage.seq().await.unwrap(), 1);
    assert!(!first.body.to_string().contains(CANARY));
}

#[tokio::test]
async fn a_change_in_a_file_is_planned_member_by_member_without_secrets() {
    let daemon = Daemon::start().await;
    apply(&daemon, &files("100.64.1.0/24"), json!({})).await.expect(200);
    let mut set = files("100.64.1.0/24");
    set[2].1 = set[2].1.replace("300_000_000", "500_000_000");
    set[3].1 = set[3].1.replace(CANARY, "another-long-secret");
    let dry = apply(&daemon, &set, json!({"dry_run": true})).await.expect(200);
    let plan = dry.body["plan"].as_str().unwrap();
    assert!(plan.contains("~ plan home-300: rate_down 300000000 -> 500000000"), "{plan}");
    assert!(plan.contains("~ nas bras1: secret <secret> -> <secret>"), "{plan}");
    apply(&daemon, &set, json!({})).await.expect(200);
    assert_eq!(daemon.get("plans/ext:home-300").await.body["spec"]["rate_down"], 500_000_000);
}

#[tokio::test]
async fn what_is_no_longer_defined_stays_until_it_is_pruned_and_nothing_needs_it() {
    let daemon = Daemon::start().await;
    let set = files("100.64.1.0/24");
    apply(&daemon, &set, json!({})).await.expect(200);
    let without_services: Vec<(&str, String)> = set[..5].to_vec();
    let kept = apply(&daemon, &without_services, json!({})).await.expect(200);
    assert_eq!(kept.body["kept"][0]["external_id"], "s1");
    daemon.get("services/ext:s1").await.expect(200);
    let access = json!({"service": "s1", "type": "pppoe", "login": "jan", "password": "pw"});
    daemon.put("accesses/ext:a1", access).await.expect(201);
    let refused = apply(&daemon, &without_services, json!({"prune": true})).await.problem(409, "in-use");
    assert!(refused.body["referrers"].to_string().contains("a1"), "{}", refused.body);
    daemon.delete("accesses/ext:a1").await.expect(204);
    apply(&daemon, &without_services, json!({"prune": true})).await.expect(200);
    daemon.get("services/ext:s1").await.problem(404, "not-found");
}

#[tokio::test]
async fn a_wrong_set_changes_nothing_and_every_mistake_is_placed() {
    let daemon = Daemon::start().await;
    let mut set = files("10.9.0.0/24");
    set[2].1.push_str("rate_upp = 1\n");
    set[5].1 = set[5].1.replace("home-300", "home-30");
    let answer = apply(&daemon, &set, json!({})).await.problem(422, "validation-failed");
    let text = answer.body["errors"].to_string();
    for place in ["plans.toml:4", "pools.toml:4", "services.toml:3"] {
        assert!(text.contains(place), "{place} is not named: {text}");
    }
    assert!(!text.contains(CANARY));
    assert_eq!(daemon.app.parts().storage.seq().await.unwrap(), 0);
}

#[tokio::test]
async fn a_set_that_contradicts_what_others_wrote_changes_nothing_and_names_both_sides() {
    let daemon = Daemon::with_basics().await;
    let seq = daemon.app.parts().storage.seq().await.unwrap();
    let mut set = files("100.64.1.0/24");
    set[0].1 = set[0].1.replace("[home]", "[home-b]");
    set[1].1 = set[1].1.replace("[home-1]", "[home-b1]").replace("\"home\"\nclass", "\"home-b\"\nclass");
    let answer = apply(&daemon, &set, json!({})).await.problem(409, "address-conflict");
    let text = answer.body["errors"].to_string();
    for side in ["home-b", "`home`", "home-b1", "home-1"] {
        assert!(text.contains(side), "{side} is not named: {text}");
    }
    assert_eq!(daemon.app.parts().storage.seq().await.unwrap(), seq);
}

#[tokio::test]
async fn the_api_does_not_change_what_files_define_unless_it_adopts_it() {
    let daemon = Daemon::start().await;
    apply(&daemon, &files("100.64.1.0/24"), json!({})).await.expect(200);
    let refused = daemon.put("plans/ext:home-300", plan(1_000_000)).await.problem(403, "not-owner");
    assert_eq!(refused.body["owner"], "netdefs");
    assert!(refused.body["remedy"].as_str().unwrap().contains("adopt"));
    let crm = daemon.token("crm", &["plan.*"]).await;
    let body = json!({"spec": plan(1_000_000)});
    daemon.put_as(&crm, "plans/ext:home-300", &body).await.problem(403, "not-owner");
    daemon.delete("plans/ext:home-300").await.problem(403, "not-owner");
    let adopted = daemon.put("plans/ext:home-300?adopt=true", plan(1_000_000)).await.expect(200);
    assert_eq!(adopted.body["source"], Value::Null);
}

#[tokio::test]
async fn the_sample_definitions_apply_as_they_are() {
    let daemon = Daemon::start().await;
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("netdefs/example-isp");
    let mut set = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        set.push((&*Box::leak(name.into_boxed_str()), std::fs::read_to_string(&path).unwrap()));
    }
    apply(&daemon, &set, json!({})).await.expect(200);
    assert!(daemon.app.parts().publisher.load_full().gaps().is_empty());
    let again = apply(&daemon, &set, json!({})).await.expect(200);
    assert_eq!((&again.body["create"], &again.body["update"]), (&json!([]), &json!([])));
}

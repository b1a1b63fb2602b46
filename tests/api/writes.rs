//! PUT by external id: one test for each situation that a CRM can be in.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{CANARY, Daemon, plan, service};

fn versioned(version: i64, spec: impl Into<Value>) -> Value {
    let spec: Value = spec.into();
    json!({"source_version": version, "spec": spec})
}

#[tokio::test]
async fn a_new_object_is_created_and_in_force_when_answered() {
    let daemon = Daemon::with_basics().await;
    let answer = daemon.put("services/ext:UM%2F2024%2F1", service()).await.expect(201);
    let id = answer.body["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), format!("/v1/services/{id}"));
    assert_eq!(answer.header("content-location"), answer.header("location"));
    assert_eq!(answer.header("lastmile-change"), "created");
    assert_eq!(answer.body["etag"], format!("{id}/1"));
    assert!(answer.headers.get("etag").is_none(), "RFC 9110 §9.3.4");
    assert_eq!(answer.body["external_id"], "UM/2024/1");
    let seq: u64 = answer.header("x-applied-seq").parse().unwrap();
    let snapshot = daemon.app.parts().publisher.load_full();
    assert!(snapshot.seq() >= seq);
    assert_eq!(snapshot.services_len(), 1);
    let read = daemon.get(&format!("services/{id}")).await.expect(200);
    assert_eq!(read.header("etag"), format!("\"{id}/1\""));
    assert_eq!(daemon.get("services/ext:UM%2F2024%2F1").await.expect(200).body, read.body);
}

#[tokio::test]
async fn a_changed_object_gets_a_new_generation_and_names_what_changed() {
    let daemon = Daemon::with_basics().await;
    daemon.put("services/ext:s", service()).await.expect(201);
    let mut changed = service();
    changed["state"] = json!("paused");
    let answer = daemon.put("services/ext:s", changed).await.expect(200);
    assert_eq!(answer.header("lastmile-change"), "updated");
    assert_eq!(answer.body["generation"], 2);
    assert_eq!(answer.body["changed_fields"], json!(["/spec/state"]));
    assert!(answer.headers.get("location").is_none());
}

#[tokio::test]
async fn an_identical_object_changes_nothing_at_all() {
    let daemon = Daemon::with_basics().await;
    daemon.put("services/ext:s", service()).await.expect(201);
    let seq = daemon.app.parts().storage.seq().await.unwrap();
    let answer = daemon.put("services/ext:s", service()).await.expect(200);
    assert_eq!(answer.header("lastmile-change"), "unchanged");
    assert_eq!(answer.body["generation"], 1);
    assert_eq!(daemon.app.parts().storage.seq().await.unwrap(), seq, "no write, no event");
    let read = daemon.get("services/ext:s").await.body;
    let again = daemon.ask(Method::PUT, "/v1/services/ext:s").json(&read).send().await.expect(200);
    assert_eq!(again.header("lastmile-change"), "unchanged", "what was read may be sent back");
}

#[tokio::test]
async fn an_older_source_version_is_refused_with_the_current_one() {
    let daemon = Daemon::with_basics().await;
    let token = daemon.token("crm", &["plan.*"]).await;
    daemon.put_as(&token, "plans/ext:p", &versioned(7, plan(1_000_000))).await.expect(201);
    let answer = daemon.put_as(&token, "plans/ext:p", &versioned(6, plan(2_000_000))).await;
    let answer = answer.problem(409, "stale-source-version");
    assert_eq!(answer.body["current_source_version"], 7);
}

#[tokio::test]
async fn the_same_source_version_with_other_content_is_a_conflict_and_with_the_same_is_not() {
    let daemon = Daemon::with_basics().await;
    let token = daemon.token("crm", &["plan.*"]).await;
    daemon.put_as(&token, "plans/ext:p", &versioned(7, plan(1_000_000))).await.expect(201);
    let same = daemon.put_as(&token, "plans/ext:p", &versioned(7, plan(1_000_000))).await.expect(200);
    assert_eq!(same.header("lastmile-change"), "unchanged");
    let other = daemon.put_as(&token, "plans/ext:p", &versioned(7, plan(2_000_000))).await;
    let other = other.problem(409, "source-version-conflict");
    assert_eq!(other.body["changed_fields"], json!(["/spec/rate_down"]));
    daemon.put_as(&token, "plans/ext:p", &versioned(8, plan(2_000_000))).await.expect(200);
}

#[tokio::test]
async fn a_failed_if_match_says_how_the_object_stands() {
    let daemon = Daemon::with_basics().await;
    let created = daemon.put("plans/ext:p", plan(1_000_000)).await.expect(201);
    let tag = format!("\"{}\"", created.body["etag"].as_str().unwrap());
    let put = |tag: &str, rate: u64| {
        let body = json!({"spec": plan(rate)});
        daemon.ask(Method::PUT, "/v1/plans/ext:p").header("if-match", tag).json(&body)
    };
    put(&tag, 2_000_000).send().await.expect(200);
    let answer = put(&tag, 3_000_000).send().await.problem(412, "precondition-failed");
    assert!(answer.body["current_etag"].as_str().unwrap().ends_with("/2"));
    assert_eq!(answer.body["changed_fields"], json!(["/spec/rate_down"]));
    put("*", 3_000_000).send().await.expect(200);
    put(&format!("W/{tag}"), 4_000_000).send().await.problem(412, "precondition-failed");
    let create = daemon.ask(Method::PUT, "/v1/plans/ext:p").header("if-none-match", "*");
    create.json(&json!({"spec": plan(1)})).send().await.problem(422, "validation-failed");
    let create = daemon.ask(Method::PUT, "/v1/plans/ext:p").header("if-none-match", "*");
    create.json(&json!({"spec": plan(5_000_000)})).send().await.problem(412, "precondition-failed");
    let missing = daemon.ask(Method::PUT, "/v1/plans/ext:q").header("if-match", "*");
    missing.json(&json!({"spec": plan(5_000_000)})).send().await.problem(412, "precondition-failed");
}

#[tokio::test]
async fn an_unknown_reference_is_named_with_its_pointer_and_a_near_name() {
    let daemon = Daemon::with_basics().await;
    let answer = daemon.put("services/ext:s", json!({"subscriber": "c1", "plan": "home-30"})).await;
    let answer = answer.problem(422, "unknown-ref");
    assert_eq!(answer.body["errors"][0]["pointer"], "/spec/plan");
    assert!(answer.body["errors"][0]["detail"].as_str().unwrap().contains("did you mean `home-300`"));
    let both = daemon.put("services/ext:s", json!({"subscriber": "x", "plan": "y"})).await;
    assert_eq!(both.problem(422, "unknown-ref").body["errors"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_equal_writes_at_once_make_one_object() {
    let daemon = std::sync::Arc::new(Daemon::with_basics().await);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let daemon = std::sync::Arc::clone(&daemon);
        tasks.spawn(async move {
            let answer = daemon.put("services/ext:same", service()).await;
            (answer.status.as_u16(), answer.header("lastmile-change").to_owned())
        });
    }
    let answers = tasks.join_all().await;
    let created = answers.iter().filter(|answer| **answer == (201, "created".to_owned())).count();
    let unchanged = answers.iter().filter(|answer| **answer == (200, "unchanged".to_owned())).count();
    assert_eq!((created, unchanged), (1, 49), "{answers:?}");
}

#[tokio::test]
async fn a_second_login_mac_or_line_is_refused_and_its_holder_named() {
    let daemon = Daemon::with_basics().await;
    daemon.put("services/ext:s", service()).await.expect(201);
    for (name, identity) in [
        ("login", json!({"service": "s", "type": "pppoe", "login": "jan", "password": "pw"})),
        ("mac", json!({"service": "s", "type": "ipoe_mac", "mac": "02:00:5e:00:53:01"})),
        ("line", json!({"service": "s", "type": "ipoe_opt82", "circuit_id": "ge-1/0/1:43"})),
    ] {
        daemon.put(&format!("accesses/ext:{name}-1"), identity.clone()).await.expect(201);
        let answer = daemon.put(&format!("accesses/ext:{name}-2"), identity).await;
        let answer = answer.problem(409, "identity-taken");
        let holder = answer.body["holder"].as_str().unwrap();
        assert!(holder.contains(&format!("access `{name}-1`")), "{holder}");
    }
}

#[tokio::test]
async fn overlapping_addresses_are_refused_with_both_sides_named() {
    let daemon = Daemon::with_basics().await;
    let conflict = async |path: &str, spec: Value, sides: &[&str]| {
        let answer = daemon.put(path, spec).await.problem(409, "address-conflict");
        let text = answer.body["errors"].to_string();
        for side in sides {
            assert!(text.contains(side), "{side} is not named: {text}");
        }
    };
    let pool = json!({"network": "home", "class": "b", "ranges": ["100.64.1.128-100.64.2.10"]});
    conflict("pools/ext:home-2", pool, &["home-1", "home-2"]).await;
    let outside = json!({"network": "home", "class": "b", "ranges": ["10.0.0.0/24"]});
    conflict("pools/ext:home-3", outside, &["home-3", "`home`"]).await;
    let nas = json!({"addresses": ["192.0.2.10"], "secret": "another secret"});
    conflict("nas/ext:bras2", nas, &["bras1", "bras2"]).await;
    let fixed = |address: &str| json!({"subscriber": "c1", "plan": "home-300", "addressing": {"ipv4": {"address": address}}});
    daemon.put("services/ext:s1", fixed("203.0.113.9")).await.expect(201);
    conflict("services/ext:s2", fixed("203.0.113.9"), &["`s1`"]).await;
    let routed =
        json!({"subscriber": "c1", "plan": "home-300", "addressing": {"routed_v4": ["203.0.113.8/29"]}});
    conflict("services/ext:s2", routed, &["`s1`", "203.0.113.8/29"]).await;
    daemon.put("services/ext:s2", fixed("203.0.113.10")).await.expect(201);
    daemon.put("services/ext:s1", fixed("203.0.113.11")).await.expect(200);
    daemon.put("services/ext:s2", fixed("203.0.113.9")).await.expect(200);
}

/// Each round is a race of overlapping prefixes that no unique key can tell apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_writes_at_once_only_one_gets_an_address() {
    let daemon = std::sync::Arc::new(Daemon::with_basics().await);
    for round in 0..20_u8 {
        let start = std::sync::Arc::new(tokio::sync::Barrier::new(8));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..8_u8 {
            let (daemon, start) = (std::sync::Arc::clone(&daemon), std::sync::Arc::clone(&start));
            tasks.spawn(async move {
                let prefix = format!("198.18.{round}.0/{}", 24 + number);
                let spec =
                    json!({"subscriber": "c1", "plan": "home-300", "addressing": {"routed_v4": [prefix]}});
                start.wait().await;
                daemon.put(&format!("services/ext:s{round}-{number}"), spec).await.status.as_u16()
            });
        }
        let statuses = tasks.join_all().await;
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 201 | 409)), "{statuses:?}");
    }
}

#[tokio::test]
async fn an_object_in_use_is_not_deleted_and_its_users_are_named() {
    let daemon = Daemon::with_basics().await;
    daemon.put("services/ext:s", service()).await.expect(201);
    let answer = daemon.delete("plans/ext:home-300").await.problem(409, "in-use");
    assert!(answer.body["referrers"].to_string().contains("service `s`"), "{}", answer.body);
    let gone = daemon.delete("services/ext:s").await.expect(204);
    assert_eq!(gone.header("lastmile-change"), "deleted");
    assert_eq!(daemon.app.parts().publisher.load_full().services_len(), 0);
    daemon.get("services/ext:s").await.problem(404, "not-found");
    daemon.delete("services/ext:s").await.problem(404, "not-found");
    daemon.delete("plans/ext:home-300").await.expect(204);
}

#[tokio::test]
async fn a_secret_is_kept_when_its_marker_is_sent_back_and_shown_only_as_a_fingerprint() {
    let daemon = Daemon::with_basics().await;
    let read = daemon.get("nas/ext:bras1").await.expect(200);
    let marker = &read.body["spec"]["secret"];
    assert_eq!(marker["set"], true);
    assert_eq!(marker["fingerprint"].as_str().unwrap().len(), 8);
    let mut spec = read.body["spec"].clone();
    spec["vendor"] = json!("mikrotik");
    let kept = daemon.put("nas/ext:bras1", spec.clone()).await.expect(200);
    assert_eq!(kept.body["changed_fields"], json!(["/spec/vendor"]));
    assert_eq!(kept.body["spec"]["secret"], *marker);
    let snapshot = daemon.app.parts().publisher.load_full();
    let secret = snapshot.all_nas().next().unwrap().secrets[0].clone();
    assert_eq!(secret.expose(), CANARY.as_bytes());
    spec["secret"] = json!("a new long secret");
    let changed = daemon.put("nas/ext:bras1", spec.clone()).await.expect(200);
    assert_eq!(changed.body["changed_fields"], json!(["/spec/secret"]));
    assert_ne!(changed.body["spec"]["secret"]["fingerprint"], marker["fingerprint"]);
    spec["secret"] = json!({"set": true});
    spec["addresses"] = json!(["192.0.2.99"]);
    daemon.put("nas/ext:unheard-of", spec).await.problem(422, "validation-failed");
}

#[tokio::test]
async fn labels_stay_unless_they_are_given() {
    let daemon = Daemon::start().await;
    let put = async |body: Value| daemon.ask(Method::PUT, "/v1/plans/ext:p").json(&body).send().await;
    put(json!({"labels": {"site": "north"}, "spec": plan(1_000_000)})).await.expect(201);
    let kept = put(json!({"spec": plan(2_000_000)})).await.expect(200);
    assert_eq!(kept.body["labels"], json!({"site": "north"}));
    let cleared = put(json!({"labels": {}, "spec": plan(2_000_000)})).await.expect(200);
    assert_eq!(cleared.body["changed_fields"], json!(["/labels"]));
    assert_eq!(cleared.body["generation"], 3, "the entity tag changes with all that is shown");
}

#[tokio::test]
async fn an_unchanged_object_is_not_sent_again_to_who_has_it() {
    let daemon = Daemon::with_basics().await;
    let read = daemon.get("plans/ext:home-300").await;
    let again = |tag: &str| daemon.ask(Method::GET, "/v1/plans/ext:home-300").header("if-none-match", tag);
    let answer = again(read.header("etag")).send().await.expect(304);
    assert_eq!(answer.body, Value::Null);
    again("\"other/1\"").send().await.expect(200);
    let head = daemon.ask(Method::HEAD, "/v1/plans/ext:home-300").send().await.expect(200);
    assert_eq!((head.header("etag"), &head.body), (read.header("etag"), &Value::Null));
}

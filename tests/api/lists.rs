//! Lists: complete while the world moves, bounded, and filtered by what is asked.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::json;

use crate::support::{Daemon, plan, service};

#[tokio::test]
async fn a_walk_sees_every_object_that_exists_throughout_it() {
    let daemon = Daemon::start().await;
    for number in 0..25 {
        daemon.put(&format!("plans/ext:p{number}"), plan(1_000_000)).await.expect(201);
    }
    let (mut seen, mut cursor, mut added) = (Vec::new(), String::new(), 0);
    loop {
        let page = daemon.get(&format!("plans?limit=4{cursor}")).await.expect(200).body;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 4);
        seen.extend(items.iter().map(|item| item["external_id"].as_str().unwrap().to_owned()));
        // Objects come and go while somebody walks.
        daemon.put(&format!("plans/ext:new{added}"), plan(2_000_000)).await.expect(201);
        added += 1;
        assert!(added < 100, "the walk does not end");
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
        assert_eq!(page["complete"], false);
    }
    let unique: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "nothing is shown twice");
    for number in 0..25 {
        assert!(seen.contains(&format!("p{number}")), "p{number} was missed");
    }
}

#[tokio::test]
async fn a_cursor_of_one_list_is_refused_by_another() {
    let daemon = Daemon::start().await;
    for number in 0..3 {
        daemon.put(&format!("plans/ext:p{number}"), plan(1_000_000)).await.expect(201);
    }
    let page = daemon.get("plans?limit=1").await.expect(200).body;
    let cursor = page["next_cursor"].as_str().unwrap();
    daemon.get(&format!("plans?limit=2&cursor={cursor}")).await.expect(200);
    daemon.get(&format!("plans?source=crm&cursor={cursor}")).await.problem(400, "bad-cursor");
    daemon.get(&format!("nas?cursor={cursor}")).await.problem(400, "bad-cursor");
}

#[tokio::test]
async fn lists_are_filtered_by_source_label_external_id_and_reference() {
    let daemon = Daemon::with_basics().await;
    let token = daemon.token("crm", &["*.read", "*.write"]).await;
    let body = json!({"labels": {"site": "north east"}, "spec": service()});
    daemon.put_as(&token, "services/ext:s1", &body).await.expect(201);
    daemon.put("services/ext:s2", service()).await.expect(201);
    let names = async |query: &str| -> Vec<String> {
        let page = daemon.get(&format!("services?{query}")).await.expect(200).body;
        let items = page["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["external_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("source=crm").await, ["s1"]);
    assert_eq!(names("label.site=north%20east").await, ["s1"]);
    assert_eq!(names("external_id=s2").await, ["s2"]);
    assert_eq!(names("plan=home-300").await, ["s1", "s2"]);
    assert_eq!(names("plan=home-300&source=crm&label.site=south").await, Vec::<String>::new());
    daemon.get("services?plan=home-300&subscriber=c1").await.problem(400, "bad-filter");
}

#[tokio::test]
async fn events_tell_every_change_in_order() {
    let daemon = Daemon::start().await;
    daemon.put("plans/ext:p", plan(1_000_000)).await.expect(201);
    daemon.put("plans/ext:p", plan(2_000_000)).await.expect(200);
    daemon.put("plans/ext:p", plan(2_000_000)).await.expect(200);
    daemon.ask(Method::DELETE, "/v1/plans/ext:p").header("x-request-id", "crm-42").send().await.expect(204);
    let events = daemon.get("events?after=0").await.expect(200).body;
    let events = events["items"].as_array().unwrap();
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["plan.created", "plan.updated", "plan.deleted"]);
    assert_eq!(events[2]["request"], "crm-42");
    assert!(events[0]["actor"].as_str().unwrap().starts_with("operator:uid-0"));
    let after = events[1]["seq"].as_u64().unwrap();
    let rest = daemon.get(&format!("events?after={after}")).await.expect(200).body;
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
}

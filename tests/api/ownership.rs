//! Sources own what they made; tenants do not see each other; secrets are seen by nobody.

use axum::http::Method;
use lastmile::api::table::operations;
use serde_json::json;

use crate::support::{CANARY, Daemon, other_tenant, plan, service};

#[tokio::test]
async fn an_object_of_another_source_is_read_but_not_written_unless_adopted() {
    let daemon = Daemon::with_basics().await;
    let (old, new) = (daemon.token("old-crm", &["plan.*"]).await, daemon.token("new-crm", &["plan.*"]).await);
    let body = json!({"spec": plan(1_000_000)});
    let id =
        daemon.put_as(&old, "plans/ext:p", &body).await.expect(201).body["id"].as_str().unwrap().to_owned();
    let path = format!("plans/{id}");
    daemon.ask(Method::GET, &format!("/v1/{path}")).token(&new).send().await.expect(200);
    let refused = daemon.put_as(&new, &path, &json!({"spec": plan(2_000_000)})).await;
    assert_eq!(refused.problem(403, "not-owner").body["owner"], "old-crm");
    daemon.put_as(&new, "plans/ext:old-crm~p", &body).await.problem(403, "not-owner");
    daemon.ask(Method::DELETE, &format!("/v1/{path}")).token(&new).send().await.problem(403, "not-owner");
    let own = daemon.put_as(&new, "plans/ext:p", &body).await.expect(201);
    assert_ne!(own.body["id"], id.as_str(), "two CRMs side by side have objects of their own");
    daemon.get("plans/ext:p").await.problem(409, "ambiguous-ref");
    daemon.get("plans/ext:old-crm~p").await.expect(200);
    daemon.ask(Method::DELETE, "/v1/plans/ext:p").token(&new).send().await.expect(204);
    let adopted = daemon.put_as(&new, &format!("{path}?adopt=true"), &body).await.expect(200);
    assert_eq!(adopted.body["source"], "new-crm");
    assert_eq!(adopted.body["changed_fields"], json!(["/source"]));
    daemon.put_as(&old, &path, &body).await.problem(403, "not-owner");
}

#[tokio::test]
async fn adopting_takes_a_scope_of_its_own() {
    let daemon = Daemon::with_basics().await;
    let token = daemon.token("crm", &["*.read", "*.write"]).await;
    let path = "plans/ext:home-300?adopt=true";
    let answer = daemon.put_as(&token, path, &json!({"spec": plan(1_000_000)})).await;
    assert_eq!(answer.problem(403, "action-denied").body["scope"], "plan.adopt");
}

#[tokio::test]
async fn what_belongs_to_another_tenant_does_not_exist() {
    let daemon = Daemon::with_basics().await;
    let id = daemon.get("plans/ext:home-300").await.body["id"].as_str().unwrap().to_owned();
    let token = daemon.token_of(other_tenant(), None, &["*"]).await;
    let ask = |method: Method, path: String| daemon.ask(method, &path).token(&token);
    for path in
        [format!("/v1/plans/{id}"), "/v1/plans/ext:home-300".to_owned(), "/v1/nas/ext:bras1".to_owned()]
    {
        ask(Method::GET, path.clone()).send().await.problem(404, "not-found");
        ask(Method::DELETE, path).send().await.problem(404, "not-found");
    }
    let body = json!({"spec": plan(1_000_000)});
    ask(Method::PUT, format!("/v1/plans/{id}")).json(&body).send().await.problem(404, "not-found");
    for collection in ["plans", "nas", "networks", "pools", "events"] {
        let page = ask(Method::GET, format!("/v1/{collection}")).send().await.expect(200);
        assert_eq!(page.body["items"], json!([]), "{collection}");
    }
    let foreign = json!({"spec": {"subscriber": "c1", "plan": id}});
    ask(Method::PUT, "/v1/services/ext:s".to_owned()).json(&foreign).send().await.problem(422, "unknown-ref");
    // The same names and addresses in another tenant disturb nobody.
    let nas = json!({"spec": {"addresses": ["192.0.2.10"], "secret": "their own secret"}});
    ask(Method::PUT, "/v1/nas/ext:bras1".to_owned()).json(&nas).send().await.expect(201);
    let mine = daemon.get("nas").await.body;
    assert_eq!(mine["items"].as_array().unwrap().len(), 1);
    assert_eq!(daemon.app.parts().publisher.load_full().all_nas().count(), 2);
}

#[tokio::test]
async fn no_answer_ever_holds_a_secret() {
    let daemon = Daemon::with_basics().await;
    daemon.put("services/ext:x", service()).await.expect(201);
    let access = json!({"service": "x", "type": "pppoe", "login": "jan", "password": CANARY});
    let created = daemon.put("accesses/ext:x", access.clone()).await.expect(201);
    assert!(!created.body.to_string().contains(CANARY));
    for kind in ["subscribers", "plans", "networks", "pools", "nas", "relays"] {
        let name = daemon.get(kind).await.body["items"][0]["external_id"].as_str().map(str::to_owned);
        if let Some(name) = name {
            let answer = daemon.get(&format!("{kind}/ext:{name}")).await.expect(200);
            assert!(!answer.body.to_string().contains(CANARY), "{kind}");
        }
    }
    for operation in operations().iter().filter(|operation| operation.method == Method::GET) {
        let path = operation.path.replace("{ref}", "ext:x").replace("{address}", "203.0.113.9");
        let query = if path.ends_with("/why") { "?subject=jan" } else { "" };
        let answer = daemon.ask(Method::GET, &format!("{path}{query}")).send().await;
        assert!(!answer.body.to_string().contains(CANARY), "{}", operation.id);
    }
    // Failures quote what was wrong, but not this.
    let mut wrong = access;
    wrong["passwort"] = json!(CANARY);
    wrong["login"] = json!(7);
    let answer = daemon.put("accesses/ext:y", wrong).await.problem(422, "validation-failed");
    assert!(!answer.body.to_string().contains(CANARY));
    let debug = format!("{:?} {:?}", daemon.app, daemon.app.parts().publisher.load_full());
    assert!(!debug.contains(CANARY));
}

//! Whatever goes wrong, the answer is a problem document.

use axum::http::Method;
use lastmile::api::Peer;
use serde_json::json;

use crate::support::{Daemon, plan};

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_that_say_what_is_possible() {
    let daemon = Daemon::start().await;
    for path in ["/", "/v1", "/v1/unicorns", "/v1/services/a/b/c", "/v2/services"] {
        daemon.ask(Method::GET, path).send().await.problem(404, "not-found");
    }
    let answer = daemon.ask(Method::PATCH, "/v1/services/ext:x").send().await;
    let answer = answer.problem(405, "method-not-allowed");
    assert_eq!(answer.header("allow"), "DELETE, GET, HEAD, PUT");
    daemon.ask(Method::POST, "/v1/services").send().await.problem(405, "method-not-allowed");
}

#[tokio::test]
async fn bodies_that_are_no_json_are_told_from_bodies_that_are_too_long_or_of_another_type() {
    let daemon = Daemon::start().await;
    let put = || daemon.ask(Method::PUT, "/v1/plans/ext:p");
    for text in ["", "{", "{\"spec\": }", "nonsense", "\u{feff}{}"] {
        put().raw(text).send().await.problem(400, "malformed-json");
    }
    put().raw(vec![b'{', 0xff, b'}']).send().await.problem(400, "malformed-json");
    put().raw(vec![b' '; 1024 * 1024 + 1]).send().await.problem(413, "body-too-large");
    put().header("content-length", "99999999").raw("{}").send().await.problem(413, "body-too-large");
    let form = put().header("content-type", "application/x-www-form-urlencoded").raw("a=b").send().await;
    form.problem(415, "unsupported-media-type");
    put().raw(json!({"spec": plan(1_000_000)}).to_string()).send().await.expect(201);
}

#[tokio::test]
async fn a_deeply_nested_body_is_a_problem_with_and_without_a_token() {
    let daemon = Daemon::start().await;
    let token = daemon.token("crm", &["*"]).await;
    for nested in ["[".repeat(200_000), "{\"a\":".repeat(200_000), format!("{{\"spec\": {}", "[".repeat(33))]
    {
        let put = || daemon.ask(Method::PUT, "/v1/plans/ext:p").raw(nested.clone());
        put().anonymous().send().await.problem(400, "malformed-json");
        put().token(&token).send().await.problem(400, "malformed-json");
        put().token("lm_pat_wrong").send().await.problem(400, "malformed-json");
    }
}

#[tokio::test]
async fn all_wrong_members_are_reported_at_once_with_pointers_and_hints() {
    let daemon = Daemon::start().await;
    let body = json!({"labels": {"a b": "c"}, "spec": {"rate_down": "fast", "rate_upp": 1}});
    let answer = daemon.ask(Method::PUT, "/v1/plans/ext:p").json(&body).send().await;
    let answer = answer.problem(422, "validation-failed");
    let pointers: Vec<&str> = answer.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["/labels", "/spec/rate_down", "/spec/rate_upp"]);
    assert!(answer.body["errors"][2]["detail"].as_str().unwrap().contains("did you mean `rate_up`"));
    let unknown = daemon.put("plans/ext:p", json!({"rate_upp": 1})).await;
    unknown.problem(422, "unknown-field");
}

#[tokio::test]
async fn details_follow_the_language_and_the_request_id_follows_the_caller() {
    let daemon = Daemon::start().await;
    let ask = || daemon.ask(Method::GET, "/v1/services/ext:x");
    let polish =
        ask().header("accept-language", "pl-PL, en;q=0.5").header("x-request-id", "abc-1").send().await;
    let polish = polish.problem(404, "not-found");
    assert_eq!(polish.header("content-language"), "pl");
    assert_eq!(polish.body["title"], "Nie znaleziono");
    assert_eq!(polish.body["request_id"], "abc-1");
    let hostile = ask().header("x-request-id", "a b\"c").send().await.problem(404, "not-found");
    assert!(hostile.body["request_id"].as_str().unwrap().starts_with("req_"));
}

#[tokio::test]
async fn query_parameters_that_nobody_knows_are_refused() {
    let daemon = Daemon::start().await;
    daemon.get("services?plann=x").await.problem(400, "bad-filter");
    daemon.get("services?limit=many").await.problem(400, "bad-filter");
    daemon.get("services?plan=none").await.problem(400, "bad-filter");
    daemon.get("services?cursor=zz").await.problem(400, "bad-cursor");
    daemon.get("sessions?state=sleeping").await.problem(400, "bad-filter");
    daemon.get("bindings?from=yesterday").await.problem(400, "bad-filter");
    daemon.get("leases/not-an-address").await.problem(404, "not-found");
    daemon.get("why?subject=").await.problem(400, "bad-filter");
}

#[tokio::test]
async fn forwarding_headers_make_nobody_trusted() {
    let daemon = Daemon::start().await;
    let ask = || daemon.ask(Method::GET, "/v1/meta").header("x-forwarded-for", "127.0.0.1");
    ask().anonymous().send().await.problem(401, "token-missing");
    ask().peer(Peer::Unix { uid: 1000, trusted: false }).send().await.problem(401, "token-missing");
    ask().peer(Peer::Unix { uid: 1000, trusted: true }).send().await.expect(200);
}

#[tokio::test]
async fn health_says_one_word_to_anybody() {
    let daemon = Daemon::start().await;
    let health = async |path: &str| daemon.ask(Method::GET, path).anonymous().send().await;
    assert_eq!(health("/health").await.expect(200).body, json!({"status": "ready"}));
    daemon.app.set_ready(false);
    health("/health/live").await.expect(200);
    assert_eq!(health("/health/ready").await.expect(503).body, json!({"status": "loading"}));
    health("/health/startup").await.expect(503);
}

//! Tokens: shown once, stored as a hash, and gone when revoked.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::Daemon;

#[tokio::test]
async fn a_token_is_stored_as_a_hash_and_listed_without_its_text() {
    let daemon = Daemon::start().await;
    let token = daemon.token("crm", &["service.*"]).await;
    let secret = token.split('_').nth(3).unwrap();
    let rows = daemon.app.parts().storage.tokens().await.unwrap();
    assert!(!format!("{rows:?}").contains(secret));
    assert_ne!(rows[0].hash.as_slice(), secret.as_bytes());
    let listed = daemon.get("tokens").await.expect(200);
    assert_eq!(listed.body["items"][0]["state"], "active");
    assert!(!listed.body.to_string().contains(secret));
}

#[tokio::test]
async fn wrong_expired_and_revoked_tokens_are_told_apart() {
    let daemon = Daemon::start().await;
    let token = daemon.token("crm", &["system.read"]).await;
    let ask = async |token: &str| daemon.ask(Method::GET, "/v1/meta").token(token).send().await;
    ask(&token).await.expect(200);
    let mut wrong = token.clone();
    wrong.replace_range(40..41, if &token[40..41] == "a" { "b" } else { "a" });
    for text in ["", "lm_pat_", "nonsense", &token[..token.len() - 1], wrong.as_str()] {
        ask(text).await.problem(401, "token-invalid");
    }
    let id = daemon.get("tokens").await.body["items"][0]["id"].as_str().unwrap().to_owned();
    daemon.delete(&format!("tokens/{id}")).await.expect(204);
    ask(&token).await.problem(401, "token-revoked");
    let short = json!({"name": "short", "scopes": ["*.read"], "lifetime_days": 1});
    let answer = daemon.ask(Method::POST, "/v1/tokens").json(&short).send().await.expect(201);
    let short = answer.body["token"].as_str().unwrap().to_owned();
    ask(&short).await.expect(200);
    daemon.clock.advance(Duration::from_secs(86_401));
    ask(&short).await.problem(401, "token-expired");
    daemon.delete("tokens/tok_01jd3v8m4q7z00000000000000").await.problem(404, "not-found");
}

#[tokio::test]
async fn issuing_and_revoking_a_token_is_audited_without_its_text() {
    let daemon = Daemon::start().await;
    let token = daemon.token("crm", &["service.*"]).await;
    let id = daemon.get("tokens").await.body["items"][0]["id"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        daemon.delete(&format!("tokens/{id}")).await.expect(204);
    }
    daemon.delete("tokens/tok_01jd3v8m4q7z00000000000000").await.problem(404, "not-found");
    let rows = daemon.audit("token").await;
    let [issued, revoked] = rows.as_slice() else { panic!("{rows:#?}") };
    assert!(
        rows.iter().all(|row| row.actor == "operator:uid-0:root" && row.request.starts_with("req_")),
        "{rows:#?}"
    );
    assert_eq!((&issued.before, &issued.after["id"]), (&Value::Null, &json!(id)));
    assert_eq!((&issued.after["source"], &issued.after["scopes"]), (&json!("crm"), &json!(["service.*"])));
    assert_eq!((&revoked.before["state"], &revoked.after["state"]), (&json!("active"), &json!("revoked")));
    assert!(!format!("{rows:?}").contains(token.split('_').nth(3).unwrap()));
}

#[tokio::test]
async fn a_token_for_nothing_or_for_more_than_its_maker_has_is_refused() {
    let daemon = Daemon::start().await;
    let maker = daemon.token("crm", &["token.admin", "service.read"]).await;
    let make =
        async |body: Value| daemon.ask(Method::POST, "/v1/tokens").token(&maker).json(&body).send().await;
    make(json!({"name": "ok", "source": "crm", "scopes": ["service.read"]})).await.expect(201);
    for body in [
        json!({"name": "more", "source": "crm", "scopes": ["service.write"]}),
        json!({"name": "all", "source": "crm", "scopes": ["*"]}),
        json!({"name": "elsewhere", "source": "other", "scopes": ["service.read"]}),
        json!({"name": "none", "source": "crm", "scopes": []}),
        json!({"name": "typo", "source": "crm", "scopes": ["servce.read"]}),
        json!({"name": "long", "source": "crm", "scopes": ["service.read"], "lifetime_days": 366}),
    ] {
        make(body.clone()).await.problem(422, "validation-failed");
    }
}

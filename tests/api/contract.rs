//! The table of operations, the router and the OpenAPI document are one thing.

use std::collections::BTreeSet;
use std::path::Path;

use axum::http::Method;
use lastmile::api::table::operations;
use lastmile::api::{PROBLEMS, openapi};
use serde_json::Value;

use crate::support::Daemon;

#[test]
fn the_openapi_document_is_what_was_agreed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/openapi.json");
    let text = openapi::text();
    if lastmile::config::environment().any(|(name, value)| name == "UPDATE" && value == "1") {
        std::fs::write(&path, &text).unwrap();
    }
    let agreed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        agreed == text,
        "the API differs from tests/golden/openapi.json; UPDATE=1 rewrites it for review"
    );
}

#[test]
fn the_document_describes_exactly_the_operations_that_are_served() {
    let document = openapi::document();
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            described.insert((method.to_uppercase(), path.clone()));
            assert!(operation["operationId"].is_string(), "{method} {path}");
            assert!(operation.get("x-action").is_some(), "{method} {path}");
        }
    }
    let served: BTreeSet<(String, String)> =
        operations().iter().map(|operation| (operation.method.to_string(), operation.path.clone())).collect();
    assert_eq!(described, served);
}

#[test]
fn every_reference_and_every_example_of_the_document_resolves() {
    let document = openapi::document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut names = Vec::new();
    collect(&document, &mut names);
    for name in names {
        assert!(schemas.contains_key(name.trim_start_matches("#/components/schemas/")), "{name}");
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let text = operation.to_string();
            assert!(text.contains("\"example\"") || method == "delete", "{method} {path} has no example");
        }
    }
}

fn collect(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "$ref" => names.push(text.clone()),
                    other => collect(other, names),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        _ => {}
    }
}

#[tokio::test]
async fn every_operation_of_the_table_is_routed_and_none_answers_without_a_token() {
    let daemon = Daemon::start().await;
    for operation in operations() {
        let path = concrete(&operation.path);
        let answer = daemon.ask(operation.method.clone(), &path).anonymous().send().await;
        if operation.scope.is_some() {
            let answer = answer.problem(401, "token-missing");
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{}", operation.id);
        } else {
            answer.expect(200);
        }
    }
}

#[tokio::test]
async fn a_token_without_scopes_for_an_operation_is_refused_by_each_of_them() {
    let daemon = Daemon::with_basics().await;
    let token = daemon.token("crm", &["binding.read"]).await;
    for operation in operations() {
        let Some(scope) = &operation.scope else { continue };
        if scope == "binding.read" {
            continue;
        }
        let document = openapi::document();
        let described = &document["paths"][&operation.path][operation.method.as_str().to_lowercase()];
        let example = &described["requestBody"]["content"]["application/json"]["example"];
        let asking = daemon.ask(operation.method.clone(), &concrete(&operation.path)).token(&token);
        let asking = if example.is_null() { asking } else { asking.json(example) };
        let answer = asking.send().await;
        assert_eq!((answer.status.as_u16(), answer.code()), (403, "action-denied"), "{}", operation.id);
        assert_eq!(answer.body["scope"].as_str(), Some(scope.as_str()));
    }
}

fn concrete(template: &str) -> String {
    template
        .replace("sessions/{id}", "sessions/ses_01jd3v8m4q7z00000000000000")
        .replace("{ref}", "ext:x")
        .replace("{id}", "tok_01jd3v8m4q7z00000000000000")
        .replace("{address}", "192.0.2.1")
        .replace("{code}", "in-use")
}

#[tokio::test]
async fn every_problem_code_is_explained_in_both_languages() {
    let daemon = Daemon::start().await;
    for text in PROBLEMS {
        let path = format!("/v1/problems/{}", text.code);
        let english = daemon.ask(Method::GET, &path).send().await.expect(200);
        let polish = daemon.ask(Method::GET, &path).header("accept-language", "pl").send().await.expect(200);
        assert_eq!(english.body["language"], "en");
        assert_eq!(polish.body["language"], "pl");
        assert_ne!(english.body["text"], polish.body["text"], "{}", text.code);
    }
    daemon.get("problems/no-such-code").await.problem(404, "not-found");
}

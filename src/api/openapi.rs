//! The OpenAPI 3.1 document: made from the table of operations and the types themselves.
//!
//! The committed copy is what the API was last agreed to be; a test compares it byte by byte, so that no change of the
//! contract goes unseen.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::{PartialSchema, ToSchema};

use super::examples;
use super::operation::{Answer, Body, Operation};
use super::table::{FAILURES_OF_ALL, operations, schema};
use super::texts;
use crate::app::access_status::AccessStatus;
use crate::app::clock::ClockView;
use crate::app::history::{DecisionView, EventView};
use crate::app::live_views::{BindingView, LeaseView, SessionView, UtilizationView};
use crate::app::nas::NasStatus;
use crate::app::status::ServiceStatus;
use crate::app::system::{API_REVISION, Meta};
use crate::app::tokens::TokenView;
use crate::app::why::Why;
use crate::model::Kind;
use crate::model::access::AccessSpec;
use crate::model::nas::NasSpec;
use crate::model::network::NetworkSpec;
use crate::model::plan::PlanSpec;
use crate::model::pool::PoolSpec;
use crate::model::relay::RelaySpec;
use crate::model::service::ServiceSpec;
use crate::model::subscriber::SubscriberSpec;

/// The document.
pub fn document() -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for operation in operations() {
        let item = paths.entry(operation.path.clone()).or_default();
        item.insert(operation.method.as_str().to_ascii_lowercase(), described(operation));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Lastmile admin API",
            "version": API_REVISION,
            "description": "Desired state of subscribers and networks, and what the network does with it. \
                Additions happen within /v1: tolerate unknown members and words in answers.",
            "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"}
        },
        "servers": [{"url": "http://127.0.0.1:8620"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "lm_pat_<id>_<secret>_<check>"}
            },
            "schemas": schemas(),
        },
    })
}

/// The document as committed.
pub fn text() -> String {
    serde_json::to_string_pretty(&document()).unwrap_or_default() + "\n"
}

fn described(operation: &Operation) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "x-action": operation.scope,
        "x-stability": "beta",
        "parameters": parameters(operation),
        "responses": responses(operation),
    });
    if let Some(members) = described.as_object_mut() {
        if operation.scope.is_none() {
            members.insert("security".to_owned(), json!([]));
        }
        if let Some(example) = examples::request(operation.body) {
            let schema = body_schema(operation.body);
            let content = json!({"application/json": {"schema": schema, "example": example}});
            members.insert("requestBody".to_owned(), json!({"required": true, "content": content}));
        }
    }
    described
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let variables = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut all: Vec<Value> = variables
        .map(|name| {
            let text = match name {
                "ref" => "An id, ext:<external id> or ext:<source>~<external id>; `/`, `:` and `~` inside an id are percent-encoded.",
                "address" => "An address, or a prefix with its slash percent-encoded.",
                "code" => "A problem code.",
                _ => "An id.",
            };
            json!({"name": name, "in": "path", "required": true, "description": text, "schema": {"type": "string"}})
        })
        .collect();
    all.extend(operation.query.iter().map(|parameter| {
        json!({
            "name": parameter.name, "in": "query", "required": false, "description": parameter.text,
            "schema": {"type": parameter.kind}
        })
    }));
    let header = |name: &str, text: &str| json!({"name": name, "in": "header", "required": false, "description": text, "schema": {"type": "string"}});
    if matches!(operation.body, Body::Object(_))
        || operation.answer == Answer::Empty && operation.path.contains("{ref}")
    {
        all.push(header("If-Match", "Entity tags of which one must be the stored one."));
    }
    if matches!(operation.body, Body::Object(_)) {
        all.push(header("If-None-Match", "`*`: create only."));
    }
    all
}

fn responses(operation: &Operation) -> Value {
    let mut responses: BTreeMap<String, Value> = BTreeMap::new();
    for status in operation.statuses {
        responses.insert(status.to_string(), success(operation, *status));
    }
    let mut codes: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    let of_all = if operation.scope.is_some() { FAILURES_OF_ALL } else { &["internal"] };
    for code in of_all.iter().chain(operation.failures) {
        codes.entry(texts::of(code).status).or_default().push(code);
    }
    for (status, mut codes) in codes {
        codes.sort_unstable();
        responses.insert(
            status.to_string(),
            json!({
                "description": codes.join(", "),
                "x-codes": codes,
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
            }),
        );
    }
    json!(responses)
}

fn success(operation: &Operation, status: u16) -> Value {
    let mut response = json!({"description": if status == 304 { "Not changed." } else { "Done." }});
    if status == 304 {
        return response;
    }
    let schema = match operation.answer {
        Answer::Empty => return response,
        Answer::One(name) => reference(name),
        Answer::Page(name) => json!({
            "type": "object",
            "required": ["items", "next_cursor", "as_of_seq", "complete"],
            "properties": {
                "items": {"type": "array", "items": reference(name)},
                "next_cursor": {"type": ["string", "null"]},
                "as_of_seq": {"type": "integer"},
                "complete": {"type": "boolean"}
            }
        }),
        Answer::Items(name) => json!({
            "type": "object",
            "required": ["items"],
            "properties": {"items": {"type": "array", "items": reference(name)}}
        }),
    };
    let example = examples::answer(operation.answer, operation.kind).unwrap_or_default();
    if let Some(members) = response.as_object_mut() {
        let content = json!({"application/json": {"schema": schema, "example": example}});
        members.insert("content".to_owned(), content);
    }
    response
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn body_schema(body: Body) -> Value {
    match body {
        Body::Object(kind) => reference(&format!("{}Input", schema(kind))),
        Body::Apply => reference("Apply"),
        Body::Token => reference("NewToken"),
        Body::None => Value::Null,
    }
}

fn schemas() -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    add::<SubscriberSpec>(&mut all);
    add::<ServiceSpec>(&mut all);
    add::<AccessSpec>(&mut all);
    add::<PlanSpec>(&mut all);
    add::<NetworkSpec>(&mut all);
    add::<PoolSpec>(&mut all);
    add::<NasSpec>(&mut all);
    add::<RelaySpec>(&mut all);
    add::<NasStatus>(&mut all);
    add::<ServiceStatus>(&mut all);
    add::<UtilizationView>(&mut all);
    add::<AccessStatus>(&mut all);
    add::<SessionView>(&mut all);
    add::<LeaseView>(&mut all);
    add::<BindingView>(&mut all);
    add::<DecisionView>(&mut all);
    add::<EventView>(&mut all);
    add::<Why>(&mut all);
    add::<TokenView>(&mut all);
    add::<Meta>(&mut all);
    add::<ClockView>(&mut all);
    for kind in Kind::ALL {
        let name = schema(kind);
        all.insert(name.to_owned(), object(kind));
        all.insert(format!("{name}Input"), input(name));
    }
    all.extend(written_by_hand());
    all
}

fn add<T: ToSchema + PartialSchema>(all: &mut BTreeMap<String, Value>) {
    let mut found = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut found);
    for (name, schema) in found {
        all.insert(name, serde_json::to_value(schema).unwrap_or_default());
    }
}

fn object(kind: Kind) -> Value {
    let time = json!({"type": "string", "format": "date-time"});
    let maybe = |kind: &str| json!({"type": [kind, "null"]});
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let mut object = json!({
        "type": "object",
        "required": ["kind", "id", "tenant", "generation", "etag", "spec"],
        "properties": {
            "kind": {"type": "string", "const": kind.name()},
            "id": {"type": "string"},
            "tenant": {"type": "string"},
            "source": maybe("string"),
            "external_id": maybe("string"),
            "generation": {"type": "integer", "minimum": 1},
            "source_version": maybe("integer"),
            "labels": texts,
            "annotations": texts,
            "created_at": time,
            "updated_at": time,
            "updated_by": {
                "type": "object",
                "properties": {
                    "kind": {"type": "string"}, "id": {"type": "string"}, "name": {"type": "string"}
                }
            },
            "deleted_at": {"type": ["string", "null"], "format": "date-time"},
            "etag": {"type": "string"},
            "changed_fields": {"type": "array", "items": {"type": "string"}},
            "spec": reference(&format!("{}Spec", schema(kind))),
        }
    });
    if kind == Kind::Nas {
        object["properties"]["status"] = reference("NasStatus");
    }
    object
}

fn input(name: &str) -> Value {
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "source_version": {"type": ["integer", "null"]},
            "labels": texts,
            "annotations": texts,
            "spec": reference(&format!("{name}Spec")),
        }
    })
}

fn written_by_hand() -> Vec<(String, Value)> {
    let text = json!({"type": "string"});
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let named = json!({"type": "array", "items": {
        "type": "object", "properties": {"kind": text, "external_id": text, "changed_fields": texts}
    }});
    let problem = json!({
        "type": "object",
        "description": "RFC 9457. `code` is the contract; title and detail are for people.",
        "required": ["type", "title", "status", "code", "detail", "instance", "request_id", "retryable"],
        "properties": {
            "type": text, "title": text, "status": {"type": "integer"}, "code": text, "detail": text,
            "instance": text, "request_id": text, "retryable": {"type": "boolean"},
            "errors": {"type": "array", "items": {
                "type": "object", "required": ["pointer", "code", "detail"],
                "properties": {"pointer": text, "code": text, "detail": text}
            }},
            "remedy": text, "command": text, "current_etag": {"type": ["string", "null"]},
            "current_source_version": {"type": "integer"}, "changed_fields": texts, "referrers": texts,
            "owner": text, "scope": text, "holder": text, "matches": texts
        }
    });
    let apply = json!({
        "type": "object", "required": ["files"],
        "properties": {
            "files": {"type": "array", "items": {
                "type": "object", "required": ["name", "text"], "properties": {"name": text, "text": text}
            }},
            "prune": {"type": "boolean"}, "dry_run": {"type": "boolean"}
        }
    });
    let applied = json!({
        "type": "object",
        "properties": {
            "create": named, "update": named, "remove": named, "kept": named, "unchanged": {"type": "integer"},
            "warnings": texts, "plan": text, "applied_seq": {"type": ["integer", "null"]}
        }
    });
    let new_token = json!({
        "type": "object", "required": ["name", "scopes"],
        "properties": {
            "name": text, "source": text, "scopes": texts, "tenant": text,
            "lifetime_days": {"type": "integer", "minimum": 1, "maximum": 365}
        }
    });
    let issued = json!({
        "allOf": [reference("TokenView"), {"type": "object", "required": ["token"], "properties": {"token": text}}]
    });
    let problem_text = json!({
        "type": "object",
        "properties": {
            "type": text, "code": text, "status": {"type": "integer"}, "title": text, "text": text,
            "retryable": {"type": "boolean"}, "language": text
        }
    });
    let health = json!({"type": "object", "required": ["status"], "properties": {"status": text}});
    [
        ("Problem", problem),
        ("Apply", apply),
        ("Applied", applied),
        ("NewToken", new_token),
        ("IssuedToken", issued),
        ("ProblemText", problem_text),
        ("Health", health),
        ("OpenApi", json!({"type": "object"})),
    ]
    .into_iter()
    .map(|(name, schema)| (name.to_owned(), schema))
    .collect()
}

//! Examples in the OpenAPI document: tests read them with the decoders of the real thing.

use serde_json::{Value, json};

use super::operation::{Answer, Body};
use crate::model::Kind;

const ID: &str = "01jd3v8m4q7z00000000000000";
const AT: &str = "2026-11-20T01:01:01.000Z";

/// A desired state of a kind.
pub(super) fn spec(kind: Kind) -> Value {
    match kind {
        Kind::Subscriber => json!({"display": "UM/2024/00123", "language": "pl"}),
        Kind::Service => json!({
            "subscriber": "ext:UM/2024/00123", "plan": "ext:netdefs~home-300", "state": "active",
            "addressing": {"ipv4": "pool", "ipv6_pd": "pool"}
        }),
        Kind::Access => json!({
            "service": "ext:UM/2024/00123-1", "type": "pppoe", "login": "jan.k", "password": "a long secret"
        }),
        Kind::Plan => json!({
            "rate_down": 300_000_000, "rate_up": 50_000_000, "pool_class_v4": "home", "interim": 900
        }),
        Kind::Network => json!({
            "prefixes": ["100.64.0.0/17"], "role": "nat", "assignment": "pppoe",
            "gateways": ["100.64.0.1"], "dns": ["192.0.2.53"]
        }),
        Kind::Pool => json!({
            "network": "ext:netdefs~home-east", "class": "home", "ranges": ["100.64.0.2-100.64.63.255"]
        }),
        Kind::Nas => json!({
            "addresses": ["192.0.2.10"], "secret": "a long random secret", "vendor": "mikrotik", "group": "edge-east"
        }),
        Kind::Relay => json!({"addresses": ["192.0.2.20"], "group": "olt-east", "trust_option82": true}),
    }
}

/// A request body.
pub(super) fn request(body: Body) -> Option<Value> {
    Some(match body {
        Body::None => return None,
        Body::Object(kind) => {
            json!({"source_version": 40213, "labels": {"segment": "residential"}, "spec": spec(kind)})
        }
        Body::Apply => json!({
            "files": [{"name": "plans.toml", "text": "[home-300]\nrate_down = 300_000_000\n"}],
            "prune": false, "dry_run": true
        }),
        Body::Token => json!({
            "name": "crm-isp prod", "source": "crm-isp", "scopes": ["subscriber.*", "service.*", "access.*"],
            "lifetime_days": 365
        }),
    })
}

/// An object as answered; what is secret is a marker.
fn object(kind: Kind) -> Value {
    let mut spec = spec(kind);
    for secret in ["password", "secret"] {
        if let Some(member) = spec.get_mut(secret) {
            *member = json!({"set": true, "updated_at": AT, "fingerprint": "3f9a01bc"});
        }
    }
    let id = format!("{}_{ID}", kind.prefix());
    json!({
        "kind": kind.name(), "id": id, "tenant": "ten_0000000000e0080000000000001",
        "source": "crm-isp", "external_id": "UM/2024/00123-1", "generation": 7, "source_version": 40213,
        "labels": {"segment": "residential"}, "annotations": {}, "created_at": AT, "updated_at": AT,
        "updated_by": {"kind": "token", "id": format!("tok_{ID}"), "name": "crm-isp prod"},
        "deleted_at": null, "etag": format!("{id}/7"), "spec": spec
    })
}

/// An answer.
pub(super) fn answer(answer: Answer, kind: Kind) -> Option<Value> {
    match answer {
        Answer::Empty => None,
        Answer::One(schema) => Some(one(schema, kind)),
        Answer::Page(schema) => {
            let item = one(schema, kind);
            Some(json!({"items": [item], "next_cursor": null, "as_of_seq": 184_467, "complete": true}))
        }
        Answer::Items(schema) => Some(json!({"items": [one(schema, kind)]})),
    }
}

fn one(schema: &str, kind: Kind) -> Value {
    match schema {
        "ServiceStatus" => status(),
        "UtilizationView" => json!({
            "pool": format!("pool_{ID}"), "name": "home-east", "class": "home", "draining": false,
            "counts": {"size": 16382, "free": 9000, "reserved": 2, "held": 380, "granted": 6990,
                       "quarantined": 8, "declined": 0, "assigned": 2},
            "used_percent": 42.7
        }),
        "SessionView" => session(),
        "LeaseView" => lease(),
        "BindingView" => json!({
            "at": AT, "action": "open", "prefix": "100.64.0.7", "vrf": "", "service": format!("svc_{ID}"), "slot": 0,
            "mac": "02:00:5e:00:53:01", "line": "", "nas": format!("nas_{ID}"), "session": format!("ses_{ID}"),
            "evidence": "accept", "record": "1/184467"
        }),
        "DecisionView" => decision(),
        "Why" => why(),
        "EventView" => json!({
            "seq": 184_467, "at": AT, "type": "service.updated", "object": format!("svc_{ID}"),
            "actor": format!("token:tok_{ID}:crm-isp prod"), "request": format!("req_{ID}")
        }),
        "Applied" => json!({
            "create": [{"kind": "plan", "external_id": "home-300"}], "update": [], "remove": [], "kept": [],
            "unchanged": 0, "warnings": [], "plan": "+ plan home-300\n= 0 unchanged\n", "applied_seq": null
        }),
        "TokenView" | "IssuedToken" => token(schema == "IssuedToken"),
        "Meta" => meta(),
        "ClockView" => json!({"now": AT, "last_record": "2025-10-16T01:01:01.000Z", "hold_until": null}),
        "ProblemText" => json!({
            "type": "/v1/problems/in-use", "code": "in-use", "status": 409, "title": "Still in use",
            "text": "Other objects refer to it.", "retryable": false, "language": "en"
        }),
        "AccessStatus" => access_status(),
        "Health" => json!({"status": "ready"}),
        "OpenApi" => json!({"openapi": "3.1.0"}),
        _ => object(kind),
    }
}

fn status() -> Value {
    json!({
        "service": format!("svc_{ID}"), "generation": 7, "phase": "applying", "policy_seq": 184_467,
        "policy_digest": "9c1f00d2a4b36e85", "applied_seq": 184_467,
        "conditions": [{"type": "InForce", "status": "false", "reason": "WaitingForTargets"}],
        "targets": [
            {"target": "radius", "state": "in_force", "assurance": "compiled",
             "policy_digest": "9c1f00d2a4b36e85", "at": null, "in_force_by": null},
            {"target": format!("session:ses_{ID}"), "state": "outdated", "assurance": "relogin",
             "policy_digest": "11c2a7705d3be90f", "at": AT, "in_force_by": null}
        ],
        "online": true, "sessions": 1, "leases": 0
    })
}

fn access_status() -> Value {
    json!({
        "access": format!("acc_{ID}"),
        "last_auth": {"at": AT, "nas": format!("nas_{ID}"), "nas_name": "bras1", "line": ""},
        "last_reject": {
            "code": "password-mismatch", "explanation": "the password is wrong", "count": 214, "since": AT, "at": AT,
            "nas": format!("nas_{ID}"), "nas_name": "bras1", "line": ""
        }
    })
}

fn session() -> Value {
    json!({
        "id": format!("ses_{ID}"), "state": "live", "service": format!("svc_{ID}"), "slot": 0,
        "nas": format!("nas_{ID}"), "nas_name": "bras1", "acct_session_id": "8180001a", "login": "jan.k",
        "mac": "02:00:5e:00:53:01", "line": "", "addresses": ["100.64.0.7"], "started_at": AT, "updated_at": AT,
        "stopped_at": null, "cause": null, "octets_in": 1, "octets_out": 2, "packets_in": 3, "packets_out": 4,
        "records": 5, "policy_digest": "9c1f00d2a4b36e85", "policy": "in_force"
    })
}

fn lease() -> Value {
    json!({
        "prefix": "192.0.2.7", "vrf": "", "state": "leased", "service": format!("svc_{ID}"), "slot": 0,
        "mac": "02:00:5e:00:53:01", "client_id": "0x0102005e005301", "giaddr": "192.0.2.1",
        "pool": format!("pool_{ID}"), "network": format!("net_{ID}"), "nas": null, "session": null,
        "since": AT, "ends_at": AT, "policy_digest": "9c1f00d2a4b36e85", "policy": "in_force"
    })
}

fn decision() -> Value {
    json!({
        "at": AT, "plane": "auth", "message": "Access-Request", "outcome": "refused", "reason": "password-mismatch",
        "explanation": "the password is wrong", "source": "192.0.2.10", "nas": format!("nas_{ID}"),
        "service": format!("svc_{ID}"), "login": "jan.k", "mac": "02:00:5e:00:53:01", "line": "", "prefix": null,
        "detail": ""
    })
}

fn why() -> Value {
    let cause = json!({
        "id": "auth.last_answer", "result": "fail",
        "evidence": "Access-Request password-mismatch at 2026-11-20T01:01:01.000Z: the password is wrong",
        "next": "GET /v1/decisions?subject=jan.k"
    });
    json!({
        "subject": "jan.k", "verdict": "blocked", "cause": cause,
        "checks": [{"id": "identity.resolve", "result": "pass", "evidence": format!("service svc_{ID}")}, cause],
        "service": format!("svc_{ID}"), "external_id": "UM/2024/00123-1", "plan": "home-300",
        "accesses": ["login jan.k"], "last": [access_status()], "sessions": [], "leases": [], "decisions": [decision()],
        "next": ["GET /v1/decisions?subject=jan.k"]
    })
}

fn token(with_text: bool) -> Value {
    let mut token = json!({
        "id": format!("tok_{ID}"), "tenant": "ten_0000000000e0080000000000001", "name": "crm-isp prod",
        "source": "crm-isp", "scopes": ["service.*"], "state": "active", "created_at": AT, "expires_at": AT,
        "revoked_at": null
    });
    if let (true, Some(members)) = (with_text, token.as_object_mut()) {
        members.insert("token".to_owned(), json!("lm_pat_…"));
    }
    token
}

fn meta() -> Value {
    json!({
        "name": "lastmile", "version": "0.1.0", "api_revision": "2026-11-20", "node": "node-1", "node_id": 1,
        "state": "ready", "applied_seq": 184_467, "stored_seq": 184_467, "services": 3, "accesses": 3,
        "sessions": 2, "leases": 1, "decisions": 12,
        "limits": {"body_bytes_max": 1_048_576, "json_depth_max": 32, "page_default": 100, "page_max": 1000,
                   "deadline_ms": 30000}
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::objects::input::ObjectInput;

    #[test]
    fn every_example_of_a_body_is_accepted_by_its_decoder() {
        for kind in Kind::ALL {
            let body = request(Body::Object(kind)).unwrap();
            assert!(ObjectInput::decode(kind, &body).is_ok(), "{}", kind.name());
        }
        assert!(crate::app::tokens::NewToken::decode(&request(Body::Token).unwrap()).is_ok());
    }
}

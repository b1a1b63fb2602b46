//! The table of operations. The router is built from it, the OpenAPI document describes it, tests walk it: they cannot
//! disagree.

use std::sync::LazyLock;

use axum::http::Method;

use super::call::Handler;
use super::operation::{Answer, Body, Operation, Parameter};
use super::{admin, objects, observed, parameters, system};
use crate::app::{Action, Resource, actor};
use crate::model::Kind;

/// Codes with which every operation that needs a token may fail.
pub const FAILURES_OF_ALL: &[&str] = &[
    "bad-filter",
    "token-missing",
    "token-invalid",
    "token-expired",
    "token-revoked",
    "action-denied",
    "body-too-large",
    "internal",
    "unavailable",
    "overloaded",
];

const BODY_FAILURES: &[&str] =
    &["malformed-json", "unsupported-media-type", "validation-failed", "unknown-field"];
const PUT_FAILURES: &[&str] = &[
    "malformed-json",
    "unsupported-media-type",
    "not-owner",
    "not-found",
    "ambiguous-ref",
    "external-id-taken",
    "identity-taken",
    "stale-source-version",
    "source-version-conflict",
    "address-conflict",
    "in-use",
    "contended",
    "precondition-failed",
    "validation-failed",
    "unknown-field",
    "unknown-ref",
];
const APPLY_FAILURES: &[&str] = &[
    "malformed-json",
    "unsupported-media-type",
    "identity-taken",
    "address-conflict",
    "in-use",
    "contended",
    "validation-failed",
    "unknown-field",
    "unknown-ref",
];
const DELETE_FAILURES: &[&str] =
    &["not-owner", "not-found", "ambiguous-ref", "in-use", "contended", "precondition-failed"];
const FIND_FAILURES: &[&str] = &["not-found", "ambiguous-ref"];
const LIST_FAILURES: &[&str] = &["bad-cursor"];

struct Names {
    list: &'static str,
    read: &'static str,
    put: &'static str,
    delete: &'static str,
    schema: &'static str,
}

const fn names(kind: Kind) -> Names {
    macro_rules! names {
        ($one:literal, $many:literal, $schema:literal) => {
            Names {
                list: concat!("list_", $many),
                read: concat!("read_", $one),
                put: concat!("put_", $one),
                delete: concat!("delete_", $one),
                schema: $schema,
            }
        };
    }
    match kind {
        Kind::Subscriber => names!("subscriber", "subscribers", "Subscriber"),
        Kind::Service => names!("service", "services", "Service"),
        Kind::Access => names!("access", "accesses", "Access"),
        Kind::Plan => names!("plan", "plans", "Plan"),
        Kind::Network => names!("network", "networks", "Network"),
        Kind::Pool => names!("pool", "pools", "Pool"),
        Kind::Nas => names!("nas", "nas", "Nas"),
        Kind::Relay => names!("relay", "relays", "Relay"),
    }
}

/// Name of the schema of a kind's objects.
pub(super) const fn schema(kind: Kind) -> &'static str {
    names(kind).schema
}

/// Every operation.
pub fn operations() -> &'static [Operation] {
    static ALL: LazyLock<Vec<Operation>> = LazyLock::new(all);
    &ALL
}

fn all() -> Vec<Operation> {
    let mut all = Vec::new();
    for kind in [
        Kind::Subscriber,
        Kind::Service,
        Kind::Access,
        Kind::Plan,
        Kind::Network,
        Kind::Pool,
        Kind::Nas,
        Kind::Relay,
    ] {
        all.extend(of_kind(kind));
    }
    all.extend(status_operations());
    all.extend(live_operations());
    all.extend(past_operations());
    all.extend(admin_operations());
    all.extend(system_operations());
    all
}

/// A GET with the most common properties, to be adjusted.
fn read(
    id: &'static str,
    path: impl Into<String>,
    resource: Resource,
    answer: Answer,
    summary: impl Into<String>,
    handler: Handler,
) -> Operation {
    Operation {
        id,
        method: Method::GET,
        path: path.into(),
        scope: Some(actor::scope(Action::Read, resource)),
        summary: summary.into(),
        kind: Kind::Service,
        query: &[],
        body: Body::None,
        statuses: &[200],
        answer,
        failures: &[],
        handler,
    }
}

fn of_kind(kind: Kind) -> [Operation; 4] {
    let (names, resource) = (names(kind), Resource::Object(kind));
    let (collection, name) = (kind.collection(), kind.name());
    let one = format!("/v1/{collection}/{{ref}}");
    let write = Some(actor::scope(Action::Write, resource));
    [
        Operation {
            kind,
            query: parameters::list(kind),
            failures: LIST_FAILURES,
            ..read(
                names.list,
                format!("/v1/{collection}"),
                resource,
                Answer::Page(names.schema),
                format!(
                    "Lists objects of kind {name} in id order; a full walk sees every one that exists throughout it."
                ),
                objects::list,
            )
        },
        Operation {
            kind,
            statuses: &[200, 304],
            failures: FIND_FAILURES,
            ..read(
                names.read,
                one.clone(),
                resource,
                Answer::One(names.schema),
                format!("Reads one {name}; secrets are shown as markers only."),
                objects::read,
            )
        },
        Operation {
            kind,
            method: Method::PUT,
            scope: write.clone(),
            query: parameters::WRITE,
            body: Body::Object(kind),
            statuses: &[200, 201],
            failures: PUT_FAILURES,
            ..read(
                names.put,
                one.clone(),
                resource,
                Answer::One(names.schema),
                format!(
                    "Creates or replaces one {name}; answered when it is durable and this node decides by it."
                ),
                objects::put,
            )
        },
        Operation {
            kind,
            method: Method::DELETE,
            scope: write,
            query: parameters::WRITE,
            statuses: &[204],
            failures: DELETE_FAILURES,
            ..read(
                names.delete,
                one,
                resource,
                Answer::Empty,
                format!("Deletes one {name}; refused while something needs it."),
                objects::delete,
            )
        },
    ]
}

fn list(query: &'static [Parameter], operation: Operation) -> Operation {
    Operation { query, failures: LIST_FAILURES, ..operation }
}

fn status_operations() -> Vec<Operation> {
    vec![
        Operation {
            kind: Kind::Service,
            query: parameters::STATUS,
            failures: FIND_FAILURES,
            ..read(
                "read_service_status",
                "/v1/services/{ref}/status",
                Resource::Object(Kind::Service),
                Answer::One("ServiceStatus"),
                "Says, target by target, whether a service is in force.",
                observed::status,
            )
        },
        Operation {
            kind: Kind::Access,
            failures: FIND_FAILURES,
            ..read(
                "read_access_status",
                "/v1/accesses/{ref}/status",
                Resource::Object(Kind::Access),
                Answer::One("AccessStatus"),
                "Says when an access was last accepted, and when and why last rejected.",
                observed::access_status,
            )
        },
        Operation {
            kind: Kind::Pool,
            failures: FIND_FAILURES,
            ..read(
                "read_pool_utilization",
                "/v1/pools/{ref}/utilization",
                Resource::Object(Kind::Pool),
                Answer::One("UtilizationView"),
                "Says how full a pool is, as this node sees it.",
                observed::utilization,
            )
        },
    ]
}

fn live_operations() -> Vec<Operation> {
    vec![
        list(
            parameters::SESSIONS,
            read(
                "list_sessions",
                "/v1/sessions",
                Resource::Session,
                Answer::Page("SessionView"),
                "Lists RADIUS sessions: live ones of this node, or closed ones of history.",
                observed::sessions,
            ),
        ),
        Operation {
            failures: FIND_FAILURES,
            ..read(
                "read_session",
                "/v1/sessions/{id}",
                Resource::Session,
                Answer::One("SessionView"),
                "Reads one session, live or closed.",
                observed::session,
            )
        },
        list(
            parameters::LEASES,
            read(
                "list_leases",
                "/v1/leases",
                Resource::Lease,
                Answer::Page("LeaseView"),
                "Lists DHCP leases of this node in prefix order.",
                observed::leases,
            ),
        ),
    ]
}

fn past_operations() -> Vec<Operation> {
    vec![
        Operation {
            query: parameters::LEASE,
            failures: FIND_FAILURES,
            ..read(
                "read_lease",
                "/v1/leases/{address}",
                Resource::Lease,
                Answer::One("LeaseView"),
                "Says who has an address or prefix now, or had it last, by whatever protocol.",
                observed::lease,
            )
        },
        list(
            parameters::BINDINGS,
            read(
                "list_bindings",
                "/v1/bindings",
                Resource::Binding,
                Answer::Page("BindingView"),
                "Lists who held which address when, oldest first.",
                observed::bindings,
            ),
        ),
        Operation {
            query: parameters::DECISIONS,
            ..read(
                "list_decisions",
                "/v1/decisions",
                Resource::Decision,
                Answer::Items("DecisionView"),
                "Lists the newest outcomes of requests, newest first.",
                observed::decisions,
            )
        },
        Operation {
            query: parameters::WHY,
            ..read(
                "explain",
                "/v1/why",
                Resource::Decision,
                Answer::One("Why"),
                "Explains why somebody is online or cannot get online.",
                observed::why,
            )
        },
        Operation {
            query: parameters::EVENTS,
            ..read(
                "list_events",
                "/v1/events",
                Resource::Event,
                Answer::Items("EventView"),
                "Lists changes of desired state after a seq, oldest first.",
                observed::events,
            )
        },
    ]
}

fn admin_operations() -> Vec<Operation> {
    let admin = Some(actor::scope(Action::Admin, Resource::Token));
    vec![
        Operation {
            method: Method::POST,
            scope: Some(actor::scope(Action::Write, Resource::Definitions)),
            body: Body::Apply,
            failures: APPLY_FAILURES,
            ..read(
                "apply_definitions",
                "/v1/apply",
                Resource::Definitions,
                Answer::One("Applied"),
                "Applies a whole set of definitions in one change, or shows what that would do.",
                admin::apply,
            )
        },
        Operation {
            scope: admin.clone(),
            ..read(
                "list_tokens",
                "/v1/tokens",
                Resource::Token,
                Answer::Items("TokenView"),
                "Lists API tokens, expired and revoked ones included.",
                admin::tokens,
            )
        },
        Operation {
            method: Method::POST,
            scope: admin.clone(),
            body: Body::Token,
            statuses: &[201],
            failures: BODY_FAILURES,
            ..read(
                "create_token",
                "/v1/tokens",
                Resource::Token,
                Answer::One("IssuedToken"),
                "Issues an API token; its text is shown this once.",
                admin::issue_token,
            )
        },
        Operation {
            method: Method::DELETE,
            scope: admin,
            statuses: &[204],
            failures: FIND_FAILURES,
            ..read(
                "revoke_token",
                "/v1/tokens/{id}",
                Resource::Token,
                Answer::Empty,
                "Revokes an API token at once.",
                admin::revoke_token,
            )
        },
    ]
}

fn system_operations() -> Vec<Operation> {
    let mut all = vec![
        read(
            "read_meta",
            "/v1/meta",
            Resource::System,
            Answer::One("Meta"),
            "Says who answers, how it is, and the bounds of the API.",
            system::meta,
        ),
        Operation {
            method: Method::POST,
            scope: Some(actor::scope(Action::Admin, Resource::System)),
            ..read(
                "confirm_clock",
                "/v1/clock/confirm",
                Resource::System,
                Answer::One("ClockView"),
                "Takes the caller's word that the clock is right although it was far past the last record at the start.",
                system::confirm_clock,
            )
        },
        Operation {
            failures: &["not-found"],
            ..read(
                "read_problem",
                "/v1/problems/{code}",
                Resource::System,
                Answer::One("ProblemText"),
                "Explains a problem code in English or Polish.",
                system::problem,
            )
        },
        read(
            "read_openapi",
            "/v1/openapi.json",
            Resource::System,
            Answer::One("OpenApi"),
            "This document.",
            system::openapi,
        ),
    ];
    for (id, path, summary) in [
        ("health", "/health", "One word: ready, loading or database_down."),
        ("health_live", "/health/live", "Answers as long as the process does."),
        ("health_ready", "/health/ready", "200 when packets are served and the database answers, else 503."),
        ("health_startup", "/health/startup", "200 once packets are served, else 503."),
    ] {
        let operation = read(id, path, Resource::System, Answer::One("Health"), summary, system::health);
        all.push(Operation { scope: None, statuses: &[200, 503], ..operation });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_routes_are_unique_and_every_code_has_a_text() {
        let all = operations();
        let mut ids: Vec<&str> = all.iter().map(|operation| operation.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all.len());
        let mut routes: Vec<String> =
            all.iter().map(|operation| format!("{} {}", operation.method, operation.path)).collect();
        routes.sort();
        routes.dedup();
        assert_eq!(routes.len(), all.len());
        for operation in all {
            for code in operation.failures.iter().chain(FAILURES_OF_ALL) {
                assert!(crate::api::texts::find(code).is_some(), "{} names {code}", operation.id);
            }
        }
    }

    #[test]
    fn only_health_is_open_to_everybody() {
        for operation in operations() {
            assert_eq!(operation.scope.is_none(), operation.path.starts_with("/health"), "{}", operation.id);
        }
    }
}

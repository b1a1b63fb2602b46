//! Objects for the tests, written as an operator would write them.

use lastmile::ids::{TenantId, Uid};
use lastmile::model::{Envelope, Kind, Object, Problems, Spec};
use lastmile::time::Stamp;
use serde_json::Value;

/// The tenant of every object unless a test says otherwise.
pub(crate) const TENANT: TenantId = TenantId::DEFAULT;

/// The id of the `number`th object of a kind.
pub(crate) fn uid(kind: Kind, number: u32) -> Uid {
    let kind = Kind::ALL.iter().position(|known| *known == kind).unwrap_or_default();
    Uid(((kind as u128 + 1) << 64) | u128::from(number))
}

/// The text of that id, for references.
pub(crate) fn id(kind: Kind, number: u32) -> String {
    kind.format_id(uid(kind, number))
}

/// An object with a spec as the API takes it.
pub(crate) fn object(kind: Kind, number: u32, seq: u64, spec: &Value) -> Object {
    let mut problems = Problems::default();
    let decoded = Spec::decode(kind, spec, "/spec", &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    Object { envelope: envelope(kind, number, seq), spec: decoded.unwrap() }
}

/// The envelope of the `number`th object of a kind.
pub(crate) fn envelope(kind: Kind, number: u32, seq: u64) -> Envelope {
    Envelope {
        kind,
        id: uid(kind, number),
        tenant: TENANT,
        source: Some("crm".to_owned()),
        external_id: Some(format!("{}-{number}", kind.name())),
        generation: 1,
        source_version: None,
        labels: std::collections::BTreeMap::default(),
        annotations: std::collections::BTreeMap::default(),
        created_at: Stamp(1),
        updated_at: Stamp(1),
        updated_by: "crm".to_owned(),
        deleted_at: None,
        seq,
    }
}

/// The same object as its deletion shows it.
pub(crate) fn deleted(mut object: Object, seq: u64) -> Object {
    object.envelope.deleted_at = Some(Stamp(2));
    object.envelope.seq = seq;
    object
}

/// A service of plan `plan`.
pub(crate) fn service(number: u32, plan: u32, addressing: &Value) -> Object {
    let spec = serde_json::json!({
        "subscriber": id(Kind::Subscriber, 1),
        "plan": id(Kind::Plan, plan),
        "addressing": addressing,
    });
    object(Kind::Service, number, 1, &spec)
}

/// An access of the service with the same number; `more` is merged into its spec.
pub(crate) fn access(number: u32, more: &Value) -> Object {
    let mut spec = serde_json::json!({"service": id(Kind::Service, number)});
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    object(Kind::Access, number, 1, &spec)
}

/// A network with one prefix.
pub(crate) fn network(number: u32, prefix: &str, vrf: Option<&str>) -> Object {
    let spec = serde_json::json!({"prefixes": [prefix], "vrf": vrf});
    object(Kind::Network, number, 1, &spec)
}

/// A pool of `network`; `more` is merged into its spec.
pub(crate) fn pool(number: u32, network: u32, range: &str, more: &Value) -> Object {
    let mut spec = serde_json::json!({
        "network": id(Kind::Network, network),
        "class": "home",
        "ranges": [range],
    });
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    object(Kind::Pool, number, 1, &spec)
}

/// A NAS.
pub(crate) fn nas(number: u32, addresses: &[&str], identifier: Option<&str>) -> Object {
    let spec = serde_json::json!({
        "addresses": addresses,
        "identifier": identifier,
        "secret": format!("shared secret {number}"),
    });
    object(Kind::Nas, number, 1, &spec)
}

//! Objects and pages as JSON.

use serde_json::{Value, json};

use super::call::{Call, Reply};
use super::problem::Failure;
use crate::app::objects::Shown;
use crate::storage::Page;

/// An object with its envelope; its entity tag is a member because an answer to PUT may not carry it as a header
/// (RFC 9110 §9.3.4).
pub(super) fn object(shown: &Shown) -> Value {
    let envelope = &shown.envelope;
    json!({
        "kind": envelope.kind.name(),
        "id": envelope.kind.format_id(envelope.id),
        "tenant": envelope.tenant,
        "source": envelope.source,
        "external_id": envelope.external_id,
        "generation": envelope.generation,
        "source_version": envelope.source_version,
        "labels": envelope.labels,
        "annotations": envelope.annotations,
        "created_at": envelope.created_at,
        "updated_at": envelope.updated_at,
        "updated_by": actor(&envelope.updated_by),
        "deleted_at": envelope.deleted_at,
        "etag": envelope.etag(),
        "spec": shown.spec,
    })
}

/// The strong entity tag in quotes.
pub(super) fn etag(shown: &Shown) -> String {
    format!("\"{}\"", shown.envelope.etag())
}

/// `token:tok_…:crm-isp` as an object.
fn actor(label: &str) -> Value {
    let mut parts = label.splitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(kind), Some(id), Some(name)) => json!({"kind": kind, "id": id, "name": name}),
        _ => json!({"kind": "system", "id": "", "name": label}),
    }
}

/// A page of a list.
pub(super) fn page<T: serde::Serialize>(call: &Call, page: Page<T>) -> Result<Reply, Failure> {
    let next = page.next.map(|next| call.query.cursor(call.operation, &next));
    Reply::json(&json!({
        "items": page.items,
        "next_cursor": next,
        "as_of_seq": page.as_of_seq,
        "complete": next.is_none(),
    }))
}

/// A list that is given as a whole, newest or first part only.
pub(super) fn items<T: serde::Serialize>(items: &[T]) -> Result<Reply, Failure> {
    Reply::json(&json!({ "items": items }))
}

//! The body of a write: the desired spec and what goes with it.
//!
//! What a caller read may be sent back as it is: members that only the daemon writes are allowed and ignored, as long as
//! they do not contradict the address of the request.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::limits::{ANNOTATIONS_BYTES_MAX, LABELS_MAX};
use crate::model::decode::{Problems, Reader, escape, kind_of, text};
use crate::model::{Kind, Spec};

/// Members of the envelope that a caller may send back but cannot set.
const READ_ONLY: &[&str] =
    &["tenant", "source", "generation", "etag", "created_at", "updated_at", "updated_by", "deleted_at"];

/// A decoded body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInput {
    /// Desired state; references as written.
    pub spec: Spec,
    /// Labels; what is stored stays when absent.
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations; what is stored stays when absent.
    pub annotations: Option<BTreeMap<String, String>>,
    /// The CRM's fence.
    pub source_version: Option<i64>,
    /// Id, when the body says one.
    pub id: Option<String>,
    /// External id, when the body says one.
    pub external_id: Option<String>,
}

impl ObjectInput {
    /// Reads a body; all problems at once.
    pub fn decode(kind: Kind, body: &Value) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        match Self::read(kind, body, &mut problems) {
            Some(input) if problems.is_empty() => Ok(input),
            _ => Err(problems),
        }
    }

    fn read(kind: Kind, body: &Value, problems: &mut Problems) -> Option<Self> {
        let mut reader = Reader::new(body, "", problems)?;
        for name in READ_ONLY {
            reader.raw(name);
        }
        if reader.optional("kind", text).is_some_and(|named| named != kind.name()) {
            reader.problem("kind", format!("this collection holds objects of kind `{}`", kind.name()));
        }
        let id = reader.optional("id", text);
        let external_id = reader.optional("external_id", text);
        let source_version = reader.optional("source_version", |value| {
            value.as_i64().ok_or_else(|| "expected a whole number of 64 bits".to_owned())
        });
        let labels = reader.optional("labels", labels);
        let annotations = reader.optional("annotations", annotations);
        let spec = if let Some(value) = reader.raw("spec") {
            let at = reader.pointer("spec");
            Spec::decode(kind, value, &at, reader.problems())
        } else {
            reader.problem("spec", "this member is required");
            None
        };
        reader.finish(|| Some(Self { spec: spec?, labels, annotations, source_version, id, external_id }))
    }
}

fn labels(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let labels = texts(value)?;
    if labels.len() > LABELS_MAX {
        return Err(format!("more than {LABELS_MAX} labels"));
    }
    for (name, value) in &labels {
        let symbol = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
        if !(1..=64).contains(&name.len()) || !name.bytes().all(symbol) {
            return Err(format!(
                "`{name}` is not a label name: 1 to 64 letters, digits, `.`, `_`, `-` or `/`"
            ));
        }
        if value.len() > 128 {
            return Err(format!("the value of label `{name}` is longer than 128 bytes"));
        }
    }
    Ok(labels)
}

fn annotations(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let annotations = texts(value)?;
    let bytes: usize = annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > ANNOTATIONS_BYTES_MAX {
        return Err(format!("longer than {ANNOTATIONS_BYTES_MAX} bytes together"));
    }
    Ok(annotations)
}

fn texts(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let members =
        value.as_object().ok_or_else(|| format!("expected an object of strings, got {}", kind_of(value)))?;
    members
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) => Ok((name.clone(), text.clone())),
            other => Err(format!("`{name}`: expected a string, got {}", kind_of(other))),
        })
        .collect()
}

/// The members in which two JSON values differ, as pointers below `pointer`; lists are compared as a whole.
pub(super) fn differences(before: &Value, after: &Value, pointer: &str, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let at = format!("{pointer}/{}", escape(name));
                let side = |members: &serde_json::Map<String, Value>| {
                    members.get(name).cloned().unwrap_or(Value::Null)
                };
                differences(&side(old), &side(new), &at, found);
            }
        }
        (before, after) if before == after => {}
        _ => found.push(pointer.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_problem_of_a_body_is_found_at_once() {
        let body = json!({
            "kind": "plan", "labels": {"a b": "x"}, "annotations": {"n": 1}, "source_version": "7",
            "spek": {}, "spec": {"plan": "p", "statee": "active"}
        });
        let problems = ObjectInput::decode(Kind::Service, &body).unwrap_err();
        let pointers: Vec<&str> = problems.0.iter().map(|problem| problem.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            [
                "/kind",
                "/source_version",
                "/labels",
                "/annotations",
                "/spec/subscriber",
                "/spec/statee",
                "/spek"
            ]
        );
    }

    #[test]
    fn differences_are_named_by_the_smallest_member() {
        let mut found = Vec::new();
        let before = json!({"a": {"b": 1, "c": [1]}, "d": null});
        let after = json!({"a": {"b": 1, "c": [1, 2]}, "e": {"f/g": 1}});
        differences(&before, &after, "/spec", &mut found);
        assert_eq!(found, ["/spec/a/c", "/spec/e"]);
    }
}

//! Handlers of the eight kinds of object.

use super::call::{Answering, Call, Reply};
use super::parameters;
use super::render;
use crate::app::Refusal;
use crate::app::objects::input::ObjectInput;
use crate::app::objects::{ObjectChange, Preconditions, Put, PutOutcome, Remove};
use crate::model::{Kind, Ref};
use crate::storage::{Filter, Page};

pub(super) fn list(call: Call) -> Answering {
    Box::pin(async move {
        let mut filter = Filter {
            source: call.query.text("source").map(str::to_owned),
            external_id: call.query.text("external_id").map(str::to_owned),
            refers_to: None,
            labels: call.query.labels(),
        };
        for (name, kind) in parameters::references(call.kind) {
            let Some(reference) = call.query.parsed::<Ref>(name, "a reference")? else { continue };
            if filter.refers_to.is_some() {
                return Err(Refusal::filter(name, "only one such filter at a time").into());
            }
            let found = call.app.id_of(&call.actor, *kind, &reference).await;
            let named = found.map_err(|refusal| match refusal {
                Refusal::NotFound { .. } => {
                    Refusal::filter(name, format!("there is no {} {reference}", kind.name()))
                }
                other => other,
            });
            filter.refers_to = Some(named?);
        }
        let (after, limit) = (call.query.after(call.operation)?, call.query.limit()?);
        let page = call.app.objects(&call.actor, call.kind, filter, after, limit).await?;
        let items = page.items.iter().map(render::object).collect::<Vec<_>>();
        render::page(&call, Page { items, next: page.next, as_of_seq: page.as_of_seq })
    })
}

pub(super) fn read(call: Call) -> Answering {
    Box::pin(async move {
        let shown = call.app.object(&call.actor, call.kind, &call.reference()?).await?;
        let tag = render::etag(&shown);
        let known = tags(call.header("if-none-match"));
        // RFC 9110 §13.1.2: here a weak tag serves as well as a strong one.
        let weak = |known: &String| {
            known.strip_prefix("W/").unwrap_or(known).trim_matches('"') == shown.envelope.etag()
        };
        if known.iter().any(|known| known == "*" || weak(known)) {
            return Ok(Reply::empty(304).with("etag", tag));
        }
        let mut body = render::object(&shown);
        // Not part of the entity tag, which names what was wanted.
        if call.kind == Kind::Nas
            && let (Some(status), Some(members)) =
                (call.app.nas_status(shown.envelope.id), body.as_object_mut())
        {
            members.insert("status".to_owned(), serde_json::json!(status));
        }
        Ok(Reply::ok(body).with("etag", tag))
    })
}

pub(super) fn put(call: Call) -> Answering {
    Box::pin(async move {
        let reference = call.reference()?;
        let input = ObjectInput::decode(call.kind, &call.body).map_err(Refusal::Invalid)?;
        let none_match = tags(call.header("if-none-match"));
        if none_match.iter().any(|tag| tag != "*") {
            let why = "If-None-Match takes only * here: create, never replace";
            return Err(Refusal::invalid("", why).into());
        }
        let conditions = Preconditions { if_match: if_match(&call), create_only: !none_match.is_empty() };
        let put = Put {
            kind: call.kind,
            reference,
            input,
            conditions,
            adopt: call.query.flag("adopt")?,
            request: call.request.clone(),
        };
        let outcome = call.app.put(&call.actor, put).await?;
        Ok(written(&call, &outcome))
    })
}

/// The answer to a write (RFC 9110 §9.3.4: the entity tag is in the body, not a header).
fn written(call: &Call, outcome: &PutOutcome) -> Reply {
    let envelope = &outcome.object.envelope;
    let location = format!("/v1/{}/{}", call.kind.collection(), envelope.kind.format_id(envelope.id));
    let mut body = render::object(&outcome.object);
    if let (ObjectChange::Updated, Some(members)) = (outcome.change, body.as_object_mut()) {
        members.insert("changed_fields".to_owned(), serde_json::json!(outcome.changed));
    }
    let mut reply = Reply::ok(body)
        .with("lastmile-change", outcome.change.name())
        .with("x-applied-seq", outcome.applied_seq.to_string())
        .with("content-location", location.clone());
    if outcome.change == ObjectChange::Created {
        reply.status = 201;
        reply = reply.with("location", location);
    }
    reply
}

pub(super) fn delete(call: Call) -> Answering {
    Box::pin(async move {
        let remove = Remove {
            kind: call.kind,
            reference: call.reference()?,
            conditions: Preconditions { if_match: if_match(&call), create_only: false },
            adopt: call.query.flag("adopt")?,
            request: call.request.clone(),
        };
        let outcome = call.app.remove(&call.actor, remove).await?;
        Ok(Reply::empty(204)
            .with("lastmile-change", outcome.change.name())
            .with("x-applied-seq", outcome.applied_seq.to_string()))
    })
}

/// The tags of `If-Match`. A weak one never matches strongly (RFC 9110 §8.8.3.2), so it is kept with its mark.
fn if_match(call: &Call) -> Vec<String> {
    tags(call.header("if-match")).into_iter().map(|tag| tag.trim_matches('"').to_owned()).collect()
}

fn tags(header: Option<&str>) -> Vec<String> {
    let tags = header.unwrap_or_default().split(',').map(str::trim).filter(|tag| !tag.is_empty());
    tags.map(str::to_owned).collect()
}

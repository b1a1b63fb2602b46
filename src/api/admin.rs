//! Handlers of definitions and tokens.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::call::{Answering, Call, Reply};
use super::problem::Failure;
use super::render;
use crate::app::Refusal;
use crate::app::apply::{Applied, Apply};
use crate::app::tokens::NewToken;
use crate::ids::TokenId;
use crate::model::Problems;
use crate::model::decode::{Reader, boolean, text};
use crate::netdefs::SourceFile;

pub(super) fn apply(call: Call) -> Answering {
    Box::pin(async move {
        let mut apply = decode(&call.body).map_err(Refusal::Invalid)?;
        apply.request.clone_from(&call.request);
        let applied = call.app.apply(&call.actor, apply).await?;
        let reply = Reply::ok(shown(&applied));
        Ok(match applied.applied_seq {
            Some(seq) => reply.with("x-applied-seq", seq.to_string()),
            None => reply,
        })
    })
}

fn decode(body: &Value) -> Result<Apply, Problems> {
    let mut problems = Problems::default();
    let apply = read(body, &mut problems);
    apply.filter(|_| problems.is_empty()).ok_or(problems)
}

fn read(body: &Value, problems: &mut Problems) -> Option<Apply> {
    let mut reader = Reader::new(body, "", problems)?;
    if reader.raw("files").is_none() {
        reader.problem("files", "this member is required");
    }
    let files = reader.list("files", |value| {
        let member = |name: &str| value.get(name).and_then(Value::as_str);
        let name = value.get("name").map(text).transpose()?;
        match (name, member("text")) {
            (Some(name), Some(text)) => Ok(SourceFile { name, text: Cow::Owned(text.to_owned()) }),
            _ => Err("expected {\"name\": \"plans.toml\", \"text\": \"…\"}".to_owned()),
        }
    });
    let prune = reader.optional("prune", boolean).unwrap_or(false);
    let dry_run = reader.optional("dry_run", boolean).unwrap_or(false);
    reader.finish(|| Some(Apply { files, prune, dry_run, request: String::new() }))
}

/// The plan for machines, and as people read it.
fn shown(applied: &Applied) -> Value {
    let plan = &applied.plan;
    let named = |list: &[crate::netdefs::changes::Named]| -> Vec<Value> {
        list.iter()
            .map(|named| json!({"kind": named.kind.name(), "external_id": named.external_id}))
            .collect()
    };
    let updates: Vec<Value> = plan
        .update
        .iter()
        .map(|update| {
            let members: Vec<&str> = update.members.iter().map(|change| change.member.as_str()).collect();
            json!({
                "kind": update.object.kind.name(),
                "external_id": update.object.external_id,
                "changed_fields": members,
            })
        })
        .collect();
    json!({
        "create": named(&plan.create),
        "update": updates,
        "remove": named(&plan.remove),
        "kept": named(&plan.kept),
        "unchanged": plan.unchanged,
        "warnings": applied.warnings,
        "plan": plan.to_string(),
        "applied_seq": applied.applied_seq,
    })
}

pub(super) fn tokens(call: Call) -> Answering {
    Box::pin(async move { render::items(&call.app.tokens(&call.actor).await?) })
}

pub(super) fn issue_token(call: Call) -> Answering {
    Box::pin(async move {
        let new = NewToken::decode(&call.body).map_err(Refusal::Invalid)?;
        let issued = call.app.issue_token(&call.actor, new, &call.request).await?;
        let mut reply = Reply::json(&issued.view)?;
        if let Some(Value::Object(members)) = &mut reply.body {
            // The one answer in which a secret leaves: the caller has no other way to learn it.
            let text = String::from_utf8_lossy(issued.text.expose()).into_owned();
            members.insert("token".to_owned(), Value::String(text));
        }
        reply.status = 201;
        Ok(reply.with("location", format!("/v1/tokens/{}", issued.view.id)))
    })
}

pub(super) fn revoke_token(call: Call) -> Answering {
    Box::pin(async move {
        let text = call.decoded_segment()?;
        let missing = || Failure::from(Refusal::NotFound { what: format!("token `{text}`") });
        let id = text.parse::<TokenId>().map_err(|_| missing())?;
        call.app.revoke_token(&call.actor, id, &call.request).await?;
        Ok(Reply::empty(204))
    })
}

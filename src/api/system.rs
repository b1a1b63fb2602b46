//! Handlers of the daemon itself.

use serde_json::json;

use super::call::{Answering, Call, Reply};
use super::{openapi as document, problem, texts};
use crate::app::{Action, Refusal, Resource};

pub(super) fn meta(call: Call) -> Answering {
    Box::pin(async move { Reply::json(&call.app.meta(&call.actor).await?) })
}

pub(super) fn confirm_clock(call: Call) -> Answering {
    Box::pin(async move { Reply::json(&call.app.confirm_clock(&call.actor, &call.request).await?) })
}

pub(super) fn problem(call: Call) -> Answering {
    Box::pin(async move {
        call.actor.require(Action::Read, Resource::System)?;
        let code = call.decoded_segment()?;
        let text =
            texts::find(&code).ok_or_else(|| Refusal::NotFound { what: format!("problem code `{code}`") })?;
        Ok(Reply::ok(problem::explanation(text, call.language)).with("content-language", call.language.tag()))
    })
}

pub(super) fn openapi(call: Call) -> Answering {
    Box::pin(async move {
        call.actor.require(Action::Read, Resource::System)?;
        Ok(Reply::ok(document::document()))
    })
}

/// One word, for anybody: what a load balancer may know.
pub(super) fn health(call: Call) -> Answering {
    Box::pin(async move {
        let state = call.app.readiness().await;
        let healthy = match call.operation {
            "health_live" => true,
            "health_startup" => state != "loading",
            _ => state == "ready",
        };
        let shown = if call.operation == "health_live" { "live" } else { state };
        let mut reply = Reply::ok(json!({ "status": shown }));
        reply.status = if healthy { 200 } else { 503 };
        Ok(reply)
    })
}

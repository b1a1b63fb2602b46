//! From HTTP to a call and back: bounds first, then who asks, then what.
//!
//! Order, and why: the body is read within its bound and its depth counted before anybody is believed, so that hostile
//! bytes get the same answer with and without a token; it is parsed only for a caller who is known. The handler runs in a
//! task of its own: a panic there is one answer with 500, and a caller who hangs up does not stop a write half-way.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use http_body_util::{BodyExt, Limited};
use tower_http::catch_panic::CatchPanicLayer;

use super::auth::{self, Peer};
use super::body;
use super::call::{Answering, Call, Language, Reply};
use super::operation::{self, Operation};
use super::problem::Failure;
use super::query::Query;
use super::table::operations;
use crate::app::system::API_REVISION;
use crate::app::{Actor, ActorKind, App};
use crate::ids::{RequestId, TenantId};
use crate::limits::{API_BODY_BYTES_MAX, API_DEADLINE_MS};

/// The API over these use-cases. A listener adds the [`Peer`] of each connection to its requests; without one a request
/// is treated as coming over TCP.
pub fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for operation in operations() {
        let app = Arc::clone(&app);
        let Ok(filter) = MethodFilter::try_from(operation.method.clone()) else { continue };
        let handler = move |request: Request| serve(Arc::clone(&app), Some(operation), request);
        router = router.route(&operation.path, on(filter, handler));
    }
    let (nowhere, otherwise) = (Arc::clone(&app), app);
    router
        .fallback(move |request: Request| serve(Arc::clone(&nowhere), None, request))
        .method_not_allowed_fallback(move |request: Request| serve(Arc::clone(&otherwise), None, request))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            respond(Failure::Defect.reply("", "", Language::English), "")
        }))
}

/// One request, as far as it is known before it is understood.
struct Incoming {
    request: String,
    path: String,
    method: Method,
    headers: HeaderMap,
    language: Language,
}

async fn serve(app: Arc<App>, operation: Option<&'static Operation>, request: Request) -> Response {
    let (parts, content) = request.into_parts();
    let incoming = Incoming {
        request: request_id(&app, &parts.headers),
        path: parts.uri.path().to_owned(),
        method: parts.method,
        language: Language::of(&parts.headers),
        headers: parts.headers,
    };
    let peer = parts.extensions.get::<Peer>().copied().unwrap_or(Peer::Tcp);
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let deadline = Duration::from_millis(API_DEADLINE_MS);
    let answering = answer(&app, operation, &incoming, peer, &query, content);
    let result = match tokio::time::timeout(deadline, answering).await {
        Ok(result) => result,
        Err(_) => Err(Failure::Deadline { seconds: deadline.as_secs() }),
    };
    let reply = result.unwrap_or_else(|failure| {
        if let Some(cause) = failure.hidden_cause() {
            tracing::error!(request = incoming.request, path = incoming.path, cause, "request failed");
        }
        failure.reply(&incoming.request, &incoming.path, incoming.language)
    });
    respond(reply, &incoming.request)
}

async fn answer(
    app: &Arc<App>,
    operation: Option<&'static Operation>,
    incoming: &Incoming,
    peer: Peer,
    query: &str,
    content: Body,
) -> Result<Reply, Failure> {
    let Some(operation) = operation else { return Err(misdirected(incoming)) };
    let who = async {
        match &operation.scope {
            Some(_) => auth::actor(app, peer, &incoming.headers).await,
            None => Ok(nobody()),
        }
    };
    // A body of ordinary length costs little to judge; a long one is taken from known callers only.
    let (actor, bytes) = if operation.body.bytes_max() > API_BODY_BYTES_MAX {
        let actor = who.await?;
        (actor, read_body(operation, incoming, content).await?)
    } else {
        let bytes = read_body(operation, incoming, content).await?;
        (who.await?, bytes)
    };
    let query = Query::parse(query, operation.query)?;
    let body = if operation.body == operation::Body::None {
        serde_json::Value::Null
    } else {
        check_media_type(&incoming.headers)?;
        body::parse(&bytes)?
    };
    let call = Call {
        app: Arc::clone(app),
        actor,
        kind: operation.kind,
        segments: segments(&operation.path, &incoming.path),
        query,
        headers: incoming.headers.clone(),
        body,
        request: incoming.request.clone(),
        language: incoming.language,
        operation: operation.id,
    };
    guarded(operation.id, &incoming.request, (operation.handler)(call)).await
}

/// Runs a handler where its panic is an answer and a caller who hangs up does not stop it.
async fn guarded(operation: &str, request: &str, handler: Answering) -> Result<Reply, Failure> {
    tokio::spawn(handler).await.unwrap_or_else(|error| {
        tracing::error!(request, operation, %error, "a handler panicked");
        Err(Failure::Defect)
    })
}

/// Whoever asks without a token may ask for nothing but operations without a scope.
fn nobody() -> Actor {
    Actor {
        tenant: TenantId::DEFAULT,
        source: None,
        id: String::new(),
        name: "nobody".to_owned(),
        scopes: Vec::new(),
        kind: ActorKind::System,
    }
}

/// 405 where another method is served, else 404.
fn misdirected(incoming: &Incoming) -> Failure {
    let served = operations().iter().filter(|operation| matches(&operation.path, &incoming.path));
    let mut allowed: Vec<String> = served.map(|operation| operation.method.to_string()).collect();
    if allowed.is_empty() {
        return Failure::NoRoute { path: incoming.path.chars().take(128).collect() };
    }
    if allowed.iter().any(|method| method == "GET") {
        allowed.push("HEAD".to_owned());
    }
    allowed.sort();
    Failure::MethodNotAllowed { method: incoming.method.to_string(), allowed: allowed.join(", ") }
}

/// The variable segments of `path`, as sent.
fn segments(template: &str, path: &str) -> Vec<String> {
    let pairs = template.split('/').zip(path.split('/'));
    pairs.filter(|(part, _)| part.starts_with('{')).map(|(_, segment)| segment.to_owned()).collect()
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(&path).all(|(part, segment)| part.starts_with('{') || part == segment)
}

/// Reads the body within the operation's bound; its depth is judged here, before anything else is.
async fn read_body(operation: &Operation, incoming: &Incoming, content: Body) -> Result<Vec<u8>, Failure> {
    let max = operation.body.bytes_max();
    let too_large = || Failure::BodyTooLarge { max };
    let announced = incoming.headers.get("content-length").and_then(|value| value.to_str().ok());
    if announced.and_then(|text| text.parse::<usize>().ok()).is_some_and(|length| length > max) {
        return Err(too_large());
    }
    let collected = Limited::new(content, max).collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            too_large()
        } else {
            Failure::MalformedJson("the connection ended before the body did".to_owned())
        }
    })?;
    let bytes = collected.to_bytes();
    body::check_depth(&bytes)?;
    Ok(bytes.to_vec())
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(value) = headers.get("content-type") else { return Ok(()) };
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    Err(Failure::UnsupportedMediaType { found: essence.chars().take(64).collect() })
}

/// The caller's own id of the request when it is a plain word, else a new one.
fn request_id(app: &App, headers: &HeaderMap) -> String {
    let plain = |text: &&str| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok()).filter(plain);
    given.map_or_else(
        || {
            let parts = app.parts();
            RequestId::mint(parts.clock.now().stamp, parts.entropy.as_ref()).to_string()
        },
        str::to_owned,
    )
}

/// The HTTP form of a reply.
fn respond(reply: Reply, request: &str) -> Response {
    let content = reply.body.as_ref().map(|body| serde_json::to_vec(body).unwrap_or_default());
    let is_problem =
        reply.body.as_ref().is_some_and(|body| body.get("code").is_some() && reply.status >= 400);
    let mut response = Response::new(content.map_or_else(Body::empty, Body::from));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if reply.body.is_some() {
        let media = if is_problem { "application/problem+json" } else { "application/json" };
        headers.insert("content-type", HeaderValue::from_static(media));
    }
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("lastmile-api-revision", HeaderValue::from_static(API_REVISION));
    let request = ("x-request-id", request.to_owned());
    for (name, value) in reply.headers.into_iter().chain([request]) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value))
        {
            headers.insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_handler_is_one_answer_and_tells_nothing() {
        let handler: Answering = Box::pin(async { panic!("a secret of the program") });
        let failure = guarded("read_plan", "req_1", handler).await.unwrap_err();
        let reply = failure.reply("req_1", "/v1/plans/x", Language::English);
        assert_eq!((reply.status, failure.code()), (500, "internal"));
        let body = reply.body.unwrap_or_default().to_string();
        assert!(body.contains("req_1") && !body.contains("a secret"), "{body}");
    }

    #[test]
    fn variable_segments_are_taken_as_sent() {
        assert_eq!(segments("/v1/services/{ref}/status", "/v1/services/ext:a%2Fb/status"), ["ext:a%2Fb"]);
        assert!(matches("/v1/services/{ref}", "/v1/services/x"));
        assert!(!matches("/v1/services/{ref}", "/v1/services/x/y"));
    }
}

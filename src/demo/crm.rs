//! The CRM of the demo: a small HTTP/1.1 client of the admin API, over TCP and over the Unix socket.
//!
//! RFC 9112 by hyper. One connection per request: a CRM would keep one, but here the daemon is restarted between them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::DemoFailure;
use super::show::Show;
use crate::secret::Secret;

/// The API answers within 30 s whatever happens.
const ANSWER_WAIT: Duration = Duration::from_secs(35);
/// Answers of the demo are small.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A client with a token.
pub(super) struct Crm {
    /// Where the API listens now.
    pub(super) api: SocketAddr,
    token: Secret,
}

/// What came back.
pub(super) struct Answer {
    /// Status code and, for a write, what it changed: `201 created`.
    pub(super) status: String,
    /// The body; null without one.
    pub(super) body: Value,
}

impl Answer {
    /// A member as text, by JSON pointer; empty when it is not there.
    pub(super) fn text(&self, pointer: &str) -> String {
        match self.body.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }

    /// How many elements a list has.
    pub(super) fn count(&self, pointer: &str) -> usize {
        self.body.pointer(pointer).and_then(Value::as_array).map_or(0, Vec::len)
    }
}

impl Crm {
    /// A CRM that uses this token.
    pub(super) fn new(api: SocketAddr, token: &str) -> Self {
        Self { api, token: Secret::new(token) }
    }

    /// Writes an object and checks that it was taken.
    pub(super) async fn put(&self, show: &Show, path: &str, spec: Value) -> Result<Answer, DemoFailure> {
        let body = serde_json::json!({ "spec": spec });
        let answer = self.call(show, "PUT", path, Some(&body)).await?;
        // On a state that was kept the same object is there already.
        show.check("durable, and decided by", "201 created or 200 unchanged or 200 updated", &answer.status)?;
        Ok(answer)
    }

    /// Reads something and checks that there was an answer.
    pub(super) async fn get(&self, show: &Show, path: &str) -> Result<Answer, DemoFailure> {
        let answer = self.call(show, "GET", path, None).await?;
        if answer.status == "200" {
            return Ok(answer);
        }
        show.check(path, "200", &answer.status)?;
        Ok(answer)
    }

    async fn call(
        &self,
        show: &Show,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, DemoFailure> {
        show.request(method, path, body);
        let stream = TcpStream::connect(self.api).await.map_err(|source| DemoFailure::Io {
            doing: format!("connect to the API on {}", self.api),
            source,
        })?;
        let answer = exchange(stream, method, path, Some(&self.token), body).await?;
        show.answer(&answer.status, &answer.body);
        Ok(answer)
    }
}

/// Asks over the Unix socket, where the user of this process is what is trusted.
pub(super) async fn call_unix(
    show: &Show,
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Answer, DemoFailure> {
    show.request(method, &format!("{path}   (over {})", socket.display()), body);
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| DemoFailure::Io { doing: format!("connect to {}", socket.display()), source })?;
    let answer = exchange(stream, method, path, None, body).await?;
    show.answer(&answer.status, &answer.body);
    Ok(answer)
}

/// What the metrics listener says of the daemon's health: `ready`, and a line for everything that works only in part.
pub(super) async fn health(show: &Show, metrics: SocketAddr) -> Result<String, DemoFailure> {
    show.request("GET", &format!("/health/ready   (on {metrics})"), None);
    let stream = TcpStream::connect(metrics)
        .await
        .map_err(|source| DemoFailure::Io { doing: format!("connect to {metrics}"), source })?;
    let answer = exchange(stream, "GET", "/health/ready", None, None).await?;
    show.answer(&answer.status, &answer.body);
    Ok(answer.text(""))
}

async fn exchange<S>(
    stream: S,
    method: &str,
    path: &str,
    token: Option<&Secret>,
    body: Option<&Value>,
) -> Result<Answer, DemoFailure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |why: String| DemoFailure::Http { request: format!("{method} {path}"), why };
    let conversation = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(error.to_string()))?;
        let connection = tokio::spawn(connection);
        let mut request = hyper::Request::builder().method(method).uri(path).header("host", "localhost");
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        if let Some(token) = token {
            request = request.header("authorization", [b"Bearer ", token.expose()].concat());
        }
        let content = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(Full::new(content)).map_err(|error| failed(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
        let mut status = response.status().as_u16().to_string();
        if let Some(change) = response.headers().get("lastmile-change").and_then(|value| value.to_str().ok())
        {
            status = format!("{status} {change}");
        }
        let limited = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let bytes = limited.collect().await.map_err(|error| failed(error.to_string()))?.to_bytes();
        connection.abort();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            // Health is plain text.
            let text = |_| Value::from(String::from_utf8_lossy(&bytes).trim());
            serde_json::from_slice(&bytes).unwrap_or_else(text)
        };
        Ok(Answer { status, body })
    };
    match tokio::time::timeout(ANSWER_WAIT, conversation).await {
        Ok(answer) => answer,
        Err(_) => Err(failed(format!("no answer within {} s", ANSWER_WAIT.as_secs()))),
    }
}

//! One request to the daemon over its Unix socket.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::exit::Exit;
use crate::app::refusal::chain;
use crate::limits::API_DEADLINE_MS;

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers on the socket.
    #[error("no daemon answers on {}: is it running? systemctl status lastmile", socket.display())]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket is not for this user.
    #[error("this user may not use {}: run the command as root or as the daemon's user", socket.display())]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
    },
    /// The conversation broke off.
    #[error("the daemon on {} did not answer ({why}); see journalctl -u lastmile", socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// How.
        why: String,
    },
    /// The daemon refused.
    #[error("{}", ProblemLines(.body))]
    Refused {
        /// HTTP status.
        status: u16,
        /// The problem document.
        body: Value,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What was typed makes no sense.
    #[error("{0}")]
    Usage(
        /// Why not.
        String,
    ),
}

impl ClientError {
    /// How it ends the command.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::NoDaemon { .. } | Self::Broken { .. } => Exit::Unreachable,
            Self::NotAllowed { .. } => Exit::Denied,
            Self::Refused { status, .. } => Exit::of_status(*status),
            Self::File { .. } => Exit::Failed,
            Self::Usage(_) => Exit::Usage,
        }
    }
}

/// A problem document for people: what failed, every place, what to do.
struct ProblemLines<'a>(&'a Value);

impl fmt::Display for ProblemLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |name: &str| self.0.get(name).and_then(Value::as_str);
        write!(f, "{}: {}", text("title").unwrap_or("refused"), text("detail").unwrap_or("no reason given"))?;
        let errors = self.0.get("errors").and_then(Value::as_array);
        for error in errors.into_iter().flatten() {
            let part = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
            write!(f, "\n  {}", part("detail"))?;
            if part("pointer").starts_with("/spec") {
                write!(f, " ({})", part("pointer"))?;
            }
        }
        if let Some(remedy) = text("remedy") {
            write!(f, "\n  next: {remedy}")?;
        }
        if let Some(command) = text("command") {
            write!(f, "\n  more: {command}")?;
        }
        Ok(())
    }
}

/// A client of the daemon on one socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the daemon that listens on `socket`.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Reads a resource.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.call(Method::GET, path, None).await
    }

    /// Sends a request and takes its answer; anything but success is an error.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        let deadline = Duration::from_millis(API_DEADLINE_MS + API_DEADLINE_MS / 10);
        let answering = self.converse(method, path, body);
        let (status, body) = tokio::time::timeout(deadline, answering)
            .await
            .unwrap_or_else(|_| Err(self.broken(format!("nothing within {} s", deadline.as_secs()))))?;
        if (200..300).contains(&status) { Ok(body) } else { Err(ClientError::Refused { status, body }) }
    }

    async fn converse(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        let failed = |error: hyper::Error| self.broken(chain(&error));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let driving = tokio::spawn(connection);
        let content = body.map(ToString::to_string).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(path).header("host", "lastmile");
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(content)))
            .map_err(|error| ClientError::Usage(format!("that cannot be asked for: {error}")))?;
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.map_err(failed)?.to_bytes();
        driving.abort();
        if bytes.is_empty() {
            return Ok((status, Value::Null));
        }
        let body = serde_json::from_slice(&bytes).map_err(|error| self.broken(error.to_string()))?;
        Ok((status, body))
    }

    fn unreachable(&self, error: &std::io::Error) -> ClientError {
        let socket = self.socket.clone();
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => ClientError::NotAllowed { socket },
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                ClientError::NoDaemon { socket }
            }
            _ => ClientError::Broken { socket, why: error.to_string() },
        }
    }

    fn broken(&self, why: impl Into<String>) -> ClientError {
        ClientError::Broken { socket: self.socket.clone(), why: why.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_shows_what_failed_where_and_what_to_do() {
        let body = json!({
            "title": "Validation failed", "detail": "2 members are wrong",
            "errors": [
                {"pointer": "/files", "code": "x", "detail": "plans.toml:4:1: unknown member `rate_upp`"},
                {"pointer": "/spec/plan", "code": "unknown-ref", "detail": "there is no plan"}
            ],
            "remedy": "repair it", "command": "lastmile check"
        });
        let error = ClientError::Refused { status: 422, body };
        assert_eq!(
            error.to_string(),
            "Validation failed: 2 members are wrong\n  plans.toml:4:1: unknown member `rate_upp`\n  \
             there is no plan (/spec/plan)\n  next: repair it\n  more: lastmile check"
        );
        assert_eq!(error.exit(), Exit::Failed);
    }

    #[tokio::test]
    async fn without_a_daemon_the_error_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let error = Client::new(&socket).get("/v1/meta").await.unwrap_err();
        assert_eq!(error.exit(), Exit::Unreachable);
        let text = error.to_string();
        assert!(text.contains("is it running? systemctl status lastmile"), "{text}");
    }
}

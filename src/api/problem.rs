//! Every failure as a problem document (RFC 9457).
//!
//! `code` is the contract; `title` and `detail` are for people, in their language. A document never holds a secret, a
//! stack trace or the text of another component's error: internal causes go to the log under the same request id.

use serde_json::{Map, Value, json};

use super::call::{Language, Reply};
use super::texts::{self, ProblemText};
use crate::app::Refusal;
use crate::app::tokens::TokenError;

/// Why a request was not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A use-case refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No credential was given.
    #[error("this operation needs a token: Authorization: Bearer lm_pat_…")]
    TokenMissing,
    /// The credential is not accepted.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The body is not JSON, or nested too deep.
    #[error("the body is not acceptable JSON: {0}")]
    MalformedJson(
        /// Where and how.
        String,
    ),
    /// The body is too long.
    #[error("the body is longer than {max} bytes")]
    BodyTooLarge {
        /// Bytes allowed.
        max: usize,
    },
    /// The body is of another media type.
    #[error("the body is `{found}`; only application/json is understood")]
    UnsupportedMediaType {
        /// Media type given.
        found: String,
    },
    /// Nothing is served at the path.
    #[error("nothing is served at {path}")]
    NoRoute {
        /// The path.
        path: String,
    },
    /// The path is served, but not with this method.
    #[error("{method} is not possible here; possible: {allowed}")]
    MethodNotAllowed {
        /// Method given.
        method: String,
        /// Methods served.
        allowed: String,
    },
    /// The deadline passed.
    #[error("not finished within {seconds} s; a write may still have been made")]
    Deadline {
        /// The deadline.
        seconds: u64,
    },
    /// A defect.
    #[error("an internal error")]
    Defect,
}

impl Failure {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) | Self::Token(TokenError::Unavailable(refusal)) => refusal.code(),
            Self::TokenMissing => "token-missing",
            Self::Token(TokenError::Invalid) => "token-invalid",
            Self::Token(TokenError::Expired) => "token-expired",
            Self::Token(TokenError::Revoked) => "token-revoked",
            Self::MalformedJson(_) => "malformed-json",
            Self::BodyTooLarge { .. } => "body-too-large",
            Self::UnsupportedMediaType { .. } => "unsupported-media-type",
            Self::NoRoute { .. } => "not-found",
            Self::MethodNotAllowed { .. } => "method-not-allowed",
            Self::Deadline { .. } => "overloaded",
            Self::Defect => "internal",
        }
    }

    fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::Token(TokenError::Unavailable(refusal)) => Some(refusal),
            _ => None,
        }
    }

    /// The cause for the log, where the caller is not told.
    pub fn hidden_cause(&self) -> Option<&str> {
        match self.refusal()? {
            Refusal::Internal { why } => Some(why),
            _ => None,
        }
    }

    /// The answer.
    pub fn reply(&self, request: &str, instance: &str, language: Language) -> Reply {
        let text = texts::of(self.code());
        let detail = match language {
            Language::English => self.to_string(),
            Language::Polish => texts::polish(self),
        };
        let mut body = Map::new();
        body.insert("type".to_owned(), json!(format!("/v1/problems/{}", text.code)));
        body.insert("title".to_owned(), json!(text.title(language)));
        body.insert("status".to_owned(), json!(text.status));
        body.insert("code".to_owned(), json!(text.code));
        body.insert("detail".to_owned(), json!(detail));
        body.insert("instance".to_owned(), json!(instance));
        body.insert("request_id".to_owned(), json!(request));
        body.insert("retryable".to_owned(), json!(text.retryable));
        if let Some(refusal) = self.refusal() {
            extend(&mut body, refusal, language);
        }
        let mut reply = Reply { status: text.status, headers: Vec::new(), body: Some(Value::Object(body)) }
            .with("content-language", language.tag());
        if text.status == 401 {
            reply = reply.with("www-authenticate", "Bearer");
        }
        if text.retryable {
            reply = reply.with("retry-after", "1");
        }
        if let Self::MethodNotAllowed { allowed, .. } = self {
            reply = reply.with("allow", allowed.clone());
        }
        reply
    }
}

/// What a refusal adds to the document.
fn extend(body: &mut Map<String, Value>, refusal: &Refusal, language: Language) {
    let mut add = |name: &str, value: Value| {
        body.insert(name.to_owned(), value);
    };
    if !refusal.problems().is_empty() {
        add("errors", json!(refusal.problems()));
    }
    if language == Language::English
        && let Some(remedy) = refusal.remedy()
    {
        add("remedy", json!(remedy));
    }
    if let Some(command) = refusal.command() {
        add("command", json!(command));
    }
    match refusal {
        Refusal::Precondition { current, changed } => {
            add("current_etag", json!(current));
            add("changed_fields", json!(changed));
        }
        Refusal::VersionConflict { version, changed } => {
            add("current_source_version", json!(version));
            add("changed_fields", json!(changed));
        }
        Refusal::Stale { current, .. } => add("current_source_version", json!(current)),
        Refusal::InUse { users, .. } => add("referrers", json!(users)),
        Refusal::NotOwner { owner, .. } => add("owner", json!(owner)),
        Refusal::Denied { scope, .. } => add("scope", json!(scope)),
        Refusal::ExternalIdTaken { holder, .. } | Refusal::IdentityTaken { holder, .. } => {
            add("holder", json!(holder));
        }
        Refusal::Ambiguous { matches, .. } => add("matches", json!(matches)),
        _ => {}
    }
}

/// The page that explains a code.
pub(super) fn explanation(text: &ProblemText, language: Language) -> Value {
    json!({
        "type": format!("/v1/problems/{}", text.code),
        "code": text.code,
        "status": text.status,
        "title": text.title(language),
        "text": text.text(language),
        "retryable": text.retryable,
        "language": language.tag(),
    })
}

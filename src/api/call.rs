//! One request as handlers see it, and what they answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::http::HeaderMap;
use serde_json::Value;

use super::problem::Failure;
use super::query::Query;
use super::target;
use crate::app::{Actor, App};
use crate::model::{Kind, Ref};

/// A language in which texts exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Polish.
    Polish,
}

impl Language {
    /// The preferred one of `Accept-Language` (RFC 9110 §12.5.4); English when neither is wanted.
    pub fn of(headers: &HeaderMap) -> Self {
        let text = headers.get("accept-language").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut best = (0_u32, Self::English);
        for part in text.split(',') {
            let (tag, quality) = part.split_once(';').unwrap_or((part, ""));
            let weight = quality.trim().strip_prefix("q=").map_or(1000, thousandths);
            let primary = tag.trim().split('-').next().unwrap_or_default();
            let language = match primary {
                tag if tag.eq_ignore_ascii_case("pl") => Self::Polish,
                tag if tag.eq_ignore_ascii_case("en") => Self::English,
                _ => continue,
            };
            if weight > best.0 {
                best = (weight, language);
            }
        }
        best.1
    }

    /// Its tag.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Polish => "pl",
        }
    }
}

/// A weight such as `0.85` in thousandths (RFC 9110 §12.4.2); 0 for what is none.
fn thousandths(text: &str) -> u32 {
    let (whole, part) = text.trim().split_once('.').unwrap_or((text, ""));
    let digits = format!("{part:0<3}");
    let (Ok(whole), Some(Ok(part))) = (whole.parse::<u32>(), digits.get(..3).map(str::parse::<u32>)) else {
        return 0;
    };
    whole.saturating_mul(1000).saturating_add(part).min(1000)
}

/// One request, decoded and authenticated.
#[derive(Debug)]
pub struct Call {
    pub(super) app: Arc<App>,
    pub(super) actor: Actor,
    pub(super) kind: Kind,
    pub(super) segments: Vec<String>,
    pub(super) query: Query,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    pub(super) request: String,
    pub(super) language: Language,
    pub(super) operation: &'static str,
}

impl Call {
    /// The object that the path names.
    pub(super) fn reference(&self) -> Result<Ref, Failure> {
        target::parse(self.kind, self.segment())
    }

    /// The first variable part of the path, as sent.
    pub(super) fn segment(&self) -> &str {
        self.segments.first().map_or("", String::as_str)
    }

    /// The first variable part of the path, percent-decoded.
    pub(super) fn decoded_segment(&self) -> Result<String, Failure> {
        target::decode(self.segment()).ok_or_else(|| target::missing(self.segment()))
    }

    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What goes back.
#[derive(Debug)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
}

impl Reply {
    /// 200 with a JSON body.
    pub(super) const fn ok(body: Value) -> Self {
        Self { status: 200, headers: Vec::new(), body: Some(body) }
    }

    /// 200 with anything that serialises.
    pub(super) fn json(body: &impl serde::Serialize) -> Result<Self, Failure> {
        let body = serde_json::to_value(body).map_err(|error| crate::app::Refusal::Internal {
            why: format!("rendering an answer: {error}"),
        })?;
        Ok(Self::ok(body))
    }

    /// A status without a body.
    pub(super) const fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: None }
    }

    /// The same with one more header.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What a handler returns.
pub type Answering = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;
/// A handler: parses, calls one use-case, renders.
pub type Handler = fn(Call) -> Answering;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_with_the_greatest_weight_is_chosen() {
        for (text, expected) in [
            ("", Language::English),
            ("pl", Language::Polish),
            ("pl-PL,pl;q=0.9,en;q=0.8", Language::Polish),
            ("en;q=0.9, pl;q=0.3", Language::English),
            ("de, fr;q=0.5", Language::English),
            ("de, pl;q=0.1", Language::Polish),
            ("pl;q=nonsense, en;q=0.1", Language::English),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("accept-language", text.parse().unwrap());
            assert_eq!(Language::of(&headers), expected, "{text}");
        }
    }
}

//! One operation of the API: what is served, to whom, and with which failures. The table is in [`super::table`].

use axum::http::Method;

use super::call::Handler;
use crate::limits::{API_APPLY_BYTES_MAX, API_BODY_BYTES_MAX};
use crate::model::Kind;

/// One query parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name; `label.*` stands for any name after `label.`.
    pub name: &'static str,
    /// JSON type of its value.
    pub kind: &'static str,
    /// What it does.
    pub text: &'static str,
}

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing is read.
    None,
    /// An object of this kind.
    Object(Kind),
    /// A set of definitions.
    Apply,
    /// A new token.
    Token,
}

impl Body {
    /// Longest body, in bytes.
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::Apply => API_APPLY_BYTES_MAX,
            _ => API_BODY_BYTES_MAX,
        }
    }
}

/// What a successful answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// One value of this schema.
    One(&'static str),
    /// A page of items of this schema.
    Page(&'static str),
    /// All there is, of this schema.
    Items(&'static str),
    /// Nothing.
    Empty,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// `operationId`.
    pub id: &'static str,
    /// Method.
    pub method: Method,
    /// Path, with `{…}` for variable segments.
    pub path: String,
    /// What the caller must be allowed to do; `None` is open to everybody.
    pub scope: Option<String>,
    /// A sentence about it.
    pub summary: String,
    /// Its kind, for operations on objects.
    pub kind: Kind,
    /// Query parameters.
    pub query: &'static [Parameter],
    /// Request body.
    pub body: Body,
    /// Successful statuses.
    pub statuses: &'static [u16],
    /// Successful answer.
    pub answer: Answer,
    /// Codes with which it may fail, besides those with which everything may.
    pub failures: &'static [&'static str],
    /// Who answers.
    pub handler: Handler,
}

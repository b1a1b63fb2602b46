//! The admin API: HTTP in front of the use-cases, and nothing of its own.
//!
//! - [`table`]: every [`operation`]; the router, the OpenAPI document and the tests read it.
//! - [`call`]: one request, decoded; what goes back. `entry`: from HTTP to a call and back.
//! - `auth`: who asks. [`body`]: JSON within bounds. `query`: parameters and cursors. `target`: `{ref}` in a path.
//! - [`problem`], `texts`: every failure as a problem document (RFC 9457), in English and Polish.
//! - `objects`, `observed`, `admin`, `system`: the handlers. [`openapi`]: the document. [`serve`]: listeners.
//!
//! Invariants: every answer outside 2xx and 3xx is a problem document, whatever failed; without a token nothing but
//! `/health` is told; no body is parsed before its size and depth are known. `X-Forwarded-For` and its kin are not read.

mod admin;
mod auth;
pub mod body;
pub mod call;
mod entry;
mod examples;
mod objects;
mod observed;
pub mod openapi;
pub mod operation;
mod parameters;
pub mod problem;
mod query;
mod render;
pub mod serve;
mod system;
pub mod table;
pub mod target;
mod texts;

pub use auth::Peer;
pub use entry::router;
pub use texts::{PROBLEMS, ProblemText};

//! The daemon itself: who it is, how it is, and whether it serves.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::{Action, Actor, App, Refusal, Resource};
use crate::limits;

/// Revision of the API: raised when something is added within `/v1`.
pub const API_REVISION: &str = "2026-11-20";
/// Time within which the database must answer for the node to be called ready.
const PING: Duration = Duration::from_secs(1);

/// Who answers, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Meta {
    /// The program.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Revision of the API.
    pub api_revision: &'static str,
    /// Name of the node.
    pub node: String,
    /// Number of the node.
    pub node_id: u16,
    /// Whether it serves: `ready`, `loading` or `database_down`.
    pub state: &'static str,
    /// The seq by which it decides.
    pub applied_seq: u64,
    /// The newest seq in the database; null when it does not answer.
    pub stored_seq: Option<u64>,
    /// Services by which it decides.
    pub services: usize,
    /// Accesses by which it decides.
    pub accesses: usize,
    /// Live sessions on this node.
    pub sessions: u64,
    /// Live leases on this node.
    pub leases: u64,
    /// Decisions since start.
    pub decisions: u64,
    /// Bounds of the API.
    pub limits: MetaLimits,
}

/// Bounds of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MetaLimits {
    /// Longest request body, in bytes.
    pub body_bytes_max: usize,
    /// Deepest nesting of a body.
    pub json_depth_max: usize,
    /// Items in a page unless asked otherwise.
    pub page_default: usize,
    /// Items in a page at most.
    pub page_max: usize,
    /// Time a request may take, in milliseconds.
    pub deadline_ms: u64,
}

impl App {
    /// Says whether packets are served: set by whoever starts and stops the servers.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// `ready`, `loading` or `database_down`.
    pub async fn readiness(&self) -> &'static str {
        if !self.ready.load(Ordering::Acquire) {
            return "loading";
        }
        match tokio::time::timeout(PING, self.storage().ping()).await {
            Ok(Ok(())) => "ready",
            Ok(Err(_)) | Err(_) => "database_down",
        }
    }

    /// Who answers.
    pub async fn meta(&self, actor: &Actor) -> Result<Meta, Refusal> {
        actor.require(Action::Read, Resource::System)?;
        let parts = self.parts();
        let snapshot = parts.publisher.load_full();
        let stored = tokio::time::timeout(PING, self.storage().seq()).await;
        let (sessions, leases) = parts.ledger.totals();
        Ok(Meta {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            api_revision: API_REVISION,
            node: parts.node_name.clone(),
            node_id: parts.node_id,
            state: self.readiness().await,
            applied_seq: snapshot.seq(),
            stored_seq: stored.ok().and_then(Result::ok),
            services: snapshot.services_len(),
            accesses: snapshot.accesses_len(),
            sessions,
            leases,
            decisions: parts.decisions.total(),
            limits: MetaLimits {
                body_bytes_max: limits::API_BODY_BYTES_MAX,
                json_depth_max: limits::API_JSON_DEPTH_MAX,
                page_default: limits::API_PAGE_DEFAULT,
                page_max: limits::API_PAGE_MAX,
                deadline_ms: limits::API_DEADLINE_MS,
            },
        })
    }
}

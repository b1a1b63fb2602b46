//! `/metrics` and health, on a listener of their own: a stuck admin API does not hide them.
//!
//! `/health` and `/health/live` say that the process answers, `/health/ready` that it recovered, bound its sockets and decides;
//! each with a reason in words when not.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use parking_lot::Mutex;

use super::metrics::Metrics;

/// What health reports.
#[derive(Debug, Default)]
pub struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ready: bool,
    degraded: Vec<(&'static str, String)>,
}

impl Health {
    /// Ready from now on, or not any more.
    pub fn set_ready(&self, ready: bool) {
        self.state.lock().ready = ready;
    }

    /// Whether the daemon is ready.
    pub fn is_ready(&self) -> bool {
        self.state.lock().ready
    }

    /// Something works only in part; `None` means it works again.
    pub fn set_degraded(&self, what: &'static str, why: Option<String>) {
        let mut state = self.state.lock();
        state.degraded.retain(|(known, _)| *known != what);
        state.degraded.extend(why.map(|why| (what, why)));
    }

    /// What works only in part.
    pub fn degraded(&self) -> Vec<(&'static str, String)> {
        self.state.lock().degraded.clone()
    }

    fn text(&self) -> String {
        let state = self.state.lock();
        let mut text = String::from(if state.ready { "ready" } else { "not ready" });
        for (what, why) in &state.degraded {
            text.push_str("\ndegraded: ");
            text.push_str(what);
            text.push_str(": ");
            text.push_str(why);
        }
        text.push('\n');
        text
    }
}

/// The routes of the metrics listener; `refresh` brings gauges up to date before each rendering.
pub fn routes(metrics: Arc<Metrics>, health: &Arc<Health>, refresh: Arc<dyn Fn() + Send + Sync>) -> Router {
    let ready = {
        let health = Arc::clone(health);
        move || {
            let health = Arc::clone(&health);
            async move {
                let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                (status, health.text()).into_response()
            }
        }
    };
    let live = || async { "live\n" };
    let render = move || {
        let (metrics, refresh) = (Arc::clone(&metrics), Arc::clone(&refresh));
        async move {
            refresh();
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
        }
    };
    Router::new()
        .route("/metrics", get(render))
        .route("/health", get(live))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
}

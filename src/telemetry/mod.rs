//! What the daemon shows of itself: metrics and health, on a listener of their own.

pub mod http;
pub mod metrics;

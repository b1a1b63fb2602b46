//! The admin API in-process: what callers may rely on, from the status of each answer to what never leaves.

#![expect(clippy::unwrap_used, reason = "a test whose stage cannot be set has failed")]

mod applied;
mod clock;
mod command_line;
mod contract;
mod failures;
mod lists;
mod ownership;
mod service_status;
mod support;
mod tokens;
mod writes;

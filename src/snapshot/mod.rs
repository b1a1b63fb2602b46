//! Snapshot: desired state at one seq, compiled for decisions.

pub mod types;

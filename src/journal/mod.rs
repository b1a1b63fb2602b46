//! The journal (record contents only, so far).
pub mod record;

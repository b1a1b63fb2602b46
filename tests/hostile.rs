//! The cores under what no transcript can write down: damaged requests, many of them (fault F13).
//!
//! `LASTMILE_TESTS_INPUTS` says how many inputs each core gets; each is heard several times over. Without it they are as
//! many as a test run has time for. The laws are those of the fuzz bodies; besides, memory stays flat when the inputs are
//! a million or more. What the slowest input cost of processor time is printed, never judged: a busy machine decides it too.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]
#![expect(clippy::print_stdout, reason = "what a run cost is for whoever asked for a long one")]

#[path = "hostile/dhcp4.rs"]
mod dhcp4;
#[path = "hostile/radius.rs"]
mod radius;
#[path = "hostile/run.rs"]
mod run;

//! The journal as its users see it: what is committed, failed, read back and read on.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at what they did not expect, as tests do")]

#[path = "journal/commit.rs"]
mod commit;
#[path = "journal/faults.rs"]
mod faults;
#[path = "journal/hostile.rs"]
mod hostile;
#[path = "journal/recovery.rs"]
mod recovery;
#[path = "journal/simulation.rs"]
mod simulation;
#[path = "journal/support.rs"]
mod support;
#[path = "journal/tail.rs"]
mod tail;
#[path = "journal/threads.rs"]
mod threads;

//! The shell around the packet cores: sockets, workers, the wait for the journal.
//!
//! Every worker waits for all sockets and takes datagrams from any of them ([`worker`]); requests that wait for the journal
//! lie in the worker's own table ([`waiting`]); the journal's thread applies what is committed and tells the workers
//! ([`sink`]). Nothing here knows what a packet means.

pub mod cores;
mod delayed;
pub mod sink;
pub mod waiting;
pub mod worker;

pub use cores::{Core, Cores};
pub use sink::LedgerSink;
pub use worker::{Endpoint, Shared, Worker};

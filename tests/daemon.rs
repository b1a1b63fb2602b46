//! The built daemon under real clients and real faults: processes, sockets, disks, databases, network namespaces.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in a test, a failure is a panic")]

mod support;

#[path = "daemon/clients.rs"]
mod clients;
#[path = "daemon/clock.rs"]
mod clock;
#[path = "daemon/database.rs"]
mod database;
#[path = "daemon/disk.rs"]
mod disk;
#[path = "daemon/kills.rs"]
mod kills;
#[path = "daemon/network.rs"]
mod network;
#[path = "daemon/refusals.rs"]
mod refusals;
#[path = "daemon/repeats.rs"]
mod repeats;
#[path = "daemon/serves.rs"]
mod serves;
#[path = "daemon/signatures.rs"]
mod signatures;
#[path = "daemon/two_nodes.rs"]
mod two_nodes;

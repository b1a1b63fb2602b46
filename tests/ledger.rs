//! The ledger as a server drives it: a model of clients, journal and crashes, and scenarios of the field by name.

#![expect(unreachable_pub, reason = "the modules of one test share what they define")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "only tests call it: a panic is a failed test")]

#[path = "ledger/crash.rs"]
mod crash;
#[path = "ledger/journal.rs"]
mod journal;
#[path = "ledger/nodes.rs"]
mod nodes;
#[path = "ledger/rig.rs"]
mod rig;
#[path = "ledger/scenario_accounting.rs"]
mod scenario_accounting;
#[path = "ledger/scenario_lease.rs"]
mod scenario_lease;
#[path = "ledger/scenario_login.rs"]
mod scenario_login;
#[path = "ledger/scenario_nodes.rs"]
mod scenario_nodes;
#[path = "ledger/scenario_pool.rs"]
mod scenario_pool;
#[path = "ledger/scenario_recovery.rs"]
mod scenario_recovery;
#[path = "ledger/simulation.rs"]
mod simulation;
#[path = "ledger/simulation_nodes.rs"]
mod simulation_nodes;
#[path = "ledger/steps.rs"]
mod steps;
#[path = "ledger/threads.rs"]
mod threads;
#[path = "ledger/trace.rs"]
mod trace;
#[path = "ledger/truth.rs"]
mod truth;
#[path = "ledger/world.rs"]
mod world;

//! Lastmile: the daemon between an ISP's CRM and its access network.

pub mod api;
pub mod app;
pub mod applier;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod decision;
pub mod demo;
pub mod dhcp;
pub mod document;
pub mod feed;
pub mod history;
#[doc(hidden)]
pub mod hostile;
pub mod ids;
pub mod journal;
pub mod last_outcome;
pub mod ledger;
pub mod limits;
pub mod model;
pub mod nas_activity;
pub mod net;
pub mod netdefs;
pub mod pipeline;
pub mod prefetch;
pub mod radius;
pub mod refusals;
pub mod secret;
pub mod servers;
pub mod snapshot;
pub mod storage;
pub mod telemetry;
pub mod time;
pub mod vault;

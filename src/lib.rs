//! Lastmile: the daemon between an ISP's CRM and its access network.

pub mod config;
pub mod document;
pub mod ids;
pub mod limits;
pub mod model;
pub mod netdefs;
pub mod secret;
pub mod storage;
pub mod time;

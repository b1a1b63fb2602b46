//! Lastmile: the daemon between an ISP's CRM and its access network.

pub mod ids;
pub mod journal;
pub mod limits;
pub mod secret;
pub mod time;

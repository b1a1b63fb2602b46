//! DHCP: the server for DHCPv4; what the two IP versions share will sit beside it.
//!
//! The two protocols share a name, the ledger and the words pool, lease and relay. Their messages, option
//! codes and relay forms have nothing in common, so each version has its own codec and core, with the same
//! file names in the order of the path.

pub mod lease_time;
pub mod v4;

//! The DHCPv4 codec: bytes to a checked view, and values to bytes.
//!
//! First and last stage of the path. RFC 2131 §2 and §4.1, RFC 2132, RFC 3046, RFC 3396.
//!
//! Invariants: total over all byte strings; no allocation; no copy but of an option that arrived in parts;
//! work linear in the message. What [`Message::parse`] returns is valid as a whole, so its readers do not
//! fail.
//!
//! It does not judge: who may ask, and what they get, is decided by the core.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

pub mod client_key;
pub mod code;
pub mod destination;
pub mod encode;
pub mod error;
pub mod fuzz;
pub mod header;
pub mod message_type;
pub mod option;
pub mod relay_agent;
pub mod request_writer;

pub use client_key::ClientKey;
pub use destination::{Destination, destination};
pub use encode::{EncodeError, LeaseTimes, RelayEcho, ReplyHead, ReplyKind, ReplyWriter, Written};
pub use error::WireError;
pub use header::{Message, Op};
pub use message_type::MessageType;
pub use option::{OptionBytes, OptionSet};
pub use relay_agent::{RelayAgent, RelayAgentWriter, VirtualSubnet};
pub use request_writer::{RequestHead, RequestWriter};

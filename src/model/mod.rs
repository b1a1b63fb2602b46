//! The domain's nouns: what a CRM, an operator or `netdefs/` writes, as plain values.
//!
//! Every object is an [`object::Envelope`] plus a [`object::Spec`]. A spec is decoded from JSON (the API) or TOML
//! (`netdefs/`) by one reader that reports *all* problems at once ([`decode`]). Nothing here does I/O, resolves
//! references or knows how a packet is answered.

pub mod access;
pub mod address;
pub mod decode;
pub mod nas;
pub mod network;
pub mod object;
pub mod observed;
pub mod plan;
pub mod pool;
pub mod reference;
pub mod relay;
pub mod service;
pub mod subscriber;

pub use address::{Mac, Prefix};
pub use decode::{Problem, Problems};
pub use object::{Envelope, Kind, Object, Spec};
pub use reference::Ref;

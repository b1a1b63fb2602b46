//! The RADIUS wire codec: bytes to checked views, values to bytes; no I/O, no clock, no allocation.
//!
//! In packet order: [`packet`] checks a datagram and indexes it, [`attribute`] and [`extended`] read values,
//! [`integrity`] verifies who signed it, [`hiding`] opens passwords, [`class`] recognises our own sessions,
//! and [`encode`] writes replies and requests with the values of [`append`]. [`kind`] names the attribute
//! types. [`fuzz`] is the body that every fuzzing run calls.
//!
//! Every function here is total: hostile bytes end in a named error, never in a panic, a loop or an
//! allocation. The lints below hold that line.

#![deny(clippy::indexing_slicing)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod append;
pub mod attribute;
pub mod class;
pub mod encode;
pub mod extended;
pub mod fuzz;
pub mod hiding;
pub mod integrity;
pub mod kind;
pub mod packet;

//! UDP sockets in batches: how datagrams enter and leave the daemon.
//!
//! First and last step of the path: a [`UdpListener`] is bound per configured address, worker threads wait on
//! the same listeners with a [`Waiter`], take datagrams with a [`RecvBatch`] and send replies with a
//! [`SendBatch`]. Any worker takes datagrams from any listener, because one BRAS is often one flow and the
//! kernel would pin such a flow to one of several sockets.
//!
//! RFC 2865 §3 (reply to the source port), RFC 2131 §4.1, RFC 3542 §6 (packet information).
//!
//! Invariants: a reply leaves from the address that its request was sent to; a full or refusing destination
//! never blocks the messages behind it; every buffer is allocated once. This module does not decode, does not
//! log and reads no clock; `unsafe` is confined to [`batch`] here.

pub mod address;
pub mod batch;
pub mod listener;
pub mod wait;

#[cfg(test)]
mod tests;

pub use address::Envelope;
pub use batch::{Datagram, RecvBatch, SendBatch, Sent, Unqueued};
pub use listener::{BindError, ListenOptions, UdpListener};
pub use wait::{Ready, Waiter, Wake};

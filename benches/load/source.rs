//! One source of requests: a connected socket and the slots whose requests leave through it.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Context;
use socket2::{Domain, SockAddr, Socket, Type};

/// Room for every reply that a full window can bring at once.
const BUFFER_BYTES: usize = 1 << 20;

/// A socket and its slots.
pub(crate) struct Source {
    socket: Socket,
    pub(crate) slots: Vec<SlotState>,
    /// Slots without a transaction.
    pub(crate) free: Vec<usize>,
    /// Slots whose transaction goes on with its next message in this round.
    pub(crate) going_on: Vec<usize>,
}

/// What is known of the request in a slot.
#[derive(Default)]
pub(crate) struct SlotState {
    pub(crate) outstanding: bool,
    /// Messages of this transaction sent before the current one.
    pub(crate) step: u32,
    pub(crate) retransmits: u32,
    /// When the transaction began or was due, and when its last message left.
    pub(crate) begun_ns: u64,
    pub(crate) sent_ns: u64,
    /// The last message, kept only when it may be sent again.
    pub(crate) copy: Vec<u8>,
}

impl Source {
    /// A socket from `local` (port 0 for any) connected to `target`: a connected socket spares a route lookup
    /// per message, and the generator must be cheaper than the server.
    pub(crate) fn connect(local: SocketAddr, target: SocketAddr, slots: usize) -> anyhow::Result<Self> {
        let socket = Socket::new(Domain::for_address(target), Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(BUFFER_BYTES)?;
        socket.set_send_buffer_size(BUFFER_BYTES)?;
        socket.bind(&SockAddr::from(local)).with_context(|| format!("cannot send from {local}"))?;
        socket
            .connect(&SockAddr::from(target))
            .with_context(|| format!("cannot send to {target} from {local}"))?;
        Ok(Self {
            socket,
            slots: (0..slots).map(|_| SlotState::default()).collect(),
            free: (0..slots).rev().collect(),
            going_on: Vec::with_capacity(slots),
        })
    }

    /// Whether any slot has a transaction.
    pub(crate) fn is_busy(&self) -> bool {
        self.free.len() < self.slots.len()
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

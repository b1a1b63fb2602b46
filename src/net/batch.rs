//! Batched datagrams: many in one `recvmmsg`, many out in one `sendmmsg`, each with its own local address.
//!
//! The one file with `unsafe` besides a hint to the processor ([`crate::prefetch`]): it holds every system call that neither the standard library nor socket2
//! wraps, as thin safe functions, so that [`wait`](super::wait) and [`listener`](super::listener) need none.
//! Pointers handed to the kernel are made from live slices immediately before a call and never stored.
//!
//! RFC 2865 §3 and RFC 3542 §6.1: the reply's source address is the request's destination, chosen per message.
//!
//! Invariants: nothing is allocated after construction; receiving never waits; sending waits at most
//! [`SEND_WAITS_PER_FLUSH_MAX`] times [`SEND_WAIT_MS_MAX`]; a message the kernel refuses is counted and the
//! ones behind it are still sent. It does not set PMTU discovery to probe or coalesce datagrams (GRO): a RADIUS
//! reply may exceed the MTU, and one datagram is one request.

#![expect(
    unsafe_code,
    reason = "recvmmsg, sendmmsg, poll, epoll and eventfd have no safe wrapper with per-message control data"
)]

use std::fs::File;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;

use super::address::{
    Arrival, Envelope, NAME_BYTES, RECV_CONTROL_BYTES, SEND_CONTROL_BYTES, read_control, read_name,
    write_control, write_name,
};
use crate::limits::{
    DATAGRAM_BYTES_MAX, DATAGRAMS_PER_CALL_MAX, SEND_WAIT_MS_MAX, SEND_WAITS_PER_FLUSH_MAX,
    SOCKETS_PER_WAITER_MAX,
};

/// One received datagram, borrowed from its [`RecvBatch`].
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// Our address to reply from; unspecified when the kernel did not say or the destination was multicast.
    pub local: IpAddr,
    /// The destination in the IP header, which may be broadcast or multicast; unspecified when unknown.
    pub destination: IpAddr,
    /// Kernel index of the interface it arrived on; 0 when unknown.
    pub interface: u32,
    /// The payload, at most [`DATAGRAM_BYTES_MAX`] bytes.
    pub bytes: &'a [u8],
    /// Whether the datagram was longer than `bytes`.
    pub truncated: bool,
    /// When the kernel received it: nanoseconds since the Unix epoch by the system clock, if asked for.
    pub received: Option<u64>,
    /// Datagrams the socket has dropped for want of buffer since it was opened, modulo 2^32; `None` until the
    /// first drop.
    pub dropped: Option<u32>,
}

impl Datagram<'_> {
    /// The way back: to the sender, from the address it sent to, by the same link when addresses are per link.
    pub fn reply(&self) -> Envelope {
        let per_link = matches!(self.source, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local());
        Envelope { to: self.source, from: self.local, interface: if per_link { self.interface } else { 0 } }
    }
}

/// Buffers for the datagrams of one `recvmmsg` call.
pub struct RecvBatch {
    bytes: Box<[u8]>,
    names: Box<[[u8; NAME_BYTES]]>,
    controls: Box<[[u8; RECV_CONTROL_BYTES]]>,
    received: Vec<Received>,
}

struct Received {
    source: SocketAddr,
    arrival: Arrival,
    length: usize,
    truncated: bool,
}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl RecvBatch {
    /// Allocates all buffers, about 270 KiB.
    pub fn new() -> Self {
        Self {
            bytes: vec![0; DATAGRAMS_PER_CALL_MAX * DATAGRAM_BYTES_MAX].into_boxed_slice(),
            names: vec![[0; NAME_BYTES]; DATAGRAMS_PER_CALL_MAX].into_boxed_slice(),
            controls: vec![[0; RECV_CONTROL_BYTES]; DATAGRAMS_PER_CALL_MAX].into_boxed_slice(),
            received: Vec::with_capacity(DATAGRAMS_PER_CALL_MAX),
        }
    }

    /// Replaces the batch by what is waiting in `socket`, without waiting; returns how many datagrams that is,
    /// 0 when there are none.
    ///
    /// An error is about one moment of the socket (an ICMP report, a lack of memory): the caller counts it and
    /// goes on receiving.
    pub fn recv(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        self.received.clear();
        let mut vectors = [EMPTY_VECTOR; DATAGRAMS_PER_CALL_MAX];
        let mut headers = [EMPTY_HEADER; DATAGRAMS_PER_CALL_MAX];
        let slots = self.bytes.chunks_exact_mut(DATAGRAM_BYTES_MAX);
        let labels = self.names.iter_mut().zip(self.controls.iter_mut());
        let places = headers.iter_mut().zip(vectors.iter_mut());
        for ((header, vector), (slot, (name, control))) in places.zip(slots.zip(labels)) {
            set_payload(header, vector, slot);
            set_name(header, name);
            set_control(header, control);
        }
        // SAFETY: each header was given one vector, one payload slot, one name and one control buffer with
        // their true lengths; all are exclusively borrowed until this function returns, and none overlap.
        let count = unsafe { recv_many(socket.as_fd(), &mut headers) }?;
        let labels = self.names.iter().zip(self.controls.iter());
        for (header, (name, control)) in headers.iter().zip(labels).take(count) {
            let head = &header.msg_hdr;
            let name_length = (head.msg_namelen as usize).min(NAME_BYTES);
            let control_length = head.msg_controllen.min(RECV_CONTROL_BYTES);
            self.received.push(Received {
                source: read_name(name.get(..name_length).unwrap_or_default()).unwrap_or(NOWHERE),
                arrival: read_control(control.get(..control_length).unwrap_or_default()),
                length: header.msg_len as usize,
                truncated: head.msg_flags & libc::MSG_TRUNC != 0,
            });
        }
        Ok(count)
    }

    /// The datagrams of the last [`recv`](Self::recv), in the order of arrival.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Datagram<'_>> {
        self.received
            .iter()
            .zip(self.bytes.chunks_exact(DATAGRAM_BYTES_MAX))
            .map(|(received, slot)| received.datagram(slot))
    }
}

impl Received {
    fn datagram<'a>(&self, slot: &'a [u8]) -> Datagram<'a> {
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Datagram {
            source: self.source,
            local: self.arrival.local.unwrap_or(unknown),
            destination: self.arrival.destination.unwrap_or(unknown),
            interface: self.arrival.interface,
            bytes: slot.get(..self.length).unwrap_or(slot),
            truncated: self.truncated,
            received: self.arrival.received,
            dropped: self.arrival.dropped,
        }
    }
}

/// Messages waiting to leave in one `sendmmsg` call.
pub struct SendBatch {
    bytes: Box<[u8]>,
    queued: Vec<Queued>,
}

struct Queued {
    length: usize,
    name: [u8; NAME_BYTES],
    name_length: usize,
    control: [u8; SEND_CONTROL_BYTES],
    control_length: usize,
}

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unqueued {
    /// The batch holds [`DATAGRAMS_PER_CALL_MAX`] messages: flush it and push again.
    #[error("the send batch is full; flush it first")]
    Full,
    /// The writer returned nothing, or a length beyond its slot.
    #[error("the message was not written: it does not fit in a datagram slot")]
    Unwritten,
}

/// What became of the messages of one flush.
#[derive(Debug, Default)]
pub struct Sent {
    /// Messages the kernel took.
    pub sent: usize,
    /// Messages the kernel refused, or had no room for in time.
    pub failed: usize,
    /// Why the last failed message failed.
    pub error: Option<io::Error>,
}

impl Default for SendBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl SendBatch {
    /// Allocates all buffers, about 260 KiB.
    pub fn new() -> Self {
        Self {
            bytes: vec![0; DATAGRAMS_PER_CALL_MAX * DATAGRAM_BYTES_MAX].into_boxed_slice(),
            queued: Vec::with_capacity(DATAGRAMS_PER_CALL_MAX),
        }
    }

    /// Messages queued since the last flush.
    pub fn len(&self) -> usize {
        self.queued.len()
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    /// Whether the next push would be refused.
    pub fn is_full(&self) -> bool {
        self.queued.len() >= DATAGRAMS_PER_CALL_MAX
    }

    /// Queues a message that `write` puts straight into the given slot of [`DATAGRAM_BYTES_MAX`] bytes (which
    /// may hold remains of an earlier message); `write` returns how many bytes it used, or `None` to give up.
    pub fn push(
        &mut self,
        envelope: Envelope,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Result<(), Unqueued> {
        self.push_to_peer(write)?;
        if let Some(queued) = self.queued.last_mut() {
            queued.name_length = write_name(envelope.to, &mut queued.name);
            queued.control_length = write_control(&envelope, &mut queued.control);
        }
        Ok(())
    }

    /// Like [`push`](Self::push), for a connected socket: destination and source are the connection's.
    pub fn push_to_peer(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Result<(), Unqueued> {
        let slot =
            self.bytes.chunks_exact_mut(DATAGRAM_BYTES_MAX).nth(self.queued.len()).ok_or(Unqueued::Full)?;
        let length = write(slot).filter(|length| *length <= DATAGRAM_BYTES_MAX).ok_or(Unqueued::Unwritten)?;
        self.queued.push(Queued {
            length,
            name: [0; NAME_BYTES],
            name_length: 0,
            control: [0; SEND_CONTROL_BYTES],
            control_length: 0,
        });
        Ok(())
    }

    /// Hands every queued message to the kernel and empties the batch.
    ///
    /// When the socket's buffer is full it waits a bounded time for room; messages that still find none are
    /// counted as failed, as are those the kernel refuses (no route, foreign source address, filtered).
    pub fn flush(&mut self, socket: &impl AsFd) -> Sent {
        let mut vectors = [EMPTY_VECTOR; DATAGRAMS_PER_CALL_MAX];
        let mut headers = [EMPTY_HEADER; DATAGRAMS_PER_CALL_MAX];
        let slots = self.bytes.chunks_exact_mut(DATAGRAM_BYTES_MAX);
        let places = headers.iter_mut().zip(vectors.iter_mut());
        for ((header, vector), (slot, queued)) in places.zip(slots.zip(self.queued.iter_mut())) {
            set_payload(header, vector, slot.get_mut(..queued.length).unwrap_or_default());
            set_name(header, queued.name.get_mut(..queued.name_length).unwrap_or_default());
            set_control(header, queued.control.get_mut(..queued.control_length).unwrap_or_default());
        }
        let queued = headers.get_mut(..self.queued.len()).unwrap_or_default();
        // SAFETY: each of these headers was given one vector, its message, its name and its control data with
        // their true lengths; all stay borrowed until this function returns.
        let sent = unsafe { send_all(socket.as_fd(), queued) };
        self.queued.clear();
        sent
    }
}

const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
const EMPTY_VECTOR: libc::iovec = libc::iovec { iov_base: null_mut(), iov_len: 0 };
// SAFETY: a message header is integers and pointers, for which all zeros is a valid value.
const EMPTY_HEADER: libc::mmsghdr = unsafe { zeroed() };

fn set_payload(header: &mut libc::mmsghdr, vector: &mut libc::iovec, slot: &mut [u8]) {
    vector.iov_base = slot.as_mut_ptr().cast();
    vector.iov_len = slot.len();
    header.msg_hdr.msg_iov = vector;
    header.msg_hdr.msg_iovlen = 1;
}

fn set_name(header: &mut libc::mmsghdr, name: &mut [u8]) {
    // No name at all, rather than a pointer to none, is what a connected socket wants.
    if !name.is_empty() {
        header.msg_hdr.msg_name = name.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = name.len() as libc::socklen_t;
    }
}

fn set_control(header: &mut libc::mmsghdr, control: &mut [u8]) {
    if !control.is_empty() {
        header.msg_hdr.msg_control = control.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = control.len() as _;
    }
}

/// Receives what is there; an empty socket is `Ok(0)`.
///
/// # Safety
/// Every pointer in `headers` is null or valid for writes of the length beside it during the call.
unsafe fn recv_many(socket: BorrowedFd<'_>, headers: &mut [libc::mmsghdr]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT as _;
    let (list, length) = (headers.as_mut_ptr(), headers.len() as u32);
    loop {
        // SAFETY: `list` has `length` headers, whose pointers the caller vouches for; no timeout is passed.
        let count = unsafe { libc::recvmmsg(socket.as_raw_fd(), list, length, flags, null_mut()) };
        match counted(count) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
            Ok(count) => return Ok(count),
        }
    }
}

/// Sends all `headers` in order, leaving out those the kernel refuses.
///
/// # Safety
/// Every pointer in `headers` is null or valid for reads of the length beside it during the call.
unsafe fn send_all(socket: BorrowedFd<'_>, headers: &mut [libc::mmsghdr]) -> Sent {
    let mut outcome = Sent::default();
    let mut waits_left = SEND_WAITS_PER_FLUSH_MAX;
    let mut rest = headers;
    while !rest.is_empty() {
        let (list, length) = (rest.as_mut_ptr(), rest.len() as u32);
        // SAFETY: `list` has `length` headers, whose pointers the caller vouches for.
        let count = unsafe { libc::sendmmsg(socket.as_raw_fd(), list, length, libc::MSG_DONTWAIT as _) };
        let passed = match counted(count) {
            Ok(count) => {
                outcome.sent += count;
                count
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if waits_left > 0 && wait_writable(socket) {
                    waits_left -= 1;
                    0
                } else {
                    outcome.failed += rest.len();
                    outcome.error = Some(error);
                    rest.len()
                }
            }
            // The error is about the first message alone; the kernel has not looked at the others.
            Err(error) => {
                outcome.failed += 1;
                outcome.error = Some(error);
                1
            }
        };
        rest = rest.get_mut(passed..).unwrap_or_default();
    }
    outcome
}

fn wait_writable(socket: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: the list is the one entry on this stack.
    unsafe { libc::poll(&raw mut poll, 1, SEND_WAIT_MS_MAX) > 0 }
}

/// A kernel list of descriptors to wait for.
pub(super) struct Epoll(OwnedFd);

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers, and returns a new descriptor or a negative number.
        unsafe { opened(libc::epoll_create1(libc::EPOLL_CLOEXEC)) }.map(Self)
    }

    /// Reports `socket` as bit `bit` while it is readable; `shared` wakes only one of several waiters.
    pub(super) fn add(&self, socket: BorrowedFd<'_>, bit: u32, shared: bool) -> io::Result<()> {
        let exclusive = if shared { libc::EPOLLEXCLUSIVE } else { 0 };
        let mut event =
            libc::epoll_event { events: (libc::EPOLLIN | exclusive).cast_unsigned(), u64: bit as u64 };
        let (epoll, fd) = (self.0.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: `event` lives on this stack and the kernel only reads it.
        counted(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
        Ok(())
    }

    /// Waits for at most `timeout_ms` (negative: without end) and returns the bits of what is ready; none when
    /// the time is over or a signal came.
    pub(super) fn wait(&self, timeout_ms: i32) -> io::Result<u128> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; SOCKETS_PER_WAITER_MAX + 1];
        let (list, length) = (events.as_mut_ptr(), i32::try_from(events.len()).unwrap_or(0));
        // SAFETY: `list` has room for `length` events.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), list, length, timeout_ms) };
        match counted(count) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
            Ok(count) => Ok(events
                .iter()
                .take(count)
                .fold(0, |ready, event| ready | 1_u128.checked_shl(event.u64 as u32).unwrap_or(0))),
        }
    }
}

/// A kernel event counter (eventfd): written as eight bytes, readable until read.
pub(super) fn event_counter() -> io::Result<File> {
    // SAFETY: takes no pointers, and returns a new descriptor or a negative number.
    unsafe { opened(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)) }.map(File::from)
}

/// Sets a socket option whose value is an `int`.
pub(super) fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let fd: RawFd = socket.as_raw_fd();
    let size = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` lives on this stack, is `size` bytes long, and the kernel only reads it.
    counted(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size) })?;
    Ok(())
}

/// The count a call returned, or the error it left when that is negative.
fn counted(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Takes the descriptor a call returned, or the error it left.
///
/// # Safety
/// `fd` is negative or a new descriptor that nothing else owns.
unsafe fn opened(fd: RawFd) -> io::Result<OwnedFd> {
    counted(fd)?;
    // SAFETY: it is not negative, so by the caller's word it is ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

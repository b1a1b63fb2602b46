//! Waiting: several workers wait for the same listeners, and each can be woken by other threads.
//!
//! Between a worker's rounds on the path. Each worker has its own [`Waiter`] over all listeners, so that any
//! worker takes datagrams from any of them: one BRAS is often one flow, and decoding must not be tied to a
//! worker. The kernel wakes one waiting worker per arrival (EPOLLEXCLUSIVE) and keeps reporting a listener until
//! it is empty (level-triggered), so a worker may stop after one batch.
//!
//! Invariants: a [`Wake`] is never lost, and many before one wait cost one system call. It does not receive,
//! and holds no clock: the time-out is a value.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::batch::{Epoll, event_counter};
use crate::limits::SOCKETS_PER_WAITER_MAX;

/// The bit that means "woken"; the ones below are sockets.
const WAKE_BIT: u32 = SOCKETS_PER_WAITER_MAX as u32;
const _: () = assert!(WAKE_BIT < u128::BITS);

/// What one worker waits for.
pub struct Waiter {
    epoll: Epoll,
    wake: Wake,
    sockets: u32,
}

impl Waiter {
    /// A waiter with its own [`Wake`] and no sockets yet.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let signal = Signal { counter: event_counter()?, raised: AtomicBool::new(false) };
        epoll.add(signal.counter.as_fd(), WAKE_BIT, false)?;
        Ok(Self { epoll, wake: Wake(Arc::new(signal)), sockets: 0 })
    }

    /// Adds a socket, shared with the other waiters it is added to, and returns its index in [`Ready`]: 0 for
    /// the first. Fails beyond [`SOCKETS_PER_WAITER_MAX`].
    ///
    /// The socket must outlive the waiter; one that is closed is no longer reported.
    pub fn add(&mut self, socket: &impl AsFd) -> io::Result<u32> {
        if self.sockets >= WAKE_BIT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a worker waits for at most {SOCKETS_PER_WAITER_MAX} sockets; configure fewer listeners"
                ),
            ));
        }
        let index = self.sockets;
        self.epoll.add(socket.as_fd(), index, true)?;
        self.sockets += 1;
        Ok(index)
    }

    /// The handle by which other threads end this waiter's [`wait`](Self::wait).
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// Waits until a socket is readable, the wake is raised, or `timeout_ms` has passed (`None`: no limit).
    ///
    /// May return early with nothing ready. After `woken`, look at whatever the other thread left: the wake is
    /// already lowered, so anything left later raises it again.
    pub fn wait(&self, timeout_ms: Option<u32>) -> io::Result<Ready> {
        let timeout = timeout_ms.map_or(-1, |millis| i32::try_from(millis).unwrap_or(i32::MAX));
        let ready = Ready(self.epoll.wait(timeout)?);
        if ready.woken() {
            self.wake.lower();
        }
        Ok(ready)
    }
}

/// What a [`Waiter`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready(u128);

impl Ready {
    /// Whether another thread raised the wake.
    pub fn woken(self) -> bool {
        self.0 & (1 << WAKE_BIT) != 0
    }

    /// Whether the socket added as `index` has something to read.
    pub fn socket(self, index: u32) -> bool {
        index < WAKE_BIT && self.0 & (1 << index) != 0
    }

    /// The indexes of all readable sockets, ascending.
    pub fn sockets(self) -> impl Iterator<Item = u32> {
        (0..WAKE_BIT).filter(move |index| self.socket(*index))
    }

    /// Whether the wait ended for no reason but time.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Ends a worker's wait from another thread. Clones wake the same worker.
#[derive(Clone)]
pub struct Wake(Arc<Signal>);

struct Signal {
    counter: File,
    /// Whether the counter has been written since the worker last lowered it.
    raised: AtomicBool,
}

impl Wake {
    /// Wakes the worker, now or at its next wait. Call it after leaving what the worker shall find.
    pub fn wake(&self) {
        if !self.0.raised.swap(true, Ordering::AcqRel) {
            // The only failure is a counter at its maximum, which is raised already.
            let _ = (&self.0.counter).write(&1_u64.to_ne_bytes());
        }
    }

    /// Empties the counter first: a wake between the two steps finds `raised` set and what it left is seen by
    /// the worker, which looks only after the second.
    fn lower(&self) {
        let _ = (&self.0.counter).read(&mut [0; 8]);
        self.0.raised.swap(false, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::net::{Envelope, ListenOptions, RecvBatch, SendBatch, UdpListener};

    fn listener() -> UdpListener {
        UdpListener::bind("127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap()
    }

    fn send(from: &UdpListener, to: &UdpListener) {
        let mut batch = SendBatch::new();
        batch.push(Envelope::to(to.local_addr()), |_| Some(1)).unwrap();
        assert_eq!(batch.flush(from).sent, 1);
    }

    #[test]
    fn only_sockets_with_datagrams_are_ready() {
        let (idle, busy) = (listener(), listener());
        let mut waiter = Waiter::new().unwrap();
        assert_eq!(waiter.add(&idle).unwrap(), 0);
        assert_eq!(waiter.add(&busy).unwrap(), 1);
        assert!(waiter.wait(Some(0)).unwrap().is_empty());
        send(&idle, &busy);
        let ready = waiter.wait(None).unwrap();
        assert_eq!(ready.sockets().collect::<Vec<_>>(), [1]);
        assert!(!ready.woken() && !ready.socket(0) && !ready.socket(200));
    }

    #[test]
    fn a_listener_that_was_not_drained_stays_ready() {
        let (sender, busy) = (listener(), listener());
        let mut waiter = Waiter::new().unwrap();
        waiter.add(&busy).unwrap();
        send(&sender, &busy);
        assert!(waiter.wait(None).unwrap().socket(0));
        assert!(waiter.wait(Some(0)).unwrap().socket(0));
        RecvBatch::new().recv(&busy).unwrap();
        assert!(waiter.wait(Some(0)).unwrap().is_empty());
    }

    #[test]
    fn a_wake_ends_a_wait_on_another_thread_and_is_then_lowered() {
        let waiter = Waiter::new().unwrap();
        let wake = waiter.wake();
        let worker = thread::spawn(move || {
            let woken = waiter.wait(None).unwrap().woken();
            (woken, waiter)
        });
        wake.wake();
        let (woken, waiter) = worker.join().unwrap();
        assert!(woken);
        assert!(waiter.wait(Some(0)).unwrap().is_empty());
        wake.wake();
        wake.clone().wake();
        assert!(waiter.wait(None).unwrap().woken());
        assert!(waiter.wait(Some(0)).unwrap().is_empty());
    }

    #[test]
    fn no_wake_is_lost_while_the_worker_lowers_the_one_before() {
        const WAKES: u32 = 20_000;
        let waiter = Waiter::new().unwrap();
        let wake = waiter.wake();
        let (left, found) = mpsc::channel();
        let other = thread::spawn(move || {
            for number in 0..WAKES {
                left.send(number).unwrap();
                wake.wake();
            }
        });
        let mut seen = 0;
        while seen < WAKES {
            assert!(waiter.wait(None).unwrap().woken());
            seen += found.try_iter().count() as u32;
        }
        other.join().unwrap();
    }

    #[test]
    fn two_workers_share_one_listener_and_a_busy_one_does_not_hold_up_the_other() {
        let (sender, shared) = (listener(), Arc::new(listener()));
        let (report, reports) = mpsc::channel();
        let mut releases = Vec::new();
        let workers: Vec<_> = (0..2)
            .map(|worker| {
                let (release, released) = mpsc::channel::<()>();
                releases.push(release);
                let (shared, report) = (Arc::clone(&shared), report.clone());
                thread::spawn(move || {
                    let mut waiter = Waiter::new().unwrap();
                    waiter.add(&*shared).unwrap();
                    let mut batch = RecvBatch::new();
                    // The other worker may have been quicker; then there is nothing and the wait goes on.
                    while batch.recv(&*shared).unwrap() == 0 {
                        waiter.wait(None).unwrap();
                    }
                    report.send(worker).unwrap();
                    released.recv().unwrap_err();
                })
            })
            .collect();
        send(&sender, &shared);
        let first = reports.recv().unwrap();
        send(&sender, &shared);
        let second = reports.recv().unwrap();
        assert_ne!(first, second);
        drop(releases);
        for worker in workers {
            worker.join().unwrap();
        }
    }

    #[test]
    fn more_sockets_than_bits_are_refused() {
        let mut waiter = Waiter::new().unwrap();
        let sockets: Vec<_> = (0..=SOCKETS_PER_WAITER_MAX).map(|_| listener()).collect();
        let (last, fitting) = sockets.split_last().unwrap();
        for socket in fitting {
            waiter.add(socket).unwrap();
        }
        assert_eq!(waiter.add(last).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

//! The echo reference: the least a UDP server can do, as the yardstick for what the machine allows.
//!
//! The server uses the daemon's own batched sockets and waiter and nothing else, so the difference to a
//! protocol server is what the protocol costs.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lastmile::net::{ListenOptions, RecvBatch, SendBatch, UdpListener, Waiter, Wake};

use crate::workload::{Slot, Verdict, Workload};

const HEADER_BYTES: usize = 8;

/// Requests that carry their slot and a sequence number, and must come back unchanged.
pub(crate) struct Echo {
    sequences: Vec<u32>,
    request_bytes: usize,
    steps: u32,
}

impl Echo {
    /// Requests of `request_bytes` (at least 8) in `slots` slots, `steps` of them per transaction.
    pub(crate) fn new(slots: usize, request_bytes: usize, steps: u32) -> Self {
        Self { sequences: vec![0; slots], request_bytes: request_bytes.max(HEADER_BYTES), steps }
    }
}

impl Workload for Echo {
    fn slots_per_source_max(&self) -> usize {
        1 << 16
    }

    fn next(&mut self, slot: Slot, _step: u32, bytes: &mut [u8]) -> Option<usize> {
        let sequence = self.sequences.get_mut(slot.index)?;
        *sequence = sequence.wrapping_add(1);
        let request = bytes.get_mut(..self.request_bytes)?;
        request.get_mut(..4)?.copy_from_slice(&(slot.within as u32).to_be_bytes());
        request.get_mut(4..HEADER_BYTES)?.copy_from_slice(&sequence.to_be_bytes());
        Some(self.request_bytes)
    }

    fn slot_within(&self, reply: &[u8]) -> Option<usize> {
        reply.first_chunk().map(|within| u32::from_be_bytes(*within) as usize)
    }

    fn verify(&mut self, slot: Slot, step: u32, reply: &[u8]) -> Verdict {
        let sent = self.sequences.get(slot.index).copied().unwrap_or_default();
        match reply.get(4..HEADER_BYTES) {
            Some(sequence) if sequence != sent.to_be_bytes() => Verdict::Stale,
            Some(_) if reply.len() == self.request_bytes && step + 1 < self.steps => Verdict::Again,
            Some(_) if reply.len() == self.request_bytes => Verdict::Done,
            _ => Verdict::Wrong,
        }
    }
}

/// Answers on a free port of `address` with `workers` threads until standard input ends; prints the bound
/// address as its first line.
pub(crate) fn serve(address: SocketAddr, workers: usize) -> anyhow::Result<()> {
    let options = ListenOptions {
        recv_buffer_bytes: Some(4 << 20),
        send_buffer_bytes: Some(4 << 20),
        ..ListenOptions::default()
    };
    let listener = Arc::new(UdpListener::bind(address, &options)?);
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    let mut wakes: Vec<Wake> = Vec::new();
    for _ in 0..workers.max(1) {
        let mut waiter = Waiter::new()?;
        waiter.add(&*listener)?;
        wakes.push(waiter.wake());
        let (listener, stop) = (Arc::clone(&listener), Arc::clone(&stop));
        threads.push(thread::spawn(move || answer(&waiter, &listener, &stop)));
    }
    writeln!(io::stdout(), "{}", listener.local_addr())?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    stop.store(true, Ordering::Release);
    for wake in wakes {
        wake.wake();
    }
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("an echo worker panicked"))??;
    }
    Ok(())
}

fn answer(waiter: &Waiter, listener: &UdpListener, stop: &AtomicBool) -> io::Result<()> {
    let (mut requests, mut replies) = (RecvBatch::new(), SendBatch::new());
    while !stop.load(Ordering::Acquire) {
        waiter.wait(None)?;
        requests.recv(listener)?;
        for request in requests.iter() {
            let bytes = request.bytes;
            // Both batches hold the same number of datagrams, and a request fits where a reply would.
            let _ = replies.push(request.reply(), |slot| {
                slot.get_mut(..bytes.len())?.copy_from_slice(bytes);
                Some(bytes.len())
            });
        }
        replies.flush(listener);
    }
    Ok(())
}

//! The duplicate cache (RFC 5080 §2.2.2): a retransmission gets the answer already sent, or silence while it is made.
//!
//! Key: source address and port, code, identifier and Request Authenticator; so a NAS that uses an identifier again for
//! another request is served anew. Entered only after the request's signature was checked, so that forged packets cannot
//! poison it. Bounded in entries and bytes, oldest evicted; a retransmission after eviction is decided again, which is
//! harmless: the same grant and the same session.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::net::SocketAddr;

use parking_lot::Mutex;

use crate::ledger::pool::SpreadHasher;
use crate::limits::{DUPLICATE_BYTES_MAX, DUPLICATE_WINDOW_MS};
use crate::time::Tick;

const SHARDS: usize = 64;

/// What identifies a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    source: SocketAddr,
    code: u8,
    identifier: u8,
    authenticator: [u8; 16],
}

impl Key {
    /// The key of a request from `source`.
    pub const fn new(source: SocketAddr, code: u8, identifier: u8, authenticator: [u8; 16]) -> Self {
        Self { source, code, identifier, authenticator }
    }

    fn hash(&self) -> u64 {
        let (a, b) = self.authenticator.split_at(8);
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        let port =
            u64::from(self.source.port()) << 16 | u64::from(self.code) << 8 | u64::from(self.identifier);
        let address = match self.source.ip() {
            std::net::IpAddr::V4(v4) => u64::from(u32::from(v4)),
            std::net::IpAddr::V6(v6) => u128::from(v6) as u64 ^ (u128::from(v6) >> 64) as u64,
        };
        // The authenticator is random for Access-Requests and a digest for accounting: half of the mixing is done.
        (word(a) ^ word(b).rotate_left(17) ^ address.rotate_left(31) ^ port)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// What the cache knows of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing: it is marked as in flight now.
    New,
    /// It is being worked on.
    InFlight,
    /// It was answered with these bytes.
    Answered(Box<[u8]>),
}

struct Entry {
    key: Key,
    at: Tick,
    answer: Option<Box<[u8]>>,
}

#[derive(Default)]
struct Shard {
    entries: HashMap<u64, Entry, BuildHasherDefault<SpreadHasher>>,
    order: VecDeque<(u64, Tick)>,
    bytes: usize,
}

/// The cache, shared by all workers: any of them may receive the retransmission.
pub struct DuplicateCache {
    shards: Box<[Mutex<Shard>]>,
    entries_max: usize,
    bytes_max: usize,
}

impl std::fmt::Debug for DuplicateCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DuplicateCache").finish_non_exhaustive()
    }
}

impl DuplicateCache {
    /// A cache of at most `entries` requests.
    pub fn new(entries: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect(),
            entries_max: (entries / SHARDS).max(1),
            bytes_max: DUPLICATE_BYTES_MAX / SHARDS,
        }
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[(hash >> 58) as usize % SHARDS]
    }

    /// Looks a request up and marks it as in flight when it is new.
    pub fn begin(&self, key: Key, now: Tick) -> Seen {
        let hash = key.hash();
        let mut shard = self.shard(hash).lock();
        shard.evict(now, self.entries_max, self.bytes_max);
        if let Some(entry) = shard.entries.get(&hash)
            && entry.key == key
            && now.since(entry.at) < DUPLICATE_WINDOW_MS * 1_000_000
        {
            return entry.answer.clone().map_or(Seen::InFlight, Seen::Answered);
        }
        let replaced = shard.entries.insert(hash, Entry { key, at: now, answer: None });
        shard.bytes -= replaced.and_then(|entry| entry.answer).map_or(0, |answer| answer.len());
        shard.order.push_back((hash, now));
        Seen::New
    }

    /// Remembers the answer to a request in flight.
    pub fn answer(&self, key: &Key, bytes: &[u8]) {
        let hash = key.hash();
        let mut shard = self.shard(hash).lock();
        let Some(entry) = shard.entries.get_mut(&hash).filter(|entry| entry.key == *key) else { return };
        let before = entry.answer.replace(bytes.into()).map_or(0, |answer| answer.len());
        shard.bytes = shard.bytes + bytes.len() - before;
    }

    /// Forgets a request that got no answer, so that a retransmission is decided anew.
    pub fn forget(&self, key: &Key) {
        let hash = key.hash();
        let mut shard = self.shard(hash).lock();
        if shard.entries.get(&hash).is_some_and(|entry| entry.key == *key)
            && let Some(entry) = shard.entries.remove(&hash)
        {
            shard.bytes -= entry.answer.map_or(0, |answer| answer.len());
        }
    }

    /// Entries and bytes of answers held.
    pub fn size(&self) -> (usize, usize) {
        self.shards.iter().fold((0, 0), |(entries, bytes), shard| {
            let shard = shard.lock();
            (entries + shard.entries.len(), bytes + shard.bytes)
        })
    }
}

impl Shard {
    fn evict(&mut self, now: Tick, entries_max: usize, bytes_max: usize) {
        while let Some((hash, at)) = self.order.front().copied() {
            let old = now.since(at) >= DUPLICATE_WINDOW_MS * 1_000_000;
            if !old && self.order.len() < entries_max && self.bytes < bytes_max {
                return;
            }
            self.order.pop_front();
            if self.entries.get(&hash).is_some_and(|entry| entry.at == at)
                && let Some(entry) = self.entries.remove(&hash)
            {
                self.bytes -= entry.answer.map_or(0, |answer| answer.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        let mut authenticator = [0; 16];
        authenticator[0] = number;
        Key::new("127.0.0.1:40000".parse().unwrap(), 1, 7, authenticator)
    }

    #[test]
    fn a_retransmission_is_silent_while_in_flight_and_then_gets_the_same_bytes() {
        let cache = DuplicateCache::new(1024);
        assert_eq!(cache.begin(key(1), Tick(0)), Seen::New);
        assert_eq!(cache.begin(key(1), Tick(1)), Seen::InFlight);
        cache.answer(&key(1), b"reply");
        assert_eq!(cache.begin(key(1), Tick(2)), Seen::Answered(b"reply"[..].into()));
        assert_eq!(cache.begin(key(2), Tick(3)), Seen::New);
    }

    #[test]
    fn a_request_that_failed_or_is_older_than_the_window_is_new_again() {
        let cache = DuplicateCache::new(1024);
        assert_eq!(cache.begin(key(1), Tick(0)), Seen::New);
        cache.forget(&key(1));
        assert_eq!(cache.begin(key(1), Tick(1)), Seen::New);
        cache.answer(&key(1), b"reply");
        assert_eq!(cache.begin(key(1), Tick(DUPLICATE_WINDOW_MS * 1_000_000 + 1)), Seen::New);
    }

    #[test]
    fn a_flood_of_requests_leaves_the_cache_within_its_bounds() {
        let cache = DuplicateCache::new(SHARDS * 4);
        for number in 0..20_000_u32 {
            let mut authenticator = [0; 16];
            authenticator[..4].copy_from_slice(&number.to_le_bytes());
            let key = Key::new("127.0.0.1:40000".parse().unwrap(), 1, 7, authenticator);
            assert_eq!(cache.begin(key, Tick(u64::from(number))), Seen::New);
            cache.answer(&key, &[0; 100]);
        }
        let (entries, bytes) = cache.size();
        assert!(entries <= SHARDS * 4 && bytes <= SHARDS * 400, "{entries} entries, {bytes} bytes");
    }
}

//! The duplicate cache (RFC 5080 §2.2.2): a retransmission gets the answer already sent, or silence while it is made.
//!
//! Key: source address and port, code, identifier and Request Authenticator; so a NAS that uses an identifier again for
//! another request is served anew. Entered only after the request's signature was checked, so that forged packets cannot
//! poison it. Bounded in entries and bytes, oldest evicted; a retransmission after eviction is decided again, which is
//! harmless: the same grant and the same session. An answer that is held back is none before it has left.
//!
//! Each shard is a ring of requests in the order of their arrival, chained by hash, and a ring of the bytes of their answers.
//! Both overwrite what is oldest, so nothing is allocated for a request; whatever was overwritten counts as not known.

use std::net::SocketAddr;

use parking_lot::Mutex;

use crate::limits::{DUPLICATE_BYTES_MAX, DUPLICATE_WINDOW_MS, RADIUS_PACKET_BYTES_MAX};
use crate::prefetch;
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

    /// A number that hardly any two requests share.
    pub fn hash(&self) -> u64 {
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

/// A request in the cache: where what becomes of it is written. Of no effect once the request is evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    shard: usize,
    /// Number of the request within its shard.
    number: u64,
}

/// What the cache knows of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing: it is marked as in flight now.
    New(Mark),
    /// It is being worked on.
    InFlight,
    /// It was answered with as many bytes, which are in the buffer if they fit.
    Answered(usize),
}

/// What became of a request.
#[derive(Clone, Copy)]
enum Fate {
    InFlight,
    /// Silence.
    Forgotten,
    /// Bytes of the shard's ring: how many had been written before them since its beginning, and how many they are.
    Answered(u64, usize),
}

struct Entry {
    key: Key,
    hash: u64,
    at: Tick,
    fate: Fate,
    /// Before this the answer has not left yet.
    leaves: Tick,
    /// Place after the next older request of the same chain; 0 ends it.
    older: u32,
}

/// The answers of a shard, each in one piece, the oldest overwritten.
struct Replies {
    bytes: Vec<u8>,
    bytes_max: usize,
    /// Bytes passed since the beginning.
    written: u64,
}

struct Shard {
    entries: Vec<Entry>,
    entries_max: usize,
    /// Numbers of the oldest request that is remembered and of the next one.
    oldest: u64,
    next: u64,
    /// Place after the newest request of each chain, 0 for an empty one; as many as a power of two.
    chains: Box<[u32]>,
    replies: Replies,
}

/// The cache, shared by all workers: any of them may receive the retransmission.
pub struct DuplicateCache {
    shards: Box<[Mutex<Shard>]>,
}

impl std::fmt::Debug for DuplicateCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DuplicateCache").finish_non_exhaustive()
    }
}

/// Bytes of an answer that are asked for ahead.
const REPLY_TOUCHED: usize = 192;

const fn shard_of(hash: u64) -> usize {
    (hash >> 58) as usize % SHARDS
}

impl DuplicateCache {
    /// A cache of at most `entries` requests.
    pub fn new(entries: usize) -> Self {
        let entries = (entries / SHARDS).max(1);
        Self { shards: (0..SHARDS).map(|_| Mutex::new(Shard::new(entries))).collect() }
    }

    /// Looks a request up: copies its answer to `out`, or marks it as in flight when it is new.
    pub fn begin(&self, key: &Key, now: Tick, out: &mut [u8]) -> Seen {
        let hash = key.hash();
        let index = shard_of(hash);
        let mut shard = self.shards[index].lock();
        shard.evict(now);
        match shard.find(key, hash, now).map(|entry| (entry.fate, entry.leaves)) {
            Some((Fate::InFlight, _)) => return Seen::InFlight,
            Some((Fate::Answered(..), leaves)) if now < leaves => return Seen::InFlight,
            Some((Fate::Answered(offset, len), _)) => {
                if let Some(reply) = shard.replies.read(offset, len) {
                    if let Some(place) = out.get_mut(..len) {
                        place.copy_from_slice(reply);
                    }
                    return Seen::Answered(len);
                }
            }
            Some((Fate::Forgotten, _)) | None => {}
        }
        Seen::New(Mark { shard: index, number: shard.enter(*key, hash, now) })
    }

    /// Asks for the memory that [`DuplicateCache::begin`] and [`DuplicateCache::answer`] use for a request.
    pub fn touch(&self, hash: u64) {
        let shard = self.shard(hash).lock();
        for number in [shard.oldest, shard.next] {
            if let Some(entry) = shard.entries.get(shard.place(number)) {
                prefetch::touch(entry);
            }
        }
        if let Some(newest) = shard.chains.get(shard.chain(hash)) {
            prefetch::touch(newest);
        }
        let replies = &shard.replies;
        let at = (replies.written % replies.bytes_max.max(1) as u64) as usize;
        prefetch::touch(
            replies.bytes.get(at..(at + REPLY_TOUCHED).min(replies.bytes.len())).unwrap_or_default(),
        );
    }

    /// Second step: the newest request of its chain, and the chain of the request that it makes room by.
    pub fn touch_chain(&self, hash: u64) {
        let shard = self.shard(hash).lock();
        let newest = shard.chains.get(shard.chain(hash)).map_or(0, |newest| *newest as usize);
        if let Some(entry) = shard.entries.get(newest.wrapping_sub(1)) {
            prefetch::touch(entry);
        }
        if let Some(oldest) = shard.entries.get(shard.place(shard.oldest))
            && let Some(newest) = shard.chains.get(shard.chain(oldest.hash))
        {
            prefetch::touch(newest);
        }
    }

    const fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[shard_of(hash)]
    }

    /// Remembers the answer to a request, which leaves at `leaves`: until then the request counts as in flight.
    pub fn answer(&self, mark: Mark, reply: &[u8], leaves: Tick) {
        let mut shard = self.shards[mark.shard % SHARDS].lock();
        if shard.entry(mark.number).is_none() {
            return;
        }
        let written = shard.replies.write(reply);
        if let Some(entry) = shard.entry(mark.number) {
            entry.leaves = leaves;
            entry.fate = written.map_or(Fate::Forgotten, |offset| Fate::Answered(offset, reply.len()));
        }
    }

    /// Forgets a request that got no answer, so that a retransmission is decided anew.
    pub fn forget(&self, mark: Mark) {
        if let Some(entry) = self.shards[mark.shard % SHARDS].lock().entry(mark.number) {
            entry.fate = Fate::Forgotten;
        }
    }

    /// Requests remembered, and bytes kept for answers.
    pub fn size(&self) -> (usize, usize) {
        self.shards.iter().fold((0, 0), |(entries, bytes), shard| {
            let shard = shard.lock();
            (entries + (shard.next - shard.oldest) as usize, bytes + shard.replies.bytes.len())
        })
    }
}

impl Shard {
    fn new(entries_max: usize) -> Self {
        let bytes_max = (DUPLICATE_BYTES_MAX / SHARDS).min(entries_max * RADIUS_PACKET_BYTES_MAX);
        Self {
            entries: Vec::new(),
            entries_max,
            oldest: 0,
            next: 0,
            chains: vec![0; entries_max.next_power_of_two()].into_boxed_slice(),
            replies: Replies { bytes: Vec::new(), bytes_max, written: 0 },
        }
    }

    const fn place(&self, number: u64) -> usize {
        (number % self.entries_max as u64) as usize
    }

    /// The highest bits choose the shard, those below them are as well mixed.
    const fn chain(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.chains.len() - 1)
    }

    fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        let place = self.place(number);
        if !(self.oldest..self.next).contains(&number) {
            return None;
        }
        self.entries.get_mut(place)
    }

    /// The newest request with this key.
    fn find(&self, key: &Key, hash: u64, now: Tick) -> Option<&Entry> {
        let at = |place: u32| self.entries.get((place as usize).wrapping_sub(1));
        let mut next = at(self.chains[self.chain(hash)]);
        while let Some(entry) = next {
            if entry.hash == hash && entry.key == *key {
                return (now.since(entry.at) < DUPLICATE_WINDOW_MS * 1_000_000).then_some(entry);
            }
            next = at(entry.older);
        }
        None
    }

    /// Enters a request in flight; its number.
    fn enter(&mut self, key: Key, hash: u64, at: Tick) -> u64 {
        let (number, chain) = (self.next, self.chain(hash));
        let place = self.place(number);
        let entry = Entry { key, hash, at, fate: Fate::InFlight, leaves: Tick(0), older: self.chains[chain] };
        match self.entries.get_mut(place) {
            Some(free) => *free = entry,
            None => self.entries.push(entry),
        }
        self.chains[chain] = place as u32 + 1;
        self.next += 1;
        number
    }

    /// Makes room for one more, and forgets what is older than the window.
    fn evict(&mut self, now: Tick) {
        while self.oldest < self.next {
            let place = self.place(self.oldest);
            let Some(entry) = self.entries.get(place) else { return };
            let old = now.since(entry.at) >= DUPLICATE_WINDOW_MS * 1_000_000;
            if !old && self.next - self.oldest < self.entries_max as u64 {
                return;
            }
            let (chain, older) = (self.chain(entry.hash), entry.older);
            self.unchain(chain, place as u32 + 1, older);
            self.oldest += 1;
        }
        // None is left: what comes next need not touch more memory.
        self.replies.written = 0;
    }

    fn unchain(&mut self, chain: usize, leaving: u32, older: u32) {
        let newest = &mut self.chains[chain];
        if *newest == leaving {
            *newest = older;
            return;
        }
        let mut at = *newest;
        while let Some(entry) = self.entries.get_mut((at as usize).wrapping_sub(1)) {
            if entry.older == leaving {
                entry.older = older;
                return;
            }
            at = entry.older;
        }
    }
}

impl Replies {
    /// Writes a reply in place of the oldest; where.
    fn write(&mut self, reply: &[u8]) -> Option<u64> {
        let room = self.bytes_max.checked_sub(reply.len())?;
        let mut at = (self.written % self.bytes_max as u64) as usize;
        if at > room {
            self.written += (self.bytes_max - at) as u64;
            at = 0;
        }
        let end = at + reply.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes.get_mut(at..end)?.copy_from_slice(reply);
        let offset = self.written;
        self.written += reply.len() as u64;
        Some(offset)
    }

    /// A reply, unless later ones have been written over it.
    fn read(&self, offset: u64, len: usize) -> Option<&[u8]> {
        if self.written - offset > self.bytes_max as u64 {
            return None;
        }
        let at = (offset % self.bytes_max as u64) as usize;
        self.bytes.get(at..at + len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Entropy, SeededEntropy};

    fn key(number: u32) -> Key {
        let mut authenticator = [0; 16];
        authenticator[..4].copy_from_slice(&number.to_le_bytes());
        Key::new("127.0.0.1:40000".parse().unwrap(), 1, 7, authenticator)
    }

    fn seen(cache: &DuplicateCache, number: u32, now: u64) -> Result<Mark, Option<Vec<u8>>> {
        let mut out = [0; 4096];
        match cache.begin(&key(number), Tick(now), &mut out) {
            Seen::New(mark) => Ok(mark),
            Seen::InFlight => Err(None),
            Seen::Answered(len) => Err(Some(out[..len].to_vec())),
        }
    }

    const WINDOW: u64 = DUPLICATE_WINDOW_MS * 1_000_000;

    #[test]
    fn a_retransmission_is_silent_while_in_flight_and_then_gets_the_same_bytes() {
        let cache = DuplicateCache::new(1024);
        let mark = seen(&cache, 1, 0).unwrap();
        assert_eq!(seen(&cache, 1, 1), Err(None));
        cache.answer(mark, b"reply", Tick(0));
        assert_eq!(seen(&cache, 1, 2), Err(Some(b"reply".to_vec())));
        assert!(seen(&cache, 2, 3).is_ok());
    }

    #[test]
    fn an_answer_that_is_held_back_is_in_flight_until_it_has_left() {
        let cache = DuplicateCache::new(1024);
        cache.answer(seen(&cache, 1, 0).unwrap(), b"reject", Tick(500));
        assert_eq!(seen(&cache, 1, 499), Err(None));
        assert_eq!(seen(&cache, 1, 500), Err(Some(b"reject".to_vec())));
    }

    #[test]
    fn a_request_that_failed_or_is_older_than_the_window_is_new_again() {
        let cache = DuplicateCache::new(1024);
        cache.forget(seen(&cache, 1, 0).unwrap());
        let mark = seen(&cache, 1, 1).unwrap();
        cache.answer(mark, b"reply", Tick(0));
        assert_eq!(seen(&cache, 1, WINDOW), Err(Some(b"reply".to_vec())));
        assert!(seen(&cache, 1, WINDOW + 1).is_ok());
        // What became of the old one is of no effect any more.
        cache.answer(mark, b"late", Tick(0));
        cache.forget(mark);
        assert_eq!(seen(&cache, 1, WINDOW + 2), Err(None));
    }

    #[test]
    fn a_flood_of_requests_leaves_the_cache_within_its_bounds() {
        let cache = DuplicateCache::new(SHARDS * 4);
        for number in 0..20_000_u32 {
            cache.answer(seen(&cache, number, u64::from(number)).unwrap(), &[0; 100], Tick(0));
        }
        let (entries, bytes) = cache.size();
        assert!(entries <= SHARDS * 4 && bytes <= SHARDS * 4 * 4096, "{entries} entries, {bytes} bytes");
        let large = DuplicateCache::new(SHARDS * 1024);
        for number in 0..20_000_u32 {
            large.answer(seen(&large, number, u64::from(number)).unwrap(), &[0; 4000], Tick(0));
        }
        assert!(large.size().1 <= DUPLICATE_BYTES_MAX);
        assert_eq!(seen(&large, 19_999, 20_000), Err(Some(vec![0; 4000])), "the newest is known");
        assert!(seen(&large, 0, 20_000).is_ok(), "the oldest answer made room");
    }

    #[test]
    fn whatever_was_evicted_a_retransmission_never_gets_another_requests_answer() {
        let (cache, random) = (DuplicateCache::new(SHARDS * 8), SeededEntropy::new(5));
        let (mut open, mut now, mut again) = (Vec::new(), 0, 0);
        for _ in 0..200_000 {
            let word = random.u64();
            now += word % (WINDOW / 800);
            let number = (word >> 32) as u32 % 1_500;
            let answer = number.to_le_bytes().repeat(1 + number as usize % 60);
            match seen(&cache, number, now) {
                Ok(mark) => open.push((mark, answer)),
                Err(None) => {}
                Err(Some(reply)) => {
                    assert_eq!(reply, answer);
                    again += 1;
                }
            }
            if !open.is_empty() && !word.is_multiple_of(3) {
                let (mark, answer) = open.swap_remove((word >> 16) as usize % open.len());
                if word.is_multiple_of(5) { cache.forget(mark) } else { cache.answer(mark, &answer, Tick(0)) }
            }
        }
        assert!(again > 1_000, "{again} answers were given again");
    }
}

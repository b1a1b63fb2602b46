//! Does a NAS sign all of its Access-Requests? Learned where the operator has not said (FIELD R17).
//!
//! Every Access-Request of a NAS with `require_message_authenticator = auto` that passed the gate is counted, those with EAP
//! left out: they are signed by any NAS (RFC 3579 §3.1). When [`SIGNED_REQUESTS_MIN`] in a row over
//! [`SIGNED_FOR_SECS_MIN`] were signed, the NAS is proven to sign: with `enforce_message_authenticator = auto` an unsigned
//! request is no longer answered, otherwise that is proposed to the operator.
//!
//! An unsigned request takes everything back, unless it is refused: anybody can forge one, so where signing is enforced it
//! proves nothing, and where it is not it only postpones the proof.
//!
//! All of what is known of a NAS is one atomic word, and the table is replaced as a whole by [`Signatures::follow`], so the
//! path takes no lock; once a NAS has signed long enough, or has sent nothing but unsigned requests, it writes nothing.
//! Does not write files: [`Signatures::image`] and [`Signatures::load`] are for whoever does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::ids::Uid;
use crate::ledger::pool::SpreadMap;
use crate::limits::{NASES_LEARNED_MAX, SIGNED_FOR_SECS_MIN, SIGNED_REQUESTS_MIN};
use crate::time::Stamp;

const MAGIC: &[u8; 8] = b"LMSIGNED";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 24;
const CRC_BYTES: usize = 4;

/// What is known of the NASes that are learned about.
#[derive(Debug, Default)]
pub struct Signatures {
    known: ArcSwap<SpreadMap<u128, Arc<AtomicU64>>>,
}

/// How far the proof has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not far enough.
    Learning {
        /// Signed requests since the last unsigned one, counted up to [`SIGNED_REQUESTS_MIN`].
        signed: u32,
        /// When the first of them came; none when there is none.
        since: Option<Stamp>,
    },
    /// All the way.
    Proven {
        /// When the first signed request came.
        since: Stamp,
    },
}

/// Why an image is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageDamage {
    /// Not what this version writes.
    #[error("it was not written by this version of lastmile")]
    Form,
    /// The checksum differs.
    #[error("its checksum does not match")]
    Checksum,
}

/// One NAS in a word: 40 bits of seconds, one of proof, 16 of count.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Word {
    since_secs: u64,
    proven: bool,
    signed: u32,
}

impl Word {
    const NOTHING: Self = Self { since_secs: 0, proven: false, signed: 0 };

    const fn of(bits: u64) -> Self {
        Self { since_secs: bits >> 24, proven: bits & 1 << 16 != 0, signed: (bits & 0xffff) as u32 }
    }

    const fn bits(self) -> u64 {
        (self.since_secs << 24) | (self.proven as u64) << 16 | (self.signed & 0xffff) as u64
    }

    fn after_signed(self, now: Stamp) -> Self {
        if self.proven {
            return self;
        }
        let now_secs = now.secs() & 0xff_ffff_ffff;
        // A clock that was set back must not make the rest of the day count for years.
        let since_secs = if self.signed == 0 { now_secs } else { self.since_secs.min(now_secs) };
        let signed = (self.signed + 1).min(SIGNED_REQUESTS_MIN);
        let proven = signed == SIGNED_REQUESTS_MIN && now_secs - since_secs >= SIGNED_FOR_SECS_MIN;
        Self { since_secs, proven, signed }
    }

    const fn standing(self) -> Standing {
        let since = Stamp::from_secs(self.since_secs);
        if self.proven {
            Standing::Proven { since }
        } else {
            let heard = if self.signed == 0 { None } else { Some(since) };
            Standing::Learning { signed: self.signed, since: heard }
        }
    }
}

impl Signatures {
    /// Learns about these NASes from now on and forgets all others.
    pub fn follow(&self, nases: impl Iterator<Item = Uid>) {
        let known = self.known.load_full();
        let word = |nas: u128| known.get(&nas).map(Arc::clone).unwrap_or_default();
        let followed: SpreadMap<u128, Arc<AtomicU64>> =
            nases.take(NASES_LEARNED_MAX).map(|nas| (nas.0, word(nas.0))).collect();
        let same = followed.len() == known.len() && followed.keys().all(|nas| known.contains_key(nas));
        if !same {
            self.known.store(Arc::new(followed));
        }
    }

    /// Counts a signed request.
    pub fn signed(&self, nas: Uid, now: Stamp) {
        if let Some(word) = self.known.load().get(&nas.0) {
            change(word, |known| known.after_signed(now));
        }
    }

    /// Counts an unsigned request; whether it may pass. Where signing is to be enforced once it is proven, it may not then.
    pub fn unsigned(&self, nas: Uid, enforce: bool) -> bool {
        if let Some(word) = self.known.load().get(&nas.0) {
            let may_pass = |known: Word| !(enforce && known.proven);
            return may_pass(change(word, |known| if may_pass(known) { Word::NOTHING } else { known }));
        }
        true
    }

    /// How far the proof has come; none for a NAS that is not learned about.
    pub fn standing(&self, nas: Uid) -> Option<Standing> {
        let known = self.known.load();
        known.get(&nas.0).map(|word| Word::of(word.load(Ordering::Relaxed)).standing())
    }

    /// All of it as bytes, in the order of ids.
    pub fn image(&self) -> Vec<u8> {
        let known = self.known.load();
        let mut entries: Vec<(u128, u64)> =
            known.iter().map(|(nas, word)| (*nas, word.load(Ordering::Relaxed))).collect();
        entries.retain(|(_, word)| *word != 0);
        entries.sort_unstable();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + entries.len() * ENTRY_BYTES + CRC_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&(entries.len() as u32).to_be_bytes());
        for (nas, word) in entries {
            bytes.extend_from_slice(&nas.to_be_bytes());
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
        bytes
    }

    /// What an image says.
    pub fn load(image: &[u8]) -> Result<Self, ImageDamage> {
        let (body, crc) = image.split_last_chunk::<CRC_BYTES>().ok_or(ImageDamage::Form)?;
        let (header, entries) = body.split_first_chunk::<HEADER_BYTES>().ok_or(ImageDamage::Form)?;
        if !header.starts_with(MAGIC) || header.get(8..12) != Some(&VERSION.to_be_bytes()) {
            return Err(ImageDamage::Form);
        }
        if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
            return Err(ImageDamage::Checksum);
        }
        let count = (entries.len() / ENTRY_BYTES) as u32;
        let whole = entries.len().is_multiple_of(ENTRY_BYTES) && header.ends_with(&count.to_be_bytes());
        if !whole || count as usize > NASES_LEARNED_MAX {
            return Err(ImageDamage::Form);
        }
        let read = |entry: &[u8]| {
            let (nas, word) = entry.split_first_chunk::<16>()?;
            let word = u64::from_be_bytes(word.try_into().ok()?);
            Some((u128::from_be_bytes(*nas), Arc::new(AtomicU64::new(word))))
        };
        let known: SpreadMap<u128, Arc<AtomicU64>> =
            entries.chunks_exact(ENTRY_BYTES).filter_map(read).collect();
        Ok(Self { known: ArcSwap::from_pointee(known) })
    }
}

/// Changes a word and gives what it was; writes nothing when it stays the same, so that workers do not meet.
fn change(word: &AtomicU64, next: impl Fn(Word) -> Word) -> Word {
    let mut bits = word.load(Ordering::Relaxed);
    loop {
        let known = Word::of(bits);
        let new = next(known).bits();
        if new == bits {
            return known;
        }
        match word.compare_exchange_weak(bits, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return known,
            Err(now) => bits = now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAS: Uid = Uid(7);
    const DAY: u64 = SIGNED_FOR_SECS_MIN;

    fn following() -> Signatures {
        let signatures = Signatures::default();
        signatures.follow([NAS].into_iter());
        signatures
    }

    fn sign(signatures: &Signatures, times: u32, at: u64) {
        for _ in 0..times {
            signatures.signed(NAS, Stamp::from_secs(at));
        }
    }

    fn proven(signatures: &Signatures) -> bool {
        matches!(signatures.standing(NAS), Some(Standing::Proven { .. }))
    }

    #[test]
    fn proof_takes_a_thousand_signed_requests_and_a_day() {
        let signatures = following();
        assert_eq!(signatures.standing(NAS), Some(Standing::Learning { signed: 0, since: None }));
        sign(&signatures, 5_000, 1_000);
        let since = Some(Stamp::from_secs(1_000));
        assert_eq!(signatures.standing(NAS), Some(Standing::Learning { signed: 1_000, since }));
        sign(&signatures, 1, 1_000 + DAY - 1);
        assert!(!proven(&signatures));
        sign(&signatures, 1, 1_000 + DAY);
        assert_eq!(signatures.standing(NAS), Some(Standing::Proven { since: Stamp::from_secs(1_000) }));
        let quiet = following();
        sign(&quiet, 998, 1_000);
        sign(&quiet, 1, 1_000 + 3 * DAY);
        assert!(!proven(&quiet));
        sign(&quiet, 1, 1_000 + 3 * DAY);
        assert!(proven(&quiet));
    }

    #[test]
    fn an_unsigned_request_takes_the_proof_back_unless_it_is_refused() {
        let signatures = following();
        sign(&signatures, 1_000, 1_000);
        assert!(signatures.unsigned(NAS, true), "nothing is proven yet");
        assert_eq!(signatures.standing(NAS), Some(Standing::Learning { signed: 0, since: None }));
        sign(&signatures, 1_000, 2_000);
        sign(&signatures, 1, 2_000 + DAY);
        assert!(!signatures.unsigned(NAS, true));
        assert!(proven(&signatures));
        assert!(signatures.unsigned(NAS, false));
        assert!(!proven(&signatures));
    }

    #[test]
    fn a_clock_set_back_begins_the_day_anew() {
        let signatures = following();
        sign(&signatures, 1_000, 100 * DAY);
        sign(&signatures, 1, DAY);
        assert!(!proven(&signatures));
        sign(&signatures, 1, 2 * DAY);
        assert!(proven(&signatures));
    }

    #[test]
    fn only_nases_that_are_followed_are_learned_about() {
        let signatures = following();
        sign(&signatures, 3, 1_000);
        signatures.follow([NAS, Uid(8)].into_iter());
        let since = Some(Stamp::from_secs(1_000));
        assert_eq!(signatures.standing(NAS), Some(Standing::Learning { signed: 3, since }));
        signatures.follow(std::iter::empty());
        sign(&signatures, 1, 1_000);
        assert!(signatures.unsigned(NAS, true));
        assert_eq!(signatures.standing(NAS), None);
        signatures.follow((0..100_000).map(Uid));
        assert_eq!(signatures.standing(Uid(99_999)), None, "the table is bounded");
    }

    #[test]
    fn what_was_learned_survives_as_an_image_and_damage_is_seen() {
        let signatures = following();
        sign(&signatures, 1_000, 1_000);
        sign(&signatures, 1, 1_000 + DAY);
        let image = signatures.image();
        let loaded = Signatures::load(&image).unwrap();
        assert_eq!(loaded.standing(NAS), signatures.standing(NAS));
        assert_eq!(loaded.image(), image);
        for at in 0..image.len() {
            let mut damaged = image.clone();
            damaged[at] ^= 4;
            assert!(Signatures::load(&damaged).is_err(), "byte {at}");
            assert!(Signatures::load(&image[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(Signatures::load(&Signatures::default().image()).unwrap().standing(NAS), None);
    }

    #[test]
    fn many_threads_lose_no_count_and_no_reset() {
        let signatures = following();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| sign(&signatures, 200, 1_000));
            }
        });
        let since = Some(Stamp::from_secs(1_000));
        assert_eq!(signatures.standing(NAS), Some(Standing::Learning { signed: 800, since }));
    }
}

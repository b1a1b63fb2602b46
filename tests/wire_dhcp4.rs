//! The DHCPv4 codec against its vectors, its laws and another implementation.

#[path = "wire_dhcp4/differential.rs"]
mod differential;
#[path = "wire_dhcp4/vector.rs"]
mod vector;

use lastmile::dhcp::v4::wire::fuzz::fuzz_one;
use lastmile::dhcp::v4::wire::{Message, WireError};
use proptest::prelude::*;

#[test]
fn every_vector_reads_as_it_says() {
    for case in vector::cases() {
        match (Message::parse(&case.wire), &case.error) {
            (Err(error), Some(reason)) => assert_eq!(error.reason(), reason, "{}", case.name),
            (Err(error), None) => panic!("{}: refused: {error}", case.name),
            (Ok(_), Some(reason)) => panic!("{}: accepted, not refused as {reason}", case.name),
            (Ok(message), None) => {
                let expected: Vec<String> = case.read.iter().map(|line| vector::expanded(line)).collect();
                assert_eq!(vector::render(&message), expected, "{}", case.name);
            }
        }
    }
}

#[test]
fn every_vector_that_goes_both_ways_is_written_byte_for_byte() {
    let both: Vec<_> = vector::cases().into_iter().filter(|case| case.both_ways).collect();
    assert!(both.len() > 30);
    for case in both {
        assert_eq!(vector::write_request(&case.read), case.wire, "{}", case.name);
    }
}

#[test]
fn every_answer_is_written_byte_for_byte_and_sent_where_it_belongs() {
    for case in vector::cases() {
        for answer in &case.answers {
            vector::check_answer(&case.name, &Message::parse(&case.wire).unwrap(), answer);
        }
    }
}

#[test]
fn every_reason_to_discard_has_a_vector() {
    let mut seen: Vec<String> = Vec::new();
    for case in vector::cases() {
        seen.extend(case.error);
        let relay_agent = case.read.iter().filter_map(|line| line.strip_prefix("relay agent error "));
        seen.extend(relay_agent.map(str::to_owned));
    }
    let errors = [
        WireError::Truncated { len: 0 },
        WireError::TooLong { len: 0 },
        WireError::BadOp { op: 0 },
        WireError::HardwareAddressTooLong { hlen: 0 },
        WireError::BadCookie,
        WireError::OptionTruncated { code: 0 },
        WireError::OptionLength { code: 0, len: 0 },
        WireError::OptionRepeated { code: 0 },
        WireError::TooManyOptions,
        WireError::BadOverload { value: 0 },
        WireError::UnknownMessageType { value: 0 },
        WireError::SubOptionTruncated { code: 0 },
        WireError::SubOptionLength { code: 0, len: 0 },
        WireError::SubOptionRepeated { code: 0 },
        WireError::RelayAgentRepeated,
    ];
    for error in errors {
        assert!(seen.iter().any(|reason| reason == error.reason()), "no vector for {}", error.reason());
    }
}

/// A generator of reproducible choices (SplitMix64).
struct Choices(u64);

impl Choices {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit.max(1) as u64) as usize
    }

    /// Damages `bytes` in a way that lengths, codes and field ends are likely to be hit.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        const TELLING: [u8; 12] = [0, 1, 2, 3, 6, 52, 53, 61, 82, 254, 255, 127];
        let at = self.below(bytes.len());
        match self.below(6) {
            0 if !bytes.is_empty() => bytes[at] = self.below(256) as u8,
            1 if !bytes.is_empty() => bytes[at] = TELLING[self.below(TELLING.len())],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, TELLING[self.below(TELLING.len())]),
            4 if bytes.len() > 240 => {
                let from = 240 + self.below(bytes.len() - 240);
                let len = self.below(40).min(bytes.len() - from);
                let copy = bytes[from..from + len].to_vec();
                let to = 240 + self.below(bytes.len() - 240);
                bytes.splice(to..to, copy);
            }
            _ if bytes.len() > 240 => {
                let at = 240 + self.below(bytes.len() - 240);
                bytes[at] = bytes[at].wrapping_add(1);
            }
            _ => bytes.push(0),
        }
    }
}

#[test]
fn no_damage_to_a_vector_breaks_a_law() {
    let seeds: Vec<Vec<u8>> = vector::cases().into_iter().map(|case| case.wire).collect();
    let mut choices = Choices(0x4c61_7374_6d69_6c65);
    let (mut accepted, mut refused) = (0, 0);
    for seed in &seeds {
        fuzz_one(seed).unwrap();
    }
    for _ in 0..200_000 {
        let mut bytes = seeds[choices.below(seeds.len())].clone();
        for _ in 0..=choices.below(4) {
            choices.mutate(&mut bytes);
        }
        match fuzz_one(&bytes) {
            Ok(None) => accepted += 1,
            Ok(Some(_)) => refused += 1,
            Err(broken) => panic!("{broken}: {bytes:02x?}"),
        }
    }
    // Both sides of the parser must be reached for the run to mean anything.
    assert!(accepted > 20_000 && refused > 20_000, "{accepted} accepted, {refused} refused");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_break_a_law(bytes in proptest::collection::vec(any::<u8>(), 0..1600)) {
        fuzz_one(&bytes).unwrap();
    }

    #[test]
    fn no_options_break_a_law(options in proptest::collection::vec(any::<u8>(), 0..1200), overload in 0u8..5) {
        let mut bytes = vec![0; 236];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes.extend([99, 130, 83, 99, 53, 1, 1, 52, 1, overload]);
        bytes.extend(options);
        fuzz_one(&bytes).unwrap();
    }
}

//! Mutated vectors through the fuzz body: a seeded, bounded stand-in for coverage-guided fuzzing.

use lastmile::ids::{Entropy, SeededEntropy};
use lastmile::radius::wire::fuzz::fuzz_one;

use crate::vector;

/// Inputs tried; each is a vector with one to eight changes.
const INPUTS: u64 = 200_000;

#[test]
fn no_vector_breaks_a_law() {
    for packet in vector::packets() {
        fuzz_one(&packet);
    }
}

#[test]
fn no_mutated_vector_breaks_a_law() {
    let seeds = vector::packets();
    let entropy = SeededEntropy::new(1812);
    for _ in 0..INPUTS {
        let mut input = seeds[below(&entropy, seeds.len())].clone();
        for _ in 0..=below(&entropy, 7) {
            mutate(&mut input, &seeds, &entropy);
        }
        fuzz_one(&input);
    }
}

#[test]
fn the_largest_packet_of_the_smallest_attributes_breaks_no_law() {
    let mut input = vec![1, 1, 0x10, 0];
    input.resize(20, 0);
    while input.len() < 4096 {
        input.extend([input.len() as u8, 2]);
    }
    fuzz_one(&input);
}

fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], entropy: &SeededEntropy) {
    let at = below(entropy, input.len());
    match below(entropy, 8) {
        0 => input[at] ^= 1 << below(entropy, 8),
        1 => input[at] = entropy.u64() as u8,
        2 => input[at] = [0, 1, 2, 3, 0x7f, 0x80, 0xfe, 0xff][below(entropy, 8)],
        3 => input.truncate(at.max(1)),
        4 => {
            let other = &seeds[below(entropy, seeds.len())];
            input.extend(other.iter().skip(20));
            input.truncate(4200);
        }
        5 => {
            input.drain(at..(at + 1 + below(entropy, 4)).min(input.len() - 1).max(at));
        }
        6 => input.insert(at, entropy.u64() as u8),
        _ => {
            // Most changes above only reach the length check: let these through to the attributes.
            let length = (input.len() as u16).to_be_bytes();
            if let Some(field) = input.get_mut(2..4) {
                field.copy_from_slice(&length);
            }
        }
    }
}

fn below(entropy: &SeededEntropy, limit: usize) -> usize {
    (entropy.u64() % limit as u64) as usize
}

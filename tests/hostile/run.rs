//! One run of many inputs, and what it cost.

use std::env;

use lastmile::ids::{Entropy, SeededEntropy};
use rustix::time::{ClockId, clock_gettime};

/// Inputs from which on memory is judged: rings and caches are full well before a fifth of them.
const JUDGED_INPUTS_MIN: u64 = 1_000_000;
/// How often the slowest input is heard again.
const AGAIN: u32 = 5;

/// Whether this run is long enough that memory is judged.
pub(crate) fn is_judged(usual: u64) -> bool {
    inputs(usual) >= JUDGED_INPUTS_MIN
}

/// How many inputs a run has, unless the environment says otherwise.
#[expect(clippy::disallowed_methods, reason = "how long a test may take is for whoever starts it to say")]
fn inputs(usual: u64) -> u64 {
    env::var("LASTMILE_TESTS_INPUTS").map_or(usual, |text| text.parse().unwrap())
}

/// Feeds damaged seeds to `hear`, and prints what it cost.
pub(crate) fn run(
    name: &str,
    usual: u64,
    seeds: &[Vec<u8>],
    damaged: impl Fn(&[u8], &SeededEntropy) -> Vec<u8>,
    hear: impl Fn(&[u8]),
) {
    let (inputs, random) = (inputs(usual), SeededEntropy::new(0x1a57));
    let (mut slowest, mut slowest_nanos, mut warm_bytes, mut total_nanos) = (Vec::new(), 0, 0, 0);
    for number in 0..inputs {
        let input = damaged(&seeds[number as usize % seeds.len()], &random);
        let nanos = timed(&hear, &input);
        total_nanos += nanos;
        if nanos > slowest_nanos {
            (slowest, slowest_nanos) = (input, nanos);
        }
        if number == inputs / 5 {
            warm_bytes = resident_bytes();
        }
        if is_judged(usual) && (number + 1).is_multiple_of(inputs / 20) {
            println!(
                "{name}: {} inputs, {} KiB resident, at most {slowest_nanos} ns",
                number + 1,
                resident_bytes() / 1024
            );
        }
    }
    let again = (0..AGAIN).map(|_| timed(&hear, &slowest)).min().unwrap_or_default();
    let (end_bytes, mean) = (resident_bytes(), total_nanos / inputs.max(1));
    println!(
        "{name}: {inputs} inputs, {mean} ns of processor time each, at most {slowest_nanos} ns and then {again} ns for {slowest:02x?}; {} KiB resident after a fifth, {} KiB at the end",
        warm_bytes / 1024,
        end_bytes / 1024
    );
    if is_judged(usual) {
        assert!(end_bytes <= warm_bytes + warm_bytes / 20, "memory grew from {warm_bytes} to {end_bytes}");
    }
}

/// Processor time that an input costs. A machine that gives its processors to others makes it look longer.
fn timed(hear: impl Fn(&[u8]), input: &[u8]) -> u64 {
    let from = processor_nanos();
    hear(input);
    processor_nanos() - from
}

/// A number below `limit`.
pub(crate) fn below(random: &SeededEntropy, limit: usize) -> usize {
    (random.u64() % limit.max(1) as u64) as usize
}

/// Processor time of this thread: what others do on the machine does not count.
fn processor_nanos() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next());
    kib.unwrap().parse::<u64>().unwrap() * 1024
}

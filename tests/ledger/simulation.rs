//! Random interleavings of everything a server asks of the ledger, against clients that know what they were told.
//!
//! After every step: no two holders of one address, by the committed records alone; nobody is told an address that
//! another client still uses; every pool adds up; the ledger shows exactly what the records say. Along the way and at the
//! end: a ledger rebuilt from the records, or from a checkpoint and the records after it, is the same.
//!
//! A run is named by its seed; the same seed gives the same run.

use crate::trace::{brief, holder_line};
use crate::truth::durable_of;
use crate::world::{Stats, World};

/// What a run stresses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// NASes send login requests again.
    Resends,
    /// Pools are edited all the time, under services with several lines.
    Edits,
}

/// Runs one seed; when it fails, runs it again and prints what happened.
#[expect(clippy::print_stdout, reason = "what a failing run says is read by people")]
fn run(seed: u64, steps: usize, kind: Kind) -> (Stats, Vec<String>) {
    let attempt = |traced: bool| {
        let mut world = World::new(seed, traced, kind == Kind::Edits);
        world.resends = kind == Kind::Resends;
        let mut done = 0;
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while done < steps {
                world.step();
                world.check();
                done += 1;
            }
            world.commit(usize::MAX);
            world.check();
            world.compare_rebuilt();
        }));
        (world, done, outcome)
    };
    let (world, done, outcome) = attempt(false);
    if outcome.is_ok() {
        return (world.stats, durable_of(&world.ledger));
    }
    let (world, _, outcome) = attempt(true);
    for (index, client) in world.clients.iter().enumerate() {
        println!("  client {index} of {}: {:?}", brief(&[holder_line(client.holder)]), client.owner);
    }
    for line in world.trace.iter().skip(world.trace.len().saturating_sub(150)) {
        println!("  {line}");
    }
    println!("seed {seed} failed at step {done} of {steps}");
    let panic = outcome.expect_err("the same seed fails again");
    std::panic::resume_unwind(panic);
}

fn total(seeds: std::ops::Range<u64>, steps: usize, kind: Kind) -> Stats {
    let mut sum = Stats::default();
    for seed in seeds {
        let (stats, _) = run(seed, steps, kind);
        sum.told += stats.told;
        sum.again += stats.again;
        sum.denied += stats.denied;
        sum.crashes += stats.crashes;
        sum.forgotten += stats.forgotten;
        sum.conflicts_reported += stats.conflicts_reported;
        sum.releases += stats.releases;
        sum.skewed += stats.skewed;
        sum.replays += stats.replays;
    }
    sum
}

#[test]
fn short_runs_never_give_one_address_to_two_holders() {
    let met = total(0..2_000, 150, Kind::Plain);
    assert!(met.told > 50_000 && met.releases > 5_000 && met.crashes > 300 && met.skewed > 100, "{met:?}");
}

#[test]
fn logins_that_are_sent_again_and_decided_again_give_no_address_to_two_holders() {
    let met = total(3_000_000..3_001_000, 150, Kind::Resends);
    assert!(met.told > 25_000 && met.again > 1_500, "{met:?}");
}

#[test]
fn pools_edited_all_the_time_under_services_with_several_lines_give_no_address_to_two_holders() {
    let met = total(4_000_000..4_001_000, 200, Kind::Edits);
    assert!(met.told > 25_000 && met.crashes > 200 && met.releases > 5_000, "{met:?}");
}

#[test]
#[ignore = "seeds of one's own choice: SEEDS=first,count,steps cargo test --test ledger chosen -- --ignored"]
#[expect(clippy::disallowed_methods, reason = "whoever looks for a failing seed names the seeds by hand")]
fn chosen_seeds_never_give_one_address_to_two_holders() {
    let chosen = std::env::var("SEEDS").unwrap_or_default();
    let numbers: Vec<u64> = chosen.split(',').filter_map(|number| number.parse().ok()).collect();
    let [first, count, steps] = numbers[..] else { panic!("SEEDS=first,count,steps, not {chosen:?}") };
    for kind in [Kind::Plain, Kind::Resends, Kind::Edits] {
        total(first..first + count, steps as usize, kind);
    }
}

#[test]
fn long_runs_never_give_one_address_to_two_holders() {
    let met = total(1_000_000..1_000_010, 6_000, Kind::Plain);
    assert!(met.told > 5_000 && met.crashes > 50 && met.denied > 1_000, "{met:?}");
}

#[test]
#[ignore = "an hour of further seeds, for changes to the ledger: cargo test --test ledger -- --ignored"]
fn many_more_runs_never_give_one_address_to_two_holders() {
    for kind in [Kind::Plain, Kind::Resends, Kind::Edits] {
        total(10_000..60_000, 200, kind);
        total(2_000_000..2_000_200, 8_000, kind);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        assert_eq!(run(seed, 300, Kind::Resends), run(seed, 300, Kind::Resends));
    }
}

//! What the migration promises, over some hundred seeds; a failure names its seed and shows its run,
//! as `cargo run -p blockferry-sim -- --trace SEED` does.

use blockferry_migration::Faults;
use blockferry_sim::{Outcome, Trouble, run};

fn holds(seeds: std::ops::Range<u64>, trouble: Trouble) -> Vec<Outcome> {
    let outcomes = seeds.map(|seed| {
        let outcome = run(seed, trouble, Faults::default(), false);
        if let Some(what) = &outcome.violation {
            run(seed, trouble, Faults::default(), true);
            panic!("seed {seed} with {trouble:?}: {what}");
        }
        outcome
    });
    outcomes.collect()
}

fn count(outcomes: &[Outcome], what: &str) -> u64 {
    outcomes.iter().filter_map(|outcome| outcome.counts.get(what)).sum()
}

#[test]
fn l1_without_failures_one_pass_carries_everything_whatever_the_clients_write() {
    let outcomes = holds(0..60, Trouble::None);
    assert_eq!(count(&outcomes, "migrated"), 60);
    assert!(count(&outcomes, "mirror") > 0 && count(&outcomes, "resync") > 0);
}

#[test]
fn i15_broken_and_stalled_connections_show_no_client_an_older_value() {
    let outcomes = holds(0..80, Trouble::Network);
    assert!(count(&outcomes, "fenced-destination") > 0 && count(&outcomes, "path") > 80);
}

#[test]
fn l3_whatever_crashes_the_migration_commits_and_both_sides_agree() {
    let outcomes = holds(0..160, Trouble::All);
    assert!(count(&outcomes, "migrated") >= 160);
    assert!(count(&outcomes, "start") > 3 * 160, "nothing was restarted");
}

#[test]
fn i9_what_a_store_forgot_that_its_program_outlived_is_copied_and_sent_again() {
    let outcomes = holds(0..160, Trouble::Store);
    assert!(count(&outcomes, "migrated") >= 160);
    assert!(count(&outcomes, "flush-failed") > 40, "no flush failed");
}

#[test]
fn a_seed_is_always_the_same_run() {
    for seed in 0..10 {
        let first = run(seed, Trouble::All, Faults::default(), false);
        let second = run(seed, Trouble::All, Faults::default(), false);
        assert_eq!((first.steps, first.lasted), (second.steps, second.lasted), "seed {seed}");
        assert_eq!(first.counts, second.counts, "seed {seed}");
    }
}

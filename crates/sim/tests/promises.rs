//! What the migration promises, over some thousand seeds; a failure names its seed and shows its run,
//! as `cargo run -p blockferry-sim -- --trace SEED` does.

use blockferry_migration::Faults;
use blockferry_sim::plan::{FAULTS_MIN, OPERATIONS_MIN};
use blockferry_sim::{Outcome, Trouble, exhaust, run};

/// Every one of the runs is a whole migration under a load, with its faults, and ends well.
fn holds(seeds: std::ops::Range<u64>, trouble: Trouble) -> Vec<Outcome> {
    let outcomes = seeds.map(|seed| {
        let outcome = run(seed, trouble, Faults::default(), false);
        if let Some(what) = &outcome.violation {
            run(seed, trouble, Faults::default(), true);
            panic!("--faults {} --trace {seed}: {what}", trouble.name());
        }
        let count = |what| outcome.counts.get(what).copied().unwrap_or_default();
        let given_up = count("given-up") > 0;
        let ended = given_up || count("migrated") > 0;
        assert!(ended && count("operation") >= OPERATIONS_MIN, "seed {seed}");
        // A migration that is given up may have ended before the third fault.
        let calm = trouble == Trouble::None;
        let faults_min = if given_up { 1 } else { FAULTS_MIN };
        assert!(calm || count("fault") >= faults_min, "seed {seed}: {:?}", outcome.counts);
        outcome
    });
    outcomes.collect()
}

fn count(outcomes: &[Outcome], what: &str) -> u64 {
    outcomes.iter().filter_map(|outcome| outcome.counts.get(what)).sum()
}

#[test]
fn l1_without_failures_one_pass_carries_everything_whatever_the_clients_write() {
    let outcomes = holds(0..200, Trouble::None);
    assert!(count(&outcomes, "mirror") > 0 && count(&outcomes, "resync") > 0);
    assert_eq!(count(&outcomes, "client-error"), 0);
}

#[test]
fn i15_broken_and_stalled_connections_show_no_client_an_older_value() {
    let outcomes = holds(0..300, Trouble::Network);
    assert!(count(&outcomes, "fenced-destination") > 0 && count(&outcomes, "path") > 300);
    assert_eq!(count(&outcomes, "client-error"), 0);
}

#[test]
fn l3_whatever_crashes_the_migration_commits_and_both_sides_agree() {
    whatever_crashes(0..300);
}

#[test]
fn l3_whatever_crashes_in_more_worlds_the_migration_commits_and_both_sides_agree() {
    whatever_crashes(300..600);
}

fn whatever_crashes(seeds: std::ops::Range<u64>) {
    let worlds = seeds.end - seeds.start;
    let outcomes = holds(seeds, Trouble::All);
    assert!(count(&outcomes, "start") > 3 * worlds, "nothing was restarted");
    assert_eq!(count(&outcomes, "client-error"), 0);
}

#[test]
fn i9_what_a_store_forgot_that_its_program_outlived_is_copied_and_sent_again() {
    let outcomes = holds(0..300, Trouble::Store);
    assert!(count(&outcomes, "flush-failed") > 40, "no flush failed");
    assert_eq!(count(&outcomes, "client-error"), 0);
}

#[test]
fn a_client_is_told_of_an_error_of_its_owners_disk_and_of_no_other() {
    disks_fail(0..300);
}

#[test]
fn a_copy_that_a_failing_disk_holds_up_goes_on_and_both_sides_agree() {
    disks_fail(300..600);
}

fn disks_fail(seeds: std::ops::Range<u64>) {
    let outcomes = holds(seeds, Trouble::Disk);
    assert!(count(&outcomes, "client-error") > 100, "no client saw an error");
    assert!(count(&outcomes, "copy-failed") > 20, "no copy write failed");
    assert!(count(&outcomes, "flush-failed") > 20, "no flush of the destination failed");
}

#[test]
fn what_the_destinations_disk_dropped_or_misdirected_is_found_before_the_commit() {
    let outcomes = holds(0..200, Trouble::Lying);
    assert!(count(&outcomes, "lie") > 100, "the disk told the truth");
    assert!(count(&outcomes, "compared-different") > 50, "nothing was found");
}

#[test]
fn i12_whoever_takes_over_or_gives_up_nobody_obeys_an_older_controller() {
    let outcomes = holds(0..300, Trouble::Control);
    assert!(count(&outcomes, "superseded") > 50, "no controller met a newer one");
    assert!(count(&outcomes, "given-up") > 20, "no migration was given up");
}

#[test]
fn a_crash_at_any_record_flush_or_message_loses_nothing() {
    exhausted(0);
}

#[test]
fn a_crash_at_any_record_flush_or_message_of_a_deeper_load_loses_nothing() {
    exhausted(1);
}

#[test]
fn a_crash_at_any_record_flush_or_message_of_an_abort_loses_nothing() {
    exhausted(2);
}

#[test]
fn an_abort_that_a_crash_cut_off_is_whole_or_has_not_happened() {
    exhausted(3);
}

fn exhausted(seed: u64) {
    let strikes = exhaust::strikes(seed);
    for (point, _) in exhaust::POINTS {
        assert!(strikes.iter().any(|strike| strike.point == point), "{point} is never passed");
    }
    for strike in strikes {
        let outcome = strike.run(seed, false);
        if let Some(what) = &outcome.violation {
            strike.run(seed, true);
            panic!("--exhaust {seed} --strike {strike}: {what}");
        }
        let (faults, planned) = (outcome.counts.get("fault"), [1, 1, 2, 3][seed as usize % 4]);
        assert_eq!(faults, Some(&planned), "seed {seed}: {strike} did not come");
    }
}

#[test]
fn a_seed_is_always_the_same_run() {
    for seed in 0..10 {
        let first = run(seed, Trouble::Disk, Faults::default(), false);
        let second = run(seed, Trouble::Disk, Faults::default(), false);
        assert_eq!((first.steps, first.lasted), (second.steps, second.lasted), "seed {seed}");
        assert_eq!(first.counts, second.counts, "seed {seed}");
    }
}

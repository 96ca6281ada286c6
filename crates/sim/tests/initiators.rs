//! Initiators log in where the volume is, and send again what was not answered; the rules that protect
//! them are seen when they are broken.

use blockferry_migration::Faults;
use blockferry_sim::executor::{MILLIS, SECOND};
use blockferry_sim::fault::{Fault, Moment};
use blockferry_sim::network::Host;
use blockferry_sim::{Mutation, Mutations, Outcome, Plan, Trouble, run_plan};

/// Initiators in each world.
const INITIATORS: u64 = 3;

/// Seeds that are tried before a breach counts as unseen.
const SEEDS: u64 = 600;

fn run(seed: u64, trouble: Trouble, mutations: Mutations, traced: bool) -> Outcome {
    let plan = Plan::of(seed, trouble).with_initiators(INITIATORS);
    run_plan(seed, plan, trouble, mutations, traced)
}

fn holds_in(seed: u64, trouble: Trouble) -> Outcome {
    let outcome = run(seed, trouble, Faults::default().into(), false);
    if let Some(what) = &outcome.violation {
        run(seed, trouble, Faults::default().into(), true);
        panic!("--initiators {INITIATORS} --faults {} --trace {seed}: {what}", trouble.name());
    }
    outcome
}

fn holds(seeds: std::ops::Range<u64>, trouble: Trouble) {
    let (mut logins, mut replaced) = (0, 0);
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let outcome = holds_in(seed, trouble);
        logins += outcome.counts.get("login").copied().unwrap_or_default();
        replaced += outcome.counts.get("replaced").copied().unwrap_or_default();
    }
    // Each logs in at both sides where the volume moves.
    assert!(logins > count * INITIATORS && replaced > 20 * count, "{logins} and {replaced}");
}

/// The rule is broken in worlds of this trouble, which `tune` may lead to where it matters.
fn shows(mutation: Mutation, trouble: Trouble, tune: impl Fn(u64, &mut Plan)) {
    let seen = (0..SEEDS).find_map(|seed| {
        let mut plan = Plan::of(seed, trouble).with_initiators(INITIATORS);
        tune(seed, &mut plan);
        let outcome = run_plan(seed, plan, Trouble::All, Mutations::from(mutation), false);
        Some((seed, outcome.violation?))
    });
    let (seed, what) = seen.unwrap_or_else(|| panic!("{mutation:?} was not seen"));
    println!("{mutation:?} seed {seed}: {what}");
}

#[test]
fn initiators_see_one_register_a_block_in_a_migration_in_peace() {
    holds(0..100, Trouble::None);
}

#[test]
fn initiators_see_one_register_a_block_whatever_connections_break() {
    holds(0..150, Trouble::Network);
}

#[test]
fn initiators_see_one_register_a_block_whatever_crashes() {
    holds(0..150, Trouble::All);
}

/// An answer was under way when the power failed, and what it tells of was gone.
#[test]
fn a_replacement_that_a_loss_of_power_has_taken_may_be_made_again() {
    for seed in [258, 446, 541] {
        holds_in(seed, Trouble::All);
    }
}

#[test]
fn initiators_see_one_register_a_block_whatever_disks_fail() {
    holds(0..100, Trouble::Disk);
}

#[test]
fn initiators_see_one_register_a_block_whatever_controllers_take_over() {
    holds(0..100, Trouble::Control);
}

#[test]
fn i13_an_ended_session_that_goes_on_executing_is_seen() {
    shows(Mutation::EndedSessionExecutes, Trouble::None, |seed, plan| {
        plan.weather.late_max = SECOND;
        let between = |a, b, length| Fault::Stall { a, b, percent: 100, length };
        let (clients, source) = (Host::Clients, Host::Source);
        let moment = Moment::After("login", INITIATORS, MILLIS * (1 + seed % 40));
        plan.faults = vec![
            // What comes late must not find the volume elsewhere.
            (Moment::After("copied", 1, 0), between(Host::Controller, source, 2 * SECOND)),
            (moment, between(clients, source, 100 * MILLIS)),
            (moment.later(2 * MILLIS), Fault::Break { a: clients, b: source, percent: 100 }),
        ];
    });
}

#[test]
fn i15_a_commit_that_does_not_wait_for_initiators_is_seen() {
    shows(Mutation::CommitWithoutHush, Trouble::Network, |_, _| {});
}

#[test]
fn i15_a_source_that_takes_initiators_in_after_its_commit_is_seen() {
    shows(Mutation::LoginAfterCommit, Trouble::None, |seed, plan| {
        let moment = Moment::After("committed", 1, 20 * MILLIS + 500 * (seed % 40));
        let crash = Fault::Crash { host: Host::Source, power: false, down: 2 * SECOND };
        plan.faults = vec![(moment, crash)];
    });
}

#[test]
fn i8_a_disk_that_is_not_sent_before_the_commit_is_seen() {
    shows(Mutation::DiskNotSent, Trouble::None, |_, _| {});
}

#[test]
fn i15_a_comparison_before_its_turn_is_seen() {
    shows(Mutation::CompareBeforeTurn, Trouble::None, |_, _| {});
}

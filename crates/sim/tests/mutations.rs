//! A test of the tests: every rule that is broken on purpose is seen by the checks.
//!
//! Rules whose breach shows seldom are tried in worlds that lack everything but the fault which the
//! rule is made for.

use blockferry_migration::Faults;
use blockferry_sim::disk::Speed;
use blockferry_sim::executor::{MILLIS, SECOND};
use blockferry_sim::fault::{Fault, Moment, Planned};
use blockferry_sim::network::Host;
use blockferry_sim::{Mutation, Mutations, Plan, Trouble, run, run_plan};

/// Seeds that are tried before a breach counts as unseen.
const SEEDS: u64 = 1_500;

fn first_violation(seeds: impl Fn(u64) -> Option<String>) -> (u64, String) {
    let mut found = (0..SEEDS).filter_map(|seed| Some((seed, seeds(seed)?)));
    found.next().unwrap_or_else(|| panic!("not seen in {SEEDS} seeds"))
}

/// A fault of the machines shows even where nothing goes wrong.
fn shows_in_calm(faults: Faults, invariants: &[&str]) {
    let (seed, what) = first_violation(|seed| run(seed, Trouble::None, faults, false).violation);
    println!("seed {seed}: {what}");
    let expected = invariants.iter().any(|invariant| what.starts_with(invariant));
    assert!(expected, "seed {seed}: {what}");
}

/// A broken rule of the programs shows where these faults are planned.
fn shows_with(mutation: Mutation, planned: impl Fn(u64) -> Vec<Planned>) {
    shows_in(mutation, |seed, plan| plan.faults = planned(seed));
}

fn shows_in(mutation: Mutation, tune: impl Fn(u64, &mut Plan)) {
    let (seed, what) = first_violation(|seed| {
        let mut plan = Plan::of(seed, Trouble::Network);
        plan.load.overlapping = false;
        plan.weather.late_max = SECOND;
        tune(seed, &mut plan);
        run_plan(seed, plan, Trouble::All, Mutations::from(mutation), false).violation
    });
    println!("{mutation:?} seed {seed}: {what}");
}

fn crash(host: Host, power: bool) -> Fault {
    Fault::Crash { host, power, down: 10 * MILLIS }
}

fn stall(a: Host, b: Host) -> Fault {
    Fault::Stall { a, b, percent: 100, length: 300 * MILLIS }
}

fn cut(a: Host, b: Host) -> Fault {
    Fault::Break { a, b, percent: 100 }
}

#[test]
fn i5_a_claim_that_does_not_wait_is_seen() {
    shows_in_calm(Faults { claim_without_waiting: true, ..Faults::default() }, &["I5"]);
}

#[test]
fn i7_a_write_that_is_not_mirrored_is_seen() {
    shows_in_calm(Faults { skip_mirror: true, ..Faults::default() }, &["I7", "I5"]);
}

#[test]
fn i3_a_mirror_write_above_the_reserved_address_is_seen() {
    shows_in_calm(Faults { mirror_above_reserved: true, ..Faults::default() }, &["I3"]);
}

#[test]
fn i7_a_refused_mirror_write_that_is_forgotten_is_seen() {
    shows_in_calm(Faults { forget_dirty: true, ..Faults::default() }, &["I7"]);
}

#[test]
fn i9_a_checkpoint_without_a_flush_is_seen() {
    shows_with(Mutation::CheckpointWithoutFlush, |seed| {
        vec![(Moment::After("checkpointed", 1 + seed % 4, 0), crash(Host::Destination, true))]
    });
}

#[test]
fn i9_a_failed_flush_that_goes_unnoticed_is_seen() {
    shows_with(Mutation::FailedFlushUnnoticed, |seed| {
        vec![(Moment::After("copied", 2 + seed % 4, 0), Fault::Forget)]
    });
}

#[test]
fn i9_a_log_behind_the_writes_is_seen() {
    shows_in(Mutation::LogBehindWrites, |seed, plan| {
        plan.journal_speed = Speed(10 * MILLIS, 50 * MILLIS);
        let moment = Moment::After("mirror", 1, 100 * (seed % 30));
        plan.faults = vec![(moment, crash(Host::Source, true))];
    });
}

#[test]
fn i9_a_log_that_a_restart_forgets_is_seen() {
    shows_with(Mutation::LogForgotten, |seed| {
        vec![(Moment::After("checkpointed", 1 + seed % 4, 2 * MILLIS), crash(Host::Source, true))]
    });
}

#[test]
fn i8_a_flush_before_write_through_is_seen() {
    shows_with(Mutation::FlushBeforeWriteThrough, |_| {
        vec![(Moment::After("committed", 1, 0), crash(Host::Destination, true))]
    });
}

#[test]
fn i8_a_ready_destination_that_does_not_write_through_is_seen() {
    shows_with(Mutation::NoWriteThrough, |_| {
        vec![(Moment::After("committed", 1, 0), crash(Host::Destination, true))]
    });
}

#[test]
fn i1_forwarding_before_the_commit_record_is_seen() {
    shows_with(Mutation::ForwardBeforeRecord, |_| Vec::new());
}

#[test]
fn i12_a_mirror_connection_opened_without_a_fence_is_seen() {
    shows_with(Mutation::MirrorWithoutFence, |seed| {
        let moment = Moment::After("mirror", 1 + seed % 9, 0);
        let (s, d) = (Host::Source, Host::Destination);
        vec![(moment, stall(s, d)), (moment.later(2 * MILLIS), cut(s, d))]
    });
}

#[test]
fn i13_a_forward_without_a_fence_is_seen() {
    shows_with(Mutation::ForwardWithoutFence, |seed| {
        let moment = Moment::After("committing", 1, 0);
        let (s, d) = (Host::Source, Host::Destination);
        vec![(moment, stall(s, d)), (moment.later(100 * (seed % 50)), cut(s, d))]
    });
}

#[test]
fn i13_a_replay_without_a_fence_is_seen() {
    shows_in(Mutation::ReplayWithoutFence, |seed, plan| {
        plan.weather.late_max = 5 * SECOND;
        let moment = Moment::After("update", 5 + seed % 20, 0);
        let (c, s) = (Host::Clients, Host::Source);
        plan.faults = vec![(moment, stall(c, s)), (moment.later(5 * MILLIS), cut(c, s))];
    });
}

#[test]
fn i9_an_attach_answered_while_a_checkpoint_is_written_is_seen() {
    shows_in(Mutation::AttachDuringCheckpoint, |seed, plan| {
        plan.journal_speed = Speed(100 * MILLIS, 600 * MILLIS);
        let (number, delay) = (1 + seed % 3, 500 * (seed % 10));
        let (s, d) = (Host::Source, Host::Destination);
        plan.faults = vec![
            (Moment::After("finishing", number, 0), cut(s, d)),
            (Moment::After("checkpointed", number, delay), crash(d, false)),
        ];
    });
}

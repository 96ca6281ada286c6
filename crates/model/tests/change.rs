//! Model (b): commit, forwarding, replay, and the fences of sessions. Every state of these scopes is
//! seen.

use blockferry_model::Scope;
use blockferry_model::live::{COMMITTED, WAITS_FOR_NOBODY_BEFORE_THE_COMMIT};
use blockferry_model::proof::prove;
use blockferry_model::scopes::change;

fn holds(scope: Scope) {
    let seen = prove(scope, &[COMMITTED, WAITS_FOR_NOBODY_BEFORE_THE_COMMIT]);
    println!("{:?}", seen.unwrap_or_else(|broken| panic!("{broken}")));
}

#[test]
fn the_change_of_owner_holds_its_invariants_when_nothing_goes_wrong() {
    holds(change::CALM);
}

#[test]
fn the_change_of_owner_holds_its_invariants_when_a_storage_program_dies() {
    holds(change::CRASH);
}

#[test]
fn the_change_of_owner_holds_its_invariants_when_paths_break_and_answers_are_late() {
    holds(change::BREAK);
}

#[test]
fn the_change_of_owner_holds_its_invariants_when_the_switch_dies_and_when_its_worker_does() {
    holds(change::SWITCH);
}

#[test]
fn the_change_of_owner_holds_its_invariants_when_disks_fail() {
    holds(change::ERROR);
}

#[test]
fn a_late_attach_keeps_no_destination_from_owning() {
    holds(change::LATE);
}

#[test]
fn what_was_promised_durable_before_the_commit_is_durable_after_it() {
    holds(change::DURABLE);
}

//! Model (c): terms of two controllers, an old one that still claims and writes, abort, and a second
//! migration. Every state of these scopes is seen.

use blockferry_model::Scope;
use blockferry_model::live::{
    CLIENTS_WAIT_FOR_NOBODY, COMMITTED, COMMITTED_OR_ABORTED, SWEEP_ENDS, SWEPT_OR_ABORTED,
    WAITS_FOR_NOBODY_BEFORE_THE_COMMIT,
};
use blockferry_model::proof::prove;
use blockferry_model::scopes::recovery;
use blockferry_model::search::Question;

fn holds(scope: Scope, questions: &[Question]) {
    let seen = prove(scope, questions);
    println!("{:?}", seen.unwrap_or_else(|broken| panic!("{broken}")));
}

const SWEEP: &[Question] = &[SWEPT_OR_ABORTED, CLIENTS_WAIT_FOR_NOBODY];
const CHANGE: &[Question] = &[COMMITTED_OR_ABORTED, WAITS_FOR_NOBODY_BEFORE_THE_COMMIT];

#[test]
fn an_old_controller_that_still_claims_and_writes_harms_nothing() {
    holds(recovery::SWEEP_OF_TWO, SWEEP);
}

#[test]
fn two_controllers_hold_the_invariants_when_connections_break_and_calls_are_late() {
    holds(recovery::BROKEN_SWEEP_OF_TWO, SWEEP);
}

#[test]
fn two_controllers_hold_the_invariants_when_a_storage_program_dies() {
    holds(recovery::DEADLY_SWEEP_OF_TWO, SWEEP);
}

#[test]
fn an_aborted_sweep_leaves_the_volume_as_it_was_and_can_be_begun_again() {
    holds(recovery::ABORTED_SWEEP, &[SWEEP_ENDS, CLIENTS_WAIT_FOR_NOBODY]);
}

#[test]
fn a_controller_that_was_replaced_when_it_was_about_to_commit_harms_nothing() {
    holds(recovery::COMMIT_OF_TWO, CHANGE);
}

#[test]
fn of_an_abort_and_a_commit_one_wins_however_late_they_are() {
    holds(recovery::ABORT_OF_TWO, CHANGE);
}

#[test]
fn late_calls_of_an_aborted_migration_harm_neither_the_volume_nor_the_next_one() {
    holds(recovery::AGAIN_OF_TWO, &[COMMITTED, WAITS_FOR_NOBODY_BEFORE_THE_COMMIT]);
}

#[test]
fn an_abort_holds_the_invariants_when_a_storage_program_dies() {
    holds(recovery::DEADLY_ABORT, CHANGE);
}

//! Model (a): copy, mirror, dirty extents, activity log, attach. Every state of these scopes is seen.

use blockferry_model::invariant::Invariant;
use blockferry_model::live::{CLIENTS_WAIT_FOR_NOBODY, SWEEP_ENDS};
use blockferry_model::proof::prove;
use blockferry_model::scopes::sweep;
use blockferry_model::search::Graph;
use blockferry_model::{Migration, Scope};
use stateright::{Checker, Model};

fn holds(scope: Scope) {
    let seen = prove(scope, &[SWEEP_ENDS, CLIENTS_WAIT_FOR_NOBODY]);
    println!("{:?}", seen.unwrap_or_else(|broken| panic!("{broken}")));
}

#[test]
fn the_sweep_holds_its_invariants_when_nothing_goes_wrong() {
    holds(sweep::CALM);
}

#[test]
fn the_sweep_holds_its_invariants_when_a_storage_program_dies() {
    holds(sweep::CRASH);
}

#[test]
fn the_sweep_holds_its_invariants_when_connections_break_and_answers_are_late() {
    holds(sweep::BREAK);
}

#[test]
fn the_sweep_holds_its_invariants_when_disks_fail() {
    holds(sweep::ERROR);
}

#[test]
fn stateright_sees_the_same_states_as_the_search() {
    let scope = Scope { requests: 1, ..sweep::CALM };
    let checker = Migration(scope).checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    let graph = Graph::explore(scope, Invariant::ALL, &[]);
    assert_eq!(checker.unique_state_count(), graph.states());
}

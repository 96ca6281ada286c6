//! A test of the tests: every rule that is broken on purpose is seen, and the table in the README says
//! by what.

use blockferry_model::Mutant;
use blockferry_model::invariant::Invariant;
use blockferry_model::live::{COMMITTED_OR_ABORTED, SWEPT_OR_ABORTED};
use blockferry_model::scopes::broken::{model_of, scope_of};
use blockferry_model::search::Graph;

/// Checks of a step by itself. What they see is wrong before it has done any harm.
const OF_A_STEP: [Invariant; 5] =
    [Invariant::I3, Invariant::I5, Invariant::I6, Invariant::I12, Invariant::I13];

/// The first thing to fall, with the number of steps to it.
fn fall(mutant: Mutant, watched: &[Invariant]) -> Option<String> {
    let scope = scope_of(mutant);
    let question = if scope.switch { COMMITTED_OR_ABORTED } else { SWEPT_OR_ABORTED };
    let mut graph = Graph::explore(scope, watched, &[question]);
    let broken = graph.broken.take().map(|(invariant, trace)| (invariant.name(), trace));
    let fallen = broken.or_else(|| Some((question.name, graph.dead_end(0)?)));
    fallen.map(|(name, trace)| {
        println!("{mutant:?}: {name}\n{trace}");
        format!("{} in {}", name.split(':').next().unwrap_or(name), trace.0.len())
    })
}

fn row(mutant: Mutant) -> String {
    let first = fall(mutant, Invariant::ALL);
    let first = first.unwrap_or_else(|| panic!("{} {mutant:?} survived", mutant.number()));
    let of_a_step = OF_A_STEP.iter().any(|of| first.starts_with(&format!("{of:?} ")));
    let later = if of_a_step {
        let others = Invariant::ALL.iter().copied().filter(|of| !OF_A_STEP.contains(of));
        fall(mutant, &others.collect::<Vec<_>>()).unwrap_or_else(|| "nothing".to_owned())
    } else {
        String::new()
    };
    let (number, text, model) = (mutant.number(), mutant.text(), model_of(mutant));
    format!("| {number} | {text} | {model} | {first} | {later} |")
}

fn sees_all_of(model: &str) {
    let mutants = || Mutant::ALL.iter().copied().filter(|mutant| model_of(*mutant) == model);
    let rows: Vec<_> = mutants().map(row).collect();
    println!("{}", rows.join("\n"));
    let written = include_str!("../README.md").lines().filter(|line| {
        let number = line.trim_start_matches("| ").split(' ').next().unwrap_or_default();
        mutants().any(|mutant| mutant.number() == number)
    });
    let written: Vec<_> = written.collect();
    assert!(rows == written, "the table has to be\n{}", rows.join("\n"));
}

#[test]
fn every_broken_rule_of_the_sweep_is_seen_as_the_readme_says() {
    sees_all_of("(a)");
}

#[test]
fn every_broken_rule_of_the_change_of_owner_is_seen_as_the_readme_says() {
    sees_all_of("(b)");
}

#[test]
fn every_broken_rule_of_the_recovery_is_seen_as_the_readme_says() {
    sees_all_of("(c)");
}

//! The mutants of the failure catalogue are found, each within so many seeds.

use blockferry_sim::mutants::{self, Hunt};

/// Every one that can occur here, of those whose place in the list leaves this remainder.
fn are_found(remainder: usize) {
    let all = mutants::all();
    let some = all.iter().enumerate().filter(|(index, _)| index % 2 == remainder);
    for (_, mutant) in some.filter(|(_, mutant)| !matches!(mutant.hunt, Hunt::Elsewhere(_))) {
        let found = mutant.found();
        assert!(found.is_some(), "{}: {} is not seen", mutant.name, mutant.breaks);
    }
}

#[test]
fn every_other_mutant_of_the_catalogue_is_found() {
    are_found(0);
}

#[test]
fn the_mutants_between_them_are_found_too() {
    are_found(1);
}

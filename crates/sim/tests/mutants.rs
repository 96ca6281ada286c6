//! The mutants of the failure catalogue are found where the table in the README says.

use std::collections::BTreeMap;

use blockferry_sim::mutants::{self, Hunt, Mutant};

const TABLE: &str = include_str!("../README.md");

/// What the table says of each mutant: what it breaks, the seed and what is seen.
fn table() -> BTreeMap<&'static str, [&'static str; 3]> {
    let (_, table) =
        TABLE.split_once("| mutant | breaks | first seed | seen as |").expect("a table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells =
        rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>());
    cells.map(|row| (row[0], [row[1], row[2], row[3]])).collect()
}

fn is_as_the_table_says(mutant: &Mutant, [breaks, seed, seen]: [&str; 3]) {
    assert_eq!(breaks, mutant.breaks, "{}", mutant.name);
    if let Hunt::Elsewhere(why) = mutant.hunt {
        return assert_eq!((seed, seen), ("-", why), "{}", mutant.name);
    }
    let found = mutant.seen_in(seed.parse().expect("a seed"));
    assert_eq!(found.as_deref(), Some(seen), "{} in seed {seed}", mutant.name);
}

#[test]
fn every_mutant_of_the_catalogue_is_found_in_the_seed_that_the_table_names() {
    let table = table();
    let all = mutants::all();
    assert_eq!(table.len(), all.len(), "the table and the mutants differ");
    for mutant in &all {
        let row = table.get(mutant.name).unwrap_or_else(|| panic!("no row {}", mutant.name));
        is_as_the_table_says(mutant, *row);
    }
}

//! Which tests there are, and which rows of the requirements they name.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::tree::{self, SourceFile};

/// Rows of the two source documents and of the design card.
pub const ROWS: [&str; 19] = [
    "D1.1", "D1.2", "D1.3", "D1.4", "D1.5", "D1.6", "D1.7", "D2.1", "D2.2", "D2.3", "D2.4", "D2.5",
    "D2.6", "C.1", "C.2", "C.3", "C.4", "C.5", "C.6",
];

/// A line of the table in `docs/requirements.md`.
#[derive(Debug)]
pub struct Requirement {
    /// Like `D1.3`.
    pub row: String,
    /// Names of the tests that hold the row.
    pub tests: Vec<String>,
    /// Whether there is a reason in their place.
    pub reason: bool,
}

/// Names of every test function in the given files.
pub fn test_names(files: &[SourceFile]) -> BTreeSet<String> {
    files.iter().flat_map(test_names_in).collect()
}

fn test_names_in(file: &SourceFile) -> Vec<String> {
    let mut names = Vec::new();
    let mut announced = false;
    for line in file.text.lines().map(str::trim) {
        if is_test_attribute(line) {
            announced = true;
        } else if let Some(name) = function_name(line) {
            if announced {
                names.push(name.to_owned());
            }
            announced = false;
        }
    }
    names
}

/// `#[test]`, `#[tokio::test]`, `#[tokio::test(…)]`; a property test's body is announced the same way.
fn is_test_attribute(line: &str) -> bool {
    let name = line.strip_prefix("#[").map(|rest| rest.split(['(', ']']).next().unwrap_or(rest));
    name.is_some_and(|name| name == "test" || name.ends_with("::test"))
}

fn function_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub ").unwrap_or(line);
    let rest = rest.strip_prefix("async ").unwrap_or(rest).strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}

/// The tests of a file that are not run by themselves: the reason given, and the test's name.
pub fn set_aside(file: &SourceFile) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut reason = None;
    for line in file.text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix(concat!("#[ig", "nore")) {
            reason = Some(rest.trim_start_matches([' ', '=', '"']).to_owned());
        } else if let Some(name) = function_name(line) {
            found.extend(reason.take().map(|reason| (reason, name.to_owned())));
        }
    }
    found
}

/// The table of `docs/requirements.md`: row, meaning, tests in backticks.
///
/// # Errors
/// When the file cannot be read or a line of its table makes no sense.
pub fn requirements() -> Result<Vec<Requirement>> {
    table("docs/requirements.md")
}

/// The tables of `docs/failures.md`, in the same form; the last cell may also say why there is none.
///
/// # Errors
/// When the file cannot be read or a line of its tables makes no sense.
pub fn failures() -> Result<Vec<Requirement>> {
    table("docs/failures.md")
}

/// Names of the rows of `docs/failures.md`, in their order.
pub fn failure_rows() -> Vec<String> {
    let sections = [("A", 20), ("B", 15), ("C", 17), ("D", 19), ("E", 22)];
    let rows = |(section, count)| (1..=count).map(move |row| format!("{section}{row}"));
    sections.into_iter().flat_map(rows).collect()
}

fn table(path: &str) -> Result<Vec<Requirement>> {
    tree::read(path)?.text.lines().filter(|line| is_row(line)).map(requirement).collect()
}

/// Whether the line's first cell is a capital letter with a number.
fn is_row(line: &str) -> bool {
    let cell = line.strip_prefix("| ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    cell.starts_with(|c: char| c.is_ascii_uppercase())
        && cell.contains(|c: char| c.is_ascii_digit())
}

fn requirement(line: &str) -> Result<Requirement> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [row, _, tests] = cells[..] else { bail!("not three cells: {line}") };
    let in_backticks = tests.split('`').skip(1).step_by(2);
    let named: Vec<_> =
        in_backticks.filter(|name| !name.starts_with('-')).map(str::to_owned).collect();
    Ok(Requirement {
        row: row.to_owned(),
        reason: named.is_empty() && !tests.is_empty(),
        tests: named,
    })
}

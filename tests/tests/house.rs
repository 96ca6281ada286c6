//! The house rules that a machine can hold: which crate may use which, what pure crates leave alone,
//! how long files are, and that the documents tell the truth about the tree.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use blockferry_tests::promises::{self, ROWS};
use blockferry_tests::tree::{self, SourceFile};
use blockferry_tests::workspace::Workspace;

/// Lines a Rust file may have: what is longer holds more than one concern.
const FILE_LINES_MAX: usize = 450;

/// The programs, each in a folder of its name.
const PROGRAMS: [&str; 4] = ["controller", "switch-proxy", "target-dst", "target-src"];

/// Crates that decide and never act: time, randomness and bytes come in as arguments.
const PURE: [&str; 7] = [
    "blockferry-block",
    "blockferry-device",
    "blockferry-iscsi",
    "blockferry-nbd-wire",
    "blockferry-scsi",
    "blockferry-migration",
    "blockferry-wire",
];

/// What a pure crate may not link, by whatever way.
const IMPURE: [&str; 12] = [
    "tokio",
    "mio",
    "async-std",
    "smol",
    "rand",
    "rand_core",
    "fastrand",
    "getrandom",
    "socket2",
    "rustix",
    "nix",
    "io-uring",
];

/// What a pure crate's source may not name.
const IMPURE_PATHS: [&str; 7] = [
    "std::time::Instant",
    "SystemTime",
    "Instant::now",
    "std::net",
    "std::fs",
    "std::thread",
    "std::process",
];

#[test]
fn block_depends_on_nothing() -> Result<()> {
    let linked = Workspace::load()?.links("blockferry-block");
    assert!(linked.is_empty(), "blockferry-block links {linked:?}");
    Ok(())
}

#[test]
fn pure_crates_link_no_runtime_no_randomness_and_no_sockets() -> Result<()> {
    let workspace = Workspace::load()?;
    let impure = BTreeSet::from(IMPURE.map(str::to_owned));
    for package in PURE {
        let found: Vec<_> = workspace.links(package).intersection(&impure).cloned().collect();
        assert!(found.is_empty(), "{package} links {found:?}");
    }
    Ok(())
}

#[test]
fn pure_crates_name_no_clock_no_socket_no_file_and_no_thread() -> Result<()> {
    let workspace = Workspace::load()?;
    let folders: Vec<_> =
        PURE.iter().map(|package| format!("{}/src/", workspace.members[*package])).collect();
    let files = tree::rust_files()?;
    let pure =
        files.iter().filter(|file| folders.iter().any(|folder| file.path.starts_with(folder)));
    assert_nowhere(pure, &IMPURE_PATHS);
    Ok(())
}

#[test]
fn records_are_made_without_a_runtime_and_by_the_files_they_are_given() -> Result<()> {
    let workspace = Workspace::load()?;
    for package in ["blockferry-journal", "blockferry-records"] {
        let linked = workspace.links(package);
        assert!(!linked.contains("tokio"), "{package} links tokio");
        let ours: Vec<_> = linked.iter().filter(|name| name.starts_with("blockferry-")).collect();
        let allowed = ["blockferry-block", "blockferry-journal", "blockferry-migration"];
        assert!(
            ours.iter().all(|name| allowed.contains(&name.as_str())),
            "{package} links {ours:?}"
        );
    }
    let files = tree::rust_files()?;
    let sources = files.iter().filter(|file| file.path.starts_with("crates/records/src/"));
    assert_nowhere(sources, &IMPURE_PATHS);
    Ok(())
}

#[test]
fn the_protocols_know_neither_stores_nor_servers() -> Result<()> {
    let workspace = Workspace::load()?;
    for package in [
        "blockferry-iscsi",
        "blockferry-nbd-wire",
        "blockferry-scsi",
        "blockferry-migration",
        "blockferry-wire",
    ] {
        let ours: Vec<_> = workspace
            .links(package)
            .into_iter()
            .filter(|name| name.starts_with("blockferry-"))
            .collect();
        let allowed = ["blockferry-block", "blockferry-device", "blockferry-wire"];
        assert!(
            ours.iter().all(|name| allowed.contains(&name.as_str())),
            "{package} links {ours:?}"
        );
    }
    Ok(())
}

#[test]
fn nothing_uses_a_program() -> Result<()> {
    let workspace = Workspace::load()?;
    let programs: BTreeSet<String> = workspace
        .members
        .iter()
        .filter(|(name, folder)| !folder.starts_with("crates/") && *name != "blockferry-tests")
        .map(|(name, _)| name.clone())
        .collect();
    assert_eq!(programs, BTreeSet::from(PROGRAMS.map(str::to_owned)));
    for package in workspace.members.keys().filter(|name| *name != "blockferry-tests") {
        let used: Vec<_> = workspace.names(package).intersection(&programs).cloned().collect();
        assert!(used.is_empty(), "{package} uses the programs {used:?}");
    }
    Ok(())
}

#[test]
fn the_nbd_crate_serves_in_tests_only() -> Result<()> {
    let workspace = Workspace::load()?;
    for package in workspace.members.keys() {
        assert!(
            !workspace.links(package).contains("nbd"),
            "{package} links the nbd crate outside its tests"
        );
    }
    Ok(())
}

#[test]
fn c_2_the_packages_of_the_card_are_used() -> Result<()> {
    let workspace = Workspace::load()?;
    for program in PROGRAMS {
        let linked = workspace.links(program);
        for package in ["tokio", "bytes", "tokio-util", "anyhow", "tracing-subscriber"] {
            assert!(linked.contains(package), "{program} does not link {package}");
        }
    }
    let in_tests =
        workspace.members.keys().any(|name| workspace.names_in_tests(name).contains("nbd"));
    assert!(in_tests, "no package's tests use the nbd crate");
    Ok(())
}

#[test]
fn c_3_the_top_level_is_that_of_the_card() -> Result<()> {
    assert!(tree::read("Cargo.toml")?.text.contains("[workspace]"));
    let members = Workspace::load()?.members;
    for program in PROGRAMS {
        assert_eq!(members.get(program).map(String::as_str), Some(program));
    }
    assert!(members.values().any(|folder| folder == "tests"));
    Ok(())
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() -> Result<()> {
    for folder in Workspace::load()?.members.values() {
        let manifest = tree::read(&format!("{folder}/Cargo.toml"))?;
        assert!(
            manifest.text.contains("[lints]\nworkspace = true"),
            "{folder} has lints of its own"
        );
    }
    Ok(())
}

#[test]
fn unsafe_code_stands_in_two_files() -> Result<()> {
    let allowed = "#![allow(unsafe_code";
    let files = tree::rust_files()?;
    // Not this file, which names what it looks for.
    let rust = files.iter().filter(|file| file.path != "tests/tests/house.rs");
    let holding: Vec<_> = rust.filter(|file| file.text.contains("allow(unsafe_code")).collect();
    let paths: Vec<_> = holding.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["crates/ring/src/sys.rs", "crates/tcp-progress/src/sys.rs"]);
    for file in holding {
        assert!(file.text.contains(allowed), "{} allows it in part", file.path);
        let blocks =
            file.text.matches("unsafe {").count() + file.text.matches("unsafe impl").count();
        let reasons = file.text.matches("// SAFETY: ").count();
        assert!(blocks <= reasons, "{} has {blocks} unsafe blocks, {reasons} reasons", file.path);
    }
    Ok(())
}

#[test]
fn rust_files_are_short() -> Result<()> {
    let files = tree::rust_files()?;
    let long = files.iter().filter(|file| file.text.lines().count() > FILE_LINES_MAX);
    let long: Vec<_> = long.map(|file| &file.path).collect();
    assert!(long.is_empty(), "of more than {FILE_LINES_MAX} lines: {long:?}");
    Ok(())
}

#[test]
fn nothing_is_left_for_later() -> Result<()> {
    let left = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME")];
    assert_nowhere(&tree::rust_files()?, &left);
    Ok(())
}

/// A part that needs surroundings of its own (a limit, a tracer) may be set aside for the test that
/// makes them.
#[test]
fn no_test_is_switched_off_unless_another_runs_it() -> Result<()> {
    for file in tree::rust_files()? {
        for (reason, name) in promises::set_aside(&file) {
            let run = reason.starts_with("run by ")
                && words(&file.text).filter(|word| *word == name).count() > 1;
            assert!(run, "{}: {name} is switched off and no test of its file runs it", file.path);
        }
    }
    Ok(())
}

#[test]
fn no_file_names_a_folder_of_one_machine() -> Result<()> {
    let paths = tree::files("*")?;
    let texts: Vec<_> = paths.iter().filter_map(|path| tree::read(path).ok()).collect();
    assert!(texts.len() > 20, "only {} files were read", texts.len());
    assert_nowhere(&texts, &[concat!("/wo", "rk/"), concat!("/ho", "me/")]);
    Ok(())
}

#[test]
fn the_commands_of_the_readme_exist_and_can_be_run() -> Result<()> {
    let readme = tree::read("README.md")?;
    let commands: BTreeSet<_> =
        commands(&readme).into_iter().filter(|word| word.contains('/')).collect();
    for wanted in ["dev/demo", "dev/test"] {
        assert!(
            commands.contains(wanted),
            "README.md does not name {wanted} in a block of commands"
        );
    }
    for command in commands {
        let metadata = tree::root().join(command).metadata();
        let runs =
            metadata.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 == 0o111);
        assert!(runs, "README.md names {command}, which is missing or cannot be executed");
    }
    Ok(())
}

#[test]
fn documents_link_to_files_that_exist() -> Result<()> {
    for path in tree::files("*.md")? {
        let document = tree::read(&path)?;
        let folder = tree::root().join(&path).parent().map(ToOwned::to_owned).unwrap_or_default();
        for target in links(&document) {
            assert!(folder.join(target).exists(), "{path} links to {target}, which does not exist");
        }
    }
    Ok(())
}

#[test]
fn the_architecture_names_every_package() -> Result<()> {
    let architecture = tree::read("ARCHITECTURE.md")?;
    for (package, folder) in Workspace::load()?.members {
        assert!(
            architecture.text.contains(&format!("`{folder}`")),
            "ARCHITECTURE.md does not name {folder} ({package})"
        );
    }
    Ok(())
}

#[test]
fn every_invariant_is_in_the_architecture_and_in_the_files_that_it_names() -> Result<()> {
    let architecture = tree::read("ARCHITECTURE.md")?;
    let invariants = (1..=15)
        .map(|number| format!("I{number}"))
        .chain((1..=3).map(|number| format!("L{number}")));
    for invariant in invariants {
        let row =
            architecture.text.lines().find(|line| line.starts_with(&format!("| {invariant} |")));
        let row = row.unwrap_or_else(|| panic!("ARCHITECTURE.md has no row for {invariant}"));
        for path in row.split('`').skip(1).step_by(2).filter(|word| word.ends_with(".rs")) {
            let names_it = words(&tree::read(path)?.text).any(|word| word == invariant);
            assert!(names_it, "ARCHITECTURE.md has {invariant} in {path}, which does not name it");
        }
    }
    Ok(())
}

#[test]
fn every_row_of_the_requirements_has_tests_and_every_name_is_alive() -> Result<()> {
    let table = promises::requirements()?;
    let rows: Vec<_> = table.iter().map(|requirement| requirement.row.as_str()).collect();
    assert_eq!(rows, ROWS, "left: rows of docs/requirements.md; right: rows there have to be");
    let alive = promises::test_names(&tree::rust_files()?);
    for requirement in table {
        assert!(!requirement.tests.is_empty(), "{} has no test", requirement.row);
        let dead: Vec<_> = requirement.tests.iter().filter(|name| !alive.contains(*name)).collect();
        assert!(dead.is_empty(), "{} names tests that do not exist: {dead:?}", requirement.row);
    }
    Ok(())
}

#[test]
fn every_failure_of_the_catalogue_has_tests_or_a_reason_and_every_name_is_alive() -> Result<()> {
    let table = promises::failures()?;
    let rows: Vec<_> = table.iter().map(|failure| failure.row.clone()).collect();
    assert_eq!(rows, promises::failure_rows(), "left: rows of docs/failures.md; right: all");
    let alive = promises::test_names(&tree::rust_files()?);
    for failure in table {
        assert!(failure.reason || !failure.tests.is_empty(), "{} has nothing", failure.row);
        let dead: Vec<_> = failure.tests.iter().filter(|name| !alive.contains(*name)).collect();
        assert!(dead.is_empty(), "{} names tests that do not exist: {dead:?}", failure.row);
    }
    Ok(())
}

/// Fails with every place where one of `words` stands.
fn assert_nowhere<'a>(files: impl IntoIterator<Item = &'a SourceFile>, words: &[&str]) {
    let mut found = Vec::new();
    for file in files {
        for (number, line) in file.lines() {
            found.extend(
                words
                    .iter()
                    .filter(|word| line.contains(**word))
                    .map(|word| format!("{}:{number}: {word}", file.path)),
            );
        }
    }
    assert!(found.is_empty(), "found where it may not be:\n{}", found.join("\n"));
}

/// First words of the lines of every fenced block for a shell.
fn commands(document: &SourceFile) -> Vec<&str> {
    let mut commands = Vec::new();
    let mut in_shell = false;
    for (_, line) in document.lines() {
        if let Some(language) = line.strip_prefix("```") {
            in_shell = language == "sh";
        } else if in_shell {
            commands.extend(line.split_whitespace().next());
        }
    }
    commands
}

/// Targets of Markdown links and pictures that lead to files of the tree.
fn links(document: &SourceFile) -> Vec<&str> {
    let targets =
        document.text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains(':')).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
}

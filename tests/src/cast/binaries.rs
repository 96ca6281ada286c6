//! Where the built programs are: in the folder above the test's own executable. What is missing or
//! older than its source is built first.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::tree;

/// The programs of the workspace.
const PROGRAMS: [&str; 5] =
    ["target-src", "target-dst", "controller", "switch-proxy", "blockferry-check"];

/// Touched after every build from here. A file that only tests use may be newer than the programs.
const BUILT: &str = ".programs-built-for-tests";

/// The executable of a program.
///
/// # Panics
/// When it cannot be built.
pub fn binary(program: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(built).join(program)
}

/// The command that runs a program under another, like a tracer with its arguments, or by itself.
pub(super) fn command_under(under: &[String], program: impl AsRef<Path>) -> Command {
    let program = program.as_ref();
    let Some((first, rest)) = under.split_first() else { return Command::new(program) };
    let mut command = Command::new(first);
    command.args(rest).arg(program);
    command
}

fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its executable");
    let own = test.parent().expect("PROFILE/deps/TEST or PROFILE/PROGRAM");
    let folder = if own.ends_with("deps") { own.parent().unwrap_or(own) } else { own }.to_owned();
    if !is_fresh(&folder) {
        build(&folder);
    }
    folder
}

/// Whether every program is there and newer than every source of them. Without the sources, which
/// may be elsewhere than at build time, what is there counts.
fn is_fresh(folder: &Path) -> bool {
    let built = modified(&folder.join(BUILT));
    let programs = PROGRAMS.map(|program| modified(&folder.join(program)));
    let Some(oldest) = programs.into_iter().min().flatten() else { return false };
    let newest = sources().filter_map(|path| modified(&path)).max();
    newest.is_none_or(|newest| newest <= built.map_or(oldest, |built| built.max(oldest)))
}

fn sources() -> impl Iterator<Item = PathBuf> {
    let paths = tree::files("*.rs").unwrap_or_default().into_iter();
    let built = |path: &String| path.contains("/src/") && !path.starts_with("tests/");
    paths.filter(built).map(|path| tree::root().join(path))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

/// One test builds, those beside it wait for it.
fn build(folder: &Path) {
    let lock = File::create(folder.join(".build-lock")).expect("a lock file");
    lock.lock().expect("a lock");
    if is_fresh(folder) {
        return;
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet"]).current_dir(tree::root());
    PROGRAMS.iter().for_each(|program| {
        cargo.args(["--bin", program]);
    });
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo starts");
    assert!(status.success(), "the programs cannot be built: {status}");
    fs::write(folder.join(BUILT), "").expect("the folder of the programs can be written");
}

//! The source tree: which files it has and what is in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A file of the tree.
#[derive(Debug)]
pub struct SourceFile {
    /// Path from the root, with `/`.
    pub path: String,
    /// What is in it.
    pub text: String,
}

impl SourceFile {
    /// The lines with their numbers, from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// Root of the tree that this was built from.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// One file, by its path from the root.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &str) -> Result<SourceFile> {
    let text =
        fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))?;
    Ok(SourceFile { path: path.to_owned(), text })
}

/// Every Rust file that git knows or would add, sorted.
///
/// # Errors
/// When git does not answer, or a file cannot be read.
pub fn rust_files() -> Result<Vec<SourceFile>> {
    files("*.rs")?.iter().map(|path| read(path)).collect()
}

/// Paths of the files that git knows or would add and that match the pattern, sorted. A file that
/// was removed and not yet committed is left out.
///
/// # Errors
/// When git does not answer.
pub fn files(pattern: &str) -> Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "--", pattern])
        .current_dir(root())
        .output()
        .context("cannot run git: the tests of the tree need it")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).context("git ls-files printed no UTF-8")?;
    let mut paths: Vec<String> = listed.lines().map(str::to_owned).collect();
    paths.retain(|path| root().join(path).exists());
    paths.sort();
    paths.dedup();
    Ok(paths)
}

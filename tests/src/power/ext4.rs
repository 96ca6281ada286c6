//! An ext4 file system in an image, recovered and read without mounting it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

/// An image.
pub(super) struct Ext4<'a>(pub &'a Path);

impl Ext4<'_> {
    /// Replays its journal, as mounting does.
    ///
    /// # Errors
    /// When that is not possible.
    pub(super) fn recover(&self) -> Result<()> {
        let replayed = run("e2fsck", &["-y", "-E", "journal_only"], self.0)?;
        // 1: it was mounted when the power went, and needed that.
        ensure!(matches!(replayed.status.code(), Some(0 | 1)), "no recovery: {}", said(&replayed));
        Ok(())
    }

    /// Finds nothing wrong with it.
    ///
    /// # Errors
    /// When something is.
    pub(super) fn check(&self) -> Result<()> {
        let checked = run("e2fsck", &["-fn"], self.0)?;
        ensure!(checked.status.success(), "damaged after its recovery: {}", said(&checked));
        Ok(())
    }

    /// Copies everything that is in it into a folder.
    ///
    /// # Errors
    /// When that is not possible.
    pub(super) fn extract(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let command = format!("rdump / {}", folder.display());
        let dumped = run("debugfs", &["-R", &command], self.0)?;
        ensure!(dumped.status.success(), "debugfs: {}", said(&dumped));
        Ok(())
    }
}

/// The files of a folder and what is in them. One that the power took before it was flushed has none.
///
/// # Errors
/// When one cannot be read.
pub(super) fn files_in(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    if !folder.exists() {
        return Ok(files);
    }
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            files.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(files)
}

fn run(tool: &str, arguments: &[&str], image: &Path) -> Result<Output> {
    let mut command = Command::new(tool);
    command.args(arguments).arg(image);
    command.output().with_context(|| format!("{tool} is not installed: dev/test installs it"))
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{} {}", out.trim(), err.trim())
}

//! A disk's content as a file, to which entries of a log are applied.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::log::{Entry, WriteLog};

/// A disk in a file.
pub(super) struct Disk {
    path: PathBuf,
    file: File,
}

impl Disk {
    /// One of so many bytes, all of them zero.
    ///
    /// # Errors
    /// When there is no room.
    pub(super) fn zeroed(path: &Path, size: u64) -> Result<Self> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        file.set_len(size)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Does what the entry says.
    ///
    /// # Errors
    /// When the disk or the log fails.
    pub(super) fn apply(&self, log: &WriteLog, entry: &Entry) -> Result<()> {
        if entry.length > 0 {
            self.file.write_all_at(&log.data(entry)?, entry.offset).context("replaying")?;
        }
        Ok(())
    }

    /// Another disk with the same content.
    ///
    /// # Errors
    /// When there is no room.
    pub(super) fn copy(&self, path: &Path) -> Result<Self> {
        fs::copy(&self.path, path).with_context(|| path.display().to_string())?;
        let file = File::options().read(true).write(true).open(path)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

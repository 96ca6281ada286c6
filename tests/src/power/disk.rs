//! A disk's content as a file, to which entries of a log are applied.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use blockferry_block::Extent;
use rustix::fs::{SeekFrom, seek};

use super::log::{Entry, WriteLog};

/// Bytes copied at once.
const PIECE: usize = 1 << 20;

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
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
        let file = file.with_context(|| path.display().to_string())?;
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
        let size = self.file.metadata()?.len();
        let copy = Self::zeroed(path, size)?;
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        // Most of it are holes.
        while let Ok(data) = seek(&self.file, SeekFrom::Data(at)) {
            at = seek(&self.file, SeekFrom::Hole(data))?;
            for extent in Extent::between(data, at).pieces(PIECE as u64) {
                let piece = &mut piece[..usize::try_from(extent.len())?];
                self.file.read_exact_at(piece, extent.start())?;
                copy.file.write_all_at(piece, extent.start())?;
            }
        }
        Ok(copy)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

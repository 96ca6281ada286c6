//! The activity log's file, which makes the log durable batch by batch.
//!
//! A log that can be written no longer, since its disk is full, must not cost a client its write. It is
//! removed then, and its absence says all that it could: after a restart every unit may differ.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use blockferry_journal::{Files, Journal, OsFiles};
use blockferry_migration::activity::{Batch, every_unit};
use serde::{Deserialize, Serialize};

use crate::RecordsError;

/// The log is rewritten when it has grown to this length, in bytes.
const COMPACT_AT: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Change {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    remove: Vec<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    add: Vec<u32>,
}

/// The activity log's file.
#[derive(Debug)]
pub struct ActivityFile<F: Files = OsFiles> {
    files: F,
    path: PathBuf,
    /// `None` once it is lost.
    journal: Option<Journal<Change, F>>,
    units: BTreeSet<u32>,
    compact_at: u64,
}

impl ActivityFile {
    /// Where the log of a volume lies.
    pub fn path(state_dir: &Path, name: &str) -> PathBuf {
        state_dir.join(format!("{name}.activity"))
    }
}

impl<F: Files> ActivityFile<F> {
    /// Creates the log of a migration that begins; what an older one left there is removed. The log is
    /// durable when this returns.
    ///
    /// # Errors
    /// [`RecordsError::Journal`]: what cannot be kept must not be begun.
    pub fn create(files: F, path: PathBuf) -> Result<Self, RecordsError> {
        Self::remove(&files, &path);
        let (journal, _) = Journal::open_in(files.clone(), &path)?;
        Ok(Self::new(files, path, Some(journal)))
    }

    /// Opens the log of a migration of so many bytes that was under way, and tells the units in it. A
    /// log that is not there has been lost.
    ///
    /// # Errors
    /// [`RecordsError::Journal`] when the file cannot be had or trusted.
    pub fn reopen(files: F, path: PathBuf, size: u64) -> Result<(Self, Vec<u32>), RecordsError> {
        if !files.exists(&path).map_err(|error| failed(&path, "look for it", error))? {
            tracing::warn!(path = %path.display(),
                "the activity log is lost: what was copied is sent again");
            return Ok((Self::new(files, path, None), every_unit(size)));
        }
        let (journal, changes) = Journal::open_in(files.clone(), &path)?;
        let mut file = Self::new(files, path, Some(journal));
        changes.iter().for_each(|change| file.apply(change));
        let units = file.units.iter().copied().collect();
        Ok((file, units))
    }

    /// Removes the log of a migration that has ended. One that stays costs the next a resync.
    pub fn remove(files: &F, path: &Path) {
        match files.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "an old activity log stays");
            }
            _ => {}
        }
    }

    /// Rewrites the log whenever it has grown beyond so many bytes.
    #[must_use]
    pub fn with_compact_at(mut self, bytes: u64) -> Self {
        self.compact_at = bytes;
        self
    }

    fn new(files: F, path: PathBuf, journal: Option<Journal<Change, F>>) -> Self {
        Self { files, path, journal, units: BTreeSet::new(), compact_at: COMPACT_AT }
    }

    /// Makes a batch durable, or removes the log. Blocks.
    ///
    /// # Errors
    /// When it can be neither written nor removed: a restart may find it without the batch.
    pub fn append(&mut self, batch: Batch) -> Result<(), RecordsError> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let change = Change { remove: batch.remove, add: batch.add };
        let written = journal.append(&change);
        self.apply(&change);
        written.map_err(Into::into).and_then(|()| self.compact()).or_else(|error| self.lose(&error))
    }

    fn apply(&mut self, change: &Change) {
        change.remove.iter().for_each(|unit| {
            self.units.remove(unit);
        });
        self.units.extend(&change.add);
    }

    fn compact(&mut self) -> Result<(), RecordsError> {
        let Some(journal) = self.journal.as_mut().filter(|j| j.size() > self.compact_at) else {
            return Ok(());
        };
        let all = Change { remove: Vec::new(), add: self.units.iter().copied().collect() };
        Ok(journal.compact(&[all])?)
    }

    /// Removes the log, durably.
    fn lose(&mut self, error: &RecordsError) -> Result<(), RecordsError> {
        tracing::error!(path = %self.path.display(), %error,
            "the activity log cannot be written and is removed; what was copied is sent again if \
             this program is restarted");
        let Self { files, path, .. } = &*self;
        match files.remove(path) {
            // Removed before, though nobody knew whether durably.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(|error| failed(path, "remove it", error))?,
        }
        files
            .sync_folder_of(path)
            .map_err(|error| failed(path, "make its removal durable", error))?;
        self.journal = None;
        Ok(())
    }
}

fn failed(path: &Path, action: &'static str, source: io::Error) -> RecordsError {
    RecordsError::Activity { path: path.to_owned(), action, source }
}

//! Makes the activity log durable, batch by batch.
//!
//! A log that can be written no longer, since its disk is full, must not cost a client its write. It is
//! removed then, and its absence says all that it could: after a restart every unit may differ.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use blockferry_journal::Journal;
use blockferry_migration::activity::every_unit;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::owner::Owner;

/// The log is rewritten when it has grown to this length, in bytes.
const COMPACT_AT: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Change {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    remove: Vec<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    add: Vec<u32>,
}

/// The log's file.
#[derive(Debug)]
pub(crate) struct ActivityFile {
    path: PathBuf,
    /// `None` once it is lost.
    journal: Option<Journal<Change>>,
    units: BTreeSet<u32>,
}

impl ActivityFile {
    /// Where the log of a volume lies.
    pub(crate) fn path(state_dir: &Path, name: &str) -> PathBuf {
        state_dir.join(format!("{name}.activity"))
    }

    /// Creates the log of a migration that begins.
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        let (journal, _) = Journal::open(&path)?;
        Ok(Self { path, journal: Some(journal), units: BTreeSet::new() })
    }

    /// Opens the log of a migration of so many bytes that was under way, and tells the units in it. A
    /// log that is not there has been lost.
    pub(crate) fn reopen(path: PathBuf, size: u64) -> Result<(Self, Vec<u32>)> {
        if !path.try_exists().with_context(|| format!("the activity log {}", path.display()))? {
            tracing::warn!(path = %path.display(),
                "the activity log is lost: what was copied is sent again");
            return Ok((Self { path, journal: None, units: BTreeSet::new() }, every_unit(size)));
        }
        let (journal, changes) = Journal::open(&path)?;
        let mut file = Self { path, journal: Some(journal), units: BTreeSet::new() };
        changes.iter().for_each(|change| file.apply(change));
        let units = file.units.iter().copied().collect();
        Ok((file, units))
    }

    fn apply(&mut self, change: &Change) {
        change.remove.iter().for_each(|unit| {
            self.units.remove(unit);
        });
        self.units.extend(&change.add);
    }

    fn append(&mut self, change: &Change) -> Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let written = journal.append(change);
        self.apply(change);
        written.map_err(Into::into).and_then(|()| self.compact()).or_else(|error| self.lose(&error))
    }

    fn compact(&mut self) -> Result<()> {
        let Some(journal) = self.journal.as_mut().filter(|journal| journal.size() > COMPACT_AT)
        else {
            return Ok(());
        };
        let all = Change { remove: Vec::new(), add: self.units.iter().copied().collect() };
        Ok(journal.compact(&[all])?)
    }

    /// Removes the log, durably.
    fn lose(&mut self, error: &anyhow::Error) -> Result<()> {
        tracing::error!(path = %self.path.display(), error = format!("{error:#}"),
            "the activity log cannot be written and is removed; what was copied is sent again if \
             this program is restarted");
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::remove_file(&self.path)?;
        File::open(folder)?.sync_all()?;
        self.journal = None;
        Ok(())
    }
}

/// Writes batches until it is stopped. Where the log can be neither written nor removed, a batch fails
/// its updates: a restart would forget that they differ.
pub(crate) async fn write_batches(
    owner: Arc<Owner>,
    mut file: ActivityFile,
    stop: CancellationToken,
) {
    loop {
        while let Some(batch) = owner.with(|source| source.take_log_batch()) {
            let change = Change { remove: batch.remove, add: batch.add };
            blockferry_label::reached("source.log.writing");
            let written = tokio::task::spawn_blocking(move || {
                let result = file.append(&change);
                (file, result)
            });
            let Ok((back, result)) = written.await else { return };
            file = back;
            blockferry_label::reached("source.log.durable");
            match result {
                Ok(()) => owner.with(|source| source.log_durable(batch.id)),
                Err(error) => {
                    tracing::error!(%error, "the activity log cannot be written; writes fail");
                    owner.with(|source| source.log_failed(batch.id));
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = owner.log_wanted() => {}
        }
    }
}

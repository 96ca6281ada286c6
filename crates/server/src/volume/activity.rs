//! Makes the activity log durable, batch by batch.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use blockferry_journal::Journal;
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
    journal: Journal<Change>,
    units: std::collections::BTreeSet<u32>,
}

impl ActivityFile {
    /// Where the log of a volume lies.
    pub(crate) fn path(state_dir: &Path, name: &str) -> PathBuf {
        state_dir.join(format!("{name}.activity"))
    }

    /// Opens the log and tells the units in it.
    pub(crate) fn open(path: PathBuf) -> Result<(Self, Vec<u32>)> {
        let (journal, changes) = Journal::open(path)?;
        let mut file = Self { journal, units: std::collections::BTreeSet::new() };
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
        self.journal.append(change)?;
        self.apply(change);
        if self.journal.size() > COMPACT_AT {
            let all = Change { remove: Vec::new(), add: self.units.iter().copied().collect() };
            self.journal.compact(&[all])?;
        }
        Ok(())
    }
}

/// Writes batches until it is stopped. A batch that cannot be written fails its updates: a restart
/// would forget that they differ.
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

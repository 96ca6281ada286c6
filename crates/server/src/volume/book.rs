//! The durable records of a volume, and what they say together.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use blockferry_journal::Journal;
use blockferry_migration::record::{self, VolumeRecord, VolumeState};

/// A journal this long is rewritten to what still matters, in bytes.
const COMPACT_AT: u64 = 1 << 20;

/// The journal of one volume.
#[derive(Debug)]
pub(crate) struct Book {
    journal: Journal<VolumeRecord>,
    records: Vec<VolumeRecord>,
    state: VolumeState,
}

impl Book {
    /// Where the journal of a volume lies.
    pub(crate) fn path(state_dir: &Path, name: &str) -> PathBuf {
        state_dir.join(format!("{name}.journal"))
    }

    /// Opens the journal of a volume; a new one begins with `first`.
    pub(crate) fn open(path: PathBuf, first: Option<VolumeRecord>) -> Result<Option<Self>> {
        let (mut journal, mut records) = Journal::open(&path)?;
        if let Some(torn) = journal.cut() {
            tracing::warn!(path = %path.display(), %torn, "a record was cut off by a crash");
        }
        if records.is_empty() {
            let Some(first) = first else { return Ok(None) };
            journal.append(&first)?;
            records.push(first);
        }
        let state = record::replay(&records)
            .with_context(|| format!("journal {} cannot be followed", path.display()))?;
        Ok(state.map(|state| Self { journal, records, state }))
    }

    /// The volume of a journal that ends with its abort.
    pub(crate) fn aborted(path: &Path) -> Result<Option<VolumeState>> {
        let (_, records) = Journal::open(path)?;
        match records.split_last() {
            Some((VolumeRecord::Aborted, before)) => Ok(record::replay(before)?),
            _ => Ok(None),
        }
    }

    /// What the records say.
    pub(crate) fn state(&self) -> &VolumeState {
        &self.state
    }

    /// Makes one more record durable. Blocks.
    pub(crate) fn append(&mut self, record: VolumeRecord) -> Result<()> {
        let Some(next) = record::apply(Some(self.state.clone()), &record) else {
            bail!("{record:?} does not follow from the volume's state");
        };
        self.journal.append(&record)?;
        if let Some(next) = next {
            self.state = next;
        }
        self.remember(record);
        if self.journal.size() > COMPACT_AT {
            self.journal.compact(&self.records)?;
        }
        Ok(())
    }

    /// Keeps the records that a replay needs: of those that replace one another, the last.
    fn remember(&mut self, record: VolumeRecord) {
        self.records.retain(|kept| match (kept, &record) {
            (VolumeRecord::Durable { .. }, VolumeRecord::Durable { .. })
            | (VolumeRecord::Term { .. }, VolumeRecord::Term { .. })
            | (VolumeRecord::Attempt { .. }, VolumeRecord::Attempt { .. })
            | (VolumeRecord::Ready { .. }, VolumeRecord::Ready { .. }) => false,
            (VolumeRecord::Fence { session: kept, .. }, VolumeRecord::Fence { session, .. }) => {
                kept != session
            }
            _ => true,
        });
        self.records.push(record);
        self.drop_old_fences();
    }

    fn drop_old_fences(&mut self) {
        let is_fence = |record: &VolumeRecord| matches!(record, VolumeRecord::Fence { .. });
        let fences = self.records.iter().filter(|record| is_fence(record)).count();
        let mut surplus = fences.saturating_sub(record::FENCES_MAX);
        self.records.retain(|record| {
            let drop = surplus > 0 && is_fence(record);
            surplus -= usize::from(drop);
            !drop
        });
    }
}

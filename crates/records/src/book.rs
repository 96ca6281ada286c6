//! The durable records of a volume, and what they say together.

use std::path::{Path, PathBuf};

use blockferry_journal::{Files, Journal, OsFiles};
use blockferry_migration::record::{self, VolumeRecord, VolumeState};

use crate::RecordsError;

/// A journal this long is rewritten to what still matters, in bytes.
const COMPACT_AT: u64 = 1 << 20;

/// The journal of one volume.
#[derive(Debug)]
pub struct Book<F: Files = OsFiles> {
    journal: Journal<VolumeRecord, F>,
    records: Vec<VolumeRecord>,
    state: VolumeState,
    /// The last record says that nothing is left of the volume.
    over: bool,
    compact_at: u64,
}

impl Book {
    /// Where the journal of a volume lies.
    pub fn path(state_dir: &Path, name: &str) -> PathBuf {
        state_dir.join(format!("{name}.journal"))
    }

    /// Opens the journal of a volume, as [`Book::open_in`] does.
    ///
    /// # Errors
    /// Its own.
    pub fn open(path: PathBuf, first: Option<VolumeRecord>) -> Result<Option<Self>, RecordsError> {
        Self::open_in(OsFiles, path, first)
    }

    /// The volume of a journal that ends with its abort.
    ///
    /// # Errors
    /// As for [`Book::open_in`].
    pub fn aborted(path: &Path) -> Result<Option<VolumeState>, RecordsError> {
        let (_, records) = Journal::open(path)?;
        match records.split_last() {
            Some((VolumeRecord::Aborted, before)) => replay(path, before),
            _ => Ok(None),
        }
    }
}

impl<F: Files> Book<F> {
    /// Opens the journal of a volume; a new one begins with `first`. `None` when there is no record,
    /// or when they end with nothing left of the volume.
    ///
    /// # Errors
    /// [`RecordsError::Journal`] when the file cannot be had or trusted; [`RecordsError::Replay`].
    pub fn open_in(
        files: F,
        path: PathBuf,
        first: Option<VolumeRecord>,
    ) -> Result<Option<Self>, RecordsError> {
        let (mut journal, mut records) = Journal::open_in(files, &path)?;
        if let Some(torn) = journal.cut() {
            tracing::warn!(path = %path.display(), %torn, "a record was cut off by a crash");
        }
        if records.is_empty() {
            let Some(first) = first else { return Ok(None) };
            journal.append(&first)?;
            records.push(first);
        }
        let state = replay(&path, &records)?;
        Ok(state.map(|state| Self { journal, records, state, over: false, compact_at: COMPACT_AT }))
    }

    /// Rewrites the journal whenever it has grown beyond so many bytes.
    #[must_use]
    pub fn with_compact_at(mut self, bytes: u64) -> Self {
        self.compact_at = bytes;
        self
    }

    /// What the records say.
    pub fn state(&self) -> &VolumeState {
        &self.state
    }

    /// Makes one more record durable. Blocks.
    ///
    /// # Errors
    /// [`RecordsError::Misplaced`] changes nothing. After [`RecordsError::Journal`] only opening the
    /// journal again can tell whether the record is there; until then every other one is refused.
    pub fn append(&mut self, record: VolumeRecord) -> Result<(), RecordsError> {
        let state = (!self.over).then(|| self.state.clone());
        let Some(next) = state.and_then(|state| record::apply(Some(state), &record)) else {
            return Err(RecordsError::Misplaced { record: format!("{record:?}") });
        };
        self.journal.append(&record)?;
        match next {
            Some(next) => self.state = next,
            None => self.over = true,
        }
        self.remember(record);
        self.compact();
        Ok(())
    }

    /// A journal that cannot be rewritten has the record all the same; should it be unusable now, the
    /// next record is told.
    fn compact(&mut self) {
        if self.journal.size() <= self.compact_at {
            return;
        }
        if let Err(error) = self.journal.compact(&self.records) {
            tracing::warn!(path = %self.journal.path().display(), %error,
                "the journal cannot be rewritten and grows");
        }
    }

    /// Keeps the records that a replay needs: of those that replace one another, the last.
    fn remember(&mut self, record: VolumeRecord) {
        self.records.retain(|kept| match (kept, &record) {
            (VolumeRecord::Durable { .. }, VolumeRecord::Durable { .. })
            | (VolumeRecord::Term { .. }, VolumeRecord::Term { .. })
            | (VolumeRecord::Attempt { .. }, VolumeRecord::Attempt { .. })
            | (VolumeRecord::Disk(_), VolumeRecord::Disk(_))
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

fn replay(path: &Path, records: &[VolumeRecord]) -> Result<Option<VolumeState>, RecordsError> {
    record::replay(records).map_err(|source| RecordsError::Replay { path: path.to_owned(), source })
}

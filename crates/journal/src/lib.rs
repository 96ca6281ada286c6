//! Durable records: what one volume, or one switch, must still know after a crash.
//!
//! A journal is one append-only file. A record is durable when [`Journal::append`] returns; what a
//! crash left half written is cut when the journal is opened again, and damage anywhere else is
//! refused, because a guess about who owns a volume can cost the volume.
//!
//! The file begins with a header (magic, first sequence, CRC32C of the two) and goes on with
//! frames: u32 payload length, u32 CRC32C over sequence and payload, u64 sequence, payload; numbers
//! are little-endian and the payload is JSON. Sequences rise by one and go on over a compaction.
//!
//! What it does not do: it knows nothing of the records' meaning, it is synchronous (call it from
//! a thread that may block), and it cannot tell a torn last record from one that rotted later.

mod error;
mod file;
mod files;
mod frame;
mod header;
mod replay;

use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::file::JournalFile;
use crate::header::Header;

pub use error::JournalError;
pub use files::{Files, OpenFile, OsFiles};
pub use frame::PAYLOAD_MAX;
pub use replay::TornTail;

/// Largest journal file in bytes. A journal is read whole when it is opened, and its owner compacts
/// it long before; reaching this is a defect that shall not eat the machine's memory.
pub const JOURNAL_MAX: u64 = 64 << 20;

/// An open journal of records `R`, locked against every other opener. It is a file of the operating
/// system unless it was opened among other [`Files`].
#[derive(Debug)]
pub struct Journal<R, F: Files = OsFiles> {
    path: PathBuf,
    file: JournalFile<F>,
    /// Length of the file's valid content in bytes: where the next frame goes.
    end: u64,
    next_sequence: u64,
    cut: Option<TornTail>,
    poisoned: bool,
    records: PhantomData<fn(&R)>,
}

impl<R: Serialize + DeserializeOwned> Journal<R> {
    /// Opens the journal at `path`, as [`Journal::open_in`] does.
    ///
    /// # Errors
    /// Its own.
    pub fn open(path: impl Into<PathBuf>) -> Result<(Self, Vec<R>), JournalError> {
        Self::open_in(OsFiles, path)
    }
}

impl<R: Serialize + DeserializeOwned, F: Files> Journal<R, F> {
    /// Opens the journal at `path`, creating it where there is none, and returns its records in
    /// the order of their appending. All of them are durable when this returns.
    ///
    /// A torn tail is cut; [`Journal::cut`] tells what, for the log.
    ///
    /// # Errors
    /// [`JournalError::Locked`] when another opener holds it; [`JournalError::NotAJournal`],
    /// [`JournalError::Damaged`] and [`JournalError::Unreadable`] when the content cannot be
    /// trusted, in which case the file is left untouched.
    pub fn open_in(files: F, path: impl Into<PathBuf>) -> Result<(Self, Vec<R>), JournalError> {
        let path = path.into();
        let file = JournalFile::open(files, &path)?;
        let content = file.read_all()?;
        let replayed = replay::replay::<R>(&path, &content)?;
        let end = replayed.end as u64;
        file.settle(replayed.last_frame.start as u64, &content[replayed.last_frame])?;
        let journal = Self {
            path,
            file,
            end,
            next_sequence: replayed.next_sequence,
            cut: replayed.cut,
            poisoned: false,
            records: PhantomData,
        };
        Ok((journal, replayed.records))
    }

    /// Adds a record. It is durable when this returns `Ok`.
    ///
    /// # Errors
    /// [`JournalError::RecordTooLarge`] and [`JournalError::Full`] change nothing. After any other
    /// failure nobody can know what the disk holds, so the journal is poisoned: every later append
    /// answers [`JournalError::Poisoned`] until the journal is opened again.
    pub fn append(&mut self, record: &R) -> Result<(), JournalError> {
        self.refuse_poisoned()?;
        let frame = frame::encode(&self.path, self.next_sequence, record)?;
        let end = self.end + frame.len() as u64;
        if end > JOURNAL_MAX {
            return Err(JournalError::Full { path: self.path.clone() });
        }
        if let Err(error) = self.file.append(self.end, &frame) {
            self.poisoned = true;
            return Err(error);
        }
        self.end = end;
        self.next_sequence += 1;
        Ok(())
    }

    /// Replaces all records by the given ones, at once: after a crash the journal holds either the
    /// old records or the new ones.
    ///
    /// # Errors
    /// A failure before the replacement leaves the journal as it was, usable. One in the middle of
    /// it poisons the journal, as in [`Journal::append`].
    pub fn compact(&mut self, records: &[R]) -> Result<(), JournalError> {
        self.refuse_poisoned()?;
        let mut content = Header { first_sequence: self.next_sequence }.encode().to_vec();
        let mut sequence = self.next_sequence;
        for record in records {
            content.extend(frame::encode(&self.path, sequence, record)?);
            sequence += 1;
        }
        if content.len() as u64 > JOURNAL_MAX {
            return Err(JournalError::Full { path: self.path.clone() });
        }
        let staged = self.file.stage(&content)?;
        if let Err(error) = self.file.replace(staged) {
            self.poisoned = true;
            return Err(error);
        }
        self.end = content.len() as u64;
        self.next_sequence = sequence;
        Ok(())
    }

    /// What was cut from the end when the journal was opened.
    pub fn cut(&self) -> Option<&TornTail> {
        self.cut.as_ref()
    }

    /// The file's length in bytes; callers compact when it has grown far beyond what they need.
    pub fn size(&self) -> u64 {
        self.end
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn refuse_poisoned(&self) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned { path: self.path.clone() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/dev/null` takes every write and refuses `fdatasync`: the smallest disk that fails one.
    #[test]
    fn after_a_failed_fdatasync_every_append_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vol.journal");
        let (mut journal, _) = Journal::<u32>::open(&path).unwrap();
        journal.append(&1).unwrap();
        let good = journal.file.exchange_for_test(Path::new("/dev/null"));
        assert!(matches!(journal.append(&2), Err(JournalError::Io { .. })));

        journal.file.restore_for_test(good);
        assert!(matches!(journal.append(&3), Err(JournalError::Poisoned { .. })));
        assert!(matches!(journal.compact(&[4]), Err(JournalError::Poisoned { .. })));
        drop(journal);
        assert_eq!(Journal::<u32>::open(&path).unwrap().1, [1]);
    }
}

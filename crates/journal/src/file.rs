//! The journal's file: locking, creating, appending and replacing it so that what was promised
//! survives the loss of power.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::header::Header;
use crate::{JOURNAL_MAX, JournalError};

/// The open file and its lock. The lock is a file of its own beside it, since a compaction replaces
/// the journal's file by another.
#[derive(Debug)]
pub(crate) struct JournalFile {
    path: PathBuf,
    file: File,
    _lock: File,
}

/// A complete new content that has yet to take the old one's place.
pub(crate) struct Staged(File);

impl JournalFile {
    /// Locks and opens the journal; an empty one is created where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        let lock = lock(path)?;
        let new = sibling(path, "new");
        remove_if_present(&new).map_err(failed(path, "remove an unfinished compaction"))?;
        if !path.try_exists().map_err(failed(path, "look for it"))? {
            create(path)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed(path, "open it"))?;
        sync_directory(path)?;
        Ok(Self { path: path.to_owned(), file, _lock: lock })
    }

    /// The whole content.
    pub(crate) fn read_all(&self) -> Result<Vec<u8>, JournalError> {
        let length = self.file.metadata().map_err(self.failed("ask its length"))?.len();
        if length > JOURNAL_MAX {
            let reason = format!("it has {length} bytes, more than the {JOURNAL_MAX} allowed");
            return Err(JournalError::NotAJournal { path: self.path.clone(), reason });
        }
        let mut content = Vec::new();
        (&self.file).take(JOURNAL_MAX).read_to_end(&mut content).map_err(self.failed("read it"))?;
        Ok(content)
    }

    /// Makes what was read the truth: cuts what follows the last frame, and writes that frame
    /// again. It may never have reached the disk (its `fdatasync` failed, or was never reached)
    /// although the page cache shows it, and the kernel does not write a page twice unasked.
    pub(crate) fn settle(&self, offset: u64, last_frame: &[u8]) -> Result<(), JournalError> {
        let end = offset + last_frame.len() as u64;
        self.file.set_len(end).map_err(self.failed("cut its torn end"))?;
        self.append(offset, last_frame)
    }

    /// Writes the frame at the end, durably.
    pub(crate) fn append(&self, end: u64, frame: &[u8]) -> Result<(), JournalError> {
        self.file.write_all_at(frame, end).map_err(self.failed("append to it"))?;
        self.file.sync_data().map_err(self.failed("make it durable"))
    }

    /// Writes a new content beside the journal, durably.
    pub(crate) fn stage(&self, content: &[u8]) -> Result<Staged, JournalError> {
        write_new(&self.path, content).map(Staged)
    }

    /// Puts the staged content in the journal's place.
    pub(crate) fn replace(&mut self, staged: Staged) -> Result<(), JournalError> {
        put_in_place(&self.path)?;
        self.file = staged.0;
        Ok(())
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> JournalError + use<> {
        failed(&self.path, action)
    }
}

/// Creates an empty journal. It gets its name only once it is whole, so no crash leaves a file
/// without a header.
fn create(path: &Path) -> Result<(), JournalError> {
    write_new(path, &Header { first_sequence: 1 }.encode())?;
    put_in_place(path)
}

fn write_new(path: &Path, content: &[u8]) -> Result<File, JournalError> {
    let new = sibling(path, "new");
    let write = || {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        Ok(file)
    };
    write().map_err(|error| {
        // What is left of it is removed at the next open at the latest.
        let _ = std::fs::remove_file(&new);
        failed(path, "write its new content")(error)
    })
}

fn put_in_place(path: &Path) -> Result<(), JournalError> {
    std::fs::rename(sibling(path, "new"), path)
        .map_err(failed(path, "put its new content in place"))?;
    sync_directory(path)
}

/// A name in a directory is durable only once the directory is.
fn sync_directory(path: &Path) -> Result<(), JournalError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed(path, "make its directory durable"))
}

fn lock(path: &Path) -> Result<File, JournalError> {
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(sibling(path, "lock"))
        .map_err(failed(path, "create its lock file"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(JournalError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(path, "lock it")(error)),
    }
}

fn remove_if_present(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The file beside `path` whose name has `suffix` appended.
fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> JournalError + use<> {
    let path = path.to_owned();
    move |source| JournalError::Io { path, action, source }
}

#[cfg(test)]
impl JournalFile {
    /// Lets the next writes go to another file, to see what a failing disk does.
    pub(crate) fn exchange_for_test(&mut self, path: &Path) -> File {
        let other = OpenOptions::new().write(true).open(path).unwrap();
        std::mem::replace(&mut self.file, other)
    }

    pub(crate) fn restore_for_test(&mut self, file: File) {
        self.file = file;
    }
}

//! The journal's file: locking, creating, appending and replacing it so that what was promised
//! survives the loss of power.

use std::io;
use std::path::{Path, PathBuf};

use crate::files::{Files, OpenFile};
use crate::header::Header;
use crate::{JOURNAL_MAX, JournalError};

/// The open file and its lock. The lock is a file of its own beside it, since a compaction replaces
/// the journal's file by another.
#[derive(Debug)]
pub(crate) struct JournalFile<F: Files> {
    files: F,
    path: PathBuf,
    file: F::File,
    _lock: F::Lock,
}

/// A complete new content that has yet to take the old one's place.
pub(crate) struct Staged<F: Files>(F::File);

impl<F: Files> JournalFile<F> {
    /// Locks and opens the journal; an empty one is created where there is none.
    pub(crate) fn open(files: F, path: &Path) -> Result<Self, JournalError> {
        let lock = lock(&files, path)?;
        let new = sibling(path, "new");
        remove_if_present(&files, &new).map_err(failed(path, "remove an unfinished compaction"))?;
        if !files.exists(path).map_err(failed(path, "look for it"))? {
            create(&files, path)?;
        }
        let file = files.open(path).map_err(failed(path, "open it"))?;
        sync_folder(&files, path)?;
        Ok(Self { files, path: path.to_owned(), file, _lock: lock })
    }

    /// The whole content.
    pub(crate) fn read_all(&self) -> Result<Vec<u8>, JournalError> {
        let length = self.file.length().map_err(self.failed("ask its length"))?;
        if length > JOURNAL_MAX {
            let reason = format!("it has {length} bytes, more than the {JOURNAL_MAX} allowed");
            return Err(JournalError::NotAJournal { path: self.path.clone(), reason });
        }
        self.file.read_all(JOURNAL_MAX).map_err(self.failed("read it"))
    }

    /// Makes what was read the truth: cuts what follows the last frame, and writes that frame
    /// again. It may never have reached the disk (its `fdatasync` failed, or was never reached)
    /// although the page cache shows it, and the kernel does not write a page twice unasked.
    pub(crate) fn settle(&self, offset: u64, last_frame: &[u8]) -> Result<(), JournalError> {
        let end = offset + last_frame.len() as u64;
        self.file.set_length(end).map_err(self.failed("cut its torn end"))?;
        self.append(offset, last_frame)
    }

    /// Writes the frame at the end, durably.
    pub(crate) fn append(&self, end: u64, frame: &[u8]) -> Result<(), JournalError> {
        self.file.write_at(frame, end).map_err(self.failed("append to it"))?;
        self.file.sync_data().map_err(self.failed("make it durable"))
    }

    /// Writes a new content beside the journal, durably.
    pub(crate) fn stage(&self, content: &[u8]) -> Result<Staged<F>, JournalError> {
        write_new(&self.files, &self.path, content).map(Staged)
    }

    /// Puts the staged content in the journal's place.
    pub(crate) fn replace(&mut self, staged: Staged<F>) -> Result<(), JournalError> {
        put_in_place(&self.files, &self.path)?;
        self.file = staged.0;
        Ok(())
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> JournalError + use<F> {
        failed(&self.path, action)
    }
}

/// Creates an empty journal. It gets its name only once it is whole, so no crash leaves a file
/// without a header.
fn create<F: Files>(files: &F, path: &Path) -> Result<(), JournalError> {
    write_new(files, path, &Header { first_sequence: 1 }.encode())?;
    put_in_place(files, path)
}

fn write_new<F: Files>(files: &F, path: &Path, content: &[u8]) -> Result<F::File, JournalError> {
    let new = sibling(path, "new");
    let write = || {
        let file = files.create(&new)?;
        file.write_at(content, 0)?;
        file.sync_all()?;
        Ok(file)
    };
    write().map_err(|error| {
        // What is left of it is removed at the next open at the latest.
        let _ = files.remove(&new);
        failed(path, "write its new content")(error)
    })
}

fn put_in_place<F: Files>(files: &F, path: &Path) -> Result<(), JournalError> {
    files
        .rename(&sibling(path, "new"), path)
        .map_err(failed(path, "put its new content in place"))?;
    sync_folder(files, path)
}

/// A name in a directory is durable only once the directory is.
fn sync_folder<F: Files>(files: &F, path: &Path) -> Result<(), JournalError> {
    files.sync_folder_of(path).map_err(failed(path, "make its directory durable"))
}

fn lock<F: Files>(files: &F, path: &Path) -> Result<F::Lock, JournalError> {
    let locked = files.lock(&sibling(path, "lock")).map_err(failed(path, "lock it"))?;
    locked.ok_or_else(|| JournalError::Locked { path: path.to_owned() })
}

fn remove_if_present<F: Files>(files: &F, path: &Path) -> io::Result<()> {
    match files.remove(path) {
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
impl JournalFile<crate::OsFiles> {
    /// Lets the next writes go to another file, to see what a failing disk does.
    pub(crate) fn exchange_for_test(&mut self, path: &Path) -> std::fs::File {
        let other = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        std::mem::replace(&mut self.file, other)
    }

    pub(crate) fn restore_for_test(&mut self, file: std::fs::File) {
        self.file = file;
    }
}

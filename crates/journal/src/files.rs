//! The few calls on files that a journal makes, as a trait: so that a simulation can take the disk's
//! place, and fail, tear and forget as a disk may. [`OsFiles`] is the real one.

use std::fmt::Debug;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Files by their paths. What they promise of durability is what POSIX does: a content is durable
/// once its file has been synced, a name once its folder has been.
pub trait Files: Clone + Debug {
    /// An open file.
    type File: OpenFile;
    /// The right to be the only opener, until it is dropped.
    type Lock: Debug;

    /// Locks the file, which is created where there is none; `None` when somebody else has locked it.
    ///
    /// # Errors
    /// The operating system's.
    fn lock(&self, path: &Path) -> io::Result<Option<Self::Lock>>;

    /// Whether there is such a file.
    ///
    /// # Errors
    /// The operating system's.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Opens a file to read and write it.
    ///
    /// # Errors
    /// The operating system's, when there is none, too.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens an empty file to read and write it; what was there is gone. Nobody else may read it.
    ///
    /// # Errors
    /// The operating system's.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Gives a file another name, at once; what had that name before has lost it.
    ///
    /// # Errors
    /// The operating system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name.
    ///
    /// # Errors
    /// The operating system's, when there is no such file, too.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names durable in the folder that the path lies in.
    ///
    /// # Errors
    /// The operating system's.
    fn sync_folder_of(&self, path: &Path) -> io::Result<()>;
}

/// An open file. Offsets and lengths are in bytes.
pub trait OpenFile: Debug {
    /// Its length.
    ///
    /// # Errors
    /// The operating system's.
    fn length(&self) -> io::Result<u64>;

    /// Its content from the beginning, at most `max` bytes of it.
    ///
    /// # Errors
    /// The operating system's.
    fn read_all(&self, max: u64) -> io::Result<Vec<u8>>;

    /// Writes all the bytes at the offset.
    ///
    /// # Errors
    /// The operating system's; some of the bytes may be written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts or lengthens it.
    ///
    /// # Errors
    /// The operating system's.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Makes its content durable, and as much of its attributes as it takes to read that.
    ///
    /// # Errors
    /// The operating system's; a second call that succeeds says nothing of what was written before.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes its content and its attributes durable.
    ///
    /// # Errors
    /// As for [`OpenFile::sync_data`].
    fn sync_all(&self) -> io::Result<()>;
}

/// The files of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFiles;

impl Files for OsFiles {
    type File = File;
    type Lock = File;

    fn lock(&self, path: &Path) -> io::Result<Option<File>> {
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_folder_of(&self, path: &Path) -> io::Result<()> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(folder)?.sync_all()
    }
}

impl OpenFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_all(&self, max: u64) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.take(max).read_to_end(&mut content)?;
        Ok(content)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }
}

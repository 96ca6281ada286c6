//! Folders and volume files.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use blockferry_block::{Extent, MIB};
use tempfile::TempDir;

/// In memory where there is such a place: the tests are about the protocol, not about disks.
const MEMORY: &str = "/dev/shm";

/// A folder that goes away with the test.
pub struct Scratch(TempDir);

impl Scratch {
    /// A new one.
    ///
    /// # Panics
    /// When there is no room for one.
    #[expect(clippy::new_without_default, reason = "a folder is made, which may fail")]
    pub fn new() -> Self {
        let memory = tempfile::Builder::new().prefix("bf-").tempdir_in(MEMORY);
        Self(memory.or_else(|_| tempfile::tempdir()).expect("a folder"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Makes a file of so many bytes, without holes and no two blocks alike.
///
/// # Panics
/// When it cannot be written.
pub fn fill_random(path: &Path, size: u64) {
    let mut block = vec![0; MIB as usize];
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut block)).expect("bytes");
    let mut file = BufWriter::new(File::create(path).expect("a file"));
    for piece in Extent::whole(size).pieces(MIB) {
        for (at, place) in block.chunks_exact_mut(4096).zip(0_u64..) {
            at[..8].copy_from_slice(&(piece.start() + place).to_le_bytes());
        }
        let length = usize::try_from(piece.len()).expect("at most a MiB");
        file.write_all(&block[..length]).expect("room for it");
    }
    file.flush().expect("room for it");
}

/// Makes a sparse file with random pieces at these places.
///
/// # Panics
/// When it cannot be written.
pub fn sparse(path: &Path, size: u64, pieces: impl IntoIterator<Item = (u64, usize)>) {
    let file = File::create(path).expect("a file");
    file.set_len(size).expect("a file system with sparse files of this size");
    let mut random = File::open("/dev/urandom").expect("randomness");
    for (offset, length) in pieces {
        let mut data = vec![0; length];
        random.read_exact(&mut data).expect("randomness");
        file.write_all_at(&data, offset).expect("room for it");
    }
}

/// Compares two files or block devices byte by byte; gives the first difference.
///
/// # Panics
/// When one cannot be read.
pub fn compare(a: &Path, b: &Path) -> Result<(), String> {
    let (left, right) = (File::open(a).expect("a file"), File::open(b).expect("a file"));
    let [size, other] =
        [&left, &right].map(|mut file| file.seek(SeekFrom::End(0)).expect("a size"));
    if size != other {
        return Err(format!("{} and {} are of different sizes", a.display(), b.display()));
    }
    let mut chunks = [vec![0; MIB as usize], vec![0; MIB as usize]];
    let mut offset = 0;
    while offset < size {
        let length = usize::try_from(MIB.min(size - offset)).expect("a small number");
        for (file, chunk) in [&left, &right].into_iter().zip(&mut chunks) {
            file.read_exact_at(&mut chunk[..length], offset).expect("readable");
        }
        let [left, right] = chunks.each_ref().map(|chunk| &chunk[..length]);
        if left != right {
            let at = left.iter().zip(right).position(|(a, b)| a != b).unwrap_or(0);
            return Err(format!("they differ at {}", offset + at as u64));
        }
        offset += length as u64;
    }
    Ok(())
}

/// Bytes that a file takes on its disk.
///
/// # Panics
/// When there is none.
pub fn allocated(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").blocks() * 512
}

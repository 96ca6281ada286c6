//! Files that hold volumes.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise};

/// Bytes that are made and written at once.
const PIECE: usize = 1 << 20;

/// Makes a file of so many random bytes, and has them on the medium before it returns: no later
/// measurement waits for them.
pub(crate) fn random(path: &Path, bytes: u64) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        let mut noise = Noise(0x9e37_79b9_7f4a_7c15 ^ bytes);
        let mut piece = vec![0; PIECE];
        let mut left = bytes;
        while left > 0 {
            noise.fill(&mut piece);
            let length = left.min(PIECE as u64);
            file.write_all(&piece[..length as usize])?;
            left -= length;
        }
        file.sync_all()
    };
    write().with_context(|| format!("cannot make {}", path.display()))
}

/// Makes a file of `size` bytes that has `data` bytes in pieces all over it, and holes between.
pub(crate) fn scattered(path: &Path, size: u64, data: u64) -> Result<()> {
    let write = || {
        let file = File::create(path)?;
        file.set_len(size)?;
        let mut noise = Noise(0x2545_f491_4f6c_dd1d);
        let mut piece = vec![0; PIECE];
        let pieces = data / PIECE as u64;
        for index in 0..pieces {
            noise.fill(&mut piece);
            let at = size / pieces * index;
            file.write_all_at(&piece, at / PIECE as u64 * PIECE as u64)?;
        }
        file.sync_all()
    };
    write().with_context(|| format!("cannot make {}", path.display()))
}

/// Has the kernel hold so many bytes of free memory beneath the folder's file system: what a virtual
/// machine has not used lately may be its host's, and whoever touches it first would pay for that.
pub(crate) fn claim_memory(folder: &Path, bytes: u64) -> Result<()> {
    let path = folder.join("claimed");
    let write = || {
        let mut file = File::create(&path)?;
        let piece = vec![0; PIECE];
        (0..bytes / PIECE as u64).try_for_each(|_| file.write_all(&piece))?;
        std::fs::remove_file(&path)
    };
    write().with_context(|| format!("cannot make {}", path.display()))
}

/// Has the page cache let go of a file, all of which is on the medium.
pub(crate) fn forget(path: &Path) -> Result<()> {
    let forget = || Ok(fadvise(&File::open(path)?, 0, None, Advice::DontNeed)?);
    let done: std::io::Result<()> = forget();
    done.with_context(|| format!("cannot drop {} from the page cache", path.display()))
}

/// Makes a file of so many zeroes without any of them.
pub(crate) fn empty(path: &Path, size: u64) -> Result<()> {
    File::create(path)
        .and_then(|file| file.set_len(size))
        .with_context(|| format!("cannot make {}", path.display()))
}

/// Random enough that nobody compresses it or takes it for zeroes, and cheap (xorshift64*).
#[derive(Clone, Debug)]
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            word.copy_from_slice(&random[..word.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_scattered_file_is_as_large_as_asked_and_takes_little_more_than_its_data() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        scattered(&path, 1 << 40, 4 << 20).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), 1 << 40);
        let taken = metadata.blocks() * 512;
        assert!((4 << 20..8 << 20).contains(&taken), "{taken}");
    }
}

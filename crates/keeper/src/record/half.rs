//! One half of a record, as it is written.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{pwritev, retry_on_intr};

use crate::frame::FrameHeader;

/// A seal, in bytes.
pub(super) const SEAL_BYTES: usize = 8;

/// Between the beginnings of the halves, in bytes: far more than a worker says before it begins the
/// other one. What nobody has written takes no memory.
const SPAN: u64 = 1 << 32;

/// Longer parts of a frame are written from where they lie, in bytes; others gather first.
const GATHERED_MAX: usize = 16 << 10;

/// So much gathers, in bytes.
const GATHER_MAX: usize = 128 << 10;

thread_local! {
    /// Memory to gather in, of whoever needs it next.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Where a half begins.
pub(super) const fn place_of(half: u64) -> u64 {
    4096 + (half & 1) * SPAN
}

/// The seal of a frame that ends here.
pub(super) const fn seal(salt: u64, end: u64) -> u64 {
    salt.wrapping_add(end)
}

pub(super) struct Half {
    pub(super) number: u64,
    salt: u64,
    /// What was written, in bytes.
    written: u64,
    /// What follows that; has no memory while it is empty.
    gathered: Vec<u8>,
}

impl Half {
    /// Begins with nothing.
    pub(super) fn new(number: u64) -> io::Result<Self> {
        let salt = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        let mut half = Self { number, salt, written: 0, gathered: Vec::new() };
        half.gather(&salt.to_be_bytes());
        Ok(half)
    }

    /// Where it ends, in bytes from its beginning.
    pub(super) fn end(&self) -> u64 {
        self.written + self.gathered.len() as u64
    }

    pub(super) const fn place(&self) -> u64 {
        place_of(self.number)
    }

    /// Appends a frame; tells where its bytes lie from the half's beginning. It is said when
    /// [`Self::write`] has returned.
    pub(super) fn put<'a>(
        &mut self,
        record: &OwnedFd,
        header: &FrameHeader,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<u64> {
        self.gather(&header.encode());
        let at = self.end();
        for part in parts {
            match part.len() {
                ..=GATHERED_MAX => self.gather(part),
                _ => self.write_with(record, part)?,
            }
        }
        let end = self.end() + SEAL_BYTES as u64;
        debug_assert_eq!(end, at + header.bytes as u64 + SEAL_BYTES as u64, "{header:?}");
        self.gather(&seal(self.salt, end).to_be_bytes());
        if self.gathered.len() > GATHER_MAX {
            self.write(record)?;
        }
        Ok(at)
    }

    fn gather(&mut self, bytes: &[u8]) {
        if self.gathered.capacity() == 0 {
            self.gathered = SPARE.take();
        }
        self.gathered.extend_from_slice(bytes);
    }

    /// Writes what has gathered.
    pub(super) fn write(&mut self, record: &OwnedFd) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        self.write_with(record, &[])
    }

    fn write_with(&mut self, record: &OwnedFd, part: &[u8]) -> io::Result<()> {
        let length = self.gathered.len() + part.len();
        let mut done = 0;
        while done < length {
            let first = self.gathered.get(done..).unwrap_or_default();
            let rest = &part[done.saturating_sub(self.gathered.len())..];
            let slices = [IoSlice::new(first), IoSlice::new(rest)];
            let at = self.place() + self.written + done as u64;
            match retry_on_intr(|| pwritev(record.as_fd(), &slices, at))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => done += count,
            }
        }
        self.written += length as u64;
        self.gathered.clear();
        let spare = std::mem::take(&mut self.gathered);
        if spare.capacity() <= 2 * GATHER_MAX {
            SPARE.set(spare);
        }
        Ok(())
    }
}

//! The open file and the plain operations on it: complete reads and writes, durability.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use blockferry_block::Extent;
use blockferry_device::{Errno, Failure, Features, PAYLOAD_MAX, ReadPart, Reply};
use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, pread, preadv2, pwrite, pwritev2, retry_on_intr};
use tracing::error;

use super::buffers::Buffers;
use super::sparse::KnownData;

/// Shortest hole in bytes that a read reports: to ask about a shorter one costs more than to read it.
pub(super) const HOLE_MIN: u64 = 64 << 10;

/// The page cache's unit in bytes. A write that covers pages only in part may have to read them.
const PAGE: u64 = 4096;

/// Written at once to a disk's page cache, in bytes. The kernel takes one piece of memory for as much as it
/// is given at once, and ext4 goes over every block of such a piece at each later write to it, so that short
/// writes into a long piece take several times as long.
const WRITTEN_BYTES_MAX: usize = 128 << 10;

/// So many writes pass between two looks at the file's length.
const WRITES_UNSEEN: u32 = 64;

/// Where the file lives, as far as reading and writing it differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    /// In memory: nothing ever waits.
    Memory,
    /// On a disk whose file system can answer from the page cache alone (`RWF_NOWAIT`).
    CachedDisk,
    /// On a disk where any read may wait.
    Disk,
}

/// What the file system or device can do, found out when the file was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    pub(super) medium: Medium,
    /// Ranges can be given back.
    pub(super) punches_holes: bool,
    /// Holes can be asked for (`SEEK_HOLE`).
    pub(super) tells_holes: bool,
    /// Ranges are zeroed and given back only in multiples of this many bytes.
    pub(super) zero_granularity: u64,
}

/// An open file or block device of a fixed size.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) read_only: bool,
    pub(super) is_regular: bool,
    pub(super) abilities: Abilities,
    pub(super) file: File,
    /// The same file opened once more, for `fdatasync`. The kernel tells a failed writeback once to
    /// each open file; so a durable write that fails on `file` cannot swallow the news that an
    /// earlier, answered write was lost. Reads over a ring use it, too: they may end after the store
    /// was dropped, and the lock and a device's exclusive use are those of `file`.
    pub(super) sync_file: File,
    /// A writeback failed: something that was answered may be lost.
    pub(super) lost_write: AtomicBool,
    /// Data that a block status found last.
    pub(super) known_data: KnownData,
    /// Memory for short reads.
    pub(super) buffers: Buffers,
    /// Counts writes, to look at the file's length now and then.
    pub(super) writes: AtomicU32,
}

impl Image {
    pub(super) fn features(&self) -> Features {
        Features {
            read_only: self.read_only,
            flush: true,
            fua: !self.read_only,
            trim: !self.read_only && self.abilities.punches_holes,
            write_zeroes: !self.read_only,
            fast_zero: !self.read_only,
            cache: true,
            block_status: true,
            multi_conn: true,
            rotational: false,
        }
    }

    pub(super) fn on_cached_disk(&self) -> bool {
        self.abilities.medium == Medium::CachedDisk
    }

    /// Reads the extent if no disk is needed for it.
    pub(super) fn read_cached(&self, extent: Extent) -> Option<Bytes> {
        let flags = match self.abilities.medium {
            Medium::Memory => ReadWriteFlags::empty(),
            Medium::CachedDisk => ReadWriteFlags::NOWAIT,
            Medium::Disk => return None,
        };
        let mut buffer = self.buffers.take(usize::try_from(extent.len()).ok()?);
        let bytes = buffer.bytes_mut();
        let length = bytes.len();
        let read = preadv2(&self.file, &mut [IoSliceMut::new(bytes)], extent.start(), flags);
        (read == Ok(length)).then(|| buffer.into_bytes())
    }

    /// Reads the extent; a larger hole at its start is reported as such unless one part was asked
    /// for. Later holes are read: to find where data ends the kernel may walk to the file's end.
    pub(super) fn read(&self, extent: Extent, dont_fragment: bool) -> Result<Reply, Failure> {
        let mut parts = Vec::new();
        let mut data = extent;
        if !dont_fragment && extent.len() >= HOLE_MIN && self.abilities.tells_holes {
            let (hole, rest) = extent.split_at(self.data_from(extent)?);
            if hole.len() >= HOLE_MIN {
                parts.push(ReadPart::Hole(hole.len()));
                data = rest;
            }
        }
        if !data.is_empty() {
            parts.push(ReadPart::Data(self.read_data(data)?));
        }
        Ok(Reply::Read(parts))
    }

    fn read_data(&self, extent: Extent) -> Result<Bytes, Failure> {
        if extent.len() > u64::from(PAYLOAD_MAX) {
            let reason = format!("a read has at most {PAYLOAD_MAX} bytes");
            return Err(Failure::new(Errno::Inval, reason));
        }
        let mut buffer = self.buffers.take(usize::try_from(extent.len()).unwrap_or(0));
        let bytes = buffer.bytes_mut();
        let mut done = 0;
        while done < bytes.len() {
            let at = extent.start() + done as u64;
            match retry_on_intr(|| pread(&self.file, &mut bytes[done..], at)) {
                Ok(0) => return Err(self.truncated()),
                Ok(count) => done += count,
                Err(error) => return Err(io_failure(error)),
            }
        }
        Ok(buffer.into_bytes())
    }

    /// Whether the write never has to read from a disk first, to fill the rest of a page.
    pub(super) fn writes_without_reading(&self, offset: u64, data: &[u8]) -> bool {
        let whole_pages = (offset | data.len() as u64).is_multiple_of(PAGE);
        whole_pages || self.abilities.medium == Medium::Memory
    }

    /// Writes all of the data, not yet durably.
    pub(super) fn write(&self, offset: u64, data: &[u8]) -> Result<(), Failure> {
        let at_once = if self.on_cached_disk() { WRITTEN_BYTES_MAX } else { usize::MAX };
        self.write_with(offset, data, |data, at| {
            pwrite(&self.file, &data[..data.len().min(at_once)], at)
        })
    }

    /// Writes all of the data; it is durable afterwards.
    pub(super) fn write_durably(&self, offset: u64, data: &[u8]) -> Result<(), Failure> {
        self.refuse_after_lost_write()?;
        self.write_with(offset, data, |data, at| {
            pwritev2(&self.file, &[IoSlice::new(data)], at, ReadWriteFlags::DSYNC)
        })
    }

    fn write_with(
        &self,
        offset: u64,
        data: &[u8],
        mut write: impl FnMut(&[u8], u64) -> rustix::io::Result<usize>,
    ) -> Result<(), Failure> {
        self.refuse_to_hide_truncation(offset, data)?;
        let mut done = 0;
        while done < data.len() {
            let written = retry_on_intr(|| write(&data[done..], offset + done as u64));
            match written.map_err(io_failure)? {
                0 => return Err(Failure::new(Errno::Io, "the disk takes no more")),
                count => done += count,
            }
        }
        Ok(())
    }

    /// Makes every answered write durable. Once this has failed it always fails: the kernel drops
    /// the pages that it could not write, so a second success would be a lie.
    pub(super) fn flush(&self) -> Result<(), Failure> {
        self.refuse_after_lost_write()?;
        self.refuse_if_truncated()?;
        self.sync_file.sync_data().map_err(|error| {
            self.lost_write.store(true, Ordering::SeqCst);
            error!(path = %self.path.display(), %error, "fdatasync failed; answered writes may be lost");
            Failure::new(Errno::Io, format!("making the volume durable failed: {error}"))
        })?;
        // A failure found by somebody else meanwhile may concern what this call should cover.
        self.refuse_after_lost_write()
    }

    /// What was lost will be written again.
    pub(super) fn forget_losses(&self) {
        self.lost_write.store(false, Ordering::SeqCst);
    }

    fn refuse_after_lost_write(&self) -> Result<(), Failure> {
        match self.lost_write.load(Ordering::SeqCst) {
            true => Err(Failure::new(Errno::Io, "an earlier write to the disk was lost")),
            false => Ok(()),
        }
    }

    /// Announces a read to the kernel.
    pub(super) fn cache(&self, extent: Extent) -> Result<(), Failure> {
        match NonZeroU64::new(extent.len()) {
            None => Ok(()),
            length => {
                fadvise(&self.file, extent.start(), length, Advice::WillNeed).map_err(io_failure)
            }
        }
    }

    /// Looks at the file's length before a write after which it could not be seen any more that the
    /// file was shorter, and before some of the others: to look each time would cost as much as to
    /// write.
    fn refuse_to_hide_truncation(&self, offset: u64, data: &[u8]) -> Result<(), Failure> {
        let hides = offset.saturating_add(data.len() as u64) >= self.size;
        let count = self.writes.fetch_add(1, Ordering::Relaxed);
        if hides || count.is_multiple_of(WRITES_UNSEEN) {
            self.refuse_if_truncated()
        } else {
            Ok(())
        }
    }

    /// A file that became shorter has lost data. Reading there fails by itself; a write would make
    /// it longer again and let the lost part read as zeroes.
    pub(super) fn refuse_if_truncated(&self) -> Result<(), Failure> {
        if self.is_regular && self.file.metadata().map_err(Failure::from)?.len() < self.size {
            return Err(self.truncated());
        }
        Ok(())
    }

    fn truncated(&self) -> Failure {
        let size = self.size;
        Failure::new(
            Errno::Io,
            format!("the backing file is shorter than the volume's {size} bytes"),
        )
    }
}

/// A read's reply of one piece of data, or of nothing.
pub(super) fn one_part(data: Bytes) -> Reply {
    match data.is_empty() {
        true => Reply::Read(Vec::new()),
        false => Reply::Read(vec![ReadPart::Data(data)]),
    }
}

/// An operating system's error as what the client is told.
pub(super) fn io_failure(errno: rustix::io::Errno) -> Failure {
    Failure::from(io::Error::from(errno))
}

//! A volume in a regular file or on a block device, through the page cache.
//!
//! What is quick is done at once on the caller's thread: reads that the page cache can answer, and
//! writes into it that are no longer. Short reads from the disk go over an `io_uring` where there is one; everything
//! else that may wait for the disk goes to a pool of threads.

mod buffers;
mod image;
mod open;
mod ring;
mod sparse;
mod zero;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blockferry_block::{Extent, VolumeName};
use blockferry_device::{Answer, Device, DeviceInfo, Errno, Failure, Outcome, Reply, Request};
use bytes::Bytes;
use tracing::info;

use self::image::Image;
use self::ring::RingReads;
use self::zero::Zeroing;
use crate::pool::Pool;
use crate::segments::SEGMENTS_MAX;
use crate::{Store, StoreError};

/// Longest read in bytes that is tried on the caller's thread: copying more takes longer than
/// handing it over.
const INLINE_READ_MAX: u64 = 256 << 10;

/// Longest write in bytes that is made on the caller's thread: as for reads.
const INLINE_WRITE_MAX: usize = 256 << 10;

/// A volume in a file or on a block device. Its requests are to be made inside a tokio runtime.
#[derive(Debug)]
pub struct FileStore {
    info: DeviceInfo,
    image: Arc<Image>,
    pool: Pool,
    /// There is one where the kernel and the medium allow it.
    ring: Option<RingReads>,
}

impl FileStore {
    /// Opens the file or block device at `path`; its size is the volume's from now on. It is
    /// locked against every other opener, unless both only read.
    ///
    /// # Errors
    /// When it is in use, is a symbolic link or no file, or the operating system refuses.
    pub fn open(path: &Path, read_only: bool) -> Result<Self, StoreError> {
        Ok(Self::new(open::open(path, read_only)?))
    }

    /// Creates a volume of exactly `size` bytes, all zeroes and none allocated, in the pool.
    ///
    /// # Errors
    /// When there is one of this name, or less room than the `needed` bytes (a thin volume needs
    /// less than its size). Nothing is left behind.
    pub fn create(
        pool: &Path,
        name: &VolumeName,
        size: u64,
        needed: u64,
    ) -> Result<Self, StoreError> {
        Ok(Self::new(open::create(pool, name, size, needed)?))
    }

    /// Checks that the pool has room for so many bytes.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`], or that the pool cannot be asked.
    pub fn check_room(pool: &Path, needed: u64) -> Result<(), StoreError> {
        open::check_room(pool, needed)
    }

    /// Deletes a volume that [`FileStore::create`] made, durably. One that is open goes on until it
    /// is closed. A volume that does not exist is deleted already.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn delete(pool: &Path, name: &VolumeName) -> Result<(), StoreError> {
        open::delete(pool, name)
    }

    /// Where [`FileStore::create`] keeps the volume of this name.
    pub fn path_in(pool: &Path, name: &VolumeName) -> PathBuf {
        pool.join(name.as_str())
    }

    fn new(image: Image) -> Self {
        let ring = image.on_cached_disk().then(|| RingReads::new(&image));
        Self::with_ring(image, ring)
    }

    /// What is no cached disk has no ring: memory never waits, and where nothing can be read without
    /// waiting the kernel would only have threads wait, and fewer of them than the pool has.
    fn with_ring(image: Image, ring: Option<io::Result<RingReads>>) -> Self {
        let ring = ring.and_then(|ring| {
            let refused = |error: &_| {
                info!(path = %image.path.display(), %error, "no io_uring; reads wait on threads");
            };
            ring.inspect_err(refused).ok()
        });
        let info = DeviceInfo::new(image.size, image.features());
        Self { info, image: Arc::new(image), pool: Pool::new(), ring }
    }

    fn read_now(&self, extent: Extent) -> Option<Outcome> {
        let small = extent.len() <= INLINE_READ_MAX;
        let data = small.then(|| self.image.read_cached(extent))??;
        Some(Ok(image::one_part(data)))
    }

    /// Reads what the page cache does not have. What tells no hole goes over the ring; to find a hole
    /// can take as long as to read, and only a thread can wait for that.
    fn read(&self, extent: Extent, dont_fragment: bool) -> Answer {
        let ring = self.ring.as_ref().filter(|_| extent.len() < image::HOLE_MIN);
        let Some(reading) = ring.and_then(|ring| ring.read(extent)) else {
            return self.blocking(move |image| image.read(extent, dont_fragment));
        };
        let (image, pool) = (Arc::clone(&self.image), self.pool.clone());
        Answer::later(async move {
            match reading.await {
                Some(data) => Ok(image::one_part(data)),
                None => pool.run(move || image.read(extent, dont_fragment)).await,
            }
        })
    }

    fn write_now(&self, offset: u64, data: &[u8], fua: bool) -> Option<Outcome> {
        let now = !fua
            && data.len() <= INLINE_WRITE_MAX
            && self.image.writes_without_reading(offset, data);
        now.then(|| self.image.write(offset, data).map(|()| Reply::Done))
    }

    fn write(&self, offset: u64, data: Bytes, fua: bool) -> Answer {
        self.blocking(move |image| {
            match fua {
                true => image.write_durably(offset, &data),
                false => image.write(offset, &data),
            }
            .map(|()| Reply::Done)
        })
    }

    fn zero(&self, extent: Extent, zeroing: Zeroing, fua: bool) -> Answer {
        self.blocking(move |image| {
            image.zero(extent, zeroing)?;
            if fua {
                image.flush()?;
            }
            Ok(Reply::Done)
        })
    }

    fn block_status(&self, extent: Extent, one: bool) -> Answer {
        if extent.is_empty() {
            let reason = "a block status needs a length";
            return Answer::ready(Err(Failure::new(Errno::Inval, reason)));
        }
        let count_max = if one { 1 } else { SEGMENTS_MAX };
        self.blocking(move |image| image.segments(extent, count_max).map(Reply::BlockStatus))
    }

    fn blocking<F>(&self, work: F) -> Answer
    where
        F: FnOnce(&Image) -> Result<Reply, Failure> + Send + 'static,
    {
        let image = Arc::clone(&self.image);
        self.pool.run(move || work(&image))
    }
}

impl Device for FileStore {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn call(&self, request: Request) -> Answer {
        if let Some(outcome) = self.call_now(&request) {
            return Answer::ready(outcome);
        }
        match request {
            Request::Read { extent, dont_fragment } => self.read(extent, dont_fragment),
            Request::Write { offset, data, fua } => self.write(offset, data, fua),
            Request::WriteZeroes { extent, fua, no_hole, fast_zero } => {
                self.zero(extent, Zeroing { keep_allocated: no_hole, only_fast: fast_zero }, fua)
            }
            Request::Trim { extent, fua } => {
                self.zero(extent, Zeroing { keep_allocated: false, only_fast: false }, fua)
            }
            Request::Flush => self.blocking(|image| image.flush().map(|()| Reply::Done)),
            Request::Cache { extent } => {
                self.blocking(move |image| image.cache(extent).map(|()| Reply::Done))
            }
            Request::BlockStatus { extent, one } => self.block_status(extent, one),
        }
    }

    fn call_now(&self, request: &Request) -> Option<Outcome> {
        if let Err(failure) = self.info.check(request) {
            return Some(Err(failure));
        }
        match *request {
            Request::Read { extent, .. } => self.read_now(extent),
            Request::Write { offset, ref data, fua } => self.write_now(offset, data, fua),
            _ => None,
        }
    }
}

impl Store for FileStore {
    fn forget_losses(&self) {
        self.image.forget_losses();
    }
}

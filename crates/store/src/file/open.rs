//! Opening, creating and deleting the files of volumes: locks, and what the file system can do.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use blockferry_block::VolumeName;
use rustix::fs::{FallocateFlags, OFlags, SeekFrom, fallocate, fstatfs, fstatvfs, seek};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::FileStore;
use super::image::{Abilities, Image, Medium};
use super::sparse::KnownData;
use crate::StoreError;

/// `f_type` of tmpfs (`statfs(2)`).
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// A multiple of every block device's logical block size, in bytes: what it zeroes at once.
const DEVICE_GRANULARITY: u64 = 4096;

/// Opens an existing file or device.
pub(super) fn open(path: &Path, read_only: bool) -> Result<Image, StoreError> {
    let failed = |action| failed(path, action);
    let found = fs::symlink_metadata(path).map_err(failed("open it"))?.file_type();
    if found.is_symlink() {
        let target = fs::canonicalize(path).map_err(failed("follow the symbolic link"))?;
        return Err(StoreError::Symlink { path: path.to_owned(), target });
    }
    if !found.is_file() && !found.is_block_device() {
        return Err(StoreError::WrongKind { path: path.to_owned() });
    }
    // The kernel then refuses a device that is mounted.
    let alone = if found.is_block_device() && !read_only { OFlags::EXCL } else { OFlags::empty() };
    let file = open_with(path, read_only, alone).map_err(|error| match error.raw_os_error() {
        Some(code) if code == Errno::BUSY.raw_os_error() => {
            StoreError::InUse { path: path.to_owned() }
        }
        _ => failed("open it")(error),
    })?;
    image(path, file, read_only)
}

/// Creates a volume in the pool, and removes it again when it does not come to be whole.
pub(super) fn create(
    pool: &Path,
    name: &VolumeName,
    size: u64,
    needed: u64,
) -> Result<Image, StoreError> {
    let path = FileStore::path_in(pool, name);
    let directory = File::open(pool).map_err(failed(pool, "open the pool"))?;
    check_room(pool, needed)?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(flags(OFlags::NOFOLLOW))
        .open(&path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                StoreError::Exists { pool: pool.to_owned(), name: name.clone() }
            }
            _ => failed(&path, "create it")(error),
        })?;
    let made = settle(&path, &file, &directory, size).and_then(|()| image(&path, file, false));
    if made.is_err() {
        // The first failure is what matters; nothing was promised about this file yet.
        let _ = fs::remove_file(&path);
    }
    made
}

fn settle(path: &Path, file: &File, directory: &File, size: u64) -> Result<(), StoreError> {
    file.set_len(size).map_err(failed(path, "give it its size"))?;
    file.sync_all().map_err(failed(path, "make it durable"))?;
    directory.sync_all().map_err(failed(path, "make its directory durable"))
}

/// Deletes a volume of the pool.
pub(super) fn delete(pool: &Path, name: &VolumeName) -> Result<(), StoreError> {
    let path = FileStore::path_in(pool, name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(&path, "delete it")(error));
        }
        _ => {}
    }
    File::open(pool)
        .and_then(|directory| directory.sync_all())
        .map_err(failed(pool, "make the pool durable"))
}

/// Refuses when the pool's file system has fewer than `needed` bytes left.
pub(super) fn check_room(pool: &Path, needed: u64) -> Result<(), StoreError> {
    let directory = File::open(pool).map_err(failed(pool, "open the pool"))?;
    let room = fstatvfs(&directory).map_err(|errno| failed(pool, "ask its room")(errno.into()))?;
    let available = room.f_bavail.saturating_mul(room.f_frsize);
    if needed > available {
        return Err(StoreError::NoRoom { pool: pool.to_owned(), needed, available });
    }
    Ok(())
}

fn image(path: &Path, file: File, read_only: bool) -> Result<Image, StoreError> {
    lock(path, &file, read_only)?;
    let metadata = file.metadata().map_err(failed(path, "ask its state"))?;
    let is_regular = metadata.is_file();
    if !is_regular && !metadata.file_type().is_block_device() {
        return Err(StoreError::WrongKind { path: path.to_owned() });
    }
    let sync_file = open_with(path, read_only, OFlags::empty())
        .and_then(|again| same_file(&file, again))
        .map_err(failed(path, "open it once more"))?;
    // A device's metadata has no size; its end can be sought.
    let size = seek(&file, SeekFrom::End(0))
        .map_err(|errno| failed(path, "ask its size")(errno.into()))?;
    Ok(Image {
        path: path.to_owned(),
        size,
        read_only,
        is_regular,
        abilities: probe(&file, &metadata, size),
        file,
        sync_file,
        lost_write: AtomicBool::new(false),
        known_data: KnownData::nothing(),
        buffers: super::buffers::Buffers::shared(),
        writes: std::sync::atomic::AtomicU32::new(0),
    })
}

/// The lock ends with the open file, so no crash leaves one behind.
fn lock(path: &Path, file: &File, read_only: bool) -> Result<(), StoreError> {
    let locked = if read_only { file.try_lock_shared() } else { file.try_lock() };
    locked.map_err(|error| match error {
        TryLockError::WouldBlock => StoreError::InUse { path: path.to_owned() },
        TryLockError::Error(error) => failed(path, "lock it")(error),
    })
}

fn same_file(first: &File, second: File) -> io::Result<File> {
    let identity = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
    match identity(first)? == identity(&second)? {
        true => Ok(second),
        false => Err(io::Error::other("it was replaced meanwhile")),
    }
}

/// Without `NONBLOCK` the opening of something else that was put there meanwhile could hang.
fn open_with(path: &Path, read_only: bool, more: OFlags) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(!read_only)
        .custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK | more))
        .open(path)
}

/// Finds out what can be done with the file, changing nothing in it.
fn probe(file: &File, metadata: &fs::Metadata, size: u64) -> Abilities {
    let is_regular = metadata.is_file();
    let medium = match fstatfs(file) {
        Ok(system) if is_regular && system.f_type == TMPFS_MAGIC => Medium::Memory,
        _ if reads_without_waiting(file) => Medium::CachedDisk,
        _ => Medium::Disk,
    };
    Abilities {
        medium,
        punches_holes: match is_regular {
            true => punches_holes(file, size),
            false => device_zeroes(metadata.rdev()),
        },
        tells_holes: matches!(seek(file, SeekFrom::Hole(0)), Ok(_) | Err(Errno::NXIO)),
        zero_granularity: if is_regular { 1 } else { DEVICE_GRANULARITY },
    }
}

fn reads_without_waiting(file: &File) -> bool {
    let mut byte = [0];
    let read = preadv2(file, &mut [io::IoSliceMut::new(&mut byte)], 0, ReadWriteFlags::NOWAIT);
    matches!(read, Ok(_) | Err(Errno::AGAIN))
}

/// Punches a hole behind the file's end, where nothing is.
fn punches_holes(file: &File, size: u64) -> bool {
    let behind = size.next_multiple_of(DEVICE_GRANULARITY);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(file, punch, behind, DEVICE_GRANULARITY).is_ok()
}

/// Whether the block device zeroes ranges by itself. Trying it out would destroy data, so sysfs is
/// asked; a partition's limits are those of the disk it lies on.
fn device_zeroes(device: u64) -> bool {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    ["queue", "../queue"].iter().any(|queue| {
        let limit = format!("/sys/dev/block/{major}:{minor}/{queue}/write_zeroes_max_bytes");
        fs::read_to_string(limit)
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
            .is_some_and(|bytes_max| bytes_max > 0)
    })
}

fn flags(flags: OFlags) -> i32 {
    // The bits are the operating system's own, so they are kept as they are.
    flags.bits().cast_signed()
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { path, action, source }
}

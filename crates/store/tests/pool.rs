//! Volumes that are created and deleted in a pool.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;

use blockferry_block::VolumeName;
use blockferry_device::{Device, SegmentState};
use blockferry_store::{FileStore, StoreError};
use common::{directories, extent, read, status};

fn name() -> VolumeName {
    "vol".parse().unwrap()
}

#[tokio::test]
async fn a_created_volume_has_exactly_its_size_and_is_empty() {
    for pool in directories() {
        for size in [0, 1, 511, 4096, (1 << 20) + 1] {
            let store = FileStore::create(pool.path(), &name(), size, size).unwrap();
            assert_eq!(store.info().size, size);
            let path = FileStore::path_in(pool.path(), &name());
            let metadata = fs::metadata(path).unwrap();
            assert_eq!((metadata.len(), metadata.blocks()), (size, 0));
            assert_eq!(metadata.mode() & 0o777, 0o600);
            if size > 0 {
                let whole = extent(0, size);
                let segments = status(&store, whole, false).await.unwrap();
                assert_eq!((segments.len(), segments[0].state), (1, SegmentState::HOLE));
                assert!(read(&store, whole).await.unwrap().iter().all(|byte| *byte == 0));
            }
            drop(store);
            FileStore::delete(pool.path(), &name()).unwrap();
        }
    }
}

#[test]
fn a_created_volume_is_locked() {
    let pool = tempfile::tempdir().unwrap();
    let _store = FileStore::create(pool.path(), &name(), 1, 1).unwrap();
    let again = FileStore::open(&FileStore::path_in(pool.path(), &name()), true);
    assert!(matches!(again, Err(StoreError::InUse { .. })));
}

#[test]
fn what_is_in_the_pool_already_is_left_untouched() {
    let pool = tempfile::tempdir().unwrap();
    let path = FileStore::path_in(pool.path(), &name());
    fs::write(&path, "precious").unwrap();
    let error = FileStore::create(pool.path(), &name(), 4096, 4096).unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");

    let elsewhere = pool.path().join("elsewhere");
    let link: VolumeName = "link".parse().unwrap();
    std::os::unix::fs::symlink(&elsewhere, FileStore::path_in(pool.path(), &link)).unwrap();
    assert!(FileStore::create(pool.path(), &link, 4096, 4096).is_err());
    assert!(!elsewhere.exists());
}

#[test]
fn a_volume_that_would_not_fit_is_refused_and_leaves_nothing() {
    let pool = tempfile::tempdir().unwrap();
    let error = FileStore::create(pool.path(), &name(), 1 << 61, 1 << 60).unwrap_err();
    assert!(matches!(error, StoreError::NoRoom { needed, .. } if needed == 1 << 60), "{error}");
    assert!(FileStore::check_room(pool.path(), 1 << 60).is_err());
    assert_eq!(fs::read_dir(pool.path()).unwrap().count(), 0);
}

#[test]
fn a_thin_volume_may_be_larger_than_its_pool() {
    // A file system in memory takes files of any size.
    let Some(pool) = directories().into_iter().nth(1) else { return };
    let store = FileStore::create(pool.path(), &name(), 1 << 50, 4096).unwrap();
    assert_eq!(store.info().size, 1 << 50);
}

#[test]
fn deleting_is_done_once_and_then_still_done() {
    let pool = tempfile::tempdir().unwrap();
    drop(FileStore::create(pool.path(), &name(), 1, 1).unwrap());
    FileStore::delete(pool.path(), &name()).unwrap();
    FileStore::delete(pool.path(), &name()).unwrap();
    assert_eq!(fs::read_dir(pool.path()).unwrap().count(), 0);
}

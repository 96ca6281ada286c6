use std::fs::File;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::Duration;

use blockferry_device::{Answer, Device, Errno, ReadPart, Reply, Request};
use futures_util::future::join_all;
use rustix::fs::{Advice, fadvise};
use tempfile::TempDir;

use super::*;
use crate::FileStore;
use crate::file::open;

const BLOCK: u64 = 4096;
const BLOCKS: u64 = 2048;

/// A file whose bytes all tell where they stand.
fn file() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("volume");
    std::fs::write(&path, content(Extent::whole(BLOCK * BLOCKS))).unwrap();
    forget(&path);
    (directory, path)
}

fn content(extent: Extent) -> Vec<u8> {
    (extent.start()..extent.end()).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

/// Has the page cache lose the file, where there is a disk behind it.
fn forget(path: &Path) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None::<NonZeroU64>, Advice::DontNeed).unwrap();
}

/// Blocks in an order that no readahead foresees.
fn block(number: u64) -> Extent {
    let start = number * 769 % BLOCKS * BLOCK;
    Extent::between(start, start + BLOCK)
}

fn read(store: &FileStore, extent: Extent) -> Answer {
    store.call(Request::Read { extent, dont_fragment: false })
}

fn data(reply: Reply) -> Bytes {
    match reply {
        Reply::Read(parts) => match &parts[..] {
            [ReadPart::Data(data)] => data.clone(),
            other => panic!("a read has the parts {other:?}"),
        },
        other => panic!("a read was answered with {other:?}"),
    }
}

async fn assert_reads_right(store: &FileStore, extent: Extent) {
    let data = data(read(store, extent).await.unwrap());
    assert!(data == content(extent), "{extent} was read wrongly");
}

/// Reads on the store's ring, or `None` where it has none.
fn in_flight(store: &FileStore) -> Option<usize> {
    store.ring.as_ref().map(|ring| ring.shared.ring.in_flight())
}

#[tokio::test]
async fn a_read_that_misses_the_page_cache_waits_on_the_ring_and_one_that_hits_does_not() {
    let (_directory, path) = file();
    let store = FileStore::open(&path, false).unwrap();
    for extent in [block(7), Extent::between(5_000_001, 5_000_008)] {
        let answer = read(&store, extent);
        assert!(in_flight(&store).is_none_or(|count| count == 1));
        assert!(data(answer.await.unwrap()) == content(extent));
        let again = read(&store, extent);
        assert!(in_flight(&store).is_none_or(|count| count == 0));
        assert!(data(again.await.unwrap()) == content(extent));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_reads_at_once_than_the_ring_holds_are_all_answered_rightly() {
    let (_directory, path) = file();
    let store = FileStore::open(&path, false).unwrap();
    for _ in 0..3 {
        forget(&path);
        let count = 4 * u64::from(IN_FLIGHT_MAX);
        let answers: Vec<_> = (0..count).map(|number| read(&store, block(number))).collect();
        let replies: Vec<_> =
            join_all(answers).await.into_iter().map(|r| data(r.unwrap())).collect();
        // All are looked at when all are there: memory that were used twice would show.
        for (number, data) in (0..count).zip(replies) {
            assert!(data == content(block(number)), "{} was read wrongly", block(number));
        }
    }
}

#[tokio::test]
async fn a_read_of_a_file_that_became_shorter_fails_as_on_the_pool() {
    let (_directory, path) = file();
    let store = FileStore::open(&path, false).unwrap();
    let end = BLOCK * 100 + 1000;
    File::options().write(true).open(&path).unwrap().set_len(end).unwrap();
    forget(&path);
    let over_the_end = Extent::between(end - 1000, end + 1000);
    let behind_it = Extent::between(end + BLOCK, end + 2 * BLOCK);
    for lost in [over_the_end, behind_it] {
        let failure = read(&store, lost).await.unwrap_err();
        assert_eq!(failure.errno, Errno::Io);
        assert!(failure.message.contains("shorter than the volume"), "{failure}");
    }
    assert_reads_right(&store, Extent::between(end - 1000, end)).await;
}

#[tokio::test]
async fn where_no_ring_can_be_had_the_pool_answers() {
    let (_directory, path) = file();
    let image = open::open(&path, false).unwrap();
    let refused = io::Error::from(io::ErrorKind::PermissionDenied);
    let store = FileStore::with_ring(image, Some(Err(refused)));
    assert_eq!(in_flight(&store), None);
    for number in 0..50 {
        assert_reads_right(&store, block(number)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_and_stores_that_are_dropped_early_take_nothing_from_others() {
    let (_directory, path) = file();
    for round in 0..30 {
        forget(&path);
        let store = FileStore::open(&path, false).unwrap();
        let mut kept = Vec::new();
        for number in 0..60 {
            let answer = read(&store, block(round * 60 + number));
            if number % 3 == 0 {
                kept.push((block(round * 60 + number), answer));
            }
        }
        for (extent, answer) in kept.drain(10..) {
            assert!(data(answer.await.unwrap()) == content(extent), "{extent} was read wrongly");
        }
        let shared = store.ring.as_ref().map(|ring| Arc::downgrade(&ring.shared));
        drop((store, kept));
        // The volume can be used again, though the kernel may still read for the one before.
        FileStore::open(&path, false).unwrap();
        assert_ends(shared.unwrap_or_default()).await;
    }
}

/// The task that reaps ends, and with it the last that knows of the ring.
async fn assert_ends(shared: Weak<Shared>) {
    let ended = async {
        while shared.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("somebody still reaps");
}

#[test]
fn a_runtime_that_ends_in_the_middle_of_reads_leaves_the_store_to_the_pool_of_the_next() {
    let (_directory, path) = file();
    let store = FileStore::open(&path, false).unwrap();
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime().block_on(async { (0..100).for_each(|number| drop(read(&store, block(number)))) });
    forget(&path);
    runtime().block_on(async {
        for number in 100..200 {
            assert_reads_right(&store, block(number)).await;
        }
    });
}

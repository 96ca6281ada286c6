//! What a volume in a file promises beyond holding bytes.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use blockferry_device::{Device, Errno, ReadPart, Request, SegmentState};
use blockferry_store::{FileStore, StoreError};
use bytes::Bytes;
use common::{
    directories, done, extent, flush, read, read_parts, sparse_file, status, trim, write,
};

const MIB: u64 = 1 << 20;

fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[tokio::test]
async fn a_second_opener_is_refused_unless_both_only_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = sparse_file(directory.path(), MIB);
    let writer = FileStore::open(&path, false).unwrap();
    for read_only in [false, true] {
        let error = FileStore::open(&path, read_only).unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }));
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    drop(writer);
    let _reader = FileStore::open(&path, true).unwrap();
    FileStore::open(&path, true).unwrap();
    assert!(matches!(FileStore::open(&path, false), Err(StoreError::InUse { .. })));
}

#[tokio::test]
async fn only_files_and_devices_are_opened_and_links_are_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = sparse_file(directory.path(), MIB);
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let error = FileStore::open(&link, false).unwrap_err();
    assert!(
        matches!(&error, StoreError::Symlink { target, .. } if *target == path.canonicalize().unwrap()),
        "{error}"
    );
    let error = FileStore::open(directory.path(), false).unwrap_err();
    assert!(matches!(error, StoreError::WrongKind { .. }), "{error}");
    let error = FileStore::open(Path::new("/dev/null"), false).unwrap_err();
    assert!(matches!(error, StoreError::WrongKind { .. }), "{error}");
    let error = FileStore::open(&directory.path().join("absent"), false).unwrap_err();
    assert!(error.to_string().contains("absent"), "{error}");
}

#[tokio::test]
async fn a_read_only_volume_refuses_every_write() {
    let directory = tempfile::tempdir().unwrap();
    let path = sparse_file(directory.path(), MIB);
    let store = FileStore::open(&path, true).unwrap();
    assert!(store.info().features.read_only);
    let extent = extent(0, 4096);
    let zeroes = Request::WriteZeroes { extent, fua: false, no_hole: false, fast_zero: false };
    assert_eq!(write(&store, 0, b"x").await.unwrap_err().errno, Errno::Perm);
    assert_eq!(trim(&store, extent).await.unwrap_err().errno, Errno::Perm);
    assert_eq!(done(&store, zeroes).await.unwrap_err().errno, Errno::Perm);
    assert_eq!(read(&store, extent).await.unwrap(), vec![0; 4096]);
    flush(&store).await.unwrap();
}

#[tokio::test]
async fn nothing_beyond_the_end_is_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = sparse_file(directory.path(), 5000);
    let store = FileStore::open(&path, false).unwrap();
    assert_eq!(write(&store, 4999, b"xy").await.unwrap_err().errno, Errno::NoSpc);
    assert_eq!(read(&store, extent(4999, 5001)).await.unwrap_err().errno, Errno::Inval);
    assert_eq!(trim(&store, extent(4999, 5001)).await.unwrap_err().errno, Errno::Inval);
    write(&store, 4999, b"x").await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 5000);
}

#[tokio::test]
async fn a_file_that_became_shorter_never_reads_as_zeroes_again() {
    for directory in directories() {
        let path = sparse_file(directory.path(), 2 * MIB);
        let store = FileStore::open(&path, false).unwrap();
        write(&store, MIB, &[7; 4096]).await.unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_len(MIB).unwrap();
        for end in [MIB + 1, MIB + 4096, 2 * MIB] {
            let lost = extent(MIB, end);
            assert_eq!(read(&store, lost).await.unwrap_err().errno, Errno::Io);
            let request = Request::Read { extent: lost, dont_fragment: true };
            assert_eq!(done(&store, request).await.unwrap_err().errno, Errno::Io);
            assert_eq!(status(&store, lost, false).await.unwrap_err().errno, Errno::Io);
        }
        // A write at the end would fill the lost part with zeroes.
        assert_eq!(write(&store, 2 * MIB - 1, b"x").await.unwrap_err().errno, Errno::Io);
        assert_eq!(trim(&store, extent(0, 2 * MIB)).await.unwrap_err().errno, Errno::Io);
        assert_eq!(fs::metadata(&path).unwrap().len(), MIB);
        assert_eq!(read(&store, extent(0, 4096)).await.unwrap(), vec![0; 4096]);
    }
}

#[tokio::test]
async fn a_file_that_became_shorter_takes_few_more_writes_and_no_flush() {
    for directory in directories() {
        let path = sparse_file(directory.path(), 2 * MIB);
        let store = FileStore::open(&path, false).unwrap();
        write(&store, MIB, &[7; 4096]).await.unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_len(MIB).unwrap();
        assert_eq!(flush(&store).await.unwrap_err().errno, Errno::Io);
        let mut taken = 0;
        while write(&store, 0, b"x").await.is_ok() {
            taken += 1;
            assert!(taken < 64, "nobody looks at the file's length");
        }
    }
}

#[tokio::test]
async fn a_trim_zeroes_exactly_its_bytes_and_gives_their_space_back() {
    for directory in directories() {
        let path = sparse_file(directory.path(), 2 * MIB);
        let store = FileStore::open(&path, false).unwrap();
        write(&store, 0, &vec![0xAA; 2 << 20]).await.unwrap();
        flush(&store).await.unwrap();
        let before = allocated(&path);
        trim(&store, extent(4097, MIB + 13)).await.unwrap();
        let mut expected = vec![0xAA; 2 << 20];
        expected[4097..(1 << 20) + 13].fill(0);
        assert!(read(&store, extent(0, 2 * MIB)).await.unwrap() == expected);
        flush(&store).await.unwrap();
        assert!(allocated(&path) <= before - MIB + 3 * 4096, "no space was given back");
    }
}

#[tokio::test]
async fn zeroes_with_no_hole_keep_their_space_and_zeroes_without_it_give_it_back() {
    for directory in directories() {
        let path = sparse_file(directory.path(), 2 * MIB);
        let store = FileStore::open(&path, false).unwrap();
        let zeroes = |no_hole, fast_zero| Request::WriteZeroes {
            extent: extent(0, MIB),
            fua: true,
            no_hole,
            fast_zero,
        };
        done(&store, zeroes(true, false)).await.unwrap();
        assert!(allocated(&path) >= MIB, "{} allocated", allocated(&path));
        assert!(read(&store, extent(0, MIB)).await.unwrap() == vec![0; 1 << 20]);
        done(&store, zeroes(false, true)).await.unwrap();
        assert!(allocated(&path) < MIB, "{} allocated", allocated(&path));
    }
}

#[tokio::test]
async fn fast_zeroes_are_refused_at_once_where_they_would_have_to_be_written() {
    // tmpfs cannot zero a range and keep it allocated.
    let Some(directory) = directories().into_iter().nth(1) else { return };
    let path = sparse_file(directory.path(), MIB);
    let store = FileStore::open(&path, false).unwrap();
    write(&store, 0, &[1; 4096]).await.unwrap();
    let extent = extent(0, 4096);
    let request = Request::WriteZeroes { extent, fua: false, no_hole: true, fast_zero: true };
    assert_eq!(done(&store, request).await.unwrap_err().errno, Errno::NotSup);
    assert_eq!(read(&store, extent).await.unwrap(), vec![1; 4096]);
}

#[tokio::test]
async fn a_block_status_tells_data_from_holes() {
    for directory in directories() {
        let path = sparse_file(directory.path(), 4 * MIB + 1);
        let store = FileStore::open(&path, false).unwrap();
        write(&store, MIB, &vec![1; 1 << 20]).await.unwrap();
        let told = status(&store, extent(0, 4 * MIB + 1), false).await.unwrap();
        let told: Vec<_> = told.iter().map(|segment| (segment.length, segment.state)).collect();
        let (data, hole) = (SegmentState::DATA, SegmentState::HOLE);
        assert_eq!(told, [(MIB, hole), (MIB, data), (2 * MIB + 1, hole)]);
        trim(&store, extent(MIB, MIB + 65536)).await.unwrap();
        let again = status(&store, extent(MIB, 2 * MIB), false).await.unwrap();
        assert_eq!((again[0].length, again[0].state), (65536, hole));
        write(&store, MIB, &[1; 65536]).await.unwrap();
        let one = status(&store, extent(MIB + 5, 3 * MIB), true).await.unwrap();
        assert_eq!(one.len(), 1);
        assert_eq!((one[0].length, one[0].state), (MIB - 5, data));
    }
}

#[tokio::test]
async fn a_large_read_reports_the_hole_it_begins_with_unless_one_part_is_asked_for() {
    for directory in directories() {
        let path = sparse_file(directory.path(), 3 * MIB);
        let store = FileStore::open(&path, false).unwrap();
        write(&store, MIB, &vec![1; 1 << 20]).await.unwrap();
        let whole = extent(0, 3 * MIB);
        let parts = read_parts(&store, whole).await.unwrap();
        let data = [vec![1; 1 << 20], vec![0; 1 << 20]].concat();
        assert!(parts == [ReadPart::Hole(MIB), ReadPart::Data(Bytes::from(data))]);
        let parts = read_parts(&store, extent(2 * MIB, 3 * MIB)).await.unwrap();
        assert_eq!(parts, [ReadPart::Hole(MIB)]);
        let reply = store.call(Request::Read { extent: whole, dont_fragment: true }).await.unwrap();
        assert!(matches!(reply, blockferry_device::Reply::Read(parts) if parts.len() == 1));
    }
}

#[tokio::test]
async fn dropping_the_answer_does_not_cancel_the_write() {
    let directory = tempfile::tempdir().unwrap();
    let path = sparse_file(directory.path(), 64 * MIB);
    let store = FileStore::open(&path, false).unwrap();
    let data = Bytes::from(vec![9; 1 << 20]);
    // More than can be under way at once, so that some are dropped while they wait for their turn.
    for offset in (0..64 * MIB).step_by(1 << 19) {
        let data = data.slice(..1 << 19);
        drop(store.call(Request::Write { offset, data, fua: false }));
    }
    let written = async {
        while read(&store, extent(0, 32 * MIB)).await.unwrap() != vec![9; 32 << 20]
            || read(&store, extent(32 * MIB, 64 * MIB)).await.unwrap() != vec![9; 32 << 20]
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), written).await.unwrap();
}

#[tokio::test]
async fn a_volume_at_the_largest_offsets_works() {
    // tmpfs takes files of nearly 8 EiB.
    let Some(directory) = directories().into_iter().nth(1) else { return };
    let size = (1 << 62) + 1;
    let path = sparse_file(directory.path(), size);
    let store = FileStore::open(&path, false).unwrap();
    assert_eq!(store.info().size, size);
    write(&store, size - 3, b"end").await.unwrap();
    assert_eq!(read(&store, extent(size - 4, size)).await.unwrap(), b"\0end");
    trim(&store, extent(size - 1, size)).await.unwrap();
    assert_eq!(read(&store, extent(size - 4, size)).await.unwrap(), b"\0en\0");
}

#[tokio::test]
async fn a_read_that_no_payload_can_carry_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = sparse_file(directory.path(), 1 << 33);
    let store = FileStore::open(&path, false).unwrap();
    let request = Request::Read { extent: extent(0, 1 << 33), dont_fragment: true };
    assert_eq!(done(&store, request).await.unwrap_err().errno, Errno::Inval);
}

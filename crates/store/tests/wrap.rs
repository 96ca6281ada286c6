//! Each wrapper adds its one behaviour and nothing else.

mod common;

use std::sync::Arc;
use std::time::Duration;

use blockferry_device::{Device, Errno, Failure, Features, Request};
use blockferry_store::wrap::{Counted, Delay, Emulated, Faulty, Gate, ReadOnly};
use blockferry_store::{Kind, MemoryStore, StoreError, open};
use common::server::Described;
use common::{done, extent, flush, read, trim, write};

#[tokio::test]
async fn counted_counts_requests_and_bytes_by_kind() {
    let device = Counted::new(MemoryStore::new(1 << 20));
    write(&device, 0, &[1; 100]).await.unwrap();
    write(&device, 0, &[1; 20]).await.unwrap();
    read(&device, extent(0, 5)).await.unwrap();
    flush(&device).await.unwrap();
    let count = |kind| (device.count(kind).requests, device.count(kind).bytes);
    assert_eq!(count(Kind::Write), (2, 120));
    assert_eq!(count(Kind::Read), (1, 5));
    assert_eq!(count(Kind::Flush), (1, 0));
    assert_eq!(count(Kind::Trim), (0, 0));
}

#[tokio::test]
async fn faulty_fails_what_it_is_told_to_and_executes_none_of_it() {
    let device = Faulty::new(MemoryStore::new(1 << 20), |request: &Request| {
        request.is_write().then(|| Failure::new(Errno::NoSpc, "full"))
    });
    assert_eq!(write(&device, 0, b"x").await.unwrap_err().errno, Errno::NoSpc);
    assert_eq!(read(&device, extent(0, 1)).await.unwrap(), [0]);
}

#[tokio::test(start_paused = true)]
async fn delay_delays_the_kinds_it_is_told_to_even_if_nobody_waits() {
    let second = Duration::from_secs(1);
    let device = Delay::new(MemoryStore::new(1 << 20)).on(Kind::Write, second);
    let start = tokio::time::Instant::now();
    read(&device, extent(0, 1)).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    write(&device, 0, b"x").await.unwrap();
    assert!(start.elapsed() >= second);
    drop(device.call(Request::Trim { extent: extent(0, 0), fua: false }));

    let request = Request::Write { offset: 1, data: "y".into(), fua: false };
    drop(device.call(request));
    tokio::time::sleep(2 * second).await;
    assert_eq!(read(&device, extent(0, 2)).await.unwrap(), b"xy");
}

#[tokio::test]
async fn gate_holds_until_it_is_opened() {
    let device = Arc::new(Gate::new(MemoryStore::new(1 << 20), Request::is_write));
    let held = tokio::spawn({
        let device = Arc::clone(&device);
        async move { write(&device, 0, b"x").await }
    });
    device.holds(1).await;
    assert_eq!(read(&device, extent(0, 1)).await.unwrap(), [0]);
    assert!(!held.is_finished());
    device.open();
    held.await.unwrap().unwrap();
    assert_eq!(read(&device, extent(0, 1)).await.unwrap(), b"x");
    write(&device, 0, b"y").await.unwrap();
}

#[tokio::test]
async fn gate_behind_a_device_holds_the_answers_of_what_is_done() {
    let device = Arc::new(Gate::behind(MemoryStore::new(1 << 20), Request::is_write));
    let held = tokio::spawn({
        let device = Arc::clone(&device);
        async move { write(&device, 0, b"x").await }
    });
    device.holds(1).await;
    assert_eq!(read(&device, extent(0, 1)).await.unwrap(), b"x");
    assert!(!held.is_finished());
    device.open();
    held.await.unwrap().unwrap();
}

#[tokio::test]
async fn read_only_refuses_writes_and_nothing_else() {
    let store = MemoryStore::new(1 << 20);
    write(&store, 0, b"x").await.unwrap();
    let device = ReadOnly::new(store);
    assert!(device.info().features.read_only);
    assert_eq!(write(&device, 0, b"y").await.unwrap_err().errno, Errno::Perm);
    assert_eq!(trim(&device, extent(0, 1)).await.unwrap_err().errno, Errno::Perm);
    assert_eq!(read(&device, extent(0, 1)).await.unwrap(), b"x");
}

#[tokio::test]
async fn emulated_does_by_other_means_what_the_device_cannot() {
    let memory = MemoryStore::new(4 << 20);
    let mut info = *memory.info();
    info.features = Features { flush: true, block_status: true, ..Features::default() };
    let inner = Arc::new(Counted::new(Described { inner: memory, info }));
    let device = Emulated::new(Arc::clone(&inner));
    let offered = device.info().features;
    assert!(offered.fua && offered.write_zeroes && offered.fast_zero && offered.cache);
    assert!(!offered.trim, "giving space back cannot be had by other means");
    write(&device, 0, &[7; 3 << 20]).await.unwrap();
    let zeroes = |fast_zero, fua| {
        let extent = extent(5, (2 << 20) + 5);
        Request::WriteZeroes { extent, fua, no_hole: false, fast_zero }
    };
    assert_eq!(done(&device, zeroes(true, false)).await.unwrap_err().errno, Errno::NotSup);
    done(&device, zeroes(false, true)).await.unwrap();
    done(&device, Request::Cache { extent: extent(0, 1) }).await.unwrap();
    let expected = [vec![7; 5], vec![0; 2 << 20], vec![7; 8]].concat();
    assert_eq!(read(&device, extent(0, (2 << 20) + 13)).await.unwrap(), expected);
    assert_eq!(inner.count(Kind::Write).bytes, 5 << 20);
    assert_eq!(inner.count(Kind::Flush).requests, 1, "FUA is a flush after the write");
}

#[tokio::test]
async fn emulated_leaves_to_the_device_what_it_can_do_and_what_cannot_be_changed_alone() {
    let inner = Arc::new(Counted::new(MemoryStore::new(1 << 20)));
    let device = Emulated::new(Arc::clone(&inner));
    let extent = extent(0, 1 << 20);
    let zeroes = Request::WriteZeroes { extent, fua: true, no_hole: true, fast_zero: true };
    done(&device, zeroes).await.unwrap();
    let count = |kind| inner.count(kind).requests;
    assert_eq!((count(Kind::WriteZeroes), count(Kind::Write), count(Kind::Flush)), (1, 0, 0));
    let read_only = ReadOnly::new(MemoryStore::new(1 << 20));
    let info = *read_only.info();
    assert_eq!(*Emulated::new(read_only).info(), info);
}

#[tokio::test]
async fn memory_takes_room_only_for_content() {
    let store = MemoryStore::new(1 << 50);
    assert_eq!(store.allocated(), 0);
    write(&store, (1 << 49) + 1, b"x").await.unwrap();
    assert_eq!(store.allocated(), 1 << 16);
    trim(&store, extent(0, 1 << 50)).await.unwrap();
    assert_eq!(store.allocated(), 0);
}

#[tokio::test]
async fn a_spec_names_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = common::sparse_file(directory.path(), 4097);
    assert_eq!(open(path.to_str().unwrap(), false).await.unwrap().info().size, 4097);
    assert_eq!(open("mem:64M", false).await.unwrap().info().size, 64 << 20);
    assert!(open("mem:64M", true).await.unwrap().info().features.read_only);
    for spec in ["", "mem:", "mem:lots", "mem:9223372036854775808"] {
        let error = open(spec, false).await.err().unwrap();
        assert!(matches!(error, StoreError::Spec { .. }), "{spec:?}: {error}");
    }
}

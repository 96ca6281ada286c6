//! A volume on an NBD server that loses its connections, goes away and comes back.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blockferry_device::{Device, DeviceInfo, Errno, Failure, Features, Request, SegmentState};
use blockferry_store::wrap::{Counted, Faulty, Gate};
use blockferry_store::{Kind, MemoryStore, RemoteStore, StoreError, open};
use common::server::{Described, Server};
use common::{done, extent, flush, read, status, trim, write};
use tokio::time::timeout;

const MIB: u64 = 1 << 20;

/// No test waits longer for anything.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_spec_opens_an_export_and_says_why_where_it_cannot() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), Arc::new(MemoryStore::new(MIB))).await;
    let spec = server.uri.to_string();
    let store = open(&spec, false).await.unwrap();
    write(&*store, 5, b"hello").await.unwrap();
    flush(&*store).await.unwrap();
    let again = open(&spec, true).await.unwrap();
    assert!(again.info().features.read_only);
    assert_eq!(read(&*again, extent(4, 11)).await.unwrap(), b"\0hello\0");

    let error = open(&spec.replace("/vol", "/other"), false).await.err().unwrap();
    assert!(matches!(error, StoreError::Remote { .. }), "{error}");
    assert!(error.to_string().contains("there is no \"other\""), "{error}");
    for spec in ["http://h:1/vol", "nbd:///vol", "nbds://h/vol"] {
        let error = open(spec, false).await.err().unwrap();
        assert!(matches!(error, StoreError::Spec { .. }), "{error}");
    }
    drop((store, again));
    server.stop().await;
    let error = open(&spec, false).await.err().unwrap();
    assert!(error.to_string().contains("nbd.sock"), "{error}");
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_sent_again_before_any_that_overlaps_it() {
    let directory = tempfile::tempdir().unwrap();
    let executed = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&executed);
    let recorded = Faulty::new(MemoryStore::new(MIB), move |request: &Request| {
        if let Request::Write { data, .. } = request {
            log.lock().unwrap().push(data[0]);
        }
        None
    });
    let gate = Arc::new(Gate::behind(recorded, Request::is_write));
    let server = Server::start(directory.path(), gate.clone()).await;
    let store = Arc::new(RemoteStore::connect(&server.uri).await.unwrap());

    let first = store.call(Request::Write { offset: 0, data: vec![1; 4096].into(), fua: false });
    timeout(SOON, gate.holds(1)).await.unwrap();
    let second = store.call(Request::Write { offset: 4095, data: vec![2; 2].into(), fua: false });
    let elsewhere = store.call(Request::Write { offset: 4097, data: vec![3].into(), fua: false });
    timeout(SOON, gate.holds(2)).await.unwrap();
    server.cut();
    // The first and the one elsewhere, each once more.
    timeout(SOON, gate.holds(4)).await.unwrap();
    gate.open();
    timeout(SOON, async {
        (first.await.unwrap(), second.await.unwrap(), elsewhere.await.unwrap())
    })
    .await
    .unwrap();
    let executed = executed.lock().unwrap().clone();
    let count = |first_byte| executed.iter().filter(|executed| **executed == first_byte).count();
    assert_eq!([count(1), count(2), count(3)], [2, 1, 2], "{executed:?}");
    assert_eq!(executed.last(), Some(&2), "{executed:?}");
    let content = timeout(SOON, read(&*store, extent(4094, 4098))).await.unwrap().unwrap();
    assert_eq!(content, [1, 2, 2, 3]);
}

#[tokio::test]
async fn requests_wait_for_a_server_that_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let device: Arc<dyn Device> = Arc::new(MemoryStore::new(MIB));
    let server = Server::start(directory.path(), Arc::clone(&device)).await;
    let store = RemoteStore::connect(&server.uri).await.unwrap();
    write(&store, 0, b"before").await.unwrap();
    flush(&store).await.unwrap();
    server.stop().await;
    let waiting = [
        store.call(Request::Read { extent: extent(0, 6), dont_fragment: true }),
        store.call(Request::Write { offset: 6, data: " after".into(), fua: true }),
        store.call(Request::Flush),
    ];
    let server = Server::start(directory.path(), device).await;
    for answer in waiting {
        timeout(SOON, answer).await.unwrap().unwrap();
    }
    assert_eq!(read(&store, extent(0, 12)).await.unwrap(), b"before after");
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_stays_away_fails_the_request_after_a_while() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), Arc::new(MemoryStore::new(MIB))).await;
    let patience = Duration::from_millis(300);
    let store = RemoteStore::connect_with(&server.uri, patience).await.unwrap();
    server.stop().await;
    let failure = timeout(SOON, write(&store, 0, b"x")).await.unwrap().unwrap_err();
    assert_eq!(failure.errno, Errno::Io);
    assert!(failure.message.contains("does not come back"), "{failure}");
}

#[tokio::test]
async fn another_volume_in_the_place_of_the_first_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), Arc::new(MemoryStore::new(MIB))).await;
    let patience = Duration::from_millis(300);
    let store = RemoteStore::connect_with(&server.uri, patience).await.unwrap();
    server.stop().await;
    let other = Arc::new(Counted::new(MemoryStore::new(2 * MIB)));
    let server = Server::start(directory.path(), other.clone()).await;
    let failure = timeout(SOON, write(&store, 0, b"x")).await.unwrap().unwrap_err();
    assert_eq!(failure.errno, Errno::Io);
    assert!(failure.message.contains("is not the volume that it was"), "{failure}");
    assert_eq!(other.count(Kind::Write).requests, 0);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_says_it_shuts_down_is_asked_again() {
    let directory = tempfile::tempdir().unwrap();
    let refusals = AtomicUsize::new(2);
    let device = Faulty::new(MemoryStore::new(MIB), move |_: &Request| {
        let left = refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        left.is_ok().then(|| Failure::new(Errno::Shutdown, "going down"))
    });
    let server = Server::start(directory.path(), Arc::new(device)).await;
    let store = RemoteStore::connect(&server.uri).await.unwrap();
    timeout(SOON, write(&store, 0, b"x")).await.unwrap().unwrap();
    assert_eq!(read(&store, extent(0, 1)).await.unwrap(), b"x");
}

#[tokio::test]
async fn a_failure_of_the_server_is_passed_on() {
    let directory = tempfile::tempdir().unwrap();
    let device = Faulty::new(MemoryStore::new(MIB), |request: &Request| {
        request.is_write().then(|| Failure::new(Errno::NoSpc, "the pool is full"))
    });
    let server = Server::start(directory.path(), Arc::new(device)).await;
    let store = RemoteStore::connect(&server.uri).await.unwrap();
    let failure = write(&store, 0, b"x").await.unwrap_err();
    assert_eq!((failure.errno, &*failure.message), (Errno::NoSpc, "the pool is full"));
}

#[tokio::test]
async fn what_the_server_does_not_offer_is_not_offered_but_block_status() {
    let directory = tempfile::tempdir().unwrap();
    let features = Features { flush: true, trim: true, ..Features::default() };
    let info = DeviceInfo::new(MIB, features);
    let device = Described { inner: MemoryStore::new(MIB), info };
    let server = Server::start(directory.path(), Arc::new(device)).await;
    let store = RemoteStore::connect(&server.uri).await.unwrap();
    let offered = store.info().features;
    let expected =
        Features { flush: true, block_status: true, multi_conn: true, ..Features::default() };
    assert_eq!(offered, expected, "a trim that may leave anything behind is none");
    let told = status(&store, extent(5, 600), false).await.unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].length, told[0].state), (595, SegmentState::DATA));
}

#[tokio::test]
async fn a_trim_reads_as_zeroes_whatever_the_server_makes_of_trims() {
    let directory = tempfile::tempdir().unwrap();
    let device = Arc::new(Counted::new(MemoryStore::new(MIB)));
    let server = Server::start(directory.path(), device.clone()).await;
    let store = RemoteStore::connect(&server.uri).await.unwrap();
    assert!(store.info().features.trim);
    write(&store, 0, &[7; 100]).await.unwrap();
    trim(&store, extent(10, 90)).await.unwrap();
    assert_eq!(device.count(Kind::Trim).requests, 0);
    assert_eq!(device.count(Kind::WriteZeroes).bytes, 80);
    assert_eq!(
        read(&store, extent(0, 100)).await.unwrap(),
        [[7; 10].as_slice(), &[0; 80], &[7; 10]].concat()
    );
}

#[tokio::test]
async fn writes_to_parts_of_one_block_do_not_undo_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let memory = MemoryStore::new(MIB);
    let info = DeviceInfo { block_size_min: 4096, ..*memory.info() };
    let device = Described { inner: memory, info };
    let server = Server::start(directory.path(), Arc::new(device)).await;
    let store = RemoteStore::connect(&server.uri).await.unwrap();
    assert_eq!(store.info().block_size_min, 1);
    let writes: Vec<_> = (0..64_u8)
        .map(|n| {
            let offset = u64::from(n) * 64;
            store.call(Request::Write { offset, data: vec![n; 64].into(), fua: false })
        })
        .collect();
    for write in writes {
        timeout(SOON, write).await.unwrap().unwrap();
    }
    let expected: Vec<u8> = (0..64_u8).flat_map(|n| [n; 64]).collect();
    assert_eq!(read(&store, extent(0, 4096)).await.unwrap(), expected);
}

#[tokio::test]
async fn a_volume_whose_end_cannot_be_reached_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let memory = MemoryStore::new(MIB + 1);
    let info = DeviceInfo { block_size_min: 512, ..*memory.info() };
    let device = Described { inner: memory, info };
    let server = Server::start(directory.path(), Arc::new(device)).await;
    let error = RemoteStore::connect(&server.uri).await.unwrap_err();
    assert!(matches!(error, StoreError::Unusable { .. }), "{error}");
}

#[tokio::test]
async fn a_request_for_no_bytes_does_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let device = Arc::new(Counted::new(MemoryStore::new(MIB)));
    let server = Server::start(directory.path(), device.clone()).await;
    let store = RemoteStore::connect(&server.uri).await.unwrap();
    write(&store, 7, b"").await.unwrap();
    trim(&store, extent(7, 7)).await.unwrap();
    assert_eq!(read(&store, extent(7, 7)).await.unwrap(), b"");
    assert!(status(&store, extent(7, 7), false).await.is_err());
    done(&store, Request::Cache { extent: extent(7, 7) }).await.unwrap();
    assert_eq!(device.count(Kind::Write).requests, 0);
}

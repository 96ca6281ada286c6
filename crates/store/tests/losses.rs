//! A server that loses what it had answered and not flushed: no flush may pass that over.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use blockferry_device::{Device, Errno, Failure, Request};
use blockferry_store::wrap::{Counted, Emulated, Faulty};
use blockferry_store::{Kind, MemoryStore, RemoteStore, Store};
use common::forgetful::Forgetful;
use common::server::{Described, Server};
use common::{done, extent, flush, read, write};
use tokio::time::timeout;

const MIB: u64 = 1 << 20;

/// No test waits longer for anything.
const SOON: Duration = Duration::from_secs(20);

/// A server whose machine can lose its power.
struct Machine {
    disk: Arc<Forgetful>,
    server: Server,
}

impl Machine {
    async fn start(directory: &Path) -> Self {
        Self::boot(directory, Forgetful::new(MIB)).await
    }

    async fn boot(directory: &Path, disk: Forgetful) -> Self {
        let disk = Arc::new(disk);
        let server = Server::start(directory, disk.clone()).await;
        Self { disk, server }
    }

    async fn lose_power(self, directory: &Path) -> Self {
        self.server.stop().await;
        let disk = self.disk.lose_power().await;
        Self::boot(directory, disk).await
    }

    /// A store on it that has nothing left of an earlier run to flush.
    async fn store(&self) -> RemoteStore {
        let store = RemoteStore::connect(&self.server.uri).await.unwrap();
        flush(&store).await.unwrap();
        store
    }
}

async fn try_flush(store: &RemoteStore) -> Result<(), Failure> {
    timeout(SOON, flush(store)).await.unwrap()
}

async fn content(store: &RemoteStore, length: u64) -> Vec<u8> {
    timeout(SOON, read(store, extent(0, length))).await.unwrap().unwrap()
}

#[tokio::test]
async fn after_a_loss_every_flush_fails_until_it_is_dealt_with() {
    let directory = tempfile::tempdir().unwrap();
    let machine = Machine::start(directory.path()).await;
    let store = machine.store().await;
    write(&store, 0, b"old").await.unwrap();
    try_flush(&store).await.unwrap();
    write(&store, 0, b"new").await.unwrap();
    let machine = machine.lose_power(directory.path()).await;
    assert_eq!(content(&store, 3).await, b"old", "the test's server does not lose what it should");
    for _ in 0..2 {
        let failure = try_flush(&store).await.unwrap_err();
        assert_eq!(failure.errno, Errno::Io);
        assert!(failure.message.contains("may have lost"), "{failure}");
    }

    store.forget_losses();
    write(&store, 0, b"new").await.unwrap();
    try_flush(&store).await.unwrap();
    let machine = machine.lose_power(directory.path()).await;
    assert_eq!(content(&store, 3).await, b"new");
    try_flush(&store).await.unwrap();
    machine.server.stop().await;
}

#[tokio::test]
async fn a_flush_that_is_the_first_to_notice_a_loss_fails() {
    let directory = tempfile::tempdir().unwrap();
    let machine = Machine::start(directory.path()).await;
    let store = machine.store().await;
    write(&store, 0, b"new").await.unwrap();
    let machine = machine.lose_power(directory.path()).await;
    assert_eq!(try_flush(&store).await.unwrap_err().errno, Errno::Io);
    machine.server.stop().await;
}

#[tokio::test]
async fn a_server_that_kept_all_it_promised_is_no_loss() {
    let directory = tempfile::tempdir().unwrap();
    let machine = Machine::start(directory.path()).await;
    let store = machine.store().await;
    let machine = machine.lose_power(directory.path()).await;
    try_flush(&store).await.unwrap();
    write(&store, 0, b"flushed").await.unwrap();
    try_flush(&store).await.unwrap();
    let durable = Request::Write { offset: 7, data: " and durable".into(), fua: true };
    done(&store, durable).await.unwrap();
    let machine = machine.lose_power(directory.path()).await;
    assert_eq!(content(&store, 19).await, b"flushed and durable");
    try_flush(&store).await.unwrap();
    machine.server.stop().await;
}

#[tokio::test]
async fn a_flush_that_the_server_failed_is_not_followed_by_one_that_succeeds() {
    let directory = tempfile::tempdir().unwrap();
    let fails = AtomicBool::new(true);
    let device = Faulty::new(MemoryStore::new(MIB), move |request: &Request| {
        let fails = *request == Request::Flush && fails.swap(false, Ordering::SeqCst);
        fails.then(|| Failure::new(Errno::Io, "the disk is broken"))
    });
    let server = Server::start(directory.path(), Arc::new(device)).await;
    let store = RemoteStore::connect(&server.uri).await.unwrap();
    for _ in 0..3 {
        assert_eq!(try_flush(&store).await.unwrap_err().errno, Errno::Io);
    }
    store.forget_losses();
    try_flush(&store).await.unwrap();
}

#[tokio::test]
async fn what_an_earlier_run_wrote_is_made_durable_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(Counted::new(Forgetful::new(MIB)));
    let server = Server::start(directory.path(), disk.clone()).await;
    let earlier = RemoteStore::connect(&server.uri).await.unwrap();
    flush(&earlier).await.unwrap();
    write(&earlier, 0, b"earlier").await.unwrap();
    drop(earlier);
    let before = disk.count(Kind::Flush).requests;
    let store = RemoteStore::connect(&server.uri).await.unwrap();
    let flushed = async {
        while disk.count(Kind::Flush).requests == before {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, flushed).await.unwrap();
    server.stop().await;
    let machine = Machine::boot(directory.path(), disk.inner().lose_power().await).await;
    assert_eq!(content(&store, 7).await, b"earlier");
    machine.server.stop().await;
}

#[tokio::test]
async fn a_durable_write_to_a_server_without_fua_survives() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Forgetful::new(MIB);
    let mut info = *disk.info();
    info.features.fua = false;
    let plain = Arc::new(Described { inner: disk, info });
    let server = Server::start(directory.path(), plain.clone()).await;
    let store = RemoteStore::connect(&server.uri).await.unwrap();
    assert!(!store.info().features.fua);
    let store = Emulated::new(store);
    let durable = Request::Write { offset: 0, data: "durable".into(), fua: true };
    done(&store, durable).await.unwrap();
    server.stop().await;
    let after = plain.inner.lose_power().await;
    assert_eq!(read(&after, extent(0, 7)).await.unwrap(), b"durable");
}

//! A client that writes while a migration begins.

use std::sync::Arc;

use blockferry_control::api::{PartyAddress, SendRequest, SlowDestination};
use blockferry_device::{Device, Reply, Request};
use blockferry_migration::record::VolumeRecord;
use blockferry_nbd_session::{Hello, Peer, Purpose};
use blockferry_store::MemoryStore;
use blockferry_store::wrap::Gate;
use bytes::Bytes;
use tempfile::TempDir;

use crate::volume::device::VolumeDevice;
use crate::volume::{Volume, testing};

const SIZE: u64 = 1 << 20;

type Slow = Gate<MemoryStore, fn(&Request) -> bool>;

/// An owner whose disk holds writes back, and a client of it.
struct Served {
    volume: Arc<Volume>,
    store: Arc<Slow>,
    client: VolumeDevice,
    _folder: TempDir,
}

impl Served {
    async fn begun() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store: Arc<Slow> = Arc::new(Gate::new(MemoryStore::new(SIZE), Request::is_write));
        let first = VolumeRecord::Owner { generation: 1, size: SIZE, backing: "a store".into() };
        let volume = testing::open(folder.path(), store.clone(), Some(first));
        let hello = Hello { purpose: Purpose::Go, role: None, peer: Peer::Unix };
        let client = volume.connect(&hello, None).await.expect("a client");
        Self { volume, store, client, _folder: folder }
    }

    fn write(&self) -> blockferry_device::Answer {
        let data = Bytes::from_static(&[7; 4096]);
        self.client.call(Request::Write { offset: 0, data, fua: false })
    }

    fn updates_recorded(&self) -> usize {
        self.volume.owner().expect("an owner").with(|source| source.in_flight())
    }
}

fn send_request() -> SendRequest {
    SendRequest {
        migration: testing::MIGRATION.into(),
        token: testing::TOKEN.into(),
        destination: PartyAddress { nbd: "nbd://127.0.0.1:1".into(), control: "unix:/no".into() },
        slow_destination: SlowDestination::Pause,
        term: 1,
    }
}

#[tokio::test]
async fn without_a_migration_a_request_is_not_recorded() {
    let served = Served::begun().await;
    let write = tokio::spawn(served.write());
    served.store.holds(1).await;
    assert_eq!(served.updates_recorded(), 0);
    served.store.open();
    assert_eq!(write.await.expect("no panic"), Ok(Reply::Done));
}

#[tokio::test(start_paused = true)]
async fn i5_a_migration_begins_when_the_writes_before_it_have_ended_and_stops_no_client() {
    let served = Served::begun().await;
    let before = tokio::spawn(served.write());
    served.store.holds(1).await;
    let volume = Arc::clone(&served.volume);
    let sent = tokio::spawn(async move { volume.send(send_request()).await.map(drop) });
    while served.volume.plain.is_open() {
        tokio::task::yield_now().await;
    }
    // A write that comes now is the machine's, so that a claim waits for it.
    let after = tokio::spawn(served.write());
    served.store.holds(2).await;
    assert_eq!(served.updates_recorded(), 1);
    // The clock moves only when nobody can go on.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(served.volume.outgoing().is_none(), "begun beside a write that nobody recorded");
    served.store.open();
    assert_eq!(before.await.expect("no panic"), Ok(Reply::Done));
    assert_eq!(after.await.expect("no panic"), Ok(Reply::Done));
    while served.volume.outgoing().is_none() {
        tokio::task::yield_now().await;
    }
    sent.abort();
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_does_not_answer_lets_no_migration_begin() {
    let served = Served::begun().await;
    let _held = tokio::spawn(served.write());
    served.store.holds(1).await;
    let refused = served.volume.send(send_request()).await.expect_err("begun all the same");
    assert!(refused.to_string().contains("takes longer than 10 s"), "{refused}");
    assert!(served.volume.plain.is_open(), "a refused migration leaves everything as it was");
}

//! A client that writes while a migration begins.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::volume::testing::{self, SIZE, Served};
use blockferry_block::Extent;
use blockferry_control::api::{PartyAddress, SendRequest, SlowDestination};
use blockferry_device::{Answer, Device, DeviceInfo, Outcome, Reply, Request};
use blockferry_store::wrap::Gate;
use blockferry_store::{MemoryStore, Store};
use bytes::Bytes;

fn write() -> Request {
    Request::Write { offset: 0, data: Bytes::from_static(&[7; 4096]), fua: false }
}

fn read() -> Request {
    Request::Read { extent: Extent::whole(4096), dont_fragment: false }
}

fn send_request() -> SendRequest {
    SendRequest {
        migration: testing::MIGRATION.into(),
        token: testing::TOKEN.into(),
        destination: PartyAddress {
            nbd: "nbd://127.0.0.1:1".into(),
            control: "unix:/no".into(),
            iscsi: None,
        },
        slow_destination: SlowDestination::Pause,
        client_p99_ms: None,
        term: 1,
    }
}

#[tokio::test]
async fn d1_4_a_write_that_has_to_wait_for_the_store_is_on_record_without_a_migration_too() {
    let store = Arc::new(Gate::new(MemoryStore::new(SIZE), Request::is_write));
    let served = Served::from(store.clone()).await;
    let write = tokio::spawn(served.client.call(write()));
    store.holds(1).await;
    assert_eq!(served.updates_recorded(), 1);
    store.open();
    assert_eq!(write.await.expect("no panic"), Ok(Reply::Done));
    assert_eq!(served.updates_recorded(), 0);
}

/// A store whose first write takes its caller's thread until it is let go.
struct Busy {
    memory: MemoryStore,
    has_begun: AtomicBool,
    may_end: Mutex<Receiver<()>>,
}

impl Device for Busy {
    fn info(&self) -> &DeviceInfo {
        self.memory.info()
    }

    fn call(&self, request: Request) -> Answer {
        self.memory.call(request)
    }

    fn call_now(&self, request: &Request) -> Option<Outcome> {
        if !self.has_begun.swap(true, Ordering::SeqCst) {
            // Whoever could let it go may have gone.
            let _ = self.may_end.lock().unwrap_or_else(PoisonError::into_inner).recv();
        }
        self.memory.call_now(request)
    }
}

impl Store for Busy {
    fn forget_losses(&self) {}
}

#[tokio::test(start_paused = true)]
async fn i5_a_migration_begins_when_the_writes_before_it_have_ended_and_stops_no_client() {
    let (let_go, may_end) = channel();
    let (memory, has_begun) = (MemoryStore::new(SIZE), AtomicBool::new(false));
    let store = Arc::new(Busy { memory, has_begun, may_end: Mutex::new(may_end) });
    let served = Arc::new(Served::from(store.clone()).await);
    let writer = Arc::clone(&served);
    let before = std::thread::spawn(move || writer.client.call_now(&write()));
    while !store.has_begun.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    let volume = Arc::clone(&served.volume);
    let sent = tokio::spawn(async move { volume.send(send_request()).await.map(drop) });
    while served.client.call_now(&read()).is_some() {
        tokio::task::yield_now().await;
    }
    assert!(served.client.call_now(&write()).is_none(), "a write that no claim would wait for");
    assert_eq!(served.client.call(write()).await, Ok(Reply::Done), "clients wait for nothing");
    // The clock moves only when nobody can go on.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(served.volume.outgoing().is_none(), "begun beside a write that nobody recorded");
    let_go.send(()).expect("it waits");
    assert_eq!(before.join().expect("no panic"), Some(Ok(Reply::Done)));
    while served.volume.outgoing().is_none() {
        tokio::task::yield_now().await;
    }
    sent.abort();
}

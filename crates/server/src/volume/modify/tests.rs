//! Changes beside other clients' writes.

use std::sync::Arc;

use blockferry_block::Extent;
use blockferry_device::{Device, ReadPart, Reply, Request};
use blockferry_store::MemoryStore;
use blockferry_store::wrap::Gate;
use bytes::Bytes;

use super::Modified;
use crate::volume::device::VolumeDevice;
use crate::volume::testing::{SIZE, Served};

const COUNTER: Extent = Extent::between(512, 520);

fn write(extent: Extent, byte: u8) -> Request {
    let data = vec![byte; usize::try_from(extent.len()).unwrap()].into();
    Request::Write { offset: extent.start(), data, fua: false }
}

async fn content(client: &VolumeDevice, extent: Extent) -> Bytes {
    let read = client.call(Request::Read { extent, dont_fragment: true }).await;
    match read {
        Ok(Reply::Read(mut parts)) => match parts.pop() {
            Some(ReadPart::Data(data)) => data,
            other => panic!("not in one piece: {other:?}"),
        },
        other => panic!("not read: {other:?}"),
    }
}

#[tokio::test]
async fn a_change_is_made_or_left_as_what_is_there_decides() {
    let served = Served::from(Arc::new(MemoryStore::new(SIZE))).await;
    let to_ones = |found: &[u8]| found.iter().all(|byte| *byte == 0).then(|| vec![1; 8].into());
    let first = served.client.modify(COUNTER, true, &to_ones).await;
    let again = served.client.modify(COUNTER, true, &to_ones).await;
    assert_eq!((first, again), (Ok(Modified::Written), Ok(Modified::Left)));
    assert_eq!(content(&served.client, COUNTER).await, vec![1; 8]);
    assert_eq!(served.updates_recorded(), 0);
    assert!(served.client.call_now(&write(COUNTER, 2)).is_some(), "the way is open again");
}

#[tokio::test]
async fn no_update_comes_between_what_a_change_reads_and_what_it_writes() {
    let reads = |request: &Request| matches!(request, Request::Read { .. });
    let store = Arc::new(Gate::new(MemoryStore::new(SIZE), reads));
    let served = Arc::new(Served::from(store.clone()).await);
    let changing = tokio::spawn({
        let served = Arc::clone(&served);
        async move { served.client.modify(COUNTER, false, &|_| Some(vec![1; 8].into())).await }
    });
    store.holds(1).await;
    let other = served.another_client().await;
    assert!(other.call_now(&write(COUNTER, 2)).is_none(), "a write beside the record");
    let mut writing = other.call(write(COUNTER, 2));
    assert!(futures_util::poll!(&mut writing).is_pending());
    store.open();
    assert_eq!(changing.await.expect("no panic"), Ok(Modified::Written));
    assert_eq!(writing.await, Ok(Reply::Done));
    assert_eq!(content(&other, COUNTER).await, vec![2; 8], "the later one is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_changes_at_once_each_is_made_on_what_the_others_left() {
    const CLIENTS: u64 = 4;
    const TIMES: u64 = 100;
    let served = Served::from(Arc::new(MemoryStore::new(SIZE))).await;
    let mut counting = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let client = served.another_client().await;
        counting.spawn(async move {
            let count = |found: &[u8]| {
                let before = u64::from_be_bytes(found.try_into().expect("eight bytes"));
                Some(Bytes::copy_from_slice(&(before + 1).to_be_bytes()))
            };
            for _ in 0..TIMES {
                let changed = client.modify(COUNTER, false, &count).await;
                assert_eq!(changed, Ok(Modified::Written));
            }
        });
    }
    while let Some(counted) = counting.join_next().await {
        counted.expect("no panic");
    }
    let found = content(&served.client, COUNTER).await;
    assert_eq!(u64::from_be_bytes(found[..].try_into().unwrap()), CLIENTS * TIMES);
}

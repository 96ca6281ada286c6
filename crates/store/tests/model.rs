//! Whatever is asked of a store, it holds what a plain array of bytes would.

mod common;

use std::sync::Arc;

use blockferry_block::Extent;
use blockferry_device::{Device, DeviceInfo, Reply, Request, SegmentState};
use blockferry_store::{FileStore, MemoryStore, RemoteStore};
use bytes::Bytes;
use common::server::{Described, Server};
use common::{directories, done, flatten, sparse_file, status};
use proptest::prelude::*;

/// Sizes that are a multiple of something, and of nothing.
const SIZES: [u64; 6] = [1, 511, 4096, 4097, 300_000, (1 << 20) + 1];

#[derive(Clone, Debug)]
enum Step {
    Write { at: Extent, byte: u8, fua: bool },
    WriteZeroes { at: Extent, fua: bool, no_hole: bool },
    Trim { at: Extent, fua: bool },
    Read { at: Extent, dont_fragment: bool },
    Status { at: Extent, one: bool },
    Flush,
}

fn extent_within(size: u64) -> impl Strategy<Value = Extent> {
    let place = prop_oneof![0..=size, (0..=size / 4096).prop_map(|page| page * 4096), Just(size)];
    (place.clone(), place).prop_map(|(a, b)| Extent::between(a.min(b), a.max(b)))
}

fn step(size: u64) -> impl Strategy<Value = Step> {
    let at = || extent_within(size);
    prop_oneof![
        4 => (at(), 1..=u8::MAX, any::<bool>())
            .prop_map(|(at, byte, fua)| Step::Write { at, byte, fua }),
        2 => (at(), any::<bool>(), any::<bool>())
            .prop_map(|(at, fua, no_hole)| Step::WriteZeroes { at, fua, no_hole }),
        2 => (at(), any::<bool>()).prop_map(|(at, fua)| Step::Trim { at, fua }),
        3 => (at(), any::<bool>()).prop_map(|(at, dont_fragment)| Step::Read { at, dont_fragment }),
        2 => (at(), any::<bool>()).prop_map(|(at, one)| Step::Status { at, one }),
        1 => Just(Step::Flush),
    ]
}

fn run() -> impl Strategy<Value = (u64, Vec<Step>)> {
    prop::sample::select(&SIZES[..])
        .prop_flat_map(|size| (Just(size), prop::collection::vec(step(size), 1..40)))
}

fn run_in_blocks() -> impl Strategy<Value = (u64, Vec<Step>)> {
    prop::sample::select(&[512, 4096, 300_032][..])
        .prop_flat_map(|size| (Just(size), prop::collection::vec(step(size), 1..40)))
}

fn slice(model: &mut [u8], at: Extent) -> &mut [u8] {
    &mut model[usize::try_from(at.start()).unwrap()..usize::try_from(at.end()).unwrap()]
}

async fn apply(device: &dyn Device, model: &mut [u8], step: Step) {
    match step {
        Step::Write { at, byte, fua } => {
            slice(model, at).fill(byte);
            let data = Bytes::copy_from_slice(slice(model, at));
            done(device, Request::Write { offset: at.start(), data, fua }).await.unwrap();
        }
        Step::WriteZeroes { at, fua, no_hole } => {
            slice(model, at).fill(0);
            let request = Request::WriteZeroes { extent: at, fua, no_hole, fast_zero: false };
            done(device, request).await.unwrap();
        }
        Step::Trim { at, fua } => {
            slice(model, at).fill(0);
            done(device, Request::Trim { extent: at, fua }).await.unwrap();
        }
        Step::Read { at, dont_fragment } => {
            let reply = device.call(Request::Read { extent: at, dont_fragment }).await.unwrap();
            let Reply::Read(parts) = reply else { panic!("{reply:?}") };
            assert!(flatten(&parts) == slice(model, at), "{at} reads differently");
            assert!(!dont_fragment || parts.len() <= 1, "{parts:?}");
        }
        Step::Status { at, one } if !at.is_empty() => {
            check_status(device, model, at, one).await;
        }
        Step::Status { at, one } => assert!(status(device, at, one).await.is_err()),
        Step::Flush => done(device, Request::Flush).await.unwrap(),
    }
}

async fn check_status(device: &dyn Device, model: &mut [u8], at: Extent, one: bool) {
    let segments = status(device, at, one).await.unwrap();
    assert!(!segments.is_empty() && (!one || segments.len() == 1), "{segments:?}");
    let mut start = at.start();
    for segment in segments {
        assert!(segment.length > 0);
        let here = Extent::between(start, start + segment.length);
        assert!(at.contains(here), "{here} is told of {at}");
        if segment.state == SegmentState::HOLE {
            assert!(slice(model, here).iter().all(|byte| *byte == 0), "{here} is no hole");
        }
        start = here.end();
    }
    assert!(one || start == at.end(), "{at} is told of up to {start} only");
}

async fn check(device: &dyn Device, size: u64, steps: Vec<Step>) {
    let mut model = vec![0; usize::try_from(size).unwrap()];
    for step in steps {
        apply(device, &mut model, step).await;
    }
    let whole = Step::Read { at: Extent::whole(size), dont_fragment: false };
    apply(device, &mut model, whole).await;
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_holds_what_an_array_would((size, steps) in run()) {
        for directory in directories() {
            let path = sparse_file(directory.path(), size);
            let store = FileStore::open(&path, false).unwrap();
            runtime().block_on(check(&store, size, steps.clone()));
            drop(store);
            assert_eq!(std::fs::metadata(&path).unwrap().len(), size, "the file's size changed");
        }
    }

    #[test]
    fn a_remote_volume_of_large_blocks_holds_what_an_array_would((size, steps) in run_in_blocks()) {
        runtime().block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let memory = MemoryStore::new(size);
            let info = DeviceInfo { block_size_min: 512, ..*memory.info() };
            let device = Arc::new(Described { inner: memory, info });
            let server = Server::start(directory.path(), device).await;
            let store = RemoteStore::connect(&server.uri).await.unwrap();
            check(&store, size, steps).await;
            server.stop().await;
        });
    }

    #[test]
    fn memory_holds_what_an_array_would((size, steps) in run()) {
        runtime().block_on(check(&MemoryStore::new(size), size, steps));
    }
}

//! Volumes in memory that answer a copier as the storage programs do, for tests.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use blockferry_block::Extent;
use blockferry_device::{
    DeviceInfo, Errno, Failure, Features, ReadPart, Reply, Request, Segment, SegmentState,
};
use tokio::time::sleep;

use crate::end::{End, EndError};

/// Unit in which the fake source tells zeroes from data, in bytes.
const GRAIN: usize = 4096;

/// What either end holds and saw.
#[derive(Default)]
pub struct Store {
    /// All of it.
    pub content: Vec<u8>,
    /// `R` at the source, `W` at the destination.
    pub cursor: u64,
    /// Every write in the order in which it arrived: address, length, whether as zeroes.
    pub writes: Vec<(u64, u64, bool)>,
    /// Extents that were read.
    pub reads: Vec<Extent>,
    /// Requests that were sent and not yet answered.
    pub under_way: usize,
    /// The most of those at one time.
    pub under_way_max: usize,
    /// Answers to give instead of carrying out the next reads or writes of data.
    pub faults: VecDeque<EndError>,
    /// How long each write takes.
    pub write_time: Duration,
    /// How long the way there and back is; writes take it beside their time.
    pub round_trip: Duration,
    /// Bytes a second that a write's data takes beside that; 0 for no time.
    pub bytes_per_second: u64,
}

/// One end.
#[derive(Clone)]
pub struct FakeEnd {
    /// What it holds.
    pub store: Arc<Mutex<Store>>,
    /// What it says of itself.
    pub info: DeviceInfo,
}

impl FakeEnd {
    /// An end with this content.
    pub fn new(content: Vec<u8>) -> Self {
        let features = Features { block_status: true, write_zeroes: true, ..Features::default() };
        let info = DeviceInfo::new(content.len() as u64, features);
        Self { store: Arc::new(Mutex::new(Store { content, ..Store::default() })), info }
    }

    /// What it holds and saw.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    fn read(&self, extent: Extent) -> Result<Reply, EndError> {
        let mut store = self.store();
        if let Some(fault) = store.faults.pop_front() {
            return Err(fault);
        }
        store.cursor = store.cursor.max(extent.end());
        store.reads.push(extent);
        let range = range(extent);
        let grains: Vec<_> = store.content[range].chunks(GRAIN).collect();
        let parts = grains.chunk_by(|one, next| is_zero(one) == is_zero(next));
        let parts = parts.map(|run| match (is_zero(run[0]), run.concat()) {
            (true, zeroes) => ReadPart::Hole(zeroes.len() as u64),
            (false, data) => ReadPart::Data(data.into()),
        });
        Ok(Reply::Read(parts.collect()))
    }

    fn describe(&self, extent: Extent) -> Result<Reply, EndError> {
        assert!(!extent.is_empty(), "the block status of nothing cannot be told");
        let mut store = self.store();
        store.cursor = store.cursor.max(extent.end());
        let range = range(extent);
        let segments = store.content[range].chunks(GRAIN).map(|grain| Segment {
            length: grain.len() as u64,
            state: if is_zero(grain) { SegmentState::HOLE } else { SegmentState::DATA },
        });
        Ok(Reply::BlockStatus(segments.collect()))
    }

    async fn write(&self, extent: Extent, data: Option<&[u8]>) -> Result<Reply, EndError> {
        let delay = {
            let mut store = self.store();
            store.writes.push((extent.start(), extent.len(), data.is_none()));
            store.under_way += 1;
            store.under_way_max = store.under_way_max.max(store.under_way);
            let data = data.map_or(0, <[u8]>::len) as u64 * 1_000_000_000;
            let on_the_way = data.checked_div(store.bytes_per_second).unwrap_or(0);
            store.write_time + store.round_trip + Duration::from_nanos(on_the_way)
        };
        sleep(delay).await;
        let mut store = self.store();
        store.under_way -= 1;
        if let Some(fault) = store.faults.pop_front() {
            return Err(fault);
        }
        if extent.start() != store.cursor {
            let line = format!("expected address {}", store.cursor);
            return Err(EndError::Refused(Failure::new(Errno::Inval, line)));
        }
        let range = range(extent);
        match data {
            Some(data) => store.content[range].copy_from_slice(data),
            None => store.content[range].fill(0),
        }
        store.cursor = extent.end();
        Ok(Reply::Done)
    }
}

impl End for FakeEnd {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn round_trip(&self) -> Duration {
        self.store().round_trip
    }

    async fn request(&self, request: Request) -> Result<Reply, EndError> {
        match request {
            Request::Read { extent, .. } => self.read(extent),
            Request::BlockStatus { extent, .. } => self.describe(extent),
            Request::Write { offset, data, .. } => {
                let extent = Extent::between(offset, offset + data.len() as u64);
                self.write(extent, Some(&data)).await
            }
            Request::WriteZeroes { extent, .. } => self.write(extent, None).await,
            other => panic!("the copy never sends {other:?}"),
        }
    }
}

fn range(extent: Extent) -> Range<usize> {
    usize::try_from(extent.start()).unwrap()..usize::try_from(extent.end()).unwrap()
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

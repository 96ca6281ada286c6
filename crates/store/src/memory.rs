//! A volume in memory, for tests and for trying things out: `mem:SIZE`. Nothing is kept of it.
//!
//! Only pages that were written to take memory.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use blockferry_block::Extent;
use blockferry_device::{
    Answer, Device, DeviceInfo, Errno, Failure, Features, Outcome, PAYLOAD_MAX, ReadPart, Reply,
    Request, SegmentState,
};
use bytes::{Bytes, BytesMut};

use crate::Store;
use crate::segments::{SEGMENTS_MAX, Segments};

/// Unit of allocation in bytes.
const PAGE: u64 = 64 << 10;

/// The same as a length in memory.
const PAGE_LENGTH: usize = 64 << 10;

/// Pages by number; those that are missing read as zeroes.
type Pages = BTreeMap<u64, Box<[u8]>>;

/// A volume of zeroes until it is written to.
#[derive(Debug)]
pub struct MemoryStore {
    info: DeviceInfo,
    pages: RwLock<Pages>,
}

impl MemoryStore {
    /// A volume of `size` bytes.
    pub fn new(size: u64) -> Self {
        let features = Features {
            read_only: false,
            flush: true,
            fua: true,
            trim: true,
            write_zeroes: true,
            fast_zero: true,
            cache: true,
            block_status: true,
            multi_conn: true,
            rotational: false,
        };
        Self { info: DeviceInfo::new(size, features), pages: RwLock::default() }
    }

    /// Memory taken by content, in bytes.
    pub fn allocated(&self) -> u64 {
        self.pages().len() as u64 * PAGE
    }

    fn answer(&self, request: &Request) -> Result<Reply, Failure> {
        self.info.check(request)?;
        match *request {
            Request::Read { extent, dont_fragment } => self.read(extent, dont_fragment),
            Request::Write { offset, ref data, .. } => Ok(self.write(offset, data)),
            Request::WriteZeroes { extent, no_hole, .. } => Ok(self.zero(extent, no_hole)),
            Request::Trim { extent, .. } => Ok(self.zero(extent, false)),
            Request::Flush | Request::Cache { .. } => Ok(Reply::Done),
            Request::BlockStatus { extent, one } => self.block_status(extent, one),
        }
    }

    fn read(&self, extent: Extent, dont_fragment: bool) -> Result<Reply, Failure> {
        if extent.len() > u64::from(PAYLOAD_MAX) {
            let reason = format!("a read has at most {PAYLOAD_MAX} bytes");
            return Err(Failure::new(Errno::Inval, reason));
        }
        let pages = self.pages();
        let mut parts = Vec::new();
        let mut data = BytesMut::new();
        for (page, part) in in_pages(extent) {
            match pages.get(&page) {
                Some(content) => data.extend_from_slice(&content[range(part)]),
                None if dont_fragment => data.resize(data.len() + range(part).len(), 0),
                None => {
                    push_data(&mut parts, data.split().freeze());
                    push_hole(&mut parts, part.len());
                }
            }
        }
        push_data(&mut parts, data.freeze());
        Ok(Reply::Read(parts))
    }

    fn write(&self, offset: u64, mut data: &[u8]) -> Reply {
        let mut pages = self.pages_mut();
        for (page, part) in in_pages(Extent::between(offset, offset + data.len() as u64)) {
            let (here, rest) = data.split_at(range(part).len());
            let content = pages.entry(page).or_insert_with(|| vec![0; PAGE_LENGTH].into());
            content[range(part)].copy_from_slice(here);
            data = rest;
        }
        Reply::Done
    }

    /// Zeroes what is there; pages without content are given up unless they have to stay. None is
    /// added for a range that has to stay allocated: memory promises no room.
    fn zero(&self, extent: Extent, keep: bool) -> Reply {
        if extent.is_empty() {
            return Reply::Done;
        }
        let mut pages = self.pages_mut();
        let mut empty = Vec::new();
        for (page, content) in pages.range_mut(page_numbers(extent)) {
            let whole = Extent::between(page * PAGE, page.saturating_add(1).saturating_mul(PAGE));
            let part = extent.intersection(whole).map_or(0..0, |part| {
                range(Extent::between(part.start() - whole.start(), part.end() - whole.start()))
            });
            content[part].fill(0);
            if !keep && content.iter().all(|byte| *byte == 0) {
                empty.push(*page);
            }
        }
        empty.iter().for_each(|page| drop(pages.remove(page)));
        Reply::Done
    }

    fn block_status(&self, extent: Extent, one: bool) -> Result<Reply, Failure> {
        if extent.is_empty() {
            return Err(Failure::new(Errno::Inval, "a block status needs a length"));
        }
        let pages = self.pages();
        let mut segments = Segments::new(if one { 1 } else { SEGMENTS_MAX });
        let mut left = extent;
        for page in pages.range(page_numbers(extent)).map(|(page, _)| page * PAGE) {
            let (hole, rest) = left.split_at(page);
            let (data, rest) = rest.split_at(page.saturating_add(PAGE));
            left = rest;
            if !segments.add(hole.len(), SegmentState::HOLE)
                || !segments.add(data.len(), SegmentState::DATA)
            {
                return Ok(Reply::BlockStatus(segments.into_list()));
            }
        }
        // Where the list is full, the answer is shorter than the question.
        segments.add(left.len(), SegmentState::HOLE);
        Ok(Reply::BlockStatus(segments.into_list()))
    }

    fn pages(&self) -> RwLockReadGuard<'_, Pages> {
        // A page is whole after every step, whatever panicked elsewhere.
        self.pages.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn pages_mut(&self) -> RwLockWriteGuard<'_, Pages> {
        self.pages.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device for MemoryStore {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn call(&self, request: Request) -> Answer {
        Answer::ready(self.answer(&request))
    }

    fn call_now(&self, request: &Request) -> Option<Outcome> {
        Some(self.answer(request))
    }
}

impl Store for MemoryStore {
    /// There are none.
    fn forget_losses(&self) {}
}

/// The pages that an extent touches, and which part of each, counted from the page's start.
fn in_pages(extent: Extent) -> impl Iterator<Item = (u64, Extent)> {
    let mut left = extent;
    std::iter::from_fn(move || {
        let page = left.start() / PAGE;
        let start = page * PAGE;
        let (here, rest) = left.split_at(start.saturating_add(PAGE));
        left = rest;
        let part = Extent::between(here.start() - start, here.end() - start);
        (!part.is_empty()).then_some((page, part))
    })
}

/// The numbers of the pages that an extent touches.
fn page_numbers(extent: Extent) -> RangeInclusive<u64> {
    extent.start() / PAGE..=extent.end().saturating_sub(1) / PAGE
}

/// A part of a page as a range of its bytes.
fn range(part: Extent) -> Range<usize> {
    let index = |at| usize::try_from(at).unwrap_or(PAGE_LENGTH);
    index(part.start())..index(part.end())
}

fn push_data(parts: &mut Vec<ReadPart>, data: Bytes) {
    if !data.is_empty() {
        parts.push(ReadPart::Data(data));
    }
}

fn push_hole(parts: &mut Vec<ReadPart>, length: u64) {
    match parts.last_mut() {
        Some(ReadPart::Hole(last)) => *last += length,
        _ => parts.push(ReadPart::Hole(length)),
    }
}

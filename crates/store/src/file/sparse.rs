//! Which parts of a file are holes, by `SEEK_DATA` and `SEEK_HOLE`. Both answer in their result
//! and nothing here uses the file's position, so concurrent calls do not disturb each other.

use std::sync::{Mutex, MutexGuard, PoisonError};

use blockferry_block::Extent;
use blockferry_device::{Failure, Segment, SegmentState};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::image::{Image, io_failure};
use crate::segments::Segments;

/// What is called data when the file changes between two questions, in bytes.
const STEP: u64 = 4096;

impl Image {
    /// The state of consecutive pieces of the extent, `count_max` at most.
    pub(super) fn segments(
        &self,
        extent: Extent,
        count_max: usize,
    ) -> Result<Vec<Segment>, Failure> {
        if !self.abilities.tells_holes {
            self.refuse_if_truncated()?;
            return Ok(vec![Segment { length: extent.len(), state: SegmentState::DATA }]);
        }
        let mut segments = Segments::new(count_max);
        let mut at = extent.start();
        while at < extent.end() {
            let (end, state) = self.run_from(at)?;
            let length = end.min(extent.end()) - at;
            if !segments.add(length, state) {
                break;
            }
            at += length;
        }
        // What lies beyond a shortened file's end looks like a hole.
        self.refuse_if_truncated()?;
        Ok(segments.into_list())
    }

    /// Where the extent's first data begins; its end when it holds none.
    pub(super) fn data_from(&self, extent: Extent) -> Result<u64, Failure> {
        let data = match seek(&self.file, SeekFrom::Data(extent.start())) {
            Ok(data) => data.min(extent.end()),
            Err(Errno::NXIO) => extent.end(),
            Err(errno) => return Err(io_failure(errno)),
        };
        self.refuse_if_truncated()?;
        Ok(data)
    }

    /// Where the run of data or hole that holds the byte `at` ends, always beyond `at`.
    fn run_from(&self, at: u64) -> Result<(u64, SegmentState), Failure> {
        if let Some(end) = self.known_data.end_from(at) {
            return Ok((end, SegmentState::DATA));
        }
        match seek(&self.file, SeekFrom::Data(at)) {
            Ok(data) if data > at => return Ok((data, SegmentState::HOLE)),
            Ok(_) => {}
            Err(Errno::NXIO) => return Ok((self.size, SegmentState::HOLE)),
            Err(errno) => return Err(io_failure(errno)),
        }
        match seek(&self.file, SeekFrom::Hole(at)) {
            Ok(hole) if hole > at => {
                self.known_data.found(Extent::between(at, hole));
                Ok((hole, SegmentState::DATA))
            }
            Ok(_) | Err(Errno::NXIO) => Ok((at.saturating_add(STEP), SegmentState::DATA)),
            Err(errno) => Err(io_failure(errno)),
        }
    }
}

/// The last run of data that was found. To find its end the kernel walks over all of it, so a block
/// status of a dense volume, asked piece by piece, would take time by the square of its size.
///
/// What is out of date here does no harm: anything may be called data.
#[derive(Debug)]
pub(super) struct KnownData(Mutex<Extent>);

impl KnownData {
    pub(super) fn nothing() -> Self {
        Self(Mutex::new(Extent::whole(0)))
    }

    /// Forgets it, since holes were made.
    pub(super) fn forget(&self) {
        self.found(Extent::whole(0));
    }

    fn found(&self, run: Extent) {
        *self.lock() = run;
    }

    fn end_from(&self, at: u64) -> Option<u64> {
        let run = *self.lock();
        (run.start() <= at && at < run.end()).then_some(run.end())
    }

    fn lock(&self) -> MutexGuard<'_, Extent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Which parts of a file are holes, by `SEEK_DATA` and `SEEK_HOLE`. Both answer in their result
//! and nothing here uses the file's position, so concurrent calls do not disturb each other.

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

    /// Where the run of data or hole that holds the byte `at` ends, always beyond `at`.
    fn run_from(&self, at: u64) -> Result<(u64, SegmentState), Failure> {
        match seek(&self.file, SeekFrom::Data(at)) {
            Ok(data) if data > at => return Ok((data, SegmentState::HOLE)),
            Ok(_) => {}
            Err(Errno::NXIO) => return Ok((self.size, SegmentState::HOLE)),
            Err(errno) => return Err(io_failure(errno)),
        }
        match seek(&self.file, SeekFrom::Hole(at)) {
            Ok(hole) if hole > at => Ok((hole, SegmentState::DATA)),
            Ok(_) | Err(Errno::NXIO) => Ok((at.saturating_add(STEP), SegmentState::DATA)),
            Err(errno) => Err(io_failure(errno)),
        }
    }
}

//! Collects the segments of a block status: neighbours of the same state become one, up to a limit.

use blockferry_device::{Segment, SegmentState};

/// Segments that one block status describes at most, which bounds the work and the reply (16 bytes
/// each with extended headers: 1 MiB).
pub(crate) const SEGMENTS_MAX: usize = 1 << 16;

/// Consecutive segments.
#[derive(Debug)]
pub(crate) struct Segments {
    list: Vec<Segment>,
    count_max: usize,
}

impl Segments {
    /// No segment yet, and never more than `count_max`.
    pub(crate) fn new(count_max: usize) -> Self {
        Self { list: Vec::new(), count_max }
    }

    /// Adds `length` bytes behind the last, `false` when they find no place; no bytes always do.
    pub(crate) fn add(&mut self, length: u64, state: SegmentState) -> bool {
        if length == 0 {
            return true;
        }
        if let Some(last) = self.list.last_mut().filter(|last| last.state == state) {
            last.length += length;
            return true;
        }
        if self.list.len() == self.count_max {
            return false;
        }
        self.list.push(Segment { length, state });
        true
    }

    pub(crate) fn into_list(self) -> Vec<Segment> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_still_grows_its_last_segment() {
        let mut segments = Segments::new(1);
        assert!(segments.add(5, SegmentState::HOLE));
        assert!(!segments.add(1, SegmentState::DATA));
        assert!(segments.add(0, SegmentState::DATA));
        assert!(segments.add(2, SegmentState::HOLE));
        assert_eq!(segments.into_list(), [Segment { length: 7, state: SegmentState::HOLE }]);
    }
}

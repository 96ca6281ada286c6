//! Extents of single bytes over a server that only knows whole blocks.

use blockferry_block::Extent;
use blockferry_device::{ReadPart, Segment};

/// The server's smallest block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocks {
    size: u64,
}

impl Blocks {
    /// Blocks of `size` bytes, at least 1.
    pub(super) fn new(size: u64) -> Self {
        Self { size: size.max(1) }
    }

    /// The smallest extent of whole blocks that holds the given one. It ends inside a volume that
    /// consists of whole blocks.
    pub(super) fn around(self, extent: Extent) -> Extent {
        let start = extent.start() - extent.start() % self.size;
        let end = extent.end().checked_next_multiple_of(self.size).unwrap_or(extent.end());
        Extent::between(start, end)
    }

    /// The largest extent of whole blocks in the given one, between what lies before and behind it.
    /// Without any, everything lies before.
    pub(super) fn within(self, extent: Extent) -> (Extent, Extent, Extent) {
        let end = extent.end() - extent.end() % self.size;
        match extent.start().checked_next_multiple_of(self.size) {
            Some(start) if start < end => {
                let (head, rest) = extent.split_at(start);
                let (middle, tail) = rest.split_at(end);
                (head, middle, tail)
            }
            _ => {
                let nothing = Extent::between(extent.end(), extent.end());
                (extent, nothing, nothing)
            }
        }
    }
}

/// `length` bytes of what was read, from the byte `skip` on.
pub(super) fn cut_parts(parts: Vec<ReadPart>, skip: u64, length: u64) -> Vec<ReadPart> {
    let wanted = Extent::between(skip, skip + length);
    let mut at = 0;
    let mut cut = Vec::with_capacity(parts.len());
    for part in parts {
        let here = Extent::between(at, at + part.len());
        at = here.end();
        let Some(kept) = here.intersection(wanted) else { continue };
        cut.push(match part {
            ReadPart::Hole(_) => ReadPart::Hole(kept.len()),
            ReadPart::Data(data) => {
                let index = |at: u64| usize::try_from(at - here.start()).unwrap_or(data.len());
                ReadPart::Data(data.slice(index(kept.start())..index(kept.end())))
            }
        });
    }
    cut
}

/// What is told of `length` bytes from the byte `skip` on.
pub(super) fn cut_segments(segments: Vec<Segment>, skip: u64, length: u64) -> Vec<Segment> {
    let wanted = Extent::between(skip, skip + length);
    let mut at = 0_u64;
    let mut cut = Vec::with_capacity(segments.len());
    for Segment { length, state } in segments {
        let here = Extent::between(at, at.saturating_add(length));
        at = here.end();
        if let Some(kept) = here.intersection(wanted) {
            cut.push(Segment { length: kept.len(), state });
        }
    }
    cut
}

#[cfg(test)]
mod tests {
    use blockferry_device::SegmentState;

    use super::*;

    fn extent(start: u64, end: u64) -> Extent {
        Extent::between(start, end)
    }

    #[test]
    fn whole_blocks_lie_around_and_within() {
        let blocks = Blocks::new(512);
        assert_eq!(blocks.around(extent(1, 513)), extent(0, 1024));
        assert_eq!(blocks.around(extent(512, 1024)), extent(512, 1024));
        assert_eq!(
            blocks.within(extent(1, 1025)),
            (extent(1, 512), extent(512, 1024), extent(1024, 1025))
        );
        assert_eq!(blocks.within(extent(0, 512)), (extent(0, 0), extent(0, 512), extent(512, 512)));
        assert_eq!(blocks.within(extent(511, 513)).0, extent(511, 513));
        assert!(blocks.within(extent(511, 513)).1.is_empty());
    }

    #[test]
    fn what_was_read_is_cut_to_what_was_asked_for() {
        let parts =
            vec![ReadPart::Data("abcd".into()), ReadPart::Hole(4), ReadPart::Data("e".into())];
        let cut = |skip, length| cut_parts(parts.clone(), skip, length);
        assert_eq!(cut(1, 2), [ReadPart::Data("bc".into())]);
        assert_eq!(cut(3, 3), [ReadPart::Data("d".into()), ReadPart::Hole(2)]);
        assert_eq!(cut(7, 2), [ReadPart::Hole(1), ReadPart::Data("e".into())]);
    }

    #[test]
    fn what_is_told_is_cut_to_what_was_asked_for() {
        let segment = |length, state| Segment { length, state };
        let told = vec![segment(512, SegmentState::DATA), segment(512, SegmentState::HOLE)];
        let cut = cut_segments(told, 500, 100);
        assert_eq!(cut, [segment(12, SegmentState::DATA), segment(88, SegmentState::HOLE)]);
    }
}

//! What the ordered copy reads and what it sends: pure decisions about block status answers and
//! read answers.
//!
//! Reads cover whole leaves of the stream's digest: the source keeps the digest of the last answer
//! for every leaf, and what it answered for half a leaf could not be compared. So holes are skipped
//! leaf by leaf, and their edges are read; a read's answer may still say hole, byte by byte.

use std::collections::VecDeque;

use blockferry_block::{Extent, GIB};
use blockferry_device::{ReadPart, Segment};
use blockferry_nbd_session::Flow;
use bytes::Bytes;

/// Leaf of the stream's digest in bytes; a chunk is a multiple of it.
pub const LEAF: u64 = 64 << 10;

/// Longest hole sent in one request, in bytes: a volume of many tebibytes has no thousands of them, and
/// no store is busy with one for long. Where headers are compact a connection sends it in parts.
pub(crate) const ZEROES_MAX: u64 = 64 * GIB;

/// How the next bytes of the source come to the copier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// They are read.
    Read(Extent),
    /// The source said that they are zeroes.
    Skip(Extent),
}

/// One write of the ordered copy, without its address: that is the length of all before it (D2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Content, as it was read.
    Data(Bytes),
    /// Content that is coming.
    Flow(Flow),
    /// So many zeroes.
    Zeroes(u64),
}

impl Piece {
    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Flow(flow) => flow.length(),
            Self::Zeroes(length) => *length,
        }
    }
}

/// An answer of the source that is not as long as what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the source answered {got} bytes where {expected} were asked for")]
pub(crate) struct WrongLength {
    /// Bytes asked for.
    pub(crate) expected: u64,
    /// Bytes answered.
    pub(crate) got: u64,
}

/// The address computed from the total length read so far (D2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    start: u64,
    read: u64,
}

impl Ledger {
    /// A copy that begins at the destination's reserved address.
    pub(crate) const fn starting_at(start: u64) -> Self {
        Self { start, read: 0 }
    }

    /// Where the bytes that are read next belong.
    pub(crate) const fn address(&self) -> u64 {
        self.start + self.read
    }

    /// Counts bytes that were read; gives the address at which they belong.
    pub(crate) const fn count(&mut self, length: u64) -> u64 {
        let address = self.address();
        self.read += length;
        address
    }
}

/// What to do about `asked`, of which the source described a part from its start on. The steps are
/// adjacent and begin at the start of `asked`; together they are as long as what was described, cut to
/// whole leaves, and at least a leaf (or all that was asked for). Reads end at multiples of `chunk`.
pub(crate) fn steps(asked: Extent, segments: &[Segment], chunk: u64) -> VecDeque<Step> {
    let described: u64 = segments.iter().fold(0, |sum, s| sum.saturating_add(s.length));
    let end = covered(asked, described);
    let mut steps = VecDeque::new();
    let mut at = asked.start();
    for hole in holes(asked.start(), end, segments) {
        steps.extend(reads(Extent::between(at, hole.start()), chunk));
        steps.extend(hole.pieces(ZEROES_MAX).map(Step::Skip));
        at = hole.end();
    }
    steps.extend(reads(Extent::between(at, end), chunk));
    steps
}

/// The end of what a description of `described` bytes settles: the last boundary of a leaf in it.
fn covered(asked: Extent, described: u64) -> u64 {
    let end = asked.start().saturating_add(described).min(asked.end());
    if end == asked.end() {
        return end;
    }
    let first_boundary = (asked.start() / LEAF + 1) * LEAF;
    (end / LEAF * LEAF).max(first_boundary).min(asked.end())
}

/// The runs of zeroes from `start` to `end`, joined, cut to whole leaves and without empty ones.
fn holes(start: u64, end: u64, segments: &[Segment]) -> Vec<Extent> {
    let mut at = start;
    let mut runs: Vec<Extent> = Vec::new();
    for segment in segments {
        let next = at.saturating_add(segment.length).min(end);
        match runs.last_mut() {
            _ if !segment.state.zero => {}
            Some(run) if run.end() == at => *run = Extent::between(run.start(), next),
            _ => runs.push(Extent::between(at, next)),
        }
        at = next;
    }
    runs.into_iter().map(|run| whole_leaves(run, end)).filter(|run| !run.is_empty()).collect()
}

/// The leaves that lie wholly in the run; a last, shorter one counts when the run reaches the end of
/// what was described.
fn whole_leaves(run: Extent, end: u64) -> Extent {
    let from = run.start().next_multiple_of(LEAF);
    let to = if run.end() == end { end } else { run.end() / LEAF * LEAF };
    Extent::between(from, to)
}

/// Reads of the extent, each ending at a multiple of `chunk`.
fn reads(extent: Extent, chunk: u64) -> impl Iterator<Item = Step> {
    let boundary = extent.start().next_multiple_of(chunk);
    let (head, rest) = extent.split_at(boundary);
    let head = (!head.is_empty()).then_some(head);
    head.into_iter().chain(rest.pieces(chunk)).map(Step::Read)
}

/// The writes that an answer to a read of `extent` becomes: data as it came, holes as zeroes.
///
/// # Errors
/// When the answer is not as long as the extent: what was not read is never written
/// (CVE-2022-0485).
pub(crate) fn pieces(extent: Extent, parts: Vec<ReadPart>) -> Result<Vec<Piece>, WrongLength> {
    let got = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.len()));
    if got != extent.len() {
        return Err(WrongLength { expected: extent.len(), got });
    }
    let mut pieces = Vec::with_capacity(parts.len());
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        match part {
            ReadPart::Data(data) => pieces.push(Piece::Data(data)),
            ReadPart::Hole(length) => pieces.push(Piece::Zeroes(length)),
        }
    }
    Ok(pieces)
}

/// Appends a piece, joining it with zeroes that wait before it.
pub(crate) fn append(queue: &mut VecDeque<Piece>, piece: Piece) {
    match (queue.back_mut(), &piece) {
        (Some(Piece::Zeroes(waiting)), Piece::Zeroes(length))
            if waiting.saturating_add(*length) <= ZEROES_MAX =>
        {
            *waiting += length;
        }
        _ => queue.push_back(piece),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blockferry_block::MIB;
    use blockferry_device::SegmentState;

    const CHUNK: u64 = MIB;

    fn data(length: u64) -> Segment {
        Segment { length, state: SegmentState::DATA }
    }

    fn hole(length: u64) -> Segment {
        Segment { length, state: SegmentState::HOLE }
    }

    fn read(start: u64, end: u64) -> Step {
        Step::Read(Extent::between(start, end))
    }

    fn skip(start: u64, end: u64) -> Step {
        Step::Skip(Extent::between(start, end))
    }

    #[test]
    fn data_is_read_in_chunks_that_end_at_multiples_of_the_chunk() {
        let asked = Extent::between(LEAF, 3 * CHUNK + 5);
        assert_eq!(
            steps(asked, &[data(asked.len())], CHUNK),
            [
                read(LEAF, CHUNK),
                read(CHUNK, 2 * CHUNK),
                read(2 * CHUNK, 3 * CHUNK),
                read(3 * CHUNK, 3 * CHUNK + 5)
            ]
        );
    }

    #[test]
    fn a_hole_is_skipped_by_whole_leaves_and_its_edges_are_read() {
        let segments = [data(100), hole(3 * LEAF), data(4 * LEAF - 100)];
        let asked = Extent::whole(7 * LEAF);
        assert_eq!(
            steps(asked, &segments, CHUNK),
            [read(0, LEAF), skip(LEAF, 3 * LEAF), read(3 * LEAF, 7 * LEAF)]
        );
    }

    #[test]
    fn a_hole_inside_one_leaf_is_read() {
        let segments = [data(100), hole(LEAF), data(3 * LEAF)];
        let asked = Extent::whole(2 * LEAF);
        assert_eq!(steps(asked, &segments, CHUNK), [read(0, 2 * LEAF)]);
    }

    #[test]
    fn the_last_short_leaf_may_be_a_hole() {
        let asked = Extent::between(LEAF, 2 * LEAF + 7);
        assert_eq!(steps(asked, &[hole(LEAF + 7)], CHUNK), [skip(LEAF, 2 * LEAF + 7)]);
    }

    #[test]
    fn adjacent_zero_segments_are_one_hole() {
        let allocated_zero = SegmentState { hole: false, zero: true };
        let segments = [hole(LEAF / 2), Segment { length: LEAF / 2, state: allocated_zero }];
        assert_eq!(steps(Extent::whole(LEAF), &segments, CHUNK), [skip(0, LEAF)]);
    }

    #[test]
    fn unallocated_without_zero_has_unknown_content_and_is_read() {
        let unknown = SegmentState { hole: true, zero: false };
        let segments = [Segment { length: LEAF, state: unknown }];
        assert_eq!(steps(Extent::whole(LEAF), &segments, CHUNK), [read(0, LEAF)]);
    }

    #[test]
    fn a_short_answer_settles_whole_leaves_and_never_nothing() {
        let asked = Extent::whole(CHUNK);
        assert_eq!(steps(asked, &[hole(2 * LEAF + 9)], CHUNK), [skip(0, 2 * LEAF)]);
        assert_eq!(steps(asked, &[hole(9)], CHUNK), [read(0, LEAF)]);
        assert_eq!(steps(asked, &[], CHUNK), [read(0, LEAF)]);
        let within_a_leaf = Extent::between(10, 20);
        assert_eq!(steps(within_a_leaf, &[data(3)], CHUNK), [read(10, 20)]);
    }

    #[test]
    fn an_answer_longer_than_the_question_counts_only_as_far_as_was_asked() {
        let asked = Extent::whole(LEAF);
        assert_eq!(steps(asked, &[hole(u64::MAX), hole(9)], CHUNK), [skip(0, LEAF)]);
    }

    #[test]
    fn a_hole_larger_than_a_request_is_skipped_in_parts() {
        let asked = Extent::whole(ZEROES_MAX + LEAF);
        assert_eq!(
            steps(asked, &[hole(asked.len())], CHUNK),
            [skip(0, ZEROES_MAX), skip(ZEROES_MAX, ZEROES_MAX + LEAF)]
        );
    }

    #[test]
    fn whatever_the_source_describes_the_steps_are_adjacent_and_cover_it() {
        for seed in 0..2_000_u64 {
            let mut state = seed;
            let mut draw = |limit: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) % limit
            };
            let start = draw(4) * LEAF;
            let asked = Extent::between(start, start + 1 + draw(20 * LEAF));
            let segments: Vec<_> = (0..draw(8))
                .map(|_| Segment {
                    length: 1 + draw(5 * LEAF),
                    state: SegmentState { hole: true, zero: draw(2) == 0 },
                })
                .collect();
            let mut at = asked.start();
            for step in steps(asked, &segments, 2 * LEAF) {
                let (Step::Read(extent) | Step::Skip(extent)) = step;
                assert_eq!(extent.start(), at, "seed {seed}");
                assert!(!extent.is_empty() && extent.start() % LEAF == 0, "seed {seed}");
                at = extent.end();
            }
            assert!(at > asked.start() && at <= asked.end(), "seed {seed}");
        }
    }

    #[test]
    fn an_answer_of_another_length_is_never_written() {
        let extent = Extent::whole(10);
        let parts = vec![ReadPart::Data(Bytes::from_static(b"12345")), ReadPart::Hole(4)];
        assert_eq!(pieces(extent, parts), Err(WrongLength { expected: 10, got: 9 }));
        assert_eq!(pieces(extent, Vec::new()), Err(WrongLength { expected: 10, got: 0 }));
    }

    #[test]
    fn zeroes_that_wait_are_joined_and_data_is_left_as_it_came() {
        let mut queue = VecDeque::new();
        let bytes = Bytes::from_static(b"1");
        for piece in [
            Piece::Zeroes(1),
            Piece::Zeroes(2),
            Piece::Data(bytes.clone()),
            Piece::Data(bytes.clone()),
            Piece::Zeroes(ZEROES_MAX),
            Piece::Zeroes(1),
        ] {
            append(&mut queue, piece);
        }
        assert_eq!(
            queue,
            [
                Piece::Zeroes(3),
                Piece::Data(bytes.clone()),
                Piece::Data(bytes),
                Piece::Zeroes(ZEROES_MAX),
                Piece::Zeroes(1)
            ]
        );
    }

    #[test]
    fn the_address_is_the_total_length_read_so_far() {
        let mut ledger = Ledger::starting_at(100);
        assert_eq!([ledger.count(5), ledger.count(7), ledger.address()], [100, 105, 112]);
    }
}

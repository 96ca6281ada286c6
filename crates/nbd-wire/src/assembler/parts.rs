//! The parts of a reply, put into the shape that a caller gets.

use blockferry_block::Extent;
use blockferry_device::{ReadPart, Segment, SegmentState};
use blockferry_wire::{Fields, TooShort};
use bytes::BytesMut;

use crate::assembler::ReplyError;
use crate::constants as c;

/// The parts of one read as one piece of data; holes become zeroes.
pub fn in_one_piece(parts: Vec<ReadPart>) -> Vec<ReadPart> {
    if parts.is_empty() || matches!(parts[..], [ReadPart::Data(_)]) {
        return parts;
    }
    let length: u64 = parts.iter().map(ReadPart::len).sum();
    let mut whole = BytesMut::with_capacity(usize::try_from(length).unwrap_or_default());
    for part in parts {
        match part {
            ReadPart::Data(data) => whole.extend_from_slice(&data),
            ReadPart::Hole(length) => {
                let end = whole.len() + usize::try_from(length).unwrap_or_default();
                whole.resize(end, 0);
            }
        }
    }
    vec![ReadPart::Data(whole.freeze())]
}

pub(super) fn read_descriptors(
    mut fields: Fields<'_>,
    each: usize,
    read: impl Fn(&mut Fields<'_>) -> Result<(u64, u64), TooShort>,
) -> Result<Vec<(u64, u64)>, TooShort> {
    (0..fields.len() / each).map(|_| read(&mut fields)).collect()
}

/// The descriptors as segments, the last cut at the request's end.
pub(super) fn segments(
    descriptors: Vec<(u64, u64)>,
    asked: Extent,
    one: bool,
) -> Result<Vec<Segment>, ReplyError> {
    let count = descriptors.len();
    if one && (count != 1 || descriptors[0].0 > asked.len()) {
        return Err(ReplyError::Malformed("more than the one descriptor asked for"));
    }
    let mut left = asked.len();
    let mut segments = Vec::with_capacity(count);
    for (length, state) in descriptors {
        if length == 0 || left == 0 {
            return Err(ReplyError::Malformed("a descriptor of nothing, or beyond the request"));
        }
        let length = length.min(left);
        left -= length;
        let hole = state & c::STATE_HOLE != 0;
        let zero = state & c::STATE_ZERO != 0;
        segments.push(Segment { length, state: SegmentState { hole, zero } });
    }
    Ok(segments)
}

//! When parts of a client's stream arrived, in the one order of everything that the keeper receives.
//!
//! Requests that a dead worker left unanswered are begun again in this order, over all clients of a
//! volume: had a client seen the effect of one before it sent another, the later must come later.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::retained::PIECES_MAX;

/// One entry, in bytes.
const ENTRY_BYTES: usize = 16;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Offsets from which an arrival holds, both growing.
    from: Vec<(u64, u64)>,
}

/// What no keeper sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} arrivals, more than {PIECES_MAX}")]
pub struct TooMany(u32);

impl Arrivals {
    /// Length of what comes first, in bytes: how many entries follow.
    pub const COUNT_BYTES: usize = 4;

    pub(crate) fn push(&mut self, offset: u64, arrival: u64) {
        if self.from.last().is_none_or(|(_, last)| *last != arrival) {
            self.from.push((offset, arrival));
        }
    }

    /// When the byte at the offset arrived.
    pub fn at(&self, offset: u64) -> u64 {
        let after = self.from.partition_point(|(from, _)| *from <= offset);
        self.from[..after].last().map_or(0, |(_, arrival)| *arrival)
    }

    /// The count, then offset and arrival of each entry, big-endian.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(Self::COUNT_BYTES + self.from.len() * ENTRY_BYTES);
        // There are no more than pieces.
        out.put_u32(u32::try_from(self.from.len()).unwrap_or(u32::MAX));
        for (offset, arrival) in &self.from {
            out.put_u64(*offset);
            out.put_u64(*arrival);
        }
        out.freeze()
    }

    /// Length of the entries behind the count, in bytes.
    ///
    /// # Errors
    /// When there are more than a keeper sends.
    pub fn entries_length(count: [u8; Self::COUNT_BYTES]) -> Result<usize, TooMany> {
        let count = u32::from_be_bytes(count);
        let bounded = usize::try_from(count).ok().filter(|count| *count <= PIECES_MAX + 1);
        bounded.map(|count| count * ENTRY_BYTES).ok_or(TooMany(count))
    }

    /// The entries as they were written; an incomplete one at the end is left out.
    pub fn decode_entries(mut entries: &[u8]) -> Self {
        let mut from = Vec::with_capacity(entries.len() / ENTRY_BYTES);
        while entries.len() >= ENTRY_BYTES {
            from.push((entries.get_u64(), entries.get_u64()));
        }
        Self { from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_read_back_as_they_were_written() {
        let mut arrivals = Arrivals::default();
        for (offset, arrival) in [(0, 3), (10, 3), (20, 7)] {
            arrivals.push(offset, arrival);
        }
        let bytes = arrivals.encode();
        let (count, entries) = bytes.split_first_chunk().unwrap();
        assert_eq!(Arrivals::entries_length(*count), Ok(entries.len()));
        assert_eq!(Arrivals::decode_entries(entries), arrivals);
        assert_eq!((arrivals.at(0), arrivals.at(19), arrivals.at(20)), (3, 3, 7));
    }

    #[test]
    fn more_than_a_keeper_has_are_refused_before_they_are_read() {
        assert_eq!(Arrivals::entries_length([0xff; 4]), Err(TooMany(u32::MAX)));
    }
}

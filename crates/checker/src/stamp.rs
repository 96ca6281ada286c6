//! What a write leaves on the volume, so that a read tells which write it was.
//!
//! The extent that is written is filled with 64-byte cells, aligned to the volume's start:
//!
//! ```text
//!   bytes   0 .. 8    the sequence number of the write, scattered over 64 bits: the key
//!           8 .. 16   the run                                               ^ key
//!          16 .. 24   the offset of the cell in the volume                  ^ key
//!          24 .. 32   the writer, and a CRC32C of the four                  ^ key
//!          32 .. 64   the same four words, turned
//! ```
//!
//! A cell that is read elsewhere tells where it belongs (misdirected), one of an older write which
//! (stale), and a block with cells of several is torn. Every byte depends on the sequence number, so
//! that even single bytes of different writes mostly differ.

use std::fmt;

use blockferry_block::Extent;
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::mixing::{gather, scatter};

/// Bytes that can be decoded on their own.
pub const CELL: usize = 64;

const WORD: usize = 8;

/// One write of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// The run that wrote; drawn at random.
    pub run: u64,
    /// Which write of the run it was, counted from 1.
    pub sequence: u64,
    /// The connection that wrote.
    pub writer: u32,
}

impl Stamp {
    /// What a write with this stamp writes to the extent.
    ///
    /// # Panics
    /// When the extent does not fit into memory.
    pub fn fill(&self, extent: Extent) -> Bytes {
        let length = usize::try_from(extent.len()).expect("a request fits into memory");
        let mut data = BytesMut::with_capacity(length);
        for (cell, part) in cells(extent) {
            data.extend_from_slice(&self.cell(cell)[part]);
        }
        data.freeze()
    }

    /// Whether these bytes, read at the extent, are what a write with this stamp writes there.
    pub fn is(&self, extent: Extent, mut bytes: &[u8]) -> bool {
        if bytes.len() as u64 != extent.len() {
            return false;
        }
        for (cell, part) in cells(extent) {
            let (here, rest) = bytes.split_at(part.len());
            if here != &self.cell(cell)[part] {
                return false;
            }
            bytes = rest;
        }
        true
    }

    /// The cell that begins at the offset.
    fn cell(&self, offset: u64) -> [u8; CELL] {
        let key = scatter(self.sequence);
        let writer = (u64::from(self.writer) << 32) | u64::from(self.check(offset));
        let words = [key, self.run ^ key, offset ^ key, writer ^ key];
        let mut cell = [0; CELL];
        let (plain, turned) = cell.split_at_mut(CELL / 2);
        let pairs = plain.chunks_exact_mut(WORD).zip(turned.chunks_exact_mut(WORD));
        for (word, (plain, turned)) in words.into_iter().zip(pairs) {
            plain.copy_from_slice(&word.to_be_bytes());
            turned.copy_from_slice(&(!word.rotate_left(29)).to_be_bytes());
        }
        cell
    }

    fn check(&self, offset: u64) -> u32 {
        let mut fields = [0; 28];
        fields[..8].copy_from_slice(&self.sequence.to_be_bytes());
        fields[8..16].copy_from_slice(&self.run.to_be_bytes());
        fields[16..24].copy_from_slice(&offset.to_be_bytes());
        fields[24..].copy_from_slice(&self.writer.to_be_bytes());
        crc32c::crc32c(&fields)
    }

    /// The stamp in the cell and the offset that it was written for; `None` when it is no cell.
    pub fn decode(cell: &[u8]) -> Option<(Self, u64)> {
        let cell: &[u8; CELL] = cell.try_into().ok()?;
        let word = |index: usize| {
            let bytes = cell[index * WORD..].first_chunk().copied().unwrap_or_default();
            u64::from_be_bytes(bytes)
        };
        let key = word(0);
        let writer = u32::try_from((word(3) ^ key) >> 32).ok()?;
        let stamp = Self { sequence: gather(key), run: word(1) ^ key, writer };
        let offset = word(2) ^ key;
        (stamp.cell(offset) == *cell).then_some((stamp, offset))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "write {} of connection {}", self.sequence, self.writer)
    }
}

/// The cells that the extent touches: where each begins, and which part of it lies in the extent.
fn cells(extent: Extent) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    const LENGTH: u64 = CELL as u64;
    let first = extent.start() / LENGTH * LENGTH;
    Extent::between(first, extent.end()).pieces(LENGTH).map(move |cell| {
        let within = |at: u64| usize::try_from(at - cell.start()).unwrap_or(CELL);
        (cell.start(), within(cell.start().max(extent.start()))..within(cell.end()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { run: 7, sequence: 42, writer: 3 };

    #[test]
    fn a_cell_tells_the_write_and_the_place_it_was_written_for() {
        let data = STAMP.fill(Extent::between(4096, 8192));
        assert_eq!(data.len(), 4096);
        assert_eq!(Stamp::decode(&data[64..128]), Some((STAMP, 4160)));
        assert_eq!(Stamp::decode(&data[65..129]), None);
        assert_eq!(Stamp::decode(&data[..63]), None);
    }

    #[test]
    fn a_changed_bit_anywhere_in_a_cell_is_no_cell() {
        let data = STAMP.fill(Extent::between(0, 64));
        for bit in 0..64 * 8 {
            let mut cell = data.to_vec();
            cell[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Stamp::decode(&cell), None, "bit {bit}");
            assert!(!STAMP.is(Extent::between(0, 64), &cell), "bit {bit}");
        }
    }

    #[test]
    fn a_part_is_filled_as_it_is_in_the_whole() {
        let whole = STAMP.fill(Extent::between(0, 4096));
        for (start, end) in [(0, 1), (63, 65), (100, 400), (4095, 4096), (64, 64)] {
            let part = Extent::between(start as u64, end as u64);
            assert_eq!(STAMP.fill(part), whole[start..end]);
            assert!(STAMP.is(part, &whole[start..end]));
        }
        assert!(!STAMP.is(Extent::between(64, 128), &whole[..64]), "a cell of another place");
        assert!(!STAMP.is(Extent::between(0, 128), &whole[..64]), "too short");
    }

    #[test]
    fn bytes_of_different_writes_mostly_differ() {
        let other = Stamp { sequence: 43, ..STAMP };
        let extent = Extent::between(0, 4096);
        let (a, b) = (STAMP.fill(extent), other.fill(extent));
        let equal = a.iter().zip(&b).filter(|(a, b)| a == b).count();
        assert!(equal < 4096 / 8, "{equal} of 4096 bytes are equal");
    }
}

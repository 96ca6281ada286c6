//! What blocks hold: a stamp each, unique to the write that left it there.

use std::rc::Rc;

use blockferry_block::Extent;
use blockferry_migration::digest::Piece;

/// Smallest unit that is written, in bytes: a fourth of a region, so that regions are dirty for the
/// sake of blocks that were not written.
pub const BLOCK: u64 = 16 << 10;

/// The identity of a write as its blocks show it. Even a trim has one here, so that two of them can
/// be told apart by the checks though both read as zeroes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Never written.
    pub const NEVER: Self = Self(0);
    const ZEROES: u64 = 1 << 63;

    /// A write's stamp.
    pub const fn of_write(number: u64) -> Self {
        Self(number)
    }

    /// A trim's stamp.
    pub const fn of_trim(number: u64) -> Self {
        Self(number | Self::ZEROES)
    }

    /// Whether the block reads as zeroes.
    pub const fn is_zeroes(self) -> bool {
        self.0 == 0 || self.0 & Self::ZEROES != 0
    }
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.is_zeroes() { "z" } else { "w" };
        write!(f, "{kind}{}", self.0 & !Self::ZEROES)
    }
}

/// The blocks of an extent, in ascending order.
pub type Content = Rc<[Stamp]>;

/// The numbers of the blocks that an extent touches.
pub fn blocks(extent: Extent) -> std::ops::Range<usize> {
    (extent.start() / BLOCK) as usize..extent.end().div_ceil(BLOCK) as usize
}

/// The extent of one block.
pub fn block_extent(block: usize) -> Extent {
    let start = block as u64 * BLOCK;
    Extent::between(start, start + BLOCK)
}

/// The content as bytes, for the digests.
pub fn with_pieces<T>(content: &[Stamp], use_them: impl FnOnce(&[Piece<'_>]) -> T) -> T {
    let bytes: Vec<Vec<u8>> = content
        .iter()
        .map(|stamp| match stamp.is_zeroes() {
            true => Vec::new(),
            false => stamp.0.to_le_bytes().repeat(BLOCK as usize / 8),
        })
        .collect();
    let pieces: Vec<Piece<'_>> = bytes
        .iter()
        .map(|bytes| if bytes.is_empty() { Piece::Zeroes(BLOCK) } else { Piece::Data(bytes) })
        .collect();
    use_them(&pieces)
}

//! The bytes that a read has returned, as the registers see them.
//!
//! What each block looks like as a whole is found out once, before the registers are locked: then a
//! block that one write filled is judged without a look at its bytes.

use blockferry_block::Extent;
use bytes::Bytes;

use crate::event::Content;
use crate::stamp::{CELL, Stamp};
use crate::value::{Value, is_zero};

/// Whether a read that runs into a write of the same block may return a part of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Tearing {
    /// It may, as with most files and page caches: NBD promises nothing else. A block that is torn
    /// when no write is under way is a violation all the same.
    #[default]
    BesideWrites,
    /// Blocks are read and written in one piece.
    Never,
}

/// What a block looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    Zero,
    Stamp(Stamp),
    Other,
}

/// Bytes that were read from an extent.
#[derive(Debug)]
pub(crate) struct Bytewise {
    extent: Extent,
    bytes: Bytes,
    run: u64,
    tearing: Tearing,
    block_size: u64,
    blocks: Vec<Whole>,
}

impl Bytewise {
    /// The bytes of `extent`, as long as it is.
    pub(crate) fn new(
        extent: Extent,
        bytes: Bytes,
        run: u64,
        tearing: Tearing,
        block_size: u32,
    ) -> Self {
        let block_size = u64::from(block_size);
        let mut content = Self { extent, bytes, run, tearing, block_size, blocks: Vec::new() };
        let first = extent.start() / block_size * block_size;
        content.blocks = Extent::between(first, extent.end())
            .pieces(block_size)
            .filter_map(|block| block.intersection(extent))
            .map(|block| content.look(block))
            .collect();
        content
    }

    fn look(&self, block: Extent) -> Whole {
        let bytes = self.bytes_of(block);
        if is_zero(bytes) {
            return Whole::Zero;
        }
        let edge = block.start().next_multiple_of(CELL as u64) - block.start();
        let cell = usize::try_from(edge).ok().and_then(|edge| bytes.get(edge..edge + CELL));
        match cell.and_then(Stamp::decode) {
            Some((stamp, _)) if stamp.is(block, bytes) => Whole::Stamp(stamp),
            _ => Whole::Other,
        }
    }

    /// The bytes of a piece of the extent.
    pub(crate) fn bytes_of(&self, piece: Extent) -> &[u8] {
        let at = |offset: u64| {
            let within = offset.saturating_sub(self.extent.start());
            usize::try_from(within).map_or(self.bytes.len(), |at| at.min(self.bytes.len()))
        };
        &self.bytes[at(piece.start())..at(piece.end())]
    }

    fn whole(&self, piece: Extent) -> Whole {
        let number = |at: u64| at / self.block_size;
        let index = number(piece.start()) - number(self.extent.start());
        let whole = usize::try_from(index).ok().and_then(|index| self.blocks.get(index));
        whole.copied().unwrap_or(Whole::Other)
    }

    /// Whether the piece shows a write of this run, in part at least. A few bytes may look like one by
    /// chance.
    fn is_ours(&self, piece: Extent) -> bool {
        if piece.len() < CELL as u64 {
            return false;
        }
        match self.whole(piece) {
            Whole::Zero => false,
            Whole::Stamp(stamp) => stamp.run == self.run,
            Whole::Other => full_cells(piece).any(|cell| {
                Stamp::decode(self.bytes_of(cell)).is_some_and(|(stamp, _)| stamp.run == self.run)
            }),
        }
    }
}

impl Content<Value> for Bytewise {
    fn is(&self, piece: Extent, value: &Value) -> bool {
        if value.is_open(piece) {
            return !self.is_ours(piece);
        }
        // Pieces shorter than a cell may look alike without being the same.
        let long = piece.len() >= CELL as u64;
        match (self.whole(piece), value) {
            (Whole::Zero, Value::Zero) => true,
            (Whole::Stamp(found), Value::Stamp(stamp)) if found == *stamp => true,
            (Whole::Stamp(_), Value::Stamp(_) | Value::Zero) if long => false,
            (Whole::Zero, Value::Stamp(_)) if long => false,
            _ => value.is(piece, self.bytes_of(piece)),
        }
    }

    fn is_sure(&self, piece: Extent, value: &Value) -> bool {
        !value.is_open(piece)
    }

    fn is_mixture(&self, piece: Extent, values: &[Value]) -> bool {
        if self.tearing == Tearing::Never {
            return false;
        }
        if values.iter().any(|value| matches!(value, Value::Unknown | Value::Kept { .. })) {
            return true;
        }
        let images: Vec<_> = values.iter().map(|value| image(value, piece)).collect();
        let mut bytes = self.bytes_of(piece).iter().enumerate();
        bytes.all(|(index, byte)| images.iter().any(|image| image.get(index) == Some(byte)))
    }

    fn learn(&self, piece: Extent, value: Value) -> Value {
        match value {
            Value::Unknown => Value::kept(piece, self.bytes_of(piece)),
            _ => value,
        }
    }
}

fn image(value: &Value, piece: Extent) -> Bytes {
    match value {
        Value::Stamp(stamp) => stamp.fill(piece),
        _ => usize::try_from(piece.len()).map_or_else(|_| Bytes::new(), |n| vec![0; n].into()),
    }
}

/// The cells that lie in the piece as a whole.
pub(crate) fn full_cells(piece: Extent) -> impl Iterator<Item = Extent> {
    const LENGTH: u64 = CELL as u64;
    let first = piece.start().next_multiple_of(LENGTH);
    Extent::between(first, piece.end()).pieces(LENGTH).filter(|cell| cell.len() == LENGTH)
}

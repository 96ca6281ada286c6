//! Blocks: how long they are, how many there are, and which bytes of the volume they stand for.

use blockferry_block::Extent;

use crate::limits::{TRANSFER_BYTES_MAX, WRITE_SAME_BYTES_MAX};

/// The address of a logical block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lba(pub u64);

/// Consecutive logical blocks, as a command names them; they may lie beyond the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Range {
    /// The first of them.
    pub(crate) lba: Lba,
    /// How many.
    pub(crate) blocks: u32,
}

/// Length of a logical block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockLength {
    /// 512 bytes, which every initiator knows.
    B512,
    /// 4,096 bytes.
    B4096,
}

/// Length of what the medium writes at once, as a hint to initiators: they align to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PhysicalBlock {
    /// The same as a logical block.
    Logical,
    /// 4,096 bytes.
    B4096,
}

/// Why a volume cannot be a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadGeometry {
    /// Not even one block.
    #[error("a disk needs at least one block of {block} bytes; the volume has {size} bytes")]
    TooSmall {
        /// Size of the volume in bytes.
        size: u64,
        /// Length of a block in bytes.
        block: u32,
    },
}

/// The shape of a unit. What a volume has beyond its last whole block cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    blocks: u64,
    block: BlockLength,
    physical: PhysicalBlock,
}

impl BlockLength {
    /// In bytes.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }
}

impl Geometry {
    /// The shape of a volume of `size` bytes.
    ///
    /// # Errors
    /// [`BadGeometry::TooSmall`] when it does not hold one block.
    pub const fn new(
        size: u64,
        block: BlockLength,
        physical: PhysicalBlock,
    ) -> Result<Self, BadGeometry> {
        let blocks = size / block.bytes() as u64;
        if blocks == 0 {
            return Err(BadGeometry::TooSmall { size, block: block.bytes() });
        }
        Ok(Self { blocks, block, physical })
    }

    /// How many blocks there are; never zero.
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Length of a block in bytes.
    pub const fn block_bytes(&self) -> u32 {
        self.block.bytes()
    }

    /// The last block.
    pub const fn last(&self) -> Lba {
        Lba(self.blocks - 1)
    }

    /// Logical blocks in a physical one, as a power of two (SBC-3 5.16.2).
    pub(crate) const fn physical_exponent(&self) -> u8 {
        match (self.physical, self.block) {
            (PhysicalBlock::B4096, BlockLength::B512) => 3,
            _ => 0,
        }
    }

    /// Logical blocks in 4,096 bytes, in which stores give space back and like to be written.
    pub(crate) const fn preferred_blocks(&self) -> u16 {
        match self.block {
            BlockLength::B512 => 8,
            BlockLength::B4096 => 1,
        }
    }

    /// Blocks of the longest transfer.
    pub(crate) const fn transfer_blocks_max(&self) -> u64 {
        TRANSFER_BYTES_MAX / self.block.bytes() as u64
    }

    /// Blocks of the longest WRITE SAME.
    pub(crate) const fn write_same_blocks_max(&self) -> u64 {
        WRITE_SAME_BYTES_MAX / self.block.bytes() as u64
    }

    /// The bytes of `blocks` blocks from `lba` on; `None` when they reach beyond the last one.
    pub(crate) fn extent(&self, lba: Lba, blocks: u64) -> Option<Extent> {
        let end = lba.0.checked_add(blocks).filter(|end| *end <= self.blocks)?;
        let length = u64::from(self.block_bytes());
        Some(Extent::between(lba.0 * length, end * length))
    }

    /// All bytes that can be reached.
    pub(crate) const fn whole(&self) -> Extent {
        Extent::whole(self.blocks * self.block.bytes() as u64)
    }

    /// The bytes from `lba` to the end; `None` when there are none.
    pub(crate) fn extent_from(&self, lba: Lba) -> Option<Extent> {
        let left = self.blocks.checked_sub(lba.0).filter(|left| *left > 0)?;
        self.extent(lba, left)
    }

    /// The block that holds the byte.
    pub(crate) fn block_of(&self, byte: u64) -> Lba {
        Lba(byte / u64::from(self.block_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(size: u64) -> Geometry {
        Geometry::new(size, BlockLength::B512, PhysicalBlock::B4096).unwrap()
    }

    #[test]
    fn a_volume_without_a_whole_block_is_refused() {
        let geometry = Geometry::new(4095, BlockLength::B4096, PhysicalBlock::B4096);
        assert_eq!(geometry, Err(BadGeometry::TooSmall { size: 4095, block: 4096 }));
    }

    #[test]
    fn bytes_beyond_the_last_whole_block_cannot_be_reached() {
        let geometry = disk(1025);
        assert_eq!((geometry.blocks(), geometry.last()), (2, Lba(1)));
        assert_eq!(geometry.extent(Lba(0), 2), Some(Extent::between(0, 1024)));
        assert_eq!(geometry.extent(Lba(0), 3), None);
    }

    #[test]
    fn no_address_however_large_overflows() {
        let geometry = disk(u64::MAX);
        assert_eq!(geometry.extent(Lba(u64::MAX), 1), None);
        assert_eq!(geometry.extent(Lba(u64::MAX), u64::MAX), None);
        let last = geometry.extent(geometry.last(), 1).unwrap();
        assert_eq!(last.len(), 512);
        assert_eq!(geometry.extent_from(Lba(geometry.blocks())), None);
    }
}

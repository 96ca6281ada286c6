//! Making ranges read as zeroes, byte for byte: with the file system's help where it has any, by
//! writing zeroes where not.

use std::io::IoSlice;

use blockferry_block::Extent;
use blockferry_device::{Errno, Failure};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{pwritev, retry_on_intr};

use super::image::{Image, io_failure};

static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// Buffers of zeroes that one call writes: 1 MiB.
const ZERO_BUFFERS: usize = 16;

/// How a range is to be zeroed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Zeroing {
    /// Its space may not be given back.
    pub(super) keep_allocated: bool,
    /// Refused where zeroes would have to be written.
    pub(super) only_fast: bool,
}

impl Image {
    /// Zeroes the extent.
    pub(super) fn zero(&self, extent: Extent, zeroing: Zeroing) -> Result<(), Failure> {
        self.refuse_if_truncated()?;
        let (head, middle, tail) = aligned(extent, self.abilities.zero_granularity);
        if !middle.is_empty() && !self.zero_range(middle, zeroing.keep_allocated)? {
            if zeroing.only_fast {
                return Err(Failure::new(Errno::NotSup, "zeroes would have to be written"));
            }
            self.write_zeroes(middle)?;
        }
        self.write_zeroes(head)?;
        self.write_zeroes(tail)
    }

    /// Asks the file system to zero the range; `false` when it cannot.
    fn zero_range(&self, extent: Extent, keep_allocated: bool) -> Result<bool, Failure> {
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let zero = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        if !keep_allocated && self.abilities.punches_holes && self.allocate(extent, punch)? {
            return Ok(true);
        }
        self.allocate(extent, zero)
    }

    fn allocate(&self, extent: Extent, flags: FallocateFlags) -> Result<bool, Failure> {
        match retry_on_intr(|| fallocate(&self.file, flags, extent.start(), extent.len())) {
            Ok(()) => {
                self.known_data.forget();
                Ok(true)
            }
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(false),
            Err(errno) => Err(io_failure(errno)),
        }
    }

    fn write_zeroes(&self, extent: Extent) -> Result<(), Failure> {
        let mut left = extent;
        while !left.is_empty() {
            let buffers = zero_buffers(left.len());
            let written = retry_on_intr(|| pwritev(&self.file, &buffers, left.start()));
            match written.map_err(io_failure)? {
                0 => return Err(Failure::new(Errno::Io, "the disk takes no more")),
                count => left = left.split_at(left.start() + count as u64).1,
            }
        }
        Ok(())
    }
}

/// Zeroes to write, at most `length` bytes of them.
fn zero_buffers(length: u64) -> Vec<IoSlice<'static>> {
    Extent::whole(length)
        .pieces(ZEROES.len() as u64)
        .take(ZERO_BUFFERS)
        .map(|piece| IoSlice::new(&ZEROES[..usize::try_from(piece.len()).unwrap_or(ZEROES.len())]))
        .collect()
}

/// The part of the extent that consists of whole units, and what lies before and behind it. Without
/// such a part everything lies before.
fn aligned(extent: Extent, unit: u64) -> (Extent, Extent, Extent) {
    let start = extent.start().next_multiple_of(unit);
    let end = extent.end() - extent.end() % unit;
    if start >= end {
        let nothing = Extent::between(extent.end(), extent.end());
        return (extent, nothing, nothing);
    }
    let (head, rest) = extent.split_at(start);
    let (middle, tail) = rest.split_at(end);
    (head, middle, tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_is_cut_into_whole_units_and_its_edges() {
        let cut = |start, end| aligned(Extent::between(start, end), 4096);
        let extent = Extent::between;
        assert_eq!(cut(0, 8192), (extent(0, 0), extent(0, 8192), extent(8192, 8192)));
        assert_eq!(cut(1, 8193), (extent(1, 4096), extent(4096, 8192), extent(8192, 8193)));
        assert_eq!(cut(1, 4096).0, extent(1, 4096));
        assert_eq!(cut(5, 6).0, extent(5, 6));
        assert!(cut(4095, 4097).1.is_empty());
        assert_eq!(aligned(extent(3, 5), 1), (extent(3, 3), extent(3, 5), extent(5, 5)));
    }
}

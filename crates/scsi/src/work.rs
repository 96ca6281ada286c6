//! Work: what a command wants of the medium, in bytes of the volume. Whoever has the medium does
//! it, and tells the unit what came of it.

use blockferry_block::Extent;

use crate::response::Transfer;

/// An operation on the medium. Extents lie inside the unit, are never empty, and are multiples of
/// its block length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Sends the content to the initiator.
    Read {
        /// What to read.
        extent: Extent,
        /// What was written before has to be durable first (SBC-3 5.11, FUA).
        fua: bool,
    },
    /// Writes the data.
    Write {
        /// Where to.
        extent: Extent,
        /// Durable before it is answered.
        fua: bool,
    },
    /// Writes the data, makes it durable, and reads it again.
    WriteVerify {
        /// Where to.
        extent: Extent,
        /// What was read has to be what was written.
        compare: bool,
    },
    /// Reads, and compares.
    Verify {
        /// What to read.
        extent: Extent,
        /// With what.
        compare: Compare,
    },
    /// Writes one block, or zeroes, again and again.
    WriteSame {
        /// Where to.
        extent: Extent,
        /// What.
        pattern: Pattern,
        /// Zeroes may be made by giving the space back.
        unmap: bool,
        /// Durable before it is answered.
        fua: bool,
    },
    /// Writes the second half of the data if the medium holds the first; nothing otherwise.
    CompareAndWrite {
        /// Where; half as long as the data.
        extent: Extent,
        /// Durable before it is answered.
        fua: bool,
    },
    /// Writes the medium's content or'ed with the data.
    OrWrite {
        /// Where.
        extent: Extent,
        /// Durable before it is answered.
        fua: bool,
    },
    /// Gives space back; the extents read as zeroes afterwards.
    Unmap {
        /// What to give back, in the order of the command; they may overlap.
        extents: Vec<Extent>,
        /// Durable before it is answered.
        fua: bool,
    },
    /// Makes durable what was written and answered before. The extent may be flushed alone.
    Flush {
        /// Where it was written.
        extent: Extent,
    },
    /// Will be read soon. Nobody waits for it.
    PreFetch {
        /// What.
        extent: Extent,
    },
    /// Tells which parts have space.
    LbaStatus {
        /// Where to look, from its start on; the answer may be shorter.
        extent: Extent,
        /// So many runs are told at most.
        runs_max: usize,
        /// So many bytes the initiator has room for.
        room: usize,
    },
}

/// What a verification compares the medium with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// With nothing: it has to be readable.
    Nothing,
    /// With data of the same length.
    Bytes,
    /// With one block of so many bytes, again and again.
    Block {
        /// Length of the data in bytes.
        bytes: u32,
    },
}

/// What is written again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Zeroes; there is no data.
    Zeroes,
    /// One block of so many bytes.
    Block {
        /// Length of the data in bytes.
        bytes: u32,
    },
}

/// What the medium did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The work is done.
    Done,
    /// The medium holds other bytes.
    Miscompare {
        /// The first that differs, in bytes from the extent's start.
        at: u64,
    },
    /// Runs from the extent's start on, in ascending order without gaps: the answer to
    /// [`Work::LbaStatus`].
    Runs(Vec<Run>),
    /// The work failed, or may have.
    Failed(Failure),
}

/// Bytes that have space, or have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Length in bytes.
    pub length: u64,
    /// Whether they have space. Those without read as zeroes.
    pub mapped: bool,
}

/// Why the medium did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Input/output error.
    Medium {
        /// Where, in bytes from the volume's start, if that is known.
        at: Option<u64>,
    },
    /// The pool behind the volume is full.
    NoSpace,
    /// The volume cannot be written.
    ReadOnly,
    /// Not now: the initiator shall try again.
    Busy,
    /// Something of this side failed.
    Internal,
}

/// Work, with what the command transfers by its own description. The two differ where an initiator
/// announced less data than its command describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Medium {
    /// What to do.
    pub work: Work,
    /// What the command describes; for the residual count.
    pub transfer: Transfer,
}

impl Work {
    /// How many bytes of the initiator's data the work takes.
    pub const fn data_out(&self) -> u64 {
        match *self {
            Self::Write { extent, .. }
            | Self::WriteVerify { extent, .. }
            | Self::Verify { extent, compare: Compare::Bytes }
            | Self::OrWrite { extent, .. } => extent.len(),
            Self::CompareAndWrite { extent, .. } => 2 * extent.len(),
            Self::Verify { compare: Compare::Block { bytes }, .. }
            | Self::WriteSame { pattern: Pattern::Block { bytes }, .. } => bytes as u64,
            _ => 0,
        }
    }

    /// How many bytes of the medium's content go to the initiator.
    pub const fn data_in(&self) -> u64 {
        match *self {
            Self::Read { extent, .. } => extent.len(),
            _ => 0,
        }
    }

    /// Where on the medium, from the first to the last byte that may be touched; `None` for an
    /// UNMAP without extents, which is never made.
    pub fn extent(&self) -> Option<Extent> {
        match self {
            Self::Read { extent, .. }
            | Self::Write { extent, .. }
            | Self::WriteVerify { extent, .. }
            | Self::Verify { extent, .. }
            | Self::WriteSame { extent, .. }
            | Self::CompareAndWrite { extent, .. }
            | Self::OrWrite { extent, .. }
            | Self::Flush { extent }
            | Self::PreFetch { extent }
            | Self::LbaStatus { extent, .. } => Some(*extent),
            Self::Unmap { extents, .. } => {
                let start = extents.iter().map(|extent| extent.start()).min()?;
                let end = extents.iter().map(|extent| extent.end()).max()?;
                Some(Extent::between(start, end))
            }
        }
    }

    /// Whether the work changes the volume's content.
    pub const fn is_write(&self) -> bool {
        matches!(
            self,
            Self::Write { .. }
                | Self::WriteVerify { .. }
                | Self::WriteSame { .. }
                | Self::CompareAndWrite { .. }
                | Self::OrWrite { .. }
                | Self::Unmap { .. }
        )
    }

    /// Whether no other write to the extent may come between what the work reads and what it writes
    /// (SBC-3 5.2, 5.5).
    pub const fn is_atomic(&self) -> bool {
        matches!(self, Self::CompareAndWrite { .. } | Self::OrWrite { .. })
    }

    /// Whether the work must be durable before it is answered.
    pub const fn is_durable(&self) -> bool {
        matches!(
            self,
            Self::Write { fua: true, .. }
                | Self::WriteVerify { .. }
                | Self::WriteSame { fua: true, .. }
                | Self::CompareAndWrite { fua: true, .. }
                | Self::OrWrite { fua: true, .. }
                | Self::Unmap { fua: true, .. }
                | Self::Flush { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: Extent = Extent::between(512, 4608);

    #[test]
    fn a_command_takes_the_data_that_it_describes() {
        for (work, bytes) in [
            (Work::Write { extent: EXTENT, fua: false }, 4096),
            (Work::CompareAndWrite { extent: EXTENT, fua: false }, 8192),
            (Work::Verify { extent: EXTENT, compare: Compare::Bytes }, 4096),
            (Work::Verify { extent: EXTENT, compare: Compare::Block { bytes: 512 } }, 512),
            (Work::Verify { extent: EXTENT, compare: Compare::Nothing }, 0),
            (Work::Read { extent: EXTENT, fua: false }, 0),
        ] {
            assert_eq!(work.data_out(), bytes, "{work:?}");
        }
        assert_eq!(Work::Read { extent: EXTENT, fua: false }.data_in(), 4096);
    }

    #[test]
    fn an_unmap_reaches_from_its_lowest_to_its_highest_byte() {
        let extents = vec![Extent::between(4096, 8192), EXTENT];
        let work = Work::Unmap { extents, fua: false };
        assert_eq!(work.extent(), Some(Extent::between(512, 8192)));
        assert_eq!(Work::Unmap { extents: Vec::new(), fua: false }.extent(), None);
    }

    #[test]
    fn what_reads_and_writes_in_one_is_atomic() {
        assert!(Work::CompareAndWrite { extent: EXTENT, fua: false }.is_atomic());
        assert!(Work::OrWrite { extent: EXTENT, fua: false }.is_atomic());
        assert!(!Work::Write { extent: EXTENT, fua: false }.is_atomic());
        assert!(!Work::WriteVerify { extent: EXTENT, compare: true }.is_atomic());
    }
}

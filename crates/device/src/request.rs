//! Requests to a device and the replies to them.

use blockferry_block::Extent;
use bytes::Bytes;

/// One command to a device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Reads the extent.
    Read {
        /// What to read.
        extent: Extent,
        /// Answer with one [`ReadPart::Data`], never with holes.
        dont_fragment: bool,
    },
    /// Writes the data at the offset.
    Write {
        /// Where the data begins, in bytes from the volume's start.
        offset: u64,
        /// What to write.
        data: Bytes,
        /// Durable before it is answered.
        fua: bool,
    },
    /// Makes the extent read as zeroes.
    WriteZeroes {
        /// What to zero.
        extent: Extent,
        /// Durable before it is answered.
        fua: bool,
        /// The extent must stay allocated.
        no_hole: bool,
        /// Fail with `ENOTSUP` at once where it would be no faster than a write.
        fast_zero: bool,
    },
    /// Gives the extent's space back; it reads as zeroes afterwards.
    Trim {
        /// What to give back.
        extent: Extent,
        /// Durable before it is answered.
        fua: bool,
    },
    /// Makes every write that was answered before durable.
    Flush,
    /// Announces that the extent will be read.
    Cache {
        /// What will be read.
        extent: Extent,
    },
    /// Asks which parts of the extent are holes or zeroes.
    BlockStatus {
        /// What to describe; the answer may be shorter.
        extent: Extent,
        /// Answer with exactly one segment, not longer than the extent.
        one: bool,
    },
}

impl Request {
    /// The extent that the request touches; `None` for a flush. A write whose end would overflow is
    /// never built from the wire, so its extent is cut at the last byte.
    pub fn extent(&self) -> Option<Extent> {
        match *self {
            Self::Read { extent, .. }
            | Self::WriteZeroes { extent, .. }
            | Self::Trim { extent, .. }
            | Self::Cache { extent }
            | Self::BlockStatus { extent, .. } => Some(extent),
            Self::Write { offset, ref data, .. } => {
                Some(Extent::between(offset, offset.saturating_add(data.len() as u64)))
            }
            Self::Flush => None,
        }
    }

    /// Whether the request changes the volume's content.
    pub const fn is_write(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::WriteZeroes { .. } | Self::Trim { .. })
    }

    /// Whether the request must be durable before it is answered.
    pub const fn fua(&self) -> bool {
        matches!(
            self,
            Self::Write { fua: true, .. }
                | Self::WriteZeroes { fua: true, .. }
                | Self::Trim { fua: true, .. }
        )
    }
}

/// A successful answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Done; there is nothing to tell.
    Done,
    /// The content, in ascending order, without gaps, exactly as long as the request.
    Read(Vec<ReadPart>),
    /// The state of consecutive pieces from the request's start on; at least one.
    BlockStatus(Vec<Segment>),
}

/// A piece of what was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReadPart {
    /// Content.
    Data(Bytes),
    /// So many bytes read as zeroes; never zero.
    Hole(u64),
}

impl ReadPart {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Hole(length) => *length,
        }
    }

    /// The content, if it is no hole.
    pub const fn data(&self) -> Option<&Bytes> {
        match self {
            Self::Data(data) => Some(data),
            Self::Hole(_) => None,
        }
    }

    /// Whether the piece is content.
    pub const fn is_data(&self) -> bool {
        matches!(self, Self::Data(_))
    }

    /// Whether the piece holds no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A run of bytes of one allocation state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Length in bytes, never zero.
    pub length: u64,
    /// What is known of them.
    pub state: SegmentState,
}

/// What `base:allocation` tells of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct SegmentState {
    /// Not allocated (`NBD_STATE_HOLE`).
    pub hole: bool,
    /// Reads as zeroes (`NBD_STATE_ZERO`).
    pub zero: bool,
}

impl SegmentState {
    /// Allocated, content unknown.
    pub const DATA: Self = Self { hole: false, zero: false };
    /// Not allocated, reads as zeroes.
    pub const HOLE: Self = Self { hole: true, zero: true };
}

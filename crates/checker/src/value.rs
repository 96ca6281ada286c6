//! What a block may hold.

use std::fmt;

use blockferry_block::Extent;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::stamp::Stamp;

/// A value of one piece of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Whatever was there before the run.
    Unknown,
    /// What was there before the run, once it has been read.
    Kept {
        /// First byte of the piece that was read.
        start: u64,
        /// First byte after it.
        end: u64,
        /// XXH3 of its bytes.
        digest: u64,
    },
    /// Zeroes.
    Zero,
    /// Written by a run.
    Stamp(Stamp),
}

impl Value {
    /// What is kept of a piece that was read.
    pub fn kept(piece: Extent, bytes: &[u8]) -> Self {
        Self::Kept { start: piece.start(), end: piece.end(), digest: xxh3_64(bytes) }
    }

    /// Whether bytes that were read at the piece have this value. What is unknown may be anything.
    pub fn is(&self, piece: Extent, bytes: &[u8]) -> bool {
        match *self {
            Self::Unknown => true,
            Self::Kept { start, end, digest } if (start, end) == (piece.start(), piece.end()) => {
                xxh3_64(bytes) == digest
            }
            Self::Kept { .. } => true,
            Self::Zero => is_zero(bytes),
            Self::Stamp(stamp) => stamp.is(piece, bytes),
        }
    }

    /// Whether nothing can be held against a content that no write of the run explains.
    pub fn is_open(&self, piece: Extent) -> bool {
        match *self {
            Self::Unknown => true,
            Self::Kept { start, end, .. } => (start, end) != (piece.start(), piece.end()),
            Self::Zero | Self::Stamp(_) => false,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown | Self::Kept { .. } => f.write_str("what was there before the run"),
            Self::Zero => f.write_str("zeroes"),
            Self::Stamp(stamp) => stamp.fmt(f),
        }
    }
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    const CHUNK: usize = 64;
    let (chunks, rest) = bytes.as_chunks::<CHUNK>();
    chunks.iter().all(|chunk| *chunk == [0; CHUNK]) && rest.iter().all(|byte| *byte == 0)
}

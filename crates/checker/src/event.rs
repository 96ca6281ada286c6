//! What is told to a register and what it tells: moments, outcomes, contents, faults.

use blockferry_block::Extent;

/// A moment in the order of events. Only the order counts; every event has a moment of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// Before every event.
    pub const START: Self = Self(0);
    /// After every event: when an operation ends that has not ended.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// The next moment.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Tells the writes of a run apart, whatever they write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WriteId(pub(crate) u64);

impl WriteId {
    /// What was there before the first write.
    pub(crate) const INITIAL: Self = Self(0);
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered without an error: executed, once, before the answer.
    Acknowledged,
    /// Certainly not executed, and never will be.
    Refused,
    /// Failed or unanswered: executed, or executed later, or never; but not later than a write that
    /// begins after this moment and is acknowledged (I13).
    Unknown,
}

/// What a read has returned, piece by piece.
pub trait Content<V> {
    /// Whether the piece has this value.
    fn is(&self, piece: Extent, value: &V) -> bool;

    /// Whether [`Content::is`] cannot be mistaken about this value. Of what is unknown it can: a mixture
    /// of writes looks unknown, too.
    fn is_sure(&self, piece: Extent, value: &V) -> bool {
        let _ = (piece, value);
        true
    }

    /// Whether every byte of the piece is of one of these values. It is asked when the piece as a
    /// whole may be none of them and a write was under way during the read; `false` means that blocks are
    /// read and written in one piece even so.
    fn is_mixture(&self, piece: Extent, values: &[V]) -> bool {
        let _ = (piece, values);
        false
    }

    /// The value more precisely, now that the piece is known to have it.
    fn learn(&self, piece: Extent, value: V) -> V {
        let _ = piece;
        value
    }
}

/// Why a read cannot be explained by any order of the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// No write that could still be seen has this content: it is foreign, torn, or was overwritten
    /// long ago.
    NoCandidate,
    /// An acknowledged write had replaced the content before the read began.
    Overwritten,
    /// A read that ended before this one began had returned something newer.
    WentBack,
}

//! The volume: two extents of which the second is short, and what they may hold.
//!
//! The extents lie at the end of a volume that has been copied up to them, on both sides of a border
//! between two units of the activity log. All that is tracked in units (dirty regions, leaves of the
//! digest, the log) tells the two apart.

use blockferry_block::{Extent, KIB, MIB};
use blockferry_migration::activity::LOG_UNIT_MIN;
use blockferry_migration::digest::{Frontier, LEAF, Noted, Piece};

/// How many extents there are.
pub const BLOCKS: usize = 2;

/// Size of the volume in bytes: the second extent is one byte.
pub const SIZE: u64 = BORDER + 1;

/// Where the sweep begins, in bytes; everything below is a hole on both sides.
pub const START: u64 = BORDER - LEAF;

const BORDER: u64 = LOG_UNIT_MIN;
const _: () = assert!(LEAF == 64 * KIB && BORDER == 4 * MIB);

/// What an extent holds. Every write has a value of its own.
pub type Value = u8;

/// What a trimmed extent reads as.
pub const ZEROES: Value = 0;
/// What the client's volume holds before anything happens.
pub const INITIAL: Value = 1;
/// The first value that a client writes.
pub const WRITTEN: Value = 2;
/// What nobody wrote: it was at the destination before.
pub const VOID: Value = 7;

/// One value an extent.
pub type Content = [Value; BLOCKS];

/// A set of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Values(u8);

impl Values {
    /// The set of one value.
    pub const fn of(value: Value) -> Self {
        Self(1 << value)
    }

    /// Whether the value is in the set.
    pub const fn has(self, value: Value) -> bool {
        self.0 & 1 << value != 0
    }

    /// What is in either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of it is in the other set.
    pub const fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Its values, ascending.
    pub fn iter(self) -> impl Iterator<Item = Value> {
        (0..8).filter(move |value| self.has(*value))
    }
}

/// Consecutive extents.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    first: u8,
    end: u8,
}

impl std::fmt::Debug for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match *self {
            Self::A => "A",
            Self::B => "B",
            _ => "AB",
        })
    }
}

impl Span {
    /// The first extent.
    pub const A: Self = Self { first: 0, end: 1 };
    /// The second, the short one.
    pub const B: Self = Self { first: 1, end: 2 };
    /// Both.
    pub const AB: Self = Self { first: 0, end: 2 };

    /// The span of one extent.
    pub fn block(block: usize) -> Self {
        if block == 0 { Self::A } else { Self::B }
    }

    /// The extents that these bytes touch, if any.
    pub fn touching(extent: Extent) -> Option<Self> {
        let touches = |span: Self| span.extent().overlaps(extent);
        match (touches(Self::A), touches(Self::B)) {
            (true, true) => Some(Self::AB),
            (true, false) => Some(Self::A),
            (false, true) => Some(Self::B),
            (false, false) => None,
        }
    }

    /// The bytes.
    pub fn extent(self) -> Extent {
        let at = |block| [START, BORDER, SIZE][usize::from(block)];
        Extent::between(at(self.first), at(self.end))
    }

    /// The extents, ascending.
    pub fn blocks(self) -> impl Iterator<Item = usize> {
        usize::from(self.first)..usize::from(self.end)
    }

    /// Whether the extent is one of them.
    pub fn has(self, block: usize) -> bool {
        self.blocks().any(|own| own == block)
    }

    /// Whether the two share an extent.
    pub fn overlaps(self, other: Self) -> bool {
        self.extent().overlaps(other.extent())
    }

    /// The same value in each of its extents.
    pub fn filled(self, value: Value) -> Content {
        let mut content = [ZEROES; BLOCKS];
        self.blocks().for_each(|block| content[block] = value);
        content
    }
}

/// The stream up to where the sweep begins.
pub fn stream_at_start() -> Frontier {
    let mut stream = Frontier::new();
    stream.push(Piece::Zeroes(START));
    stream
}

/// Appends a copy write to the stream. The digests of the model tell lengths apart and not contents:
/// what the protocol promises has to hold without them.
pub fn push(stream: &mut Frontier, span: Span) {
    stream.push(Piece::Zeroes(span.extent().len()));
}

/// What the source notes of an extent that it gave to the copier.
pub fn noted(span: Span) -> Noted {
    let extent = span.extent();
    Noted::of(extent.start(), &[Piece::Zeroes(extent.len())], SIZE)
}

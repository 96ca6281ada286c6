//! A half-open byte range of a volume.

use std::fmt;

/// The bytes `[start, end)` of a volume. `start <= end` always holds, so a length never underflows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Extent {
    start: u64,
    end: u64,
}

/// Why an extent could not be made from an offset and a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentError {
    /// `offset + length` does not fit into 64 bits.
    Overflow,
}

impl fmt::Display for ExtentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("offset + length does not fit into 64 bits")
    }
}

impl std::error::Error for ExtentError {}

impl Extent {
    /// The extent of `length` bytes from `offset` on.
    ///
    /// # Errors
    /// [`ExtentError::Overflow`] when its end does not fit into 64 bits.
    pub const fn new(offset: u64, length: u64) -> Result<Self, ExtentError> {
        match offset.checked_add(length) {
            Some(end) => Ok(Self { start: offset, end }),
            None => Err(ExtentError::Overflow),
        }
    }

    /// The extent `[start, end)`, empty at `start` when `end` lies before it.
    pub const fn between(start: u64, end: u64) -> Self {
        let end = if end < start { start } else { end };
        Self { start, end }
    }

    /// A whole volume of `size` bytes.
    pub const fn whole(size: u64) -> Self {
        Self { start: 0, end: size }
    }

    /// First byte.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// First byte after the extent.
    pub const fn end(self) -> u64 {
        self.end
    }

    /// Length in bytes.
    pub const fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether the extent holds no byte.
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Whether the two share at least one byte.
    pub const fn overlaps(self, other: Self) -> bool {
        let empty = self.is_empty() || other.is_empty();
        !empty && self.start < other.end && other.start < self.end
    }

    /// The bytes that both hold; `None` when they share none.
    pub fn intersection(self, other: Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        (start < end).then_some(Self { start, end })
    }

    /// Whether every byte of `other` lies in this extent.
    pub const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The part below `at` and the part from `at` on; either may be empty.
    pub fn split_at(self, at: u64) -> (Self, Self) {
        let at = at.clamp(self.start, self.end);
        (Self::between(self.start, at), Self::between(at, self.end))
    }

    /// Consecutive pieces of at most `length` bytes, in ascending order.
    ///
    /// # Panics
    /// When `length` is zero.
    pub fn pieces(self, length: u64) -> impl Iterator<Item = Self> {
        assert!(length > 0, "a piece needs a length");
        let mut at = self.start;
        std::iter::from_fn(move || {
            let piece = Self::between(at, self.end.min(at.saturating_add(length)));
            at = piece.end;
            (!piece.is_empty()).then_some(piece)
        })
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_whose_end_overflows_is_refused() {
        assert_eq!(Extent::new(u64::MAX, 1), Err(ExtentError::Overflow));
        assert_eq!(Extent::new(u64::MAX, 0).map(Extent::len), Ok(0));
    }

    #[test]
    fn extents_that_only_touch_do_not_overlap() {
        let a = Extent::between(0, 10);
        assert!(!a.overlaps(Extent::between(10, 20)));
        assert!(a.overlaps(Extent::between(9, 10)));
        assert_eq!(a.intersection(Extent::between(10, 20)), None);
    }

    #[test]
    fn an_empty_extent_overlaps_nothing_even_inside_another() {
        let a = Extent::between(0, 10);
        let empty = Extent::between(5, 5);
        assert!(!a.overlaps(empty) && !empty.overlaps(a) && !empty.overlaps(empty));
    }

    #[test]
    fn splitting_outside_leaves_one_side_empty() {
        let a = Extent::between(10, 20);
        assert_eq!(a.split_at(5), (Extent::between(10, 10), a));
        assert_eq!(a.split_at(25), (a, Extent::between(20, 20)));
        assert_eq!(a.split_at(15), (Extent::between(10, 15), Extent::between(15, 20)));
    }

    #[test]
    fn pieces_cover_the_extent_in_order_and_the_last_may_be_short() {
        let pieces: Vec<_> = Extent::between(5, 15).pieces(4).collect();
        assert_eq!(
            pieces,
            [Extent::between(5, 9), Extent::between(9, 13), Extent::between(13, 15)]
        );
    }
}

//! The numbers that one path gives to its links, one after another.

use blockferry_block::Generation;

/// Bits of a link's number that count the links of one incarnation.
const LINK_BITS: u32 = 20;
/// The highest number that leaves room for a server's own above it.
const LAST: u64 = (1 << 31) - 1;

/// A range of generations, growing. When it is used up there are no more: a number that was given
/// twice would let a fence miss what is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Generations {
    given: Generation,
    last: Generation,
}

impl Generations {
    /// All that there are, for a path whose process is the session's only one.
    pub const ALL: Self = Self { given: Generation(0), last: Generation(LAST) };

    /// Those of one of several processes that have the session one after another, counted from zero:
    /// above all of its predecessors', and a million of them.
    pub const fn of_incarnation(incarnation: u16) -> Self {
        let before = (incarnation as u64) << LINK_BITS;
        Self { given: Generation(before), last: Generation(before + (1 << LINK_BITS) - 1) }
    }

    /// The next one, if there is one.
    pub fn take(&mut self) -> Option<Generation> {
        let next = self.given.next();
        (next <= self.last).then(|| {
            self.given = next;
            next
        })
    }

    /// Nothing was sent under this one, and nothing will be: unless another was given since, it is
    /// the next again, so that trying in vain uses nothing up.
    pub fn give_back(&mut self, generation: Generation) {
        if self.given == generation {
            self.given = Generation(generation.0 - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_incarnation_is_above_those_before_it_and_within_what_a_server_leaves() {
        for incarnation in 0..4096 {
            let mut here = Generations::of_incarnation(incarnation);
            let mut next = Generations::of_incarnation(incarnation + 1);
            assert!(here.last < next.take().unwrap() && here.take().unwrap() <= here.last);
            assert!(here.last.0 < 1 << 32);
        }
    }

    #[test]
    fn numbers_that_are_used_up_are_not_given_again() {
        let mut few = Generations { given: Generation(5), last: Generation(7) };
        assert_eq!((few.take(), few.take()), (Some(Generation(6)), Some(Generation(7))));
        assert_eq!(few.take(), None);
        few.give_back(Generation(6));
        assert_eq!(few.take(), None, "a newer one was given since");
        few.give_back(Generation(7));
        assert_eq!(few.take(), Some(Generation(7)));
    }
}

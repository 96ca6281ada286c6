//! How much data, not counting holes, the copier was given beyond an address.

use std::collections::VecDeque;

/// Claims that are told apart. More, which only a copier with tiny reads makes, are told as one with
/// the last, which seems to be farther from done than it is.
const MARKS_MAX: usize = 1 << 16;

/// The sum of all claimed data at the end of each claim since the last checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct DataClaimed {
    marks: VecDeque<Mark>,
    /// Bytes in all.
    total: u64,
    /// Bytes of them at the last checkpoint.
    durable: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Mark {
    end: u64,
    total: u64,
}

impl DataClaimed {
    /// A claim that ends at `end` and holds so many bytes of data. Ends ascend.
    pub(super) fn push(&mut self, end: u64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.total += bytes;
        let mark = Mark { end, total: self.total };
        if self.marks.len() >= MARKS_MAX {
            self.marks.pop_back();
        }
        self.marks.push_back(mark);
    }

    /// Bytes of claims that do not end at or below the address.
    pub(super) fn beyond(&self, address: u64) -> u64 {
        let below = self.marks.partition_point(|mark| mark.end <= address);
        let last = below.checked_sub(1).and_then(|last| self.marks.get(last));
        self.total - last.map_or(self.durable, |mark| mark.total)
    }

    /// Bytes claimed since the last checkpoint.
    pub(super) fn since_checkpoint(&self) -> u64 {
        self.total - self.durable
    }

    /// Everything below the address is durable.
    pub(super) fn checkpoint(&mut self, address: u64) {
        let below = self.marks.partition_point(|mark| mark.end <= address);
        if let Some(last) = self.marks.drain(..below).next_back() {
            self.durable = last.total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_between_claims_count_nothing_however_long_they_are() {
        let mut claimed = DataClaimed::default();
        claimed.push(100, 10);
        claimed.push(1 << 40, 20);
        claimed.push((1 << 40) + 5, 0);
        assert_eq!(claimed.beyond(0), 30);
        assert_eq!(claimed.beyond(99), 30, "a claim counts until it has passed as a whole");
        assert_eq!(claimed.beyond(100), 20);
        assert_eq!(claimed.beyond(1 << 40), 0);
        claimed.checkpoint(1 << 39);
        assert_eq!((claimed.since_checkpoint(), claimed.beyond(0)), (20, 20));
        claimed.checkpoint(1 << 41);
        assert_eq!(claimed.since_checkpoint(), 0);
    }

    #[test]
    fn more_claims_than_are_told_apart_seem_farther_away() {
        let mut claimed = DataClaimed::default();
        (1..=2 * MARKS_MAX as u64).for_each(|end| claimed.push(end, 1));
        assert_eq!(claimed.marks.len(), MARKS_MAX);
        assert_eq!(claimed.beyond(2 * MARKS_MAX as u64 - 1), MARKS_MAX as u64 + 1);
        assert_eq!(claimed.beyond(2 * MARKS_MAX as u64), 0);
    }
}

//! The in-flight record (D1.4): every update from its admission to its answer, with the order
//! between those that overlap.
//!
//! An operation is granted when nothing that arrived before it overlaps and conflicts, whether that
//! was granted or still waits: first come, first served on every byte, so nobody starves (I6). Two
//! shared operations (reads, comparisons) never conflict.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};

use blockferry_block::Extent;

/// One operation of the record, in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// How an operation uses its extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Beside others that share.
    Shared,
    /// Alone.
    Exclusive,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    extent: Extent,
    mode: Mode,
    blockers: usize,
    local_only: Extent,
}

impl Entry {
    fn conflicts(&self, extent: Extent, mode: Mode) -> bool {
        self.extent.overlaps(extent) && (self.mode, mode) != (Mode::Shared, Mode::Shared)
    }
}

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    arrivals: u64,
    longest: u64,
    starts: HashMap<OpId, u64>,
    entries: BTreeMap<(u64, OpId), Entry>,
    granted: Vec<OpId>,
}

/// Records that differ only in how their operations are numbered hash alike.
impl Hash for InFlight {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut entries: Vec<_> = self.entries.iter().map(|((_, id), entry)| (id, entry)).collect();
        entries.sort_unstable_by_key(|(id, _)| **id);
        entries.len().hash(state);
        entries.iter().for_each(|(_, entry)| entry.hash(state));
    }
}

const NO_EXTENT: Extent = Extent::between(0, 0);

impl InFlight {
    /// Records an operation; it may begin once [`InFlight::is_granted`].
    pub fn admit(&mut self, extent: Extent, mode: Mode) -> OpId {
        let id = OpId(self.arrivals);
        self.arrivals += 1;
        self.longest = self.longest.max(extent.len());
        let blockers = self.near(extent).filter(|(_, entry)| entry.conflicts(extent, mode)).count();
        self.starts.insert(id, extent.start());
        let entry = Entry { extent, mode, blockers, local_only: NO_EXTENT };
        self.entries.insert((extent.start(), id), entry);
        id
    }

    /// Whether nothing that came before stands in the operation's way.
    pub fn is_granted(&self, id: OpId) -> bool {
        self.entry(id).is_some_and(|entry| entry.blockers == 0)
    }

    /// Notes the part of the operation that is applied at the source alone (D1.3, I5).
    pub fn set_local_only(&mut self, id: OpId, extent: Extent) {
        let Some(start) = self.starts.get(&id) else { return };
        if let Some(entry) = self.entries.get_mut(&(*start, id)) {
            entry.local_only = extent;
        }
    }

    /// Notes all of them as applied at the source alone: what a migration that begins now knows of
    /// those under way.
    pub fn set_all_local_only(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.local_only = entry.extent);
    }

    /// Erases an answered operation and wakes those that waited for it alone.
    pub fn erase(&mut self, id: OpId) {
        let Some(start) = self.starts.remove(&id) else { return };
        let Some(gone) = self.entries.remove(&(start, id)) else { return };
        let from = gone.extent.start().saturating_sub(self.longest);
        for ((_, later), entry) in
            self.entries.range_mut((from, OpId(0))..(gone.extent.end(), OpId(0)))
        {
            if *later > id && entry.conflicts(gone.extent, gone.mode) {
                entry.blockers -= 1;
                if entry.blockers == 0 {
                    self.granted.push(*later);
                }
            }
        }
        if self.entries.is_empty() {
            self.longest = 0;
        }
    }

    /// Operations that became granted since the last call.
    pub fn take_granted(&mut self) -> Vec<OpId> {
        std::mem::take(&mut self.granted)
    }

    /// Whether a granted or waiting update that is applied at the source alone overlaps the extent.
    pub fn local_only_overlaps(&self, extent: Extent) -> bool {
        self.near(extent).any(|(_, entry)| entry.local_only.overlaps(extent))
    }

    /// Extents of all granted exclusive operations.
    pub fn updates(&self) -> impl Iterator<Item = Extent> + '_ {
        self.entries
            .values()
            .filter(|entry| entry.mode == Mode::Exclusive && entry.blockers == 0)
            .map(|entry| entry.extent)
    }

    /// The number that the next operation will get.
    pub fn next(&self) -> OpId {
        OpId(self.arrivals)
    }

    /// Whether an exclusive operation that arrived before `end` has not been erased.
    pub fn has_update_before(&self, end: OpId) -> bool {
        self.entries.iter().any(|((_, id), entry)| *id < end && entry.mode == Mode::Exclusive)
    }

    /// Number of recorded operations that arrived before `end`.
    pub fn count_before(&self, end: OpId) -> usize {
        self.entries.keys().filter(|(_, id)| *id < end).count()
    }

    /// Number of recorded operations.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn entry(&self, id: OpId) -> Option<&Entry> {
        self.entries.get(&(*self.starts.get(&id)?, id))
    }

    fn near(&self, extent: Extent) -> impl Iterator<Item = (&(u64, OpId), &Entry)> {
        let from = extent.start().saturating_sub(self.longest);
        self.entries.range((from, OpId(0))..(extent.end(), OpId(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: u64, end: u64) -> Extent {
        Extent::between(start, end)
    }

    #[test]
    fn overlapping_updates_are_granted_in_order_of_arrival() {
        let mut record = InFlight::default();
        let first = record.admit(at(0, 10), Mode::Exclusive);
        let second = record.admit(at(5, 15), Mode::Exclusive);
        let third = record.admit(at(12, 20), Mode::Exclusive);
        assert!(record.is_granted(first) && !record.is_granted(second));
        assert!(!record.is_granted(third), "the third overtook the waiting second");
        record.erase(first);
        assert_eq!(record.take_granted(), [second]);
        record.erase(second);
        assert_eq!(record.take_granted(), [third]);
    }

    #[test]
    fn shared_operations_run_beside_each_other_but_not_beside_an_update() {
        let mut record = InFlight::default();
        let read = record.admit(at(0, 10), Mode::Shared);
        let beside = record.admit(at(0, 10), Mode::Shared);
        let write = record.admit(at(9, 10), Mode::Exclusive);
        let late = record.admit(at(0, 9), Mode::Shared);
        assert!(record.is_granted(read) && record.is_granted(beside));
        assert!(!record.is_granted(write));
        assert!(record.is_granted(late), "it does not touch the waiting update");
        record.erase(read);
        assert!(record.take_granted().is_empty());
        record.erase(beside);
        assert_eq!(record.take_granted(), [write]);
    }

    #[test]
    fn a_short_operation_finds_a_long_one_that_begins_far_before_it() {
        let mut record = InFlight::default();
        let long = record.admit(at(0, 1 << 40), Mode::Exclusive);
        let short = record.admit(at(1 << 39, (1 << 39) + 1), Mode::Exclusive);
        assert!(!record.is_granted(short));
        record.erase(long);
        assert_eq!(record.take_granted(), [short]);
    }

    #[test]
    fn only_the_local_part_of_an_update_holds_a_claim_back() {
        let mut record = InFlight::default();
        let id = record.admit(at(0, 20), Mode::Exclusive);
        record.set_local_only(id, at(10, 20));
        assert!(!record.local_only_overlaps(at(0, 10)));
        assert!(record.local_only_overlaps(at(19, 30)));
        record.erase(id);
        assert!(!record.local_only_overlaps(at(0, 30)));
    }
}

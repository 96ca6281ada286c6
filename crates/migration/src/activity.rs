//! The activity log: which units of the source may differ from the destination after a crash.
//!
//! Unflushed writes may be gone from a crashed source and present on the destination. The source is
//! the authority, so those units are dirty after its restart (I9). A unit is durable here before the
//! first write to it goes anywhere, and leaves only when both sides have flushed it.

use std::hash::{Hash, Hasher};

use blockferry_block::{Extent, MIB};

use crate::regions::{RegionSize, Regions};

/// Smallest unit of the log in bytes: one durable record admits all writes to so much.
pub const LOG_UNIT_MIN: u64 = 4 * MIB;

/// Number of a batch; batches become durable in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// What has to be made durable in one record, removals before additions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Number of the batch.
    pub id: BatchId,
    /// Units that leave.
    pub remove: Vec<u32>,
    /// Units that enter.
    pub add: Vec<u32>,
}

/// The log as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityLog {
    durable: Regions,
    writing: Option<(BatchId, Regions)>,
    wanted: Regions,
    leaving: Vec<u32>,
    next: BatchId,
}

/// Every unit of a volume of `size` bytes: what may differ where the log is lost.
pub fn every_unit(size: u64) -> Vec<u32> {
    let mut units = Regions::none(RegionSize::at_least(LOG_UNIT_MIN, size), size);
    units.insert(Extent::whole(size));
    units.numbers().collect()
}

/// Logs that differ only in how their batches are numbered hash alike.
impl Hash for ActivityLog {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.durable, &self.wanted, &self.leaving).hash(state);
        self.writing.as_ref().map(|(_, adding)| adding).hash(state);
    }
}

impl ActivityLog {
    /// An empty log for a volume of `size` bytes.
    pub fn new(size: u64) -> Self {
        Self::from_numbers(size, [])
    }

    /// The log as it was found after a restart.
    pub fn from_numbers(size: u64, numbers: impl IntoIterator<Item = u32>) -> Self {
        let unit = RegionSize::at_least(LOG_UNIT_MIN, size);
        Self {
            durable: Regions::from_numbers(unit, size, numbers),
            writing: None,
            wanted: Regions::none(unit, size),
            leaving: Vec::new(),
            next: BatchId(1),
        }
    }

    /// Units that a crash would find.
    pub fn durable(&self) -> &Regions {
        &self.durable
    }

    /// Asks for the extent to be logged; `None` when it is durable already, else the batch to wait
    /// for.
    pub fn require(&mut self, extent: Extent) -> Option<BatchId> {
        let mut batch = None;
        for unit in self.durable.units_of(extent) {
            if self.durable.covers(unit) {
                continue;
            }
            let id = match &self.writing {
                Some((id, adding)) if adding.covers(unit) => *id,
                _ => {
                    self.wanted.insert(unit);
                    self.next
                }
            };
            batch = batch.max(Some(id));
        }
        batch
    }

    /// How many batches came after this one, the next one counted in.
    pub fn batches_since(&self, batch: BatchId) -> u64 {
        self.next.0.saturating_sub(batch.0)
    }

    /// Whether a batch waits and none is being written.
    pub fn has_batch(&self) -> bool {
        self.writing.is_none() && !(self.wanted.is_empty() && self.leaving.is_empty())
    }

    /// The next batch to make durable; at most one is under way.
    pub fn take_batch(&mut self) -> Option<Batch> {
        if !self.has_batch() {
            return None;
        }
        let id = self.next;
        self.next = BatchId(id.0 + 1);
        let adding = self.wanted.take();
        let batch = Batch {
            id,
            remove: std::mem::take(&mut self.leaving),
            add: adding.numbers().collect(),
        };
        self.writing = Some((id, adding));
        Some(batch)
    }

    /// The batch is durable.
    pub fn batch_durable(&mut self, id: BatchId) {
        if let Some((_, added)) = self.writing.take_if(|(writing, _)| *writing == id) {
            self.durable.insert_all(&added);
        }
    }

    /// The batch could not be written: its units are not logged, and asked for again by the next
    /// update. Those that were to leave may be found by a restart, which costs a resync.
    pub fn batch_failed(&mut self, id: BatchId) {
        self.writing.take_if(|(writing, _)| *writing == id);
    }

    /// Lets every durable unit go that `keep` does not accept; the next batch removes them.
    pub fn retain(&mut self, keep: impl FnMut(Extent) -> bool) {
        let dropped = self.durable.retain(keep);
        self.leaving.extend(dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 16 * LOG_UNIT_MIN;

    fn unit(n: u64) -> Extent {
        Extent::between(n * LOG_UNIT_MIN, n * LOG_UNIT_MIN + 1)
    }

    #[test]
    fn an_extent_is_durable_only_after_its_own_batch() {
        let mut log = ActivityLog::new(SIZE);
        let first = log.require(unit(0)).expect("nothing is logged yet");
        let batch = log.take_batch().expect("the first batch");
        assert_eq!((batch.id, batch.add.as_slice()), (first, &[0][..]));
        let second = log.require(unit(1)).expect("not in the batch under way");
        assert!(second > first);
        assert_eq!(log.require(unit(0)), Some(first), "it waits for the batch under way");
        assert_eq!(log.take_batch(), None, "one batch at a time");
        log.batch_durable(first);
        assert_eq!(log.require(unit(0)), None);
        assert_eq!(log.require(unit(1)), Some(second));
    }

    #[test]
    fn a_unit_that_left_has_to_be_logged_again_and_the_record_keeps_that_order() {
        let mut log = ActivityLog::from_numbers(SIZE, [3]);
        log.retain(|_| false);
        assert!(log.durable().is_empty());
        assert!(log.require(unit(3)).is_some());
        let batch = log.take_batch().expect("a removal and an addition");
        assert_eq!((batch.remove.as_slice(), batch.add.as_slice()), (&[3][..], &[3][..]));
        log.batch_durable(batch.id);
        assert_eq!(log.require(unit(3)), None);
    }

    #[test]
    fn a_unit_dropped_while_another_batch_is_written_stays_dropped() {
        let mut log = ActivityLog::from_numbers(SIZE, [3]);
        let id = log.require(unit(4)).expect("new");
        log.take_batch().expect("a batch");
        log.retain(|_| false);
        log.batch_durable(id);
        assert!(log.durable().covers(unit(4)));
        assert!(!log.durable().covers(unit(3)));
    }
}

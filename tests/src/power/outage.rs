//! Every moment at which power may go, and what a disk holds then.
//!
//! A disk has to hold what was completed before a flush that it has completed. Of what came later it
//! may hold anything: nothing, or any part, for a cache writes back in any order.

use std::path::Path;

use anyhow::Result;

use super::disk::Disk;
use super::log::{Entry, WriteLog};

/// What is left of the writes between the last flush and the outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Lost,
    /// About half of them, chosen by this seed.
    Torn(u64),
    /// A fault, to see whether it is found: nothing, and no flush between the last two marks has done
    /// its work either.
    FlushIgnored,
}

/// A loss of power right after an entry that made something durable.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    /// The entry's place in the log.
    pub at: usize,
    /// The marks before it, oldest first.
    pub marks: Vec<String>,
}

impl Outage {
    /// All of them after the mark `from`.
    pub(super) fn all(log: &WriteLog, from: &str) -> Vec<Self> {
        let first = log.mark(from).unwrap_or(log.entries.len());
        let mut marks = Vec::new();
        let mut outages = Vec::new();
        for (at, entry) in log.entries.iter().enumerate() {
            marks.extend(entry.mark.clone());
            if at >= first && is_durable(entry) {
                outages.push(Self { at, marks: marks.clone() });
            }
        }
        outages
    }

    /// Whether the mark was set before.
    pub(super) fn after(&self, mark: &str) -> bool {
        self.marks.iter().any(|other| other == mark)
    }

    /// The highest number N of the marks `NAME-N`.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        let numbers =
            self.marks.iter().filter_map(|mark| mark.strip_prefix(name)?.strip_prefix('-'));
        numbers.filter_map(|number| number.parse().ok()).max()
    }
}

/// Plays a log forward, from outage to outage.
pub(super) struct Replay<'a> {
    log: &'a WriteLog,
    disk: Disk,
    done: usize,
}

impl<'a> Replay<'a> {
    /// From a disk of zeroes on, which is kept at `path`.
    ///
    /// # Errors
    /// When there is no room.
    pub(super) fn new(log: &'a WriteLog, path: &Path, size: u64) -> Result<Self> {
        Ok(Self { log, disk: Disk::zeroed(path, size)?, done: 0 })
    }

    /// The disk after an outage, at `path`. Outages have to come in their order.
    ///
    /// # Errors
    /// When the disk or the log fails.
    pub(super) fn after(&mut self, outage: &Outage, tail: Tail, path: &Path) -> Result<Disk> {
        let durable = match tail {
            Tail::FlushIgnored => self.without_flushes(outage.at),
            Tail::Lost | Tail::Torn(_) => outage.at + 1,
        };
        for entry in &self.log.entries[self.done..durable.max(self.done)] {
            self.disk.apply(self.log, entry)?;
        }
        self.done = self.done.max(durable);
        let disk = self.disk.copy(path)?;
        if let Tail::Torn(seed) = tail {
            let mut dice = Dice(seed ^ outage.at as u64);
            for entry in self.unflushed(outage.at).filter(|_| dice.next()) {
                disk.apply(self.log, entry)?;
            }
        }
        Ok(disk)
    }

    /// What was written after the entry and before anything else became durable.
    fn unflushed(&self, at: usize) -> impl Iterator<Item = &'a Entry> {
        self.log.entries[at + 1..].iter().take_while(|entry| !is_durable(entry))
    }

    /// How far the log is to be played without the flushes that the last mark before `at` relies on.
    fn without_flushes(&self, at: usize) -> usize {
        let last =
            |end: usize, is: fn(&Entry) -> bool| self.log.entries[..end].iter().rposition(is);
        let mark = last(at, |entry| entry.mark.is_some()).unwrap_or(0);
        let before = last(mark, |entry| entry.mark.is_some()).unwrap_or(0);
        last(before, is_durable).map_or(0, |flush| flush + 1)
    }
}

fn is_durable(entry: &Entry) -> bool {
    entry.flush || entry.fua
}

/// Bits of splitmix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::lay_out;
    use super::*;

    const FLUSH: u64 = 1;
    const MARK: u64 = 8;

    fn write(sector: u64, byte: &[u8; 512]) -> ([u64; 3], &[u8]) {
        ([sector, 1, 0], byte)
    }

    /// First bytes of three sectors: 1 is flushed before the mark, 2 and 3 are written after it.
    fn left(tail: Tail, outage: usize) -> [u8; 3] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (flush, mark) = (([0, 0, FLUSH], &[][..]), ([0, 0, MARK], &b"fsynced-1"[..]));
        let before = [flush, write(0, &[1; 512]), flush, mark, flush];
        let after = [write(1, &[2; 512]), write(2, &[3; 512]), flush];
        lay_out(&path, &[&before[..], &after].concat());
        let log = WriteLog::open(&path).unwrap();
        let outages = Outage::all(&log, "fsynced-1");
        assert_eq!(outages.iter().map(|outage| outage.at).collect::<Vec<_>>(), [4, 7]);
        assert_eq!(outages[outage].number("fsynced"), Some(1));
        let mut replay = Replay::new(&log, &folder.path().join("disk"), 3 * 512).unwrap();
        let disk = replay.after(&outages[outage], tail, &folder.path().join("left")).unwrap();
        let bytes = std::fs::read(disk.path()).unwrap();
        [0, 512, 1024].map(|at| bytes[at])
    }

    #[test]
    fn what_was_flushed_is_left_and_of_the_rest_anything_may_be() {
        assert_eq!(left(Tail::Lost, 0), [1, 0, 0]);
        assert_eq!(left(Tail::Lost, 1), [1, 2, 3]);
        let torn: std::collections::BTreeSet<_> =
            (0..40).map(|seed| left(Tail::Torn(seed), 0)).collect();
        assert_eq!(
            torn.into_iter().collect::<Vec<_>>(),
            [[1, 0, 0], [1, 0, 3], [1, 2, 0], [1, 2, 3]]
        );
    }

    #[test]
    fn flushes_that_do_nothing_take_what_the_last_mark_relies_on() {
        assert_eq!(left(Tail::FlushIgnored, 0), [0, 0, 0]);
    }
}

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
    /// A fault, to see whether it is found: the last flush has not done its work either.
    FlushIgnored,
}

/// A loss of power right after an entry that made something durable.
#[derive(Clone, Debug)]
pub struct Outage {
    /// The entry's place in the log.
    pub at: usize,
    /// The marks before it, oldest first.
    pub marks: Vec<String>,
}

impl Outage {
    /// All of them after the mark `from`, or all of the log.
    pub fn all(log: &WriteLog, from: Option<&str>) -> Vec<Self> {
        let first = from.and_then(|mark| log.mark(mark)).unwrap_or(0);
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
    pub fn after(&self, mark: &str) -> bool {
        self.marks.iter().any(|other| other == mark)
    }

    /// The highest number N of the marks `NAME-N`.
    pub fn number(&self, name: &str) -> Option<u64> {
        let numbers =
            self.marks.iter().filter_map(|mark| mark.strip_prefix(name)?.strip_prefix('-'));
        numbers.filter_map(|number| number.parse().ok()).max()
    }
}

/// Plays a log forward, from outage to outage.
pub struct Replay<'a> {
    log: &'a WriteLog,
    disk: Disk,
    done: usize,
}

impl<'a> Replay<'a> {
    /// From a disk of zeroes on, which is kept at `path`.
    ///
    /// # Errors
    /// When there is no room.
    pub fn new(log: &'a WriteLog, path: &Path, size: u64) -> Result<Self> {
        Ok(Self { log, disk: Disk::zeroed(path, size)?, done: 0 })
    }

    /// The disk after an outage, at `path`. Outages have to come in their order.
    ///
    /// # Errors
    /// When the disk or the log fails.
    pub fn after(&mut self, outage: &Outage, tail: Tail, path: &Path) -> Result<Disk> {
        let durable = match tail {
            Tail::FlushIgnored => self.end_of_flush_before(outage.at),
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

    fn end_of_flush_before(&self, at: usize) -> usize {
        self.log.entries[..at].iter().rposition(is_durable).map_or(0, |before| before + 1)
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

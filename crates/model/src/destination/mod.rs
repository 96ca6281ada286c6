//! The destination program: what a crash leaves of it, and one run of it around the real machine.
//!
//! As at the source, a crash and the start that follows are one step.

mod calls;
mod copy;

use blockferry_block::BootId;
use blockferry_migration::Faults;
use blockferry_migration::destination::Destination;
use blockferry_migration::digest::Frontier;

use crate::disk::Disk;
use crate::place::{Content, SIZE, START, VOID, stream_at_start};
use crate::wire::{PathGeneration, Stage};
use crate::world::World;

/// Attaches that one run of the destination answers at most, so that epochs of two never meet.
const EPOCHS: u64 = 64;

/// The destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DestinationSide {
    /// Its disk.
    pub disk: Disk,
    /// Its journal.
    pub journal: DestinationJournal,
    /// The present run's identity.
    pub boot: BootId,
    /// The decisions.
    pub machine: Destination,
    /// An attach that waits until nothing older executes, and whether its asker waits for it.
    pub attaching: Option<bool>,
}

/// What its records say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DestinationJournal {
    /// `W_durable` in bytes.
    pub durable: u64,
    /// The stream's digest state there.
    pub stream: Frontier,
    /// First generation of each session that may execute.
    pub fences: [PathGeneration; 3],
}

impl DestinationSide {
    /// A destination that was just created for the migration.
    pub fn new(faults: Faults) -> Self {
        let (durable, stream, fences) = (START, stream_at_start(), [0; 3]);
        let journal = DestinationJournal { durable, stream, fences };
        let (disk, boot) = (Disk::filled(VOID), BootId(EPOCHS));
        let machine = machine(&journal, boot, faults);
        Self { disk, journal, boot, machine, attaching: None }
    }
}

fn machine(journal: &DestinationJournal, boot: BootId, faults: Faults) -> Destination {
    let DestinationJournal { durable, stream, .. } = journal;
    Destination::new(SIZE, boot, *durable, stream.clone(), SIZE).with_faults(faults)
}

impl World {
    /// The destination dies and is started again. This is left on its disk; when nothing is told, its
    /// disk's cache still has everything. Its connections are gone, and so is what was under way in
    /// them, unless it just ended.
    pub(crate) fn restart_destination(&mut self, left: Option<Content>) {
        if let Some(left) = left {
            self.destination.disk.lose_power(left);
        }
        let links = self.source.lanes.iter_mut().filter_map(|lane| lane.link.as_mut());
        links.for_each(|link| link.up = false);
        self.wire.mirrors.retain(|call| call.live);
        self.wire.mirrors.iter_mut().for_each(|call| call.stage = Stage::Lost);
        for controller in 0..self.scope.controllers {
            self.disconnect(controller);
        }
        self.wire.copies.clear();
        let DestinationSide { journal, boot, .. } = &self.destination;
        let boot = BootId(boot.0 + EPOCHS);
        self.destination.machine = machine(journal, boot, self.scope.machine_faults());
        self.destination.boot = boot;
        self.destination.attaching = None;
    }

    /// Writes that are being executed end, and nobody learns of it before the destination dies.
    pub(crate) fn end_unanswered(&mut self) {
        let mirrors = self.wire.mirrors.iter().map(|call| (call.stage, call.span, call.content));
        let copies = self.wire.copies.iter().map(|call| (call.stage, call.span, call.content));
        for (stage, span, content) in mirrors.chain(copies) {
            if let Stage::Running(through) = stage {
                self.destination.disk.write(span, &content);
                if through {
                    self.destination.disk.flush(span);
                }
            }
        }
    }
}

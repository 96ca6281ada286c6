//! The destination program: what a crash leaves of it, and one run of it around the real machine.
//!
//! As at the source, a crash and the start that follows are one step.

mod calls;
mod copy;
mod owner;

use blockferry_block::{Attempt, BootId};
use blockferry_migration::Faults;
use blockferry_migration::destination::Destination;
use blockferry_migration::digest::Frontier;

use crate::controller::Controller;
use crate::disk::Disk;
use crate::mutant::Mutant;
use crate::path::Host;
use crate::place::{Content, SIZE, START, VOID, stream_at_start};
use crate::wire::{Fences, SESSIONS, Stage};
use crate::world::World;

/// Attaches that one run of the destination answers at most, so that epochs of two never meet.
pub const EPOCHS: u64 = 64;

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
    /// A promise to be ready that is being made durable.
    pub readying: Option<Readying>,
}

/// A promise to be ready that is being made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Readying {
    /// The attempt.
    pub attempt: u64,
    /// The epoch in which it was asked for.
    pub epoch: u64,
    /// Who asked and waits.
    pub controller: Option<u8>,
}

/// What its records say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DestinationJournal {
    /// `W_durable` in bytes.
    pub durable: u64,
    /// The stream's digest state there.
    pub stream: Frontier,
    /// First generation of each session that may execute here.
    pub fences: Fences,
    /// The highest controller's term.
    pub term: u8,
    /// Attempts that it has promised to be ready for; the last counts.
    pub ready: Vec<u64>,
    /// Whether it owns the volume.
    pub owned: bool,
}

impl DestinationSide {
    /// A destination that was just created for the migration.
    pub fn new(faults: Faults, boot: BootId) -> Self {
        let journal = DestinationJournal {
            durable: START,
            stream: stream_at_start(),
            fences: [0; SESSIONS],
            term: 0,
            ready: Vec::new(),
            owned: false,
        };
        let disk = Disk::filled(VOID);
        let machine = machine(&journal, boot, faults);
        Self { disk, journal, boot, machine, attaching: None, readying: None }
    }
}

fn machine(journal: &DestinationJournal, boot: BootId, faults: Faults) -> Destination {
    let DestinationJournal { durable, stream, ready, .. } = journal;
    let machine = Destination::new(SIZE, boot, *durable, stream.clone(), SIZE).with_faults(faults);
    match ready.last() {
        Some(attempt) => machine.with_ready(Attempt(*attempt)),
        None => machine,
    }
}

impl World {
    /// The destination dies and is started again. This is left on its disk; when nothing is told, its
    /// disk's cache still has everything. Its connections are gone, and so is what was under way in
    /// them, unless it just ended.
    pub(crate) fn restart_destination(&mut self, left: Option<Content>) {
        if let Some(left) = left {
            self.destination.disk.lose_power(left);
            if self.source.journal.committed {
                self.registers_lost_power(left);
            }
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
        self.destination.readying = None;
        if self.breaks(Mutant::TermVolatile) {
            self.destination.journal.term = 0;
        }
        if self.breaks(Mutant::FenceVolatile) {
            self.destination.journal.fences = [0; SESSIONS];
        }
        let proven =
            !self.destination.journal.ready.is_empty() && self.breaks(Mutant::OwnedByPromise);
        if proven && !self.destination.journal.owned {
            self.own();
        }
        self.controllers.iter_mut().for_each(Controller::forget);
        self.host_lost(Host::Destination);
    }

    /// What is being executed, or is about to be, is, and nobody learns of it before the destination
    /// dies.
    pub(crate) fn end_unanswered(&mut self) {
        let mirrors = self.wire.mirrors.iter().map(|call| (call.stage, call.span, call.content));
        let copies = self.wire.copies.iter().map(|call| (call.stage, call.span, call.content));
        for (stage, span, content) in mirrors.chain(copies) {
            if matches!(stage, Stage::Running(_)) {
                self.destination.disk.write(span, &content);
            }
        }
        if self.destination.journal.owned {
            let calls = self.wire.calls.clone();
            for call in calls.iter().filter(|call| call.to == Host::Destination) {
                self.arrives_at_destination(call);
            }
        }
    }
}

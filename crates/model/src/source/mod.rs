//! The source program: what a crash leaves of it, and one run of it around the real machine.
//!
//! A crash and the start that follows are one step. A program that is down and one that has been
//! started and has not been asked for anything yet are the same to everybody else.

mod attach;
mod claims;
mod commit;
mod ends;
mod lanes;
mod requests;
mod resync;
mod sessions;
mod steps;

use std::collections::BTreeSet;

use blockferry_block::BootId;
use blockferry_migration::activity::BatchId;
use blockferry_migration::source::{Attachment, ClaimId, PhaseName, Source};

use crate::disk::Disk;
use crate::mutant::Mutant;
use crate::operation::{Operation, Work};
use crate::path::Host;
use crate::place::{Content, INITIAL, SIZE, Span};
use crate::scope::Scope;
use crate::skip::Skip;
use crate::wire::{Fences, PathGeneration, SESSIONS, Sender};
use crate::world::World;

pub use attach::Checkpoint;
pub use lanes::{Lane, Link};
pub use sessions::Connection;

/// The source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceSide {
    /// Its disk.
    pub disk: Disk,
    /// Its journal.
    pub journal: SourceJournal,
    /// The present run's identity.
    pub boot: BootId,
    /// The decisions.
    pub machine: Source,
    /// What is being executed, in order of arrival.
    pub operations: Vec<Operation>,
    /// Connections of clients.
    pub connections: Vec<Connection>,
    /// The mirror lanes; the first is the source's own.
    pub lanes: Vec<Lane>,
    /// What the copiers wait for.
    pub claims: Vec<Claim>,
    /// The batch of the activity log that is being written.
    pub batch: Option<LogBatch>,
    /// The checkpoint under way.
    pub checkpoint: Option<Checkpoint>,
    /// Whether the record that the migration has ended is being written.
    pub aborting: bool,
    /// The run of the destination that it is attached to.
    pub destination_boot: BootId,
}

/// What its records say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourceJournal {
    /// Whether it migrates the volume away.
    pub sending: bool,
    /// The activity log: units of which the sides may differ after a crash.
    pub log: BTreeSet<u32>,
    /// The highest controller's term.
    pub term: u8,
    /// The last attempt to commit.
    pub attempt: u64,
    /// Whether the commit record is durable.
    pub committed: bool,
    /// First generation of each session that may execute here.
    pub fences: Fences,
}

/// A claim of a copier.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The controller.
    pub controller: u8,
    /// What it claims.
    pub span: Span,
    /// Its number.
    pub id: Skip<ClaimId>,
    /// Whether it may be read.
    pub granted: bool,
}

/// A batch of the activity log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogBatch {
    id: Skip<BatchId>,
    remove: Vec<u32>,
    add: Vec<u32>,
}

impl SourceSide {
    /// A source that owns the volume and has just been started for the first time.
    pub fn new(scope: Scope) -> Self {
        let journal = SourceJournal {
            sending: false,
            log: BTreeSet::new(),
            term: 0,
            attempt: 0,
            committed: false,
            fences: [0; SESSIONS],
        };
        let machine = Source::new(SIZE, scope.machine_faults());
        Self::started(scope, Disk::filled(INITIAL), journal, BootId(0), machine)
    }

    fn started(
        scope: Scope,
        disk: Disk,
        journal: SourceJournal,
        boot: BootId,
        machine: Source,
    ) -> Self {
        // Sessions of clients that are connected here have never been before.
        let first = PathGeneration::try_from(boot.0 * 64).unwrap_or(PathGeneration::MAX);
        let direct = if scope.switch { 0 } else { scope.clients };
        let lanes = (0..direct).map(|client| Lane::of(client + 1, first));
        Self {
            disk,
            journal,
            boot,
            machine,
            operations: Vec::new(),
            connections: Vec::new(),
            lanes: std::iter::once(Lane::own(first)).chain(lanes).collect(),
            claims: Vec::new(),
            batch: None,
            checkpoint: None,
            aborting: false,
            destination_boot: BootId(0),
        }
    }

    /// The epoch in which the source is attached.
    pub fn epoch(&self) -> Option<u64> {
        match self.machine.sweep()?.attachment() {
            Attachment::Attached { epoch } => Some(epoch),
            Attachment::Detached => None,
        }
    }

    /// Whether a part of the extent is dirty.
    pub fn is_dirty(&self, span: Span) -> bool {
        self.machine.sweep().is_some_and(|sweep| sweep.is_dirty(span.extent()))
    }

    /// Whether something changes the extent, here or at the destination.
    pub fn is_changing(&self, block: usize) -> bool {
        self.operations.iter().any(|operation| operation.is_changing(block))
    }

    fn is_migrating(&self) -> bool {
        matches!(self.machine.phase(), PhaseName::Sweeping | PhaseName::Settling)
    }
}

impl World {
    /// The source dies and is started again. This is left on its disk; when nothing is told, its
    /// disk's cache still has everything.
    pub(crate) fn restart_source(&mut self, left: Option<Content>) {
        if let Some(left) = left {
            self.source.disk.lose_power(left);
            if !self.source.journal.committed {
                self.registers_lost_power(left);
            }
        }
        for controller in 0..self.scope.controllers {
            self.disconnect(controller);
        }
        self.wire.mirrors.iter_mut().for_each(|call| call.live = false);
        let mine = self.wire.calls.iter_mut().filter(|call| call.by == Sender::Source);
        mine.for_each(|call| call.way.live = false);
        self.destination.attaching.iter_mut().for_each(|live| *live = false);
        self.clients.iter_mut().for_each(|client| client.sent = false);
        let mut journal = self.source.journal.clone();
        if self.breaks(Mutant::TermVolatile) {
            journal.term = 0;
        }
        let machine = self.machine_of(&journal);
        let (disk, boot) = (self.source.disk.clone(), BootId(self.source.boot.0 + 1));
        self.source = SourceSide::started(*self.scope, disk, journal, boot, machine);
        self.host_lost(Host::Source);
    }

    /// What the journal says goes on.
    fn machine_of(&self, journal: &SourceJournal) -> Source {
        let faults = self.scope.machine_faults();
        if journal.committed {
            return Source::forwarding(SIZE);
        }
        if !journal.sending {
            return Source::new(SIZE, faults);
        }
        let forgets = self.breaks(Mutant::DirtyVolatile);
        let log = journal.log.iter().copied().filter(|_| !forgets);
        Source::recovering(SIZE, log.collect::<Vec<_>>(), faults)
    }

    /// What is being written is, and nobody learns of it before the source dies.
    pub(crate) fn apply_unanswered(&mut self) {
        for operation in self.source.operations.iter().filter(|of| of.is_unapplied()) {
            if let Work::Request(request, _) = operation.work
                && request.is_update()
            {
                self.source.disk.write(request.span, &request.span.filled(request.value));
            }
        }
    }

    /// Everything that nobody can stop or delay happens.
    pub(crate) fn settle(&mut self) {
        self.watch();
        while self.step_operation()
            || self.step_claim()
            || self.take_log_batch()
            || self.step_forward()
            || self.step_paths()
        {}
    }

    fn take_log_batch(&mut self) -> bool {
        let Some(batch) = self.source.machine.take_log_batch() else { return false };
        self.source.batch =
            Some(LogBatch { id: Skip(batch.id), remove: batch.remove, add: batch.add });
        true
    }

    /// The batch of the activity log is durable.
    pub(crate) fn log_durable(&mut self) {
        let Some(batch) = self.source.batch.take() else { return };
        let log = &mut self.source.journal.log;
        log.retain(|unit| !batch.remove.contains(unit));
        log.extend(batch.add);
        self.source.machine.log_durable(*batch.id);
    }

    /// The batch could not be written.
    pub(crate) fn log_failed(&mut self) {
        let Some(batch) = self.source.batch.take() else { return };
        self.source.machine.log_failed(*batch.id);
    }
}

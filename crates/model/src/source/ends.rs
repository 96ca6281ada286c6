//! How a migration begins at the source, and how it ends without a commit.

use blockferry_block::BootId;

use crate::controller::Controller;
use crate::destination::{DestinationSide, EPOCHS};
use crate::mutant::Mutant;
use crate::wire::SESSIONS;
use crate::world::World;

impl World {
    /// The migration begins.
    pub(crate) fn begin(&mut self) {
        self.source.journal.sending = true;
        self.source.machine.begin();
        let forgets = self.breaks(Mutant::BeginForgets);
        self.source.operations.iter_mut().for_each(|operation| operation.forgotten = forgets);
    }

    /// The source is asked to end the migration. Until that is durable it goes on as its source, or
    /// its next run would take up a migration that has missed writes; but it commits no more.
    pub(crate) fn abort(&mut self) {
        let settled = self.source.machine.clone();
        let sends = settled.sweep().is_some();
        if !sends || self.source.machine.abort_begin().is_err() {
            return;
        }
        self.source.aborting = true;
        if self.breaks(Mutant::AbortedBeforeRecord) {
            self.source.machine.abort_durable();
        }
        if self.breaks(Mutant::CommitBesideAbort) {
            self.source.machine = settled;
        }
    }

    /// The record is durable: the source is nothing but the owner, and the destination is removed.
    pub(crate) fn aborted(&mut self) {
        self.source.aborting = false;
        self.source.journal.sending = false;
        self.source.journal.log.clear();
        self.source.journal.term = 0;
        self.source.journal.attempt = 0;
        self.source.machine.abort_durable();
        self.source.checkpoint = None;
        self.source.batch = None;
        self.close_lanes();
        (0..self.scope.controllers).for_each(|controller| self.disconnect(controller));
        self.controllers.iter_mut().for_each(Controller::forget);
        self.wire.mirrors.clear();
        self.wire.copies.clear();
        self.migration += 1;
        self.terms = [0; 2];
        self.confirmed = [0; SESSIONS];
        let boot = BootId(self.destination.boot.0 + EPOCHS);
        self.destination = DestinationSide::new(self.scope.machine_faults(), boot);
    }
}

//! The source's way from the end of the sweep to the change of owner.

use blockferry_block::{Attempt, BootId};
use blockferry_migration::source::PhaseName;

use crate::invariant::Invariant;
use crate::mutant::Mutant;
use crate::place::{BLOCKS, SIZE};
use crate::world::World;

impl World {
    /// Whether to settle would bring the commit nearer.
    pub(crate) fn may_settle(&self) -> bool {
        let machine = &self.source.machine;
        let Some(sweep) = machine.sweep() else { return false };
        match machine.phase() {
            _ if self.source.aborting => false,
            PhaseName::Sweeping => self.source.epoch().is_some() && sweep.reserved() == SIZE,
            PhaseName::Settling => machine.missing().is_none(),
            _ => false,
        }
    }

    /// Reads take locks from now on; the attempt, once nothing is missing for its commit.
    pub(crate) fn settle_attempt(&mut self) -> Option<(u64, u64)> {
        let source = &mut self.source;
        if source.machine.phase() != PhaseName::Settling {
            source.journal.attempt += 1;
        }
        let attempt = source.journal.attempt;
        source.machine.settle(Attempt(attempt)).ok()?;
        let epoch = source.epoch()?;
        source.machine.missing().is_none().then_some((attempt, epoch))
    }

    /// The source is asked to commit the attempt, for which this run of the destination is ready.
    pub(crate) fn commit(&mut self, attempt: u64, boot: BootId) {
        if self.source.destination_boot != boot {
            return;
        }
        let machine = &mut self.source.machine;
        if machine.commit_begin(Attempt(attempt)).is_err() {
            return machine.unsettle();
        }
        let there = &self.destination;
        let whole = there.journal.durable == SIZE && there.machine.reserved() == SIZE;
        let clean = machine.sweep().is_some_and(|sweep| sweep.dirty_bytes() == 0);
        let ready = there.journal.ready.contains(&attempt);
        self.broken.unless(whole && clean && ready, Invariant::I10);
        if self.breaks(Mutant::ForwardBeforeRecord) {
            self.source.machine.commit_durable();
        }
    }

    /// The commit record is durable: the point of no return.
    pub(crate) fn committed(&mut self) {
        self.source.journal.committed = true;
        self.source.machine.commit_durable();
        let (here, there) = (self.source.disk.now(), self.destination.disk.now());
        for block in 0..BLOCKS {
            let unanswered =
                self.unanswered().any(|of| of.request.is_update() && of.request.span.has(block));
            self.broken.unless(unanswered || here[block] == there[block], Invariant::I14);
        }
    }

    /// Whether the commit record is being written.
    pub(crate) fn is_committing(&self) -> bool {
        let committing = self.source.machine.phase() == PhaseName::Committing;
        let early = self.breaks(Mutant::ForwardBeforeRecord) && !self.source.journal.committed;
        committing || early && self.source.machine.phase() == PhaseName::Forwarding
    }
}

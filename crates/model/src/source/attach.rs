//! Attach, checkpoints, and the news of `W`: what the source asks the destination by itself.

use blockferry_migration::destination::Attached;
use blockferry_migration::digest::Digest;
use blockferry_migration::source::{Missing, PhaseName, Step};

use crate::place::{SIZE, Span};
use crate::wire::Late;
use crate::world::World;

/// A checkpoint that the source has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Checkpoint {
    /// The destination has read off the address and its digest, and flushes.
    Flushing(u64, Digest),
    /// Both have flushed and the destination has made the address durable.
    Durable(u64),
}

impl World {
    /// The source learns how far `W` is, and does so at once: news that come late only keep it from
    /// what it may as well do late.
    pub(super) fn watch(&mut self) {
        if self.is_common_epoch() {
            let there = &self.destination.machine;
            self.source.machine.reserved_grew(there.epoch(), there.reserved());
        }
    }

    /// Whether the source would attach now: it is detached, or sees that its epoch is over.
    pub(crate) fn may_attach(&self) -> bool {
        let unattached = self.source.is_migrating() && !self.is_common_epoch();
        unattached && self.destination.attaching.is_none()
    }

    /// The source goes on without the destination, and asks it to fence everything of before.
    pub(crate) fn attach(&mut self) {
        self.detach();
        self.attach_begins(self.source.boot, true);
    }

    /// The same, but the question takes so long that it is asked again.
    pub(crate) fn attach_late(&mut self) {
        self.detach();
        self.wire.late.push(Late::Attach(self.source.boot));
    }

    /// Nothing older executes any more at the destination, and `W` is where both go on.
    pub(crate) fn attached(&mut self, attached: Attached) {
        let Attached { epoch, reserved, stream } = attached;
        if self.source.machine.attached(epoch, reserved, stream) {
            self.source.destination_boot = self.destination.boot;
        }
    }

    fn detach(&mut self) {
        self.source.machine.detached();
        self.source.checkpoint = None;
    }

    /// Whether the source would make a checkpoint now.
    pub(crate) fn may_checkpoint(&self) -> bool {
        let Some(sweep) = self.source.machine.sweep() else { return false };
        let moved = sweep.reserved() > sweep.durable();
        let settling = self.source.machine.phase() == PhaseName::Settling && sweep.durable() < SIZE;
        let idle = self.source.is_migrating() && self.source.checkpoint.is_none();
        idle && self.is_common_epoch() && (moved || settling)
    }

    /// A checkpoint begins at both sides.
    pub(crate) fn checkpoint(&mut self) {
        let Some(epoch) = self.source.epoch() else { return };
        self.source.machine.checkpoint_begin();
        match self.destination.machine.checkpoint_begin(epoch) {
            Ok((address, digest)) => {
                self.source.checkpoint = Some(Checkpoint::Flushing(address, digest));
            }
            Err(_) => self.checkpoint_lost(),
        }
    }

    /// Both sides flush, and the destination makes the address durable; late, if the question takes
    /// so long that the source gives up.
    pub(crate) fn checkpoint_flushed(&mut self, late: bool) {
        let (Some(Checkpoint::Flushing(address, digest)), Some(epoch)) =
            (self.source.checkpoint, self.source.epoch())
        else {
            return;
        };
        if epoch != self.destination.machine.epoch() {
            return self.checkpoint_lost();
        }
        self.destination.disk.flush(Span::AB);
        if self.source.machine.checkpoint_agree(address, digest).is_err() {
            return self.checkpoint_lost();
        }
        self.source.disk.flush(Span::AB);
        if late {
            self.wire.late.push(Late::Finish(epoch, address));
            return self.checkpoint_lost();
        }
        match self.finish_checkpoint(epoch, address) {
            true => self.source.checkpoint = Some(Checkpoint::Durable(address)),
            false => self.checkpoint_lost(),
        }
    }

    /// The source learns that the checkpoint is made.
    pub(crate) fn checkpoint_done(&mut self) {
        if let Some(Checkpoint::Durable(address)) = self.source.checkpoint.take() {
            self.source.machine.checkpoint_done(address);
        }
    }

    /// Whether the controller would have both sides compared: nothing but their digests is missing.
    pub(crate) fn may_compare(&self) -> bool {
        self.source.machine.missing() == Some(Missing::Digest) && self.is_common_epoch()
    }

    /// Both sides are compared, under the lock of the in-flight record; not now, if something is
    /// under way.
    pub(crate) fn compare(&mut self) {
        self.source.machine.ask_comparison(true);
        let Some((id, extent)) = self.source.machine.next_compare(SIZE) else { return };
        let comparable = matches!(self.source.machine.step(id), Step::Apply { .. });
        let equal = self.source.disk.now() == self.destination.disk.now();
        self.source.machine.compare_done(id, extent, comparable.then_some(equal));
    }

    /// The source learns nothing of the checkpoint any more.
    pub(crate) fn checkpoint_lost(&mut self) {
        self.source.machine.checkpoint_failed();
        self.detach();
    }
}

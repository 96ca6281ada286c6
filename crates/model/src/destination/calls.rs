//! Mirror writes and control calls at the destination.

use blockferry_block::BootId;
use blockferry_migration::destination::Refusal;
use blockferry_migration::source::MirrorOutcome;

use crate::invariant::Invariant;
use crate::mutant::Mutant;
use crate::request::Verb;
use crate::wire::{Late, Stage};
use crate::world::World;

impl World {
    /// A mirror write arrives.
    pub(crate) fn mirror_arrives(&mut self, index: usize) {
        if self.destination.journal.owned {
            return self.mirror_after_all(index);
        }
        let call = &mut self.wire.mirrors[index];
        let (epoch, extent) = (call.epoch, call.span.extent());
        let machine = &mut self.destination.machine;
        let (valid, reserved) = (machine.epoch(), machine.reserved());
        let refusal = match machine.mirror_begin(epoch, extent) {
            Ok(()) => {
                call.stage = Stage::Running(machine.is_write_through());
                self.broken.unless(epoch == valid, Invariant::I12);
                self.broken.unless(extent.end() <= reserved, Invariant::I3);
                return;
            }
            Err(Refusal::AboveReserved { reserved }) => MirrorOutcome::Refused { epoch, reserved },
            Err(_) => MirrorOutcome::Failed,
        };
        let call = self.wire.mirrors.remove(index);
        self.mirror_answered(&call, refusal);
    }

    /// A mirror write arrives at the owner: mirroring is over.
    fn mirror_after_all(&mut self, index: usize) {
        let call = self.wire.mirrors.remove(index);
        if self.breaks(Mutant::OwnedWithMirrors) {
            self.destination.disk.write(call.span, &call.content);
            if call.request.is_some_and(|request| request.verb == Verb::WriteFua) {
                self.destination.disk.flush(call.span);
            }
            self.mirror_answered(&call, MirrorOutcome::Executed);
        } else {
            self.mirror_answered(&call, MirrorOutcome::Failed);
        }
    }

    /// A mirror write has been executed, or has failed and may have been applied. Who waits for it
    /// learns it at once: that an answer is lost is the same as that its connection was lost before.
    pub(crate) fn mirror_ends(&mut self, index: usize, ok: bool, applied: bool) {
        let call = self.wire.mirrors.remove(index);
        if applied {
            self.destination.disk.write(call.span, &call.content);
        }
        // Asked after the write: either the flush for Ready comes later, or this one counts.
        let through = match self.breaks(Mutant::ThroughByArrival) {
            true => call.stage == Stage::Running(true),
            false => self.destination.machine.is_write_through(),
        };
        if applied && ok && through {
            self.destination.disk.flush(call.span);
        }
        self.destination.machine.mirror_done();
        let outcome = if ok { MirrorOutcome::Executed } else { MirrorOutcome::Failed };
        self.mirror_answered(&call, outcome);
    }

    /// An attach arrives: from now on everything of before is fenced.
    pub(crate) fn attach_begins(&mut self, boot: BootId, live: bool) {
        self.destination.machine.attach_begin(boot);
        self.destination.attaching = Some(live);
        // Copiers learn it by a refusal of whatever they do next.
        (0..self.scope.controllers).for_each(|controller| self.disconnect(controller));
    }

    /// Nothing older executes any more; the asker learns it, if there still is one.
    pub(crate) fn attach_ends(&mut self) {
        let Ok(attached) = self.destination.machine.attach_finish() else { return };
        if self.destination.attaching.take() == Some(true) {
            self.attached(attached);
        }
    }

    /// Makes a checkpoint's address durable; false when it is none of the present epoch.
    pub(crate) fn finish_checkpoint(&mut self, epoch: u64, address: u64) -> bool {
        let machine = &mut self.destination.machine;
        let Ok(stream) = machine.checkpoint_state(epoch, address).cloned() else { return false };
        self.destination.journal.durable = address;
        self.destination.journal.stream = stream;
        machine.checkpoint_done(address);
        true
    }

    /// Whether a late call can arrive now: attaches exclude what makes an address durable.
    pub(crate) fn may_arrive_late(&self, call: &Late) -> bool {
        let there = &self.destination;
        match call {
            Late::Attach(_) | Late::Finish(..) => there.attaching.is_none(),
            Late::Ready(..) => there.readying.is_none(),
            Late::Commit(..) | Late::Abort(_) => true,
        }
    }

    /// A call arrives that its asker has given up.
    pub(crate) fn arrives_late(&mut self, index: usize) {
        match self.wire.late.remove(index) {
            Late::Attach(_) if self.destination.journal.owned => {}
            Late::Attach(boot) => self.attach_begins(boot, false),
            Late::Finish(epoch, address) => _ = self.finish_checkpoint(epoch, address),
            Late::Ready(voice, attempt, epoch) => {
                if self.destination_obeys(voice) {
                    self.ready_begins(attempt, epoch, None);
                }
            }
            Late::Commit(voice, attempt, boot) => {
                if self.source_obeys(voice) {
                    self.commit(attempt, boot);
                }
            }
            Late::Abort(voice) => {
                if self.source_obeys(voice) {
                    self.abort();
                }
            }
        }
    }
}

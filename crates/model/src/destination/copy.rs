//! The ordered copy at the destination.

use blockferry_migration::digest::Frontier;

use crate::invariant::Invariant;
use crate::mutant::Mutant;
use crate::place::push;
use crate::wire::{CopyCall, Stage};
use crate::world::World;

impl World {
    /// Whether the copy write can arrive now: those of one connection arrive in order, and are
    /// executed one after the other.
    pub(crate) fn may_arrive(&self, call: &CopyCall) -> bool {
        let earlier = |other: &CopyCall| {
            let same = other.controller == call.controller && other.live == call.live;
            same && other.span < call.span
        };
        let unread = self.source.claims.iter().any(|claim| {
            call.live && claim.controller == call.controller && claim.span < call.span
        });
        let calls = &self.wire.copies;
        let busy = calls.iter().any(|other| matches!(other.stage, Stage::Running(_)));
        call.stage == Stage::Sent && !busy && !unread && !calls.iter().any(earlier)
    }

    /// A copy write arrives.
    pub(crate) fn copy_arrives(&mut self, index: usize) {
        let early = self.breaks(Mutant::EarlyAdvance);
        let call = self.wire.copies[index].clone();
        let machine = &mut self.destination.machine;
        let (valid, before) = (machine.epoch(), machine.reserved());
        let epoch = if self.scope.breaks(Mutant::AddressOnly) { valid } else { call.epoch };
        if machine.copy_begin(epoch, call.span.extent()).is_err() {
            self.wire.copies.remove(index);
            if call.live {
                self.disconnect(call.controller);
            }
            return;
        }
        let current = call.epoch == valid && call.voice.term >= self.terms[1];
        self.broken.unless(current, Invariant::I12);
        self.broken.unless(call.span.extent().start() == before, Invariant::I2);
        self.wire.copies[index].stage = Stage::Running(false);
        if early {
            self.advance(&call);
        }
    }

    /// The copy write has been executed.
    pub(crate) fn copy_done(&mut self, index: usize) {
        let call = self.wire.copies.remove(index);
        self.destination.disk.write(call.span, &call.content);
        self.count_copied(call.span);
        if !self.breaks(Mutant::EarlyAdvance) {
            self.advance(&call);
        }
    }

    fn advance(&mut self, call: &CopyCall) {
        let machine = &mut self.destination.machine;
        let before = machine.reserved();
        let mut stream: Frontier = machine.stream().clone();
        push(&mut stream, call.span);
        machine.copy_done(Some(stream));
        let grown = machine.reserved() == before + call.span.extent().len();
        self.broken.unless(grown, Invariant::I2);
    }

    /// The copy write fails; it may have been executed.
    pub(crate) fn copy_failed(&mut self, index: usize, applied: bool) {
        let call = self.wire.copies.remove(index);
        if applied {
            self.destination.disk.write(call.span, &call.content);
        }
        self.destination.machine.copy_done(None);
        if call.live {
            self.disconnect(call.controller);
        }
    }
}

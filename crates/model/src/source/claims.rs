//! Claims: what the copier asks for, and what it is given.

use blockferry_migration::source::ClaimStep;

use super::Claim;
use crate::invariant::Invariant;
use crate::mutant::Mutant;
use crate::place::{BLOCKS, Content, Span, VOID, ZEROES, noted};
use crate::skip::Skip;
use crate::wire::{CopyCall, Stage, Voice};
use crate::world::World;

impl World {
    /// Whether the controller would claim its next extent now, perhaps on new connections.
    pub(crate) fn may_claim(&self, controller: u8) -> bool {
        let driver = &self.controllers[usize::from(controller)];
        let left = self.destination.machine.reserved() < Span::AB.extent().end();
        match driver.epoch {
            Some(_) => usize::from(driver.next) < BLOCKS,
            None => left && self.is_common_epoch() && self.may_connect(driver.voice),
        }
    }

    /// Whether both sides take copy connections of this controller, and those of older terms have
    /// ended at the destination.
    fn may_connect(&self, voice: Voice) -> bool {
        let mut copies = self.wire.copies.iter();
        let older = copies
            .any(|call| call.voice.term < voice.term && matches!(call.stage, Stage::Running(_)));
        !older && self.source_would_obey(voice) && self.destination_would_obey(voice)
    }

    /// The controller claims the next extent; on new connections it goes on at `W`.
    pub(crate) fn claim(&mut self, controller: u8) {
        let at = usize::from(controller);
        if self.controllers[at].epoch.is_none() {
            let reserved = self.destination.machine.reserved();
            let is_copied = |block: &usize| Span::block(*block).extent().end() <= reserved;
            self.controllers[at].next = (0..BLOCKS).filter(is_copied).count() as u8;
            self.controllers[at].epoch = self.source.epoch();
            let voice = self.controllers[at].voice;
            _ = self.source_obeys(voice) && self.destination_obeys(voice);
        }
        let driver = &mut self.controllers[at];
        let Some(epoch) = driver.epoch else { return };
        let span = Span::block(usize::from(driver.next));
        let extent = span.extent();
        match self.source.machine.claim(epoch, extent, extent.len()) {
            Ok(id) => {
                driver.next += 1;
                let claim = Claim { controller, span, id: Skip(id), granted: false };
                self.source.claims.push(claim);
            }
            Err(_) => self.disconnect(controller),
        }
    }

    /// One claim that waits asks again.
    pub(super) fn step_claim(&mut self) -> bool {
        let overlooks = self.breaks(Mutant::BeginForgets);
        for index in 0..self.source.claims.len() {
            let claim = &self.source.claims[index];
            if claim.granted {
                continue;
            }
            let (controller, id) = (claim.controller, *claim.id);
            let mut known = self.source.operations.iter().filter(|of| !of.forgotten);
            let waits = claim.span.blocks().any(|block| known.any(|of| of.is_local_only(block)));
            match self.source.machine.claim_step(id) {
                ClaimStep::Wait if overlooks && !waits => self.source.machine.drop_claim(id),
                ClaimStep::Wait => continue,
                ClaimStep::Read => {}
                ClaimStep::Refused(_) => {
                    self.disconnect(controller);
                    return true;
                }
            }
            self.source.claims[index].granted = true;
            return true;
        }
        false
    }

    /// A claimed extent is read, and sent on to the destination.
    pub(crate) fn read_claimed(&mut self, index: usize) {
        let Claim { controller, span, .. } = self.source.claims.remove(index);
        let mut content = span.filled(ZEROES);
        for block in span.blocks() {
            content[block] = self.source.disk.now()[block];
            if block == 1 && self.breaks(Mutant::ShortEndSkipped) {
                content[block] = ZEROES;
            }
            let local = self.source.operations.iter().any(|of| of.is_local_only(block));
            // Once the commit has begun, what a late copier reads is refused at the destination.
            let harmless = self.source.is_dirty(Span::block(block)) || !self.source.is_migrating();
            self.broken.unless(!local || harmless, Invariant::I5);
        }
        self.source.machine.note_copied(noted(span));
        self.send_copy(controller, span, content);
    }

    /// A claimed extent cannot be read.
    pub(crate) fn read_failed(&mut self, index: usize) {
        let Claim { controller, span, .. } = self.source.claims.remove(index);
        if self.breaks(Mutant::ReadErrorIgnored) {
            self.send_copy(controller, span, span.filled(VOID));
        } else {
            self.disconnect(controller);
        }
    }

    fn send_copy(&mut self, controller: u8, span: Span, content: Content) {
        let driver = &self.controllers[usize::from(controller)];
        let Some(epoch) = driver.epoch else { return };
        let (voice, stage, live) = (driver.voice, Stage::Sent, true);
        self.wire.copies.push(CopyCall { controller, voice, epoch, span, content, stage, live });
    }

    /// A controller dies, or its connections break; what it has sent may still arrive.
    pub(crate) fn disconnect(&mut self, controller: u8) {
        self.controllers[usize::from(controller)].disconnect();
        let mine = |claim: &mut Claim| claim.controller == controller;
        for claim in self.source.claims.extract_if(.., mine) {
            self.source.machine.drop_claim(*claim.id);
        }
        let mine = self.wire.copies.iter_mut().filter(|call| call.controller == controller);
        mine.for_each(|call| call.live = false);
    }
}

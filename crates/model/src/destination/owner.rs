//! The destination's way to the ownership, and clients' requests at it afterwards.
//!
//! It executes a request in one step: what is under way at an owner that does not migrate is of no
//! interest here.

use blockferry_block::Attempt;
use blockferry_migration::destination::Phase;

use super::Readying;
use crate::invariant::Invariant;
use crate::mutant::Mutant;
use crate::place::{Content, Span};
use crate::request::{Request, Verb};
use crate::wire::{Call, PathGeneration, Sender, Session, Stage, link_of};
use crate::world::World;

impl World {
    /// The destination is asked to be ready: it writes through from now on, and flushes.
    pub(crate) fn ready_begins(
        &mut self,
        attempt: u64,
        epoch: u64,
        controller: Option<u8>,
    ) -> bool {
        let there = &mut self.destination;
        let begun = !there.journal.owned && there.machine.ready_begin(epoch).is_ok();
        if begun {
            there.readying = Some(Readying { attempt, epoch, controller });
        }
        begun
    }

    /// It has flushed, and the promise is durable; the controller learns it.
    pub(crate) fn ready_ends(&mut self) {
        let Some(Readying { attempt, epoch, controller }) = self.destination.readying.take() else {
            return;
        };
        if !self.breaks(Mutant::ReadyWithoutFlush) {
            self.destination.disk.flush(Span::AB);
        }
        if self.destination.journal.ready.last() != Some(&attempt) {
            self.destination.journal.ready.push(attempt);
        }
        let valid = self.destination.machine.ready_durable(epoch, Attempt(attempt)).is_ok();
        let Some(controller) = controller else { return };
        let of = &mut self.controllers[usize::from(controller)];
        if of.settled != Some((attempt, epoch)) {
            return; // it has been replaced meanwhile
        }
        if valid {
            of.ready = Some((attempt, self.destination.boot));
        } else {
            of.forget();
        }
    }

    /// Whether the destination can become owner now: it has promised to be ready, and nothing is
    /// mirrored any more.
    pub(crate) fn may_own(&self) -> bool {
        let there = &self.destination;
        let by_phase = self.breaks(Mutant::OwnedByPhase);
        let promised = match by_phase {
            true => matches!(there.machine.phase(), Phase::Ready(_)),
            false => there.machine.promised().is_some(),
        };
        let idle = there.machine.is_idle() || self.breaks(Mutant::OwnedWithMirrors);
        promised && there.attaching.is_none() && !there.journal.owned && idle
    }

    /// The ownership is durable.
    pub(crate) fn own(&mut self) {
        self.destination.journal.owned = true;
        self.broken.unless(self.source.journal.committed, Invariant::I1);
    }

    /// Whether a connection of this generation can be opened at the destination.
    pub(crate) fn destination_accepts(&self, session: Session, generation: PathGeneration) -> bool {
        generation >= self.destination.journal.fences[usize::from(session)]
    }

    /// Whether nothing older of the session executes at the destination any more.
    pub(crate) fn destination_can_fence(
        &self,
        session: Session,
        generation: PathGeneration,
    ) -> bool {
        !self.wire.mirrors.iter().any(|call| {
            let older = call.session == session && call.generation < generation;
            older && matches!(call.stage, Stage::Running(_))
        })
    }

    /// The destination has fenced the session, durably.
    pub(crate) fn destination_fences(&mut self, session: Session, generation: PathGeneration) {
        let fence = &mut self.destination.journal.fences[usize::from(session)];
        *fence = (*fence).max(generation);
        let confirmed = &mut self.confirmed[usize::from(session)];
        *confirmed = (*confirmed).max(generation);
    }

    /// A client's request arrives at the destination, forwarded or not. `None` when it is refused.
    pub(crate) fn arrives_at_destination(&mut self, call: &Call) -> Option<Content> {
        // The source forwards only after its commit record (D1.5).
        if call.by == Sender::Source && self.may_own() {
            self.own();
        }
        let accepted = self.destination_accepts(call.session, call.generation);
        if !self.destination.journal.owned || !accepted {
            return None;
        }
        let fenced = self.confirmed[usize::from(call.session)] > call.generation;
        self.broken.unless(!fenced, Invariant::I12);
        self.broken.unless(self.source.journal.committed, Invariant::I1);
        self.check_replay(call.request, call.session, link_of(call.generation));
        Some(self.execute(call.request))
    }

    fn execute(&mut self, request: Request) -> Content {
        let disk = &mut self.destination.disk;
        match request.verb {
            Verb::Read => {}
            Verb::Flush => disk.flush(Span::AB),
            Verb::Write | Verb::Trim => {
                disk.write(request.span, &request.span.filled(request.value));
            }
            Verb::WriteFua => {
                disk.write(request.span, &request.span.filled(request.value));
                disk.flush(request.span);
            }
        }
        disk.now()
    }
}

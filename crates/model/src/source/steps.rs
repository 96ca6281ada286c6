//! What the machine decides for an operation, carried out.

use blockferry_migration::source::{Answer, MirrorOutcome, PhaseName, Step};

use super::Lane;
use crate::invariant::Invariant;
use crate::mutant::Mutant;
use crate::operation::{Operation, Origin, Stage, Work};
use crate::place::Span;
use crate::request::Verb;
use crate::wire::OWN_KEY;
use crate::world::World;

impl World {
    /// One operation takes a step that waits for nobody.
    pub(super) fn step_operation(&mut self) -> bool {
        self.source.machine.take_woken();
        for index in 0..self.source.operations.len() {
            let Some(id) = self.source.operations[index].id else { continue };
            match self.source.machine.step(*id) {
                Step::Wait => continue,
                Step::Apply { mirror } => self.apply(index, mirror.and_then(Span::touching)),
                Step::Forward => {
                    self.source.operations[index].id = None;
                    self.source.operations[index].stage = Stage::Forwarding(None);
                }
                Step::Reply(answer) => self.answer(index, answer),
            }
            return true;
        }
        false
    }

    fn apply(&mut self, index: usize, mirror: Option<Span>) {
        let now = self.source.disk.now();
        let operation = &mut self.source.operations[index];
        operation.stage = Stage::Applying(false);
        operation.mirrored = mirror;
        if let Work::Resync(_, _, content) = &mut operation.work {
            *content = now;
        }
        let operation = operation.clone();
        self.check_order(index, &operation);
        if let Some(part) = mirror {
            self.mirror(&operation, part);
        }
    }

    fn check_order(&mut self, index: usize, operation: &Operation) {
        let touched = |block| operation.is_changing(block);
        let mut others = self.source.operations.iter().enumerate();
        let alone = !others.any(|(other, of)| {
            let both = |block| touched(block) && of.is_changing(block);
            other != index && operation.span().blocks().any(both)
        });
        self.broken.unless(alone, Invariant::I6);
        if let (Origin::Path(session, generation, _), Some(request)) =
            (operation.origin, operation.request())
        {
            self.check_replay(request, session, generation);
        }
    }

    fn mirror(&mut self, operation: &Operation, part: Span) {
        let (key, split) = match operation.origin {
            Origin::Client(client) => {
                (self.source.lanes[usize::from(client) + 1].key, self.split_too_early(client))
            }
            Origin::Path(session, generation, _) => (Lane::key(session, generation), None),
            Origin::Resync => (OWN_KEY, None),
        };
        let content = match operation.work {
            Work::Request(request, _) => part.filled(request.value),
            Work::Resync(_, _, content) => content,
        };
        let is_trim = operation.request().is_some_and(|request| request.verb == Verb::Trim);
        let split = split.map(|at| part.extent().split_at(at).0);
        let skipped = is_trim && self.breaks(Mutant::TrimNotMirrored);
        if skipped || split.is_some_and(|below| below.is_empty()) {
            return self.mirrored(operation, MirrorOutcome::Executed);
        }
        let part = split.and_then(Span::touching).unwrap_or(part);
        self.send_mirror(key, part, content, operation);
        if self.breaks(Mutant::MirrorAfterAnswer) && operation.origin != Origin::Resync {
            self.wire.mirrors.iter_mut().for_each(|call| call.live &= call.lane == OWN_KEY.0);
            self.mirrored(operation, MirrorOutcome::Executed);
        }
    }

    /// The destination has answered for an operation, or nobody knows what it did.
    pub(super) fn mirrored(&mut self, operation: &Operation, outcome: MirrorOutcome) {
        let forgives = self.breaks(Mutant::ResyncForgives);
        let Some(id) = operation.id else { return };
        let mut all = self.source.operations.iter();
        let is_it = |other: &Operation| other.id.is_some_and(|other| *other == *id);
        let Some(index) = all.position(is_it) else { return };
        match operation.work {
            Work::Request(..) => {
                self.source.operations[index].executed |= outcome == MirrorOutcome::Executed;
                self.source.machine.mirror_done(*id, outcome);
            }
            Work::Resync(_, extent, _) => {
                let outcome = if forgives { MirrorOutcome::Executed } else { outcome };
                self.source.machine.resync_done(*id, *extent, outcome);
                self.source.operations.remove(index);
            }
        }
    }

    fn answer(&mut self, index: usize, answer: Answer) {
        let operation = self.source.operations.remove(index);
        if operation.is_update() && operation.mirrored.is_some() {
            let whole = operation.mirrored == Some(operation.span()) && operation.executed;
            let committing = self.source.machine.phase() == PhaseName::Committing;
            self.broken.unless(whole || !committing, Invariant::I11);
            self.broken.unless(whole || !self.source.journal.committed, Invariant::I1);
        } else if operation.is_update() {
            // An update that failed before it was applied anywhere is nobody's.
            let applied = matches!(operation.stage, Stage::Applying(_));
            self.broken.unless(!applied || !self.source.journal.committed, Invariant::I1);
        }
        if self.breaks(Mutant::LogClearedAtAnswer) {
            self.source.journal.log.clear();
        }
        let Work::Request(_, read) = operation.work else { return };
        self.answer_origin(operation.origin, answer == Answer::Done, read);
    }
}

//! Requests and resyncs at the source: the steps of the machine, carried out.

use blockferry_migration::source::{Answer, MirrorOutcome, PhaseName, Step};

use super::Lane;
use crate::invariant::Invariant;
use crate::mutant::Mutant;
use crate::operation::{Operation, Origin, Stage, Work};
use crate::place::{Span, ZEROES};
use crate::request::{Request, Verb};
use crate::skip::Skip;
use crate::wire::OWN_KEY;
use crate::world::World;

impl World {
    /// An update of a client arrives at the source.
    pub(crate) fn admit_update(&mut self, client: u8, request: Request) {
        let key = Lane::of_client(client).key;
        let id = self.source.machine.begin_update(key, request.span.extent());
        let operation = Operation::new(id, Origin::Client(client), Work::Request(request));
        self.source.operations.push(operation);
    }

    /// One operation takes a step that waits for nobody.
    pub(super) fn step_operation(&mut self) -> bool {
        self.source.machine.take_woken();
        for index in 0..self.source.operations.len() {
            match self.source.machine.step(*self.source.operations[index].id) {
                Step::Wait => continue,
                Step::Apply { mirror } => self.apply(index, mirror.and_then(Span::touching)),
                Step::Forward => unreachable!("no commit in this scope"),
                Step::Reply(answer) => self.answer(index, answer),
            }
            return true;
        }
        false
    }

    fn apply(&mut self, index: usize, mirror: Option<Span>) {
        let now = self.source.disk.now();
        let span = self.source.operations[index].span();
        let mut others =
            self.source.operations.iter().enumerate().filter(|(other, _)| *other != index);
        let alone = !others.any(|(_, other)| other.is_applying() && other.span().overlaps(span));
        self.broken.unless(alone, Invariant::I6);
        let operation = &mut self.source.operations[index];
        operation.stage = Stage::Applying(false);
        operation.mirrored = mirror;
        if let Work::Resync(_, _, content) = &mut operation.work {
            *content = now;
        }
        let operation = operation.clone();
        if let Some(part) = mirror {
            self.mirror(&operation, part);
        }
    }

    fn mirror(&mut self, operation: &Operation, part: Span) {
        let (key, content) = match (operation.origin, operation.work) {
            (Origin::Client(client), Work::Request(request)) => {
                (Lane::of_client(client).key, part.filled(request.value))
            }
            (_, Work::Resync(_, _, content)) => (OWN_KEY, content),
            (Origin::Resync, Work::Request(_)) => return,
        };
        let is_trim =
            matches!(operation.work, Work::Request(request) if request.verb == Verb::Trim);
        let split = match operation.origin {
            Origin::Client(client) => self.clients[usize::from(client)].split_at,
            Origin::Resync => None,
        };
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
        let id = *operation.id;
        let Some(index) = self.source.operations.iter().position(|other| *other.id == id) else {
            return;
        };
        match operation.work {
            Work::Request(_) => {
                self.source.operations[index].executed |= outcome == MirrorOutcome::Executed;
                self.source.machine.mirror_done(id, outcome);
            }
            Work::Resync(_, extent, _) => {
                let outcome = if forgives { MirrorOutcome::Executed } else { outcome };
                self.source.machine.resync_done(id, *extent, outcome);
                self.source.operations.remove(index);
            }
        }
    }

    /// The local part of an update ends; on a failing disk it may have been applied or not.
    pub(crate) fn local_done(&mut self, index: usize, ok: bool, applied: bool) {
        let operation = &mut self.source.operations[index];
        operation.stage = Stage::Applying(true);
        let Work::Request(request) = operation.work else { return };
        if applied {
            self.source.disk.write(request.span, &request.span.filled(request.value));
        }
        if ok && request.verb == Verb::WriteFua {
            self.source.disk.flush(request.span);
        }
        self.source.machine.local_done(*operation.id, ok);
    }

    fn answer(&mut self, index: usize, answer: Answer) {
        let operation = self.source.operations.remove(index);
        let whole = operation.mirrored == Some(operation.span()) && operation.executed;
        if self.source.machine.phase() == PhaseName::Committing && operation.is_applying() {
            self.broken.unless(whole, Invariant::I11);
        }
        if self.breaks(Mutant::LogClearedAtAnswer) {
            self.source.journal.log.clear();
        }
        if let (Origin::Client(client), Work::Request(request)) = (operation.origin, operation.work)
        {
            let ok = answer == Answer::Done;
            self.answer_client(client, ok, request.span.filled(ZEROES));
        }
    }

    /// A resync of a dirty extent begins. What is dirty only because it shares a unit of the log with
    /// an extent of the model is a hole on both sides, and equal again at once.
    pub(crate) fn begin_resync(&mut self) {
        while let Some((id, extent)) = self.source.machine.next_resync() {
            let Some(span) = Span::touching(extent) else {
                self.source.machine.step(id);
                self.source.machine.resync_done(id, extent, MirrorOutcome::Executed);
                continue;
            };
            let work = Work::Resync(span, Skip(extent), span.filled(ZEROES));
            self.source.operations.push(Operation::new(id, Origin::Resync, work));
            return;
        }
    }

    /// Whether a resync could begin and its write be sent.
    pub(crate) fn may_resync(&self) -> bool {
        let dirty = self.source.machine.sweep().is_some_and(|sweep| sweep.dirty_bytes() > 0);
        let idle = self.source.operations.iter().filter(|o| o.origin == Origin::Resync).count() < 2;
        dirty
            && idle
            && self.source.is_migrating()
            && self.source.lanes[0].is_open(self.source.epoch())
    }
}

//! Controllers: each drives the migration as if it were alone. It keeps no state that matters: one
//! that dies and is started again is one that has lost its connections.

use blockferry_block::BootId;

use crate::action::Action;
use crate::invariant::Invariant;
use crate::wire::{Late, Voice};
use crate::world::World;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Controller {
    /// The migration that it drives, and its term there.
    pub voice: Voice,
    /// The epoch of its copy connections, while they stand.
    pub epoch: Option<u64>,
    /// The extent that it claims next.
    pub next: u8,
    /// The attempt that has settled, and in which epoch.
    pub settled: Option<(u64, u64)>,
    /// The attempt that the destination is ready for, and the run that promised it.
    pub ready: Option<(u64, BootId)>,
}

impl Controller {
    /// Its connections are gone.
    pub fn disconnect(&mut self) {
        self.epoch = None;
        self.next = 0;
    }

    /// It begins the commit anew.
    pub fn forget(&mut self) {
        self.settled = None;
        self.ready = None;
    }
}

impl World {
    fn controller(&mut self, controller: u8) -> &mut Controller {
        &mut self.controllers[usize::from(controller)]
    }

    /// Whether the source would take a step on this word: no newer controller has spoken.
    pub(crate) fn source_would_obey(&self, voice: Voice) -> bool {
        voice.migration == self.migration
            && voice.term >= self.source.journal.term
            && voice.term > 0
    }

    /// The same, and a newer term is durable there from now on and fences older ones (I12).
    pub(crate) fn source_obeys(&mut self, voice: Voice) -> bool {
        let obeys = self.source_would_obey(voice);
        if obeys && voice.term > self.source.journal.term {
            self.source_hears(voice.term);
        }
        self.broken.unless(!obeys || voice.term >= self.terms[0], Invariant::I12);
        obeys
    }

    pub(crate) fn source_hears(&mut self, term: u8) {
        self.source.journal.term = term;
        self.terms[0] = self.terms[0].max(term);
        // Copy connections are cut.
        (0..self.scope.controllers).for_each(|controller| self.disconnect(controller));
    }

    /// Whether the destination would take a step on this word.
    pub(crate) fn destination_would_obey(&self, voice: Voice) -> bool {
        voice.migration == self.migration
            && voice.term >= self.destination.journal.term
            && voice.term > 0
    }

    /// The same, and a newer term is durable there from now on and fences older ones (I12).
    pub(crate) fn destination_obeys(&mut self, voice: Voice) -> bool {
        let obeys = self.destination_would_obey(voice);
        if obeys && voice.term > self.destination.journal.term {
            self.destination.journal.term = voice.term;
            self.terms[1] = self.terms[1].max(voice.term);
        }
        self.broken.unless(!obeys || voice.term >= self.terms[1], Invariant::I12);
        obeys
    }

    /// What controllers may do about one another, and about the migration as a whole.
    pub(crate) fn takeover_actions(&self, out: &mut Vec<Action>) {
        for (number, of) in self.controllers.iter().enumerate() {
            let controller = number as u8;
            if !self.source.journal.sending {
                if number == 0 && (self.migration == 0 || self.scope.again) {
                    out.push(Action::Begin { controller });
                }
                continue;
            }
            if !self.source.journal.committed && of.voice.term <= self.source.journal.term {
                out.push(Action::TakeOver { controller });
            }
            if self.source_would_obey(of.voice) {
                out.extend([false, true].map(|late| Action::Abort { controller, late }));
            }
        }
        if self.source.aborting {
            out.push(Action::Aborted);
        }
    }

    /// The steps of the commit that controllers would take now.
    pub(crate) fn controller_actions(&self, out: &mut Vec<Action>) {
        for (number, of) in self.controllers.iter().enumerate() {
            let controller = number as u8;
            let heard = self.source_would_obey(of.voice);
            if of.ready.is_some() && heard {
                out.extend([false, true].map(|late| Action::Commit { controller, late }));
            } else if of.settled.is_some() && self.destination.readying.is_none() {
                out.extend([false, true].map(|late| Action::Ready { controller, late }));
            } else if of.settled.is_none() && heard && self.may_settle() {
                out.push(Action::Settle { controller });
            }
            if of.settled.is_some() {
                out.push(Action::Forget { controller });
            }
        }
        if self.source.journal.committed && self.may_own() {
            out.push(Action::Own);
        }
    }

    /// A controller begins a migration, to a destination that was just created.
    pub(crate) fn begin_by(&mut self, controller: u8) {
        let voice = Voice { migration: self.migration, term: 1 };
        self.controller(controller).voice = voice;
        self.source_hears(voice.term);
        self.begin();
    }

    /// A controller takes the migration over from whichever drives it.
    pub(crate) fn take_over(&mut self, controller: u8) {
        let term = self.source.journal.term + 1;
        self.source_hears(term);
        let voice = Voice { migration: self.migration, term };
        let of = self.controller(controller);
        of.voice = voice;
        of.forget();
    }

    /// The controller asks the source to settle.
    pub(crate) fn settle_by(&mut self, controller: u8) {
        let voice = self.controller(controller).voice;
        if self.source_obeys(voice) {
            self.controller(controller).settled = self.settle_attempt();
        }
    }

    /// The controller asks the destination to be ready.
    pub(crate) fn ready_by(&mut self, controller: u8, late: bool) {
        let voice = self.controller(controller).voice;
        let Some((attempt, epoch)) = self.controller(controller).settled else { return };
        if late {
            self.controller(controller).forget();
            return self.wire.late.push(Late::Ready(voice, attempt, epoch));
        }
        let obeys = self.destination_obeys(voice);
        if !obeys || !self.ready_begins(attempt, epoch, Some(controller)) {
            self.controller(controller).forget();
        }
    }

    /// The controller asks the source to commit.
    pub(crate) fn commit_by(&mut self, controller: u8, late: bool) {
        let of = self.controller(controller);
        let voice = of.voice;
        let Some((attempt, boot)) = of.ready else { return };
        of.forget();
        if late {
            self.wire.late.push(Late::Commit(voice, attempt, boot));
        } else if self.source_obeys(voice) {
            self.commit(attempt, boot);
        }
    }

    /// The controller asks the source to end the migration.
    pub(crate) fn abort_by(&mut self, controller: u8, late: bool) {
        let voice = self.controller(controller).voice;
        if late {
            self.wire.late.push(Late::Abort(voice));
        } else if self.source_obeys(voice) {
            self.abort();
        }
    }
}

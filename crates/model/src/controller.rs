//! A controller, as the copier that it is during the sweep. It keeps no state that matters: one that
//! dies and is started again is one that has lost its connections.

use blockferry_block::BootId;

use crate::action::Action;
use crate::world::World;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Controller {
    /// Its term.
    pub term: u8,
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
    /// A controller that was just started.
    pub fn new(term: u8) -> Self {
        Self { term, epoch: None, next: 0, settled: None, ready: None }
    }

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
    /// The steps of the commit that the controller would take now.
    pub(crate) fn controller_actions(&self, out: &mut Vec<Action>) {
        for (number, of) in self.controllers.iter().enumerate() {
            let controller = number as u8;
            if self.source.journal.committed {
                if self.may_own() {
                    out.push(Action::Own);
                }
            } else if of.ready.is_some() {
                out.push(Action::Commit { controller });
            } else if of.settled.is_some() && self.destination.readying.is_none() {
                out.push(Action::Ready { controller });
            } else if of.settled.is_none() && self.may_settle() {
                out.push(Action::Settle { controller });
            }
            if of.settled.is_some() {
                out.push(Action::Forget { controller });
            }
        }
    }

    /// The controller asks the source to settle.
    pub(crate) fn settle_by(&mut self, controller: u8) {
        self.controllers[usize::from(controller)].settled = self.settle_attempt();
    }

    /// The controller asks the destination to be ready.
    pub(crate) fn ready_by(&mut self, controller: u8) {
        let of = &mut self.controllers[usize::from(controller)];
        let Some((attempt, epoch)) = of.settled else { return };
        if !self.ready_begins(attempt, epoch, controller) {
            self.controllers[usize::from(controller)].forget();
        }
    }

    /// The controller asks the source to commit.
    pub(crate) fn commit_by(&mut self, controller: u8) {
        let of = &mut self.controllers[usize::from(controller)];
        let Some((attempt, boot)) = of.ready else { return };
        of.forget();
        self.commit(attempt, boot);
    }
}

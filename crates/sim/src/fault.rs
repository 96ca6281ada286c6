//! What goes wrong in a run, and when.

use std::cell::RefCell;
use std::rc::Rc;

use crate::controller::Intent;
use crate::disk::{DiskError, Kind, Lie};
use crate::executor::{Micros, Sim};
use crate::folder::FileCall;
use crate::mutation::Mutations;
use crate::network::Host;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process dies, with or without the power of its disk, and starts again.
    Crash {
        /// Where.
        host: Host,
        /// What was not flushed is lost.
        power: bool,
        /// For so long.
        down: Micros,
    },
    /// The destination's store loses what was not flushed, while the program runs on.
    Forget,
    /// A disk fails what it is asked for. One of the source that could not flush is believed again
    /// after a restart only, which its operator brings about.
    Disk {
        /// Whose.
        host: Host,
        /// What.
        kind: Kind,
        /// How.
        error: DiskError,
        /// For so long; the next call alone for 0.
        length: Micros,
    },
    /// Calls on files of a program fail. One that can record nothing any more is started again by an
    /// operator.
    File {
        /// Which.
        which: Which,
        /// What.
        call: FileCall,
        /// How.
        error: DiskError,
        /// For so long; the next call alone for 0.
        length: Micros,
    },
    /// The destination's disk calls writes done that it has dropped or misdirected.
    Lie {
        /// How.
        lie: Lie,
        /// For so long; the next write alone for 0.
        length: Micros,
    },
    /// Another controller is started while the one before goes on, perhaps held back.
    TakeOver {
        /// What for.
        intent: Intent,
        /// The messages of the one before are held back for so long.
        held: Micros,
    },
    /// Connections between two hosts break.
    Break {
        /// One end.
        a: Host,
        /// The other.
        b: Host,
        /// So many of them.
        percent: u64,
    },
    /// Connections between two hosts carry nothing for a while.
    Stall {
        /// One end.
        a: Host,
        /// The other.
        b: Host,
        /// So many of them.
        percent: u64,
        /// For so long.
        length: Micros,
    },
}

/// Files of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The source's records.
    SourceRecords,
    /// Its activity log.
    SourceLog,
    /// The destination's records.
    DestinationRecords,
}

/// When it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At a time.
    At(Micros),
    /// So long after something has happened for the n-th time.
    After(&'static str, u64, Micros),
}

impl Moment {
    /// A moment after this one.
    #[must_use]
    pub const fn later(self, by: Micros) -> Self {
        match self {
            Self::At(time) => Self::At(time + by),
            Self::After(what, count, delay) => Self::After(what, count, delay + by),
        }
    }
}

/// A fault and its moment.
pub type Planned = (Moment, Fault);

type Commit = Rc<dyn Fn(Fault)>;
type Stop = Rc<dyn Fn(Host)>;

/// The faults that are still to come.
pub struct Faults {
    /// What a test breaks on purpose.
    pub mutations: Mutations,
    planned: RefCell<Vec<Planned>>,
    commit: RefCell<Option<Commit>>,
    stop: RefCell<Option<Stop>>,
}

impl Faults {
    /// The faults of a plan.
    pub fn new(mutations: Mutations, planned: Vec<Planned>) -> Self {
        Self {
            mutations,
            planned: RefCell::new(planned),
            commit: RefCell::default(),
            stop: RefCell::default(),
        }
    }

    /// From now on faults are committed by this function.
    pub fn begin(&self, sim: &Sim, commit: impl Fn(Fault) + 'static) {
        let commit: Commit = Rc::new(commit);
        for (moment, fault) in self.planned.borrow().iter().copied() {
            if let Moment::At(time) = moment {
                let commit = commit.clone();
                sim.at(time, move || commit(fault));
            }
        }
        *self.commit.borrow_mut() = Some(commit);
    }

    /// Something has happened that a fault may wait for.
    pub fn reached(&self, sim: &Sim, what: &'static str) {
        for (moment, fault) in self.planned.borrow_mut().iter_mut() {
            let Moment::After(awaited, count, delay) = moment else { continue };
            if *awaited != what {
                continue;
            }
            *count = count.saturating_sub(1);
            if *count == 0
                && let Some(commit) = self.commit.borrow().clone()
            {
                let (time, fault) = (sim.now() + *delay, *fault);
                sim.at(time, move || commit(fault));
                *moment = Moment::At(time);
            }
        }
    }

    /// Programs that stop themselves are ended by this function, or by none any more.
    pub fn stop_with(&self, stop: Option<Stop>) {
        *self.stop.borrow_mut() = stop;
    }

    /// A program stops itself.
    pub fn stop(&self, host: Host) {
        let stop = self.stop.borrow().clone();
        stop.into_iter().for_each(|stop| stop(host));
    }

    /// No fault comes any more.
    pub fn end(&self) {
        self.planned.borrow_mut().clear();
        *self.commit.borrow_mut() = None;
    }
}

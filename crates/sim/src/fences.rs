//! Which generations of a session may still execute, and which requests do (I12, I13).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::executor::Signal;
use crate::message::{Generation, Session};

/// The fences of one process. What it was told before a restart comes from its journal.
#[derive(Default)]
pub struct Fences {
    first_allowed: RefCell<BTreeMap<Session, Generation>>,
    running: RefCell<Vec<(Session, Generation)>>,
    ended: Signal,
}

impl Fences {
    /// The fences that a restarted process finds.
    pub fn from_records(records: impl Iterator<Item = (Session, Generation)>) -> Rc<Self> {
        let fences = Self::default();
        records.for_each(|(session, generation)| fences.raise(session, generation));
        Rc::new(fences)
    }

    /// Refuses everything older of the session from now on.
    pub fn raise(&self, session: Session, generation: Generation) {
        let mut first_allowed = self.first_allowed.borrow_mut();
        let first = first_allowed.entry(session).or_insert(generation);
        *first = generation.max(*first);
    }

    /// Whether requests of this generation may begin.
    pub fn allows(&self, session: Session, generation: Generation) -> bool {
        self.first_allowed.borrow().get(&session).is_none_or(|first| generation >= *first)
    }

    /// A request begins, unless it is fenced.
    pub fn enter(self: &Rc<Self>, session: Session, generation: Generation) -> Option<Running> {
        self.allows(session, generation).then(|| {
            self.running.borrow_mut().push((session, generation));
            Running { fences: self.clone(), of: (session, generation) }
        })
    }

    /// Waits until nothing is being executed.
    pub async fn idle(&self) {
        while !self.running.borrow().is_empty() {
            self.ended.wait().await;
        }
    }

    /// Waits until nothing older of the session is being executed.
    pub async fn drained(&self, session: Session, generation: Generation) {
        let older = |of: &(Session, Generation)| of.0 == session && of.1 < generation;
        while self.running.borrow().iter().any(older) {
            self.ended.wait().await;
        }
    }
}

/// A request that is being executed.
pub struct Running {
    fences: Rc<Fences>,
    of: (Session, Generation),
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.fences.running.borrow_mut();
        if let Some(at) = running.iter().position(|of| *of == self.of) {
            running.swap_remove(at);
        }
        drop(running);
        self.fences.ended.raise();
    }
}

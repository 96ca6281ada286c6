//! A journal without a cache: records are durable one after the other, until one fails.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::disk::{Points, Speed};
use crate::executor::{Lock, Micros, Sim};

/// A record could not be made durable, and nobody knows whether it is. No other one is taken until
/// the program is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poisoned;

/// Records of a host. They outlive its programs.
pub struct Journal<R> {
    sim: Sim,
    points: Points,
    speed: Speed,
    records: RefCell<Vec<R>>,
    turn: Lock,
    /// The next record fails.
    failing: Cell<bool>,
    poisoned: Cell<bool>,
    /// The record that failed, if the file shows it.
    doubtful: RefCell<Option<R>>,
    failed: RefCell<Vec<Micros>>,
    unnoticed: bool,
}

impl<R: Clone> Journal<R> {
    /// An empty journal. A test may want failures to go unnoticed.
    pub fn new(sim: &Sim, speed: Speed, points: Points, unnoticed: bool) -> Rc<Self> {
        Rc::new(Self {
            sim: sim.clone(),
            points,
            speed,
            records: RefCell::default(),
            turn: Lock::default(),
            failing: Cell::new(false),
            poisoned: Cell::new(false),
            doubtful: RefCell::default(),
            failed: RefCell::default(),
            unnoticed,
        })
    }

    /// Makes a record durable. When the process dies on the way it is durable or not.
    ///
    /// # Errors
    /// [`Poisoned`].
    pub async fn append(&self, record: R) -> Result<(), Poisoned> {
        let _turn = self.turn.turn().await;
        if self.poisoned.get() {
            return self.refuse();
        }
        self.sim.pass(self.points.0);
        self.sim.sleep(self.sim.between(self.speed.0, self.speed.1)).await;
        if self.failing.replace(false) {
            return self.fail(record);
        }
        self.records.borrow_mut().push(record);
        self.sim.pass(self.points.1);
        self.sim.sleep(self.sim.between(self.speed.0, self.speed.1)).await;
        Ok(())
    }

    fn fail(&self, record: R) -> Result<(), Poisoned> {
        self.sim.trace(|| "a record fails".to_owned());
        if self.unnoticed {
            return Ok(());
        }
        self.poisoned.set(true);
        let written = self.sim.draw(|random| random.one_in(2));
        *self.doubtful.borrow_mut() = written.then_some(record);
        self.refuse()
    }

    fn refuse(&self) -> Result<(), Poisoned> {
        self.failed.borrow_mut().push(self.sim.now());
        Err(Poisoned)
    }

    /// What a restart finds.
    pub fn records(&self) -> Vec<R> {
        self.records.borrow().clone()
    }

    /// Whether a restart would find such a record.
    pub fn has(&self, wanted: impl Fn(&R) -> bool) -> bool {
        self.records.borrow().iter().any(wanted)
    }

    /// A program opens it: the last record of the file is made durable, whatever it was.
    pub fn reopen(&self) {
        self.records.borrow_mut().extend(self.doubtful.take());
        self.poisoned.set(false);
    }

    /// The power fails: a record that failed has reached the medium or not.
    pub fn lose_power(&self) {
        let doubtful = self.doubtful.take();
        if doubtful.is_some() && self.sim.draw(|random| random.one_in(2)) {
            self.records.borrow_mut().extend(doubtful);
        }
    }

    /// The next record fails, or none any more.
    pub fn fail_next(&self, fails: bool) {
        self.failing.set(fails);
    }

    /// Whether a record has failed since the journal was opened.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.get()
    }

    /// Whether a record is to fail.
    pub fn is_failing(&self) -> bool {
        self.failing.get()
    }

    /// Whether a record has failed since.
    pub fn has_failed(&self, since: Micros) -> bool {
        self.failed.borrow().iter().any(|failed| *failed >= since)
    }
}

//! One thread, virtual time: tasks run until all of them wait, then the clock jumps to the next
//! timer. The same seed gives the same run, and a process dies by dropping its tasks.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::random::Random;

/// A moment of virtual time, or a length of it, in microseconds.
pub type Micros = u64;

/// One millisecond of virtual time.
pub const MILLIS: Micros = 1_000;
/// One second of virtual time.
pub const SECOND: Micros = 1_000_000;

/// One run of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pid(u64);

impl Pid {
    /// What belongs to no process that dies: the faults, the clients.
    pub const WORLD: Self = Self(0);
}

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Action = Box<dyn FnOnce()>;

/// The clock, the tasks, the chance and the record of one run. Clones are the same world.
#[derive(Clone)]
pub struct Sim(Rc<Inner>);

struct Inner {
    now: Cell<Micros>,
    counter: Cell<u64>,
    timers: RefCell<BinaryHeap<Reverse<(Micros, u64)>>>,
    actions: RefCell<BTreeMap<u64, Action>>,
    tasks: RefCell<BTreeMap<u64, Place>>,
    ready: Arc<Ready>,
    random: RefCell<Random>,
    traced: bool,
    violation: RefCell<Option<String>>,
    steps: Cell<u64>,
    listener: RefCell<Option<Listener>>,
}

type Listener = Rc<dyn Fn(&'static str)>;

/// A task, which is away while it is polled.
struct Place {
    process: Pid,
    task: Option<Task>,
    waker: Arc<TaskWaker>,
}

#[derive(Default)]
struct Ready(Mutex<VecDeque<u64>>);

impl Ready {
    fn push(&self, task: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(task);
    }

    fn pop(&self) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

struct TaskWaker {
    task: u64,
    ready: Arc<Ready>,
    queued: AtomicBool,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.push(self.task);
        }
    }
}

impl Sim {
    /// An empty world.
    pub fn new(seed: u64, traced: bool) -> Self {
        Self(Rc::new(Inner {
            now: Cell::new(0),
            counter: Cell::new(1),
            timers: RefCell::default(),
            actions: RefCell::default(),
            tasks: RefCell::default(),
            ready: Arc::default(),
            random: RefCell::new(Random::new(seed)),
            traced,
            violation: RefCell::default(),
            steps: Cell::new(0),
            listener: RefCell::default(),
        }))
    }

    /// The present moment.
    pub fn now(&self) -> Micros {
        self.0.now.get()
    }

    /// A number that no earlier call gave.
    pub fn unique(&self) -> u64 {
        let number = self.0.counter.get();
        self.0.counter.set(number + 1);
        number
    }

    /// A new process.
    pub fn process(&self) -> Pid {
        Pid(self.unique())
    }

    /// Draws from the run's chance.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.0.random.borrow_mut())
    }

    /// Draws a number between both, which are included.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        self.draw(|random| random.between(low, high))
    }

    /// Does something at a later moment, whatever dies until then.
    pub fn at(&self, time: Micros, action: impl FnOnce() + 'static) {
        let id = self.unique();
        self.0.actions.borrow_mut().insert(id, Box::new(action));
        self.0.timers.borrow_mut().push(Reverse((time.max(self.now()), id)));
    }

    /// Starts a task of the process.
    pub fn spawn(&self, process: Pid, task: impl Future<Output = ()> + 'static) {
        let id = self.unique();
        let ready = self.0.ready.clone();
        let waker = Arc::new(TaskWaker { task: id, ready, queued: AtomicBool::new(false) });
        waker.clone().wake();
        let place = Place { process, task: Some(Box::pin(task)), waker };
        self.0.tasks.borrow_mut().insert(id, place);
    }

    /// Ends every task of the process at the point where it stands.
    pub fn kill(&self, process: Pid) {
        let mut tasks = self.0.tasks.borrow_mut();
        let all = std::mem::take(&mut *tasks);
        let (dead, living): (BTreeMap<_, _>, _) =
            all.into_iter().partition(|(_, place)| place.process == process);
        *tasks = living;
        drop(tasks);
        drop(dead);
    }

    /// Waits.
    pub async fn sleep(&self, length: Micros) {
        let over = Signal::default();
        let wait = over.wait();
        let raise = over.clone();
        self.at(self.now() + length, move || raise.raise());
        wait.await;
    }

    /// The outcome, or `None` when it takes longer.
    pub async fn timeout<T>(&self, length: Micros, work: impl Future<Output = T>) -> Option<T> {
        first(work, self.sleep(length)).await
    }

    /// Runs until `done`, a violation, or nothing left to do before the deadline. Whether it was
    /// `done`.
    pub fn run(&self, deadline: Micros, done: impl Fn() -> bool) -> bool {
        loop {
            while let Some(task) = self.0.ready.pop() {
                self.poll(task);
                if self.0.violation.borrow().is_some() {
                    return false;
                }
            }
            if done() {
                return true;
            }
            let next = self.0.timers.borrow_mut().pop();
            match next {
                Some(Reverse((time, id))) if time <= deadline => self.fire(time, id),
                _ => return false,
            }
        }
    }

    fn fire(&self, time: Micros, id: u64) {
        self.0.now.set(time);
        self.0.steps.set(self.0.steps.get() + 1);
        let action = self.0.actions.borrow_mut().remove(&id);
        if let Some(action) = action {
            action();
        }
    }

    fn poll(&self, id: u64) {
        let (mut task, waker) = {
            let mut tasks = self.0.tasks.borrow_mut();
            let Some(place) = tasks.get_mut(&id) else { return };
            place.waker.queued.store(false, Ordering::Relaxed);
            let Some(task) = place.task.take() else { return };
            (task, Waker::from(place.waker.clone()))
        };
        let ended = task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut tasks = self.0.tasks.borrow_mut();
        if ended {
            tasks.remove(&id);
        } else if let Some(place) = tasks.get_mut(&id) {
            place.task = Some(task);
            return;
        }
        drop(tasks);
        drop(task);
    }

    /// Drops everything that is left, so that nothing keeps the world alive in a circle.
    pub fn clear(&self) {
        let tasks = std::mem::take(&mut *self.0.tasks.borrow_mut());
        drop(tasks);
        let actions = std::mem::take(&mut *self.0.actions.borrow_mut());
        drop(actions);
        *self.0.listener.borrow_mut() = None;
    }

    /// Tells this function whenever a point is passed at which something may strike.
    pub fn listen(&self, listener: impl Fn(&'static str) + 'static) {
        *self.0.listener.borrow_mut() = Some(Rc::new(listener));
    }

    /// A point is passed.
    pub fn pass(&self, point: &'static str) {
        let listener = self.0.listener.borrow().clone();
        if let Some(listener) = listener {
            listener(point);
        }
    }

    /// Prints one line, when the run is traced.
    pub fn trace(&self, line: impl FnOnce() -> String) {
        if self.0.traced {
            println!("{:>10.3} ms  {}", self.now() as f64 / 1000.0, line());
        }
    }

    /// Notes that something happened which must never happen. The first ends the run.
    pub fn violate(&self, what: String) {
        self.trace(|| format!("VIOLATION {what}"));
        self.0.violation.borrow_mut().get_or_insert(what);
    }

    /// What must never happen and did.
    pub fn violation(&self) -> Option<String> {
        self.0.violation.borrow().clone()
    }

    /// Timers that fired so far.
    pub fn steps(&self) -> u64 {
        self.0.steps.get()
    }
}

/// The outcome of `work`, or `None` when `end` comes first.
pub async fn first<T>(work: impl Future<Output = T>, end: impl Future<Output = ()>) -> Option<T> {
    let mut work = pin!(work);
    let mut end = pin!(end);
    std::future::poll_fn(|context| {
        if let Poll::Ready(outcome) = work.as_mut().poll(context) {
            return Poll::Ready(Some(outcome));
        }
        end.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// Something that many wait for, and that happens again and again.
#[derive(Clone, Default)]
pub struct Signal(Rc<SignalState>);

#[derive(Default)]
struct SignalState {
    raised: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    /// It happens: everybody who waits goes on.
    pub fn raise(&self) {
        self.0.raised.set(self.0.raised.get() + 1);
        let waiting = std::mem::take(&mut *self.0.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits for the first time that it happens after this call.
    pub fn wait(&self) -> impl Future<Output = ()> + use<> {
        let state = self.0.clone();
        let seen = state.raised.get();
        std::future::poll_fn(move |context| {
            if state.raised.get() != seen {
                return Poll::Ready(());
            }
            let mut waiting = state.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
    }
}

/// The right to do something alone. A task that dies gives it back.
#[derive(Clone, Default)]
pub struct Lock {
    taken: Rc<Cell<bool>>,
    free: Signal,
}

impl Lock {
    /// Waits for one's turn, which lasts until it is dropped.
    pub async fn turn(&self) -> Turn {
        while self.taken.replace(true) {
            self.free.wait().await;
        }
        Turn(self.clone())
    }
}

/// A turn of a [`Lock`].
pub struct Turn(Lock);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.taken.set(false);
        self.0.free.raise();
    }
}

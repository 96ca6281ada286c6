//! What a path's handle, its requests and its driver share: the machine, the links, the answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use blockferry_block::Generation;
use blockferry_device::{DeviceInfo, Failure, Reply, Request};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

use crate::fabric::{CallError, Fabric, Link};
use crate::machine::{Effect, Machine, Work};
use crate::order::Turn;
use crate::table::RequestId;

type Outcome = Result<Reply, Failure>;
/// A link to send on, with its generation.
type Way<F> = (Generation, Arc<<F as Fabric>::Link>);

pub(crate) struct Shared<F: Fabric> {
    pub(crate) fabric: F,
    /// What the client was told.
    pub(crate) info: DeviceInfo,
    pub(crate) runtime: Handle,
    /// Wakes the driver.
    pub(crate) changed: Notify,
    /// Ends the pause of a driver that nobody waited for.
    pub(crate) hurry: Notify,
    /// Wakes those who wait for a move.
    pub(crate) moved: Notify,
    state: Mutex<State<F>>,
}

pub(crate) struct State<F: Fabric> {
    pub(crate) machine: Machine,
    pub(crate) links: HashMap<Generation, OpenLink<F>>,
    /// Where the path is to move.
    pub(crate) goal: Option<F::Upstream>,
    pub(crate) standby: Option<(Generation, OpenLink<F>)>,
    /// The upstream of the last front.
    pub(crate) upstream: F::Upstream,
    answers: HashMap<RequestId, Slot>,
    /// Turns of writes that were answered while an older copy may still execute.
    ghosts: HashMap<RequestId, Turn>,
}

pub(crate) struct OpenLink<F: Fabric> {
    pub(crate) upstream: F::Upstream,
    pub(crate) link: Arc<F::Link>,
}

/// An answer that does not come over the link which the request first went out on.
enum Slot {
    Awaited(oneshot::Sender<Outcome>),
    Ready(Outcome),
}

/// A request that leaves now.
struct Departure<F: Fabric> {
    id: RequestId,
    generation: Generation,
    link: Arc<F::Link>,
    request: Request,
}

impl<F: Fabric> Shared<F> {
    /// What a client was told `info`; its requests went to `upstream` last.
    pub(crate) fn new(
        fabric: F,
        machine: Machine,
        info: DeviceInfo,
        upstream: F::Upstream,
        runtime: Handle,
    ) -> Self {
        let state = State {
            machine,
            links: HashMap::new(),
            goal: None,
            standby: None,
            upstream,
            answers: HashMap::new(),
            ghosts: HashMap::new(),
        };
        let (changed, hurry, moved) = (Notify::new(), Notify::new(), Notify::new());
        Self { fabric, info, runtime, changed, hurry, moved, state: Mutex::new(state) }
    }

    /// For looking, and for changes that have no effects.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the machine an event and carries out what follows.
    pub(crate) fn apply<T>(self: &Arc<Self>, event: impl FnOnce(&mut State<F>) -> T) -> T {
        let mut state = self.lock();
        let phase = state.machine.phase();
        let result = event(&mut state);
        let departures = state.settle();
        let changed = state.machine.phase() != phase;
        drop(state);
        if changed {
            self.changed.notify_one();
            self.moved.notify_waiters();
        }
        self.depart(departures);
        result
    }

    /// Carries one request to its answer, however many links that takes.
    pub(crate) async fn submit(
        self: Arc<Self>,
        request: Request,
        mut turn: Option<Turn>,
    ) -> Outcome {
        if let Some(turn) = &mut turn {
            turn.come().await;
        }
        let (id, outcome) = self.carry(request).await;
        if outcome.is_err() {
            self.lock().keep_turn_of_ghost(id, turn);
        }
        outcome
    }

    async fn carry(self: &Arc<Self>, request: Request) -> (RequestId, Outcome) {
        let (id, departure) = self.arrive(request.clone());
        if let Some((generation, link)) = departure {
            let outcome = link.request(request).await;
            drop(link);
            if let Some(outcome) = self.answered(id, generation, outcome) {
                return (id, outcome);
            }
        }
        let receiver = match self.lock().await_answer(id) {
            Ok(outcome) => return (id, outcome),
            Err(receiver) => receiver,
        };
        self.hurry.notify_one();
        self.changed.notify_one();
        let gone = || Err(Failure::new(blockferry_device::Errno::Io, "the path has ended"));
        (id, receiver.await.unwrap_or_else(|_| gone()))
    }

    fn arrive(self: &Arc<Self>, request: Request) -> (RequestId, Option<Way<F>>) {
        self.apply(|state| {
            let (id, front) = state.machine.arrive(request, Instant::now());
            let link = front.and_then(|front| Some((front, state.link(front)?)));
            (id, link)
        })
    }

    fn answered(
        self: &Arc<Self>,
        id: RequestId,
        link: Generation,
        outcome: Result<Reply, CallError>,
    ) -> Option<Outcome> {
        self.apply(|state| state.machine.answered(id, link, outcome, Instant::now()))
    }

    /// Sends requests that waited, in order of arrival, and has their answers awaited.
    fn depart(self: &Arc<Self>, departures: Vec<Departure<F>>) {
        if departures.is_empty() {
            return;
        }
        let shared = Arc::clone(self);
        self.runtime.spawn(async move {
            let mut under_way: FuturesUnordered<_> = departures
                .into_iter()
                .map(|Departure { id, generation, link, request }| async move {
                    (id, generation, link.request(request).await)
                })
                .collect();
            while let Some((id, generation, outcome)) = under_way.next().await {
                if let Some(outcome) = shared.answered(id, generation, outcome) {
                    shared.lock().deliver(id, outcome);
                }
            }
        });
    }
}

impl<F: Fabric> State<F> {
    pub(crate) fn link(&self, generation: Generation) -> Option<Arc<F::Link>> {
        self.links.get(&generation).map(|open| Arc::clone(&open.link))
    }

    /// Whether a link of this generation may become the front.
    pub(crate) fn is_newest(&self, generation: Generation) -> bool {
        self.machine.phase().front().is_some_and(|front| front < generation)
    }

    /// Whether a link to the candidate is open and good for a move.
    pub(crate) fn is_prepared(&self, candidate: &F::Upstream) -> bool {
        self.standby.as_ref().is_some_and(|(generation, open)| {
            open.upstream == *candidate && !open.link.is_closed() && self.is_newest(*generation)
        })
    }

    /// Takes an open link in as the front, unless things have changed since it was asked for.
    pub(crate) fn adopt(&mut self, generation: Generation, link: OpenLink<F>) {
        if !matches!(self.machine.work(), Work::Free | Work::Reopen) {
            return link.link.disconnect();
        }
        if self.goal.as_ref() == Some(&link.upstream) {
            self.goal = None;
        }
        self.upstream = link.upstream.clone();
        self.links.insert(generation, link);
        self.machine.opened(generation, Instant::now());
    }

    fn settle(&mut self) -> Vec<Departure<F>> {
        let mut departures = Vec::new();
        while let Some(effect) = self.machine.next_effect() {
            match effect {
                Effect::Send(id, generation, request) => {
                    if let Some(link) = self.link(generation) {
                        departures.push(Departure { id, generation, link, request });
                    }
                }
                Effect::Answer(id, outcome) => self.deliver(id, outcome),
                Effect::Forget(id) => _ = self.ghosts.remove(&id),
                Effect::Disconnect(generation) => self.end(generation, F::Link::disconnect),
                Effect::Abort(generation) => self.end(generation, F::Link::abort),
            }
        }
        departures
    }

    fn end(&mut self, generation: Generation, how: impl Fn(&F::Link)) {
        if let Some(open) = self.links.remove(&generation) {
            how(&open.link);
        }
    }

    fn deliver(&mut self, id: RequestId, outcome: Outcome) {
        match self.answers.remove(&id) {
            // A receiver that has gone needs no answer.
            Some(Slot::Awaited(sender)) => _ = sender.send(outcome),
            _ => _ = self.answers.insert(id, Slot::Ready(outcome)),
        }
    }

    fn keep_turn_of_ghost(&mut self, id: RequestId, turn: Option<Turn>) {
        if let Some(turn) = turn
            && self.machine.is_ghost(id)
        {
            self.ghosts.insert(id, turn);
        }
    }

    fn await_answer(&mut self, id: RequestId) -> Result<Outcome, oneshot::Receiver<Outcome>> {
        if let Some(Slot::Ready(outcome)) = self.answers.remove(&id) {
            return Ok(outcome);
        }
        let (sender, receiver) = oneshot::channel();
        self.answers.insert(id, Slot::Awaited(sender));
        Err(receiver)
    }
}

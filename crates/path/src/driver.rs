//! The task behind a path: finds the owner again, fences, moves. Requests do not pass through it.
//!
//! One event at a time: it waits for what can happen, and has the machine apply it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blockferry_block::Generation;
use tokio::time::{sleep, sleep_until, timeout};

use crate::fabric::{Fabric, Link, Opening, UpstreamError};
use crate::fit::fits;
use crate::machine::Work;
use crate::shared::{OpenLink, Shared};

/// First pause before an upstream is tried again.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// Longest pause while a client waits, or a move is wanted.
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// Longest pause while nobody waits: many idle connections to a dead server must cost little.
const IDLE_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Longest time for one connection with its handshake.
pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for one fence; the server may have to wait for a slow disk first.
const FENCE_TIMEOUT: Duration = Duration::from_secs(10);
/// Fences that fail in a row on one link before it is given up for another.
const FENCE_FAILURES_MAX: u32 = 3;

pub(crate) struct Driver<F: Fabric> {
    shared: Arc<Shared<F>>,
    backoff: Duration,
    fence_failures: u32,
}

/// What the driver works on: one thing at a time, dropped when something else is called for.
#[derive(Clone, Debug, PartialEq)]
enum Task<U> {
    Rest,
    Reopen,
    Fence(Generation),
    Move(U),
}

enum Done<F: Fabric> {
    Opened(Generation, OpenLink<F>),
    NotOpened,
    Fenced(Generation),
    NotFenced(Generation),
    InVain(UpstreamError),
}

type Running<F> = Pin<Box<dyn Future<Output = Done<F>> + Send>>;

impl<F: Fabric> Driver<F> {
    pub(crate) fn new(shared: Arc<Shared<F>>) -> Self {
        Self { shared, backoff: BACKOFF_MIN, fence_failures: 0 }
    }

    /// Runs until the client has gone and everything has ended.
    pub(crate) async fn run(mut self) {
        let mut task = Task::Rest;
        let mut running: Running<F> = Box::pin(std::future::pending());
        while let Some(wanted) = self.wanted() {
            if wanted != task {
                running = self.begin(&wanted);
                task = wanted;
            }
            tokio::select! {
                done = &mut running => {
                    task = Task::Rest;
                    running = Box::pin(std::future::pending());
                    self.apply(done);
                }
                link = self.link_lost() => self.link_ended(link),
                () = self.shared.changed.notified() => {}
                () = self.deadline() => self.shared.apply(|s| s.machine.tick(Instant::now())),
            }
        }
        self.end_links();
    }

    /// What is to be done; `None` when all is over.
    fn wanted(&mut self) -> Option<Task<F::Upstream>> {
        let mut state = self.shared.lock();
        Some(match state.machine.work() {
            Work::Finish => return None,
            Work::Rest => Task::Rest,
            Work::Reopen => Task::Reopen,
            Work::Fence(link) => Task::Fence(link),
            Work::Free => {
                if state.goal.as_ref() == Some(&state.upstream) {
                    state.goal = None;
                }
                state.goal.clone().map_or(Task::Rest, Task::Move)
            }
        })
    }

    fn begin(&mut self, task: &Task<F::Upstream>) -> Running<F> {
        let shared = Arc::clone(&self.shared);
        match task {
            Task::Rest => Box::pin(std::future::pending()),
            Task::Reopen => {
                let pause = self.pause();
                Box::pin(reopen(shared, pause))
            }
            Task::Move(to) => {
                let pause = self.pause();
                Box::pin(open_for_move(shared, to.clone(), pause))
            }
            Task::Fence(link) => Box::pin(fence(shared, *link, self.fence_failures)),
        }
    }

    /// How long to wait before the next try: nothing before the first after a link that worked.
    fn pause(&mut self) -> Duration {
        let mut state = self.shared.lock();
        if state.machine.take_proof() {
            self.backoff = BACKOFF_MIN;
            return Duration::ZERO;
        }
        let idle = state.machine.unanswered() == 0 && state.goal.is_none();
        drop(state);
        let limit = if idle { IDLE_BACKOFF_MAX } else { BACKOFF_MAX };
        let pause = self.backoff.min(limit);
        self.backoff = (self.backoff * 2).min(IDLE_BACKOFF_MAX);
        pause
    }

    fn apply(&mut self, done: Done<F>) {
        match done {
            Done::Opened(generation, link) => {
                tracing::info!(upstream = %link.upstream, %generation, "path opened");
                blockferry_label::reached("path.move.opened");
                self.shared.apply(|state| state.adopt(generation, link));
                blockferry_label::reached("path.move.adopted");
            }
            Done::Fenced(link) => {
                self.fence_failures = 0;
                self.shared.apply(|state| state.machine.fenced(link));
            }
            Done::NotFenced(link) => {
                self.fence_failures += 1;
                if self.fence_failures >= FENCE_FAILURES_MAX {
                    self.fence_failures = 0;
                    self.shared.apply(|state| state.machine.lost(link));
                }
            }
            Done::NotOpened => {}
            Done::InVain(reason) => {
                tracing::info!(%reason, "a path ends");
                self.shared.apply(|state| state.machine.superseded());
            }
        }
    }

    /// Ends when the front or, in a move, the old link does.
    async fn link_lost(&self) -> Generation {
        let (front, old) = {
            let state = self.shared.lock();
            let phase = state.machine.phase();
            let link = |generation: Option<Generation>| {
                generation.and_then(|generation| Some((generation, state.link(generation)?)))
            };
            (link(phase.front()), link(phase.old()))
        };
        let closed = async |link: Option<(Generation, Arc<F::Link>)>| match link {
            Some((generation, link)) => {
                link.closed().await;
                generation
            }
            None => std::future::pending().await,
        };
        tokio::select! {
            generation = closed(front) => generation,
            generation = closed(old) => generation,
        }
    }

    fn link_ended(&self, generation: Generation) {
        self.shared.apply(|state| {
            if state.machine.phase().front() == Some(generation) {
                let unanswered = state.machine.unanswered();
                tracing::warn!(upstream = %state.upstream, unanswered, "path lost; its requests wait");
            }
            state.machine.lost(generation);
        });
    }

    async fn deadline(&self) {
        let deadline = self.shared.lock().machine.deadline();
        match deadline {
            Some(deadline) => sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    }

    fn end_links(&self) {
        let mut state = self.shared.lock();
        let standby = state.standby.take().map(|(_, link)| link);
        let links: Vec<_> = state.links.drain().map(|(_, link)| link).chain(standby).collect();
        drop(state);
        links.iter().for_each(|open| open.link.disconnect());
    }
}

async fn reopen<F: Fabric>(shared: Arc<Shared<F>>, pause: Duration) -> Done<F> {
    wait(&shared, pause).await;
    let goal = shared.lock().goal.clone();
    let mut candidates: Vec<_> = goal.into_iter().collect();
    candidates.extend(shared.fabric.locate().await);
    let mut tried: Vec<F::Upstream> = Vec::new();
    for upstream in candidates {
        if tried.contains(&upstream) {
            continue;
        }
        match open(&shared, &upstream).await {
            Ok((generation, link)) => return Done::Opened(generation, link),
            Err(error) if error.is_final() => return Done::InVain(error),
            Err(error) => tracing::debug!(%upstream, %error, "no path here yet"),
        }
        tried.push(upstream);
    }
    Done::NotOpened
}

/// A pause that the first request to arrive cuts short, so that none waits for an idle path.
async fn wait<F: Fabric>(shared: &Shared<F>, pause: Duration) {
    if shared.lock().machine.unanswered() > 0 {
        return sleep(pause).await;
    }
    tokio::select! {
        () = sleep(pause) => {}
        () = shared.hurry.notified() => {}
    }
}

async fn open_for_move<F: Fabric>(
    shared: Arc<Shared<F>>,
    to: F::Upstream,
    pause: Duration,
) -> Done<F> {
    let (prepared, standby) = {
        let mut state = shared.lock();
        (state.is_prepared(&to), state.standby.take())
    };
    match standby {
        Some((generation, link)) if prepared => return Done::Opened(generation, link),
        Some((_, link)) => link.link.disconnect(),
        None => {}
    }
    sleep(pause).await;
    match open(&shared, &to).await {
        Ok((generation, link)) => Done::Opened(generation, link),
        Err(error) if error.is_final() => Done::InVain(error),
        Err(error) => {
            tracing::warn!(upstream = %to, %error, "cannot move there yet; staying");
            Done::NotOpened
        }
    }
}

/// Opens a link and checks that the client would not notice it.
pub(crate) async fn open<F: Fabric>(
    shared: &Shared<F>,
    upstream: &F::Upstream,
) -> Result<(Generation, OpenLink<F>), UpstreamError> {
    let generation = shared.lock().machine.next_generation().ok_or(UpstreamError::UsedUp)?;
    match open_fitting(shared, upstream, generation).await {
        Ok(link) => Ok((generation, link)),
        Err(error) => {
            shared.lock().machine.give_back(generation);
            Err(error)
        }
    }
}

async fn open_fitting<F: Fabric>(
    shared: &Shared<F>,
    upstream: &F::Upstream,
    generation: Generation,
) -> Result<OpenLink<F>, UpstreamError> {
    let link = connect(&shared.fabric, upstream, Opening { generation, standby: false }).await?;
    if let Err(misfit) = fits(&shared.info, link.info()) {
        link.disconnect();
        return Err(UpstreamError::Unusable(misfit.to_string()));
    }
    Ok(OpenLink { upstream: upstream.clone(), link: Arc::new(link) })
}

/// Opens a link, in bounded time.
pub(crate) async fn connect<F: Fabric>(
    fabric: &F,
    upstream: &F::Upstream,
    opening: Opening,
) -> Result<F::Link, UpstreamError> {
    let late = || UpstreamError::Unusable(format!("no answer within {} s", OPEN_TIMEOUT.as_secs()));
    timeout(OPEN_TIMEOUT, fabric.open(upstream, opening)).await.map_err(|_| late())?
}

async fn fence<F: Fabric>(shared: Arc<Shared<F>>, link: Generation, failures: u32) -> Done<F> {
    sleep(BACKOFF_MIN * failures).await;
    let upstream = shared.lock().upstream.clone();
    match timeout(FENCE_TIMEOUT, shared.fabric.fence(&upstream, link)).await {
        Ok(Ok(outcome)) => {
            tracing::debug!(%upstream, generation = %link, ?outcome, "fenced");
            Done::Fenced(link)
        }
        Ok(Err(error)) => {
            tracing::warn!(%upstream, %error, "fence failed");
            Done::NotFenced(link)
        }
        Err(_) => Done::NotFenced(link),
    }
}

//! The handle of a path, and the device that it is.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use blockferry_device::{Answer, Device, DeviceInfo, Failure, Reply, Request};
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use crate::driver::{Driver, connect};
use crate::fabric::{Fabric, Link, Opening, UpstreamError};
use crate::fit::{Misfit, fits};
use crate::generations::Generations;
use crate::machine::{Machine, Phase};
use crate::order::{Turn, WriteOrder};
use crate::shared::{OpenLink, Shared};

/// How a path behaves.
#[derive(Clone, Debug)]
pub struct PathOptions {
    /// How long a request is held before its client is told an error.
    pub client_timeout: Duration,
    /// The order of writes to the volume; all paths of one process to one volume share it.
    pub order: Arc<WriteOrder>,
    /// The generations of the path's links.
    pub generations: Generations,
}

impl PathOptions {
    /// Ten minutes: longer than any restart, shorter than a person waits before looking.
    pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(600);
}

impl Default for PathOptions {
    fn default() -> Self {
        let generations = Generations::ALL;
        Self { client_timeout: Self::CLIENT_TIMEOUT, order: Arc::default(), generations }
    }
}

/// Why a path could not be prepared for a move.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The candidate could not be reached.
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
    /// The client would notice the move.
    #[error("{0}")]
    Misfit(#[from] Misfit),
}

/// What a path is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// One upstream, nothing else.
    Direct,
    /// New requests go to one upstream, another still answers older ones.
    Moving,
    /// Some writes wait until their older copies are fenced.
    Fencing,
    /// No upstream; every request waits.
    Lost,
}

/// A path at one moment.
#[derive(Clone, Debug)]
pub struct PathStatus<U> {
    /// Where new requests go, or went last.
    pub upstream: U,
    /// See there.
    pub state: PathState,
    /// Where the path is to move and has not.
    pub goal: Option<U>,
    /// Requests that the client waits for.
    pub unanswered: usize,
    /// Those of them that no server works on.
    pub held: usize,
    /// Requests that were sent a second time.
    pub replayed: u64,
    /// The longest time that a request took.
    pub longest: Duration,
}

/// A path to the owner of a volume, for one client session. Dropping it ends the session: what a
/// server has begun is waited for or fenced, in the background.
pub struct Path<F: Fabric> {
    shared: Arc<Shared<F>>,
    order: Arc<WriteOrder>,
}

impl<F: Fabric> Path<F> {
    /// Opens a path to the first upstream that can be reached. What its server offers is what the
    /// client is told, and what every later server must offer.
    ///
    /// # Errors
    /// What the last of the upstreams said, or the first that said it is in vain.
    pub async fn open(fabric: F, options: PathOptions) -> Result<Self, UpstreamError> {
        let mut generations = options.generations;
        let mut last = UpstreamError::Unusable("no upstream is known".to_owned());
        for upstream in fabric.locate().await {
            let generation = generations.take().ok_or(UpstreamError::UsedUp)?;
            let opening = Opening { generation, standby: false };
            match connect(&fabric, &upstream, opening).await {
                Ok(link) => {
                    let machine = Machine::new(generation, generations, options.client_timeout);
                    let info = *link.info();
                    let shared =
                        Shared::new(fabric, machine, info, upstream.clone(), Handle::current());
                    let open = OpenLink { upstream, link: Arc::new(link) };
                    shared.lock().links.insert(generation, open);
                    return Ok(Self::begin(shared, options.order));
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => last = UpstreamError::Unusable(format!("{upstream}: {error}")),
            }
        }
        Err(last)
    }

    /// The path of a session that another process had before, which died with requests under way, and
    /// had only lower generations. Its client was told `info`. No request leaves before a server that
    /// fits has fenced everything older; until then the path is lost, and says that it was at
    /// `upstream` last.
    pub fn resume(
        fabric: F,
        options: PathOptions,
        info: DeviceInfo,
        upstream: F::Upstream,
    ) -> Self {
        let PathOptions { client_timeout, order, generations } = options;
        let machine = Machine::resumed(generations, client_timeout, Instant::now());
        Self::begin(Shared::new(fabric, machine, info, upstream, Handle::current()), order)
    }

    fn begin(shared: Shared<F>, order: Arc<WriteOrder>) -> Self {
        let shared = Arc::new(shared);
        tokio::spawn(Driver::new(Arc::clone(&shared)).run());
        Self { shared, order }
    }

    /// What the path is built from.
    pub fn fabric(&self) -> &F {
        &self.shared.fabric
    }

    /// Opens a link to a candidate, so that a later [`Self::move_to`] has nothing left that can fail.
    ///
    /// # Errors
    /// That it cannot be reached, or what a client would notice. The path goes on as before.
    pub async fn prepare(&self, candidate: &F::Upstream) -> Result<(), PrepareError> {
        let generation = {
            let mut state = self.shared.lock();
            if state.is_prepared(candidate) {
                return Ok(());
            }
            state.machine.next_generation().ok_or(UpstreamError::UsedUp)?
        };
        let link = self.connect(candidate, Opening { generation, standby: true }).await;
        if link.is_err() {
            self.shared.lock().machine.give_back(generation);
        }
        let link = link?;
        if let Err(misfit) = fits(&self.shared.info, link.info()) {
            link.disconnect();
            return Err(misfit.into());
        }
        let open = OpenLink { upstream: candidate.clone(), link: Arc::new(link) };
        let earlier = self.shared.lock().standby.replace((generation, open));
        earlier.into_iter().for_each(|(_, open)| open.link.disconnect());
        Ok(())
    }

    /// Opens a link where the path runs, whoever asks: there it stays.
    async fn connect(&self, to: &F::Upstream, opening: Opening) -> Result<F::Link, UpstreamError> {
        let (shared, to) = (Arc::clone(&self.shared), to.clone());
        let opened = async move { connect(&shared.fabric, &to, opening).await };
        let ends = |_| Err(UpstreamError::Unusable("the program ends".to_owned()));
        self.shared.runtime.spawn(opened).await.unwrap_or_else(ends)
    }

    /// Ends the link that [`Self::prepare`] opened: there will be no move.
    pub fn forget_candidate(&self) {
        let standby = self.shared.lock().standby.take();
        standby.into_iter().for_each(|(_, open)| open.link.disconnect());
    }

    /// Has new requests go to another upstream as soon as a link there is open; those under way
    /// finish where they are. No request waits for it. Where the upstream cannot be reached the path
    /// stays and goes on trying. [`Self::at`] waits for the move.
    pub fn move_to(&self, upstream: F::Upstream) {
        self.shared.lock().goal = Some(upstream);
        self.shared.hurry.notify_one();
        self.shared.changed.notify_one();
    }

    /// Waits until all requests go to this upstream: new ones do, and none is left at another.
    pub async fn at(&self, upstream: &F::Upstream) {
        loop {
            let mut moved = std::pin::pin!(self.shared.moved.notified());
            moved.as_mut().enable();
            let status = self.status();
            if status.upstream == *upstream && status.state == PathState::Direct {
                return;
            }
            moved.await;
        }
    }

    /// What the path is doing.
    pub fn status(&self) -> PathStatus<F::Upstream> {
        let state = self.shared.lock();
        PathStatus {
            upstream: state.upstream.clone(),
            state: match state.machine.phase() {
                Phase::Direct { .. } => PathState::Direct,
                Phase::Moving { .. } => PathState::Moving,
                Phase::Fencing { .. } => PathState::Fencing,
                Phase::Lost => PathState::Lost,
            },
            goal: state.goal.clone(),
            unanswered: state.machine.unanswered(),
            held: state.machine.waiting(),
            replayed: state.machine.replayed(),
            longest: state.machine.longest(Instant::now()),
        }
    }

    /// Begins a new measurement of the longest request.
    pub fn restart_longest(&self) {
        self.shared.lock().machine.restart_longest();
    }
}

impl<F: Fabric> Device for Path<F> {
    fn info(&self) -> &DeviceInfo {
        &self.shared.info
    }

    fn call(&self, request: Request) -> Answer {
        let turn = request
            .extent()
            .filter(|_| request.is_write())
            .and_then(|extent| Turn::queue(&self.order, extent));
        let runtime = self.shared.runtime.clone();
        let work = Box::pin(Arc::clone(&self.shared).submit(request, turn));
        Answer::later(Lasting { work: Some(work), runtime })
    }
}

impl<F: Fabric> Drop for Path<F> {
    fn drop(&mut self) {
        self.shared.apply(|state| state.machine.close());
        self.shared.changed.notify_one();
    }
}

/// An answer that is worked on even when nobody waits for it any more: until a server has said that
/// a write is over, a newer one to the same blocks must not leave.
struct Lasting {
    work: Option<BoxFuture<'static, Result<Reply, Failure>>>,
    runtime: Handle,
}

impl Future for Lasting {
    type Output = Result<Reply, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let outcome = work.as_mut().poll(context);
        if outcome.is_ready() {
            self.work = None;
        }
        outcome
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.runtime.spawn(work);
        }
    }
}

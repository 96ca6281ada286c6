//! A connection to a server, as a device: many requests under way at once.
//!
//! A [`Link`] only puts requests into a queue; one task per connection (`driver.rs`) sends them and
//! hands the answers back.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blockferry_block::Extent;
use blockferry_device::{Answer, Device, DeviceInfo, Errno, Failure, Reply, Request};
use blockferry_nbd_wire::{Joined, Style};
use futures_util::task::AtomicWaker;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::split;

/// Calls that a link holds at one time, sent or not; a call beyond them begins when another ends.
const CALLS_MAX: usize = 4096;

/// A connection to an export on a server. Clones share it; when the last one is dropped, what is
/// outstanding is finished and the connection closed in good manners.
#[derive(Clone)]
pub struct Link {
    handle: Arc<Handle>,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The server, or this side before it, refused the request.
    #[error("{0}")]
    Refused(Failure),
    /// The connection went away before the answer: the request was executed or not.
    #[error("the connection was lost before the answer came")]
    Lost,
}

/// Why a link is no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkEnd {
    /// This side disconnected.
    #[error("disconnected")]
    Disconnected,
    /// This side cut the connection.
    #[error("cut by this side")]
    Aborted,
    /// The server closed the connection.
    #[error("closed by the server")]
    Closed,
    /// The network failed.
    #[error("the connection failed: {0}")]
    Network(String),
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
}

/// Ends the connection when the last link to it is gone.
struct Handle {
    shared: Arc<Shared>,
}

/// What the links and the task of one connection share.
pub(crate) struct Shared {
    pub(crate) joined: Joined,
    queue: Mutex<Queue>,
    /// Wakes the task.
    pub(crate) waker: AtomicWaker,
    permits: Arc<Semaphore>,
    end: watch::Sender<Option<LinkEnd>>,
}

/// What the links want from the task.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) calls: VecDeque<Call>,
    pub(crate) wish: Wish,
}

/// How the connection shall go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wish {
    #[default]
    Stay,
    /// Finish what is queued, then disconnect.
    Leave,
    /// Cut at once.
    Abort,
    /// The task has ended; nothing is taken any more.
    Gone,
}

/// A request on its way.
pub(crate) struct Call {
    pub(crate) request: Request,
    pub(crate) caller: Caller,
}

/// Who waits for an answer. Dropping it means [`CallError::Lost`].
pub(crate) struct Caller {
    answer: oneshot::Sender<Result<Reply, Failure>>,
    _permit: OwnedSemaphorePermit,
}

impl Caller {
    /// Hands the answer over; nobody may be waiting for it any more.
    pub(crate) fn answer(self, outcome: Result<Reply, Failure>) {
        let _ = self.answer.send(outcome);
    }
}

/// A call that was queued at once, or has to wait for room.
enum Ticket {
    Queued(oneshot::Receiver<Result<Reply, Failure>>),
    Waiting(Request),
}

impl Link {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { handle: Arc::new(Handle { shared }) }
    }

    /// What the export is and can do, as the server told it.
    pub fn info(&self) -> &DeviceInfo {
        &self.shared().joined.device
    }

    /// Whether the server knows roles and accepted the one that was claimed.
    pub fn role_accepted(&self) -> bool {
        self.shared().joined.role_accepted
    }

    /// Whether requests travel with extended headers, so that an effect may be longer than 4 GiB.
    pub fn extended(&self) -> bool {
        self.shared().joined.negotiated.style == Style::Extended
    }

    /// Sends the request. It is queued before this returns (unless more than 4,096 calls are under
    /// way), and dropping the future does not take it back. What is longer than the server takes
    /// is sent in pieces; a piece's failure is then the whole's.
    ///
    /// # Errors
    /// [`CallError::Refused`] with the server's failure, or this side's where the request does not
    /// fit the export; [`CallError::Lost`] when the connection ended first.
    pub fn request(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Reply, CallError>> + Send + 'static + use<> {
        let shared = Arc::clone(self.shared());
        let begun = Begun::new(&shared, request);
        async move {
            match begun {
                Begun::Here(outcome) => outcome.map_err(CallError::Refused),
                Begun::Whole(ticket) => shared.finish(ticket).await,
                Begun::Pieces(task) => task.await.unwrap_or(Err(CallError::Lost)),
            }
        }
    }

    /// Waits until the connection has ended, and says why.
    pub async fn closed(&self) -> LinkEnd {
        let mut end = self.shared().end.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(LinkEnd::Aborted),
            // The sender lives in what this link holds.
            Err(_) => LinkEnd::Aborted,
        }
    }

    /// Finishes what is outstanding, says good-bye and closes. Calls that come later are lost.
    pub async fn disconnect(self) -> LinkEnd {
        self.shared().wish(Wish::Leave);
        self.closed().await
    }

    /// Cuts the connection now; outstanding calls are lost, and what was not sent is thrown away.
    pub fn abort(&self) {
        self.shared().wish(Wish::Abort);
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

/// How a request is being dealt with.
enum Begun {
    /// It needs no server.
    Here(Result<Reply, Failure>),
    Whole(Ticket),
    Pieces(oneshot::Receiver<Result<Reply, CallError>>),
}

impl Begun {
    fn new(shared: &Arc<Shared>, request: Request) -> Self {
        if let Err(failure) = shared.check(&request) {
            return Self::Here(Err(failure));
        }
        if request.extent().is_some_and(Extent::is_empty) {
            return Self::Here(nothing(&request));
        }
        match split::pieces(&request, &shared.joined) {
            None => Self::Whole(shared.begin(request)),
            Some(pieces) => Self::Pieces(split::run(shared, request, pieces)),
        }
    }
}

/// The answer to a request that touches nothing: what servers make of one is unspecified.
fn nothing(request: &Request) -> Result<Reply, Failure> {
    match request {
        Request::Read { .. } => Ok(Reply::Read(Vec::new())),
        Request::BlockStatus { .. } => {
            Err(Failure::new(Errno::Inval, "the block status of nothing cannot be told"))
        }
        _ => Ok(Reply::Done),
    }
}

impl Shared {
    pub(crate) fn new(joined: Joined) -> Arc<Self> {
        Arc::new(Self {
            joined,
            queue: Mutex::default(),
            waker: AtomicWaker::new(),
            permits: Arc::new(Semaphore::new(CALLS_MAX)),
            end: watch::Sender::new(None),
        })
    }

    /// The queue; a panic while it was held cannot leave it half changed.
    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the links that the connection is no more. Calls in the queue are lost.
    pub(crate) fn ended(&self, end: LinkEnd) {
        let lost = {
            let mut queue = self.queue();
            queue.wish = Wish::Gone;
            std::mem::take(&mut queue.calls)
        };
        drop(lost);
        self.end.send_replace(Some(end));
    }

    /// One whole call, queued now or when there is room.
    pub(crate) async fn call(&self, request: Request) -> Result<Reply, CallError> {
        let ticket = self.begin(request);
        self.finish(ticket).await
    }

    fn begin(&self, request: Request) -> Ticket {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => Ticket::Queued(self.push(request, permit)),
            Err(_) => Ticket::Waiting(request),
        }
    }

    async fn finish(&self, ticket: Ticket) -> Result<Reply, CallError> {
        let receiver = match ticket {
            Ticket::Queued(receiver) => receiver,
            Ticket::Waiting(request) => {
                let permit = Arc::clone(&self.permits).acquire_owned().await;
                self.push(request, permit.map_err(|_| CallError::Lost)?)
            }
        };
        receiver.await.map_err(|_| CallError::Lost)?.map_err(CallError::Refused)
    }

    fn push(
        &self,
        request: Request,
        permit: OwnedSemaphorePermit,
    ) -> oneshot::Receiver<Result<Reply, Failure>> {
        let (answer, receiver) = oneshot::channel();
        let call = Call { request, caller: Caller { answer, _permit: permit } };
        let taken = {
            let mut queue = self.queue();
            let taken = queue.wish == Wish::Stay;
            if taken {
                queue.calls.push_back(call);
            }
            taken
        };
        if taken {
            self.waker.wake();
        }
        receiver
    }

    fn wish(&self, wish: Wish) {
        {
            let mut queue = self.queue();
            let stronger = match queue.wish {
                Wish::Stay => true,
                Wish::Leave => wish == Wish::Abort,
                Wish::Abort | Wish::Gone => false,
            };
            if !stronger {
                return;
            }
            queue.wish = wish;
        }
        self.waker.wake();
    }

    /// Whether the export can take the request at all.
    fn check(&self, request: &Request) -> Result<(), Failure> {
        let device = &self.joined.device;
        device.check(request)?;
        let block = u64::from(device.block_size_min);
        match request.extent() {
            Some(extent) if extent.start() % block != 0 || extent.len() % block != 0 => {
                Err(Failure::new(
                    Errno::Inval,
                    format!("{extent} is not a multiple of the server's block size {block}"),
                ))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.wish(Wish::Leave);
    }
}

impl Device for Link {
    fn info(&self) -> &DeviceInfo {
        self.info()
    }

    fn call(&self, request: Request) -> Answer {
        let answer = self.request(request);
        Box::pin(async move {
            answer.await.map_err(|error| match error {
                CallError::Refused(failure) => failure,
                CallError::Lost => Failure::new(Errno::Io, CallError::Lost.to_string()),
            })
        })
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("joined", &self.shared().joined).finish_non_exhaustive()
    }
}

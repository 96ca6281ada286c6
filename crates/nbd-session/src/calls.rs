//! The calls of one connection between the links that make them and the task that sends them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use blockferry_block::Extent;
use blockferry_device::{Errno, Failure, Reply, Request};
use blockferry_nbd_wire::Joined;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::flow::Flow;
use crate::link::{CallError, Content, LinkEnd};
use crate::split;

/// Calls that a link holds at one time, sent or not; a call beyond them begins when another ends.
const CALLS_MAX: usize = 4096;

/// What the links and the task of one connection share.
pub(crate) struct Shared {
    pub(crate) joined: Joined,
    /// The shortest between a question and its answer in the handshake.
    pub(crate) round_trip: Duration,
    queue: Mutex<Queue>,
    /// Wakes the task.
    pub(crate) waker: AtomicWaker,
    permits: Arc<Semaphore>,
    pub(crate) end: watch::Sender<Option<LinkEnd>>,
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
    pub(crate) flowing: Flowing,
}

/// What of a call does not come or go in one piece.
#[derive(Default)]
pub(crate) enum Flowing {
    #[default]
    Nothing,
    /// The content of a read may: here it is told that it does.
    Answer(oneshot::Sender<Flow>),
    /// The payload of a write.
    Payload(Flow),
}

/// Who waits for an answer. Dropping it means [`CallError::Lost`].
pub(crate) struct Caller {
    answer: oneshot::Sender<Result<Reply, Failure>>,
    _permit: OwnedSemaphorePermit,
}

impl Flowing {
    /// The payload, if it is one.
    pub(crate) fn take_payload(&mut self) -> Option<Flow> {
        match std::mem::take(self) {
            Self::Payload(flow) => Some(flow),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Caller {
    /// Hands the answer over; nobody may be waiting for it any more.
    pub(crate) fn answer(self, outcome: Result<Reply, Failure>) {
        let _ = self.answer.send(outcome);
    }
}

/// A call that was queued at once, or has to wait for room.
pub(crate) enum Ticket {
    Queued(oneshot::Receiver<Result<Reply, Failure>>),
    Waiting(Request),
}

/// How a request is being dealt with.
pub(crate) enum Begun {
    /// It needs no server.
    Here(Result<Reply, Failure>),
    Whole(Ticket),
    Pieces(oneshot::Receiver<Result<Reply, CallError>>),
}

impl Begun {
    pub(crate) fn new(shared: &Arc<Shared>, request: Request) -> Self {
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
    pub(crate) fn new(joined: Joined, round_trip: Duration) -> Arc<Self> {
        Arc::new(Self {
            joined,
            round_trip,
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

    /// A read whose content may flow.
    pub(crate) async fn read_flowing(&self, extent: Extent) -> Result<Content, CallError> {
        let (told, mut flow) = oneshot::channel();
        let request = Request::Read { extent, dont_fragment: false };
        let answer = self.call_flowing(request, Flowing::Answer(told));
        let answer = tokio::select! {
            biased;
            Ok(flow) = &mut flow => return Ok(Content::Flow(flow)),
            answer = answer => answer,
        };
        // What flows has no other answer, and may have begun and ended since it was looked for.
        match flow.try_recv() {
            Ok(flow) => Ok(Content::Flow(flow)),
            Err(_) => answer.map(Content::Whole),
        }
    }

    /// A write whose payload flows.
    pub(crate) async fn write_flowing(
        &self,
        extent: Extent,
        flow: Flow,
    ) -> Result<Reply, CallError> {
        let request = Request::Write { offset: extent.start(), data: Bytes::new(), fua: false };
        self.call_flowing(request, Flowing::Payload(flow)).await
    }

    async fn call_flowing(&self, request: Request, flowing: Flowing) -> Result<Reply, CallError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let receiver = self.push(request, flowing, permit.map_err(|_| CallError::Lost)?);
        receiver.await.map_err(|_| CallError::Lost)?.map_err(CallError::Refused)
    }

    fn begin(&self, request: Request) -> Ticket {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => Ticket::Queued(self.push(request, Flowing::Nothing, permit)),
            Err(_) => Ticket::Waiting(request),
        }
    }

    pub(crate) async fn finish(&self, ticket: Ticket) -> Result<Reply, CallError> {
        let receiver = match ticket {
            Ticket::Queued(receiver) => receiver,
            Ticket::Waiting(request) => {
                let permit = Arc::clone(&self.permits).acquire_owned().await;
                self.push(request, Flowing::Nothing, permit.map_err(|_| CallError::Lost)?)
            }
        };
        receiver.await.map_err(|_| CallError::Lost)?.map_err(CallError::Refused)
    }

    fn push(
        &self,
        request: Request,
        flowing: Flowing,
        permit: OwnedSemaphorePermit,
    ) -> oneshot::Receiver<Result<Reply, Failure>> {
        let (answer, receiver) = oneshot::channel();
        let call = Call { request, caller: Caller { answer, _permit: permit }, flowing };
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

    pub(crate) fn wish(&self, wish: Wish) {
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
    pub(crate) fn check(&self, request: &Request) -> Result<(), Failure> {
        self.joined.device.check(request)?;
        request.extent().map_or(Ok(()), |extent| self.check_blocks(extent))
    }

    /// Whether the export can take a write of a payload that flows.
    pub(crate) fn check_flow(&self, extent: Extent, flow: &Flow) -> Result<(), Failure> {
        let device = &self.joined.device;
        // What does not depend on the data.
        device.check(&Request::Write { offset: extent.start(), data: Bytes::new(), fua: false })?;
        let fits = extent.end() <= device.size && extent.len() <= u64::from(device.payload_max);
        if !fits || extent.len() != flow.length() {
            let length = flow.length();
            let reason = format!("{length} bytes do not fit into {extent}, or into one write");
            return Err(Failure::new(Errno::Inval, reason));
        }
        self.check_blocks(extent)
    }

    fn check_blocks(&self, extent: Extent) -> Result<(), Failure> {
        let block = u64::from(self.joined.device.block_size_min);
        match extent {
            extent if extent.start() % block != 0 || extent.len() % block != 0 => {
                Err(Failure::new(
                    Errno::Inval,
                    format!("{extent} is not a multiple of the server's block size {block}"),
                ))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use blockferry_device::{DeviceInfo, Features};
    use blockferry_nbd_wire::{Negotiated, Style};

    use super::*;
    use crate::flow::FlowSender;

    /// Stands for a connection's task on another processor: all that it does happens within the call
    /// that wakes it.
    struct AtOnce {
        shared: Mutex<Option<Arc<Shared>>>,
        flowing: Mutex<Option<FlowSender>>,
    }

    impl Wake for AtOnce {
        fn wake(self: Arc<Self>) {
            let shared = self.shared.lock().unwrap().take().unwrap();
            let call = shared.queue().calls.pop_front().unwrap();
            let Flowing::Answer(told) = call.flowing else { panic!("a read that may flow") };
            let (mut sender, flow) = Flow::channel(10);
            told.send(flow).unwrap();
            sender.send(Bytes::from_static(b"0123456789"));
            *self.flowing.lock().unwrap() = Some(sender);
            drop(call.caller);
        }
    }

    #[tokio::test]
    async fn content_that_has_flowed_before_anybody_looks_is_not_lost() {
        let negotiated = Negotiated { style: Style::Extended, allocation_context: None };
        let device = DeviceInfo::new(10, Features::default());
        let joined = Joined { device, negotiated, dont_fragment: true, role_accepted: true };
        let shared = Shared::new(joined, Duration::ZERO);
        let task = Arc::new(AtOnce {
            shared: Mutex::new(Some(Arc::clone(&shared))),
            flowing: Mutex::default(),
        });
        shared.waker.register(&Arc::clone(&task).into());
        let Ok(Content::Flow(flow)) = shared.read_flowing(Extent::between(0, 10)).await else {
            panic!("it has flowed");
        };
        assert_eq!(flow.whole().await.unwrap(), &b"0123456789"[..]);
    }
}

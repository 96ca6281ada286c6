//! The transmission phase of one served connection, in one task.
//!
//! ```text
//!   socket -> inbox -> decode -> admit -> device.call -+-> answered at once -> outbox -> socket
//!                                                      +-> parked ... ------------^
//! ```
//!
//! Each turn does all that can be done without waiting: answers that are ready leave in one vectored
//! write. Reading stops while too much is under way, so a client's pressure stays in its own socket.
//! Where the socket is a keeper's, answers leave in frames ([`crate::kept`]), and the connection may
//! begin with what another process has left ([`crate::replay`]).

mod inflow;
mod requests;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use blockferry_device::{Answer, Device};
use blockferry_nbd_wire::{Negotiated, Outbox, RequestDecoder, RequestError};
use bytes::{Buf, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio_util::io::poll_write_buf;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use self::inflow::Inflowing;
use crate::greet::Session;
use crate::kept::Keeping;
use crate::parked::Parked;
use crate::replay::{HeldBack, Replaying};
use blockferry_net::{Awake, BufferedPart, Deadline, Limits, Stream};

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionEnd {
    #[error("the client disconnected")]
    Disconnected,
    #[error("the client closed the connection")]
    Closed,
    #[error("the server is shutting down")]
    Shutdown,
    #[error("the export's owner cut the connection")]
    Cut,
    #[error("a request was begun and not finished in time")]
    SlowRequest,
    #[error("the client did not take its answers in time")]
    SlowReader,
    #[error("the client broke the protocol: {0}")]
    Protocol(#[from] RequestError),
    #[error("the connection failed: {0}")]
    Network(#[from] io::Error),
}

/// Runs a session to its end.
pub(crate) async fn run(
    stream: Stream,
    session: Session,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) -> SessionEnd {
    let Session { opened, negotiated, inbox, keeping, replaying } = session;
    let mut engine = Engine {
        stream,
        decoder: RequestDecoder::new(negotiated.style),
        device: opened.device,
        negotiated,
        inbox,
        outbox: Outbox::new(),
        parked: FuturesUnordered::new(),
        inflow: None,
        cut_short: None,
        keeping,
        replaying,
        held_back: HeldBack::new(),
        charged: 0,
        buffered: limits.buffered_total.part(),
        awake: Awake::new(limits.attention.clone()),
        deadline: Deadline::new(),
        stuck: Deadline::new(),
        reading: Reading::Open,
        cut: Box::pin(opened.cut.cancelled_owned()),
        shutdown: Box::pin(shutdown.cancelled_owned()),
        limits,
    };
    let end = poll_fn(|cx| engine.poll(cx)).await;
    engine.cut_inflow();
    let Engine { stream, device, mut parked, cut_short, keeping, held_back, .. } = engine;
    match end {
        SessionEnd::Cut => stream.cut(),
        _ => drop(stream),
    }
    // What was begun at the device is waited for, though nobody is left to be told. A device that
    // holds requests learns from being dropped that it need not begin them any more.
    drop((device, keeping, held_back));
    while parked.next().await.is_some() {}
    if let Some(answer) = cut_short {
        // It came in part, and its client has gone.
        let _ = answer.await;
    }
    end
}

struct Engine {
    stream: Stream,
    decoder: RequestDecoder,
    device: Arc<dyn Device>,
    negotiated: Negotiated,
    inbox: BytesMut,
    outbox: Outbox,
    parked: FuturesUnordered<Parked>,
    inflow: Option<Inflowing>,
    /// A write that was coming when the session began to end.
    cut_short: Option<Answer>,
    keeping: Option<Keeping>,
    replaying: Option<Replaying>,
    held_back: HeldBack,
    /// Bytes that parked requests hold or will hold when they are answered.
    charged: u64,
    buffered: BufferedPart,
    awake: Awake,
    deadline: Deadline,
    /// Runs while no answer leaves.
    stuck: Deadline,
    reading: Reading,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    limits: Arc<Limits>,
}

/// Whether more requests are taken.
enum Reading {
    Open,
    /// No more; when all is answered and sent, the session ends for this reason.
    Stopped(SessionEnd),
}

impl Engine {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SessionEnd> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(SessionEnd::Cut);
        }
        if matches!(self.reading, Reading::Open) && self.shutdown.as_mut().poll(cx).is_ready() {
            self.stop(SessionEnd::Shutdown);
        }
        match self.turn(cx) {
            Err(end) => Poll::Ready(end),
            Ok(()) if self.poll_stuck(cx).is_ready() => Poll::Ready(SessionEnd::SlowReader),
            Ok(()) => self.poll_deadline(cx),
        }
    }

    /// Does all that can be done now.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), SessionEnd> {
        let mut has_waited = false;
        loop {
            self.take_answers(cx);
            self.take_requests(cx);
            let sent = self.send(cx)?;
            let received = self.receive(cx)?;
            self.account();
            let waiting = self.parked.len() + self.held_back.len();
            let leaving = self.keeping.as_ref().map_or(0, Keeping::leaving);
            let finished = waiting == 0 && leaving == 0 && self.outbox.is_empty();
            if finished && !matches!(self.reading, Reading::Open) {
                return Err(self.stopped());
            }
            if sent || received {
                continue;
            }
            if self.keeping.is_some() {
                self.stay_awake_for_both(cx);
                return Ok(());
            }
            if has_waited {
                // Others have their turn before this one waits again.
                cx.waker().wake_by_ref();
                return Ok(());
            }
            if !self.stay_awake()? {
                return Ok(());
            }
            has_waited = true;
        }
    }

    fn stay_awake_for_both(&mut self, cx: &mut Context<'_>) {
        let is_open = matches!(self.reading, Reading::Open);
        self.awake.wait_for_both(self.parked.len() < 2, is_open, cx);
    }

    /// Waits a moment for the next request, if that is likely to be worth it. True when something has
    /// come.
    fn stay_awake(&mut self) -> Result<bool, SessionEnd> {
        let is_idle = matches!(self.reading, Reading::Open)
            && self.parked.is_empty()
            && self.outbox.is_empty()
            && self.inbox.is_empty();
        let come = self.awake.wait(is_idle, &self.stream, &mut self.inbox)?;
        if come == Some(0) {
            self.stop(SessionEnd::Closed);
        }
        Ok(come.is_some())
    }

    fn stop(&mut self, end: SessionEnd) {
        self.reading = Reading::Stopped(end);
        self.replaying = None;
        self.cut_inflow();
        self.deadline.disarm();
    }

    fn stopped(&mut self) -> SessionEnd {
        match std::mem::replace(&mut self.reading, Reading::Open) {
            Reading::Stopped(end) => end,
            Reading::Open => SessionEnd::Closed,
        }
    }

    fn account(&mut self) {
        let answers = self.waiting_bytes();
        self.buffered.set(self.charged + answers + self.inbox.len() as u64);
    }

    /// Bytes of answers that wait to leave.
    fn waiting_bytes(&self) -> u64 {
        let own = self.keeping.as_ref().map_or(0, Keeping::held);
        own + self.outbox.remaining() as u64
    }

    fn awaits_socket(&self) -> bool {
        self.keeping.as_ref().is_some_and(Keeping::awaits_socket)
    }

    /// Receives once. True when something came.
    fn receive(&mut self, cx: &mut Context<'_>) -> Result<bool, SessionEnd> {
        let wanted = self.replaying.is_some() || self.inflow.is_some() || self.has_room();
        let wanted = matches!(self.reading, Reading::Open) && wanted;
        if !wanted && !self.awaits_socket() {
            return Ok(false);
        }
        let missing = match self.inflow_wants() {
            Some(0) => return Ok(false),
            Some(wanted) => wanted,
            None => self.decoder.missing(&self.inbox),
        };
        match self.poll_receive(cx, missing) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(None)) => Ok(true),
            Poll::Ready(Ok(Some(0))) => {
                // The client may have closed only its sending half, and still wait for answers.
                self.stop(SessionEnd::Closed);
                Ok(true)
            }
            Poll::Ready(Ok(Some(count))) => {
                self.keeping.iter_mut().for_each(|keeping| keeping.received(count));
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(error.into()),
        }
    }

    /// Receives from whoever has the client's bytes; gives how many have come, zero at the end, and
    /// `None` when that is now somebody else.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        missing: usize,
    ) -> Poll<io::Result<Option<usize>>> {
        let inbox = &mut self.inbox;
        if let Some(keeping) = &mut self.keeping
            && let Some(listening) = keeping.poll_listen(cx, (inbox, missing))
        {
            return listening.map_ok(Some);
        }
        let count = ready!(self.stream.poll_receive(cx, inbox, missing))?;
        let lent = count == 0 && self.keeping.as_mut().is_some_and(Keeping::arrive);
        Poll::Ready(Ok((!lent).then_some(count)))
    }

    /// Sends once each way. True when something went.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<bool, SessionEnd> {
        let sent = self.send_outbox(cx)?;
        match self.keeping.as_mut().map(|keeping| keeping.poll_answer(cx)) {
            Some(Poll::Ready(answered)) => Ok(answered? || sent),
            Some(Poll::Pending) | None => Ok(sent),
        }
    }

    fn send_outbox(&mut self, cx: &mut Context<'_>) -> Result<bool, SessionEnd> {
        if self.outbox.is_empty() || self.awaits_socket() {
            return Ok(false);
        }
        match poll_write_buf(Pin::new(&mut self.stream), cx, &mut self.outbox) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => Err(SessionEnd::Closed),
            Poll::Ready(Ok(count)) => {
                if self.keeping.as_mut().is_some_and(|keeping| keeping.sent(count)) {
                    self.stuck.disarm();
                }
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(error.into()),
        }
    }

    /// Ready when others wait for an answer that does not leave.
    fn poll_stuck(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(keeping) = self.keeping.as_ref().filter(|keeping| keeping.leaving() > 0) else {
            self.stuck.disarm();
            return Poll::Pending;
        };
        loop {
            ready!(self.stuck.poll(cx, self.limits.stuck_timeout));
            self.stuck.disarm();
            if keeping.is_waited_for() {
                return Poll::Ready(());
            }
        }
    }

    /// A request that has begun has to come whole in time, unless this side is what holds it up; and
    /// the last answers have to be taken in time. Nothing else has a deadline.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<SessionEnd> {
        let waits_for_client = match self.reading {
            Reading::Open if self.inflow.is_some() => self.inflow_waits(),
            Reading::Open => self.has_room() && self.decoder.is_inside(&self.inbox),
            Reading::Stopped(_) => self.parked.is_empty(),
        };
        if !waits_for_client {
            self.deadline.disarm();
            return Poll::Pending;
        }
        ready!(self.deadline.poll(cx, self.limits.frame_timeout));
        Poll::Ready(match self.reading {
            Reading::Open => SessionEnd::SlowRequest,
            Reading::Stopped(_) => SessionEnd::SlowReader,
        })
    }
}

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

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use blockferry_device::{Device, Errno, Failure, PAYLOAD_MAX, Reply, Request};
use blockferry_nbd_wire::{
    Admitted, Negotiated, Outbox, RequestDecoder, RequestError, RequestFrame, RequestHeader, admit,
    encode_reply,
};
use bytes::{Buf, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio_util::io::poll_write_buf;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::deadline::Deadline;
use crate::greet::Session;
use crate::kept::{Keeping, Origin, Progress};
use crate::limits::{BufferedPart, Limits};
use crate::parked::{Answered, Parked, charge};
use crate::replay::{HeldBack, Replaying};
use crate::stream::Stream;

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
        keeping,
        replaying,
        held_back: HeldBack::new(),
        charged: 0,
        buffered: limits.buffered_total.part(),
        deadline: Deadline::new(),
        reading: Reading::Open,
        cut: Box::pin(opened.cut.cancelled_owned()),
        shutdown: Box::pin(shutdown.cancelled_owned()),
        limits,
    };
    let end = poll_fn(|cx| engine.poll(cx)).await;
    let Engine { stream, device, mut parked, keeping, held_back, .. } = engine;
    match end {
        SessionEnd::Cut => stream.cut(),
        _ => drop(stream),
    }
    // What was begun at the device is waited for, though nobody is left to be told. A device that
    // holds requests learns from being dropped that it need not begin them any more.
    drop((device, keeping, held_back));
    while parked.next().await.is_some() {}
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
    keeping: Option<Keeping>,
    replaying: Option<Replaying>,
    held_back: HeldBack,
    /// Bytes that parked requests hold or will hold when they are answered.
    charged: u64,
    buffered: BufferedPart,
    deadline: Deadline,
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
            Ok(()) => self.poll_deadline(cx),
        }
    }

    /// Does all that can be done now.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), SessionEnd> {
        loop {
            self.take_answers(cx);
            self.take_requests(cx);
            let sent = self.send(cx)?;
            let received = self.receive(cx)?;
            self.account();
            let waiting = self.parked.len() + self.held_back.len();
            let finished = waiting == 0 && self.outbox.is_empty();
            if finished && !matches!(self.reading, Reading::Open) {
                return Err(self.stopped());
            }
            if !sent && !received {
                return Ok(());
            }
        }
    }

    /// Begins every request that is there whole, as long as there is room for its answer.
    fn take_requests(&mut self, cx: &mut Context<'_>) {
        loop {
            self.take_up_held_back(cx);
            if !matches!(self.reading, Reading::Open) || !self.may_take() {
                return;
            }
            match self.decoder.decode(&mut self.inbox) {
                Ok(None) if self.end_replay(Replaying::has_come) => {}
                Ok(None) => return,
                Ok(Some(frame)) => {
                    self.deadline.disarm();
                    self.take_request(frame, cx);
                    self.end_replay(Replaying::is_over);
                }
                Err(error) => self.refuse_stream(error),
            }
        }
    }

    fn may_take(&self) -> bool {
        self.replaying.is_some() || self.has_room() && self.held_back.is_empty()
    }

    /// Ends the replay if it is over; tells whether it has.
    fn end_replay(&mut self, is_over: impl Fn(&Replaying, Progress) -> bool) -> bool {
        let Some(progress) = self.keeping.as_ref().map(Keeping::progress) else { return false };
        self.replaying.take_if(|replaying| is_over(replaying, progress)).is_some()
    }

    fn take_request(&mut self, frame: RequestFrame, cx: &mut Context<'_>) {
        let header = frame.header;
        let origin = self.keeping.as_mut().map(|keeping| keeping.take(&self.inbox));
        let origin = origin.unwrap_or_default();
        let arrival = self.replaying.as_mut().map(|replaying| replaying.take(origin.end()));
        match admit(frame, self.device.info(), &self.negotiated) {
            Ok(Admitted::Call(request)) => self.call((header, origin), request, arrival, cx),
            Ok(Admitted::Nothing) => self.answer(&header, origin, Ok(Reply::Done)),
            Ok(Admitted::Disconnect) => self.stop(SessionEnd::Disconnected),
            Err(failure) => self.answer(&header, origin, Err(failure)),
        }
    }

    /// Asks the device; an answer that is ready at once costs no parking.
    fn call(
        &mut self,
        (header, mut origin): (RequestHeader, Origin),
        request: Request,
        arrival: Option<u64>,
        cx: &mut Context<'_>,
    ) {
        let (charge, is_write) = (charge(&request), request.is_write());
        let answer = match &self.keeping {
            None => self.device.call(request),
            Some(keeping) => {
                let (answer, hold) = keeping.call(&self.device, request, arrival);
                origin.hold = hold;
                answer
            }
        };
        let begun = Parked { header, charge, origin, answer };
        if arrival.is_some() && !is_write {
            self.held_back.push_back(begun);
        } else {
            self.begin(begun, cx);
        }
    }

    fn begin(&mut self, mut begun: Parked, cx: &mut Context<'_>) {
        match Pin::new(&mut begun).poll(cx) {
            Poll::Ready(Answered { header, origin, outcome, .. }) => {
                self.answer(&header, origin, outcome);
            }
            Poll::Pending => {
                self.charged += begun.charge;
                self.parked.push(begun);
            }
        }
    }

    fn take_up_held_back(&mut self, cx: &mut Context<'_>) {
        while self.replaying.is_none() && self.has_room() {
            let Some(first) = self.held_back.pop_front() else { return };
            self.begin(first, cx);
        }
    }

    fn take_answers(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(answered)) = self.parked.poll_next_unpin(cx) {
            let Answered { header, charge, origin, outcome } = answered;
            self.charged -= charge;
            self.answer(&header, origin, outcome);
        }
    }

    fn answer(&mut self, header: &RequestHeader, from: Origin, outcome: Result<Reply, Failure>) {
        let (outbox, negotiated) = (&mut self.outbox, &self.negotiated);
        match &mut self.keeping {
            None => encode_reply(outbox, negotiated, header, outcome),
            Some(keeping) => keeping.answer(outbox, negotiated, (header, from), outcome),
        }
    }

    /// The stream cannot be read on. A payload that is too large is answered first.
    fn refuse_stream(&mut self, error: RequestError) {
        if let RequestError::PayloadTooLarge(header) = error {
            let origin = self.keeping.as_mut().map(|keeping| keeping.take(&self.inbox));
            let failure = Failure::new(Errno::Inval, error.to_string());
            self.answer(&header, origin.unwrap_or_default(), Err(failure));
        }
        self.stop(SessionEnd::Protocol(error));
    }

    fn stop(&mut self, end: SessionEnd) {
        self.reading = Reading::Stopped(end);
        self.replaying = None;
        self.deadline.disarm();
    }

    fn stopped(&mut self) -> SessionEnd {
        match std::mem::replace(&mut self.reading, Reading::Open) {
            Reading::Stopped(end) => end,
            Reading::Open => SessionEnd::Closed,
        }
    }

    /// Whether one more request of the largest kind may be begun.
    fn has_room(&self) -> bool {
        let held = self.charged + self.outbox.remaining() as u64;
        let limits = &self.limits;
        let whole_server_full =
            limits.buffered_total.bytes() > limits.buffered_bytes_total_max && held > 0;
        // What has not left may have to be begun again by another, which bounds that, too.
        let leaving = self.keeping.as_ref().map_or(0, Keeping::leaving);
        self.parked.len() + leaving < limits.in_flight_max
            && held <= limits.buffered_bytes_max.saturating_sub(u64::from(PAYLOAD_MAX))
            && !whole_server_full
    }

    fn account(&mut self) {
        let outbox = self.outbox.remaining() as u64;
        self.buffered.set(self.charged + outbox + self.inbox.len() as u64);
    }

    /// Receives once. True when something came.
    fn receive(&mut self, cx: &mut Context<'_>) -> Result<bool, SessionEnd> {
        let wanted = self.replaying.is_some() || self.has_room();
        if !matches!(self.reading, Reading::Open) || !wanted {
            return Ok(false);
        }
        let missing = self.decoder.missing(&self.inbox);
        match self.stream.poll_receive(cx, &mut self.inbox, missing) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => {
                // The client may have closed only its sending half, and still wait for answers.
                self.stop(SessionEnd::Closed);
                Ok(true)
            }
            Poll::Ready(Ok(count)) => {
                self.keeping.as_mut().into_iter().for_each(|keeping| keeping.received(count));
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(error.into()),
        }
    }

    /// Sends once. True when something went.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<bool, SessionEnd> {
        if self.outbox.is_empty() {
            return Ok(false);
        }
        match poll_write_buf(Pin::new(&mut self.stream), cx, &mut self.outbox) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => Err(SessionEnd::Closed),
            Poll::Ready(Ok(count)) => {
                self.keeping.as_mut().into_iter().for_each(|keeping| keeping.sent(count));
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(error.into()),
        }
    }

    /// A request that has begun has to come whole in time, unless this side is what holds it up; and
    /// the last answers have to be taken in time. Nothing else has a deadline.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<SessionEnd> {
        let waits_for_client = match self.reading {
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

//! The task behind a [`crate::Link`]: sends what is queued, hands the answers back.

mod flows;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use blockferry_device::Request;
use blockferry_nbd_wire::{
    Assembler, Cookie, Outbox, ReplyDecoder, ReplyError, ReplyFrame, encode_disconnect,
    encode_request,
};
use bytes::{Buf, BytesMut};
use tokio_util::io::poll_write_buf;

use self::flows::Inflow;
use crate::calls::{Call, Caller, Flowing, Shared, Wish};
use crate::flow::Flow;
use crate::link::LinkEnd;
use crate::slots::Slots;
use blockferry_net::Stream;

/// While more than this waits to be sent, in bytes, queued calls stay queued.
const OUTBOX_BYTES_MAX: usize = 4 << 20;

/// Runs one connection to its end.
pub(crate) async fn drive(stream: Stream, inbox: BytesMut, shared: Arc<Shared>) {
    let mut driver = Driver {
        stream,
        decoder: ReplyDecoder::new(shared.joined.negotiated.style),
        shared,
        backlog: VecDeque::new(),
        inbox,
        outbox: Outbox::new(),
        waiting: Slots::new(),
        inflow: None,
        outflow: None,
        farewell: false,
    };
    let end = poll_fn(|cx| driver.poll(cx)).await;
    tracing::debug!(%end, unanswered = driver.waiting.len(), "a link ended");
    let Driver { stream, shared, waiting, backlog, inflow, outflow, .. } = driver;
    if matches!(end, LinkEnd::Aborted | LinkEnd::BrokeOff) {
        stream.cut();
    } else {
        drop(stream);
    }
    // Calls are lost before the end is told, so that who saw the end finds none unanswered.
    drop((waiting, backlog, inflow, outflow));
    shared.ended(end);
}

struct Driver {
    stream: Stream,
    shared: Arc<Shared>,
    /// Calls taken from the queue, not sent yet.
    backlog: VecDeque<Call>,
    decoder: ReplyDecoder,
    inbox: BytesMut,
    outbox: Outbox,
    waiting: Slots<Waiting>,
    /// Content that is coming, and is handed on.
    inflow: Option<Inflow>,
    /// The payload of the write whose header went last; nothing else is sent before its end.
    outflow: Option<Flow>,
    /// The request to disconnect is in the outbox, or sent.
    farewell: bool,
}

/// A request that was sent, and who wants its answer.
struct Waiting {
    assembler: Assembler,
    caller: Caller,
    flowing: Flowing,
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkEnd> {
        self.shared.waker.register(cx.waker());
        match self.turn(cx) {
            Ok(()) => Poll::Pending,
            Err(end) => Poll::Ready(end),
        }
    }

    /// Does all that can be done now.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), LinkEnd> {
        loop {
            self.take_calls()?;
            while self.send_flow(cx)? {
                self.take_calls()?;
            }
            let received = self.receive(cx)?;
            let sent = self.send(cx)?;
            if self.farewell && self.outbox.is_empty() {
                return Err(LinkEnd::Disconnected);
            }
            if !received && !sent {
                return Ok(());
            }
        }
    }

    fn take_calls(&mut self) -> Result<(), LinkEnd> {
        let wish = {
            let mut queue = self.shared.queue();
            if self.backlog.is_empty() {
                std::mem::swap(&mut self.backlog, &mut queue.calls);
            }
            queue.wish
        };
        if wish == Wish::Abort {
            return Err(LinkEnd::Aborted);
        }
        while self.outflow.is_none() && self.outbox.remaining() < OUTBOX_BYTES_MAX {
            let Some(call) = self.backlog.pop_front() else { break };
            self.encode(call);
        }
        let idle = self.waiting.is_empty() && self.backlog.is_empty() && self.outflow.is_none();
        if wish == Wish::Leave && idle && !self.farewell {
            self.farewell = true;
            encode_disconnect(&mut self.outbox, self.shared.joined.negotiated.style);
        }
        Ok(())
    }

    fn encode(&mut self, call: Call) {
        let Call { mut request, caller, mut flowing } = call;
        let negotiated = &self.shared.joined.negotiated;
        let on_wire = match request {
            Request::Read { dont_fragment, .. } => {
                dont_fragment && self.shared.joined.dont_fragment
            }
            _ => false,
        };
        let assembler = Assembler::new(&request, negotiated, on_wire);
        if let Request::Read { dont_fragment, .. } = &mut request {
            *dont_fragment = on_wire;
        }
        let style = negotiated.style;
        let payload = flowing.take_payload();
        let key = self.waiting.insert(Waiting { assembler, caller, flowing });
        match payload {
            None => encode_request(&mut self.outbox, style, Cookie(key), &request),
            Some(flow) => self.begin_outflow(Cookie(key), &request, flow),
        }
    }

    /// Receives once and hands out what came whole. True when something came.
    fn receive(&mut self, cx: &mut Context<'_>) -> Result<bool, LinkEnd> {
        self.decode()?;
        let missing = self.missing();
        match self.stream.poll_receive(cx, &mut self.inbox, missing) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => Err(LinkEnd::Closed),
            Poll::Ready(Ok(_)) => self.decode().map(|()| true),
            Poll::Ready(Err(error)) => Err(LinkEnd::Network(error.to_string())),
        }
    }

    fn decode(&mut self) -> Result<(), LinkEnd> {
        self.decode_frames().map_err(|error| LinkEnd::Protocol(error.to_string()))
    }

    fn decode_frames(&mut self) -> Result<(), ReplyError> {
        while self.hand_on() {
            let waiting = &self.waiting;
            let pending = |cookie: Cookie| waiting.get(cookie.0).map(|found| &found.assembler);
            match self.decoder.decode(&mut self.inbox, pending)? {
                Some(frame) => self.take_frame(frame)?,
                None if self.begin_inflow()? => {}
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn take_frame(&mut self, frame: ReplyFrame) -> Result<(), ReplyError> {
        let cookie = frame.header.cookie();
        let unknown = ReplyError::UnknownCookie(cookie);
        let found = self.waiting.get_mut(cookie.0).ok_or(unknown)?;
        if let Some(outcome) = found.assembler.take(frame)?
            && let Some(done) = self.waiting.remove(cookie.0)
        {
            done.caller.answer(outcome);
        }
        Ok(())
    }

    /// Sends once. True when something went.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<bool, LinkEnd> {
        if self.outbox.is_empty() {
            return Ok(false);
        }
        match poll_write_buf(Pin::new(&mut self.stream), cx, &mut self.outbox) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => Err(LinkEnd::Closed),
            Poll::Ready(Ok(_)) => Ok(true),
            Poll::Ready(Err(error)) => Err(LinkEnd::Network(error.to_string())),
        }
    }
}

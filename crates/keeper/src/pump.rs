//! Moves bytes between a client's socket and its worker's, as the [`Talk`] has it; or lends the client's
//! socket to the worker, and reads what that has said when it is gone (`loan.rs`).

mod loan;

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;
use tokio::net::UnixStream;
use tokio_util::io::{poll_read_buf, poll_write_buf};

use self::loan::Loan;
use crate::clock::Clock;
use crate::frame::{FrameDecoder, FrameError};
use crate::seat::ClientSocket;
use crate::talk::{Fault, Talk};

/// Room for a receive, in bytes: many small requests come in one.
const RECEIVE_BYTES: usize = 128 << 10;
/// With less room than this a buffer gets new room, in bytes.
const RECEIVE_BYTES_MIN: usize = 32 << 10;

/// Why the bytes have stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PumpEnd {
    #[error("the worker's end of it was closed")]
    WorkerGone,
    #[error("the client's connection failed: {0}")]
    ClientGone(io::Error),
    #[error("the worker broke the protocol: {0}")]
    Frame(#[from] FrameError),
    #[error("the worker broke the protocol: {0}")]
    Fault(#[from] Fault),
    #[error("the worker's record cannot be read: {0}")]
    Record(io::Error),
}

pub(crate) struct Pump<C> {
    client: Client<C>,
    pub(crate) talk: Talk,
    worker: Option<UnixStream>,
    /// Where the worker's record is once it has the client's socket.
    record: Option<OwnedFd>,
    from_client: BytesMut,
    from_worker: BytesMut,
    decoder: FrameDecoder,
    /// The worker takes nothing more, or has been told that there is nothing more.
    hushed: bool,
    /// What the worker has left is taken however slow the client is: it is dead.
    draining: bool,
}

/// Where the client's socket is.
enum Client<C> {
    Here(C),
    Lent(Loan),
    /// It has failed on its way from one to the other.
    Lost,
}

/// What a pump does next.
enum Then {
    /// The bytes have stopped.
    End(PumpEnd),
    /// The worker gets the client's socket.
    Lend,
}

impl<C: ClientSocket> Pump<C> {
    pub(crate) fn new(client: C, talk: Talk) -> Self {
        Self {
            client: Client::Here(client),
            talk,
            worker: None,
            record: None,
            from_client: BytesMut::new(),
            from_worker: BytesMut::new(),
            decoder: FrameDecoder::default(),
            hushed: false,
            draining: false,
        }
    }

    /// Begins with a worker that knows nothing yet.
    pub(crate) fn attach(&mut self, worker: UnixStream, record: Option<OwnedFd>) {
        self.worker = Some(worker);
        self.record = record;
        self.from_worker = BytesMut::new();
        self.decoder = FrameDecoder::default();
        (self.hushed, self.draining) = (false, false);
    }

    /// Whether there is a worker, dead or alive.
    pub(crate) const fn is_attached(&self) -> bool {
        self.worker.is_some()
    }

    /// The client's socket, where it is here.
    pub(crate) fn into_client(self) -> Option<(C, Talk)> {
        match self.client {
            Client::Here(client) => Some((client, self.talk)),
            Client::Lent(_) | Client::Lost => None,
        }
    }

    /// Closes the client's socket at once, wherever it is.
    pub(crate) fn cut(self) {
        match self.client {
            Client::Here(client) => client.cut(),
            Client::Lent(loan) => loan.cut::<C>(),
            Client::Lost => {}
        }
    }

    /// The worker is dead: what it has sent is taken now.
    pub(crate) const fn drain(&mut self) {
        self.draining = true;
    }

    /// Runs until one side ends; without a worker only what is left for the client moves.
    pub(crate) async fn run(&mut self, clock: &Clock) -> PumpEnd {
        let end = loop {
            if let (Client::Lent(_), Some(worker)) = (&self.client, &self.worker) {
                break loan::end_of(worker).await;
            }
            match poll_fn(|cx| self.poll(cx, clock)).await {
                Then::End(end) => break end,
                Then::Lend => {
                    if let Err(end) = self.lend() {
                        break end;
                    }
                }
            }
        };
        self.worker = None;
        let taken_back = self.take_back();
        self.record = None;
        taken_back.err().unwrap_or(end)
    }

    /// Sends what is left for the client.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            while self.talk.to_client().has_remaining() {
                std::task::ready!(self.poll_client(cx))?;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>, clock: &Clock) -> Poll<Then> {
        loop {
            match self.turn(cx, clock) {
                Err(end) => return Poll::Ready(Then::End(end)),
                Ok(_) if self.is_to_be_lent() => return Poll::Ready(Then::Lend),
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
            }
        }
    }

    const fn is_here(&self) -> bool {
        matches!(self.client, Client::Here(_))
    }

    fn is_to_be_lent(&self) -> bool {
        self.worker.is_some() && !self.draining && self.is_here() && self.talk.is_to_be_lent()
    }

    /// Does each thing that can be done now once; tells whether anything was.
    fn turn(&mut self, cx: &mut Context<'_>, clock: &Clock) -> Result<bool, PumpEnd> {
        let received = self.receive_frames(cx)?;
        let sent = self.send_to_client(cx)?;
        let heard = self.receive_from_client(cx, clock)?;
        let told = self.tell_worker(cx);
        Ok(received || sent || heard || told)
    }

    fn receive_frames(&mut self, cx: &mut Context<'_>) -> Result<bool, PumpEnd> {
        let Some(worker) = &mut self.worker else { return Ok(false) };
        if !self.draining && !self.talk.wants_frames() {
            return Ok(false);
        }
        let missing = self.decoder.missing(&self.from_worker);
        make_room(&mut self.from_worker, missing);
        match poll_read_buf(Pin::new(worker), cx, &mut self.from_worker) {
            Poll::Pending => return Ok(false),
            // A worker that was killed with bytes unread resets the connection behind what it sent.
            Poll::Ready(Ok(0) | Err(_)) => return Err(PumpEnd::WorkerGone),
            Poll::Ready(Ok(_)) => {}
        }
        self.take_frames()?;
        Ok(true)
    }

    fn take_frames(&mut self) -> Result<(), PumpEnd> {
        while let Some(frame) = self.decoder.decode(&mut self.from_worker)? {
            self.talk.take_frame(frame)?;
        }
        Ok(())
    }

    fn send_to_client(&mut self, cx: &mut Context<'_>) -> Result<bool, PumpEnd> {
        if !self.talk.to_client().has_remaining() {
            return Ok(false);
        }
        match self.poll_client(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(error)) => Err(PumpEnd::ClientGone(error)),
        }
    }

    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Client::Here(client) = &mut self.client else { return Poll::Pending };
        let mut bytes = self.talk.to_client();
        let sent = std::task::ready!(poll_write_buf(Pin::new(client), cx, &mut bytes))?;
        Poll::Ready(if sent > 0 { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) })
    }

    fn receive_from_client(
        &mut self,
        cx: &mut Context<'_>,
        clock: &Clock,
    ) -> Result<bool, PumpEnd> {
        if self.worker.is_none() || self.draining || !self.talk.wants_input() {
            return Ok(false);
        }
        let Client::Here(client) = &mut self.client else { return Ok(false) };
        make_room(&mut self.from_client, 0);
        match poll_read_buf(Pin::new(client), cx, &mut self.from_client) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(0)) => self.talk.end_input(),
            Poll::Ready(Ok(_)) => {
                let arrival = clock.tick();
                self.talk.take_input(self.from_client.split().freeze(), arrival);
            }
            Poll::Ready(Err(error)) => return Err(PumpEnd::ClientGone(error)),
        }
        Ok(true)
    }

    /// A worker that takes nothing more may still have sent something, so its end is seen elsewhere.
    fn tell_worker(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(worker) = self.worker.as_mut().filter(|_| !self.hushed) else { return false };
        if self.talk.is_over_for_worker() {
            // Where it fails the worker is gone.
            self.hushed = Pin::new(worker).poll_shutdown(cx).is_ready();
            return self.hushed;
        }
        let mut bytes = self.talk.to_worker();
        if !bytes.has_remaining() {
            return false;
        }
        match poll_write_buf(Pin::new(worker), cx, &mut bytes) {
            Poll::Pending => false,
            Poll::Ready(Ok(_)) => true,
            Poll::Ready(Err(_)) => {
                self.hushed = true;
                true
            }
        }
    }
}

fn make_room(buffer: &mut BytesMut, missing: usize) {
    if buffer.capacity() - buffer.len() < missing.max(RECEIVE_BYTES_MIN) {
        buffer.reserve(missing.max(RECEIVE_BYTES));
    }
}

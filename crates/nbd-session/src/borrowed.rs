//! A client's own socket, which its keeper lends: read and written here, with every byte on the keeper's
//! record before it is taken or sent.
//!
//! ```text
//!   client's socket ── look ──▶ written down ── take ──▶ requests
//!   client's socket ◀── send ── written down ◀────────── answers
//! ```
//!
//! What is written down the keeper finds, whatever becomes of this process. So a successor is told of
//! everything that was taken and has no answer, and the rest of what was begun is sent.

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use blockferry_keeper::{Clock, Recorder};
use blockferry_nbd_wire::Outbox;
use bytes::{Buf, BufMut, BytesMut};
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::io::{poll_read_buf, poll_write_buf};

use crate::exports::Hold;
use blockferry_net::receive_into;

/// Looked at in one go at most, in bytes.
const LOOK_BYTES_MAX: usize = 256 << 10;

/// A client's socket, and what it takes to use it.
#[derive(Debug)]
pub struct Borrowed {
    /// The socket. It may be touched when the keeper has nothing more to tell.
    pub socket: TcpStream,
    /// The order of everything that this process receives; shared by all its clients.
    pub clock: Arc<Clock>,
    /// Memory for the record, which the keeper has, too.
    pub record: OwnedFd,
}

/// See the module.
pub(crate) struct Lending {
    socket: TcpStream,
    clock: Arc<Clock>,
    recorder: Recorder,
    /// The keeper has told and sent everything that was its own to tell and to send.
    is_here: bool,
    answers: Outbox,
    /// Bytes of answers that the socket has taken.
    given: u64,
    /// What ends with answers that are not written down.
    holds: Vec<Hold>,
}

impl Lending {
    /// For a client of whose stream so much has come, and so much is settled.
    pub(crate) fn new(borrowed: Borrowed, received: u64, settled: u64) -> io::Result<Self> {
        let Borrowed { socket, clock, record } = borrowed;
        let recorder = Recorder::new(record, received, settled)?;
        let (answers, holds) = (Outbox::new(), Vec::new());
        Ok(Self { socket, clock, recorder, is_here: false, answers, given: 0, holds })
    }

    pub(crate) const fn is_here(&self) -> bool {
        self.is_here
    }

    /// The keeper has nothing more.
    pub(crate) const fn arrive(&mut self) {
        self.is_here = true;
    }

    /// The keeper has told so many bytes.
    pub(crate) fn told(&mut self, count: u64) {
        if !self.is_here {
            self.recorder.told(count);
        }
    }

    /// Bytes that wait for the client.
    pub(crate) fn held(&self) -> usize {
        self.answers.remaining()
    }

    /// What ends with answers that are not written down.
    pub(crate) fn holds(&self) -> &[Hold] {
        &self.holds
    }

    /// Takes an answer, which settles a part of the client's stream.
    pub(crate) fn answer(&mut self, answer: &mut Outbox, settles: Range<u64>, hold: Hold) {
        self.recorder.answer(settles, answer.remaining(), answer.pieces());
        self.answers.append(answer);
        self.holds.push(hold);
    }

    /// Writes down and sends once what is there. True when something went.
    pub(crate) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if !self.is_here || self.answers.is_empty() {
            return Poll::Ready(Ok(false));
        }
        self.recorder.write()?;
        self.holds.clear();
        let sent = ready!(poll_write_buf(Pin::new(&mut self.socket), cx, &mut self.answers))?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.given += sent as u64;
        if self.recorder.is_long(self.answers.remaining()) {
            self.recorder.renew(self.given, self.answers.pieces())?;
        }
        Poll::Ready(Ok(true))
    }

    /// Takes what the client has sent, once it is written down; gives how much, zero at its end.
    pub(crate) fn poll_listen(
        &mut self,
        cx: &mut Context<'_>,
        (inbox, missing): (&mut BytesMut, usize),
    ) -> Poll<io::Result<usize>> {
        let (whole, mut full) = (inbox.len(), false);
        let count = ready!(receive_into(inbox, missing.min(LOOK_BYTES_MAX), |room| {
            let (mut look, mut into) = (Look(&self.socket), room.limit(LOOK_BYTES_MAX));
            let space = into.chunk_mut().len();
            let looked = poll_read_buf(Pin::new(&mut look), cx, &mut into);
            full = matches!(looked, Poll::Ready(Ok(count)) if count == space);
            looked
        }))?;
        if count > 0 {
            let seen = &mut inbox[whole..];
            self.recorder.hear(seen, self.clock.tick())?;
            take(&self.socket, seen, full)?;
        }
        Poll::Ready(Ok(count))
    }
}

/// Takes what was looked at out of the socket, without another copy. Unless there may be more, it is not
/// looked at again before something comes.
fn take(socket: &TcpStream, seen: &mut [u8], more: bool) -> io::Result<()> {
    let mut taken = Ok(0);
    // Its outcome is that nothing is there, which the runtime believes until it hears of something.
    let _ = socket.try_io(Interest::READABLE, || -> io::Result<()> {
        // A TCP socket drops what is truncated and does not touch the memory.
        taken = rustix::net::recv(socket, &mut *seen, RecvFlags::TRUNC | RecvFlags::DONTWAIT)
            .map(|(_, count)| count);
        if more { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    });
    match taken? {
        count if count == seen.len() => Ok(()),
        _ => Err(io::Error::other("somebody else reads the client's socket")),
    }
}

/// Reads without taking.
struct Look<'a>(&'a TcpStream);

impl AsyncRead for Look<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_peek(cx, buffer).map_ok(|_| ())
    }
}

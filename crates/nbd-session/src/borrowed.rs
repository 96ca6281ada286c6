//! A client's own socket, which its keeper lends: read and written here, with every byte on the keeper's
//! record before it is taken or sent.
//!
//! ```text
//!   client's socket ── look ──▶ told to the keeper ── take ──▶ requests
//!   client's socket ◀── send ── told to the keeper ◀────────── answers
//! ```
//!
//! What the keeper's socket has taken the keeper gets, whatever becomes of this process. So a successor
//! is told of everything that was taken and has no answer, and sends the rest of what was begun.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use blockferry_keeper::{Clock, FrameHeader, Kind};
use blockferry_nbd_wire::Outbox;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::io::{poll_read_buf, poll_write_buf};

/// Looked at in one go, in bytes: many small requests come in one.
const LOOK_BYTES: usize = 128 << 10;
/// The same at most, where more is known to follow.
const LOOK_BYTES_MAX: usize = 256 << 10;

/// A client's socket, and the order of everything that this process receives.
#[derive(Debug)]
pub struct Borrowed {
    /// The socket. It may be touched when the keeper has nothing more to tell.
    pub socket: TcpStream,
    /// Shared by all clients of a process.
    pub clock: Arc<Clock>,
}

/// See the module.
pub(crate) struct Lending {
    borrowed: Borrowed,
    /// The keeper has told and sent everything that was its own to tell and to send.
    is_here: bool,
    heard: Option<Heard>,
    /// Parts of answers that the keeper does not have whole, with where they end on their way to it.
    unrecorded: VecDeque<(u64, Bytes)>,
    unrecorded_bytes: usize,
    answers: Outbox,
}

/// What lies in the socket and was told to the keeper.
struct Heard {
    bytes: BytesMut,
    /// Where it ends on its way to the keeper.
    end: u64,
}

/// What listening has brought.
pub(crate) enum News {
    /// The client has closed its sending half.
    End,
    /// So many bytes are to be told to the keeper before they are taken.
    Told(usize),
    /// So many bytes are in the inbox.
    Taken(usize),
}

impl Lending {
    pub(crate) fn new(borrowed: Borrowed) -> Self {
        Self {
            borrowed,
            is_here: false,
            heard: None,
            unrecorded: VecDeque::new(),
            unrecorded_bytes: 0,
            answers: Outbox::new(),
        }
    }

    pub(crate) const fn is_here(&self) -> bool {
        self.is_here
    }

    /// The keeper has nothing more.
    pub(crate) const fn arrive(&mut self) {
        self.is_here = true;
    }

    /// Bytes that wait for the client.
    pub(crate) fn held(&self) -> usize {
        self.unrecorded_bytes + self.answers.remaining()
    }

    /// A part of an answer, which may be sent when the keeper's socket has taken what is before `end`.
    pub(crate) fn record(&mut self, part: Bytes, end: u64) {
        self.unrecorded_bytes += part.len();
        self.unrecorded.push_back((end, part));
    }

    /// The keeper's socket has taken so much.
    pub(crate) fn recorded(&mut self, sent: u64) {
        while self.unrecorded.front().is_some_and(|(end, _)| *end <= sent) {
            let Some((_, part)) = self.unrecorded.pop_front() else { return };
            self.unrecorded_bytes -= part.len();
            self.answers.put_payload(part);
        }
    }

    /// Sends once what may be sent. True when something went.
    pub(crate) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.answers.is_empty() {
            return Poll::Ready(Ok(false));
        }
        let socket = Pin::new(&mut self.borrowed.socket);
        let sent = ready!(poll_write_buf(socket, cx, &mut self.answers))?;
        Poll::Ready(if sent > 0 { Ok(true) } else { Err(io::ErrorKind::WriteZero.into()) })
    }

    /// Looks at what the client has sent, or takes what the keeper was told of. `put` and `sent` are how
    /// much was put out for the keeper, and how much of that its socket has taken.
    pub(crate) fn poll_listen(
        &mut self,
        cx: &mut Context<'_>,
        (inbox, missing): (&mut BytesMut, usize),
        outbox: &mut Outbox,
        (put, sent): (u64, u64),
    ) -> Poll<io::Result<News>> {
        if let Some(Heard { bytes, end }) = &mut self.heard {
            if sent < *end {
                return Poll::Pending;
            }
            ready!(take(&self.borrowed.socket, cx, bytes))?;
            let count = bytes.len();
            inbox.unsplit(std::mem::take(bytes));
            self.heard = None;
            return Poll::Ready(Ok(News::Taken(count)));
        }
        let room = missing.clamp(LOOK_BYTES, LOOK_BYTES_MAX);
        inbox.reserve(room);
        let whole = inbox.len();
        let (mut look, mut into) = (Look(&self.borrowed.socket), (&mut *inbox).limit(room));
        let count = ready!(poll_read_buf(Pin::new(&mut look), cx, &mut into))?;
        if count == 0 {
            return Poll::Ready(Ok(News::End));
        }
        let bytes = inbox.split_off(whole);
        let arrival = self.borrowed.clock.tick();
        let settles = arrival..arrival;
        let header = FrameHeader { kind: Kind::Heard, pass: 0, bytes: count, settles }.encode();
        outbox.put(&header);
        outbox.put_payload(Bytes::copy_from_slice(&bytes));
        let told = header.len() + count;
        self.heard = Some(Heard { bytes, end: put + told as u64 });
        Poll::Ready(Ok(News::Told(told)))
    }
}

/// Takes what was looked at out of the socket, without another copy.
fn take(socket: &TcpStream, cx: &mut Context<'_>, seen: &mut BytesMut) -> Poll<io::Result<()>> {
    loop {
        ready!(socket.poll_read_ready(cx))?;
        // A TCP socket drops what is truncated and does not touch the memory.
        let take = || Ok(rustix::net::recv(socket, &mut seen[..], RecvFlags::TRUNC)?.1);
        return match socket.try_io(Interest::READABLE, take) {
            Ok(count) if count == seen.len() => Poll::Ready(Ok(())),
            Ok(_) => Poll::Ready(Err(io::Error::other("somebody else reads the client's socket"))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => Poll::Ready(Err(error)),
        };
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

//! A connected socket of either kind, and how it is tuned.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use blockferry_keeper::ClientSocket;
use blockferry_tcp_progress::progress;
use bytes::BytesMut;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::{Domain, SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::io::poll_read_buf;

use crate::address::Address;
use crate::room::{RECEIVE_BYTES, receive_into};

/// A silent peer is probed after this long.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
/// Probes follow one another this far apart.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// So many unanswered probes end the connection: a peer that vanished is noticed in 25 s.
const KEEPALIVE_RETRIES: u32 = 3;

thread_local! {
    /// What is received past the runtime, until it is known how much it is.
    static AT_ONCE: RefCell<Vec<u8>> = RefCell::new(vec![0; RECEIVE_BYTES]);
}

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Somebody over TCP.
    Tcp(SocketAddr),
    /// Somebody on this machine, over a unix socket.
    Unix,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => fmt::Display::fmt(address, f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl Stream {
    /// Connects to a server.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn connect(address: &Address) -> io::Result<Self> {
        let stream = match address {
            Address::Tcp(host, port) => {
                Self::Tcp(TcpStream::connect((host.as_str(), *port)).await?)
            }
            Address::Unix(path) => Self::Unix(UnixStream::connect(path).await?),
        };
        stream.tune()?;
        Ok(stream)
    }

    /// Switches delays off and probes on; a unix socket needs neither.
    ///
    /// # Errors
    /// What the operating system says, mostly that the peer has gone.
    pub fn tune(&self) -> io::Result<()> {
        let Self::Tcp(stream) = self else { return Ok(()) };
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        SockRef::from(stream).set_tcp_keepalive(&keepalive)
    }

    /// Counts a TCP connection as lost when what was sent is not taken by the other system for so
    /// long: without data under way that is what the probes are for.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn lose_after(&self, silence: Duration) -> io::Result<()> {
        let Self::Tcp(stream) = self else { return Ok(()) };
        SockRef::from(stream).set_tcp_user_timeout(Some(silence))
    }

    /// Who is at the other end; a TCP peer that has gone already counts as unspecified.
    pub fn peer(&self) -> Peer {
        match self {
            Self::Tcp(stream) => Peer::Tcp(
                stream.peer_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0))),
            ),
            Self::Unix(_) => Peer::Unix,
        }
    }

    /// Does what needs the socket to be ready for it, once it is.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) async fn when<T>(
        &self,
        ready: Interest,
        act: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        match self {
            Self::Tcp(stream) => stream.async_io(ready, act).await,
            Self::Unix(stream) => stream.async_io(ready, act).await,
        }
    }

    /// Tells the other end that nothing more will come.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn say_no_more(&self) -> io::Result<()> {
        SockRef::from(self).shutdown(Shutdown::Write)
    }

    /// Receives once, behind what the buffer holds; tells how much came, zero at the end. `missing`
    /// is how much is known to follow.
    pub fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        missing: usize,
    ) -> Poll<io::Result<usize>> {
        receive_into(buffer, missing, |room| poll_read_buf(Pin::new(self), cx, room))
    }

    /// The same past the runtime: gives nothing where nothing is there. The runtime will take what it
    /// hears of that later for news, and find none.
    ///
    /// # Errors
    /// What the operating system says, other than that it has to wait.
    pub fn receive_now(&self, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
        AT_ONCE.with_borrow_mut(|bytes| {
            let received = match self {
                Self::Tcp(stream) => recv(stream, &mut bytes[..], RecvFlags::DONTWAIT),
                Self::Unix(stream) => recv(stream, &mut bytes[..], RecvFlags::DONTWAIT),
            };
            match received {
                Ok((count, _)) => {
                    buffer.extend_from_slice(&bytes[..count]);
                    Ok(Some(count))
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// A socket that another process has had, non-blocking as that had it.
    ///
    /// # Errors
    /// When it is no such socket.
    pub fn adopt(descriptor: OwnedFd) -> io::Result<Self> {
        if SockRef::from(&descriptor).domain()? == Domain::UNIX {
            return UnixStream::from_std(descriptor.into()).map(Self::Unix);
        }
        TcpStream::from_std(descriptor.into()).map(Self::Tcp)
    }

    /// The socket for another process.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn into_descriptor(self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(Into::into),
            Self::Unix(stream) => stream.into_std().map(Into::into),
        }
    }

    /// Closes at once: what was not sent yet is thrown away, and a TCP peer sees a reset.
    pub fn cut(self) {
        if let Self::Tcp(stream) = &self {
            // Where it fails the socket is dead already.
            let _ = stream.set_zero_linger();
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl ClientSocket for Stream {
    fn cut(self) {
        Self::cut(self);
    }

    fn to_lend(&self) -> Option<OwnedFd> {
        let Self::Tcp(stream) = self else { return None };
        progress(stream.as_fd()).ok()?;
        stream.as_fd().try_clone_to_owned().ok()
    }

    fn into_descriptor(self) -> io::Result<OwnedFd> {
        Self::into_descriptor(self)
    }

    fn from_descriptor(descriptor: OwnedFd) -> io::Result<Self> {
        Self::adopt(descriptor)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

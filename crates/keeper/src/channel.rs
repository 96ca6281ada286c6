//! The socket between keeper and worker: packets, some with sockets of a client's.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::Bytes;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::process::Signal;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use crate::message::MESSAGE_BYTES_MAX;

/// One end.
#[derive(Debug)]
pub struct Channel {
    /// For its readiness alone: it is no datagram socket, since those do not tell of their peer's end.
    socket: UnixDatagram,
}

/// Sockets that go with one packet, at most.
pub(crate) const SOCKETS_MAX: usize = 3;

/// A packet, and the sockets that came with it.
#[derive(Debug)]
pub struct Packet {
    /// What was said.
    pub bytes: Bytes,
    /// What came along.
    pub sockets: Vec<OwnedFd>,
}

impl Channel {
    /// Two ends, one of them to be a worker's standard input.
    ///
    /// # Errors
    /// When the operating system has no sockets left.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let kind = SocketType::SEQPACKET;
        let (near, far) = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None)?;
        Ok((Self::new(near)?, far))
    }

    /// The worker's end, which is its standard input. From now on the process ends with its keeper,
    /// even where it is stopped and cannot see the channel's end.
    ///
    /// # Errors
    /// When it is no such socket.
    pub fn inherited() -> io::Result<Self> {
        let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
        let kind = rustix::net::sockopt::socket_type(&socket)?;
        if kind != SocketType::SEQPACKET {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not started by a keeper"));
        }
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        Self::new(socket)
    }

    fn new(socket: OwnedFd) -> io::Result<Self> {
        fcntl_setfl(&socket, fcntl_getfl(&socket)? | OFlags::NONBLOCK)?;
        Ok(Self { socket: UnixDatagram::from_std(socket.into())? })
    }

    /// Sends a packet, with sockets where there are any.
    ///
    /// # Errors
    /// When the other end is gone.
    pub async fn send(&self, packet: &[u8], with: &[BorrowedFd<'_>]) -> io::Result<()> {
        let socket = &self.socket;
        self.socket.async_io(Interest::WRITABLE, || send(socket.as_fd(), packet, with)).await
    }

    /// The next packet; `None` when the other end is gone.
    ///
    /// # Errors
    /// As `recvmsg(2)`, and for a packet that is longer than any message.
    pub async fn receive(&self) -> io::Result<Option<Packet>> {
        let socket = &self.socket;
        match self.socket.async_io(Interest::READABLE, || receive(socket.as_fd())).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            outcome => outcome,
        }
    }
}

fn send(end: BorrowedFd<'_>, packet: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets for a packet"));
    }
    rustix::net::sendmsg(end, &[IoSlice::new(packet)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(end: BorrowedFd<'_>) -> io::Result<Option<Packet>> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let received = rustix::net::recvmsg(end, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let sockets = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => sockets.collect(),
        _ => Vec::new(),
    });
    let sockets = sockets.collect();
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet longer than any message"));
    }
    bytes.truncate(received.bytes);
    // A packet of nothing is how the end of such a socket reads.
    Ok((received.bytes > 0).then(|| Packet { bytes: bytes.into(), sockets }))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn a_socket_arrives_with_its_packet_and_works() {
        let (keeper, end) = Channel::pair().unwrap();
        let worker = Channel::new(end).unwrap();
        let (mut near, far) = UnixStream::pair().unwrap();
        let far = far.into_std().unwrap();
        keeper.send(b"with", &[far.as_fd()]).await.unwrap();
        drop(far);
        keeper.send(b"without", &[]).await.unwrap();
        let first = worker.receive().await.unwrap().unwrap();
        let second = worker.receive().await.unwrap().unwrap();
        assert_eq!((&first.bytes[..], &second.bytes[..]), (&b"with"[..], &b"without"[..]));
        assert!(second.sockets.is_empty());
        let far = first.sockets.into_iter().next().unwrap();
        let far = std::os::unix::net::UnixStream::from(far);
        let mut far = UnixStream::from_std(far).unwrap();
        far.write_all(b"through").await.unwrap();
        drop(far);
        let mut got = Vec::new();
        near.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"through");
    }

    #[tokio::test]
    async fn the_end_of_one_side_is_seen_by_the_other_behind_what_it_said() {
        let (keeper, end) = Channel::pair().unwrap();
        let worker = Channel::new(end).unwrap();
        worker.send(b"last words", &[]).await.unwrap();
        drop(worker);
        assert_eq!(keeper.receive().await.unwrap().unwrap().bytes, "last words");
        assert!(keeper.receive().await.unwrap().is_none());
        assert!(keeper.send(b"too late", &[]).await.is_err());
    }
}

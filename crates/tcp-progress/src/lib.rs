//! How far a TCP connection has come, as the kernel counts it: so that whoever has the socket next knows
//! what the one before has taken from it and given to it, however that one ended.
//!
//! The two options that are asked here are in no safe wrapper that is kept up, so they are asked with
//! unsafe code.

mod sys;

use std::io;
use std::os::fd::BorrowedFd;

/// Bytes of a connection. Only differences say something: where the counts begin is the kernel's affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What was received and taken by whoever has read the socket.
    pub taken: u64,
    /// What the socket was given to send, sent or not.
    pub given: u64,
}

impl Progress {
    /// What has come to it since.
    ///
    /// # Errors
    /// When this is not later.
    pub fn since(self, earlier: Self) -> io::Result<Self> {
        let taken = self.taken.checked_sub(earlier.taken);
        let given = self.given.checked_sub(earlier.given);
        match (taken, given) {
            (Some(taken), Some(given)) => Ok(Self { taken, given }),
            _ => Err(io::Error::other("a connection's counts ran backwards")),
        }
    }
}

/// Looks until nothing has moved in between, at most so often.
const LOOKS_MAX: usize = 1000;

/// States in which the peer's end of the stream has come, which counts as a byte received: Linux's
/// `TCP_TIME_WAIT`, `TCP_CLOSE_WAIT`, `TCP_LAST_ACK` and `TCP_CLOSING`.
const PEER_HAS_ENDED: [u8; 4] = [6, 8, 9, 11];

/// Linux's `TCP_CLOSE`: there is no connection, and no count can be trusted.
const CLOSED: u8 = 7;

/// How far the connection has come. Nobody else may read or write the socket meanwhile; the peer may do
/// what it will.
///
/// # Errors
/// When it is no TCP connection or none any more, or the kernel does not count.
pub fn progress(socket: BorrowedFd<'_>) -> io::Result<Progress> {
    for _ in 0..LOOKS_MAX {
        let before = sys::tcp_info(socket)?;
        let unread = rustix::io::ioctl_fionread(socket)?;
        let unacknowledged = sys::unacknowledged(socket)?;
        let after = sys::tcp_info(socket)?;
        if before != after {
            continue;
        }
        if after.state == CLOSED {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let end = u64::from(PEER_HAS_ENDED.contains(&after.state));
        let taken = after.bytes_received.checked_sub(unread + end);
        let taken = taken.ok_or_else(|| io::Error::other("more is unread than was received"))?;
        return Ok(Progress { taken, given: after.bytes_acked + unacknowledged });
    }
    Err(io::Error::other("a connection's counts do not stand still"))
}

#[cfg(test)]
mod tests;

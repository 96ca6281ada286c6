//! The two questions to the kernel.

#![allow(unsafe_code, reason = "no safe wrapper that is kept up asks these; see the functions")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The part of Linux's `struct tcp_info` that is used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpInfo {
    pub(crate) state: u8,
    pub(crate) bytes_acked: u64,
    pub(crate) bytes_received: u64,
}

/// Where the fields lie, and how long the structure is that has them: it only grows (`linux/tcp.h`).
const STATE: usize = 0;
const BYTES_ACKED: usize = 120;
const BYTES_RECEIVED: usize = 128;
const LENGTH: usize = 136;

/// `TCP_INFO` of the socket.
pub(crate) fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    let mut info = [0_u8; LENGTH];
    let mut length = libc::socklen_t::try_from(LENGTH).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `length` bytes, which `info` has, and the count into `length`.
    // Both live through the call, and any bytes are a value of `info`.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    if usize::try_from(length) != Ok(LENGTH) {
        return Err(io::Error::other("the kernel does not count a connection's bytes"));
    }
    let number = |at: usize| {
        let bytes = info[at..].first_chunk().expect("the fields lie inside");
        u64::from_ne_bytes(*bytes)
    };
    Ok(TcpInfo {
        state: info[STATE],
        bytes_acked: number(BYTES_ACKED),
        bytes_received: number(BYTES_RECEIVED),
    })
}

/// `SIOCOUTQ` of the socket: bytes that it was given and that the peer has not acknowledged.
pub(crate) fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes one `int`, which `count` is, and which lives through the call.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    u64::try_from(count).map_err(io::Error::other)
}

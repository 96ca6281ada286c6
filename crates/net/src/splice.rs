//! Passes bytes from one socket to another that nobody here looks at: they never come into the memory of
//! this process.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::io::Interest;
use tokio::time::timeout;

use crate::stream::Stream;

/// Passed on at once, in bytes; how much it is, the pipe between decides.
const AT_ONCE: usize = 1 << 20;

/// When one side has said its last, the other may take so long with its own.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// Joins two connections until both sides have ended, or one has for a while.
///
/// # Errors
/// What the operating system says, as when a connection breaks.
pub async fn join(one: &Stream, other: &Stream) -> io::Result<()> {
    let (mut there, mut back) = (Box::pin(pass(one, other)), Box::pin(pass(other, one)));
    let rest = tokio::select! {
        ended = &mut there => { ended?; back }
        ended = &mut back => { ended?; there }
    };
    // Who says no more gets no more in the end.
    timeout(FAREWELL_MAX, rest).await.unwrap_or(Ok(()))
}

/// Passes on what comes, and then that nothing more does.
async fn pass(from: &Stream, to: &Stream) -> io::Result<()> {
    let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    loop {
        let held = from.when(Interest::READABLE, || moved(from, &into, AT_ONCE)).await?;
        if held == 0 {
            return to.say_no_more();
        }
        let mut left = held;
        while left > 0 {
            left -= to.when(Interest::WRITABLE, || moved(&out, to, left)).await?;
        }
    }
}

fn moved(from: impl AsFd, to: impl AsFd, length: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    Ok(splice(from, None, to, None, length, flags)?)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Nothing takes longer.
    const SOON: Duration = Duration::from_secs(20);

    /// Both ends of a connection over TCP.
    async fn connection() -> (TcpStream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let there = TcpStream::connect(listener.local_addr().expect("bound")).await;
        let (here, _) = listener.accept().await.expect("a client");
        (there.expect("a listener"), Stream::Tcp(here))
    }

    /// Two ends that are joined, and the task that joins them.
    async fn joined() -> (TcpStream, TcpStream, tokio::task::JoinHandle<io::Result<()>>) {
        let ((one, a), (other, b)) = (connection().await, connection().await);
        (one, other, tokio::spawn(async move { join(&a, &b).await }))
    }

    #[tokio::test]
    async fn what_one_side_sends_the_other_receives_whole_and_in_order() {
        let (one, mut other, joined) = joined().await;
        let sent: Vec<u8> = (0..8 << 20_u32).map(|at| (at / 7) as u8).collect();
        let (mut reads, mut writes) = one.into_split();
        let (sending, bytes) = (async { writes.write_all(&sent).await }, &mut Vec::new());
        let receiving = async {
            let mut whole = vec![0; sent.len()];
            other.read_exact(&mut whole).await.map(|_| whole)
        };
        let (done, received) =
            tokio::time::timeout(SOON, async { tokio::join!(sending, receiving) })
                .await
                .expect("an end");
        done.expect("a write");
        assert!(received.expect("a read") == sent);
        other.write_all(b"answer").await.expect("a write");
        drop(other);
        reads.read_to_end(bytes).await.expect("a read");
        assert_eq!(bytes, b"answer");
        drop((reads, writes));
        tokio::time::timeout(SOON, joined)
            .await
            .expect("an end")
            .expect("a task")
            .expect("no error");
    }

    #[tokio::test]
    async fn a_side_that_does_not_end_is_left_when_the_other_has() {
        let (one, other, joined) = joined().await;
        drop(one);
        tokio::time::timeout(SOON, joined)
            .await
            .expect("an end")
            .expect("a task")
            .expect("no error");
        drop(other);
    }
}

//! Content on its way from one connection to another, piece by piece while it comes: the second sends
//! one piece while the first receives the next, and neither holds the whole for long.
//!
//! There is room for all of it in between, so nothing else that comes over the first connection has to
//! wait for whoever takes it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

/// Length of a piece in bytes: short enough to stay in a processor's cache on its way, long enough that
/// handing it on costs little.
pub(crate) const PIECE: usize = 256 << 10;

/// Shortest content that flows, in bytes.
pub(crate) const LONG: u64 = 512 << 10;

/// Content that comes piece by piece. Clones are the same content: each piece goes to one of them.
#[derive(Clone, Debug)]
pub struct Flow(Arc<Flowing>);

#[derive(Debug)]
struct Flowing {
    length: u64,
    taken: AtomicU64,
    pieces: Mutex<mpsc::Receiver<Bytes>>,
}

/// Where a flow's pieces go in. Dropped before all has come, it breaks the flow off.
#[derive(Debug)]
pub struct FlowSender {
    left: u64,
    pieces: mpsc::Sender<Bytes>,
}

impl Flow {
    /// Both ends of a flow of so many bytes.
    pub fn channel(length: u64) -> (FlowSender, Self) {
        // One more for each end, where pieces are cut.
        let count = usize::try_from(length.div_ceil(PIECE as u64)).unwrap_or(usize::MAX);
        let (sender, pieces) = mpsc::channel(count.saturating_add(2));
        let flowing = Flowing { length, taken: AtomicU64::new(0), pieces: Mutex::new(pieces) };
        (FlowSender { left: length, pieces: sender }, Self(Arc::new(flowing)))
    }

    /// Its whole length in bytes, whatever of it has come.
    pub fn length(&self) -> u64 {
        self.0.length
    }

    /// Whether it has ended before all of it came.
    pub fn broke_off(&self) -> bool {
        let pieces = self.0.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = self.0.taken.load(Ordering::Relaxed);
        pieces.is_closed() && pieces.is_empty() && taken < self.length()
    }

    /// All of it in one piece; `None` when it breaks off.
    pub async fn whole(&self) -> Option<Bytes> {
        let mut whole = BytesMut::with_capacity(usize::try_from(self.length()).ok()?);
        while let Some(piece) = self.next().await {
            whole.extend_from_slice(&piece);
        }
        (whole.len() as u64 == self.length()).then(|| whole.freeze())
    }

    /// The next piece; `None` at the end, be it the right one or not.
    pub async fn next(&self) -> Option<Bytes> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut pieces = self.0.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.taken.load(Ordering::Relaxed) >= self.length() {
            return Poll::Ready(None);
        }
        let piece = ready!(pieces.poll_recv(cx));
        let taken = piece.as_ref().map_or(0, Bytes::len) as u64;
        self.0.taken.fetch_add(taken, Ordering::Relaxed);
        Poll::Ready(piece)
    }
}

impl PartialEq for Flow {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Flow {}

impl FlowSender {
    /// Bytes that have not been sent.
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// Length of the next piece in bytes; zero at the end.
    pub(crate) fn next(&self) -> usize {
        usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE)
    }

    /// Hands on what comes next of it. What is beyond its length is left out.
    pub fn send(&mut self, mut piece: Bytes) {
        piece.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= piece.len() as u64;
        // Nobody may want it any more. There is room for pieces of the length that they have here.
        let _ = self.pieces.try_send(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_of_it_fits_in_between_and_comes_out_in_order() {
        let content: Vec<u8> = (0..=250).cycle().take(2 * PIECE + 7).collect();
        let (mut sender, flow) = Flow::channel(content.len() as u64);
        while sender.left() > 0 {
            let at = content.len() - usize::try_from(sender.left()).unwrap();
            sender.send(Bytes::copy_from_slice(&content[at..at + sender.next()]));
        }
        drop(sender);
        assert!(!flow.broke_off());
        assert_eq!(flow.whole().await.unwrap(), content);
        assert!(!flow.broke_off());
    }

    #[tokio::test]
    async fn what_broke_off_is_never_whole() {
        let (mut sender, flow) = Flow::channel(10);
        sender.send(Bytes::from_static(b"123456789"));
        assert!(!flow.broke_off());
        drop(sender);
        assert!(!flow.broke_off(), "what has come can be taken");
        assert_eq!(flow.whole().await, None);
        assert!(flow.broke_off());
    }
}

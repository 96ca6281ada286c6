//! Takes what has ended, in the runtime's time.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;

use crate::Ended;
use crate::sys::{self, Ring};

/// The one that is woken when a read of a ring has ended.
pub struct Reaper<T> {
    ring: AsyncFd<Arc<Ring<T>>>,
}

impl<T> Reaper<T> {
    /// A reaper that the tokio runtime wakes in which this is called.
    ///
    /// # Errors
    /// When the operating system refuses to watch the ring.
    ///
    /// # Panics
    /// Outside a runtime that watches descriptors.
    pub fn new(ring: Arc<Ring<T>>) -> io::Result<Self> {
        Ok(Self { ring: sys::watch(ring)? })
    }

    /// Appends what has ended, at least one read when it is ready.
    ///
    /// # Errors
    /// When the runtime shuts down.
    pub fn poll_reap(
        &self,
        cx: &mut Context<'_>,
        ended: &mut Vec<Ended<T>>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut readable = ready!(self.ring.poll_read_ready(cx))?;
            let before = ended.len();
            self.ring.get_ref().reap(ended);
            if ended.len() > before {
                return Poll::Ready(Ok(()));
            }
            readable.clear_ready();
        }
    }
}

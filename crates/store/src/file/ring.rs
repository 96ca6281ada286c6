//! Reads that wait for the disk while no thread waits for them.
//!
//! The kernel is asked over a ring, by whoever has the request, and one task takes from the ring what has
//! ended. All that is known here is whether a read was whole: what else may come of it, the pool's way of
//! reading finds out and says.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use blockferry_block::Extent;
use blockferry_ring::{Ended, Reaper, Refused, Ring};
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;
use tracing::warn;

use super::buffers::{Buffer, Buffers};
use super::image::Image;

/// Reads of one store that the kernel has at the same time; what comes then goes to the pool. As many as
/// one connection may have under way.
const IN_FLIGHT_MAX: u32 = 128;

/// The ring of one store.
pub(super) struct RingReads {
    shared: Arc<Shared>,
    /// Whether there is a task that reaps. It is started with the first read, inside a runtime.
    has_reaper: OnceLock<bool>,
}

struct Shared {
    ring: Arc<Ring<Asker>>,
    buffers: Buffers,
    /// Has the reaper look at what is queued, and whether it is still needed.
    nudge: AtomicWaker,
    /// Nobody asks any more, or nobody reaps.
    is_closed: AtomicBool,
}

/// Who waits for a read, and how long it is. It gets the content of a whole one, or nothing.
struct Asker {
    length: usize,
    answer: oneshot::Sender<Buffer>,
}

impl RingReads {
    /// A ring for the image.
    ///
    /// # Errors
    /// When the kernel has none, or does not allow it.
    pub(super) fn new(image: &Image) -> io::Result<Self> {
        let shared = Shared {
            ring: Arc::new(Ring::new(image.sync_file.try_clone()?, IN_FLIGHT_MAX)?),
            buffers: image.buffers.clone(),
            nudge: AtomicWaker::new(),
            is_closed: AtomicBool::new(false),
        };
        Ok(Self { shared: Arc::new(shared), has_reaper: OnceLock::new() })
    }

    /// Begins to read the extent, whose length a buffer has; `None` when that is not possible now. The
    /// outcome is `None` when it was not read whole.
    pub(super) fn read(
        &self,
        extent: Extent,
    ) -> Option<impl Future<Output = Option<Bytes>> + use<>> {
        let shared = &self.shared;
        if !*self.has_reaper.get_or_init(|| start_reaper(shared)) || shared.is_closed() {
            return None;
        }
        let answered = shared.ask(extent)?;
        // At once, since the disk is the slowest of all that have a part in it.
        if shared.ring.submit().is_err() {
            shared.nudge.wake();
        }
        Some(async move { answered.await.ok().map(Buffer::into_bytes) })
    }
}

impl Shared {
    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    fn ask(&self, extent: Extent) -> Option<oneshot::Receiver<Buffer>> {
        let length = u32::try_from(extent.len()).ok()?;
        let memory = self.buffers.take(length as usize).lend();
        let (answer, answered) = oneshot::channel();
        let asker = Asker { length: length as usize, answer };
        match self.ring.read(extent.start(), length, memory, asker) {
            Ok(()) => Some(answered),
            Err(Refused { token, memory }) => {
                drop(self.buffers.returned(memory, token.length));
                None
            }
        }
    }

    fn tell(&self, Ended { token, memory, count }: Ended<Asker>) {
        let buffer = self.buffers.returned(memory, token.length);
        if matches!(count, Ok(count) if count == token.length) {
            // Who has gone meanwhile does not want it.
            let _ = token.answer.send(buffer);
        }
    }
}

/// Starts the task that reaps; tells whether it could.
fn start_reaper(shared: &Arc<Shared>) -> bool {
    match Reaper::new(Arc::clone(&shared.ring)) {
        Ok(reaper) => {
            let mut reaping = Reaping { shared: Arc::clone(shared), reaper, ended: Vec::new() };
            drop(tokio::spawn(poll_fn(move |cx| reaping.poll(cx))));
            true
        }
        Err(error) => {
            warn!(%error, "an io_uring cannot be watched; reads wait on threads");
            false
        }
    }
}

/// The task that tells the askers. It ends when the store was dropped and nothing is under way.
struct Reaping {
    shared: Arc<Shared>,
    reaper: Reaper<Asker>,
    ended: Vec<Ended<Asker>>,
}

impl Reaping {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let shared = &self.shared;
        shared.nudge.register(cx.waker());
        if shared.ring.submit().is_err() {
            // The kernel was interrupted, or is short of memory for a moment.
            cx.waker().wake_by_ref();
        }
        while !shared.is_closed() || shared.ring.in_flight() > 0 {
            if ready!(self.reaper.poll_reap(cx, &mut self.ended)).is_err() {
                break;
            }
            self.ended.drain(..).for_each(|ended| shared.tell(ended));
        }
        Poll::Ready(())
    }
}

/// Without it nobody would be told of another read.
impl Drop for Reaping {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::SeqCst);
    }
}

impl Drop for RingReads {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::SeqCst);
        self.shared.nudge.wake();
    }
}

impl fmt::Debug for RingReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RingReads")
    }
}

#[cfg(test)]
mod tests;

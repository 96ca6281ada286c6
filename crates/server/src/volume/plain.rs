//! Serving while there is no migration: requests go to the store and nowhere else.
//!
//! The owner's machine has to know of every update once a migration begins, since a claim waits for
//! those that are applied at the source alone (I5). Until then nobody asks it, and a client's request
//! costs no more than a count. A migration closes this way first: from then on requests take the
//! machine's, and when those counted here have ended it begins. No client waits for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Whether clients of a volume go straight to its store.
#[derive(Debug, Default)]
pub(crate) struct PlainWay(AtomicBool);

impl PlainWay {
    /// No migration is under way, and this side owns the volume.
    pub(super) fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// From now on nobody goes this way; who has begun to may still be on it.
    pub(super) fn close(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    fn is_open(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The requests of one connection that are on the plain way.
#[derive(Debug, Default)]
pub(super) struct PlainRequests {
    count: AtomicUsize,
    none: Notify,
}

impl PlainRequests {
    /// Counts a request in, if the way is open and the connection is not fenced.
    pub(super) fn enter(&self, way: &PlainWay, fenced: &AtomicBool) -> bool {
        self.count.fetch_add(1, Ordering::SeqCst);
        // Counted first and checked afterwards: whoever closes the way, or fences, either sees the
        // request or stops it.
        let enters = way.is_open() && !fenced.load(Ordering::SeqCst);
        if !enters {
            self.leave(way, fenced);
        }
        enters
    }

    /// A request that entered has ended.
    pub(super) fn leave(&self, way: &PlainWay, fenced: &AtomicBool) {
        let was_last = self.count.fetch_sub(1, Ordering::SeqCst) == 1;
        if was_last && (!way.is_open() || fenced.load(Ordering::SeqCst)) {
            self.none.notify_waiters();
        }
    }

    /// Waits until none is under way. The way is closed, or the connection fenced.
    pub(super) async fn ended(&self) {
        loop {
            let mut none = std::pin::pin!(self.none.notified());
            none.as_mut().enable();
            if self.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            none.await;
        }
    }
}

/// Opens the way again when it is dropped, unless the migration has begun.
pub(super) struct Closed(Option<Arc<super::Volume>>);

impl Closed {
    /// Closes the way of a volume and waits until nobody is on it.
    pub(super) async fn wait(volume: &Arc<super::Volume>) -> Self {
        volume.plain.close();
        let closed = Self(Some(Arc::clone(volume)));
        volume.sessions.plain_ended().await;
        closed
    }

    /// The migration has begun: the way stays closed.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        if let Some(volume) = &self.0 {
            volume.plain.open();
        }
    }
}

#[cfg(test)]
mod tests;

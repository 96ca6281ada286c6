//! Serving while there is no migration: what the store can execute at once goes there and nowhere else.
//!
//! The owner's machine has to know of every update that is under way when a migration begins, since a
//! claim waits for those that are applied at the source alone (I5), and for no others. What has to wait
//! for the store is on its record, migration or not (D1.4). What need not wait has ended before anybody
//! could ask, so it costs no more than a count. A migration closes this way first, and then waits for
//! the few that are in the middle of a system call; clients wait for nothing.

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
    pub(super) fn enter<'a>(
        &'a self,
        way: &'a PlainWay,
        fenced: &'a AtomicBool,
    ) -> Option<OnPlainWay<'a>> {
        self.count.fetch_add(1, Ordering::SeqCst);
        let entered = OnPlainWay { requests: self, way, fenced };
        // Counted first and checked afterwards: whoever closes the way, or fences, either sees the
        // request or stops it.
        entered.may_go_on().then_some(entered)
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

/// A request on the plain way, until it is dropped.
pub(super) struct OnPlainWay<'a> {
    requests: &'a PlainRequests,
    way: &'a PlainWay,
    fenced: &'a AtomicBool,
}

impl OnPlainWay<'_> {
    fn may_go_on(&self) -> bool {
        self.way.is_open() && !self.fenced.load(Ordering::SeqCst)
    }
}

impl Drop for OnPlainWay<'_> {
    fn drop(&mut self) {
        let was_last = self.requests.count.fetch_sub(1, Ordering::SeqCst) == 1;
        if was_last && !self.may_go_on() {
            self.requests.none.notify_waiters();
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

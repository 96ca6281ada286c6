//! Serving while there is no migration: what the store can execute at once goes there and nowhere else.
//!
//! The owner's machine has to know of every update that is under way when a migration begins, since a
//! claim waits for those that are applied at the source alone (I5), and for no others. What has to wait
//! for the store is on its record, migration or not (D1.4). What need not wait has ended before anybody
//! could ask, so it costs no more than a count. A migration closes this way first, and then waits for
//! the few that are in the middle of a system call; clients wait for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// No migration allows it, or the connection is not a client's.
const CLOSED: usize = 1;
/// The connection is fenced.
const FENCED: usize = 2;
/// One request.
const ONE: usize = 4;

/// Whether the client of one connection goes straight to the store, and how many requests of it do. It
/// is one word: who closes the way sees each request on it, and each request that comes later sees that.
#[derive(Debug)]
pub(super) struct PlainWay {
    word: AtomicUsize,
    none: Notify,
}

impl PlainWay {
    pub(super) fn new(is_open: bool) -> Self {
        let word = AtomicUsize::new(if is_open { 0 } else { CLOSED });
        Self { word, none: Notify::new() }
    }

    pub(super) fn open(&self) {
        self.word.fetch_and(!CLOSED, Ordering::SeqCst);
    }

    /// From now on no request goes this way; one that has begun to may still be on it.
    pub(super) fn close(&self) {
        self.word.fetch_or(CLOSED, Ordering::SeqCst);
    }

    /// The same, for good.
    pub(super) fn fence(&self) {
        self.word.fetch_or(FENCED, Ordering::SeqCst);
    }

    /// Counts a request in, if the way is open.
    #[inline]
    pub(super) fn enter(&self) -> Option<OnPlainWay<'_>> {
        let before = self.word.fetch_add(ONE, Ordering::SeqCst);
        let entered = OnPlainWay(self);
        (before & (CLOSED | FENCED) == 0).then_some(entered)
    }

    /// Waits until none is under way. The way is closed, or the connection fenced.
    pub(super) async fn ended(&self) {
        loop {
            let mut none = std::pin::pin!(self.none.notified());
            none.as_mut().enable();
            if self.word.load(Ordering::SeqCst) < ONE {
                return;
            }
            none.await;
        }
    }
}

/// A request on the plain way, until it is dropped.
pub(super) struct OnPlainWay<'a>(&'a PlainWay);

impl Drop for OnPlainWay<'_> {
    #[inline]
    fn drop(&mut self) {
        let before = self.0.word.fetch_sub(ONE, Ordering::SeqCst);
        let stopped = before & (CLOSED | FENCED) != 0;
        if stopped && before < 2 * ONE {
            self.0.none.notify_waiters();
        }
    }
}

/// Keeps the way closed until it is dropped.
pub(super) struct Closed(Arc<super::Volume>);

impl Closed {
    /// Closes the way of a volume and waits until nobody is on it.
    pub(super) async fn wait(volume: &Arc<super::Volume>) -> Self {
        let on_their_way = volume.sessions.close_plain_way();
        let closed = Self(Arc::clone(volume));
        for connection in on_their_way {
            connection.plain_ended().await;
        }
        closed
    }

    /// A migration has begun: the way stays closed.
    pub(super) fn keep(self) {
        self.0.sessions.forbid_plain_way();
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.sessions.reopen_plain_way();
    }
}

#[cfg(test)]
mod tests;

//! One order for overlapping writes, over all paths to one volume.
//!
//! A write whose answer was lost is sent again. Had a newer write to the same blocks been answered
//! meanwhile, on this connection or on another, the repeated one would bring older data back (I15).
//! So a write does not leave while an earlier one that it overlaps is unanswered. Servers of this
//! project make it wait anyway; here it waits where the replay is known. It is also what makes a
//! replay lawful towards a server that cannot fence.
//!
//! Reads never wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blockferry_block::Extent;
use tokio::sync::oneshot;

use crate::queue::{Queue, Ticket};

/// The order of writes to one volume, shared by all paths to it.
#[derive(Debug, Default)]
pub struct WriteOrder {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
}

/// The right to write an extent, from [`Turn::come`] until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    order: Arc<WriteOrder>,
    ticket: Ticket,
    wait: Option<oneshot::Receiver<()>>,
}

impl WriteOrder {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Queues up now; `None` for what writes no byte.
    pub(crate) fn queue(order: &Arc<WriteOrder>, extent: Extent) -> Option<Self> {
        if extent.is_empty() {
            return None;
        }
        let mut state = order.lock();
        let (ticket, granted) = state.queue.admit(extent);
        let wait = (!granted).then(|| {
            let (sender, receiver) = oneshot::channel();
            state.waiting.insert(ticket, sender);
            receiver
        });
        Some(Self { order: Arc::clone(order), ticket, wait })
    }

    /// Waits until no earlier write overlaps.
    pub(crate) async fn come(&mut self) {
        if let Some(wait) = &mut self.wait {
            // The sender lives until the turn comes or is given up, so this is never an error.
            let _ = wait.await;
            self.wait = None;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.order.lock();
        state.waiting.remove(&self.ticket);
        for ticket in state.queue.release(self.ticket) {
            if let Some(sender) = state.waiting.remove(&ticket) {
                // One that has stopped waiting releases its ticket itself.
                let _ = sender.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_write_leaves_when_the_one_before_it_is_answered() {
        let order = Arc::default();
        let first = Turn::queue(&order, Extent::between(0, 8)).expect("not empty");
        let mut second = Turn::queue(&order, Extent::between(4, 12)).expect("not empty");
        let early = tokio::time::timeout(Duration::from_millis(5), second.come()).await;
        assert!(early.is_err());
        drop(first);
        second.come().await;
    }

    #[tokio::test]
    async fn a_write_that_was_given_up_while_it_waited_blocks_nobody() {
        let order = Arc::default();
        let first = Turn::queue(&order, Extent::between(0, 8)).expect("not empty");
        let given_up = Turn::queue(&order, Extent::between(4, 12)).expect("not empty");
        let mut last = Turn::queue(&order, Extent::between(0, 12)).expect("not empty");
        drop(given_up);
        drop(first);
        last.come().await;
    }

    #[test]
    fn an_empty_write_needs_no_turn() {
        assert!(Turn::queue(&Arc::default(), Extent::between(7, 7)).is_none());
    }
}

//! One order for overlapping requests, over all clients of a volume, from their arrival until their
//! answers have left this process.
//!
//! Should the process die, the next one is told every request whose answer had not left, and begins
//! it again. That must not bring back what is older than something a client has seen (I15), so:
//!
//! - A write does not begin while an earlier one that it overlaps has an answer that has not left. Of
//!   the writes to a block that are begun again, at most one can have been begun before.
//! - When a process takes over, nobody begins before all clients of its predecessor have queued what
//!   they begin again. Then writes begin in the order in which they had once arrived: what a client
//!   sent after it had seen the effect of another comes later again.
//! - Until these writes are over, reads that overlap them wait, and none sees a state in between.
//!
//! [`WriteOrder`](crate::WriteOrder) keeps the same order towards servers that come and go; there an
//! answer counts when it has come.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blockferry_block::Extent;
use blockferry_device::Request;
use blockferry_nbd_session::{Held, Order, Turn};
use tokio::sync::oneshot;

use crate::queue::{Queue, Ticket};

/// The order of one volume's requests. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct DeliveryOrder {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    members: HashMap<u64, Member>,
    queue: Queue,
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
    /// Writes that are begun again and not over.
    repeated: usize,
    gathering: Option<Gathering>,
}

/// Those who wait until all have come.
#[derive(Debug, Default)]
struct Gathering {
    missing: usize,
    gathered: BTreeMap<Rank, (Extent, oneshot::Sender<()>)>,
}

/// First writes that are begun again, by arrival, then everything else.
type Rank = (bool, u64, u64);

#[derive(Clone, Copy, Debug)]
enum Member {
    Gathered(Rank),
    Queued(Ticket),
}

/// A client that has not queued all that it begins again; dropped when it has.
#[derive(Debug)]
pub struct Missing(DeliveryOrder);

/// A place in the order, given up when dropped.
#[derive(Debug)]
struct Place {
    order: DeliveryOrder,
    member: u64,
    repeated: bool,
}

impl DeliveryOrder {
    /// Nobody begins before this is dropped.
    pub fn expect(&self) -> Missing {
        self.lock().gathering.get_or_insert_default().missing += 1;
        Missing(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Order for DeliveryOrder {
    fn enter(&self, request: &Request, arrival: Option<u64>) -> Turn {
        let mut state = self.lock();
        let is_write = request.is_write();
        let ordered = is_write || state.gathering.is_some() || state.repeated > 0;
        let extent = request.extent().filter(|extent| ordered && !extent.is_empty());
        let Some(extent) = extent else { return Turn::default() };
        let repeated = is_write && arrival.is_some();
        let rank = (!repeated, arrival.filter(|_| repeated).unwrap_or_default(), state.next);
        let (member, wait) = state.add(extent, rank);
        state.repeated += usize::from(repeated);
        drop(state);
        let place = Place { order: self.clone(), member, repeated };
        match (wait, is_write) {
            (None, true) => Turn { come: None, hold: Some(Box::new(place)) },
            (None, false) => Turn::default(),
            (Some(wait), true) => {
                Turn { come: Some(Box::pin(come(wait))), hold: Some(Box::new(place)) }
            }
            (Some(wait), false) => {
                let come = async move {
                    come(wait).await;
                    drop(place);
                };
                Turn { come: Some(Box::pin(come)), hold: None }
            }
        }
    }
}

async fn come(wait: oneshot::Receiver<()>) {
    // The sender lives until the turn comes or is given up, so this is never an error.
    let _ = wait.await;
}

impl State {
    fn add(&mut self, extent: Extent, rank: Rank) -> (u64, Option<oneshot::Receiver<()>>) {
        let member = self.next;
        self.next += 1;
        let (sender, receiver) = oneshot::channel();
        let wait = match &mut self.gathering {
            Some(gathering) => {
                gathering.gathered.insert(rank, (extent, sender));
                self.members.insert(member, Member::Gathered(rank));
                true
            }
            None => self.queue_up(member, extent, sender),
        };
        (member, wait.then_some(receiver))
    }

    /// Tells whether it has to wait.
    fn queue_up(&mut self, member: u64, extent: Extent, sender: oneshot::Sender<()>) -> bool {
        let (ticket, granted) = self.queue.admit(extent);
        self.members.insert(member, Member::Queued(ticket));
        if granted {
            // One that has stopped waiting gives its place up itself.
            let _ = sender.send(());
        } else {
            self.waiting.insert(ticket, sender);
        }
        !granted
    }

    fn one_has_come(&mut self) {
        let Some(gathering) = &mut self.gathering else { return };
        gathering.missing -= 1;
        if gathering.missing > 0 {
            return;
        }
        let gathered = self.gathering.take().map(|all| all.gathered).unwrap_or_default();
        for ((.., member), (extent, sender)) in gathered {
            self.queue_up(member, extent, sender);
        }
    }

    fn give_up(&mut self, member: u64) {
        match self.members.remove(&member) {
            Some(Member::Gathered(rank)) => {
                self.gathering.as_mut().and_then(|all| all.gathered.remove(&rank));
            }
            Some(Member::Queued(ticket)) => {
                self.waiting.remove(&ticket);
                for granted in self.queue.release(ticket) {
                    if let Some(sender) = self.waiting.remove(&granted) {
                        // One that has stopped waiting gives its place up itself.
                        let _ = sender.send(());
                    }
                }
            }
            None => {}
        }
    }
}

impl Held for Place {
    fn is_waited_for(&self) -> bool {
        let state = self.order.lock();
        match state.members.get(&self.member) {
            Some(Member::Queued(ticket)) => state.queue.is_waited_for(*ticket),
            Some(Member::Gathered(_)) | None => false,
        }
    }
}

impl Drop for Missing {
    fn drop(&mut self) {
        self.0.lock().one_has_come();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.order.lock();
        state.repeated -= usize::from(self.repeated);
        state.give_up(self.member);
    }
}

#[cfg(test)]
mod tests;

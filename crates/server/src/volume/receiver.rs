//! The destination's state machine, shared by every task of a volume.

use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};

use blockferry_block::BootId;
use blockferry_migration::Faults;
use blockferry_migration::destination::{Attached, Destination, Phase, Refusal};
use blockferry_migration::digest::Frontier;
use blockferry_store::Store;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, OwnedMutexGuard};

/// The machine and those who wait for it.
#[derive(Debug)]
pub(crate) struct Receiver {
    destination: Mutex<Destination>,
    changed: Notify,
    /// Copy writes are executed one after the other, in order of arrival (D2.4).
    copy_lane: Arc<tokio::sync::Mutex<()>>,
    /// Attaches and checkpoints exclude one another.
    pub(super) steps: tokio::sync::Mutex<()>,
}

impl Receiver {
    /// A volume that was just created: it reads as zeroes everywhere.
    pub(crate) fn created(boot: BootId, size: u64, faults: Faults) -> Self {
        Self::new(Destination::new(size, boot, 0, Frontier::new(), 0).with_faults(faults))
    }

    /// A volume as a restart has found it.
    pub(crate) fn new(destination: Destination) -> Self {
        Self {
            destination: Mutex::new(destination),
            changed: Notify::new(),
            copy_lane: Arc::default(),
            steps: tokio::sync::Mutex::new(()),
        }
    }

    /// Changes the machine, and tells those who wait when there is something that they wait for: a
    /// mirror write changes nothing but that one more or less is under way.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut Destination) -> R) -> R {
        let (result, is_news) = self.with_quietly(|destination| {
            let before = standing(destination);
            let result = change(destination);
            let is_awaited = destination.is_attaching() && destination.is_idle();
            (result, is_awaited || standing(destination) != before)
        });
        if is_news {
            self.changed.notify_waiters();
        }
        result
    }

    /// The turn of a copy write that has arrived: it is in the row from this call on, whenever it is
    /// waited for.
    pub(super) fn copy_turn(&self) -> BoxFuture<'static, OwnedMutexGuard<()>> {
        let mut turn = Arc::clone(&self.copy_lane).lock_owned().boxed();
        match turn.as_mut().now_or_never() {
            Some(now) => ready(now).boxed(),
            None => turn,
        }
    }

    /// Looks without telling anybody.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&Destination) -> R) -> R {
        look(&self.destination.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends when `W` or the epoch has changed, or when nothing is under way any more in an attach.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Fences what was, waits until nothing of it executes, and falls back to `W_durable`. What lies
    /// above or is unflushed comes once more, so what the store may have lost is dealt with (I9).
    pub(crate) async fn attach(&self, source: BootId, store: &dyn Store) -> Attached {
        let _step = self.steps.lock().await;
        self.with(|destination| destination.attach_begin(source));
        loop {
            let mut changed = std::pin::pin!(self.changed());
            changed.as_mut().enable();
            let finished = self.with_quietly(|destination| {
                if destination.is_idle() {
                    store.forget_losses();
                }
                destination.attach_finish()
            });
            match finished {
                Ok(attached) => return attached,
                Err(Refusal::Busy) => changed.await,
                Err(other) => unreachable!("an attach refuses only while it is busy: {other}"),
            }
        }
    }

    fn with_quietly<R>(&self, change: impl FnOnce(&mut Destination) -> R) -> R {
        change(&mut self.destination.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What others wait for changes of.
fn standing(destination: &Destination) -> (u64, u64, u64, Phase) {
    (destination.reserved(), destination.durable(), destination.epoch(), destination.phase())
}

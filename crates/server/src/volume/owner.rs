//! The owner's state machine, shared by every task of a volume.
//!
//! One lock, held for a few comparisons and never across an await. Whoever changes the machine wakes
//! those whose next step that may have changed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};

use blockferry_migration::in_flight::OpId;
use blockferry_migration::source::{ClaimId, ClaimRefusal, ClaimStep, Source, Step};
use tokio::sync::Notify;

/// The machine and those who wait for it.
#[derive(Debug)]
pub(crate) struct Owner {
    inner: Mutex<Inner>,
    claims: Notify,
    log_wanted: Notify,
    changed: Notify,
}

#[derive(Debug)]
struct Inner {
    source: Source,
    wakers: HashMap<OpId, Waker>,
}

impl Owner {
    pub(crate) fn new(source: Source) -> Self {
        Self {
            inner: Mutex::new(Inner { source, wakers: HashMap::new() }),
            claims: Notify::new(),
            log_wanted: Notify::new(),
            changed: Notify::new(),
        }
    }

    /// Changes the machine.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut Source) -> R) -> R {
        let (result, claims) = self.locked(|inner| {
            let result = change(&mut inner.source);
            (result, inner.source.has_claims())
        });
        if claims {
            self.claims.notify_waiters();
        }
        result
    }

    /// Changes the machine without telling those who wait for claims. A claim that looks whether its
    /// turn has come must not wake itself, or it would look for ever.
    fn locked<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> R {
        let (result, wakers, log) = {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let result = change(&mut inner);
            let woken = inner.source.take_woken();
            let wakers: Vec<Waker> =
                woken.iter().filter_map(|id| inner.wakers.remove(id)).collect();
            (result, wakers, inner.source.wants_log())
        };
        wakers.into_iter().for_each(Waker::wake);
        if log {
            self.log_wanted.notify_one();
        }
        result
    }

    /// The operation's next step; waits while there is none.
    pub(crate) async fn step(&self, id: OpId) -> Step {
        let step = std::future::poll_fn(|context| {
            self.locked(|inner| match inner.source.step(id) {
                Step::Wait => {
                    inner.wakers.insert(id, context.waker().clone());
                    Poll::Pending
                }
                step => Poll::Ready(step),
            })
        })
        .await;
        if matches!(step, Step::Reply(_) | Step::Forward) {
            // The record forgot an update that a claim may have waited for.
            self.claims.notify_waiters();
        }
        step
    }

    /// Waits until the claimed extent may be read. That a claim has asked is no news for claims: they
    /// would wake each other, and themselves, without end.
    pub(crate) async fn claimed(&self, id: ClaimId) -> Result<(), ClaimRefusal> {
        loop {
            let mut news = std::pin::pin!(self.claims.notified());
            news.as_mut().enable();
            match self.locked(|inner| inner.source.claim_step(id)) {
                ClaimStep::Read => return Ok(()),
                ClaimStep::Refused(refusal) => return Err(refusal),
                ClaimStep::Wait => news.await,
            }
        }
    }

    /// Waits until something that claims depend on may have changed.
    pub(crate) async fn claims_changed(&self) {
        self.claims.notified().await;
    }

    /// Ends when a batch of the activity log may be waiting.
    pub(crate) async fn log_wanted(&self) {
        self.log_wanted.notified().await;
    }

    /// Tells those who follow the migration that a step of it has been taken.
    pub(crate) fn announce(&self) {
        self.changed.notify_waiters();
        self.claims.notify_waiters();
    }

    /// Ends at the next [`Owner::announce`].
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }
}

#[cfg(test)]
mod tests {
    use blockferry_block::Extent;
    use blockferry_migration::Faults;
    use blockferry_migration::digest::Frontier;
    use blockferry_migration::source::SessionKey;

    use super::*;

    const SIZE: u64 = 1 << 20;

    fn sweeping() -> Owner {
        let owner = Owner::new(Source::new(SIZE, Faults::default()));
        owner.with(|source| {
            source.begin();
            source.attached(1, 0, Frontier::new());
        });
        owner
    }

    #[tokio::test]
    async fn claims_that_wait_do_not_keep_one_another_awake() {
        let owner = sweeping();
        let update = owner.with(|source| source.begin_update(SessionKey(1), Extent::whole(SIZE)));
        assert!(matches!(owner.step(update).await, Step::Apply { .. }));
        let claim = |start| {
            let extent = Extent::between(start, start + 4096);
            owner.with(|source| source.claim(1, extent, extent.len())).expect("attached")
        };
        let mut both = std::pin::pin!(async {
            tokio::join!(owner.claimed(claim(0)), owner.claimed(claim(4096)))
        });
        assert!(futures_util::poll!(both.as_mut()).is_pending());
        owner.with(|source| source.local_done(update, true));
        assert_eq!(
            owner.step(update).await,
            Step::Reply(blockferry_migration::source::Answer::Done)
        );
        assert_eq!(both.await, (Ok(()), Ok(())));
    }
}

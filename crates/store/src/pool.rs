//! Work that may wait for a disk, off the threads that serve sockets.

use std::sync::Arc;

use blockferry_device::{Answer, Errno, Failure, Reply};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Requests of one store that wait for its disk at the same time. Others wait for their turn, so
/// that one slow disk cannot take every thread from the others; a disk's own queue is no deeper.
const BLOCKING_MAX: usize = 64;

/// One store's share of the runtime's blocking threads.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Arc<Semaphore>);

impl Pool {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BLOCKING_MAX)))
    }

    /// Starts the work, now or when its turn comes; dropping the answer does not stop it.
    pub(crate) fn run<F>(&self, work: F) -> Answer
    where
        F: FnOnce() -> Result<Reply, Failure> + Send + 'static,
    {
        let started = match Arc::clone(&self.0).try_acquire_owned() {
            Ok(turn) => spawn_blocking(move || {
                let _turn = turn;
                work()
            }),
            Err(_) => {
                let turns = Arc::clone(&self.0);
                tokio::spawn(async move {
                    // The semaphore is never closed; without a turn the work would merely be early.
                    let _turn = turns.acquire_owned().await;
                    spawn_blocking(work).await.unwrap_or_else(|_| Err(abandoned()))
                })
            }
        };
        Answer::later(async move { started.await.unwrap_or_else(|_| Err(abandoned())) })
    }
}

/// The runtime shut down, or the work panicked, before it was known to be done.
fn abandoned() -> Failure {
    Failure::new(Errno::Io, "the request was abandoned; whether it was executed is unknown")
}

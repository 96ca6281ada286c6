//! A disk that stands still on demand: for tests that need a request to be under way while
//! something else happens, without guessing how long it takes.

use std::fmt;
use std::sync::Arc;

use blockferry_device::{Answer, Device, DeviceInfo, Errno, Failure, Request};
use tokio::sync::watch;

use crate::Store;

/// A device that holds the requests `is_held` picks, or their answers, until the gate is opened.
/// Requests to it are to be made inside a tokio runtime.
pub struct Gate<D, F> {
    inner: Arc<D>,
    is_held: F,
    /// Executes first, and holds the answer.
    is_behind: bool,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    is_open: bool,
    held: usize,
}

impl<D, F> Gate<D, F>
where
    D: Device,
    F: Fn(&Request) -> bool + Send + Sync + 'static,
{
    /// A closed gate before `inner`.
    pub fn new(inner: D, is_held: F) -> Self {
        let state = watch::Sender::new(State { is_open: false, held: 0 });
        Self { inner: Arc::new(inner), is_held, is_behind: false, state }
    }

    /// A closed gate behind `inner`: what is held has been executed, and nobody is told yet.
    pub fn behind(inner: D, is_held: F) -> Self {
        Self { is_behind: true, ..Self::new(inner, is_held) }
    }

    /// Lets everything pass that is held, and all that comes.
    pub fn open(&self) {
        self.state.send_modify(|state| state.is_open = true);
    }

    /// Holds requests again, those that come from now on.
    pub fn close(&self) {
        self.state.send_modify(|state| state.is_open = false);
    }

    /// Waits until at least `count` requests are held.
    pub async fn holds(&self, count: usize) {
        // The gate owns the sender, so the wait cannot fail.
        let _ = self.state.subscribe().wait_for(|state| state.held >= count).await;
    }
}

/// Waits at the gate.
async fn pass(state: &watch::Sender<State>) {
    state.send_modify(|state| state.held += 1);
    let _ = state.subscribe().wait_for(|state| state.is_open).await;
    state.send_modify(|state| state.held -= 1);
}

impl<D, F> Device for Gate<D, F>
where
    D: Device,
    F: Fn(&Request) -> bool + Send + Sync + 'static,
{
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }

    fn call(&self, request: Request) -> Answer {
        if self.state.borrow().is_open || !(self.is_held)(&request) {
            return self.inner.call(request);
        }
        let (inner, is_behind) = (Arc::clone(&self.inner), self.is_behind);
        let state = self.state.clone();
        // On its own task, since dropping the answer must not cancel the request.
        let executed = tokio::spawn(async move {
            if is_behind {
                let answer = inner.call(request).await;
                pass(&state).await;
                return answer;
            }
            pass(&state).await;
            inner.call(request).await
        });
        Answer::later(async move {
            executed.await.unwrap_or_else(|error| Err(Failure::new(Errno::Io, error.to_string())))
        })
    }
}

impl<D: fmt::Debug, F> fmt::Debug for Gate<D, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = *self.state.borrow();
        f.debug_struct("Gate").field("inner", &self.inner).field("state", &state).finish()
    }
}

impl<D, F> Store for Gate<D, F>
where
    D: Store,
    F: Fn(&Request) -> bool + Send + Sync + 'static,
{
    fn forget_losses(&self) {
        self.inner.forget_losses();
    }
}

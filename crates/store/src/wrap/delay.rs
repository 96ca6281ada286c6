//! A slow disk: requests are executed only after a fixed time.

use std::sync::Arc;
use std::time::Duration;

use blockferry_device::{Answer, Device, DeviceInfo, Errno, Failure, Request};

use crate::Kind;

/// A device that lets requests of some kinds wait before it executes them. Requests to it are to be
/// made inside a tokio runtime.
#[derive(Debug)]
pub struct Delay<D> {
    inner: Arc<D>,
    delays: [Duration; Kind::COUNT],
}

impl<D: Device> Delay<D> {
    /// Delays nothing yet.
    pub fn new(inner: D) -> Self {
        Self { inner: Arc::new(inner), delays: [Duration::ZERO; Kind::COUNT] }
    }

    /// Delays requests of this kind.
    #[must_use]
    pub fn on(mut self, kind: Kind, delay: Duration) -> Self {
        self.delays[kind.index()] = delay;
        self
    }
}

impl<D: Device> Device for Delay<D> {
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }

    fn call(&self, request: Request) -> Answer {
        let delay = self.delays[Kind::of(&request).index()];
        if delay.is_zero() {
            return self.inner.call(request);
        }
        let inner = Arc::clone(&self.inner);
        // On its own task, since dropping the answer must not cancel the request.
        let executed = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            inner.call(request).await
        });
        Answer::later(async move {
            executed.await.unwrap_or_else(|error| Err(Failure::new(Errno::Io, error.to_string())))
        })
    }
}

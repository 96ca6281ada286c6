//! A failing disk: a closure decides which requests fail, and how.

use std::fmt;

use blockferry_device::{Answer, Device, DeviceInfo, Failure, Request};

use crate::Store;

/// A device that does not execute the requests for which `verdict` returns a failure.
pub struct Faulty<D, F> {
    inner: D,
    verdict: F,
}

impl<D, F> Faulty<D, F>
where
    D: Device,
    F: Fn(&Request) -> Option<Failure> + Send + Sync + 'static,
{
    /// Asks `verdict` about each request before it is executed.
    pub fn new(inner: D, verdict: F) -> Self {
        Self { inner, verdict }
    }
}

impl<D, F> Device for Faulty<D, F>
where
    D: Device,
    F: Fn(&Request) -> Option<Failure> + Send + Sync + 'static,
{
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }

    fn call(&self, request: Request) -> Answer {
        match (self.verdict)(&request) {
            Some(failure) => Answer::ready(Err(failure)),
            None => self.inner.call(request),
        }
    }
}

impl<D: fmt::Debug, F> fmt::Debug for Faulty<D, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<D, F> Store for Faulty<D, F>
where
    D: Store,
    F: Fn(&Request) -> Option<Failure> + Send + Sync + 'static,
{
    fn forget_losses(&self) {
        self.inner.forget_losses();
    }
}

//! A device that cannot be changed.

use blockferry_device::{Answer, Device, DeviceInfo, Features, Request};

use crate::Store;

/// A device that refuses every write with `EPERM`.
#[derive(Debug)]
pub struct ReadOnly<D> {
    inner: D,
    info: DeviceInfo,
}

impl<D: Device> ReadOnly<D> {
    /// Takes away from `inner` all that changes it.
    pub fn new(inner: D) -> Self {
        let mut info = *inner.info();
        info.features = Features {
            read_only: true,
            fua: false,
            trim: false,
            write_zeroes: false,
            fast_zero: false,
            ..info.features
        };
        Self { inner, info }
    }
}

impl<D: Device> Device for ReadOnly<D> {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn call(&self, request: Request) -> Answer {
        match self.info.check(&request) {
            Err(failure) => Answer::ready(Err(failure)),
            Ok(()) => self.inner.call(request),
        }
    }
}

impl<D: Store> Store for ReadOnly<D> {
    fn forget_losses(&self) {
        self.inner.forget_losses();
    }
}

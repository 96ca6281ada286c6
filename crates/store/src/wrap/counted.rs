//! How many requests of each kind a device was asked, and for how many bytes.

use std::sync::atomic::{AtomicU64, Ordering};

use blockferry_block::Extent;
use blockferry_device::{Answer, Device, DeviceInfo, Request};

use crate::Kind;

/// What was asked of a device, of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Count {
    /// Requests.
    pub requests: u64,
    /// Bytes that they concerned.
    pub bytes: u64,
}

/// A device that counts what it is asked, whether it succeeds or not.
#[derive(Debug)]
pub struct Counted<D> {
    inner: D,
    requests: [AtomicU64; Kind::COUNT],
    bytes: [AtomicU64; Kind::COUNT],
}

impl<D: Device> Counted<D> {
    /// Counts from zero.
    pub fn new(inner: D) -> Self {
        Self { inner, requests: Default::default(), bytes: Default::default() }
    }

    /// The count of one kind so far.
    pub fn count(&self, kind: Kind) -> Count {
        Count {
            requests: self.requests[kind.index()].load(Ordering::Relaxed),
            bytes: self.bytes[kind.index()].load(Ordering::Relaxed),
        }
    }

    /// The device that does the work.
    pub fn inner(&self) -> &D {
        &self.inner
    }
}

impl<D: Device> Device for Counted<D> {
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }

    fn call(&self, request: Request) -> Answer {
        let index = Kind::of(&request).index();
        self.requests[index].fetch_add(1, Ordering::Relaxed);
        self.bytes[index].fetch_add(request.extent().map_or(0, Extent::len), Ordering::Relaxed);
        self.inner.call(request)
    }
}

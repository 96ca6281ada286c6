//! Wrappers that a load over initiators needs.

use std::sync::{Arc, Mutex, PoisonError};

use blockferry_block::Extent;
use blockferry_device::{Answer, Device, DeviceInfo, Features, Request};
use tokio::sync::Notify;

/// Which extents are being written, over all devices that share it.
#[derive(Debug, Default)]
pub struct Order {
    written: Mutex<Vec<Extent>>,
    ended: Notify,
}

/// A device on which a write waits for those under way that it overlaps. Else one that is sent again could
/// follow a newer one that was answered meanwhile, which no server can prevent.
pub struct InOrder<D> {
    device: Arc<D>,
    order: Arc<Order>,
}

/// A device that offers reads and flushes.
pub struct ReadsOnly<D> {
    device: D,
    info: DeviceInfo,
}

/// An extent that is being written, until this is dropped.
struct Turn {
    order: Arc<Order>,
    extent: Extent,
}

impl Turn {
    async fn come(order: Arc<Order>, extent: Extent) -> Self {
        loop {
            let mut ended = std::pin::pin!(order.ended.notified());
            ended.as_mut().enable();
            if order.take(extent) {
                break;
            }
            ended.await;
        }
        Self { order, extent }
    }
}

impl Order {
    fn take(&self, extent: Extent) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = !written.iter().any(|other| other.overlaps(extent));
        if is_free {
            written.push(extent);
        }
        is_free
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut written = self.order.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = written.iter().position(|extent| *extent == self.extent) {
            written.swap_remove(at);
        }
        self.order.ended.notify_waiters();
    }
}

impl<D: Device> InOrder<D> {
    /// The device, in this order.
    pub const fn new(device: Arc<D>, order: Arc<Order>) -> Self {
        Self { device, order }
    }
}

impl<D: Device> Device for InOrder<D> {
    fn info(&self) -> &DeviceInfo {
        self.device.info()
    }

    fn call(&self, request: Request) -> Answer {
        let extent = request.extent().filter(|_| request.is_write());
        let Some(extent) = extent else { return self.device.call(request) };
        let (device, order) = (Arc::clone(&self.device), Arc::clone(&self.order));
        Answer::later(async move {
            let _turn = Turn::come(order, extent).await;
            device.call(request).await
        })
    }
}

impl<D: Device> ReadsOnly<D> {
    /// The device, without its writes.
    pub fn new(device: D) -> Self {
        let info = *device.info();
        let features = Features { read_only: true, ..info.features };
        Self { info: DeviceInfo { features, ..info }, device }
    }
}

impl<D: Device> Device for ReadsOnly<D> {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn call(&self, request: Request) -> Answer {
        self.device.call(request)
    }
}

//! A disk with a volatile cache.

use std::sync::{Arc, Mutex};

use blockferry_block::Extent;
use blockferry_device::{Answer, Device, DeviceInfo, Request};
use blockferry_store::MemoryStore;

/// What was not flushed is gone when its power fails.
pub(crate) struct Forgetful {
    now: MemoryStore,
    durable: Arc<MemoryStore>,
    cached: Mutex<Vec<Request>>,
}

impl Forgetful {
    pub(crate) fn new(size: u64) -> Self {
        let durable = Arc::new(MemoryStore::new(size));
        Self { now: MemoryStore::new(size), durable, cached: Mutex::default() }
    }

    /// The disk after its power came back.
    pub(crate) async fn lose_power(&self) -> Self {
        let now = MemoryStore::new(self.info().size);
        let all = super::read(&*self.durable, Extent::whole(self.info().size)).await.unwrap();
        super::write(&now, 0, &all).await.unwrap();
        Self { now, durable: Arc::clone(&self.durable), cached: Mutex::default() }
    }
}

impl Device for Forgetful {
    fn info(&self) -> &DeviceInfo {
        self.now.info()
    }

    /// Memory executes a request before it is first waited for.
    fn call(&self, request: Request) -> Answer {
        if request.is_write() && !request.fua() {
            self.cached.lock().unwrap().push(request.clone());
        } else if request.is_write() {
            drop(self.durable.call(request.clone()));
        } else if request == Request::Flush {
            let cached = std::mem::take(&mut *self.cached.lock().unwrap());
            cached.into_iter().for_each(|request| drop(self.durable.call(request)));
        }
        self.now.call(request)
    }
}

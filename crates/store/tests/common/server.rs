//! An NBD server of our own around a device, that can be cut, stopped and started again.

use std::path::Path;
use std::sync::{Arc, Mutex};

use blockferry_device::{Answer, Device, DeviceInfo, Request};
use blockferry_nbd_session::{
    ExportEntry, Exports, FenceRequest, Hello, NbdUri, OpenError, Opened, serve_all,
};
use blockferry_net::{Address, Limits, Listener, Threads};
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A device under another description, for servers that can do less.
pub(crate) struct Described<D> {
    pub(crate) inner: D,
    pub(crate) info: DeviceInfo,
}

impl<D: Device> Device for Described<D> {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn call(&self, request: Request) -> Answer {
        self.inner.call(request)
    }
}

struct OneVolume {
    device: Arc<dyn Device>,
    cut: Mutex<CancellationToken>,
}

impl Exports for OneVolume {
    fn list(&self) -> Vec<ExportEntry> {
        Vec::new()
    }

    fn open<'a>(
        &'a self,
        name: &'a str,
        _hello: &'a Hello,
    ) -> BoxFuture<'a, Result<Opened, OpenError>> {
        let opened = match name {
            "vol" => Ok(Opened {
                name: name.to_owned(),
                description: String::new(),
                device: Arc::clone(&self.device),
                cut: self.cut.lock().unwrap().clone(),
                kept: None,
            }),
            _ => Err(OpenError::Unknown(format!("there is no {name:?}"))),
        };
        Box::pin(std::future::ready(opened))
    }

    fn fence<'a>(&'a self, _fence: FenceRequest) -> BoxFuture<'a, Result<(), OpenError>> {
        Box::pin(std::future::ready(Err(OpenError::Unknown("no fences".to_owned()))))
    }
}

/// A server of one export, `vol`, on a unix socket in the given directory.
pub(crate) struct Server {
    pub(crate) uri: NbdUri,
    exports: Arc<OneVolume>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(directory: &Path, device: Arc<dyn Device>) -> Self {
        let address = Address::Unix(directory.join("nbd.sock"));
        let uri = NbdUri { address: address.clone(), export: "vol".to_owned() };
        let listener = Listener::bind(&address).await.unwrap();
        let exports = Arc::new(OneVolume { device, cut: Mutex::default() });
        let shutdown = CancellationToken::new();
        let limits = Arc::new(Limits::default());
        let task = tokio::spawn(serve_all(
            listener,
            Arc::new(Threads::start().unwrap()),
            exports.clone(),
            limits,
            shutdown.clone(),
        ));
        Self { uri, exports, shutdown, task }
    }

    /// Cuts the connections that there are.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut *self.exports.cut.lock().unwrap()).cancel();
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.cut();
        self.task.await.unwrap();
    }
}

//! One client connection: a path, and its entry in the route's list.

use std::sync::Arc;

use blockferry_block::SessionId;
use blockferry_device::{Answer, Device, DeviceInfo, Request};
use blockferry_path::{NbdFabric, Path};

use crate::route::Route;

/// The way of one client to its volume.
pub(crate) type ClientPath = Path<NbdFabric<Arc<Route>>>;

/// What a client's requests go to. Dropped when its connection ends.
pub(crate) struct Client {
    session: SessionId,
    path: Arc<ClientPath>,
    route: Arc<Route>,
}

impl Client {
    /// Enters a client into its route's list.
    pub(crate) fn enter(route: Arc<Route>, session: SessionId, path: ClientPath) -> Self {
        let path = Arc::new(path);
        route.enter(session, Arc::clone(&path));
        Self { session, path, route }
    }
}

impl Device for Client {
    fn info(&self) -> &DeviceInfo {
        self.path.info()
    }

    fn call(&self, request: Request) -> Answer {
        self.path.call(request)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.route.leave(self.session);
    }
}

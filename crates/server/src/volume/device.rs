//! A volume as one connection sees it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use blockferry_device::{Answer, Device, DeviceInfo, Reply, Request};
use blockferry_nbd_session::{Role, RoleClaim};

use super::client::ClientPath;
use super::sessions::Connection;
use super::{Volume, not_the_owner};

/// What a connection is for, and what that needs.
pub(super) enum Use {
    /// A client's requests.
    Client(ClientPath),
    /// The ordered copy, read at the source.
    CopyOut { epoch: u64 },
    /// The ordered copy, written at the destination.
    CopyIn { epoch: u64 },
    /// The source's writes before the commit.
    MirrorIn { epoch: u64, path: ClientPath },
    /// The source's requests after the commit.
    ForwardIn { claim: RoleClaim, told: AtomicBool, path: ClientPath },
}

/// The device of one connection.
pub(crate) struct VolumeDevice {
    shared: Arc<Shared>,
    info: DeviceInfo,
}

pub(super) struct Shared {
    pub(super) volume: Arc<Volume>,
    pub(super) connection: Arc<Connection>,
    pub(super) purpose: Use,
}

impl VolumeDevice {
    pub(super) fn new(volume: Arc<Volume>, connection: Arc<Connection>, purpose: Use) -> Self {
        let mut info = volume.info;
        if connection.role == Role::Copy && matches!(purpose, Use::CopyOut { .. }) {
            info.features.read_only = true;
        }
        Self { shared: Arc::new(Shared { volume, connection, purpose }), info }
    }

    /// Cancelled when the volume cuts the connection.
    pub(crate) fn cut(&self) -> tokio_util::sync::CancellationToken {
        self.shared.connection.cut.clone()
    }
}

impl VolumeDevice {
    /// A request that has entered the plain way.
    fn plain(&self, request: Request) -> Answer {
        match self.shared.volume.store.call(request).into_ready() {
            Ok(outcome) => {
                self.shared.leave_plain();
                Answer::ready(outcome)
            }
            Err(answer) => {
                let entered = Entered(Arc::clone(&self.shared));
                Answer::later(async move {
                    let _entered = entered;
                    answer.await
                })
            }
        }
    }
}

/// A request on the plain way that waits for the store.
struct Entered(Arc<Shared>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.leave_plain();
    }
}

impl Device for VolumeDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn call(&self, request: Request) -> Answer {
        if let Use::Client(_) = self.shared.purpose
            && self.shared.connection.enter_plain(&self.shared.volume.plain)
        {
            return self.plain(request);
        }
        let shared = Arc::clone(&self.shared);
        Answer::later(async move {
            let Some(_running) = shared.connection.enter() else {
                return Err(not_the_owner(&shared.volume.name));
            };
            if request.extent().is_some_and(|extent| extent.is_empty()) {
                return Ok(empty(&request));
            }
            let volume = &shared.volume;
            match &shared.purpose {
                Use::Client(path) => volume.client(path, request).await,
                // A claim waits as long as an operator pauses the sweep; no fence may wait for it.
                Use::CopyOut { epoch } => tokio::select! {
                    answer = volume.copy_out(*epoch, request) => answer,
                    () = shared.connection.cut.cancelled() => Err(not_the_owner(&volume.name)),
                },
                Use::CopyIn { epoch } => volume.copy_in(*epoch, request).await,
                Use::MirrorIn { epoch, path } => volume.mirror_in(*epoch, path, request).await,
                Use::ForwardIn { claim, told, path } => {
                    volume.forward_in(claim, told, path, request).await
                }
            }
        })
    }
}

fn empty(request: &Request) -> Reply {
    match request {
        Request::Read { .. } => Reply::Read(Vec::new()),
        _ => Reply::Done,
    }
}

impl Shared {
    fn leave_plain(&self) {
        self.connection.leave_plain(&self.volume.plain);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.volume.sessions.close(self.connection.key);
        if let Use::Client(path) | Use::MirrorIn { path, .. } | Use::ForwardIn { path, .. } =
            &self.purpose
        {
            path.end();
        }
    }
}

//! A volume as one connection sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blockferry_block::{Extent, VolumeName};
use blockferry_device::{
    Answer, Device, DeviceInfo, Errno, Failure, Inflow, Outcome, Reply, Request,
};
use blockferry_nbd_session::{Role, RoleClaim};

use super::client::ClientPath;
use super::copy_in::Pieces;
use super::modify::{Change, Modified};
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
    /// Whether initiators' reservations bind it: it is no initiator's own.
    is_bound: AtomicBool,
    pub(super) connection: Arc<Connection>,
    pub(super) purpose: Use,
}

impl VolumeDevice {
    pub(super) fn new(volume: Arc<Volume>, connection: Arc<Connection>, purpose: Use) -> Self {
        let mut info = volume.info;
        if connection.role == Role::Copy && matches!(purpose, Use::CopyOut { .. }) {
            info.features.read_only = true;
        }
        let is_bound = AtomicBool::new(matches!(purpose, Use::Client(_)));
        Self { shared: Arc::new(Shared { volume, is_bound, connection, purpose }), info }
    }

    /// The device of an initiator, whose own unit tells what it may do.
    pub(crate) fn of_initiator(self) -> Self {
        self.shared.is_bound.store(false, Ordering::Relaxed);
        self
    }

    /// Changes an extent, which is not empty, in one step.
    ///
    /// # Errors
    /// Those of any request.
    pub(crate) async fn modify(
        &self,
        extent: Extent,
        fua: bool,
        change: Change<'_>,
    ) -> Result<Modified, Failure> {
        let Shared { volume, connection, purpose, .. } = &*self.shared;
        let Use::Client(path) = purpose else { return Err(not_the_owner(&volume.name)) };
        let Some(_running) = connection.enter() else { return Err(not_the_owner(&volume.name)) };
        volume.modify(path, (extent, fua), change).await
    }

    /// Cancelled when the volume cuts the connection.
    pub(crate) fn cut(&self) -> tokio_util::sync::CancellationToken {
        self.shared.connection.cut.clone()
    }

    /// Beside [`Device::call`], whose frame would have room for the state of all this.
    #[inline(never)]
    fn call_later(&self, request: Request) -> Answer {
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
                Use::Client(_) if shared.is_held_back(&request) => Err(reserved(&volume.name)),
                Use::Client(path) => volume.client(path, request).await,
                Use::MirrorIn { epoch, path } => volume.mirror_in(*epoch, path, request).await,
                Use::ForwardIn { claim, told, path } => {
                    volume.forward_in(claim, told, path, request).await
                }
                // Few and long, and boxed: the many short ones would carry their state along.
                Use::CopyOut { epoch } => Box::pin(shared.copy_out(*epoch, request)).await,
                Use::CopyIn { epoch } => Box::pin(volume.copy_in(*epoch, request)).await,
            }
        })
    }

    fn begin_copy_write(&self, epoch: u64, extent: Extent) -> Inflow {
        let (sink, pieces) = Pieces::channel();
        let shared = Arc::clone(&self.shared);
        let write = shared.volume.copy_in_pieces(epoch, extent, pieces);
        // It goes on beside the connection, which brings the pieces.
        let write = tokio::spawn(async move {
            let Some(_running) = shared.connection.enter() else {
                return Err(not_the_owner(&shared.volume.name));
            };
            write.await
        });
        let answer = Answer::later(async move {
            write.await.unwrap_or_else(|_| Err(Failure::new(Errno::Io, "the program ends")))
        });
        Inflow { sink: Box::new(sink), answer }
    }
}

impl Shared {
    /// Asked for each request, and soon answered where the volume is nobody's disk.
    #[inline]
    fn is_held_back(&self, request: &Request) -> bool {
        self.volume.is_disk()
            && self.is_bound.load(Ordering::Relaxed)
            && !self.volume.admits_stranger(request)
    }

    /// A claim waits as long as an operator pauses the sweep; no fence may wait for it.
    async fn copy_out(&self, epoch: u64, request: Request) -> Result<Reply, Failure> {
        tokio::select! {
            answer = self.volume.copy_out(epoch, request) => answer,
            () = self.connection.cut.cancelled() => Err(not_the_owner(&self.volume.name)),
        }
    }
}

impl Device for VolumeDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn call(&self, request: Request) -> Answer {
        match self.call_now(&request) {
            Some(outcome) => Answer::ready(outcome),
            None => self.call_later(request),
        }
    }

    /// A client's request while nobody migrates. Inlined where [`Device::call`] asks for it: that is for
    /// each request.
    #[inline(always)]
    fn call_now(&self, request: &Request) -> Option<Outcome> {
        let Shared { volume, connection, .. } = &*self.shared;
        if self.shared.is_held_back(request) {
            return None;
        }
        let _entered = connection.enter_plain()?;
        volume.store.call_now(request)
    }

    fn begin_write(&self, extent: Extent) -> Option<Inflow> {
        match self.shared.purpose {
            Use::CopyIn { epoch } => Some(self.begin_copy_write(epoch, extent)),
            _ => None,
        }
    }
}

fn reserved(name: &VolumeName) -> Failure {
    Failure::new(Errno::Perm, format!("an iSCSI initiator has reserved {name} for itself"))
}

fn empty(request: &Request) -> Reply {
    match request {
        Request::Read { .. } => Reply::Read(Vec::new()),
        _ => Reply::Done,
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

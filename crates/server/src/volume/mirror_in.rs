//! Mirror and forward connections at the destination.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blockferry_block::Extent;
use blockferry_device::{Device, Errno, Failure, Reply, Request};
use blockferry_migration::destination::Destination;
use blockferry_nbd_session::RoleClaim;

use super::client::ClientPath;
use super::copy_in::not_receiving;
use super::receiver::Receiver;
use super::{Stage, Volume};

impl Volume {
    /// Executes a request of a mirror connection: below `W` only (I3). Once this side is the owner,
    /// what the source admitted before its commit is an update like any other.
    pub(super) async fn mirror_in(
        self: &Arc<Self>,
        epoch: u64,
        path: &ClientPath,
        request: Request,
    ) -> Result<Reply, Failure> {
        match self.stage() {
            Stage::Receiver(receiver) => self.mirrored(&receiver, epoch, request).await,
            Stage::Owner(_) => self.client(path, request).await,
            Stage::Retired | Stage::Gone => Err(not_receiving()),
        }
    }

    async fn mirrored(
        &self,
        receiver: &Arc<Receiver>,
        epoch: u64,
        request: Request,
    ) -> Result<Reply, Failure> {
        let extent = request.extent().unwrap_or(Extent::between(0, 0));
        let through = receiver
            .with(|destination| {
                destination.mirror_begin(epoch, extent)?;
                Ok(destination.is_write_through())
            })
            .map_err(|refusal: blockferry_migration::destination::Refusal| {
                blockferry_label::reached("destination.mirror.refused");
                Failure::new(Errno::Inval, refusal.to_string())
            })?;
        let _mirroring = Mirroring(receiver);
        if !request.is_write() {
            return self.store.call(request).await;
        }
        // Until Ready the source is the authority, and this side's disk must not cost the client.
        blockferry_label::reached("destination.mirror.begun");
        let mut written = self.store.call(with_fua(request, through)).await;
        blockferry_label::reached("destination.mirror.executed");
        // Asked again after the write: either Ready's own flush comes later, or this one counts (I8).
        let must_be_durable = receiver.read(Destination::is_write_through);
        if must_be_durable && !through && written.is_ok() {
            written = self.store.call(Request::Flush).await;
        }
        match &written {
            Err(failure) if must_be_durable && failure.errno == Errno::Io => {
                self.may_have_lost(receiver, failure);
            }
            _ => {}
        }
        written
    }

    /// Executes a forwarded request. The first one proves the commit (D1.5).
    pub(super) async fn forward_in(
        self: &Arc<Self>,
        claim: &RoleClaim,
        told: &AtomicBool,
        path: &ClientPath,
        request: Request,
    ) -> Result<Reply, Failure> {
        blockferry_label::reached("destination.forward.arrived");
        if self.receiver().is_some() {
            Box::pin(self.own_by_proof(claim)).await.map_err(|refused| {
                Failure::new(Errno::Shutdown, format!("not the owner: {refused}"))
            })?;
        }
        if !claim.arrangement.is_empty() && !told.swap(true, Ordering::Relaxed) {
            self.tell_arrangement(claim.arrangement.clone());
        }
        self.client(path, request).await
    }
}

struct Mirroring<'a>(&'a Receiver);

impl Drop for Mirroring<'_> {
    fn drop(&mut self) {
        self.0.with(Destination::mirror_done);
    }
}

fn with_fua(mut request: Request, through: bool) -> Request {
    if let Request::Write { fua, .. }
    | Request::WriteZeroes { fua, .. }
    | Request::Trim { fua, .. } = &mut request
    {
        *fua = through;
    }
    request
}

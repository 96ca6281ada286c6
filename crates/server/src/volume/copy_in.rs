//! The ordered copy at the destination: executed at `W` only (D2.5).

use std::sync::Arc;

use blockferry_block::Extent;
use blockferry_device::{Device, Errno, Failure, Reply, Request};
use blockferry_migration::destination::Refusal;
use blockferry_migration::digest::{Frontier, Piece};

use super::receiver::Receiver;
use super::{Stage, Volume, thin};

impl Volume {
    /// Executes a request of a copy connection.
    pub(super) async fn copy_in(
        self: &Arc<Self>,
        epoch: u64,
        request: Request,
    ) -> Result<Reply, Failure> {
        let Stage::Receiver(receiver) = self.stage() else { return Err(not_receiving()) };
        match request {
            Request::Write { .. } | Request::WriteZeroes { .. } => {
                self.copy_write(&receiver, epoch, request).await
            }
            Request::Read { .. } | Request::BlockStatus { .. } | Request::Flush => {
                self.store.call(request).await
            }
            Request::Trim { .. } | Request::Cache { .. } => {
                Err(Failure::new(Errno::Inval, "a copy connection writes and reads only"))
            }
        }
    }

    async fn copy_write(
        &self,
        receiver: &Receiver,
        epoch: u64,
        request: Request,
    ) -> Result<Reply, Failure> {
        let extent = request.extent().unwrap_or(Extent::between(0, 0));
        let _turn = receiver.copy_lane.lock().await;
        let (stream, pristine) = receiver
            .with(|destination| {
                destination.copy_begin(epoch, extent)?;
                Ok((destination.stream().clone(), destination.is_pristine(extent.start())))
            })
            .map_err(|refusal: Refusal| Failure::new(Errno::Inval, refusal.to_string()))?;
        blockferry_label::reached("destination.copy.begun");
        let digested = digested(stream, request.clone());
        let write = async {
            match pristine {
                true => thin::write_where_nothing_is(&*self.store, request).await,
                false => self.store.call(request).await,
            }
        };
        let (stream, written) = tokio::join!(digested, write);
        blockferry_label::reached("destination.copy.written");
        let (written, stream) = match (written, stream) {
            (Ok(_), None) => (Err(Failure::new(Errno::Io, "the program ends")), None),
            (written, stream) => (written.clone(), stream.filter(|_| written.is_ok())),
        };
        receiver.with(|destination| destination.copy_done(stream));
        blockferry_label::reached("destination.copy.moved");
        written
    }
}

/// The stream with the request's content behind it; made on another thread, since a chunk takes so
/// long that clients would notice. `None` when that thread died.
async fn digested(mut stream: Frontier, request: Request) -> Option<Frontier> {
    match request {
        Request::Write { data, .. } => {
            let digest = tokio::task::spawn_blocking(move || {
                stream.push(Piece::Data(&data));
                stream
            });
            digest.await.ok()
        }
        Request::WriteZeroes { extent, .. } => {
            stream.push(Piece::Zeroes(extent.len()));
            Some(stream)
        }
        _ => Some(stream),
    }
}

pub(super) fn not_receiving() -> Failure {
    Failure::new(Errno::Inval, "the volume receives no migration here; ask its status")
}

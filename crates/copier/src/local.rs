//! An end in the same program.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use blockferry_block::Extent;
use blockferry_device::{Device, DeviceInfo, Inflow, Reply, Request};
use blockferry_nbd_session::Flow;
use tokio_util::sync::CancellationToken;

use crate::end::{End, EndError};

/// A device that was opened for a copier as it would have been for a connection's.
pub struct LocalEnd {
    device: Arc<dyn Device>,
    cut: CancellationToken,
}

impl LocalEnd {
    /// An end at the device, lost once `cut` is cancelled.
    pub fn new(device: Arc<dyn Device>, cut: CancellationToken) -> Self {
        Self { device, cut }
    }

    async fn uncut<T>(&self, work: impl Future<Output = T>) -> Result<T, EndError> {
        tokio::select! {
            done = work => Ok(done),
            () = self.cut.cancelled() => Err(EndError::Lost("the volume has cut it".to_owned())),
        }
    }
}

impl End for LocalEnd {
    fn info(&self) -> &DeviceInfo {
        self.device.info()
    }

    fn round_trip(&self) -> Duration {
        Duration::ZERO
    }

    async fn request(&self, request: Request) -> Result<Reply, EndError> {
        self.uncut(self.device.call(request)).await?.map_err(EndError::Refused)
    }

    async fn write_flowing(&self, extent: Extent, flow: Flow) -> Result<Reply, EndError> {
        let lost = || EndError::Lost("the payload broke off".to_owned());
        let Some(Inflow { mut sink, answer }) = self.device.begin_write(extent) else {
            let data = flow.whole().await.ok_or_else(lost)?;
            return self.request(Request::Write { offset: extent.start(), data, fua: false }).await;
        };
        let hand_on = async {
            while let Some(piece) = flow.next().await {
                poll_fn(|cx| sink.poll_ready(cx)).await;
                sink.push(piece);
            }
            drop(sink);
            answer.await
        };
        let outcome = self.uncut(hand_on).await?;
        if flow.broke_off() { Err(lost()) } else { outcome.map_err(EndError::Refused) }
    }
}

#[cfg(test)]
mod tests;

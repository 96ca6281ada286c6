//! An end over NBD.

use std::time::Duration;

use blockferry_block::Extent;
use blockferry_device::{DeviceInfo, Reply, Request};
use blockferry_nbd_session::{CallError, Content, Flow, Link};

use crate::end::{End, EndError};

impl End for Link {
    fn info(&self) -> &DeviceInfo {
        Self::info(self)
    }

    fn round_trip(&self) -> Duration {
        Self::round_trip(self)
    }

    async fn request(&self, request: Request) -> Result<Reply, EndError> {
        Self::request(self, request).await.map_err(end_error)
    }

    async fn read(&self, extent: Extent) -> Result<Content, EndError> {
        self.read_flowing(extent).await.map_err(end_error)
    }

    async fn write_flowing(&self, extent: Extent, flow: Flow) -> Result<Reply, EndError> {
        Self::write_flowing(self, extent, flow).await.map_err(end_error)
    }
}

fn end_error(error: CallError) -> EndError {
    match error {
        CallError::Refused(failure) => EndError::Refused(failure),
        CallError::Lost => EndError::Lost(CallError::Lost.to_string()),
    }
}

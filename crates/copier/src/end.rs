//! The two ends of the copy, as narrow as it needs them, so that a test can stand in for either.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use blockferry_block::Extent;
use blockferry_device::{DeviceInfo, Failure, Reply, Request};
use blockferry_nbd_session::{Content, Flow};

/// Which storage program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where the volume comes from.
    Source,
    /// Where it goes to.
    Destination,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "the source",
            Self::Destination => "the destination",
        })
    }
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndError {
    /// The server answered with an error.
    Refused(Failure),
    /// The connection is gone; whether the request was executed is unknown.
    Lost(String),
}

/// A connection with the role `copy`.
pub trait End: Send + Sync {
    /// What the server said about the volume.
    fn info(&self) -> &DeviceInfo;

    /// How long a question and its answer take on the way.
    fn round_trip(&self) -> Duration;

    /// Sends the request when first polled; requests polled one after the other are sent in that order.
    fn request(&self, request: Request) -> impl Future<Output = Result<Reply, EndError>> + Send;

    /// Reads; what comes in one piece may be handed on while it comes.
    fn read(&self, extent: Extent) -> impl Future<Output = Result<Content, EndError>> + Send {
        let reply = self.request(Request::Read { extent, dont_fragment: false });
        async { reply.await.map(Content::Whole) }
    }

    /// Writes what is handed on.
    fn write_flowing(
        &self,
        extent: Extent,
        flow: Flow,
    ) -> impl Future<Output = Result<Reply, EndError>> + Send {
        async move {
            let lost = || EndError::Lost("the payload broke off".to_owned());
            let data = flow.whole().await.ok_or_else(lost)?;
            self.request(Request::Write { offset: extent.start(), data, fua: false }).await
        }
    }
}

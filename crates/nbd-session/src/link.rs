//! A connection to a server, as a device: many requests under way at once.
//!
//! A [`Link`] only puts requests into a queue; one task per connection (`driver.rs`) sends them and
//! hands the answers back.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use blockferry_block::Extent;
use blockferry_device::{Answer, Device, DeviceInfo, Errno, Failure, Reply, Request};
use blockferry_nbd_wire::Style;

use crate::calls::{Begun, Shared, Wish};
use crate::flow::{Flow, LONG};

/// A connection to an export on a server. Clones share it; when the last one is dropped, what is
/// outstanding is finished and the connection closed in good manners.
#[derive(Clone)]
pub struct Link {
    handle: Arc<Handle>,
}

/// What a read brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// All that was asked for.
    Whole(Reply),
    /// The same as one piece of data, which is coming.
    Flow(Flow),
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The server, or this side before it, refused the request.
    #[error("{0}")]
    Refused(Failure),
    /// The connection went away before the answer: the request was executed or not.
    #[error("the connection was lost before the answer came")]
    Lost,
}

/// Why a link is no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkEnd {
    /// This side disconnected.
    #[error("disconnected")]
    Disconnected,
    /// This side cut the connection.
    #[error("cut by this side")]
    Aborted,
    /// This side cut the connection in the middle of a write, whose payload did not come whole.
    #[error("cut by this side: the payload of a write broke off")]
    BrokeOff,
    /// The server closed the connection.
    #[error("closed by the server")]
    Closed,
    /// The network failed.
    #[error("the connection failed: {0}")]
    Network(String),
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
}

/// Ends the connection when the last link to it is gone.
struct Handle {
    shared: Arc<Shared>,
}

impl Link {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { handle: Arc::new(Handle { shared }) }
    }

    /// What the export is and can do, as the server told it.
    pub fn info(&self) -> &DeviceInfo {
        &self.shared().joined.device
    }

    /// How long a question and its answer take on the way, as the handshake has shown.
    pub fn round_trip(&self) -> Duration {
        self.shared().round_trip
    }

    /// Whether the server knows roles and accepted the one that was claimed.
    pub fn role_accepted(&self) -> bool {
        self.shared().joined.role_accepted
    }

    /// Whether requests travel with extended headers, so that an effect may be longer than 4 GiB.
    pub fn extended(&self) -> bool {
        self.shared().joined.negotiated.style == Style::Extended
    }

    /// Sends the request. It is queued before this returns (unless more than 4,096 calls are under
    /// way), and dropping the future does not take it back. What is longer than the server takes
    /// is sent in pieces; a piece's failure is then the whole's.
    ///
    /// # Errors
    /// [`CallError::Refused`] with the server's failure, or this side's where the request does not
    /// fit the export; [`CallError::Lost`] when the connection ended first.
    pub fn request(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Reply, CallError>> + Send + 'static + use<> {
        let shared = Arc::clone(self.shared());
        let begun = Begun::new(&shared, request);
        async move {
            match begun {
                Begun::Here(outcome) => outcome.map_err(CallError::Refused),
                Begun::Whole(ticket) => shared.finish(ticket).await,
                Begun::Pieces(task) => task.await.unwrap_or(Err(CallError::Lost)),
            }
        }
    }

    /// Reads; long content that comes in one piece is handed on while it comes.
    ///
    /// # Errors
    /// Those of [`Link::request`]. A connection that ends later breaks the flow off.
    pub async fn read_flowing(&self, extent: Extent) -> Result<Content, CallError> {
        let payload_max = u64::from(self.info().payload_max);
        let request = Request::Read { extent, dont_fragment: false };
        if !(LONG..=payload_max).contains(&extent.len()) {
            return self.request(request).await.map(Content::Whole);
        }
        self.shared().check(&request).map_err(CallError::Refused)?;
        self.shared().read_flowing(extent).await
    }

    /// Writes what flows, while it comes. The connection sends nothing else meanwhile. If the flow
    /// breaks off, the connection is cut: the server has a part of a request.
    ///
    /// # Errors
    /// Those of [`Link::request`]; the flow has to be as long as the extent.
    pub async fn write_flowing(&self, extent: Extent, flow: Flow) -> Result<Reply, CallError> {
        self.shared().check_flow(extent, &flow).map_err(CallError::Refused)?;
        self.shared().write_flowing(extent, flow).await
    }

    /// Waits until the connection has ended, and says why.
    pub async fn closed(&self) -> LinkEnd {
        let mut end = self.shared().end.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(LinkEnd::Aborted),
            // The sender lives in what this link holds.
            Err(_) => LinkEnd::Aborted,
        }
    }

    /// Finishes what is outstanding, says good-bye and closes. Calls that come later are lost.
    pub async fn disconnect(self) -> LinkEnd {
        self.shared().wish(Wish::Leave);
        self.closed().await
    }

    /// Cuts the connection now; outstanding calls are lost, and what was not sent is thrown away.
    pub fn abort(&self) {
        self.shared().wish(Wish::Abort);
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.wish(Wish::Leave);
    }
}

impl Device for Link {
    fn info(&self) -> &DeviceInfo {
        self.info()
    }

    fn call(&self, request: Request) -> Answer {
        let answer = self.request(request);
        Answer::later(async move {
            answer.await.map_err(|error| match error {
                CallError::Refused(failure) => failure,
                CallError::Lost => Failure::new(Errno::Io, CallError::Lost.to_string()),
            })
        })
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("joined", &self.shared().joined).finish_non_exhaustive()
    }
}

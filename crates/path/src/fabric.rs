//! What a path is built from: somewhere to connect to, and links there.

use std::fmt;
use std::future::Future;

use blockferry_block::Generation;
use blockferry_device::{DeviceInfo, Failure, Reply, Request};

/// Why a request on a link has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The server's own answer: it did not do it.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// The link ended first; nobody knows whether it was done.
    #[error("the connection was lost before the answer came")]
    Lost,
}

/// What a server said to a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceOutcome {
    /// Nothing of an older generation of the session executes any more or ever will, durably.
    Confirmed,
    /// The server does not know fences.
    Unsupported,
}

/// Why an upstream could not be reached or will not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// Another try may have another outcome.
    #[error("{0}")]
    Unusable(String),
    /// A newer connection of the session has had this one fenced: nothing of it will ever execute
    /// again, wherever it is sent (I12).
    #[error("a newer connection of the client has taken this one's place")]
    Superseded,
    /// The session has opened so many links that there is no generation for another.
    #[error("the session has used up its generations: its client has to connect anew")]
    UsedUp,
}

impl UpstreamError {
    /// Whether another try is in vain, wherever it goes.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(self, Self::Superseded | Self::UsedUp)
    }
}

/// One connection to a server of the volume.
pub trait Link: Send + Sync + 'static {
    /// What the server offers.
    fn info(&self) -> &DeviceInfo;

    /// Sends a request and waits for its answer. Once the link is lost or aborted, every request on
    /// it ends with [`CallError::Lost`] at once.
    fn request(&self, request: Request) -> impl Future<Output = Result<Reply, CallError>> + Send;

    /// Ends when the link is lost.
    fn closed(&self) -> impl Future<Output = ()> + Send;

    /// Whether it is lost already.
    fn is_closed(&self) -> bool;

    /// Ends it in order: nothing is unanswered.
    fn disconnect(&self);

    /// Cuts it off.
    fn abort(&self);
}

/// What a link is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The session's generation, which the link claims.
    pub generation: Generation,
    /// It is kept for a move; no request goes over it yet.
    pub standby: bool,
}

/// Where the owner of a volume may be, and how to get there on behalf of one session.
pub trait Fabric: Send + Sync + 'static {
    /// A place to connect to.
    type Upstream: Clone + PartialEq + fmt::Debug + fmt::Display + Send + Sync + 'static;
    /// What comes of it.
    type Link: Link;

    /// Upstreams that are worth a try now, the best first; asked anew before each round.
    fn locate(&self) -> impl Future<Output = Vec<Self::Upstream>> + Send;

    /// Opens a link.
    fn open(
        &self,
        to: &Self::Upstream,
        opening: Opening,
    ) -> impl Future<Output = Result<Self::Link, UpstreamError>> + Send;

    /// Asks the server to fence every generation of this session below the one given.
    fn fence(
        &self,
        at: &Self::Upstream,
        generation: Generation,
    ) -> impl Future<Output = Result<FenceOutcome, UpstreamError>> + Send;
}

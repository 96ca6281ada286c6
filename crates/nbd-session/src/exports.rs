//! What a program brings to serve: the exports, and who may open them.

use std::sync::Arc;

use blockferry_device::{Device, Request};
use blockferry_nbd_wire::{ExportEntry, FenceRequest, Negotiated, Purpose, Refusal, RoleClaim};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use blockferry_net::Peer;

/// The exports of a server.
pub trait Exports: Send + Sync + 'static {
    /// What a client that asks for a list is told.
    fn list(&self) -> Vec<ExportEntry>;

    /// Opens an export, to tell about it or for requests; the hello says which. A client may ask to
    /// be told several times before it asks for more, and may leave at any time: what was opened is
    /// then dropped without a request. At a shutdown the future itself is dropped.
    ///
    /// # Errors
    /// What the client is told instead.
    fn open<'a>(
        &'a self,
        name: &'a str,
        hello: &'a Hello,
    ) -> BoxFuture<'a, Result<Opened, OpenError>>;

    /// Makes a fence durable: nothing of the session that is older than its generation executes, or
    /// ever will. A client that gets no answer, because it left or because the server shuts down,
    /// takes nothing for granted.
    ///
    /// # Errors
    /// What the client is told instead.
    fn fence<'a>(&'a self, fence: FenceRequest) -> BoxFuture<'a, Result<(), OpenError>>;
}

/// What is known of a client when it names an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Why the export is opened.
    pub purpose: Purpose,
    /// The role that the client claimed on this connection.
    pub role: Option<RoleClaim>,
    /// Who it is.
    pub peer: Peer,
}

/// An export that was opened for one connection; dropped when the connection ends.
pub struct Opened {
    /// The canonical name.
    pub name: String,
    /// A text for a person; may be empty.
    pub description: String,
    /// What requests go to.
    pub device: Arc<dyn Device>,
    /// Cancelled by the export's owner to cut the connection at once.
    pub cut: CancellationToken,
    /// What it takes to serve the connection through a keeper, where the program has one.
    pub kept: Option<Kept>,
}

/// What a connection needs when a keeper has its client's socket; see [`serve_kept`].
///
/// [`serve_kept`]: crate::serve_kept
pub struct Kept {
    /// The order of its requests among those of others.
    pub order: Arc<dyn Order>,
    /// Asked once, when the handshake is over: what another process needs to go on with the
    /// connection.
    pub pass: Pass,
}

/// Makes the pass of a connection that has negotiated so.
pub type Pass = Box<dyn FnOnce(Negotiated) -> Bytes + Send>;

/// Brings the requests of several connections into one order.
pub trait Order: Send + Sync + 'static {
    /// Takes a request in. `arrival` is given for one that another process may have begun already.
    fn enter(&self, request: &Request, arrival: Option<u64>) -> Turn;
}

/// A request's turn.
#[derive(Default)]
pub struct Turn {
    /// Ends when it may begin; `None` when it may at once.
    pub come: Option<BoxFuture<'static, ()>>,
    /// Dropped when its answer has left this process.
    pub hold: Hold,
}

/// Something that ends when it is dropped.
pub type Hold = Option<Box<dyn Held>>;

/// See [`Turn::hold`].
pub trait Held: Send {
    /// Whether somebody waits for its end.
    fn is_waited_for(&self) -> bool;
}

/// What the refusal of a fenced generation begins with; see [`ConnectError::is_fenced`].
///
/// [`ConnectError::is_fenced`]: crate::ConnectError::is_fenced
pub(crate) const FENCED: &str = "this generation is fenced";

/// Why an export was not opened, or a fence not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There is no such export.
    #[error("{0}")]
    Unknown(String),
    /// There is, but not for this client now.
    #[error("{0}")]
    Policy(String),
    /// Everything of the session up to the generation claimed is fenced, for good.
    #[error("{FENCED}: a newer connection of the session has had it fenced")]
    Fenced,
    /// The request contradicts itself or the server's state.
    #[error("{0}")]
    Invalid(String),
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Shutdown,
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Unknown(message) => Self::unknown(message),
            OpenError::Policy(message) => Self::policy(message),
            OpenError::Fenced => Self::policy(error.to_string()),
            OpenError::Invalid(message) => Self::invalid(message),
            OpenError::Shutdown => Self::shutdown(),
        }
    }
}

//! Paths over NBD connections.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use blockferry_block::Generation;
use blockferry_device::{DeviceInfo, Reply, Request};
use blockferry_nbd_session::{
    CallError as NbdCallError, ConnectOptions, FenceOutcome as NbdFenceOutcome, FenceRequest,
    Link as Connection, NbdUri, RoleClaim, connect, fence,
};
use futures_util::FutureExt;

use crate::fabric::{CallError, Fabric, FenceOutcome, Link, Opening, UpstreamError};

/// Longest time for connecting with its handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server whose system takes nothing for so long is gone: its host died, or the network is cut.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Longest time for a fence: the server may have to wait for a slow disk first.
const FENCE_TIMEOUT: Duration = Duration::from_secs(10);

/// Knows where the owner of a volume may be.
pub trait Locate: Send + Sync + 'static {
    /// Exports worth a try now, the best first. Asked when a path is opened, and before each round
    /// of tries while it is lost.
    fn upstreams(&self) -> impl Future<Output = Vec<NbdUri>> + Send;
}

impl<L: Locate> Locate for Arc<L> {
    fn upstreams(&self) -> impl Future<Output = Vec<NbdUri>> + Send {
        (**self).upstreams()
    }
}

/// Opens the links of one session.
///
/// Servers that know no roles are taken as they are, with the weaker promise that a replay towards
/// them can keep. Once a server has accepted the session's role, one that does not is refused: it
/// is something else at the owner's old address.
#[derive(Debug)]
pub struct NbdFabric<L> {
    claim: RoleClaim,
    step: u64,
    locate: L,
    roles_known: AtomicBool,
}

/// An NBD connection as a link.
#[derive(Debug)]
pub struct NbdLink(Connection);

impl<L: Locate> NbdFabric<L> {
    /// Links that claim what `claim` says, each with a generation of its own: `step` above the one
    /// before it, the first `step` above the claim's.
    pub const fn new(claim: RoleClaim, step: u64, locate: L) -> Self {
        Self { claim, step, locate, roles_known: AtomicBool::new(false) }
    }

    /// The same for a session of which a server is known to have accepted the role, or not.
    #[must_use]
    pub fn with_roles_known(self, known: bool) -> Self {
        Self { roles_known: AtomicBool::new(known), ..self }
    }

    /// Whether a server has accepted the session's role.
    pub fn roles_known(&self) -> bool {
        self.roles_known.load(Ordering::Relaxed)
    }

    fn on_the_wire(&self, generation: Generation) -> Generation {
        Generation(self.claim.generation.0 + self.step * generation.0)
    }
}

impl<L: Locate> Fabric for NbdFabric<L> {
    type Upstream = NbdUri;
    type Link = NbdLink;

    fn locate(&self) -> impl Future<Output = Vec<NbdUri>> + Send {
        self.locate.upstreams()
    }

    async fn open(&self, to: &NbdUri, opening: Opening) -> Result<NbdLink, UpstreamError> {
        let generation = self.on_the_wire(opening.generation);
        let standby = opening.standby;
        let options = ConnectOptions {
            role: Some(RoleClaim { generation, standby, ..self.claim.clone() }),
            role_required: self.roles_known(),
            timeout: CONNECT_TIMEOUT,
            silence_max: Some(SILENCE_MAX),
            ..ConnectOptions::new(to.address.clone(), to.export.clone())
        };
        let link = connect(&options).await.map_err(|error| {
            if error.is_fenced() { UpstreamError::Superseded } else { explain(error) }
        })?;
        if link.role_accepted() {
            self.roles_known.store(true, Ordering::Relaxed);
        }
        Ok(NbdLink(link))
    }

    async fn fence(
        &self,
        at: &NbdUri,
        generation: Generation,
    ) -> Result<FenceOutcome, UpstreamError> {
        let session = self.claim.session;
        let generation = self.on_the_wire(generation);
        let request = FenceRequest { export: at.export.clone(), session, generation };
        match fence(&at.address, &request, FENCE_TIMEOUT).await.map_err(explain)? {
            NbdFenceOutcome::Confirmed => Ok(FenceOutcome::Confirmed),
            NbdFenceOutcome::Unsupported if self.roles_known() => {
                Err(UpstreamError::Unusable("the server knows roles and yet no fence".to_owned()))
            }
            NbdFenceOutcome::Unsupported => Ok(FenceOutcome::Unsupported),
        }
    }
}

impl Link for NbdLink {
    fn info(&self) -> &DeviceInfo {
        self.0.info()
    }

    fn request(&self, request: Request) -> impl Future<Output = Result<Reply, CallError>> + Send {
        self.0.request(request).map(|outcome| {
            outcome.map_err(|error| match error {
                NbdCallError::Refused(failure) => CallError::Refused(failure),
                NbdCallError::Lost => CallError::Lost,
            })
        })
    }

    async fn closed(&self) {
        let end = self.0.closed().await;
        tracing::debug!(%end, "an upstream connection ended");
    }

    fn is_closed(&self) -> bool {
        self.0.closed().now_or_never().is_some()
    }

    fn disconnect(&self) {
        tokio::spawn(self.0.clone().disconnect());
    }

    fn abort(&self) {
        self.0.abort();
    }
}

fn explain(error: impl std::fmt::Display) -> UpstreamError {
    UpstreamError::Unusable(error.to_string())
}

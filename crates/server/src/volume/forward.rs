//! After the commit: what still arrives at the source goes to the destination, over a path of the
//! client session's own that outlives the destination's restarts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use blockferry_block::{ClaimEpoch, Generation, SessionId};
use blockferry_device::{Device, Errno, Failure, Reply, Request};
use blockferry_nbd_session::{NbdUri, Role};
use blockferry_path::{Locate, NbdFabric, Path, PathOptions, UpstreamError};
use futures_util::future::BoxFuture;

use super::mirror_out::FORWARD_GENERATIONS;
use super::outgoing::Outgoing;
use super::{Volume, not_the_owner};

/// Pause between two tries to open a forward path.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

type ForwardTo = Path<NbdFabric<ToDestination>>;

/// The forward path of one client session, opened when it is first needed.
pub(crate) struct ForwardPath {
    volume: std::sync::Weak<Volume>,
    session: SessionId,
    generation: Generation,
    arrangement: String,
    opening: tokio::sync::Mutex<()>,
    path: Mutex<Option<Arc<ForwardTo>>>,
}

impl ForwardPath {
    pub(super) fn new(
        volume: &Arc<Volume>,
        session: SessionId,
        generation: Generation,
        arrangement: String,
    ) -> Arc<Self> {
        Arc::new(Self {
            volume: Arc::downgrade(volume),
            session,
            generation,
            arrangement,
            opening: tokio::sync::Mutex::new(()),
            path: Mutex::new(None),
        })
    }

    /// Has the destination, as the owner, execute the request (D1.1). It waits for a destination
    /// that is away; the source never serves on its own again.
    ///
    /// Boxed: few requests go this way, and all others would carry its state along.
    pub(super) fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(self.forward(request))
    }

    async fn forward(&self, request: Request) -> Result<Reply, Failure> {
        let path = loop {
            let Some(outgoing) = self.volume.upgrade().and_then(|volume| volume.outgoing()) else {
                let name = "volume".parse().expect("a valid name");
                return Err(not_the_owner(&name));
            };
            match self.open(&outgoing).await {
                Ok(path) => break path,
                Err(error @ UpstreamError::Superseded) => {
                    return Err(Failure::new(Errno::Shutdown, error.to_string()));
                }
                Err(error) => {
                    tracing::debug!(%error, "the forward path could not be opened");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        };
        blockferry_label::reached("source.forward.sending");
        let answer = path.call(request).await;
        blockferry_label::reached("source.forward.answered");
        answer
    }

    /// Opens the path before it is needed, so that the commit has nothing left that can fail.
    pub(super) async fn open(
        &self,
        outgoing: &Arc<Outgoing>,
    ) -> Result<Arc<ForwardTo>, UpstreamError> {
        if let Some(path) = self.opened() {
            return Ok(path);
        }
        let _opening = self.opening.lock().await;
        if let Some(path) = self.opened() {
            return Ok(path);
        }
        let first = Generation(self.generation.0 + FORWARD_GENERATIONS);
        let mut claim = outgoing.claim(Role::Forward, self.session, first, ClaimEpoch(0));
        claim.arrangement.clone_from(&self.arrangement);
        let fabric = NbdFabric::new(claim, 1, ToDestination(outgoing.data().clone()));
        let path = Arc::new(Path::open(fabric, PathOptions::default()).await?);
        *self.lock() = Some(Arc::clone(&path));
        Ok(path)
    }

    fn opened(&self) -> Option<Arc<ForwardTo>> {
        self.lock().clone()
    }

    /// The client has gone.
    pub(super) fn end(&self) {
        self.lock().take();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<ForwardTo>>> {
        self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A forward path always leads to the destination.
#[derive(Debug)]
pub(super) struct ToDestination(NbdUri);

impl Locate for ToDestination {
    async fn upstreams(&self) -> Vec<NbdUri> {
        vec![self.0.clone()]
    }
}

//! After the commit: what still arrives at the source goes to the destination, over a path of the
//! client session's own that outlives the destination's restarts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use blockferry_block::{ClaimEpoch, Generation, SessionId};
use blockferry_device::{Device, DeviceInfo, Failure, Reply, Request};
use blockferry_nbd_session::{CallError, FenceRequest, Link, Role};
use blockferry_path::{
    self as path, Fabric, FenceOutcome, Opening, Path, PathOptions, UpstreamError,
};

use super::mirror_out::FORWARD_GENERATIONS;
use super::outgoing::Outgoing;
use super::{Volume, not_the_owner};

/// Pause between two tries to open a forward path.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The forward path of one client session, opened when it is first needed.
pub(crate) struct ForwardPath {
    volume: std::sync::Weak<Volume>,
    session: SessionId,
    generation: Generation,
    arrangement: String,
    opening: tokio::sync::Mutex<()>,
    path: Mutex<Option<Arc<Path<Destination>>>>,
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
    pub(super) async fn call(&self, request: Request) -> Result<Reply, Failure> {
        let path = loop {
            let Some(outgoing) = self.volume.upgrade().and_then(|volume| volume.outgoing()) else {
                let name = "volume".parse().expect("a valid name");
                return Err(not_the_owner(&name));
            };
            match self.open(&outgoing).await {
                Ok(path) => break path,
                Err(error) => {
                    tracing::debug!(%error, "the forward path could not be opened");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        };
        path.call(request).await
    }

    /// Opens the path before it is needed, so that the commit has nothing left that can fail.
    pub(super) async fn open(
        &self,
        outgoing: &Arc<Outgoing>,
    ) -> Result<Arc<Path<Destination>>, UpstreamError> {
        if let Some(path) = self.opened() {
            return Ok(path);
        }
        let _opening = self.opening.lock().await;
        if let Some(path) = self.opened() {
            return Ok(path);
        }
        let fabric = Destination {
            outgoing: Arc::clone(outgoing),
            session: self.session,
            first: Generation(self.generation.0 + FORWARD_GENERATIONS),
            arrangement: self.arrangement.clone(),
            export: self.volume.upgrade().map(|v| v.name.to_string()).unwrap_or_default(),
        };
        let path = Arc::new(Path::open(fabric, PathOptions::default()).await?);
        *self.lock() = Some(Arc::clone(&path));
        Ok(path)
    }

    fn opened(&self) -> Option<Arc<Path<Destination>>> {
        self.lock().clone()
    }

    /// The client has gone.
    pub(super) fn end(&self) {
        self.lock().take();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Path<Destination>>>> {
        self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a forward path reaches the destination.
pub(super) struct Destination {
    outgoing: Arc<Outgoing>,
    session: SessionId,
    first: Generation,
    arrangement: String,
    export: String,
}

impl Destination {
    fn generation(&self, generation: Generation) -> Generation {
        Generation(self.first.0 + generation.0)
    }
}

impl Fabric for Destination {
    type Upstream = String;
    type Link = ForwardLink;

    async fn locate(&self) -> Vec<String> {
        vec![self.outgoing.destination.nbd.clone()]
    }

    async fn open(&self, _: &String, opening: Opening) -> Result<ForwardLink, UpstreamError> {
        let generation = self.generation(opening.generation);
        let mut claim =
            self.outgoing.claim(Role::Forward, self.session, generation, ClaimEpoch(0));
        claim.standby = opening.standby;
        claim.arrangement.clone_from(&self.arrangement);
        let link = self.outgoing.connect(claim).await;
        link.map(ForwardLink).map_err(|error| UpstreamError(error.to_string()))
    }

    async fn fence(&self, _: &String, generation: Generation) -> Result<FenceOutcome, UpstreamError> {
        let request = FenceRequest {
            export: self.export.clone(),
            session: self.session,
            generation: self.generation(generation),
        };
        match self.outgoing.fence(&request).await {
            true => Ok(FenceOutcome::Confirmed),
            false => Err(UpstreamError("the destination did not confirm the fence".to_owned())),
        }
    }
}

/// A connection to the destination.
pub(super) struct ForwardLink(Link);

impl path::Link for ForwardLink {
    fn info(&self) -> &DeviceInfo {
        self.0.info()
    }

    async fn request(&self, request: Request) -> Result<Reply, path::CallError> {
        self.0.request(request).await.map_err(|error| match error {
            CallError::Refused(failure) => path::CallError::Refused(failure),
            CallError::Lost => path::CallError::Lost,
        })
    }

    async fn closed(&self) {
        self.0.closed().await;
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn disconnect(&self) {
        self.0.disconnect();
    }

    fn abort(&self) {
        self.0.abort();
    }
}

//! The switch as an NBD server: its exports are the routes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use blockferry_block::{BootId, ClaimEpoch, Generation, MigrationId, SessionId, Token};
use blockferry_device::{Answer, Device, DeviceInfo, Errno, Failure, Request};
use blockferry_keeper::Resume;
use blockferry_nbd_session::{
    ExportEntry, Exports, FenceRequest, Hello, Kept, OpenError, Opened, Pass, Purpose, Replay,
    Resumed, Role, RoleClaim,
};
use blockferry_path::{Generations, Missing, NbdFabric, Path, PathOptions, UpstreamError};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::client::{Client, ClientPath};
use crate::passport::Passport;
use crate::route::Route;
use crate::routes::Routes;

/// How long a new client waits for an upstream that is away.
const OPEN_HOLD: Duration = Duration::from_secs(10);
/// Pause between tries meanwhile.
const OPEN_PAUSE: Duration = Duration::from_millis(200);

/// See the module.
pub(crate) struct RouteExports {
    /// All routes.
    pub(crate) routes: Arc<Routes>,
    /// How long a request is held before its client is told an error.
    pub(crate) client_timeout: Duration,
    /// Cancelled to cut every connection.
    pub(crate) cut: CancellationToken,
}

impl Exports for RouteExports {
    fn list(&self) -> Vec<ExportEntry> {
        let entry = |route: &Arc<Route>| ExportEntry {
            name: route.name().to_owned(),
            description: String::new(),
        };
        self.routes.all().iter().map(entry).collect()
    }

    fn open<'a>(
        &'a self,
        name: &'a str,
        hello: &'a Hello,
    ) -> BoxFuture<'a, Result<Opened, OpenError>> {
        Box::pin(async move {
            if hello.role.is_some() {
                let text = "a switch takes plain clients only; connect to a storage program";
                return Err(OpenError::Policy(text.to_owned()));
            }
            let route = self.routes.find_for_client(name).ok_or_else(|| unknown(name))?;
            let opened = self.open_route(&route, hello.purpose).await.map_err(|error| {
                tracing::warn!(route = route.name(), %error, "a client was turned away");
                OpenError::Policy(format!("the volume cannot be reached: {error}"))
            })?;
            Ok(opened)
        })
    }

    fn fence<'a>(&'a self, _: FenceRequest) -> BoxFuture<'a, Result<(), OpenError>> {
        let text = "a switch keeps no sessions of others; fence at the storage program";
        Box::pin(async move { Err(OpenError::Policy(text.to_owned())) })
    }
}

impl RouteExports {
    /// Nobody's requests begin before all of these are dropped.
    pub(crate) fn expect_all(&self) -> Vec<Missing> {
        self.routes.all().iter().map(|route| route.delivery().expect()).collect()
    }

    /// Goes on with a connection as another process has left it. It counts as missing until all that
    /// it begins again is queued.
    ///
    /// # Errors
    /// When it cannot be understood, or its route is no more.
    pub(crate) fn resume(&self, left: &Resume) -> anyhow::Result<Resumed> {
        let passport = Passport::decode(&left.pass)?;
        let name = &passport.route;
        let route = self.routes.find(name).with_context(|| format!("route {name:?} is no more"))?;
        let session = passport.session()?;
        let fabric = fabric(session, &route).with_roles_known(passport.roles_known);
        let options = self.path_options(&route, left.incarnation);
        let (info, upstream) = (passport.info(), route.placement().upstream);
        let path = Path::resume(fabric, options, info, upstream);
        let replay = Replay { bytes: left.replay, missing: Box::new(route.delivery().expect()) };
        let negotiated = passport.negotiated();
        let pass = Box::new(move |_| passport.encode());
        let client = Client::enter(Arc::clone(&route), session, path);
        Ok(Resumed { opened: self.opened(&route, Arc::new(client), pass), negotiated, replay })
    }

    async fn open_route(
        &self,
        route: &Arc<Route>,
        purpose: Purpose,
    ) -> Result<Opened, UpstreamError> {
        if let (Purpose::Info, Some(info)) = (purpose, route.recent_info()) {
            let nothing_to_leave = Box::new(|_| Bytes::new());
            return Ok(self.opened(route, Arc::new(Description(info)), nothing_to_leave));
        }
        let (session, path) = self.open_path(route).await?;
        let (info, roles_known) = (*path.info(), path.fabric().roles_known());
        let name = route.name().to_owned();
        let pass = Box::new(move |negotiated| {
            Passport::new(&name, session, roles_known, &info, negotiated).encode()
        });
        let client = Client::enter(Arc::clone(route), session, path);
        Ok(self.opened(route, Arc::new(client), pass))
    }

    fn opened(&self, route: &Route, device: Arc<dyn Device>, pass: Pass) -> Opened {
        Opened {
            name: route.name().to_owned(),
            description: String::new(),
            device,
            cut: self.cut.child_token(),
            kept: Some(Kept { order: Arc::new(route.delivery().clone()), pass }),
        }
    }

    fn path_options(&self, route: &Route, incarnation: u16) -> PathOptions {
        PathOptions {
            client_timeout: self.client_timeout,
            order: Arc::clone(route.order()),
            generations: Generations::of_incarnation(incarnation),
        }
    }

    async fn open_path(
        &self,
        route: &Arc<Route>,
    ) -> Result<(SessionId, ClientPath), UpstreamError> {
        let started = Instant::now();
        loop {
            let session = new_session()?;
            let options = self.path_options(route, 0);
            match Path::open(fabric(session, route), options).await {
                Ok(path) => return Ok((session, path)),
                Err(error) if started.elapsed() >= OPEN_HOLD => return Err(error),
                Err(_) => sleep(OPEN_PAUSE).await,
            }
        }
    }
}

fn fabric(session: SessionId, route: &Arc<Route>) -> NbdFabric<Arc<Route>> {
    NbdFabric::new(claim(session, route), GENERATION_STEP, Arc::clone(route))
}

/// What a client is told of a volume that it only asks about: most ask before they join.
struct Description(DeviceInfo);

impl Device for Description {
    fn info(&self) -> &DeviceInfo {
        &self.0
    }

    fn call(&self, _: Request) -> Answer {
        let failure = Failure::new(Errno::Inval, "the volume was only asked about");
        Answer::ready(Err(failure))
    }
}

/// A session's identity: nobody can guess it, so nobody else can fence it.
pub(crate) fn new_session() -> Result<SessionId, UpstreamError> {
    let mut bytes = [0; SessionId::LENGTH];
    getrandom::fill(&mut bytes)
        .map_err(|error| UpstreamError::Unusable(format!("no random numbers: {error}")))?;
    Ok(SessionId::from_bytes(bytes))
}

/// Distance between the generations of a client's links: a storage program numbers what it opens on
/// the client's behalf in between.
pub(crate) const GENERATION_STEP: u64 = 1 << 32;

/// What a client's links claim. The generation is the path's.
pub(crate) fn claim(session: SessionId, route: &Route) -> RoleClaim {
    RoleClaim {
        role: Role::Client,
        standby: false,
        migration: MigrationId::from_bytes([0; MigrationId::LENGTH]),
        token: Token::from_bytes([0; Token::LENGTH]),
        session,
        generation: Generation(0),
        source_boot: BootId(0),
        destination_boot: BootId(0),
        claim_epoch: ClaimEpoch(0),
        arrangement: route.arrangement().to_owned(),
    }
}

fn unknown(name: &str) -> OpenError {
    OpenError::Unknown(format!("there is no route {name:?} here"))
}

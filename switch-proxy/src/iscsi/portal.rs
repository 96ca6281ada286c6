//! The switch as a portal: it tells which targets there are, and passes logins on to their owners.

use std::sync::Arc;
use std::time::Duration;

use blockferry_iscsi::{Chap, Inquiry, IscsiName, Pdu, PortalAddress, Refusal, TargetEntry};
use blockferry_iscsi_session::{
    Arrival, Handed, LoginEnd, Opened, PORTAL_GROUP, Sessions, Targets, serve_arrival, target_of,
};
use blockferry_net::{Limits, Listener, Stream, Threads};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::passage::{Outcome, finish_login, pass_on};
use super::upstream::{NoUpstream, Side, Upstream};
use crate::route::Route;
use crate::routes::Routes;

/// So long an owner is looked for, before an initiator is told to try again later: less than initiators
/// wait for an answer.
const OWNER_WAIT: Duration = Duration::from_secs(8);
/// Pause between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// When a volume has moved, its former owner may take so long to part with an initiator in good
/// manners: longer than it waits for the initiator to log out.
const PARTING_MAX: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Clone)]
pub(crate) struct Portal {
    routes: Arc<Routes>,
    /// Those that only look for targets.
    sessions: Arc<Sessions>,
    limits: Arc<Limits>,
    /// What those are told who look for targets; where they have come already without it.
    told: Option<PortalAddress>,
    shutdown: CancellationToken,
}

impl Portal {
    /// A portal until `shutdown` is cancelled, which ends the initiators' connections: they log in again
    /// at whoever serves next.
    pub(crate) fn new(
        routes: Arc<Routes>,
        told: Option<PortalAddress>,
        shutdown: CancellationToken,
    ) -> Self {
        let (sessions, limits) = Default::default();
        Self { routes, sessions, limits, told, shutdown }
    }

    /// Serves whoever comes.
    pub(crate) async fn serve(self, listener: Listener, threads: Arc<Threads>) {
        listener.announce("iSCSI");
        let (bounds, end) = (Arc::clone(&self.limits), self.shutdown.clone());
        let serving = move |stream| self.clone().attend(stream);
        listener.run(threads, bounds, end, serving).await;
    }

    async fn attend(self, stream: Stream) {
        let peer = stream.peer();
        let shutdown = self.shutdown.clone();
        let attended = tokio::select! {
            attended = self.pass(stream) => attended,
            () = shutdown.cancelled() => Err(LoginEnd::Shutdown),
        };
        if let Err(error) = attended {
            tracing::debug!(%peer, %error, "an initiator's connection ended");
        }
    }

    async fn pass(self, stream: Stream) -> Result<(), LoginEnd> {
        stream.tune()?;
        let arrival = Arrival::greet(stream, &self.limits, &self.shutdown).await?;
        let Some(target) = &arrival.who().target else {
            let targets = Arc::new(RouteTargets { routes: self.routes, told: self.told });
            serve_arrival(arrival, targets, self.sessions, self.limits, self.shutdown).await;
            return Ok(());
        };
        match self.routes.find_target(target) {
            Some(route) => relay(&route, arrival, &self.limits).await,
            None => Ok(arrival.refuse(Refusal::NotFound).await?),
        }
    }
}

/// Joins an initiator to the owner of its volume, until either ends or the volume has another owner.
async fn relay(route: &Arc<Route>, arrival: Arrival, limits: &Limits) -> Result<(), LoginEnd> {
    blockferry_label::reached("switch.disk.asked");
    let (peer, initiator) = (arrival.peer(), arrival.who().initiator.clone());
    let upstream = match owner(route, arrival.said()).await {
        Ok(upstream) => upstream,
        Err(error) => {
            let route = route.name();
            tracing::warn!(route, %peer, %initiator, %error, "an initiator has to try again later");
            return Ok(arrival.refuse(Refusal::Busy).await?);
        }
    };
    blockferry_label::reached("switch.disk.answered");
    let Upstream { side: mut owner, at, answer } = upstream;
    let Handed { stream, unread } = arrival.hand_over();
    let mut client = Side::new(stream, unread);
    let finished = timeout(limits.handshake_timeout, finish_login(&mut client, &mut owner, answer));
    match finished.await.unwrap_or(Err(LoginEnd::Late))? {
        Outcome::LoggedIn => {}
        other => {
            tracing::info!(%peer, %initiator, owner = %at, outcome = ?other, "a login has failed");
            return Ok(());
        }
    }
    tracing::info!(route = route.name(), %peer, %initiator, owner = %at, "an initiator logged in");
    let guest = route.guests().enter(at.clone());
    blockferry_label::reached("switch.disk.joined");
    let parted = async {
        guest.moved().await;
        sleep(PARTING_MAX).await;
    };
    tokio::select! {
        passed = pass_on(&mut client, &mut owner) => passed?,
        () = parted => {}
    }
    tracing::info!(route = route.name(), %peer, %initiator, owner = %at, "its session ended");
    Ok(())
}

/// The owner's answer to a login, wherever the owner is by now.
async fn owner(route: &Arc<Route>, said: &[Pdu]) -> Result<Upstream, NoUpstream> {
    let deadline = Instant::now() + OWNER_WAIT;
    loop {
        let tried = route.portal().await;
        let found = match &tried {
            Some(portal) => Upstream::log_in(portal.clone(), said).await,
            None => Err(NoUpstream::Unknown),
        };
        match &found {
            Ok(upstream) if !upstream.has_no_such_volume() => return found,
            _ if Instant::now() >= deadline => return found,
            Ok(upstream) => tracing::debug!(at = %upstream.at, "no owner has the volume yet"),
            Err(error) => tracing::debug!(%error, "the owner cannot be logged in to yet"),
        }
        route.seek_owner().await;
        // Who has no such volume, and owns it as far as anybody knows, is right.
        if found.is_ok() && route.portal().await == tried {
            return found;
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// The routes as targets. Nobody has a session with one here.
struct RouteTargets {
    routes: Arc<Routes>,
    told: Option<PortalAddress>,
}

impl Targets for RouteTargets {
    fn list(&self, _: &IscsiName) -> Vec<TargetEntry> {
        let routes = self.routes.all();
        let named = routes.iter().filter_map(|route| target_of(route.name()));
        let portals: Vec<_> = self.told.iter().map(|at| (at.clone(), PORTAL_GROUP)).collect();
        named.map(|name| TargetEntry { name, portals: portals.clone() }).collect()
    }

    fn admit(&self, who: &Inquiry) -> Result<Option<Chap>, Refusal> {
        if who.target.is_some() { Err(Refusal::NotFound) } else { Ok(None) }
    }

    fn open<'a>(
        &'a self,
        _: &'a IscsiName,
        _: &'a Inquiry,
    ) -> BoxFuture<'a, Result<Opened, Refusal>> {
        async { Err(Refusal::NotFound) }.boxed()
    }
}

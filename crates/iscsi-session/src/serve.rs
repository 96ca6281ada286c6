//! One connection of a server, from its login to its end.

use std::sync::Arc;

use blockferry_net::{Limits, Listener, Peer, Stream, Threads};
use tokio_util::sync::CancellationToken;

use crate::login::{Arrival, LoginEnd};
use crate::session;
use crate::sessions::Sessions;
use crate::targets::Targets;

/// Serves everybody who connects, until `shutdown` is cancelled and the last connection has ended.
pub async fn serve_all(
    listener: Listener,
    threads: Arc<Threads>,
    targets: Arc<dyn Targets>,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) {
    listener.announce("iSCSI");
    let sessions = Arc::<Sessions>::default();
    let (bounds, end) = (Arc::clone(&limits), shutdown.clone());
    let serving = move |stream| {
        let (targets, sessions) = (targets.clone(), sessions.clone());
        serve(stream, targets, sessions, limits.clone(), shutdown.clone())
    };
    listener.run(threads, bounds, end, serving).await;
}

/// Serves one connection. Returns when it has ended and no command of it executes any more.
///
/// A cancelled `shutdown` ends it in good manners: commands under way are answered, and no more are
/// begun.
pub async fn serve(
    stream: Stream,
    targets: Arc<dyn Targets>,
    sessions: Arc<Sessions>,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) {
    let peer = stream.peer();
    if let Err(error) = stream.tune() {
        tracing::debug!(%peer, %error, "a connection failed before its login");
        return;
    }
    match Arrival::greet(stream, &limits, &shutdown).await {
        Ok(arrival) => serve_arrival(arrival, targets, sessions, limits, shutdown).await,
        Err(error) => without_session(peer, &error),
    }
}

/// Serves one connection whose initiator has been greeted. Returns as [`serve`] does.
pub async fn serve_arrival(
    arrival: Arrival,
    targets: Arc<dyn Targets>,
    sessions: Arc<Sessions>,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) {
    let peer = arrival.peer();
    let (stream, logged_in) = match arrival.log_in(&*targets, &sessions, &limits, &shutdown).await {
        Ok(logged_in) => logged_in,
        Err(error) => return without_session(peer, &error),
    };
    let key = logged_in.established.key.clone();
    let target = key.target.as_ref().map_or("none, to look for some", |target| target.as_str());
    let initiator = key.initiator.as_str();
    tracing::info!(%peer, initiator, target, "an initiator logged in");
    let end = session::run(stream, logged_in, targets, limits, shutdown).await;
    tracing::info!(%peer, initiator, target, %end, "an initiator's session ended");
}

fn without_session(peer: Peer, error: &LoginEnd) {
    tracing::debug!(%peer, %error, "a login ended without a session");
}

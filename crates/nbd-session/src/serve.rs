//! One connection of a server, from the greeting to its end.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::engine;
use crate::exports::Exports;
use crate::greet::greet;
use crate::limits::Limits;
use crate::stream::Stream;

/// Serves one connection. Returns when it has ended and no request of it executes any more.
///
/// A cancelled `shutdown` ends it in good manners: requests under way are answered, no more are
/// read, and nothing is told to the client that it would take for an error.
pub async fn serve(
    mut stream: Stream,
    exports: Arc<dyn Exports>,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) {
    let peer = stream.peer();
    if let Err(error) = stream.tune() {
        tracing::debug!(%peer, %error, "a connection failed before its greeting");
        return;
    }
    let session = match greet(&mut stream, &exports, &limits, &shutdown).await {
        Ok(session) => session,
        Err(error) => {
            tracing::debug!(%peer, %error, "a handshake ended without a session");
            return;
        }
    };
    let export = session.opened.name.clone();
    let negotiated = session.negotiated;
    tracing::info!(%peer, export, style = ?negotiated.style, "a client joined");
    let end = engine::run(stream, session, limits, shutdown).await;
    tracing::info!(%peer, export, %end, "a client's connection ended");
}

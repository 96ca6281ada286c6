//! Serves a router on a control address.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use utoipa_axum::router::OpenApiRouter;

use crate::{BearerToken, ListenAddress, ListenError, Listener, Stream, guard, openapi};

/// Connections served at the same time; others wait to be accepted. A long poll holds one.
const CONNECTIONS_MAX: usize = 256;

/// How long a connection may take to send a request's head, idle time included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long requests under way may take to end once the server shuts down.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Pause after a failed accept, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a control server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Everybody on the network could command it.
    #[error(
        "the control address {address} can be reached from other machines; give a secret with \
         --token-file, or listen on a loopback address or a unix socket"
    )]
    NeedsToken {
        /// What was asked for.
        address: ListenAddress,
    },
}

/// A control server that listens but does not serve yet.
#[derive(Debug)]
pub struct ControlServer {
    listener: Listener,
    token: Option<BearerToken>,
}

impl ControlServer {
    /// Starts listening and says where in the log. With a token every request but `/healthz` has
    /// to show it.
    ///
    /// # Errors
    /// When the address cannot be had, or others could reach it and there is no token.
    pub async fn bind(
        address: &ListenAddress,
        token: Option<BearerToken>,
    ) -> Result<Self, StartError> {
        let listener = Listener::bind(address).await?;
        if token.is_none() && !listener.is_local() {
            return Err(StartError::NeedsToken { address: address.clone() });
        }
        info!(address = %listener.address(), token = token.is_some(), "control API listens");
        Ok(Self { listener, token })
    }

    /// What it listens on, with the port that was picked.
    pub fn address(&self) -> &ListenAddress {
        self.listener.address()
    }

    /// Serves `routes`, and `/healthz` and `/openapi.json` besides, until `shutdown` is cancelled
    /// and the requests under way have ended or a few seconds have passed.
    pub async fn serve(self, routes: OpenApiRouter, shutdown: CancellationToken) {
        let router = guard::guarded(openapi::described(routes), self.token);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = connections.join_next() => report(ended),
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                    match accepted {
                        Ok(stream) => {
                            connections.spawn(serve_connection(
                                stream,
                                router.clone(),
                                shutdown.clone(),
                            ));
                        }
                        Err(error) => {
                            warn!(address = %self.listener.address(), %error, "accept failed");
                            sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
            }
        }
        let unfinished = async { while connections.join_next().await.is_some() {} };
        if timeout(SHUTDOWN_GRACE, unfinished).await.is_err() {
            warn!(count = connections.len(), "closing control connections with requests under way");
        }
    }
}

async fn serve_connection(stream: Stream, router: Router, shutdown: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "control connection ended");
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        error!(%error, "a control request failed in an unforeseen way");
    }
}

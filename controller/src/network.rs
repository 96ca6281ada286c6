//! How the copier reaches the exports of both sides: over NBD, or whatever a test puts in its place.

use std::future::Future;
use std::time::Duration;

use anyhow::Context;
use blockferry_copier::End;
use blockferry_nbd_session::{ConnectOptions, Link, NbdUri, RoleClaim, connect, list};

/// How long connecting may take, handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may take to say good-bye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// Opens connections to exports. `nbd` is a storage program's NBD URI, without an export.
pub(crate) trait Network: Send + Sync {
    /// An open connection.
    type Connection: End;

    /// Whether a server answers there.
    fn reach(&self, nbd: &str) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Opens an export, in a role or as a client.
    fn open(
        &self,
        nbd: &str,
        export: &str,
        role: Option<RoleClaim>,
    ) -> impl Future<Output = anyhow::Result<Self::Connection>> + Send;

    /// Ends a connection in good manners.
    fn close(&self, connection: Self::Connection) -> impl Future<Output = ()> + Send;
}

/// The network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nbd;

impl Network for Nbd {
    type Connection = Link;

    async fn reach(&self, nbd: &str) -> anyhow::Result<()> {
        let uri = parse(nbd)?;
        let answer = tokio::time::timeout(CONNECT_TIMEOUT, list(&uri.address)).await;
        answer.with_context(|| format!("{nbd} does not answer"))??;
        Ok(())
    }

    async fn open(&self, nbd: &str, export: &str, role: Option<RoleClaim>) -> anyhow::Result<Link> {
        let options = ConnectOptions {
            role,
            timeout: CONNECT_TIMEOUT,
            ..ConnectOptions::new(parse(nbd)?.address, export)
        };
        Ok(connect(&options).await?)
    }

    async fn close(&self, connection: Link) {
        let goodbye = connection.clone().disconnect();
        if tokio::time::timeout(GOODBYE_TIMEOUT, goodbye).await.is_err() {
            // A peer that does not listen any more is left, also in the middle of a request.
            connection.abort();
        }
    }
}

/// The server of a storage program's NBD URI.
pub(crate) fn parse(nbd: &str) -> anyhow::Result<NbdUri> {
    nbd.parse().with_context(|| format!("the NBD address {nbd:?} makes no sense"))
}

/// The URI of an export at a storage program.
pub(crate) fn export_uri(nbd: &str, export: &str) -> anyhow::Result<String> {
    Ok(NbdUri { export: export.to_owned(), ..parse(nbd)? }.to_string())
}

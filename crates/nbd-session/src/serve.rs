//! One connection of a server, from the greeting to its end.

use std::io;
use std::sync::Arc;

use blockferry_keeper::Arrivals;
use blockferry_nbd_wire::Negotiated;
use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use crate::borrowed::Borrowed;
use crate::engine::{self, SessionEnd};
use crate::exports::{Exports, Opened};
use crate::greet::{Session, greet};
use crate::kept::Keeping;
use crate::replay::{Replay, Replaying};
use blockferry_net::{Limits, Listener, Threads};
use blockferry_net::{Peer, Stream};

/// A client's line: its own socket, or a keeper's.
pub(crate) struct Line {
    pub(crate) stream: Stream,
    pub(crate) peer: Peer,
    pub(crate) kept: bool,
    pub(crate) borrowed: Option<Borrowed>,
}

/// The line of a client whose socket a keeper has: see [`blockferry_keeper`].
#[derive(Debug)]
pub struct KeptLine {
    /// To the keeper.
    pub keeper: UnixStream,
    /// The client's own socket, where the keeper will lend it.
    pub borrowed: Option<Borrowed>,
    /// Who the client is.
    pub peer: Peer,
}

/// How a connection that is a keeper's has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptEnd {
    /// Its client is to be closed when it has its answers.
    Closed,
    /// Its client is to be cut off.
    Cut,
    /// This side is shutting down: whether another process goes on with it is for others to say.
    Left,
}

/// A connection that another process has served.
pub struct Resumed {
    /// What the client has joined.
    pub opened: Opened,
    /// What the client has negotiated.
    pub negotiated: Negotiated,
    /// What that process may have begun.
    pub replay: Replay,
}

/// Serves everybody who connects, until `shutdown` is cancelled and the last connection has ended.
pub async fn serve_all(
    listener: Listener,
    threads: Arc<Threads>,
    exports: Arc<dyn Exports>,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) {
    listener.announce("NBD");
    let (bounds, end) = (Arc::clone(&limits), shutdown.clone());
    let serving = move |stream| serve(stream, exports.clone(), limits.clone(), shutdown.clone());
    listener.run(threads, bounds, end, serving).await;
}

/// Serves one connection. Returns when it has ended and no request of it executes any more.
///
/// A cancelled `shutdown` ends it in good manners: requests under way are answered, no more are
/// read, and nothing is told to the client that it would take for an error.
pub async fn serve(
    stream: Stream,
    exports: Arc<dyn Exports>,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) {
    let peer = stream.peer();
    if let Err(error) = stream.tune() {
        tracing::debug!(%peer, %error, "a connection failed before its greeting");
        return;
    }
    let line = Line { stream, peer, kept: false, borrowed: None };
    welcome(line, exports, limits, shutdown).await;
}

/// The same for a new client of a keeper.
pub async fn serve_kept(
    line: KeptLine,
    exports: Arc<dyn Exports>,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) -> KeptEnd {
    let KeptLine { keeper, borrowed, peer } = line;
    let line = Line { stream: Stream::Unix(keeper), peer, kept: true, borrowed };
    welcome(line, exports, limits, shutdown).await
}

/// The same for a client whose connection another process has served. Its requests are taken in the
/// order of [`Kept::order`](crate::Kept::order).
pub async fn resume(
    line: KeptLine,
    resumed: Resumed,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) -> KeptEnd {
    let Resumed { mut opened, negotiated, replay } = resumed;
    let KeptLine { keeper, borrowed, peer } = line;
    let mut stream = Stream::Unix(keeper);
    let Some(kept) = opened.kept.take() else { return KeptEnd::Cut };
    let arrivals = read_arrivals(&mut stream).await;
    let keeping = Keeping::new(kept.order, borrowed, 0, 0);
    let (arrivals, keeping) = match (arrivals, keeping) {
        (Ok(arrivals), Ok(keeping)) => (arrivals, keeping),
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(%peer, %error, "a client cannot be gone on with");
            return KeptEnd::Cut;
        }
    };
    let session = Session {
        opened,
        negotiated,
        inbox: BytesMut::new(),
        keeping: Some(keeping),
        replaying: (replay.bytes > 0)
            .then(|| Replaying::new(replay, arrivals, limits.in_flight_max)),
    };
    run(stream, peer, session, limits, shutdown).await
}

async fn welcome(
    mut line: Line,
    exports: Arc<dyn Exports>,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) -> KeptEnd {
    let peer = line.peer;
    match greet(&mut line, &exports, &limits, &shutdown).await {
        Ok(session) => run(line.stream, peer, session, limits, shutdown).await,
        Err(error) => {
            tracing::debug!(%peer, %error, "a handshake ended without a session");
            if shutdown.is_cancelled() { KeptEnd::Left } else { KeptEnd::Closed }
        }
    }
}

async fn run(
    stream: Stream,
    peer: Peer,
    session: Session,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) -> KeptEnd {
    let export = session.opened.name.clone();
    let (style, resumed) = (session.negotiated.style, session.replaying.is_some());
    tracing::info!(%peer, export, ?style, resumed, "a client joined");
    let end = engine::run(stream, session, limits, shutdown).await;
    tracing::info!(%peer, export, %end, "a client's connection ended");
    match end {
        SessionEnd::Cut => KeptEnd::Cut,
        SessionEnd::Shutdown => KeptEnd::Left,
        _ => KeptEnd::Closed,
    }
}

/// What a keeper sends first: when what follows had arrived.
async fn read_arrivals(stream: &mut Stream) -> io::Result<Arrivals> {
    let mut count = [0; Arrivals::COUNT_BYTES];
    stream.read_exact(&mut count).await?;
    let length = Arrivals::entries_length(count).map_err(io::Error::other)?;
    let mut entries = vec![0; length];
    stream.read_exact(&mut entries).await?;
    Ok(Arrivals::decode_entries(&entries))
}

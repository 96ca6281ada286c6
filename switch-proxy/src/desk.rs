//! Where a worker takes its clients from: its keeper.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use blockferry_keeper::{
    ALIVE_EVERY, Channel, ClientId, Clock, PROTOCOL, Resume, ToKeeper, ToWorker,
};
use blockferry_nbd_session::{Borrowed, KeptEnd, KeptLine, resume, serve_kept};
use blockferry_net::{Limits, Peer, Place, Threads};
use blockferry_path::Missing;
use futures_util::FutureExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bound::Bound;
use crate::exports::RouteExports;

/// A keeper that has said nothing yet.
pub(crate) struct Reception {
    channel: Channel,
}

/// What the keeper begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beginning {
    /// How many workers there have been.
    pub(crate) run: u64,
    /// Where clients connect.
    pub(crate) listen: String,
    /// What the last one has bound.
    pub(crate) last: Bound,
}

/// See the module.
pub(crate) struct Desk {
    channel: Arc<Channel>,
    sessions: TaskTracker,
    clock: Arc<Clock>,
    leaving: Leaving,
    entrance: Entrance,
}

/// Whether new clients can come in, as the keeper says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entrance(Arc<Mutex<Option<String>>>);

impl Entrance {
    /// Why they cannot, in one line; `None` when they can.
    pub(crate) fn shut(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_shut(&self, why: String) {
        let why = Some(why).filter(|why| !why.is_empty());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

/// Whether connections that end with this process end for their clients, too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaving {
    for_good: Arc<AtomicBool>,
}

impl Leaving {
    /// As it is without a keeper.
    pub(crate) fn for_good() -> Self {
        Self { for_good: Arc::new(AtomicBool::new(true)) }
    }

    pub(crate) fn is_for_good(&self) -> bool {
        self.for_good.load(Ordering::SeqCst)
    }
}

impl Reception {
    /// Says hello to the keeper that has started this process.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn greet() -> Result<Self> {
        let channel = Channel::inherited().context("--worker is for keepers to use")?;
        channel.send(&ToKeeper::Hello(PROTOCOL).encode(), &[]).await.context("the keeper")?;
        Ok(Self { channel })
    }

    /// Waits until nobody else has what this process has to open. `None` when that is not to be.
    ///
    /// # Errors
    /// What the keeper said instead.
    pub(crate) async fn wait(&self) -> Result<Option<Beginning>> {
        let Some((said, _)) = hear(&self.channel).await? else { return Ok(None) };
        match said {
            ToWorker::Begin { run, listen, bound } => {
                Ok(Some(Beginning { run, listen, last: Bound::read(&bound) }))
            }
            other => bail!("the keeper began with {other:?}"),
        }
    }

    /// Everything is open.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) async fn open(self, bound: &Bound) -> Result<Desk> {
        self.channel
            .send(&ToKeeper::Ready(bound.write()).encode(), &[])
            .await
            .context("the keeper")?;
        let (channel, sessions) = (Arc::new(self.channel), TaskTracker::new());
        let (clock, leaving, entrance) = Default::default();
        Ok(Desk { channel, sessions, clock, leaving, entrance })
    }
}

impl Desk {
    /// Whether its clients go with it when it leaves; known when it does.
    pub(crate) fn leaving(&self) -> Leaving {
        self.leaving.clone()
    }

    /// Whether new clients can come in.
    pub(crate) fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// Serves the keeper's clients until `shutdown` is cancelled, by itself or by the keeper, and the
    /// last connection has ended here; or until the keeper is gone.
    pub(crate) async fn run(
        self,
        threads: &Threads,
        exports: Arc<RouteExports>,
        limits: Arc<Limits>,
        shutdown: CancellationToken,
    ) {
        let work = Work { desk: &self, threads, exports, limits, shutdown: &shutdown };
        let all_ended = async {
            shutdown.cancelled().await;
            self.sessions.close();
            self.sessions.wait().await;
        };
        tokio::select! {
            () = work.serve() => {}
            () = all_ended => {}
            never = say_alive(&self.channel) => match never {},
        }
    }
}

async fn say_alive(channel: &Channel) -> Infallible {
    loop {
        // A keeper that is gone is noticed elsewhere.
        let _ = channel.send(&ToKeeper::Alive.encode(), &[]).await;
        tokio::time::sleep(ALIVE_EVERY).await;
    }
}

struct Work<'a> {
    desk: &'a Desk,
    threads: &'a Threads,
    exports: Arc<RouteExports>,
    limits: Arc<Limits>,
    shutdown: &'a CancellationToken,
}

impl Work<'_> {
    /// Does what the keeper says until it is gone.
    async fn serve(self) {
        // No request of anybody begins before all clients of another process are here.
        let mut expected: Vec<Missing> = self.exports.expect_all();
        let mut resumed = 0;
        loop {
            let (said, sockets) = match hear(&self.desk.channel).await {
                Ok(Some(said)) => said,
                Ok(None) => return tracing::error!("the keeper is gone, and the clients with it"),
                Err(error) => return tracing::error!("{error:#}"),
            };
            match said {
                ToWorker::Resume(client, peer, resume) => {
                    resumed += 1;
                    self.resume(client, peer, resume, sockets);
                }
                ToWorker::Client(client, peer) => self.begin(client, peer, sockets),
                ToWorker::Complete => {
                    expected.clear();
                    tracing::info!(resumed, "serving the keeper's clients");
                }
                ToWorker::HandOver => self.leave(false),
                ToWorker::ShutDown => self.leave(true),
                ToWorker::Shut(why) => self.desk.entrance.is_shut(why),
                other @ ToWorker::Begin { .. } => {
                    tracing::error!(?other, "the keeper says something strange");
                }
            }
        }
    }

    fn leave(&self, for_good: bool) {
        self.desk.leaving.for_good.fetch_or(for_good, Ordering::SeqCst);
        self.shutdown.cancel();
    }

    fn begin(&self, client: ClientId, peer: Option<SocketAddr>, sockets: Sockets) {
        let (exports, limits) = (self.exports.clone(), Arc::clone(&self.limits));
        let (shutdown, clock) = (self.shutdown.clone(), Arc::clone(&self.desk.clock));
        self.attend(client, self.threads.place(), async move {
            match line(peer, sockets, clock) {
                Some(line) => serve_kept(line, exports, limits, shutdown).await,
                None => KeptEnd::Cut,
            }
        });
    }

    fn resume(&self, client: ClientId, peer: Option<SocketAddr>, left: Resume, sockets: Sockets) {
        let (thread, place) = self.threads.place();
        let resumed = {
            let _there = thread.enter();
            self.exports.resume(&left)
        };
        let (limits, shutdown) = (Arc::clone(&self.limits), self.shutdown.clone());
        let clock = Arc::clone(&self.desk.clock);
        self.attend(client, (thread, place), async move {
            let resumed = match resumed {
                Ok(resumed) => resumed,
                Err(error) => {
                    tracing::error!("a client cannot be gone on with: {error:#}");
                    return KeptEnd::Cut;
                }
            };
            match line(peer, sockets, clock) {
                Some(line) => resume(line, resumed, limits, shutdown).await,
                None => KeptEnd::Cut,
            }
        });
    }

    /// Tells the keeper when the connection is over for its client, which it also is when its task
    /// panics. Otherwise its end here is that of this process's part in it.
    fn attend(
        &self,
        client: ClientId,
        (thread, place): (Handle, Place),
        session: impl Future<Output = KeptEnd> + Send + 'static,
    ) {
        let (channel, leaving) = (Arc::clone(&self.desk.channel), self.desk.leaving());
        let attended = async move {
            let end = AssertUnwindSafe(session).catch_unwind().await.unwrap_or(KeptEnd::Cut);
            drop(place);
            let cut = match end {
                KeptEnd::Left if !leaving.is_for_good() => return,
                KeptEnd::Left | KeptEnd::Closed => false,
                KeptEnd::Cut => true,
            };
            // A keeper that is gone needs not be told.
            let _ = channel.send(&ToKeeper::Ended { client, cut }.encode(), &[]).await;
        };
        self.desk.sessions.spawn_on(attended, &thread);
    }
}

/// What comes with a client: a socket to the keeper; and where it will be lent its own, and memory for
/// a record of that.
type Sockets = Vec<OwnedFd>;

type Said = (ToWorker, Sockets);

async fn hear(channel: &Channel) -> Result<Option<Said>> {
    let Some(packet) = channel.receive().await.context("the keeper")? else { return Ok(None) };
    let said = ToWorker::decode(packet.bytes).context("the keeper")?;
    Ok(Some((said, packet.sockets)))
}

fn line(peer: Option<SocketAddr>, sockets: Sockets, clock: Arc<Clock>) -> Option<KeptLine> {
    let mut sockets = sockets.into_iter();
    let keeper = UnixStream::from_std(sockets.next()?.into()).ok()?;
    let borrowed = match (sockets.next(), sockets.next()) {
        (Some(own), Some(record)) => {
            Some(Borrowed { socket: TcpStream::from_std(own.into()).ok()?, clock, record })
        }
        _ => None,
    };
    Some(KeptLine { keeper, borrowed, peer: named(peer) })
}

fn named(peer: Option<SocketAddr>) -> Peer {
    peer.map_or(Peer::Unix, Peer::Tcp)
}

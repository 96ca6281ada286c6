//! Accepts connections, within bounds, until it is told to stop.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::address::Address;
use crate::census::{Census, PlaceTaken};
use crate::limits::Limits;
use crate::stream::Stream;
use crate::threads::Threads;

/// Connections that the kernel keeps for us while we are busy.
const BACKLOG: i32 = 1024;
/// After a failed accept (out of descriptors, mostly) the next one waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound address.
#[derive(Debug)]
pub struct Listener {
    socket: Bound,
    address: Address,
    census: Census,
}

/// Why an address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address.
    pub address: Address,
    /// What the operating system says.
    #[source]
    pub source: io::Error,
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, #[allow(dead_code, reason = "held for its drop")] SocketFile),
}

/// The file of a unix socket, taken away when the listener ends if it still is ours.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    /// Another process listens on it.
    stays: bool,
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let found = std::fs::symlink_metadata(path)?;
        if !found.file_type().is_socket() {
            return Err(no_socket());
        }
        let identity = (found.dev(), found.ino());
        Ok(Self { path: path.to_owned(), identity, stays: false })
    }

    /// Whether the name still leads to it.
    fn is_there(&self) -> bool {
        std::fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.identity)
    }
}

impl Listener {
    /// Binds the address. Port 0 picks a free one. A unix socket is made with mode 0600, and takes
    /// the place of a file that a dead server left, never of one on which somebody listens.
    ///
    /// # Errors
    /// When the address is in use or cannot be had.
    pub async fn bind(address: &Address) -> Result<Self, BindError> {
        Self::bind_inner(address)
            .await
            .map_err(|source| BindError { address: address.clone(), source })
    }

    async fn bind_inner(address: &Address) -> io::Result<Self> {
        let listener = match address {
            Address::Tcp(host, port) => {
                let socket = TcpListener::bind((host.as_str(), *port)).await?;
                let address = Address::Tcp(host.clone(), socket.local_addr()?.port());
                Self { socket: Bound::Tcp(socket), address, census: Census::default() }
            }
            Address::Unix(path) => {
                remove_stale(path).await?;
                let socket = bind_unix(path)?;
                let file = SocketFile::at(path)?;
                let (socket, address) = (Bound::Unix(socket, file), address.clone());
                Self { socket, address, census: Census::default() }
            }
        };
        Ok(listener)
    }

    /// The listener that another process has had at this address.
    ///
    /// # Errors
    /// When it is none, or cannot be reached at this address any more.
    pub fn adopt(descriptor: OwnedFd, address: Address) -> io::Result<Self> {
        if !SockRef::from(&descriptor).is_listener()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket does not listen"));
        }
        let socket = match &address {
            Address::Tcp(..) => Bound::Tcp(TcpListener::from_std(descriptor.into())?),
            Address::Unix(path) => {
                Bound::Unix(UnixListener::from_std(descriptor.into())?, SocketFile::at(path)?)
            }
        };
        Ok(Self { socket, address, census: Census::default() })
    }

    /// The socket for another process, which is to adopt it: its file stays.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn into_descriptor(self) -> io::Result<OwnedFd> {
        match self.socket {
            Bound::Tcp(socket) => socket.into_std().map(Into::into),
            Bound::Unix(socket, mut file) => {
                file.stays = true;
                socket.into_std().map(Into::into)
            }
        }
    }

    /// Counts its clients together with all others of this census.
    #[must_use]
    pub fn counting_in(mut self, census: Census) -> Self {
        self.census = census;
        self
    }

    /// Tells the log that clients are served here, who speak so.
    pub fn announce(&self, protocol: &str) {
        if let Bound::Tcp(socket) = &self.socket
            && let Ok(bound) = socket.local_addr()
            && !bound.ip().is_loopback()
        {
            tracing::warn!(address = %bound, "serving {protocol} without encryption to a network");
        }
        tracing::info!(address = %self.address, "serving {protocol}");
    }

    /// What was bound, with the port that was picked.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Has everybody served who connects, each on one of the threads, until `shutdown` is cancelled and
    /// the last connection has ended.
    pub async fn run<S, F>(
        self,
        threads: Arc<Threads>,
        limits: Arc<Limits>,
        shutdown: CancellationToken,
        serve: S,
    ) where
        S: Fn(Stream) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let sessions = TaskTracker::new();
        loop {
            let (stream, place) = tokio::select! {
                admitted = self.admit(&limits) => admitted,
                () = shutdown.cancelled() => break,
            };
            // A thread's runtime watches the sockets of its own connections.
            let Ok(socket) = stream.into_descriptor().inspect_err(not_served) else { continue };
            let (thread, taken) = threads.place();
            let serve = serve.clone();
            let session = async move {
                let _places = (place, taken);
                if let Ok(stream) = Stream::adopt(socket).inspect_err(not_served) {
                    serve(stream).await;
                }
            };
            sessions.spawn_on(session, &thread);
        }
        drop(self);
        sessions.close();
        sessions.wait().await;
    }

    /// The next client that the limits have a place for, which is its until that is dropped.
    /// Cancelling the wait loses none.
    pub async fn admit(&self, limits: &Limits) -> (Stream, PlaceTaken) {
        loop {
            let stream = match self.accept().await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match self.census.enter(stream.peer(), limits) {
                Some(place) => return (stream, place),
                None => {
                    tracing::debug!(peer = %stream.peer(), "turned away: too many connections");
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            Bound::Tcp(socket) => socket.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Bound::Unix(socket, _) => socket.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

fn not_served(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be given to the thread that would serve it");
}

/// Takes away a socket on which nobody listens. Whatever else has the name stays.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(no_socket());
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there")),
        Err(error) => Err(error),
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // On an unbound socket this sets the mode that its file is made with: there is no moment in
    // which somebody else could connect.
    let file = File::from(OwnedFd::from(socket));
    file.set_permissions(Permissions::from_mode(0o600))?;
    let socket = Socket::from(OwnedFd::from(file));
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket.into())
}

fn no_socket() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "the file is no socket")
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.stays && self.is_there() {
            // Where it cannot be removed the next server finds it stale.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

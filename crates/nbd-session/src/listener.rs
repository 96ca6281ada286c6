//! Accepts connections, within bounds, until it is told to stop.

use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::address::Address;
use crate::exports::Exports;
use crate::limits::Limits;
use crate::serve::serve;
use crate::stream::{Peer, Stream};

/// Connections that the kernel keeps for us while we are busy.
const BACKLOG: i32 = 1024;
/// After a failed accept (out of descriptors, mostly) the next one waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound address.
#[derive(Debug)]
pub struct Listener {
    socket: Bound,
    address: Address,
    census: Arc<Census>,
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
        Ok(Self { path: path.to_owned(), identity: identity(path)?, stays: false })
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
                Self { socket: Bound::Tcp(socket), address, census: Arc::default() }
            }
            Address::Unix(path) => {
                remove_stale(path).await?;
                let socket = bind_unix(path)?;
                let file = SocketFile::at(path)?;
                let (socket, address) = (Bound::Unix(socket, file), address.clone());
                Self { socket, address, census: Arc::default() }
            }
        };
        Ok(listener)
    }

    /// The listener that another process has had at this address.
    ///
    /// # Errors
    /// When it is none.
    pub fn adopt(descriptor: OwnedFd, address: Address) -> io::Result<Self> {
        let socket = match &address {
            Address::Tcp(..) => Bound::Tcp(TcpListener::from_std(descriptor.into())?),
            Address::Unix(path) => {
                Bound::Unix(UnixListener::from_std(descriptor.into())?, SocketFile::at(path)?)
            }
        };
        Ok(Self { socket, address, census: Arc::default() })
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

    /// Tells the log that clients are served here.
    pub fn announce(&self) {
        if let Bound::Tcp(socket) = &self.socket
            && let Ok(bound) = socket.local_addr()
            && !bound.ip().is_loopback()
        {
            tracing::warn!(address = %bound, "serving NBD without encryption to a network");
        }
        tracing::info!(address = %self.address, "serving NBD");
    }

    /// What was bound, with the port that was picked.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Serves everybody who connects until `shutdown` is cancelled and the last connection has
    /// ended.
    pub async fn run(
        self,
        exports: Arc<dyn Exports>,
        limits: Arc<Limits>,
        shutdown: CancellationToken,
    ) {
        self.announce();
        let sessions = TaskTracker::new();
        loop {
            let (stream, place) = tokio::select! {
                admitted = self.admit(&limits) => admitted,
                () = shutdown.cancelled() => break,
            };
            let session = serve(stream, exports.clone(), limits.clone(), shutdown.clone());
            sessions.spawn(async move {
                session.await;
                drop(place);
            });
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
            match self.enter(&stream, limits) {
                Some(place) => return (stream, place),
                None => {
                    tracing::debug!(peer = %stream.peer(), "turned away: too many connections");
                }
            }
        }
    }

    /// Gives a client that came in by another way its place; `None` when there is none.
    pub fn enter(&self, stream: &Stream, limits: &Limits) -> Option<PlaceTaken> {
        self.census.enter(stream.peer(), limits)
    }

    async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            Bound::Tcp(socket) => socket.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Bound::Unix(socket, _) => socket.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

/// Takes away a socket on which nobody listens. Whatever else has the name stays.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file is no socket"));
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

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.stays && identity(&self.path).is_ok_and(|found| found == self.identity) {
            // Where it cannot be removed the next server finds it stale.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Who is connected.
#[derive(Debug, Default)]
struct Census {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub struct PlaceTaken {
    census: Arc<Census>,
    ip: Option<IpAddr>,
}

impl Census {
    fn enter(self: &Arc<Self>, peer: Peer, limits: &Limits) -> Option<PlaceTaken> {
        let ip = match peer {
            Peer::Tcp(address) => Some(address.ip()),
            Peer::Unix => None,
        };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.total >= limits.connections_max {
            return None;
        }
        if let Some(ip) = ip {
            let here = counts.by_ip.get(&ip).copied().unwrap_or_default();
            if here >= limits.connections_per_ip_max {
                return None;
            }
            counts.by_ip.insert(ip, here + 1);
        }
        counts.total += 1;
        Some(PlaceTaken { census: Arc::clone(self), ip })
    }
}

impl Drop for PlaceTaken {
    fn drop(&mut self) {
        let mut counts = self.census.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total -= 1;
        let Some(ip) = self.ip else { return };
        if let Some(here) = counts.by_ip.get_mut(&ip) {
            *here -= 1;
            if *here == 0 {
                counts.by_ip.remove(&ip);
            }
        }
    }
}

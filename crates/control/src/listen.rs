//! Listening sockets, TCP and unix. A unix socket is the owner's alone from its first moment, takes
//! the place of one that nobody serves any more, and goes away with its listener.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use crate::{HostPort, ListenAddress};

/// An accepted connection.
pub type Stream = Either<TcpStream, UnixStream>;

/// Connections that wait to be accepted, at most.
const BACKLOG: i32 = 128;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The operating system refused.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// What was asked for.
        address: ListenAddress,
        /// Why.
        source: io::Error,
    },
    /// Another program serves this unix socket.
    #[error("cannot listen on unix:{path}: another program answers there; stop it first, or choose another path", path = path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The path is taken by something else.
    #[error("cannot listen on unix:{path}: a file that is no socket is in the way; it was left untouched", path = path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    address: ListenAddress,
    socket: Either<TcpListener, UnixListener>,
    /// Removes the socket's file at the end.
    _file: Option<SocketFile>,
}

impl Listener {
    /// Starts listening. Port 0 picks a free one; [`Listener::address`] tells which.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn bind(address: &ListenAddress) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Bind { address: address.clone(), source };
        match address {
            ListenAddress::Tcp(endpoint) => bind_tcp(endpoint).await.map_err(failed),
            ListenAddress::Unix(path) => {
                make_way(path)?;
                bind_unix(path).map_err(failed)
            }
        }
    }

    /// What it listens on, with the port that was picked.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Whether only this machine can reach it: a loopback address or a unix socket.
    pub fn is_local(&self) -> bool {
        match &self.socket {
            Either::Left(tcp) => {
                tcp.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback())
            }
            Either::Right(_) => true,
        }
    }

    /// The next connection. Cancelling the wait loses none.
    ///
    /// # Errors
    /// As `accept(2)`: most concern one connection or a shortage that passes, so callers go on.
    pub async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            Either::Left(tcp) => {
                let (stream, _) = tcp.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Either::Left(stream))
            }
            Either::Right(unix) => Ok(Either::Right(unix.accept().await?.0)),
        }
    }
}

async fn bind_tcp(endpoint: &HostPort) -> io::Result<Listener> {
    let listener = TcpListener::bind((endpoint.host(), endpoint.port())).await?;
    let bound = listener.local_addr()?;
    let here = HostPort::new(&bound.ip().to_string(), bound.port()).map_err(io::Error::other)?;
    let address = ListenAddress::Tcp(here);
    Ok(Listener { address, socket: Either::Left(listener), _file: None })
}

/// Nobody can connect before `listen`, so the mode is right before anybody may.
fn bind_unix(path: &Path) -> io::Result<Listener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::new(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = UnixListener::from_std(socket.into())?;
    let address = ListenAddress::Unix(path.to_owned());
    Ok(Listener { address, socket: Either::Right(listener), _file: Some(file) })
}

/// Removes a socket that a dead program left. Two programs that start at the same moment are kept
/// apart by the lock on their state, not here.
fn make_way(path: &Path) -> Result<(), ListenError> {
    let failed =
        |source| ListenError::Bind { address: ListenAddress::Unix(path.to_owned()), source };
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocket { path: path.to_owned() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(ListenError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The file of a unix socket, removed when the listener goes, unless it is another's by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // What stays behind is replaced by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

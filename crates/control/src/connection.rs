//! Connections to one control server, kept open between requests.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_util::either::Either;
use tracing::debug;

use crate::{ControlAddress, Stream};

/// A connection has to be there by then, however long the request itself may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Idle connections kept, at most.
const IDLE_MAX: usize = 4;

/// An open connection, ready for one request at a time.
pub(crate) type Connection = SendRequest<Full<Bytes>>;

/// The idle connections to one server.
#[derive(Debug, Default)]
pub(crate) struct Idle(Mutex<Vec<Connection>>);

impl Idle {
    /// One that is still open, if there is one.
    pub(crate) async fn take(&self) -> Option<Connection> {
        loop {
            let mut connection = self.list().pop()?;
            if connection.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose answer has been read to its end.
    pub(crate) fn keep(&self, connection: Connection) {
        let mut list = self.list();
        if list.len() < IDLE_MAX && !connection.is_closed() {
            list.push(connection);
        }
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // The list is whole after every step, so a panic elsewhere cannot have spoiled it.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Opens a connection.
pub(crate) async fn connect(address: &ControlAddress) -> io::Result<Connection> {
    let stream = timeout(CONNECT_TIMEOUT, open(address)).await.map_err(|_| {
        let text = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, text)
    })??;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        // Whoever waits for an answer on it is told by the request itself.
        if let Err(error) = connection.await {
            debug!(%error, "control connection ended");
        }
    });
    Ok(sender)
}

async fn open(address: &ControlAddress) -> io::Result<Stream> {
    match address {
        ControlAddress::Tcp(endpoint) => {
            let stream = TcpStream::connect((endpoint.host(), endpoint.port())).await?;
            stream.set_nodelay(true)?;
            Ok(Either::Left(stream))
        }
        ControlAddress::Unix(path) => Ok(Either::Right(UnixStream::connect(path).await?)),
    }
}

//! A connection to a portal, and whole PDUs on it.

use std::io;
use std::path::Path;
use std::time::Duration;

use blockferry_iscsi::{Decoder, Outbox, Pdu, PortalAddress};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// A connection is there within this time, or it will not be.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// Room that is made before bytes are received.
const ROOM: usize = 64 << 10;

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

pub(crate) struct Wire {
    socket: Box<dyn Socket>,
    pub(crate) decoder: Decoder,
    inbox: BytesMut,
}

impl Wire {
    pub(crate) async fn open(portal: &PortalAddress, detour: Option<&Path>) -> io::Result<Self> {
        let opening = async {
            Ok::<Box<dyn Socket>, io::Error>(match detour {
                Some(path) => Box::new(UnixStream::connect(path).await?),
                None => {
                    let socket = TcpStream::connect((portal.host(), portal.port())).await?;
                    socket.set_nodelay(true)?;
                    Box::new(socket)
                }
            })
        };
        let opened = tokio::time::timeout(CONNECT_MAX, opening).await;
        let socket = opened.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(Self { socket, decoder: Decoder::new(), inbox: BytesMut::new() })
    }

    /// Sends what there is and receives, whichever comes first. `false` at the connection's end.
    pub(crate) async fn exchange(&mut self, outbox: &mut Outbox) -> io::Result<bool> {
        self.inbox.reserve(ROOM);
        let (mut reader, mut writer) = tokio::io::split(&mut self.socket);
        tokio::select! {
            received = reader.read_buf(&mut self.inbox) => Ok(received? > 0),
            sent = writer.write_buf(outbox), if !outbox.is_empty() => Ok(sent? > 0),
        }
    }

    /// The next PDU that is there whole.
    pub(crate) fn pdu(&mut self) -> io::Result<Option<Pdu>> {
        self.decoder.decode(&mut self.inbox).map_err(io::Error::other)
    }
}

//! A client that says exactly what a test tells it to, well-behaved or not.

use std::io;

use blockferry_nbd_wire::constants as c;
use blockferry_net::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::soon;

/// A raw connection to a server on TCP.
pub struct Raw {
    pub stream: TcpStream,
}

/// A simple reply's error and cookie.
#[derive(Debug, PartialEq, Eq)]
pub struct Simple {
    pub error: u32,
    pub cookie: u64,
}

impl Raw {
    /// Connects and reads the greeting.
    pub async fn connect(address: &Address) -> Self {
        let Address::Tcp(host, port) = address else { panic!("the tests use TCP here") };
        let stream = soon(TcpStream::connect((host.as_str(), *port))).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut raw = Self { stream };
        assert_eq!(raw.receive(18).await.unwrap()[..16], *b"NBDMAGICIHAVEOPT");
        raw
    }

    /// Connects and joins `vol` by name: compact requests, simple replies.
    pub async fn join(address: &Address) -> Self {
        let mut raw = Self::connect(address).await;
        raw.send(&3_u32.to_be_bytes()).await;
        raw.option(c::OPT_EXPORT_NAME, b"vol").await;
        raw.receive(10).await.unwrap();
        raw
    }

    /// Sends; that the server has gone already is no failure of the test.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = soon(self.stream.write_all(bytes)).await;
    }

    pub async fn option(&mut self, option: u32, data: &[u8]) {
        let length = u32::try_from(data.len()).unwrap();
        self.option_header(option, length).await;
        self.send(data).await;
    }

    pub async fn option_header(&mut self, option: u32, length: u32) {
        let header =
            [&c::OPTION_MAGIC.to_be_bytes()[..], &option.to_be_bytes(), &length.to_be_bytes()];
        self.send(&header.concat()).await;
    }

    pub async fn request(&mut self, command: u16, cookie: u64, offset: u64, length: u32) {
        self.send(&request(0, command, cookie, offset, length)).await;
    }

    pub async fn receive(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        soon(self.stream.read_exact(&mut bytes)).await?;
        Ok(bytes)
    }

    pub async fn simple(&mut self) -> Simple {
        let bytes = self.receive(16).await.expect("a reply");
        assert_eq!(bytes[..4], c::SIMPLE_REPLY_MAGIC.to_be_bytes());
        Simple {
            error: u32::from_be_bytes(bytes[4..8].try_into().unwrap()),
            cookie: u64::from_be_bytes(bytes[8..].try_into().unwrap()),
        }
    }

    /// Waits until the server has closed the connection; gives what it said before.
    pub async fn closed(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = soon(self.stream.read_to_end(&mut rest)).await;
        rest
    }
}

/// A compact request's header.
pub fn request(flags: u16, command: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    [
        &c::REQUEST_MAGIC.to_be_bytes()[..],
        &flags.to_be_bytes(),
        &command.to_be_bytes(),
        &cookie.to_be_bytes(),
        &offset.to_be_bytes(),
        &length.to_be_bytes(),
    ]
    .concat()
}

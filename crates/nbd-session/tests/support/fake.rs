//! A server that a test leads by hand, to sin.

use std::future::Future;
use std::time::Duration;

use blockferry_device::DeviceInfo;
use blockferry_nbd_session::{ConnectError, ConnectOptions, Link, connect};
use blockferry_nbd_wire::constants as c;
use blockferry_nbd_wire::{
    ExportInfo, Negotiated, RequestDecoder, RequestHeader, ServerHandshake, ServerStep,
};
use blockferry_net::Address;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{ALL, MIB, soon};

/// A server that plays one part, for one connection after another.
pub async fn fake<F: Future<Output = ()> + Send + 'static>(
    part: impl Fn(Conn) -> F + Send + 'static,
) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(part(Conn { stream, input: BytesMut::new(), negotiated: None }));
        }
    });
    Address::Tcp("127.0.0.1".to_owned(), port)
}

/// One connection of a fake server.
pub struct Conn {
    pub stream: TcpStream,
    pub input: BytesMut,
    pub negotiated: Option<Negotiated>,
}

impl Conn {
    /// Sends; the client may have let go of us already.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    pub async fn greet(&mut self, flags: u16) {
        let flags = flags.to_be_bytes();
        self.send(&[&b"NBDMAGICIHAVEOPT"[..], &flags].concat()).await;
    }

    /// Leads the client through a proper handshake for an export of 1 MiB.
    pub async fn join(mut self) -> Self {
        let export = ExportInfo {
            name: "vol".to_owned(),
            description: String::new(),
            device: DeviceInfo::new(MIB, ALL),
        };
        let mut server = ServerHandshake::new();
        loop {
            match server.step(&mut self.input).unwrap() {
                ServerStep::ReadMore => {
                    let output = server.take_output();
                    self.send(&output).await;
                    if self.stream.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                        return self;
                    }
                }
                ServerStep::Open { .. } => server.answer_open(Ok(&export)),
                ServerStep::Transmit(negotiated) => {
                    let output = server.take_output();
                    self.send(&output).await;
                    self.negotiated = Some(negotiated);
                    return self;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next request.
    pub async fn request(&mut self) -> RequestHeader {
        let style = self.negotiated.expect("a joined client").style;
        let mut decoder = RequestDecoder::new(style);
        loop {
            if let Some(frame) = decoder.decode(&mut self.input).unwrap() {
                return frame.header;
            }
            if self.stream.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                // The client has gone; this part is over.
                std::future::pending::<()>().await;
            }
        }
    }

    /// An extended chunk that answers the request, with any length announced.
    pub async fn chunk(
        &mut self,
        to: &RequestHeader,
        done: bool,
        kind: u16,
        announced: u64,
        payload: &[u8],
    ) {
        let bytes = [
            &c::EXTENDED_REPLY_MAGIC.to_be_bytes()[..],
            &u16::from(done).to_be_bytes(),
            &kind.to_be_bytes(),
            &to.cookie.0.to_be_bytes(),
            &to.offset.to_be_bytes(),
            &announced.to_be_bytes(),
            payload,
        ];
        self.send(&bytes.concat()).await;
    }

    pub async fn data(&mut self, to: &RequestHeader, done: bool, offset: u64, data: &[u8]) {
        let payload = [&offset.to_be_bytes()[..], data].concat();
        self.chunk(to, done, c::REPLY_TYPE_OFFSET_DATA, payload.len() as u64, &payload).await;
    }

    pub async fn stay(mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
    }
}

pub fn options(address: Address) -> ConnectOptions {
    ConnectOptions { timeout: Duration::from_secs(2), ..ConnectOptions::new(address, "vol") }
}

pub async fn refused(address: Address) -> ConnectError {
    soon(connect(&options(address))).await.expect_err("a hostile server was taken")
}

pub async fn joined(address: Address) -> Link {
    soon(connect(&options(address))).await.unwrap()
}

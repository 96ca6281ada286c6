//! An NBD client that sends what it is told, sensible or not, and hides nothing of the answers.

use std::time::Duration;

use blockferry_nbd_session::NbdUri;
use blockferry_net::{Address, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

const OPTION: u64 = 0x4948_4156_454f_5054;
const OPT_EXPORT_NAME: u32 = 1;
const OPT_STRUCTURED_REPLY: u32 = 8;
const REP_ACK: u32 = 1;
const REQUEST: u32 = 0x2560_9513;
const SIMPLE_REPLY: u32 = 0x6744_6698;
const STRUCTURED_REPLY: u32 = 0x668e_33ef;
/// The last chunk of an answer.
const DONE: u16 = 1;
/// A chunk that carries an error number first.
const IS_ERROR: u16 = 1 << 15;
const CMD_READ: u16 = 0;

/// A server that takes longer to answer hangs; so does one that does not hang up.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How the server shall answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// As of old: an error number, and data behind it.
    Simple,
    /// In chunks.
    Structured,
}

/// A request as it goes over the wire, whatever its fields say.
#[derive(Clone, Debug)]
pub struct RawRequest {
    /// Command flags.
    pub flags: u16,
    /// The command's number.
    pub command: u16,
    /// First byte.
    pub offset: u64,
    /// What the header says, not what follows.
    pub length: u32,
    /// What follows.
    pub payload: Vec<u8>,
}

/// A connection in the transmission phase.
pub struct RawClient {
    stream: Stream,
    replies: Replies,
    cookie: u64,
}

impl RawClient {
    /// Connects and joins the export by the oldest way, which any server knows.
    ///
    /// # Panics
    /// When it is turned away.
    pub async fn join(uri: &NbdUri, replies: Replies) -> Self {
        let mut raw = Self { replies, ..Self::greeted(uri).await };
        raw.send(&3_u32.to_be_bytes()).await;
        if replies == Replies::Structured {
            raw.option(OPT_STRUCTURED_REPLY, b"").await;
            let answer = raw.receive(20).await;
            assert_eq!(answer[12..16], REP_ACK.to_be_bytes(), "structured replies were refused");
        }
        raw.option(OPT_EXPORT_NAME, uri.export.as_bytes()).await;
        raw.receive(10).await;
        raw
    }

    /// Connects and waits for the server's greeting.
    ///
    /// # Panics
    /// When it is turned away.
    pub async fn greeted(uri: &NbdUri) -> Self {
        let stream = dial(&uri.address).await;
        let mut raw = Self { stream, replies: Replies::Simple, cookie: 0 };
        assert_eq!(raw.receive(18).await[..16], *b"NBDMAGICIHAVEOPT");
        raw
    }

    /// Sends a request and waits for its answer: the error number, 0 for none. `None` when the server
    /// hung up instead.
    ///
    /// # Panics
    /// When the answer is none to this request.
    pub async fn ask(&mut self, request: &RawRequest) -> Option<u32> {
        self.put(request).await;
        self.answer(request).await
    }

    /// Sends a request without waiting for its answer.
    pub async fn put(&mut self, request: &RawRequest) {
        self.cookie += 1;
        let header = [
            &REQUEST.to_be_bytes()[..],
            &request.flags.to_be_bytes(),
            &request.command.to_be_bytes(),
            &self.cookie.to_be_bytes(),
            &request.offset.to_be_bytes(),
            &request.length.to_be_bytes(),
        ]
        .concat();
        self.send(&header).await;
        self.send(&request.payload).await;
    }

    /// Says that no more requests follow.
    ///
    /// # Panics
    /// When the connection is broken.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.expect("a connection");
    }

    /// Receives a simple answer to any request: its cookie, counted from 1, and as many bytes as
    /// `length` says of that. `None` when the server hung up instead.
    ///
    /// # Panics
    /// When it is an error, or no answer.
    pub async fn simple_answer(&mut self, length: impl Fn(u64) -> usize) -> Option<(u64, Vec<u8>)> {
        let header = self.try_receive(16).await?;
        assert_eq!(header[..8], [&SIMPLE_REPLY.to_be_bytes()[..], &[0; 4]].concat());
        let cookie = u64::from_be_bytes(header[8..].try_into().expect("8 bytes"));
        Some((cookie, self.try_receive(length(cookie)).await?))
    }

    /// Waits until the server hangs up, and takes what it says before for nothing.
    ///
    /// # Panics
    /// When it does not.
    pub async fn until_hung_up(&mut self) {
        let mut rest = Vec::new();
        let end = timeout(ANSWER_MAX, self.stream.read_to_end(&mut rest)).await;
        // A reset is an end too.
        assert!(end.is_ok(), "the server did not hang up within {ANSWER_MAX:?}");
    }

    async fn answer(&mut self, request: &RawRequest) -> Option<u32> {
        let mut error = 0;
        loop {
            let magic = u32::from_be_bytes(self.try_receive(4).await?.try_into().expect("4 bytes"));
            let (chunk_error, is_last) = match magic {
                SIMPLE_REPLY => (self.simple(request).await?, true),
                STRUCTURED_REPLY if self.replies == Replies::Structured => self.chunk().await?,
                other => panic!("{other:#x} begins no answer to {request:?}"),
            };
            error = if error == 0 { chunk_error } else { error };
            if is_last {
                return Some(error);
            }
        }
    }

    async fn simple(&mut self, request: &RawRequest) -> Option<u32> {
        let header = self.try_receive(12).await?;
        let error = u32::from_be_bytes(header[..4].try_into().expect("4 bytes"));
        self.assert_cookie(&header[4..]);
        if request.command == CMD_READ && error == 0 {
            self.try_receive(request.length as usize).await?;
        }
        Some(error)
    }

    async fn chunk(&mut self) -> Option<(u32, bool)> {
        let header = self.try_receive(16).await?;
        let [flags, kind] = [0, 2].map(|at| u16::from_be_bytes([header[at], header[at + 1]]));
        self.assert_cookie(&header[4..12]);
        let length = u32::from_be_bytes(header[12..].try_into().expect("4 bytes"));
        let payload = self.try_receive(length as usize).await?;
        let error = match kind & IS_ERROR {
            0 => 0,
            _ => u32::from_be_bytes(payload[..4].try_into().expect("an error number")),
        };
        Some((error, flags & DONE != 0))
    }

    fn assert_cookie(&self, cookie: &[u8]) {
        assert_eq!(cookie, self.cookie.to_be_bytes(), "an answer to another request");
    }

    async fn option(&mut self, option: u32, data: &[u8]) {
        let length = u32::try_from(data.len()).expect("a short option");
        let header = [&OPTION.to_be_bytes()[..], &option.to_be_bytes(), &length.to_be_bytes()];
        self.send(&header.concat()).await;
        self.send(data).await;
    }

    /// That the server has hung up already shows when its answer is awaited.
    async fn send(&mut self, bytes: &[u8]) {
        let _ =
            timeout(ANSWER_MAX, self.stream.write_all(bytes)).await.expect("a server that reads");
    }

    async fn receive(&mut self, length: usize) -> Vec<u8> {
        self.try_receive(length).await.expect("the server hung up")
    }

    async fn try_receive(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        let read = timeout(ANSWER_MAX, self.stream.read_exact(&mut bytes)).await;
        read.expect("a server that answers").ok().map(|_| bytes)
    }
}

async fn dial(address: &Address) -> Stream {
    match address {
        Address::Tcp(host, port) => {
            Stream::Tcp(TcpStream::connect((host.as_str(), *port)).await.expect("a connection"))
        }
        Address::Unix(path) => Stream::Unix(UnixStream::connect(path).await.expect("a connection")),
    }
}

//! The server's side of a handshake on a socket.

use std::io;
use std::sync::Arc;

use blockferry_keeper::{FrameHeader, Kind};
use blockferry_nbd_wire::{
    ExportInfo, Negotiated, Purpose, Refusal, ServerError, ServerHandshake, ServerStep,
};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::exports::{Exports, Hello, Opened};
use crate::kept::Keeping;
use crate::replay::Replaying;
use crate::serve::Line;
use blockferry_net::Limits;

/// Room for a receive during the handshake, in bytes.
const HANDSHAKE_BYTES: usize = 4 << 10;

/// An export that a client has joined.
pub(crate) struct Session {
    pub(crate) opened: Opened,
    pub(crate) negotiated: Negotiated,
    /// What came behind the handshake already.
    pub(crate) inbox: BytesMut,
    /// The socket is a keeper's.
    pub(crate) keeping: Option<Keeping>,
    /// What comes first was another process's.
    pub(crate) replaying: Option<Replaying>,
}

/// Why a handshake ended without a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetError {
    #[error("the client left during the handshake")]
    Left,
    #[error("the server is shutting down")]
    Shutdown,
    #[error("the handshake took longer than its limit")]
    TooSlow,
    #[error("the connection failed: {0}")]
    Network(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] ServerError),
    #[error("the export cannot be served through a keeper")]
    NotKept,
}

/// Leads the client through the handshake; gives what it joined.
pub(crate) async fn greet(
    line: &mut Line,
    exports: &Arc<dyn Exports>,
    limits: &Limits,
    shutdown: &CancellationToken,
) -> Result<Session, GreetError> {
    let mut greeting = Greeting {
        line,
        exports,
        handshake: ServerHandshake::new(),
        inbox: BytesMut::new(),
        received: 0,
        deadline: Instant::now() + limits.handshake_timeout,
        opened: None,
    };
    tokio::select! {
        session = greeting.run() => session,
        () = shutdown.cancelled() => Err(GreetError::Shutdown),
    }
}

struct Greeting<'a> {
    line: &'a mut Line,
    exports: &'a Arc<dyn Exports>,
    handshake: ServerHandshake,
    inbox: BytesMut,
    /// Bytes that have come.
    received: u64,
    deadline: Instant,
    opened: Option<Opened>,
}

impl Greeting<'_> {
    async fn run(&mut self) -> Result<Session, GreetError> {
        loop {
            match self.handshake.step(&mut self.inbox)? {
                ServerStep::ReadMore => self.exchange().await?,
                ServerStep::List => self.handshake.answer_list(&self.exports.list()),
                ServerStep::Open { name, purpose } => self.open(&name, purpose).await,
                ServerStep::Fence(fence) => {
                    let began = Instant::now();
                    let outcome = self.exports.fence(fence).await;
                    self.deadline += began.elapsed();
                    self.handshake.answer_fence(outcome.map_err(Refusal::from));
                }
                ServerStep::Transmit(negotiated) => return self.transmit(negotiated).await,
                ServerStep::Ended => {
                    self.send().await?;
                    return Err(GreetError::Left);
                }
            }
        }
    }

    async fn transmit(&mut self, negotiated: Negotiated) -> Result<Session, GreetError> {
        let mut opened = self.opened.take().ok_or(GreetError::Left)?;
        let mut keeping = None;
        if self.line.kept {
            let kept = opened.kept.take().ok_or(GreetError::NotKept)?;
            let settled = self.received - self.inbox.len() as u64;
            self.send_as(Kind::Established, (kept.pass)(negotiated), settled).await?;
            let borrowed = self.line.borrowed.take();
            keeping = Some(Keeping::new(kept.order, borrowed, self.received, settled)?);
        } else {
            self.send().await?;
        }
        let inbox = std::mem::take(&mut self.inbox);
        Ok(Session { opened, negotiated, inbox, keeping, replaying: None })
    }

    async fn open(&mut self, name: &str, purpose: Purpose) {
        let hello = Hello { purpose, role: self.handshake.role().cloned(), peer: self.line.peer };
        // What this side does itself is not the client's time.
        let began = Instant::now();
        let outcome = self.exports.open(name, &hello).await;
        self.deadline += began.elapsed();
        match outcome {
            Ok(opened) => {
                let export = ExportInfo {
                    name: opened.name.clone(),
                    description: opened.description.clone(),
                    device: *opened.device.info(),
                };
                self.handshake.answer_open(Ok(&export));
                self.opened = (purpose == Purpose::Go).then_some(opened);
            }
            Err(error) => self.handshake.answer_open(Err(error.into())),
        }
    }

    /// Sends the answers so far and waits for more.
    async fn exchange(&mut self) -> Result<(), GreetError> {
        self.send().await?;
        self.inbox.reserve(HANDSHAKE_BYTES);
        let read = self.line.stream.read_buf(&mut self.inbox);
        match timeout_at(self.deadline, read).await {
            Err(_) => Err(GreetError::TooSlow),
            Ok(Ok(0)) => Err(GreetError::Left),
            Ok(Ok(count)) => {
                self.received += count as u64;
                Ok(())
            }
            Ok(Err(error)) => Err(error.into()),
        }
    }

    async fn send(&mut self) -> Result<(), GreetError> {
        if self.line.kept {
            return self.send_as(Kind::Handshake, Bytes::new(), 0).await;
        }
        let output = self.handshake.take_output();
        self.write(&output).await
    }

    /// Sends the output in a frame that settles the stream up to here.
    async fn send_as(&mut self, kind: Kind, pass: Bytes, settled: u64) -> Result<(), GreetError> {
        let output = self.handshake.take_output();
        let settles = 0..settled;
        let header = FrameHeader { kind, pass: pass.len(), bytes: output.len(), settles };
        self.write(&[&header.encode()[..], &pass, &output].concat()).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), GreetError> {
        let write = self.line.stream.write_all(bytes);
        Ok(timeout_at(self.deadline, write).await.map_err(|_| GreetError::TooSlow)??)
    }
}

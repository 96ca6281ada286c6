//! The server's side of a handshake on a socket.

use std::io;
use std::sync::Arc;

use blockferry_nbd_wire::{
    ExportInfo, Negotiated, Purpose, Refusal, ServerError, ServerHandshake, ServerStep,
};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::exports::{Exports, Hello, Opened};
use crate::limits::Limits;
use crate::stream::Stream;

/// Room for a receive during the handshake, in bytes.
const HANDSHAKE_BYTES: usize = 4 << 10;

/// An export that a client has joined.
pub(crate) struct Session {
    pub(crate) opened: Opened,
    pub(crate) negotiated: Negotiated,
    /// What came behind the handshake already.
    pub(crate) inbox: BytesMut,
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
}

/// Leads the client through the handshake; gives what it joined.
pub(crate) async fn greet(
    stream: &mut Stream,
    exports: &Arc<dyn Exports>,
    limits: &Limits,
    shutdown: &CancellationToken,
) -> Result<Session, GreetError> {
    let mut greeting = Greeting {
        peer: stream.peer(),
        stream,
        exports,
        handshake: ServerHandshake::new(),
        inbox: BytesMut::new(),
        deadline: Instant::now() + limits.handshake_timeout,
        opened: None,
    };
    tokio::select! {
        session = greeting.run() => session,
        () = shutdown.cancelled() => Err(GreetError::Shutdown),
    }
}

struct Greeting<'a> {
    peer: crate::stream::Peer,
    stream: &'a mut Stream,
    exports: &'a Arc<dyn Exports>,
    handshake: ServerHandshake,
    inbox: BytesMut,
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
                ServerStep::Transmit(negotiated) => {
                    self.send().await?;
                    let opened = self.opened.take().ok_or(GreetError::Left)?;
                    let inbox = std::mem::take(&mut self.inbox);
                    return Ok(Session { opened, negotiated, inbox });
                }
                ServerStep::Ended => {
                    self.send().await?;
                    return Err(GreetError::Left);
                }
            }
        }
    }

    async fn open(&mut self, name: &str, purpose: Purpose) {
        let hello = Hello { purpose, role: self.handshake.role().cloned(), peer: self.peer };
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
        let read = self.stream.read_buf(&mut self.inbox);
        match timeout_at(self.deadline, read).await {
            Err(_) => Err(GreetError::TooSlow),
            Ok(Ok(0)) => Err(GreetError::Left),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
        }
    }

    async fn send(&mut self) -> Result<(), GreetError> {
        let output = self.handshake.take_output();
        let write = self.stream.write_all(&output);
        Ok(timeout_at(self.deadline, write).await.map_err(|_| GreetError::TooSlow)??)
    }
}

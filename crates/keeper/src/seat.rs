//! One client, from its acceptance to its end, over however many workers that is.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::message::ClientId;
use crate::pump::{Pump, PumpEnd};
use crate::talk::{Next, Talk};

/// How long the last answers may take to be taken.
const FAREWELL_MAX: Duration = Duration::from_secs(30);

/// A client's socket.
pub trait ClientSocket: AsyncRead + AsyncWrite + Unpin + Sized + Send + 'static {
    /// Closes at once: what was not sent yet is thrown away, and the client sees a reset.
    fn cut(self);

    /// The same socket for a worker that reads and writes it by itself; `None` where that cannot be,
    /// since the kernel does not count what goes through it ([`blockferry_tcp_progress`]).
    fn to_lend(&self) -> Option<OwnedFd>;

    /// The socket, which nobody watches any more.
    ///
    /// # Errors
    /// What the operating system says.
    fn into_descriptor(self) -> io::Result<OwnedFd>;

    /// A socket that is watched again.
    ///
    /// # Errors
    /// What the operating system says.
    fn from_descriptor(descriptor: OwnedFd) -> io::Result<Self>;
}

/// What a seat is told.
#[derive(Debug)]
pub(crate) enum Order<C> {
    /// Here is a worker that serves the client, and where its record will be if it gets the socket.
    Serve(UnixStream, Option<OwnedFd>),
    /// The worker is dead.
    Drain,
    /// The connection is over.
    Dismiss { cut: bool },
    /// Another keeper goes on with the client, whom no worker has.
    Leave(oneshot::Sender<(C, Talk)>),
}

/// The worker has gone; how the client can go on.
#[derive(Debug)]
pub(crate) struct Parted {
    pub(crate) client: ClientId,
    pub(crate) next: Next,
}

pub(crate) struct Seat<C> {
    pub(crate) client: ClientId,
    pub(crate) pump: Pump<C>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) orders: mpsc::Receiver<Order<C>>,
    pub(crate) reports: mpsc::Sender<Parted>,
    /// Given back at the end.
    pub(crate) _place: Box<dyn Send>,
}

/// What is left to be done.
enum Then<C> {
    GoOn,
    Leave,
    LeaveTo(oneshot::Sender<(C, Talk)>),
    Cut,
}

impl<C: ClientSocket> Seat<C> {
    pub(crate) async fn run(mut self) {
        let mut dismissed = false;
        loop {
            let then = tokio::select! {
                biased;
                order = self.orders.recv() => self.obey(order, &mut dismissed),
                end = self.pump.run(&self.clock) => self.ended(end, dismissed).await,
            };
            match then {
                Then::GoOn => {}
                Then::Leave => return,
                Then::Cut => return self.pump.cut(),
                // A keeper that is gone needs no client.
                Then::LeaveTo(heir) => {
                    if let Some(left) = self.pump.into_client() {
                        drop(heir.send(left));
                    }
                    return;
                }
            }
            if dismissed && !self.pump.is_attached() {
                return self.farewell().await;
            }
        }
    }

    fn obey(&mut self, order: Option<Order<C>>, dismissed: &mut bool) -> Then<C> {
        match order {
            Some(Order::Serve(worker, record)) => self.pump.attach(worker, record),
            Some(Order::Drain) => self.pump.drain(),
            Some(Order::Dismiss { cut: false }) => {
                // What the worker has sent before comes first.
                *dismissed = true;
                self.pump.drain();
            }
            Some(Order::Dismiss { cut: true }) => return Then::Cut,
            Some(Order::Leave(heir)) => return Then::LeaveTo(heir),
            None => return Then::Leave,
        }
        Then::GoOn
    }

    async fn ended(&mut self, end: PumpEnd, dismissed: bool) -> Then<C> {
        match end {
            PumpEnd::WorkerGone if dismissed => return Then::GoOn,
            PumpEnd::WorkerGone => {}
            PumpEnd::ClientGone(_) => {
                tracing::debug!(client = self.client, %end, "a client has gone");
                return Then::Leave;
            }
            PumpEnd::Frame(_) | PumpEnd::Fault(_) | PumpEnd::Record(_) => {
                tracing::error!(client = self.client, %end, "cutting a client");
                return Then::Cut;
            }
        }
        let report = Parted { client: self.client, next: self.pump.talk.part() };
        // Nobody to report to is an end, too.
        if self.reports.send(report).await.is_ok() { Then::GoOn } else { Then::Leave }
    }

    async fn farewell(mut self) {
        // A client that does not take its last answers is not waited for.
        let _ = timeout(FAREWELL_MAX, self.pump.flush()).await;
        if let Some((mut client, _)) = self.pump.into_client() {
            let _ = timeout(FAREWELL_MAX, client.shutdown()).await;
        }
    }
}

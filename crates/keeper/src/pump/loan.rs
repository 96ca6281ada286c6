//! The keeper's part while a worker has the client's socket: none, until the worker is gone. Then its
//! record says what it was about to do, and the kernel how far it has come.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use blockferry_tcp_progress::{Progress, progress};
use rustix::net::{self, RecvFlags};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::{Client, Pump, PumpEnd};
use crate::record::read_record;
use crate::seat::ClientSocket;
use crate::talk::Fault;

/// A client's socket that a worker has.
pub(super) struct Loan {
    socket: OwnedFd,
    /// How far it had come.
    begin: Progress,
}

impl Loan {
    pub(super) fn cut<C: ClientSocket>(self) {
        // Where it fails the socket is dead already.
        drop(C::from_descriptor(self.socket).map(C::cut));
    }

    fn moved(&self) -> io::Result<Progress> {
        progress(self.socket.as_fd())?.since(self.begin)
    }
}

/// Waits until the worker has left the client's socket: it closes its own to the keeper then.
pub(super) async fn end_of(worker: &UnixStream) -> PumpEnd {
    let look = || Ok(net::recv(worker, &mut [0; 1], RecvFlags::DONTWAIT)?.1);
    match worker.async_io(Interest::READABLE, look).await {
        Ok(1..) => PumpEnd::Fault(Fault::BesideRecord),
        // A worker that was killed may reset the connection.
        Ok(0) | Err(_) => PumpEnd::WorkerGone,
    }
}

impl<C: ClientSocket> Pump<C> {
    /// Lends the client's socket: the worker has it when it sees that nothing more comes from here.
    pub(super) fn lend(&mut self) -> Result<(), PumpEnd> {
        let worker = self.worker.as_ref().ok_or(PumpEnd::WorkerGone)?;
        let Client::Here(client) = std::mem::replace(&mut self.client, Client::Lost) else {
            return Ok(());
        };
        let socket = client.into_descriptor().map_err(PumpEnd::ClientGone)?;
        let begin = progress(socket.as_fd()).map_err(PumpEnd::ClientGone)?;
        // Where it fails the worker is gone, which is seen when it is waited for.
        let _ = net::shutdown(worker, net::Shutdown::Write);
        self.client = Client::Lent(Loan { socket, begin });
        self.talk.lend();
        Ok(())
    }

    /// Has the client's socket back from a worker that is gone.
    pub(super) fn take_back(&mut self) -> Result<(), PumpEnd> {
        let Client::Lent(_) = &self.client else { return Ok(()) };
        let Client::Lent(loan) = std::mem::replace(&mut self.client, Client::Lost) else {
            return Ok(());
        };
        let record = self.record.as_ref().ok_or(PumpEnd::WorkerGone)?;
        for frame in read_record(record).map_err(PumpEnd::Record)? {
            self.talk.take_frame(frame)?;
        }
        self.talk.give_back(loan.moved().map_err(PumpEnd::ClientGone)?)?;
        let client = C::from_descriptor(loan.socket).map_err(PumpEnd::ClientGone)?;
        self.client = Client::Here(client);
        Ok(())
    }
}

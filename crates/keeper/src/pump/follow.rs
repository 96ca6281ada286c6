//! The keeper's part while a worker has the client's socket: it takes the worker's record, and lets go of
//! what the kernel has been given.
//!
//! Nobody waits for it, so it does not wake for each word: it takes what has gathered, and sleeps. Only
//! where so much comes that it would not fit meanwhile does it stay awake.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blockferry_tcp_progress::{Progress, progress};
use bytes::Buf;
use tokio::time::sleep;

use super::{Client, Pump, PumpEnd, make_room};
use crate::seat::ClientSocket;

/// How long words may gather.
const NAP: Duration = Duration::from_millis(1);
/// Where so much comes in a nap, in bytes, the keeper stays awake: a socket holds some four times as
/// much, and a worker that fills it waits.
const MUCH: usize = 80 << 10;
/// Taken at once, in bytes.
const READ_BYTES: usize = 128 << 10;

thread_local! {
    /// The keeper has one thread, and looks at one client at a time.
    static WORDS: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// A client's socket that a worker has.
pub(super) struct Loan {
    socket: OwnedFd,
    /// How far it had come.
    begin: Progress,
    /// Not watched: the worker's words shall wake nobody.
    worker: Arc<UnixStream>,
}

impl Loan {
    pub(super) fn cut<C: ClientSocket>(self) {
        // Where it fails the socket is dead already.
        drop(C::from_descriptor(self.socket).map(C::cut));
    }

    fn moved(&self) -> io::Result<Progress> {
        progress(self.socket.as_fd())?.since(self.begin)
    }

    /// Waits until the worker has said something, or is gone.
    async fn word(worker: &UnixStream) -> io::Result<()> {
        tokio::net::UnixStream::from_std(worker.try_clone()?)?.readable().await
    }
}

impl<C: ClientSocket> Pump<C> {
    /// Lends the client's socket: the worker has it when it sees that nothing more comes from here.
    pub(super) fn lend(&mut self) -> Result<(), PumpEnd> {
        let worker = self.worker.take().ok_or(PumpEnd::WorkerGone)?;
        let worker = worker.into_std().map_err(|_| PumpEnd::WorkerGone)?;
        let Client::Here(client) = std::mem::replace(&mut self.client, Client::Lost) else {
            return Ok(());
        };
        let socket = client.into_descriptor().map_err(PumpEnd::ClientGone)?;
        let begin = progress(socket.as_fd()).map_err(PumpEnd::ClientGone)?;
        // Where it fails the worker is gone, which is seen when it is heard.
        let _ = worker.shutdown(Shutdown::Write);
        self.client = Client::Lent(Loan { socket, begin, worker: Arc::new(worker) });
        self.talk.lend();
        Ok(())
    }

    /// Has the client's socket back from a worker that is gone.
    pub(super) fn take_back(&mut self) -> Result<(), PumpEnd> {
        let Client::Lent(_) = &self.client else { return Ok(()) };
        let Client::Lent(loan) = std::mem::replace(&mut self.client, Client::Lost) else {
            return Ok(());
        };
        self.talk.give_back(loan.moved().map_err(PumpEnd::ClientGone)?)?;
        let client = C::from_descriptor(loan.socket).map_err(PumpEnd::ClientGone)?;
        self.client = Client::Here(client);
        Ok(())
    }

    /// Takes what the worker says until it is gone.
    pub(super) async fn follow(&mut self) -> PumpEnd {
        let mut much = false;
        loop {
            let Client::Lent(loan) = &self.client else { return PumpEnd::WorkerGone };
            let worker = Arc::clone(&loan.worker);
            let followed = match much || self.draining {
                true => self.listen(&worker).await.map(|()| false),
                false => self.doze(&worker).await,
            };
            match followed {
                Ok(comes) => much = comes,
                Err(end) => return end,
            }
        }
    }

    /// Takes what has gathered, and sleeps; tells whether too much has gathered for that.
    async fn doze(&mut self, worker: &Arc<UnixStream>) -> Result<bool, PumpEnd> {
        let mut taken = 0;
        while taken < MUCH && self.has_room() {
            match self.take_words(worker)? {
                0 => break,
                count => taken += count,
            }
        }
        // The record of an idle client is what it has not been sent.
        self.let_go();
        match taken {
            _ if !self.has_room() => sleep(NAP).await,
            // What cannot be watched is looked at now and then.
            0 if Loan::word(worker).await.is_err() => sleep(NAP).await,
            0 => {}
            1..MUCH => sleep(NAP).await,
            _ => return Ok(true),
        }
        Ok(false)
    }

    /// Takes each word as it comes, until no longer much comes.
    async fn listen(&mut self, worker: &UnixStream) -> Result<(), PumpEnd> {
        let awake = worker.try_clone().and_then(tokio::net::UnixStream::from_std);
        let awake = awake.map_err(|_| PumpEnd::WorkerGone)?;
        loop {
            let (begun, mut taken) = (Instant::now(), 0);
            while begun.elapsed() < NAP && (self.draining || self.has_room()) {
                awake.readable().await.map_err(|_| PumpEnd::WorkerGone)?;
                let missing = self.decoder.missing(&self.from_worker);
                make_room(&mut self.from_worker, missing);
                match awake.try_read_buf(&mut self.from_worker) {
                    Ok(count) if count > 0 => taken += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    // A worker that was killed resets the connection behind what it sent.
                    Ok(_) | Err(_) => return Err(PumpEnd::WorkerGone),
                }
                self.take_frames()?;
            }
            self.let_go();
            let naps = begun.elapsed().as_secs_f64() / NAP.as_secs_f64();
            if self.draining {
                continue;
            }
            if !self.has_room() {
                sleep(NAP).await;
            } else if (taken as f64) < MUCH as f64 * naps {
                return Ok(());
            }
        }
    }

    /// Whether the worker is to be heard, once what the kernel was given is let go of.
    fn has_room(&mut self) -> bool {
        if !self.talk.wants_frames() {
            self.let_go();
        }
        self.talk.wants_frames()
    }

    /// Lets go of what the kernel was given. A client that is gone is its worker's affair.
    fn let_go(&mut self) {
        let Client::Lent(loan) = &self.client else { return };
        if self.talk.to_client().has_remaining() {
            let moved = loan.moved();
            moved.into_iter().for_each(|moved| self.talk.note_given(moved.given));
        }
    }

    /// Takes what is there, up to a bound; none when there is nothing yet.
    fn take_words(&mut self, mut worker: &UnixStream) -> Result<usize, PumpEnd> {
        let count = WORDS.with_borrow_mut(|words| {
            let count = loop {
                match worker.read(words) {
                    Ok(0) => return Err(PumpEnd::WorkerGone),
                    Ok(count) => break count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // A worker that was killed resets the connection behind what it sent.
                    Err(_) => return Err(PumpEnd::WorkerGone),
                }
            };
            self.from_worker.extend_from_slice(&words[..count]);
            Ok(count)
        })?;
        self.take_frames()?;
        Ok(count)
    }
}

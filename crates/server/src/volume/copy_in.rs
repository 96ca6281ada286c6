//! The ordered copy at the destination: executed at `W` only (D2.5).
//!
//! A long write comes in pieces ([`Volume::copy_in_pieces`]): each is written and hashed while the next
//! is received. `W` moves when all of it was written, so a write that ends before its time has happened
//! in part or not at all, and is made again from `W`.

use std::sync::Arc;
use std::task::{Context, Poll};

use blockferry_block::Extent;
use blockferry_device::{Device, Errno, Failure, PieceSink, Reply, Request};
use blockferry_migration::destination::Refusal;
use blockferry_migration::digest::{Frontier, Piece};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use super::receiver::Receiver;
use super::{Stage, Volume, thin};

/// Longest data in bytes that is hashed on the caller's thread: clients would notice more.
const HASHED_INLINE_MAX: usize = 256 << 10;

/// Pieces of one write that wait to be written.
const PIECES_MAX: usize = 3;

impl Volume {
    /// Executes a request of a copy connection.
    pub(super) async fn copy_in(
        self: &Arc<Self>,
        epoch: u64,
        request: Request,
    ) -> Result<Reply, Failure> {
        let Stage::Receiver(receiver) = self.stage() else { return Err(not_receiving()) };
        match request {
            Request::Write { .. } | Request::WriteZeroes { .. } => {
                let extent = request.extent().unwrap_or(Extent::between(0, 0));
                let _turn = receiver.copy_turn().await;
                let mut write = CopyWrite::begin(self, &receiver, epoch, extent)?;
                write.take(request).await?;
                write.done()
            }
            Request::Read { .. } | Request::BlockStatus { .. } | Request::Flush => {
                self.store.call(request).await
            }
            Request::Trim { .. } | Request::Cache { .. } => {
                Err(Failure::new(Errno::Inval, "a copy connection writes and reads only"))
            }
        }
    }

    /// A write that has arrived, but for its data, has its place in the order from this call on; the
    /// future executes it.
    pub(super) fn copy_in_pieces(
        self: &Arc<Self>,
        epoch: u64,
        extent: Extent,
        mut pieces: mpsc::Receiver<Bytes>,
    ) -> impl Future<Output = Result<Reply, Failure>> + Send + 'static + use<> {
        let volume = Arc::clone(self);
        let receiver = self.receiver();
        let turn = receiver.as_ref().map(|receiver| receiver.copy_turn());
        async move {
            let (Some(receiver), Some(turn)) = (receiver, turn) else {
                return Err(not_receiving());
            };
            let _turn = turn.await;
            let mut write = CopyWrite::begin(&volume, &receiver, epoch, extent)?;
            while let Some(data) = pieces.recv().await {
                let offset = write.at;
                write.take(Request::Write { offset, data, fua: false }).await?;
            }
            write.done()
        }
    }
}

/// A write at `W`. Whatever ends it before it is done leaves `W` where it is.
struct CopyWrite<'a> {
    volume: &'a Volume,
    receiver: &'a Receiver,
    extent: Extent,
    at: u64,
    pristine: bool,
    /// The digest of all before `at`; none when that is unknown.
    stream: Option<Frontier>,
    is_done: bool,
}

impl<'a> CopyWrite<'a> {
    fn begin(
        volume: &'a Volume,
        receiver: &'a Receiver,
        epoch: u64,
        extent: Extent,
    ) -> Result<Self, Failure> {
        let begun = receiver.with(|destination| {
            destination.copy_begin(epoch, extent)?;
            Ok((destination.stream().clone(), destination.is_pristine(extent.start())))
        });
        let (stream, pristine) =
            begun.map_err(|refusal: Refusal| Failure::new(Errno::Inval, refusal.to_string()))?;
        blockferry_label::reached("destination.copy.begun");
        let at = extent.start();
        let stream = Some(stream);
        Ok(Self { volume, receiver, extent, at, pristine, stream, is_done: false })
    }

    /// Writes the next part of it, and hashes it meanwhile.
    async fn take(&mut self, request: Request) -> Result<(), Failure> {
        let length = request.extent().map_or(0, |part| part.len());
        let stream = self.stream.take();
        let store = &*self.volume.store;
        let write = async {
            match self.pristine {
                true => thin::write_where_nothing_is(store, request.clone()).await,
                false => store.call(request.clone()).await,
            }
        };
        let digested = digested(stream, request.clone());
        let (written, stream) = tokio::join!(write, digested);
        written?;
        self.stream = stream;
        self.at += length;
        Ok(())
    }

    /// Moves `W`, if all was written.
    fn done(mut self) -> Result<Reply, Failure> {
        blockferry_label::reached("destination.copy.written");
        if self.at != self.extent.end() {
            let reason = format!("the data of {} has come up to {} only", self.extent, self.at);
            return Err(Failure::new(Errno::Io, reason));
        }
        let Some(stream) = self.stream.take() else {
            return Err(Failure::new(Errno::Io, "the program ends"));
        };
        self.is_done = true;
        self.receiver.with(|destination| destination.copy_done(Some(stream)));
        blockferry_label::reached("destination.copy.moved");
        Ok(Reply::Done)
    }
}

impl Drop for CopyWrite<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.receiver.with(|destination| destination.copy_done(None));
        }
    }
}

/// The stream with the request's content behind it; `None` when it is unknown.
async fn digested(stream: Option<Frontier>, request: Request) -> Option<Frontier> {
    let mut stream = stream?;
    match request {
        Request::Write { data, .. } if data.len() > HASHED_INLINE_MAX => {
            let digest = tokio::task::spawn_blocking(move || {
                stream.push(Piece::Data(&data));
                stream
            });
            return digest.await.ok();
        }
        Request::Write { data, .. } => stream.push(Piece::Data(&data)),
        Request::WriteZeroes { extent, .. } => stream.push(Piece::Zeroes(extent.len())),
        _ => {}
    }
    Some(stream)
}

/// The way of a write's pieces from the connection to the store.
pub(super) struct Pieces(PollSender<Bytes>);

impl Pieces {
    /// Both ends of it.
    pub(super) fn channel() -> (Self, mpsc::Receiver<Bytes>) {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        (Self(PollSender::new(sender)), receiver)
    }
}

impl PieceSink for Pieces {
    /// Where nobody takes them any more, there is always room.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_reserve(cx).map(|_| ())
    }

    fn push(&mut self, piece: Bytes) {
        // Nobody may want it any more.
        let _ = self.0.send_item(piece);
    }
}

pub(super) fn not_receiving() -> Failure {
    Failure::new(Errno::Inval, "the volume receives no migration here; ask its status")
}

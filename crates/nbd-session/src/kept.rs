//! The serving side of a connection whose client's socket is a keeper's: what comes is the client's
//! bytes, and what goes are frames, each a whole answer with the part of those bytes that it settles.
//! Where the keeper lends the client's socket, they are written down instead ([`crate::borrowed`]).

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use blockferry_device::{Answer, Device, Errno, Failure, Reply, Request};
use blockferry_keeper::{FRAME_BYTES_MAX, FrameHeader, Kind};
use blockferry_nbd_wire::{Negotiated, Outbox, RequestHeader, encode_reply, in_one_piece};
use bytes::{Buf, BytesMut};
use futures_util::future::BoxFuture;

use crate::borrowed::{Borrowed, Lending};
use crate::exports::{Hold, Order};

/// Parts of one read that are told one by one, each with a header of at most 40 bytes; a read in more
/// is told in one piece, so that every answer fits into a frame.
const READ_PARTS_MAX: usize = (FRAME_BYTES_MAX - (33 << 20)) / 40;

/// See the module.
pub(crate) struct Keeping {
    order: Arc<dyn Order>,
    lending: Option<Lending>,
    /// Bytes that have come.
    received: u64,
    /// Bytes of them that were taken as requests, or settled by the handshake.
    taken: u64,
    /// One answer on its way into a frame.
    answer: Outbox,
    /// Bytes of frames that were put out, and those of them that were sent.
    put: u64,
    sent: u64,
    /// Frames that were not sent whole: where they end, and what ends with them.
    leaving: VecDeque<(u64, Hold)>,
}

/// How far a client's stream has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Bytes that are here, or were.
    pub(crate) received: u64,
    /// Bytes of them that were taken as requests, or settled by the handshake.
    pub(crate) taken: u64,
}

/// Where a request came from, and what ends when its answer has left.
#[derive(Default)]
pub(crate) struct Origin {
    range: Range<u64>,
    pub(crate) hold: Hold,
}

impl Origin {
    /// Where the request ends in the client's stream.
    pub(crate) const fn end(&self) -> u64 {
        self.range.end
    }
}

impl Keeping {
    /// For a stream of which so much has come, and so much is settled.
    ///
    /// # Errors
    /// When no record can be begun.
    pub(crate) fn new(
        order: Arc<dyn Order>,
        borrowed: Option<Borrowed>,
        received: u64,
        taken: u64,
    ) -> io::Result<Self> {
        let lending = borrowed.map(|borrowed| Lending::new(borrowed, received, taken));
        let lending = lending.transpose()?;
        let (answer, leaving) = (Outbox::new(), VecDeque::new());
        Ok(Self { order, lending, received, taken, answer, put: 0, sent: 0, leaving })
    }

    /// Whether the keeper has still to tell or to send something before it lends the client's socket.
    /// Until then no answer goes to it: it could not tell it from those that it has to send.
    pub(crate) fn awaits_socket(&self) -> bool {
        self.lending.as_ref().is_some_and(|lending| !lending.is_here())
    }

    /// The keeper has nothing more: the client's socket is here, if it was lent. Tells whether it was.
    pub(crate) fn arrive(&mut self) -> bool {
        let awaited = self.awaits_socket();
        self.lending.iter_mut().for_each(Lending::arrive);
        awaited
    }

    /// Bytes that wait for the client here.
    pub(crate) fn held(&self) -> u64 {
        self.lending.as_ref().map_or(0, |lending| lending.held() as u64)
    }

    /// Sends once what the client may be sent from here. True when something went.
    pub(crate) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        match &mut self.lending {
            Some(lending) => lending.poll_answer(cx),
            None => Poll::Ready(Ok(false)),
        }
    }

    /// Listens to the client, where its socket is here: gives how many bytes have come, zero at its end.
    pub(crate) fn poll_listen(
        &mut self,
        cx: &mut Context<'_>,
        into: (&mut BytesMut, usize),
    ) -> Option<Poll<io::Result<usize>>> {
        let lending = self.lending.as_mut().filter(|lending| lending.is_here())?;
        Some(lending.poll_listen(cx, into))
    }

    /// Answers that the keeper may not have.
    pub(crate) fn leaving(&self) -> usize {
        self.lending.as_ref().map_or(self.leaving.len(), |lending| lending.holds().len())
    }

    pub(crate) fn received(&mut self, count: usize) {
        self.received += count as u64;
        self.lending.iter_mut().for_each(|lending| lending.told(count as u64));
    }

    pub(crate) const fn progress(&self) -> Progress {
        Progress { received: self.received, taken: self.taken }
    }

    /// A request was taken out of the inbox.
    pub(crate) fn take(&mut self, inbox: &BytesMut) -> Origin {
        let end = self.received - inbox.len() as u64;
        let range = std::mem::replace(&mut self.taken, end)..end;
        Origin { range, hold: None }
    }

    /// Has the device execute the request when its turn has come.
    pub(crate) fn call(
        &self,
        device: &Arc<dyn Device>,
        request: Request,
        arrival: Option<u64>,
    ) -> (Answer, Hold) {
        let turn = self.order.enter(&request, arrival);
        let answer = match turn.come {
            None => device.call(request),
            Some(come) => Answer::later(in_turn(come, Arc::downgrade(device), request)),
        };
        (answer, turn.hold)
    }

    /// Puts the answer out.
    pub(crate) fn answer(
        &mut self,
        outbox: &mut Outbox,
        negotiated: &Negotiated,
        (header, origin): (&RequestHeader, Origin),
        outcome: Result<Reply, Failure>,
    ) {
        encode_reply(&mut self.answer, negotiated, header, outcome.map(fitting));
        if let Some(lending) = &mut self.lending {
            return lending.answer(&mut self.answer, origin.range, origin.hold);
        }
        let bytes = self.answer.remaining();
        let frame = FrameHeader { kind: Kind::Reply, pass: 0, bytes, settles: origin.range };
        let frame = frame.encode();
        outbox.put(&frame);
        self.put += (frame.len() + bytes) as u64;
        outbox.append(&mut self.answer);
        self.leaving.push_back((self.put, origin.hold));
    }

    /// So many bytes have left. What the socket has taken the keeper gets, whatever becomes of this
    /// process. Tells whether an answer has left whole.
    pub(crate) fn sent(&mut self, count: usize) -> bool {
        self.sent += count as u64;
        let before = self.leaving.len();
        while self.leaving.front().is_some_and(|(end, _)| *end <= self.sent) {
            self.leaving.pop_front();
        }
        self.leaving.len() < before
    }

    /// Whether somebody waits for an answer to leave.
    pub(crate) fn is_waited_for(&self) -> bool {
        let written = self.lending.iter().flat_map(Lending::holds);
        let holds = self.leaving.iter().map(|(_, hold)| hold).chain(written);
        holds.flatten().any(|hold| hold.is_waited_for())
    }
}

/// A device that is gone when the turn comes needs not be asked: its client has left.
async fn in_turn(
    come: BoxFuture<'static, ()>,
    device: Weak<dyn Device>,
    request: Request,
) -> Result<Reply, Failure> {
    come.await;
    let answer = device.upgrade().map(|device| device.call(request));
    match answer {
        Some(answer) => answer.await,
        None => Err(Failure::new(Errno::Shutdown, "the client has left")),
    }
}

fn fitting(reply: Reply) -> Reply {
    match reply {
        Reply::Read(parts) if parts.len() > READ_PARTS_MAX => Reply::Read(in_one_piece(parts)),
        reply => reply,
    }
}

#[cfg(test)]
mod tests {
    use blockferry_device::ReadPart;
    use blockferry_keeper::FrameDecoder;
    use blockferry_nbd_wire::{CommandFlags, Cookie, Style};
    use bytes::Bytes;

    use super::*;
    use crate::exports::{Held, Turn};

    struct AtOnce;

    impl Order for AtOnce {
        fn enter(&self, _: &Request, _: Option<u64>) -> Turn {
            Turn::default()
        }
    }

    fn header(length: u64) -> RequestHeader {
        let (flags, cookie) = (CommandFlags::default(), Cookie(1));
        RequestHeader { flags, command: 0, cookie, offset: 0, length }
    }

    #[test]
    fn the_most_scattered_answer_to_the_largest_read_fits_into_a_frame() {
        const LENGTH: usize = 32 << 20;
        let byte = Bytes::from_static(b"x");
        let scattered = |parts: usize| {
            let tail = Bytes::from(vec![0; LENGTH - parts]);
            let ones = std::iter::repeat_n(ReadPart::Data(byte.clone()), parts);
            Reply::Read(ones.chain([ReadPart::Data(tail)]).collect())
        };
        for parts in [0, READ_PARTS_MAX - 1, READ_PARTS_MAX, 4 * READ_PARTS_MAX] {
            let mut keeping = Keeping::new(Arc::new(AtOnce), None, 0, 0).unwrap();
            let negotiated = Negotiated { style: Style::Extended, allocation_context: None };
            let mut outbox = Outbox::new();
            let read = (&header(LENGTH as u64), Origin::default());
            keeping.answer(&mut outbox, &negotiated, read, Ok(scattered(parts)));
            let mut bytes = BytesMut::from(outbox.copy_to_bytes(outbox.remaining()));
            let frame = FrameDecoder::default().decode(&mut bytes).unwrap().expect("a whole frame");
            assert!(frame.bytes.len() >= LENGTH && bytes.is_empty());
        }
    }

    struct Watched(#[allow(dead_code, reason = "held for its drop")] std::sync::mpsc::Sender<()>);

    impl Held for Watched {
        fn is_waited_for(&self) -> bool {
            true
        }
    }

    #[test]
    fn what_an_answer_holds_ends_when_its_last_byte_has_left() {
        let (held, hold) = std::sync::mpsc::channel::<()>();
        let mut keeping = Keeping::new(Arc::new(AtOnce), None, 0, 0).unwrap();
        let negotiated = Negotiated { style: Style::Simple, allocation_context: None };
        let mut outbox = Outbox::new();
        let origin = Origin { range: 0..28, hold: Some(Box::new(Watched(held))) };
        keeping.answer(&mut outbox, &negotiated, (&header(0), origin), Ok(Reply::Done));
        assert!(!keeping.sent(outbox.remaining() - 1) && keeping.is_waited_for());
        assert_eq!(hold.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty));
        assert!(keeping.sent(1) && !keeping.is_waited_for());
        assert_eq!(hold.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected));
    }
}

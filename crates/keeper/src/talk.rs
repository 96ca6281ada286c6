//! One client's conversation with whichever worker serves it, without sockets.
//!
//! ```text
//!   client ── bytes ──▶ Retained ── bytes ──▶ worker
//!   client ◀── bytes ── Outgoing ◀── frames ── worker
//! ```
//!
//! A frame settles its part of what is retained at the moment when its bytes are queued for the
//! client, both or neither: each request is answered exactly once, whichever worker dies when.
//!
//! Where the client's socket can be lent, its worker reads and writes it by itself after the handshake,
//! and leaves a record: it says what it is about to take before it takes that, and what it is about to
//! send before it sends any of that. When the worker is gone the kernel tells how much it has taken and
//! sent; the rest of the record is what a successor is told, and what is still to be sent.

use blockferry_tcp_progress::Progress;
use bytes::{Buf, Bytes};

use crate::frame::{Frame, Kind};
use crate::outgoing::Outgoing;
use crate::retained::{NotKept, Retained};

/// Bytes that wait for the client; beyond them its worker is not read on. One frame may come on top.
const OUTGOING_BYTES_MAX: usize = 1 << 20;

/// Workers that one connection can have had. The number goes into the generations of its session's
/// links, above those of one worker.
pub const INCARNATION_MAX: u16 = (1 << 12) - 1;

/// See the module.
#[derive(Debug, Default)]
pub struct Talk {
    retained: Retained,
    /// The client has said all it will.
    ended: bool,
    outgoing: Outgoing,
    /// The client has been sent something.
    answered: bool,
    /// What a successor needs; there since the handshake has ended.
    pass: Option<Bytes>,
    incarnation: u16,
    /// What a successor is told before the client's bytes.
    preamble: Bytes,
    /// A fault on purpose: nothing is ever settled.
    forgets_answers: bool,
    /// Whether the client's socket can be lent.
    lends: bool,
    lent: Option<Lent>,
}

/// Where a worker began with a lent socket.
#[derive(Clone, Copy, Debug)]
struct Lent {
    /// In what is retained.
    from: u64,
    /// Bytes that it had sent before what is on its way to the client.
    given: u64,
}

/// How a connection goes on after its worker's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing has happened: any worker can begin with it.
    Fresh,
    /// A worker can go on with it.
    Resume(Resume),
    /// None can.
    Over(Lost),
}

/// Why no worker can go on with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// It was in the middle of its handshake.
    #[error("its handshake was under way")]
    Handshake,
    /// It has had as many workers as there are numbers.
    #[error("it has had {INCARNATION_MAX} workers")]
    Incarnations,
}

/// What a worker is told of a connection that another has served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// How many workers it has had.
    pub incarnation: u16,
    /// How much of what it is told first was told to another before, in bytes.
    pub replay: u64,
    /// What the other left for it.
    pub pass: Bytes,
}

/// A conversation that no worker is part of, as it is told to another keeper.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TalkParts {
    pub(crate) ended: bool,
    pub(crate) incarnation: u16,
    pub(crate) pass: Option<Bytes>,
    /// How much of what is retained any worker may have begun, in bytes.
    pub(crate) begun: u64,
    /// What is retained, with its arrivals.
    pub(crate) pieces: Vec<(u64, Bytes)>,
    /// What the client has not been sent yet.
    pub(crate) outgoing: Bytes,
}

/// What no worker does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// See there.
    #[error(transparent)]
    Settled(#[from] NotKept),
    /// It has taken or sent what it had not told of.
    #[error("a worker has {0} without a word")]
    Untold(&'static str),
    /// It has taken more than is kept for one client.
    #[error("a worker has taken more than is kept for a client")]
    TooMuch,
    /// A frame of this kind makes no sense at this point.
    #[error("a frame of kind {0:?} out of order")]
    OutOfOrder(Kind),
    /// It has the client's socket, and speaks beside its record.
    #[error("a worker speaks beside its record")]
    BesideRecord,
}

impl Talk {
    /// One that tells every worker what others have answered, too: to see whether that is found.
    #[must_use]
    pub fn that_forgets_answers(self, forgets_answers: bool) -> Self {
        Self { forgets_answers, ..self }
    }

    /// One whose client's socket can be lent.
    #[must_use]
    pub fn that_lends(self, lends: bool) -> Self {
        Self { lends, ..self }
    }

    /// Whether the client is to be read.
    pub fn wants_input(&self) -> bool {
        // While the worker is busy with what it was told, pressure stays in the client's socket.
        !self.ended && !self.is_for_worker() && self.is_told() && self.retained.has_room()
    }

    /// Whether the worker has the client's socket, or will as soon as what was begun here is done.
    const fn is_for_worker(&self) -> bool {
        self.lends && self.pass.is_some()
    }

    /// Whether the client's socket is to be lent to the worker now.
    pub fn is_to_be_lent(&self) -> bool {
        let done = self.is_told() && !self.outgoing.has_remaining();
        self.is_for_worker() && self.lent.is_none() && done
    }

    /// The worker has the client's socket.
    pub const fn lend(&mut self) {
        self.lent = Some(Lent { from: self.retained.end(), given: 0 });
    }

    /// Whether the worker has the client's socket.
    pub const fn is_lent(&self) -> bool {
        self.lent.is_some()
    }

    /// The socket is back, and everything that the worker has said was taken: so far has it come.
    ///
    /// # Errors
    /// When the worker has told of less.
    pub fn give_back(&mut self, moved: Progress) -> Result<(), Fault> {
        let Some(lent) = self.lent.take() else { return Ok(()) };
        let given = moved.given.checked_sub(lent.given).and_then(|given| given.try_into().ok());
        let given = given.filter(|given| *given <= self.outgoing.remaining());
        self.outgoing.advance(given.ok_or(Fault::Untold("sent"))?);
        let taken = self.retained.forget_from(lent.from + moved.taken);
        taken.map_err(|_| Fault::Untold("taken"))
    }

    /// The client has sent something.
    pub fn take_input(&mut self, bytes: Bytes, arrival: u64) {
        self.retained.push(bytes, arrival);
    }

    /// The client sends nothing more.
    pub const fn end_input(&mut self) {
        self.ended = true;
    }

    /// Whether the worker has been told everything, and there will be nothing more.
    pub const fn is_over_for_worker(&self) -> bool {
        self.ended && self.is_told() && !self.is_for_worker()
    }

    const fn is_told(&self) -> bool {
        self.preamble.is_empty() && self.retained.is_told()
    }

    /// What to tell the worker.
    pub fn to_worker(&mut self) -> &mut dyn Buf {
        if self.preamble.is_empty() { &mut self.retained } else { &mut self.preamble }
    }

    /// What to send to the client.
    pub fn to_client(&mut self) -> &mut dyn Buf {
        &mut self.outgoing
    }

    /// Whether the worker is to be read.
    pub fn wants_frames(&self) -> bool {
        self.outgoing.remaining() < OUTGOING_BYTES_MAX
    }

    /// The worker has sent a whole frame.
    ///
    /// # Errors
    /// When no worker sends that; nothing has changed then.
    pub fn take_frame(&mut self, frame: Frame) -> Result<(), Fault> {
        let expected = match frame.kind {
            Kind::Handshake => self.pass.is_none() && frame.settles.is_empty(),
            Kind::Established => self.pass.is_none(),
            Kind::Reply => self.pass.is_some() && self.lends == self.is_lent(),
            Kind::Heard | Kind::Past => self.is_lent(),
            Kind::Given => self.lent.is_some_and(|lent| lent.given == 0),
        };
        if !expected {
            return Err(Fault::OutOfOrder(frame.kind));
        }
        match frame.kind {
            Kind::Handshake | Kind::Established | Kind::Reply => self.take_answer(frame),
            Kind::Past => Ok(self.retained.pass_over(frame.settles)?),
            Kind::Heard if !self.retained.has_room() => Err(Fault::TooMuch),
            Kind::Heard => {
                self.retained.push_heard(frame.bytes, frame.settles.start);
                Ok(())
            }
            Kind::Given => {
                self.lent.iter_mut().for_each(|lent| lent.given = frame.settles.start);
                Ok(())
            }
        }
    }

    fn take_answer(&mut self, frame: Frame) -> Result<(), Fault> {
        if frame.kind != Kind::Reply || !self.forgets_answers {
            self.retained.settle(frame.settles)?;
        }
        if frame.kind == Kind::Established {
            self.pass = Some(frame.pass);
        }
        self.answered |= !frame.bytes.is_empty();
        self.outgoing.push(frame.bytes);
        Ok(())
    }

    /// The worker has gone, and everything that it sent has been taken.
    pub fn part(&mut self) -> Next {
        if self.pass.is_none() && self.answered {
            return Next::Over(Lost::Handshake);
        }
        let (replay, arrivals) = self.retained.rewind();
        self.preamble = Bytes::new();
        let Some(pass) = self.pass.clone() else { return Next::Fresh };
        if self.incarnation == INCARNATION_MAX {
            return Next::Over(Lost::Incarnations);
        }
        self.incarnation += 1;
        self.preamble = arrivals.encode();
        Next::Resume(Resume { incarnation: self.incarnation, replay, pass })
    }
}

impl Talk {
    /// What another keeper needs to go on, once [`Self::part`] has told that a worker can.
    pub(crate) fn parts(&self) -> TalkParts {
        TalkParts {
            ended: self.ended,
            incarnation: self.incarnation,
            pass: self.pass.clone(),
            begun: self.retained.begun(),
            pieces: self.retained.pieces().collect(),
            outgoing: self.outgoing.clone().copy_to_bytes(self.outgoing.remaining()),
        }
    }
}

/// As another keeper has left it; it [parts](Talk::part) again before a worker gets it.
impl From<TalkParts> for Talk {
    fn from(parts: TalkParts) -> Self {
        let mut outgoing = Outgoing::default();
        outgoing.push(parts.outgoing);
        Self {
            retained: Retained::begun_until(parts.begun, parts.pieces),
            ended: parts.ended,
            outgoing,
            answered: parts.pass.is_some(),
            pass: parts.pass,
            incarnation: parts.incarnation,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests;

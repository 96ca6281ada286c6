//! The data of one write on its way in: what comes unasked, what R2Ts ask for, and what of it the
//! command takes (RFC 7143 sections 4.2.4.2 and 11.7).
//!
//! ```text
//!   0 ............ solicited_from ........................... wanted ......... expected
//!   |  unsolicited  |  burst 0  |  burst 1  |  ...  | the last |  never asked for  |
//!                                  received ^
//! ```
//!
//! All data comes in ascending order: that is negotiated.

use bytes::{Bytes, BytesMut};

use crate::numbers::Ttt;
use crate::parts::Pieces;
use crate::pdu::DataOut;
use crate::session::event::Delivery;
use crate::session::fault::Fault;

/// Pieces below this many bytes are copied together: each keeps the memory that it was received in,
/// which for a small one is many times its length.
const LONE_PIECE_BYTES_MIN: usize = 1024;
/// The bits of a transfer tag that are counted: the other eight are the task's place.
const TAG_MASK: u32 = 0xff_ffff;

#[derive(Debug)]
pub(super) struct Inflow {
    /// What the initiator has for the command, in bytes.
    expected: u32,
    /// How much of that may come unasked, in bytes.
    unsolicited_max: u32,
    /// Whether more may come unasked.
    open: bool,
    received: u32,
    /// The next piece's number in its sequence.
    data_sn: u32,
    wanted: Option<Wanted>,
    gathered: Gathered,
    /// Data of one R2T, in bytes.
    burst: u32,
    /// Where the first R2T begins.
    solicited_from: u32,
    r2ts_sent: u32,
    r2ts_done: u32,
    /// The number in the transfer tag of the first R2T.
    first_tag: u32,
}

/// What the command takes.
#[derive(Debug)]
struct Wanted {
    length: u32,
    delivery: Delivery,
    /// How much the caller has.
    delivered: u32,
    complete: bool,
}

/// Data for the caller.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Portion {
    pub(super) offset: u32,
    pub(super) data: Pieces,
    pub(super) last: bool,
}

/// An R2T that may be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Burst {
    pub(super) number: u32,
    pub(super) tag: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
}

impl Inflow {
    /// For a command with `expected` bytes of data, of which up to `unsolicited_max` may come
    /// unasked: more than the command carries itself only where it is `open`. `burst` is what one R2T
    /// may ask for, at least 1.
    pub(super) fn new(expected: u32, unsolicited_max: u32, open: bool, burst: u32) -> Self {
        Self {
            expected,
            unsolicited_max: unsolicited_max.min(expected),
            open,
            received: 0,
            data_sn: 0,
            wanted: None,
            gathered: Gathered::default(),
            burst,
            solicited_from: 0,
            r2ts_sent: 0,
            r2ts_done: 0,
            first_tag: 0,
        }
    }

    pub(super) const fn expected(&self) -> u32 {
        self.expected
    }

    pub(super) const fn received(&self) -> u32 {
        self.received
    }

    /// Whether data is under way that the initiator was asked for or promised to send.
    pub(super) const fn is_awaited(&self) -> bool {
        self.open || self.r2ts_sent > self.r2ts_done
    }

    /// Whether the caller waits for data.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| !wanted.complete)
    }

    /// What the command carries itself.
    pub(super) fn begin(&mut self, data: Bytes) {
        self.store(data);
    }

    /// Data that nobody asked for.
    pub(super) fn unsolicited(&mut self, piece: &DataOut, data: Bytes) -> Result<(), Fault> {
        if !self.open {
            return Err(Fault::UnexpectedData(piece.itt));
        }
        self.check(piece, &data, self.unsolicited_max)?;
        self.store(data);
        if piece.last {
            self.open = false;
            self.data_sn = 0;
        }
        Ok(())
    }

    /// Data that an R2T asked for; `tag` is the number in its transfer tag.
    pub(super) fn solicited(
        &mut self,
        piece: &DataOut,
        tag: u32,
        data: Bytes,
    ) -> Result<(), Fault> {
        if self.r2ts_done == self.r2ts_sent || tag != self.tag(self.r2ts_done) {
            return Err(Fault::UnexpectedData(piece.itt));
        }
        let end = self.burst_end(self.r2ts_done);
        self.check(piece, &data, end)?;
        self.store(data);
        if self.received == end {
            self.r2ts_done += 1;
            self.data_sn = 0;
        } else if piece.last {
            return Err(Fault::MissingData(piece.itt));
        }
        Ok(())
    }

    /// Data that nobody wants any more: only the ends of sequences count.
    pub(super) fn skip(&mut self, piece: &DataOut) {
        self.gathered = Gathered::default();
        if !piece.last {
            return;
        }
        if piece.ttt == Ttt::NONE {
            self.open = false;
        } else if self.r2ts_done < self.r2ts_sent {
            self.r2ts_done += 1;
        }
    }

    /// The command takes the first `length` bytes, or what the initiator has where that is less.
    pub(super) fn take(&mut self, length: u32, delivery: Delivery) {
        assert!(self.wanted.is_none(), "a command takes its data once");
        let length = length.min(self.expected);
        self.gathered.truncate(length as usize);
        self.wanted = Some(Wanted { length, delivery, delivered: 0, complete: false });
    }

    /// Data for the caller, where it is time for some.
    pub(super) fn portion(&mut self) -> Option<Portion> {
        let wanted = self.wanted.as_mut().filter(|wanted| !wanted.complete)?;
        let arrived = self.received.min(wanted.length);
        let last = arrived == wanted.length;
        if !last && (wanted.delivery == Delivery::Whole || arrived == wanted.delivered) {
            return None;
        }
        let portion = Portion { offset: wanted.delivered, data: self.gathered.take(), last };
        wanted.delivered = arrived;
        wanted.complete = last;
        Some(portion)
    }

    /// How much R2Ts have to ask for altogether, in bytes; 0 as long as that is not known.
    pub(super) fn to_solicit(&self) -> u32 {
        match &self.wanted {
            Some(wanted) if !self.open => wanted.length.saturating_sub(self.received),
            _ => 0,
        }
    }

    /// R2Ts may be sent from now on, with tags from the number on. Says how many there will be.
    pub(super) fn begin_soliciting(&mut self, first_tag: u32) -> u32 {
        self.solicited_from = self.received;
        self.first_tag = first_tag;
        self.to_solicit().div_ceil(self.burst)
    }

    /// The next R2T, where fewer than `outstanding_max` are under way.
    pub(super) fn next_burst(&mut self, outstanding_max: u16) -> Option<Burst> {
        let wanted = self.wanted.as_ref()?.length;
        let number = self.r2ts_sent;
        let offset = u64::from(number) * u64::from(self.burst) + u64::from(self.solicited_from);
        let offset = u32::try_from(offset).ok().filter(|offset| *offset < wanted)?;
        if number - self.r2ts_done >= u32::from(outstanding_max) {
            return None;
        }
        self.r2ts_sent += 1;
        let length = self.burst.min(wanted - offset);
        Some(Burst { number, tag: self.tag(number), offset, length })
    }

    /// How many R2Ts there were.
    pub(super) const fn r2ts_sent(&self) -> u32 {
        self.r2ts_sent
    }

    const fn tag(&self, number: u32) -> u32 {
        self.first_tag.wrapping_add(number) & TAG_MASK
    }

    /// Where the data of an R2T ends.
    fn burst_end(&self, number: u32) -> u32 {
        let end = (u64::from(number) + 1) * u64::from(self.burst) + u64::from(self.solicited_from);
        let wanted = self.wanted.as_ref().map_or(self.expected, |wanted| wanted.length);
        u32::try_from(end).map_or(wanted, |end| end.min(wanted))
    }

    /// Whether the piece is the next one and ends within the limit.
    fn check(&mut self, piece: &DataOut, data: &Bytes, limit: u32) -> Result<(), Fault> {
        if piece.data_sn != self.data_sn || piece.offset != self.received {
            return Err(Fault::DataOutOfOrder(piece.itt));
        }
        if data.len() > (limit - self.received) as usize {
            return Err(Fault::TooMuchData(piece.itt));
        }
        self.data_sn = self.data_sn.wrapping_add(1);
        Ok(())
    }

    /// Keeps what the command takes of the data.
    fn store(&mut self, mut data: Bytes) {
        let length = data.len() as u32;
        if let Some(wanted) = &self.wanted {
            data.truncate(wanted.length.saturating_sub(self.received) as usize);
        }
        self.received += length;
        self.gathered.push(data);
    }
}

/// Data that has come and that the caller does not have.
#[derive(Debug, Default)]
struct Gathered {
    pieces: Pieces,
    /// Small pieces, copied together.
    small: BytesMut,
}

impl Gathered {
    fn push(&mut self, piece: Bytes) {
        let is_first = self.pieces.is_empty() && self.small.is_empty();
        if is_first || piece.len() >= LONE_PIECE_BYTES_MIN {
            self.join_small();
            self.pieces.push(piece);
        } else {
            self.small.extend_from_slice(&piece);
        }
    }

    fn take(&mut self) -> Pieces {
        self.join_small();
        std::mem::take(&mut self.pieces)
    }

    fn truncate(&mut self, length: usize) {
        let mut left = length;
        for piece in self.take().iter() {
            let kept = piece.len().min(left);
            left -= kept;
            self.pieces.push(piece.slice(..kept));
        }
    }

    fn join_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(std::mem::take(&mut self.small).freeze());
        }
    }
}

#[cfg(test)]
mod tests;

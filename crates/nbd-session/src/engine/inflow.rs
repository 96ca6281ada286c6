//! Long writes that the device takes in pieces, while they come: it writes one piece while the next is
//! received, and nobody holds the whole.

use std::task::Context;

use blockferry_device::{Answer, Inflow, PieceSink};
use blockferry_nbd_wire::{RequestHeader, admit_ahead};

use super::Engine;
use crate::kept::Origin;
use crate::parked::Parked;

/// Shortest payload that goes in pieces, in bytes.
const LONG: u64 = 512 << 10;

/// Length of a piece in bytes: short enough to stay in a processor's cache on its way, long enough that
/// handing it on costs little.
const PIECE: usize = 256 << 10;

/// What such a write holds in memory at most, in bytes, for the bound on all of them.
const HELD: u64 = 2 << 20;

/// A write whose data is coming.
pub(super) struct Inflowing {
    header: RequestHeader,
    sink: Box<dyn PieceSink>,
    answer: Answer,
    /// Bytes that have not been handed on.
    left: usize,
    /// Whether the device has taken all that came; only then is it the client who is waited for.
    keeps_up: bool,
}

impl Inflowing {
    fn next(&self) -> usize {
        self.left.min(PIECE)
    }
}

impl Engine {
    /// Whether the request that has begun is a write which the device takes in pieces. What another
    /// process may have to begin again is kept whole.
    pub(super) fn begin_inflow(&mut self) -> bool {
        let Some(header) = self.decoder.begun().filter(|header| header.length >= LONG) else {
            return false;
        };
        if self.keeping.is_some() {
            return false;
        }
        let extent = admit_ahead(header, self.device.info(), &self.negotiated);
        let Some(Inflow { sink, answer }) = extent.and_then(|e| self.device.begin_write(e)) else {
            return false;
        };
        let Some(header) = self.decoder.hand_over() else { return false };
        // Its payload is no longer than the largest, which was checked.
        let left = usize::try_from(header.length).unwrap_or(usize::MAX);
        self.charged += HELD;
        self.inflow = Some(Inflowing { header, sink, answer, left, keeps_up: true });
        true
    }

    /// Hands on what has come of the write that is coming; true when there is none, or none any more.
    pub(super) fn hand_on(&mut self, cx: &mut Context<'_>) -> bool {
        while let Some(inflow) = &mut self.inflow {
            let next = inflow.next();
            inflow.keeps_up = true;
            if next == 0 {
                break;
            }
            if self.inbox.len() < next {
                return false;
            }
            if inflow.sink.poll_ready(cx).is_pending() {
                inflow.keeps_up = false;
                return false;
            }
            inflow.sink.push(self.inbox.split_to(next).freeze());
            inflow.left -= next;
        }
        self.end_inflow(cx);
        true
    }

    /// The write's answer is waited for like others. Not before its data is there: a client may not
    /// look for answers while it sends.
    fn end_inflow(&mut self, cx: &mut Context<'_>) {
        let Some(Inflowing { header, sink, answer, .. }) = self.inflow.take() else { return };
        drop(sink);
        self.deadline.disarm();
        self.charged -= HELD;
        self.begin(Parked { header, charge: HELD, origin: Origin::default(), answer }, cx);
    }

    /// No more of it comes; the device learns that from the sink. Nobody is told what became of it: a
    /// request that has not come whole has no answer.
    pub(super) fn cut_inflow(&mut self) {
        if let Some(Inflowing { answer, .. }) = self.inflow.take() {
            self.charged -= HELD;
            self.cut_short = Some(answer);
        }
    }

    /// How many bytes the write that is coming wants to have received, or `None` without one.
    pub(super) fn inflow_wants(&self) -> Option<usize> {
        self.inflow.as_ref().map(|inflow| inflow.next().saturating_sub(self.inbox.len()))
    }

    /// Whether the client is waited for in the middle of such a write.
    pub(super) fn inflow_waits(&self) -> bool {
        self.inflow.as_ref().is_some_and(|inflow| inflow.keeps_up)
    }
}

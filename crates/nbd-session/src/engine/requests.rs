//! The way of a request through the engine: taken, begun, answered.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use blockferry_device::{Errno, Failure, PAYLOAD_MAX, Reply, Request};
use blockferry_nbd_wire::{
    Admitted, RequestError, RequestFrame, RequestHeader, admit, encode_reply,
};
use futures_util::stream::StreamExt;

use super::{Engine, Reading, SessionEnd};
use crate::kept::{Keeping, Origin, Progress};
use crate::parked::{Answered, Parked, charge};
use crate::replay::Replaying;

impl Engine {
    /// Begins every request that is there whole, as long as there is room for its answer.
    pub(super) fn take_requests(&mut self, cx: &mut Context<'_>) {
        loop {
            self.take_up_held_back(cx);
            if !self.hand_on(cx) {
                return;
            }
            if !matches!(self.reading, Reading::Open) || !self.may_take() {
                return;
            }
            match self.decoder.decode(&mut self.inbox) {
                Ok(None) if self.end_replay(Replaying::has_come) => {}
                Ok(None) if self.begin_inflow() => {}
                Ok(None) => return,
                Ok(Some(frame)) => {
                    self.deadline.disarm();
                    self.awake.took();
                    self.take_request(frame, cx);
                    self.end_replay(Replaying::is_over);
                }
                Err(error) => self.refuse_stream(error),
            }
        }
    }

    fn may_take(&self) -> bool {
        self.replaying.is_some() || self.has_room() && self.held_back.is_empty()
    }

    /// Ends the replay if it is over; tells whether it has.
    fn end_replay(&mut self, is_over: impl Fn(&Replaying, Progress) -> bool) -> bool {
        let Some(progress) = self.keeping.as_ref().map(Keeping::progress) else { return false };
        self.replaying.take_if(|replaying| is_over(replaying, progress)).is_some()
    }

    fn take_request(&mut self, frame: RequestFrame, cx: &mut Context<'_>) {
        let header = frame.header;
        let origin = self.keeping.as_mut().map(|keeping| keeping.take(&self.inbox));
        let origin = origin.unwrap_or_default();
        let arrival = self.replaying.as_mut().map(|replaying| replaying.take(origin.end()));
        match admit(frame, self.device.info(), &self.negotiated) {
            Ok(Admitted::Call(request)) => self.call((header, origin), request, arrival, cx),
            Ok(Admitted::Nothing) => self.answer(&header, origin, Ok(Reply::Done)),
            Ok(Admitted::Disconnect) => self.stop(SessionEnd::Disconnected),
            Err(failure) => self.answer(&header, origin, Err(failure)),
        }
    }

    /// Asks the device; an answer that is ready at once costs no parking.
    fn call(
        &mut self,
        (header, mut origin): (RequestHeader, Origin),
        request: Request,
        arrival: Option<u64>,
        cx: &mut Context<'_>,
    ) {
        let (charge, is_write) = (charge(&request), request.is_write());
        let answer = match &self.keeping {
            None => self.device.call(request),
            Some(keeping) => {
                let (answer, hold) = keeping.call(&self.device, request, arrival);
                origin.hold = hold;
                answer
            }
        };
        let begun = Parked { header, charge, origin, answer };
        if arrival.is_some() && !is_write {
            self.held_back.push_back(begun);
        } else {
            self.begin(begun, cx);
        }
    }

    pub(super) fn begin(&mut self, mut begun: Parked, cx: &mut Context<'_>) {
        match Pin::new(&mut begun).poll(cx) {
            Poll::Ready(Answered { header, origin, outcome, .. }) => {
                self.answer(&header, origin, outcome);
            }
            Poll::Pending => {
                self.charged += begun.charge;
                self.parked.push(begun);
            }
        }
    }

    fn take_up_held_back(&mut self, cx: &mut Context<'_>) {
        while self.replaying.is_none() && self.has_room() {
            let Some(first) = self.held_back.pop_front() else { return };
            self.begin(first, cx);
        }
    }

    pub(super) fn take_answers(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(answered)) = self.parked.poll_next_unpin(cx) {
            let Answered { header, charge, origin, outcome } = answered;
            self.charged -= charge;
            self.answer(&header, origin, outcome);
        }
    }

    fn answer(&mut self, header: &RequestHeader, from: Origin, outcome: Result<Reply, Failure>) {
        self.awake.answered();
        let (outbox, negotiated) = (&mut self.outbox, &self.negotiated);
        match &mut self.keeping {
            None => encode_reply(outbox, negotiated, header, outcome),
            Some(keeping) => keeping.answer(outbox, negotiated, (header, from), outcome),
        }
    }

    /// The stream cannot be read on. A payload that is too large is answered first.
    fn refuse_stream(&mut self, error: RequestError) {
        if let RequestError::PayloadTooLarge(header) = error {
            let origin = self.keeping.as_mut().map(|keeping| keeping.take(&self.inbox));
            let failure = Failure::new(Errno::Inval, error.to_string());
            self.answer(&header, origin.unwrap_or_default(), Err(failure));
        }
        self.stop(SessionEnd::Protocol(error));
    }

    /// Whether one more request of the largest kind may be begun.
    pub(super) fn has_room(&self) -> bool {
        let held = self.charged + self.waiting_bytes();
        let limits = &self.limits;
        let whole_server_full =
            limits.buffered_total.bytes() > limits.buffered_bytes_total_max && held > 0;
        // What has not left may have to be begun again by another, which bounds that, too.
        let leaving = self.keeping.as_ref().map_or(0, Keeping::leaving);
        self.parked.len() + leaving < limits.in_flight_max
            && held <= limits.buffered_bytes_max.saturating_sub(u64::from(PAYLOAD_MAX))
            && !whole_server_full
    }
}

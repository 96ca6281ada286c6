//! Texts in full feature phase: which targets there are (RFC 7143 sections 11.10, 11.11 and appendix
//! C).

use super::{Event, QueryId, Session, TargetEntry, TargetQuery};
use crate::frame::Pdu;
use crate::limits::TARGETS_MAX;
use crate::lun::Lun;
use crate::name::IscsiName;
use crate::negotiation::{NOT_UNDERSTOOD, REJECT, segment};
use crate::numbers::{Itt, Ttt};
use crate::pdu::{RejectReason, TextRequest, TextResponse};
use crate::text::{self, Gathered};

/// A request and its answer, which may take several PDUs. There is one at a time: a new one takes the
/// place of the one before.
#[derive(Debug)]
pub(super) struct Exchange {
    id: QueryId,
    itt: Itt,
    /// The tag by which the initiator goes on.
    ttt: Ttt,
    gathered: Gathered,
    answer: Vec<u8>,
    /// How much of the answer was sent.
    sent: usize,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The request is not there whole.
    Gathering,
    /// The caller was asked. `last`: the initiator has nothing more to say.
    Asked { last: bool },
    /// The answer is on its way.
    Answering { last: bool },
}

/// What a text asks for.
enum Wish {
    Nothing,
    Targets(TargetQuery),
}

impl Session {
    /// Answers [`Event::SendTargets`], with at most [`TARGETS_MAX`] targets. An answer to a question
    /// that the initiator has given up is dropped.
    pub fn tell_targets(&mut self, id: QueryId, targets: &[TargetEntry]) {
        let Some(exchange) = &mut self.exchange else { return };
        let Step::Asked { last } = exchange.step else { return };
        if exchange.id != id {
            return;
        }
        for target in &targets[..targets.len().min(TARGETS_MAX)] {
            text::put(&mut exchange.answer, "TargetName", target.name.as_str());
            for (address, group) in &target.portals {
                text::put(&mut exchange.answer, "TargetAddress", address.in_group(*group));
            }
        }
        exchange.step = Step::Answering { last };
        self.send_text();
    }

    pub(super) fn text_request(&mut self, pdu: &Pdu) {
        let request = TextRequest::decode(&pdu.header);
        if let Err(reason) = self.take_text(&request, pdu) {
            self.exchange = None;
            self.reject(reason, &pdu.header);
        }
    }

    fn take_text(&mut self, request: &TextRequest, pdu: &Pdu) -> Result<(), RejectReason> {
        if request.itt == Itt::NONE || request.continued && request.last {
            return Err(RejectReason::INVALID_FIELD);
        }
        if request.ttt == Ttt::NONE {
            let ttt = self.new_ttt();
            self.exchange = Some(Exchange::new(request.itt, ttt));
        }
        let exchange = self.exchange.as_mut().ok_or(RejectReason::PROTOCOL_ERROR)?;
        let goes_on = request.ttt == Ttt::NONE || request.ttt == exchange.ttt;
        if !goes_on || request.itt != exchange.itt || matches!(exchange.step, Step::Asked { .. }) {
            return Err(RejectReason::PROTOCOL_ERROR);
        }
        if exchange.has_more() {
            self.send_text();
            return Ok(());
        }
        exchange.gathered.add(&pdu.data).map_err(|_| RejectReason::INVALID_FIELD)?;
        exchange.step = Step::Answering { last: request.last };
        if request.continued {
            exchange.step = Step::Gathering;
            self.send_text();
            return Ok(());
        }
        let whole = exchange.gathered.take();
        self.answer_text(&whole, request.last)
    }

    fn answer_text(&mut self, text: &[u8], last: bool) -> Result<(), RejectReason> {
        let pairs = text::parse(text).map_err(|_| RejectReason::INVALID_FIELD)?;
        let mut answer = Vec::new();
        let wish = self.answer_pairs(&pairs, &mut answer)?;
        let exchange = self.exchange.as_mut().expect("it was just used");
        exchange.answer = answer;
        exchange.sent = 0;
        match wish {
            Wish::Nothing => self.send_text(),
            Wish::Targets(query) => {
                exchange.step = Step::Asked { last };
                self.events.push_back(Event::SendTargets { id: exchange.id, query });
            }
        }
        Ok(())
    }

    /// What the pairs ask for, and answers to those that can be answered here.
    ///
    /// A key that is neither known nor an extension is rejected with the whole request, as other
    /// targets do: initiators understand that better than `NotUnderstood` in an answer to
    /// `SendTargets`.
    fn answer_pairs(
        &mut self,
        pairs: &[(&str, &str)],
        answer: &mut Vec<u8>,
    ) -> Result<Wish, RejectReason> {
        let mut wish = Wish::Nothing;
        for (key, value) in pairs {
            match *key {
                "SendTargets" => wish = Wish::Targets(self.query(value)?),
                "MaxRecvDataSegmentLength" => match segment(value) {
                    Some(length) => self.parameters.initiator_segment_max = length,
                    None => text::put(answer, key, REJECT),
                },
                extension if extension.starts_with("X-") || extension.starts_with("X#") => {
                    text::put(answer, key, NOT_UNDERSTOOD);
                }
                _ => return Err(RejectReason::INVALID_FIELD),
            }
        }
        Ok(wish)
    }

    /// Which targets the value of `SendTargets` means. In a normal session they are none but its own,
    /// even where the initiator asks for all: it may not, but some do.
    fn query(&self, value: &str) -> Result<TargetQuery, RejectReason> {
        let named = IscsiName::parse(value).ok();
        match (&self.key.target, value, named) {
            (Some(own), "" | "All", _) => Ok(TargetQuery::One(own.clone())),
            (Some(own), _, Some(named)) if named == *own => Ok(TargetQuery::One(named)),
            (None, "All", _) => Ok(TargetQuery::All),
            (None, _, Some(named)) => Ok(TargetQuery::One(named)),
            _ => Err(RejectReason::INVALID_FIELD),
        }
    }

    /// Sends the next part of the answer, empty where there is none.
    fn send_text(&mut self) {
        let Some(exchange) = &mut self.exchange else { return };
        let left = exchange.answer.len() - exchange.sent;
        let length = left.min(self.parameters.initiator_segment_max as usize);
        let part = exchange.sent..exchange.sent + length;
        exchange.sent += length;
        let continued = exchange.has_more();
        let last = !continued && exchange.step == Step::Answering { last: true };
        let response = TextResponse {
            last,
            continued,
            lun: Lun(0),
            itt: exchange.itt,
            ttt: if last { Ttt::NONE } else { exchange.ttt },
            sequence: self.window.status(),
        };
        self.output.put_pdu(response.encode(), &[], &exchange.answer[part]);
        if last {
            self.exchange = None;
        }
    }
}

impl Exchange {
    fn new(itt: Itt, ttt: Ttt) -> Self {
        Self {
            id: QueryId(ttt.0),
            itt,
            ttt,
            gathered: Gathered::default(),
            answer: Vec::new(),
            sent: 0,
            step: Step::Gathering,
        }
    }

    /// Whether there is more of the answer than was sent.
    fn has_more(&self) -> bool {
        matches!(self.step, Step::Answering { .. }) && self.sent < self.answer.len()
    }
}

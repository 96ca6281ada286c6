//! Content that flows: handed on while it comes, sent while it comes.

use std::mem;
use std::task::{Context, Poll};

use blockferry_block::Extent;
use blockferry_device::Request;
use blockferry_nbd_wire::{Cookie, ReplyError, encode_write_ahead};
use bytes::Buf;

use super::{Driver, OUTBOX_BYTES_MAX};
use crate::calls::Flowing;
use crate::flow::{Flow, FlowSender};
use crate::link::LinkEnd;

/// Bytes of the offset before a data chunk's content.
const OFFSET_BYTES: usize = 8;

/// Content that is coming, and whose it is.
pub(super) struct Inflow {
    key: u64,
    sender: FlowSender,
}

impl Driver {
    /// Whether the reply that has begun is handed on while it comes.
    pub(super) fn begin_inflow(&mut self) -> Result<bool, ReplyError> {
        let Some(header) = self.decoder.begun() else { return Ok(false) };
        let key = header.cookie().0;
        let Some(found) = self.waiting.get_mut(key) else { return Ok(false) };
        let flows = matches!(found.flowing, Flowing::Answer(_)) && found.assembler.is_all(header);
        if !flows || self.inbox.len() < OFFSET_BYTES {
            return Ok(false);
        }
        found.assembler.check_offset(self.inbox.get_u64())?;
        let length = found.assembler.asked().len();
        self.decoder.hand_over();
        let (sender, flow) = Flow::channel(length);
        if let Flowing::Answer(told) = mem::take(&mut found.flowing) {
            // Nobody may want it any more; then it is received all the same.
            let _ = told.send(flow);
        }
        self.inflow = Some(Inflow { key, sender });
        Ok(true)
    }

    /// Hands on what has come of the content that is coming; true when there is none, or none any more.
    pub(super) fn hand_on(&mut self) -> bool {
        while let Some(inflow) = &mut self.inflow {
            let next = inflow.sender.next();
            if next == 0 {
                self.waiting.remove(inflow.key);
                self.inflow = None;
                break;
            }
            if self.inbox.len() < next {
                return false;
            }
            inflow.sender.send(self.inbox.split_to(next).freeze());
        }
        true
    }

    /// How many bytes are known to follow those that have come.
    pub(super) fn missing(&self) -> usize {
        match &self.inflow {
            Some(inflow) => inflow.sender.next().saturating_sub(self.inbox.len()),
            None => self.decoder.missing(&self.inbox),
        }
    }

    /// Sends the header of a write whose payload flows.
    pub(super) fn begin_outflow(&mut self, cookie: Cookie, request: &Request, flow: Flow) {
        let start = request.extent().map_or(0, Extent::start);
        let extent = Extent::between(start, start + flow.length());
        let style = self.shared.joined.negotiated.style;
        encode_write_ahead(&mut self.outbox, style, cookie, extent);
        self.outflow = Some(flow);
    }

    /// Takes what has come of the payload that is being sent; true when that was its end.
    pub(super) fn send_flow(&mut self, cx: &mut Context<'_>) -> Result<bool, LinkEnd> {
        while let Some(flow) = &self.outflow
            && self.outbox.remaining() < OUTBOX_BYTES_MAX
        {
            match flow.poll_next(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Some(piece)) => self.outbox.put_payload(piece),
                Poll::Ready(None) if flow.broke_off() => return Err(LinkEnd::BrokeOff),
                Poll::Ready(None) => {
                    self.outflow = None;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

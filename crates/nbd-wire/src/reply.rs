//! Replies of the transmission phase as a server sends them.

use blockferry_block::Extent;
use blockferry_device::{Errno, Failure, ReadPart, Reply, Segment};
use blockferry_wire::Outbox;
use bytes::Bytes;

use crate::constants as c;
use crate::limits::{STATUS_DESCRIPTORS_MAX, STRING_BYTES_MAX};
use crate::request::{CommandFlags, Negotiated, RequestHeader, Style};
use crate::text;

/// Appends the whole reply to the request. A reply that does not answer the request (a device's
/// mistake) is sent as `EIO`.
pub fn encode_reply(
    out: &mut Outbox,
    negotiated: &Negotiated,
    request: &RequestHeader,
    outcome: Result<Reply, Failure>,
) {
    let writer = Writer { out, style: negotiated.style, request };
    match outcome.and_then(|reply| fitting(reply, request)) {
        Err(failure) => writer.failure(&failure),
        Ok(Reply::Done) => writer.done(),
        Ok(Reply::Read(parts)) => writer.read(parts),
        Ok(Reply::BlockStatus(segments)) => match negotiated.allocation_context {
            Some(context) => writer.block_status(context, &segments),
            None => writer.failure(&Failure::new(Errno::Inval, "no context was negotiated")),
        },
    }
}

/// The reply when it is of the request's kind and, for a read, of its length.
fn fitting(reply: Reply, request: &RequestHeader) -> Result<Reply, Failure> {
    let fits = match (&reply, request.command) {
        (Reply::Read(parts), c::CMD_READ) => {
            let length = parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.len()));
            length == Some(request.length)
        }
        (Reply::BlockStatus(segments), c::CMD_BLOCK_STATUS) => {
            segments.first().is_some_and(|segment| segment.length > 0)
        }
        (Reply::Done, c::CMD_READ) => request.length == 0,
        (Reply::Done, command) => command != c::CMD_BLOCK_STATUS,
        _ => false,
    };
    if fits {
        Ok(reply)
    } else {
        Err(Failure::new(Errno::Io, "the device's answer does not fit the request"))
    }
}

struct Writer<'a> {
    out: &'a mut Outbox,
    style: Style,
    request: &'a RequestHeader,
}

impl Writer<'_> {
    fn done(mut self) {
        match self.style {
            Style::Simple => self.simple(0),
            _ => self.chunk(c::REPLY_TYPE_NONE, true, 0),
        }
    }

    fn failure(mut self, failure: &Failure) {
        if self.style == Style::Simple {
            return self.simple(failure.errno.code());
        }
        let message = text::clip(&failure.message, STRING_BYTES_MAX).as_bytes();
        let message_length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        self.chunk(c::REPLY_TYPE_ERROR, true, 6 + u64::from(message_length));
        self.out.put(&failure.errno.code().to_be_bytes());
        self.out.put(&message_length.to_be_bytes());
        self.out.put(message);
    }

    fn read(mut self, parts: Vec<ReadPart>) {
        if self.style == Style::Simple {
            self.simple(0);
            return self.contents(parts);
        }
        if self.request.length == 0 {
            return self.done();
        }
        if self.request.flags.has(CommandFlags::DF) {
            self.chunk(c::REPLY_TYPE_OFFSET_DATA, true, 8 + self.request.length);
            self.out.put(&self.request.offset.to_be_bytes());
            return self.contents(parts);
        }
        self.chunks(parts);
    }

    /// The parts one behind the other, holes as zeroes.
    fn contents(self, parts: Vec<ReadPart>) {
        for part in parts {
            match part {
                ReadPart::Data(data) => self.out.put_payload(data),
                ReadPart::Hole(length) => self.out.put_zeroes(length),
            }
        }
    }

    /// A content chunk for each hole, and one for all data up to the next.
    fn chunks(&mut self, parts: Vec<ReadPart>) {
        let end = self.request.offset.saturating_add(self.request.length);
        let mut at = self.request.offset;
        let mut parts = parts.into_iter().filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            let offset = at;
            match part {
                ReadPart::Data(data) => {
                    let mut more: Vec<Bytes> = Vec::new();
                    while let Some(ReadPart::Data(next)) = parts.next_if(ReadPart::is_data) {
                        more.push(next);
                    }
                    let length = data.len() + more.iter().map(Bytes::len).sum::<usize>();
                    at = at.saturating_add(length as u64);
                    self.chunk(c::REPLY_TYPE_OFFSET_DATA, at == end, 8 + length as u64);
                    self.out.put(&offset.to_be_bytes());
                    self.out.put_payload(data);
                    more.into_iter().for_each(|data| self.out.put_payload(data));
                }
                ReadPart::Hole(length) => {
                    at = at.saturating_add(length);
                    self.chunk(c::REPLY_TYPE_OFFSET_HOLE, at == end, 12);
                    self.out.put(&offset.to_be_bytes());
                    // Reads are not longer than PAYLOAD_MAX, so neither is a hole in one.
                    let length = u32::try_from(length).unwrap_or(u32::MAX);
                    self.out.put(&length.to_be_bytes());
                }
            }
        }
    }

    fn block_status(mut self, context: u32, segments: &[Segment]) {
        let one = self.request.flags.has(CommandFlags::REQ_ONE);
        let limit = if one { 1 } else { STATUS_DESCRIPTORS_MAX };
        let inside = clip(segments, self.request, limit);
        let count = inside.clone().count();
        if self.style == Style::Extended {
            self.chunk(c::REPLY_TYPE_BLOCK_STATUS_EXT, true, 8 + 16 * count as u64);
            self.out.put(&context.to_be_bytes());
            self.out.put(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
            for (length, state) in inside {
                self.out.put(&length.to_be_bytes());
                self.out.put(&state.to_be_bytes());
            }
        } else {
            self.chunk(c::REPLY_TYPE_BLOCK_STATUS, true, 4 + 8 * count as u64);
            self.out.put(&context.to_be_bytes());
            for (length, state) in inside {
                // Clipped to the request, whose length has 32 bits in this framing.
                let length = u32::try_from(length).unwrap_or(u32::MAX);
                self.out.put(&length.to_be_bytes());
                self.out.put(&u32::try_from(state).unwrap_or_default().to_be_bytes());
            }
        }
    }

    fn simple(&mut self, error: u32) {
        self.out.put(&c::SIMPLE_REPLY_MAGIC.to_be_bytes());
        self.out.put(&error.to_be_bytes());
        self.out.put(&self.request.cookie.0.to_be_bytes());
    }

    fn chunk(&mut self, kind: u16, done: bool, length: u64) {
        let extended = self.style == Style::Extended;
        let magic = if extended { c::EXTENDED_REPLY_MAGIC } else { c::STRUCTURED_REPLY_MAGIC };
        let flags = if done { c::REPLY_FLAG_DONE } else { 0 };
        self.out.put(&magic.to_be_bytes());
        self.out.put(&flags.to_be_bytes());
        self.out.put(&kind.to_be_bytes());
        self.out.put(&self.request.cookie.0.to_be_bytes());
        if extended {
            self.out.put(&self.request.offset.to_be_bytes());
            self.out.put(&length.to_be_bytes());
        } else {
            // A payload is at most PAYLOAD_MAX, or 2^20 descriptors, and some fixed fields.
            self.out.put(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}

/// The descriptors of the segments as far as they lie in the request, at most `limit`.
fn clip(
    segments: &[Segment],
    request: &RequestHeader,
    limit: usize,
) -> impl Iterator<Item = (u64, u64)> + Clone {
    let asked = Extent::between(0, request.length);
    let mut at = 0_u64;
    segments
        .iter()
        .map_while(move |segment| {
            let end = at.checked_add(segment.length)?;
            let inside = Extent::between(at, end).intersection(asked)?;
            at = end;
            let hole = if segment.state.hole { c::STATE_HOLE } else { 0 };
            let zero = if segment.state.zero { c::STATE_ZERO } else { 0 };
            Some((inside.len(), hole | zero))
        })
        .take(limit)
}

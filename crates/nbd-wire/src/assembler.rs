//! Puts the chunks of one reply together and distrusts every one of them.

mod error;
mod parts;
#[cfg(test)]
mod tests;

use blockferry_block::Extent;
use blockferry_device::{Errno, Failure, ReadPart, Reply, Request, Segment};
use blockferry_wire::{Fields, TooShort};
use bytes::{Buf, Bytes};

pub use error::ReplyError;
pub use parts::in_one_piece;
use parts::{read_descriptors, segments};

use crate::constants as c;
use crate::limits::{
    ERROR_CHUNK_BYTES_MAX, REPLY_CHUNKS_MAX, STATUS_DESCRIPTORS_MAX, STRING_BYTES_MAX,
};
use crate::reply_decoder::{ReplyFrame, ReplyHeader};
use crate::request::{Negotiated, Style};
use crate::text;

/// What one request waits for.
#[derive(Debug)]
pub struct Assembler {
    expects: Expects,
    asked: Extent,
    style: Style,
    chunks: u32,
    failure: Option<Failure>,
    /// Content in the order of its coming; usually ascending.
    contents: Vec<(u64, ReadPart)>,
    covered: u64,
    status: Option<Vec<Segment>>,
}

#[derive(Clone, Copy, Debug)]
enum Expects {
    Nothing,
    Content { whole: bool, dont_fragment: bool },
    Status { context: u32, one: bool },
}

impl Assembler {
    /// For a request that is being sent. `dont_fragment` tells whether the request carries that
    /// flag on the wire; a read that wants one piece gets it in any case.
    pub fn new(request: &Request, negotiated: &Negotiated, dont_fragment: bool) -> Self {
        let expects = match *request {
            Request::Read { dont_fragment: whole, .. } => Expects::Content { whole, dont_fragment },
            Request::BlockStatus { one, .. } => {
                // Without a context no chunk can match, and the request is refused before.
                Expects::Status { context: negotiated.allocation_context.unwrap_or_default(), one }
            }
            _ => Expects::Nothing,
        };
        Self {
            expects,
            asked: request.extent().unwrap_or(Extent::whole(0)),
            style: negotiated.style,
            chunks: 0,
            failure: None,
            contents: Vec::new(),
            covered: 0,
            status: None,
        }
    }

    /// Judges a header; tells how many bytes of payload follow it.
    ///
    /// # Errors
    /// When the reply cannot be an answer to the request.
    pub fn payload_length(&self, header: &ReplyHeader) -> Result<usize, ReplyError> {
        match *header {
            ReplyHeader::Simple { error, .. } => self.simple_length(error),
            ReplyHeader::Chunk { done, kind, offset, length, .. } => {
                if self.chunks >= REPLY_CHUNKS_MAX {
                    return Err(ReplyError::TooManyChunks);
                }
                if let Some(told) = offset.filter(|told| *told != self.asked.start()) {
                    return Err(ReplyError::WrongOffset { told, asked: self.asked.start() });
                }
                if !self.allows(kind, done, length)? {
                    return Err(ReplyError::BadLength { kind, length });
                }
                usize::try_from(length).map_err(|_| ReplyError::BadLength { kind, length })
            }
        }
    }

    /// Whether the chunk is the whole reply: all that was asked for, in one piece of data. The payload
    /// begins with the offset, in 64 bits.
    pub fn is_all(&self, header: &ReplyHeader) -> bool {
        let ReplyHeader::Chunk { done: true, kind: c::REPLY_TYPE_OFFSET_DATA, length, .. } =
            *header
        else {
            return false;
        };
        self.chunks == 0 && length.checked_sub(8) == Some(self.asked.len())
    }

    /// What was asked for.
    pub const fn asked(&self) -> Extent {
        self.asked
    }

    /// Judges the offset of a chunk that [`Assembler::is_all`].
    ///
    /// # Errors
    /// When it is not that of the request.
    pub fn check_offset(&self, offset: u64) -> Result<(), ReplyError> {
        let content = Extent::new(offset, self.asked.len())
            .map_err(|_| ReplyError::Malformed("its end does not fit into 64 bits"))?;
        match content == self.asked {
            true => Ok(()),
            false => Err(ReplyError::OutsideRequest { content, asked: self.asked }),
        }
    }

    fn simple_length(&self, error: u32) -> Result<usize, ReplyError> {
        let payload = match self.expects {
            Expects::Content { .. } if error == 0 => self.asked.len(),
            Expects::Status { .. } if error == 0 => return Err(ReplyError::UnexpectedSimple),
            _ => 0,
        };
        if payload > 0 && self.style != Style::Simple {
            return Err(ReplyError::UnexpectedSimple);
        }
        usize::try_from(payload).map_err(|_| ReplyError::UnexpectedSimple)
    }

    /// Whether a chunk of the kind may have the length; an error where the kind itself is wrong.
    fn allows(&self, kind: u16, done: bool, length: u64) -> Result<bool, ReplyError> {
        let extended = self.style == Style::Extended;
        let descriptors = |fixed: u64, each: u64| {
            let rest = length.checked_sub(fixed).filter(|rest| rest % each == 0);
            rest.is_some_and(|rest| (1..=STATUS_DESCRIPTORS_MAX as u64).contains(&(rest / each)))
        };
        let error = |fixed: u64| (fixed..=ERROR_CHUNK_BYTES_MAX).contains(&length);
        Ok(match (kind, self.expects) {
            (c::REPLY_TYPE_NONE, _) => done && length == 0,
            (c::REPLY_TYPE_OFFSET_DATA, Expects::Content { .. }) => {
                length >= 9 && length - 8 <= self.asked.len()
            }
            (c::REPLY_TYPE_OFFSET_HOLE, Expects::Content { .. }) => length == 12,
            (c::REPLY_TYPE_BLOCK_STATUS, Expects::Status { .. }) if !extended => descriptors(4, 8),
            (c::REPLY_TYPE_BLOCK_STATUS_EXT, Expects::Status { .. }) if extended => {
                descriptors(8, 16)
            }
            (c::REPLY_TYPE_ERROR_OFFSET, _) => error(14),
            (kind, _) if kind & c::REPLY_TYPE_FLAG_ERROR != 0 => error(6),
            _ => return Err(ReplyError::UnexpectedChunk(kind)),
        })
    }

    /// Takes a frame whose header was judged before; gives the answer when it is whole.
    ///
    /// # Errors
    /// When the server broke the protocol.
    pub fn take(
        &mut self,
        frame: ReplyFrame,
    ) -> Result<Option<Result<Reply, Failure>>, ReplyError> {
        let done = match frame.header {
            ReplyHeader::Simple { error, .. } => {
                self.take_simple(error, frame.payload);
                true
            }
            ReplyHeader::Chunk { done, kind, .. } => {
                self.chunks += 1;
                self.take_chunk(kind, frame.payload)?;
                done
            }
        };
        if done { self.finish().map(Some) } else { Ok(None) }
    }

    fn take_simple(&mut self, error: u32, payload: Bytes) {
        if error != 0 {
            self.failure = Some(Failure::new(Errno::from_code(error), ""));
        } else if !payload.is_empty() {
            self.covered = payload.len() as u64;
            self.contents.push((self.asked.start(), ReadPart::Data(payload)));
        }
    }

    fn take_chunk(&mut self, kind: u16, payload: Bytes) -> Result<(), ReplyError> {
        match kind {
            c::REPLY_TYPE_NONE => Ok(()),
            c::REPLY_TYPE_OFFSET_DATA => self.take_data(payload),
            c::REPLY_TYPE_OFFSET_HOLE => self.take_hole(&payload),
            c::REPLY_TYPE_BLOCK_STATUS | c::REPLY_TYPE_BLOCK_STATUS_EXT => {
                self.take_status(&payload)
            }
            _ => self.take_error(kind, &payload),
        }
    }

    fn take_data(&mut self, mut payload: Bytes) -> Result<(), ReplyError> {
        let offset = payload.try_get_u64().map_err(|_| TooShort)?;
        self.take_content(offset, ReadPart::Data(payload))
    }

    fn take_hole(&mut self, payload: &[u8]) -> Result<(), ReplyError> {
        let mut fields = Fields::new(payload);
        let offset = fields.u64()?;
        match fields.u32()? {
            0 => Err(ReplyError::Malformed("a hole of no bytes")),
            length => self.take_content(offset, ReadPart::Hole(u64::from(length))),
        }
    }

    fn take_content(&mut self, offset: u64, part: ReadPart) -> Result<(), ReplyError> {
        let content = Extent::new(offset, part.len())
            .map_err(|_| ReplyError::Malformed("its end does not fit into 64 bits"))?;
        if !self.asked.contains(content) {
            return Err(ReplyError::OutsideRequest { content, asked: self.asked });
        }
        let unfragmented = matches!(self.expects, Expects::Content { dont_fragment: true, .. });
        if unfragmented && !self.contents.is_empty() {
            return Err(ReplyError::Fragmented);
        }
        self.covered += content.len();
        if self.covered > self.asked.len() {
            return Err(ReplyError::Uneven(offset));
        }
        self.contents.push((offset, part));
        Ok(())
    }

    fn take_status(&mut self, payload: &[u8]) -> Result<(), ReplyError> {
        let Expects::Status { context, one } = self.expects else {
            return Err(ReplyError::Malformed("a status that was not asked for"));
        };
        let mut fields = Fields::new(payload);
        if fields.u32()? != context || self.status.is_some() {
            return Err(ReplyError::Malformed("a status of another context, or a second one"));
        }
        let descriptors = if self.style == Style::Extended {
            let count = u64::from(fields.u32()?);
            if count * 16 != fields.len() as u64 {
                return Err(ReplyError::Malformed("its count of descriptors is wrong"));
            }
            read_descriptors(fields, 16, |f| Ok((f.u64()?, f.u64()?)))?
        } else {
            read_descriptors(fields, 8, |f| Ok((u64::from(f.u32()?), u64::from(f.u32()?))))?
        };
        self.status = Some(segments(descriptors, self.asked, one)?);
        Ok(())
    }

    fn take_error(&mut self, kind: u16, payload: &[u8]) -> Result<(), ReplyError> {
        let mut fields = Fields::new(payload);
        let code = fields.u32()?;
        let length = usize::from(fields.u16()?);
        if code == 0 || length > STRING_BYTES_MAX {
            return Err(ReplyError::Malformed("an error of zero, or a text beyond its limit"));
        }
        let message = text::display(fields.bytes(length)?);
        if kind == c::REPLY_TYPE_ERROR_OFFSET {
            let offset = fields.u64()?;
            let place = Extent::between(offset, offset.saturating_add(1));
            if !self.asked.contains(place) {
                return Err(ReplyError::OutsideRequest { content: place, asked: self.asked });
            }
        }
        // The first error is the one that is told.
        self.failure.get_or_insert_with(|| Failure::new(Errno::from_code(code), message));
        Ok(())
    }

    fn finish(&mut self) -> Result<Result<Reply, Failure>, ReplyError> {
        if let Some(failure) = self.failure.take() {
            return Ok(Err(failure));
        }
        match self.expects {
            Expects::Nothing => Ok(Ok(Reply::Done)),
            Expects::Content { whole, .. } => {
                let parts = self.ordered_contents()?;
                Ok(Ok(Reply::Read(if whole { in_one_piece(parts) } else { parts })))
            }
            Expects::Status { .. } => {
                let segments = self.status.take().ok_or(ReplyError::NoStatus)?;
                Ok(Ok(Reply::BlockStatus(segments)))
            }
        }
    }

    /// The content in ascending order, once it is known to cover the request exactly.
    fn ordered_contents(&mut self) -> Result<Vec<ReadPart>, ReplyError> {
        let mut contents = std::mem::take(&mut self.contents);
        if !contents.is_sorted_by_key(|(offset, _)| *offset) {
            contents.sort_unstable_by_key(|(offset, _)| *offset);
        }
        let mut at = self.asked.start();
        for (offset, part) in &contents {
            if *offset != at {
                return Err(ReplyError::Uneven(*offset));
            }
            // Inside the request, so the end fits.
            at += part.len();
        }
        if at != self.asked.end() {
            return Err(ReplyError::Uneven(at));
        }
        Ok(contents.into_iter().map(|(_, part)| part).collect())
    }
}

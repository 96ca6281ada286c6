//! Puts the chunks of one reply together and distrusts every one of them.

use blockferry_block::Extent;
use blockferry_device::{Errno, Failure, ReadPart, Reply, Request, Segment, SegmentState};
use bytes::{Buf, Bytes, BytesMut};

use crate::constants as c;
use crate::fields::{Fields, TooShort};
use crate::limits::{
    ERROR_CHUNK_BYTES_MAX, REPLY_CHUNKS_MAX, STATUS_DESCRIPTORS_MAX, STRING_BYTES_MAX,
};
use crate::reply_decoder::{ReplyFrame, ReplyHeader};
use crate::request::{Cookie, Negotiated, Style};
use crate::text;

/// Why a server's stream of replies cannot go on: always the server's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The server has lost its place in the stream, or speaks another framing.
    #[error("expected the magic of a reply, got {0:#010x}")]
    Magic(u32),
    /// No request waits under the cookie.
    #[error("a reply names cookie {:#x}, under which no request waits", .0.0)]
    UnknownCookie(Cookie),
    /// A chunk of a kind that does not answer the request.
    #[error("a chunk of type {0} does not answer the request")]
    UnexpectedChunk(u16),
    /// A simple reply where the protocol demands chunks.
    #[error("a simple reply to a request that must be answered in chunks")]
    UnexpectedSimple,
    /// A length that the chunk's type does not allow, or beyond what was asked for.
    #[error("a chunk of type {kind} cannot have {length} bytes")]
    BadLength {
        /// The chunk's type.
        kind: u16,
        /// The announced length in bytes.
        length: u64,
    },
    /// An extended chunk with another offset than the request's.
    #[error("an extended chunk repeats offset {told}, the request has {asked}")]
    WrongOffset {
        /// The chunk's.
        told: u64,
        /// The request's.
        asked: u64,
    },
    /// More than [`REPLY_CHUNKS_MAX`] chunks.
    #[error("a reply has more than {REPLY_CHUNKS_MAX} chunks")]
    TooManyChunks,
    /// Content outside the request.
    #[error("content {content} lies outside the request {asked}")]
    OutsideRequest {
        /// What the chunk describes.
        content: Extent,
        /// What was asked for.
        asked: Extent,
    },
    /// Content that overlaps other content, or leaves gaps before success.
    #[error("the content of a reply overlaps or leaves gaps at {0}")]
    Uneven(u64),
    /// An unfragmented read answered in pieces.
    #[error("an unfragmented read was answered in pieces")]
    Fragmented,
    /// A chunk whose fields contradict each other.
    #[error("a chunk contradicts itself: {0}")]
    Malformed(&'static str),
    /// Success without the block status that was asked for.
    #[error("a block status request succeeded without a status")]
    NoStatus,
}

impl From<TooShort> for ReplyError {
    fn from(_: TooShort) -> Self {
        Self::Malformed("it ends early")
    }
}

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
    Content { in_one_piece: bool, dont_fragment: bool },
    Status { context: u32, one: bool },
}

impl Assembler {
    /// For a request that is being sent. `dont_fragment` tells whether the request carries that
    /// flag on the wire; a read that wants one piece gets it in any case.
    pub fn new(request: &Request, negotiated: &Negotiated, dont_fragment: bool) -> Self {
        let expects = match *request {
            Request::Read { dont_fragment: in_one_piece, .. } => {
                Expects::Content { in_one_piece, dont_fragment }
            }
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
            Expects::Content { in_one_piece, .. } => {
                let parts = self.ordered_contents()?;
                Ok(Ok(Reply::Read(if in_one_piece { in_one(parts) } else { parts })))
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

/// The parts as one piece of data. Not larger than the request.
fn in_one(mut parts: Vec<ReadPart>) -> Vec<ReadPart> {
    if parts.is_empty() || matches!(parts[..], [ReadPart::Data(_)]) {
        return parts;
    }
    let length: u64 = parts.iter().map(ReadPart::len).sum();
    let mut whole = BytesMut::with_capacity(usize::try_from(length).unwrap_or_default());
    for part in parts.drain(..) {
        match part {
            ReadPart::Data(data) => whole.extend_from_slice(&data),
            ReadPart::Hole(length) => {
                let end = whole.len() + usize::try_from(length).unwrap_or_default();
                whole.resize(end, 0);
            }
        }
    }
    vec![ReadPart::Data(whole.freeze())]
}

fn read_descriptors(
    mut fields: Fields<'_>,
    each: usize,
    read: impl Fn(&mut Fields<'_>) -> Result<(u64, u64), TooShort>,
) -> Result<Vec<(u64, u64)>, TooShort> {
    (0..fields.len() / each).map(|_| read(&mut fields)).collect()
}

/// The descriptors as segments, the last cut at the request's end.
fn segments(
    descriptors: Vec<(u64, u64)>,
    asked: Extent,
    one: bool,
) -> Result<Vec<Segment>, ReplyError> {
    let count = descriptors.len();
    if one && (count != 1 || descriptors[0].0 > asked.len()) {
        return Err(ReplyError::Malformed("more than the one descriptor asked for"));
    }
    let mut left = asked.len();
    let mut segments = Vec::with_capacity(count);
    for (length, state) in descriptors {
        if length == 0 || left == 0 {
            return Err(ReplyError::Malformed("a descriptor of nothing, or beyond the request"));
        }
        let length = length.min(left);
        left -= length;
        let hole = state & c::STATE_HOLE != 0;
        let zero = state & c::STATE_ZERO != 0;
        segments.push(Segment { length, state: SegmentState { hole, zero } });
    }
    Ok(segments)
}

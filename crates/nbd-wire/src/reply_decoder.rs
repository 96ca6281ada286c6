//! Takes replies out of a stream of bytes, as a client does.
//!
//! A header is judged by the request it answers before its payload is read, so a server can make a
//! client keep no more than it asked for.

use bytes::{Buf, Bytes, BytesMut};

use crate::assembler::{Assembler, ReplyError};
use crate::constants as c;
use crate::request::{Cookie, Style};

const SIMPLE_BYTES: usize = 16;
const STRUCTURED_BYTES: usize = 20;
const EXTENDED_BYTES: usize = 32;

/// The header of a simple reply, or of a chunk of a structured or extended one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyHeader {
    /// A simple reply.
    Simple {
        /// The request it answers.
        cookie: Cookie,
        /// Zero for success.
        error: u32,
    },
    /// A chunk.
    Chunk {
        /// Whether it is the reply's last.
        done: bool,
        /// Its type.
        kind: u16,
        /// The request it answers.
        cookie: Cookie,
        /// The request's offset; only extended chunks repeat it.
        offset: Option<u64>,
        /// Length of its payload in bytes.
        length: u64,
    },
}

/// A simple reply or a chunk, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyFrame {
    /// Its header.
    pub header: ReplyHeader,
    /// Its payload.
    pub payload: Bytes,
}

/// Takes replies out of a stream of bytes.
#[derive(Debug)]
pub struct ReplyDecoder {
    style: Style,
    /// A header whose payload, of so many bytes, has not come whole.
    begun: Option<(ReplyHeader, usize)>,
}

impl ReplyHeader {
    /// The request that it answers.
    pub const fn cookie(&self) -> Cookie {
        match *self {
            Self::Simple { cookie, .. } | Self::Chunk { cookie, .. } => cookie,
        }
    }
}

impl ReplyDecoder {
    /// For a stream that begins now.
    pub const fn new(style: Style) -> Self {
        Self { style, begun: None }
    }

    /// The next whole reply or chunk; `None` when more bytes are needed. `pending` finds what waits
    /// for an answer under a cookie.
    ///
    /// # Errors
    /// When the server broke the protocol; the connection has to be closed.
    pub fn decode<'a>(
        &mut self,
        input: &mut BytesMut,
        pending: impl FnOnce(Cookie) -> Option<&'a Assembler>,
    ) -> Result<Option<ReplyFrame>, ReplyError> {
        let (header, length) = match self.begun.take() {
            Some(begun) => begun,
            None => {
                let Some(header) = self.header(input)? else { return Ok(None) };
                let cookie = header.cookie();
                let waiting = pending(cookie).ok_or(ReplyError::UnknownCookie(cookie))?;
                (header, waiting.payload_length(&header)?)
            }
        };
        if input.len() < length {
            self.begun = Some((header, length));
            return Ok(None);
        }
        let payload = if length == 0 { Bytes::new() } else { input.split_to(length).freeze() };
        Ok(Some(ReplyFrame { header, payload }))
    }

    /// The header whose payload has not come whole; it was judged.
    pub fn begun(&self) -> Option<&ReplyHeader> {
        self.begun.as_ref().map(|(header, _)| header)
    }

    /// Leaves the payload that has begun to whoever asks: the stream goes on with its first byte, and
    /// the next header follows its last.
    pub fn hand_over(&mut self) -> Option<ReplyHeader> {
        self.begun.take().map(|(header, _)| header)
    }

    /// How many bytes are missing until the next frame, or its shortest header, is whole.
    pub fn missing(&self, input: &BytesMut) -> usize {
        let whole = match (&self.begun, self.style) {
            (Some((_, length)), _) => *length,
            (None, Style::Extended) => EXTENDED_BYTES,
            (None, Style::Simple | Style::Structured) => SIMPLE_BYTES,
        };
        whole.saturating_sub(input.len())
    }

    fn header(&self, input: &mut BytesMut) -> Result<Option<ReplyHeader>, ReplyError> {
        let Some(magic) = input.first_chunk::<4>().copied().map(u32::from_be_bytes) else {
            return Ok(None);
        };
        let length = match (magic, self.style) {
            (c::SIMPLE_REPLY_MAGIC, Style::Simple | Style::Structured) => SIMPLE_BYTES,
            (c::STRUCTURED_REPLY_MAGIC, Style::Structured) => STRUCTURED_BYTES,
            (c::EXTENDED_REPLY_MAGIC, Style::Extended) => EXTENDED_BYTES,
            _ => return Err(ReplyError::Magic(magic)),
        };
        if input.len() < length {
            return Ok(None);
        }
        input.advance(4);
        Ok(Some(match magic {
            c::SIMPLE_REPLY_MAGIC => {
                let error = input.get_u32();
                ReplyHeader::Simple { error, cookie: Cookie(input.get_u64()) }
            }
            _ => self.chunk(input),
        }))
    }

    fn chunk(&self, input: &mut BytesMut) -> ReplyHeader {
        let extended = self.style == Style::Extended;
        ReplyHeader::Chunk {
            done: input.get_u16() & c::REPLY_FLAG_DONE != 0,
            kind: input.get_u16(),
            cookie: Cookie(input.get_u64()),
            offset: extended.then(|| input.get_u64()),
            length: if extended { input.get_u64() } else { u64::from(input.get_u32()) },
        }
    }
}

//! What a server can do wrong in its replies.

use blockferry_block::Extent;
use blockferry_wire::TooShort;

use crate::limits::REPLY_CHUNKS_MAX;
use crate::request::Cookie;

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

//! The NBD protocol without sockets: fixed newstyle handshakes, requests and replies, both sides.
//!
//! Everything here is a pure state machine: bytes go in, events and bytes come out. There is no
//! clock, no randomness and no I/O, so that a whole conversation can be tested and fuzzed in memory.
//! Section names in the comments are those of the NBD protocol's specification
//! (`doc/proto.md` of the `NetworkBlockDevice/nbd` project and its extended headers).
//!
//! What a peer sends is refused, never asserted: each limit of [`limits`] is checked before a byte
//! is kept. Payloads stay slices of the buffer they arrived in ([`bytes::Bytes`]); none is copied.
//!
//! The two private options, [`RoleClaim`] and [`FenceRequest`], are safe to send to any server: one
//! that does not know an option answers `NBD_REP_ERR_UNSUP`.

mod admit;
mod assembler;
mod client;
mod codes;
pub mod constants;
mod fence;
mod flags;
pub mod limits;
mod option_data;
mod reply;
mod reply_decoder;
mod request;
mod role;
mod server;
mod text;

pub use admit::{Admitted, admit, admit_ahead};
pub use assembler::{Assembler, ReplyError, in_one_piece};
pub use client::{
    ClientConfig, ClientError, ClientHandshake, ClientOutcome, ClientStep, Goal, Joined, Manners,
};
pub use codes::{OptionCode, ReplyCode};
pub use fence::FenceRequest;
pub use flags::TransmissionFlags;
pub use reply::encode_reply;
pub use reply_decoder::{ReplyDecoder, ReplyFrame, ReplyHeader};
pub use request::{
    CommandFlags, Cookie, Negotiated, RequestDecoder, RequestError, RequestFrame, RequestHeader,
    Style, encode_disconnect, encode_request, encode_write_ahead,
};
pub use role::{Role, RoleClaim};
pub use server::{
    ExportEntry, ExportInfo, Purpose, Refusal, ServerError, ServerHandshake, ServerStep,
};
pub use text::BadText;

pub use blockferry_wire::Outbox;

//! Requests of the transmission phase, in compact and in extended form.

use blockferry_block::Extent;
use blockferry_device::{PAYLOAD_MAX, Request};
use blockferry_wire::Outbox;
use bytes::{Buf, Bytes, BytesMut};

use crate::constants as c;

/// A compact request's header, in bytes.
const COMPACT_BYTES: usize = 28;
/// An extended request's header, in bytes.
const EXTENDED_BYTES: usize = 32;

/// The number by which a client knows a request again; opaque to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cookie(pub u64);

/// How requests and replies are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Compact requests, simple replies.
    Simple,
    /// Compact requests, structured replies.
    Structured,
    /// Extended requests and replies.
    Extended,
}

/// What the handshake fixed for the transmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The framing.
    pub style: Style,
    /// The id of `base:allocation` where it was selected.
    pub allocation_context: Option<u32>,
}

/// Command flags ("Command flags").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CommandFlags(pub u16);

impl CommandFlags {
    /// `NBD_CMD_FLAG_FUA`
    pub const FUA: Self = Self(1 << 0);
    /// `NBD_CMD_FLAG_NO_HOLE`
    pub const NO_HOLE: Self = Self(1 << 1);
    /// `NBD_CMD_FLAG_DF`
    pub const DF: Self = Self(1 << 2);
    /// `NBD_CMD_FLAG_REQ_ONE`
    pub const REQ_ONE: Self = Self(1 << 3);
    /// `NBD_CMD_FLAG_FAST_ZERO`
    pub const FAST_ZERO: Self = Self(1 << 4);
    /// `NBD_CMD_FLAG_PAYLOAD_LEN`
    pub const PAYLOAD_LEN: Self = Self(1 << 5);

    /// Whether all of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn when(self, condition: bool) -> Self {
        if condition { self } else { Self(0) }
    }
}

/// The header of a request; nothing in it has been checked against a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Flags as they came.
    pub flags: CommandFlags,
    /// The command's number, known or not.
    pub command: u16,
    /// The client's number for the request.
    pub cookie: Cookie,
    /// Byte offset in the export.
    pub offset: u64,
    /// Length of the payload, or of the request's effect where it has no payload, in bytes.
    pub length: u64,
}

/// A whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestFrame {
    /// Its header.
    pub header: RequestHeader,
    /// Its payload; empty for a request without one.
    pub payload: Bytes,
}

/// Why the stream of requests cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The client has lost its place in the stream, or speaks another framing.
    #[error("expected the magic of a request, got {0:#010x}")]
    Magic(u32),
    /// A payload larger than [`PAYLOAD_MAX`]: answered with an error, then disconnected, since it
    /// would have to be read to stay in step.
    #[error("a request announces {} bytes of payload, more than {PAYLOAD_MAX}", .0.length)]
    PayloadTooLarge(RequestHeader),
}

/// Takes requests out of a stream of bytes.
#[derive(Debug)]
pub struct RequestDecoder {
    extended: bool,
    /// A header whose payload has not come whole.
    begun: Option<RequestHeader>,
}

impl RequestDecoder {
    /// For a stream that begins now.
    pub const fn new(style: Style) -> Self {
        Self { extended: matches!(style, Style::Extended), begun: None }
    }

    /// The next whole request; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the stream cannot go on; the connection has to be closed.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<RequestFrame>, RequestError> {
        let Some(header) = self.header(input)? else { return Ok(None) };
        let length = self.payload_length(&header);
        if input.len() < length {
            self.begun = Some(header);
            return Ok(None);
        }
        let payload = if length == 0 { Bytes::new() } else { input.split_to(length).freeze() };
        Ok(Some(RequestFrame { header, payload }))
    }

    /// A request whose payload has not come whole, for a caller that may take the payload out of the
    /// stream itself ([`RequestDecoder::hand_over`]).
    pub const fn begun(&self) -> Option<&RequestHeader> {
        self.begun.as_ref()
    }

    /// Leaves the payload of the request that has begun to the caller: when the caller has taken it out
    /// of the input, the next request follows.
    pub const fn hand_over(&mut self) -> Option<RequestHeader> {
        self.begun.take()
    }

    /// Whether a request has begun that is not whole yet.
    pub fn is_inside(&self, input: &BytesMut) -> bool {
        self.begun.is_some() || !input.is_empty()
    }

    /// How many bytes are missing until the next request, or its header, is whole.
    pub fn missing(&self, input: &BytesMut) -> usize {
        let whole = match &self.begun {
            Some(header) => self.payload_length(header),
            None => self.header_length(),
        };
        whole.saturating_sub(input.len())
    }

    fn header(&mut self, input: &mut BytesMut) -> Result<Option<RequestHeader>, RequestError> {
        if let Some(header) = self.begun.take() {
            return Ok(Some(header));
        }
        if input.len() < self.header_length() {
            return Ok(None);
        }
        let expected = if self.extended { c::EXTENDED_REQUEST_MAGIC } else { c::REQUEST_MAGIC };
        let magic = input.get_u32();
        if magic != expected {
            return Err(RequestError::Magic(magic));
        }
        let header = RequestHeader {
            flags: CommandFlags(input.get_u16()),
            command: input.get_u16(),
            cookie: Cookie(input.get_u64()),
            offset: input.get_u64(),
            length: if self.extended { input.get_u64() } else { u64::from(input.get_u32()) },
        };
        if self.has_payload(&header) && header.length > u64::from(PAYLOAD_MAX) {
            return Err(RequestError::PayloadTooLarge(header));
        }
        Ok(Some(header))
    }

    const fn header_length(&self) -> usize {
        if self.extended { EXTENDED_BYTES } else { COMPACT_BYTES }
    }

    /// A write has a payload. In extended form a flag says which other requests have one; a write
    /// must set it too, but QEMU's client does not, and sends the payload all the same. A disconnect
    /// is the last thing a client sends, whatever it says of a payload.
    fn has_payload(&self, header: &RequestHeader) -> bool {
        match header.command {
            c::CMD_WRITE => true,
            c::CMD_DISC => false,
            _ => self.extended && header.flags.has(CommandFlags::PAYLOAD_LEN),
        }
    }

    fn payload_length(&self, header: &RequestHeader) -> usize {
        if !self.has_payload(header) {
            return 0;
        }
        // Checked against PAYLOAD_MAX when the header was read.
        usize::try_from(header.length).unwrap_or(usize::MAX)
    }
}

/// Appends the request. The caller has split what is too long for the framing.
///
/// # Panics
/// When a length does not fit into the 32 bits of the compact form.
pub fn encode_request(out: &mut Outbox, style: Style, cookie: Cookie, request: &Request) {
    let header = header_of(cookie, request);
    put_header(out, style, &header);
    if let Request::Write { data, .. } = request {
        out.put_payload(data.clone());
    }
}

/// Appends the header of a write whose payload the caller appends behind it, all of it and nothing else.
///
/// # Panics
/// When the length does not fit into the 32 bits of the compact form.
pub fn encode_write_ahead(out: &mut Outbox, style: Style, cookie: Cookie, extent: Extent) {
    let (flags, command) = (CommandFlags(0), c::CMD_WRITE);
    let (offset, length) = (extent.start(), extent.len());
    put_header(out, style, &RequestHeader { flags, command, cookie, offset, length });
}

/// Appends the request to disconnect, after which nothing may follow.
pub fn encode_disconnect(out: &mut Outbox, style: Style) {
    let header = RequestHeader {
        flags: CommandFlags(0),
        command: c::CMD_DISC,
        cookie: Cookie(u64::MAX),
        offset: 0,
        length: 0,
    };
    put_header(out, style, &header);
}

fn header_of(cookie: Cookie, request: &Request) -> RequestHeader {
    let (command, flags) = command_of(request);
    let extent = request.extent();
    RequestHeader {
        flags,
        command,
        cookie,
        offset: extent.map_or(0, |extent| extent.start()),
        length: extent.map_or(0, |extent| extent.len()),
    }
}

fn command_of(request: &Request) -> (u16, CommandFlags) {
    let fua = |fua: bool| CommandFlags::FUA.when(fua);
    match *request {
        Request::Read { dont_fragment, .. } => (c::CMD_READ, CommandFlags::DF.when(dont_fragment)),
        Request::Write { fua: durable, .. } => (c::CMD_WRITE, fua(durable)),
        Request::WriteZeroes { fua: durable, no_hole, fast_zero, .. } => (
            c::CMD_WRITE_ZEROES,
            fua(durable)
                .and(CommandFlags::NO_HOLE.when(no_hole))
                .and(CommandFlags::FAST_ZERO.when(fast_zero)),
        ),
        Request::Trim { fua: durable, .. } => (c::CMD_TRIM, fua(durable)),
        Request::Flush => (c::CMD_FLUSH, CommandFlags(0)),
        Request::Cache { .. } => (c::CMD_CACHE, CommandFlags(0)),
        Request::BlockStatus { one, .. } => (c::CMD_BLOCK_STATUS, CommandFlags::REQ_ONE.when(one)),
    }
}

fn put_header(out: &mut Outbox, style: Style, header: &RequestHeader) {
    if style == Style::Extended {
        let payload = CommandFlags::PAYLOAD_LEN.when(header.command == c::CMD_WRITE);
        put_start(out, c::EXTENDED_REQUEST_MAGIC, header, payload);
        out.put(&header.length.to_be_bytes());
    } else {
        put_start(out, c::REQUEST_MAGIC, header, CommandFlags(0));
        let length = u32::try_from(header.length).expect("the caller splits at 32 bits");
        out.put(&length.to_be_bytes());
    }
}

fn put_start(out: &mut Outbox, magic: u32, header: &RequestHeader, more: CommandFlags) {
    out.put(&magic.to_be_bytes());
    out.put(&header.flags.and(more).0.to_be_bytes());
    out.put(&header.command.to_be_bytes());
    out.put(&header.cookie.0.to_be_bytes());
    out.put(&header.offset.to_be_bytes());
}

#[cfg(test)]
mod tests;

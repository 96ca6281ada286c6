//! Takes PDUs out of a stream of bytes: headers, then data.

use bytes::{Buf, Bytes, BytesMut};

use crate::digest::{DIGEST_BYTES, Digest, Digests, padding};
use crate::header::Header;
use crate::limits::{AHS_BYTES_MAX, LOGIN_SEGMENT_BYTES_MAX};
use crate::opcode::Opcode;

/// A whole PDU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdu {
    /// Its basic header segment.
    pub header: Header,
    /// Its additional header segments, as they came.
    pub ahs: Bytes,
    /// Its data, without padding.
    pub data: Bytes,
}

/// Why a stream of PDUs cannot go on. With an error recovery level of 0 the connection has to be
/// closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More than [`AHS_BYTES_MAX`] bytes of additional headers.
    #[error("a {opcode} announces {length} bytes of additional headers, more than {AHS_BYTES_MAX}")]
    AhsTooLong {
        /// The PDU.
        opcode: Opcode,
        /// The announced length in bytes.
        length: usize,
    },
    /// A data segment longer than was declared (`MaxRecvDataSegmentLength`).
    #[error("a {opcode} announces {length} bytes of data, more than {limit}")]
    DataTooLong {
        /// The PDU.
        opcode: Opcode,
        /// The announced length in bytes.
        length: u32,
        /// What was declared, in bytes.
        limit: u32,
    },
    /// The headers are damaged.
    #[error("the header digest of a PDU does not fit")]
    HeaderDigest,
    /// The data is damaged.
    #[error("the data digest of a {0} does not fit")]
    DataDigest(Opcode),
}

/// Takes PDUs out of a stream of bytes.
#[derive(Debug)]
pub struct Decoder {
    digests: Digests,
    data_max: u32,
    /// Headers whose data has not come whole.
    begun: Option<Begun>,
}

/// The headers of a PDU whose data has not come whole.
#[derive(Clone, Debug)]
pub struct Begun {
    header: Header,
    ahs: Bytes,
    data_digest: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// For a connection that begins now, with a login.
    pub const fn new() -> Self {
        let digests = Digests { header: false, data: false };
        Self { digests, data_max: LOGIN_SEGMENT_BYTES_MAX, begun: None }
    }

    /// What the login has fixed, for all PDUs that follow: digests, and how much data a PDU may have
    /// in bytes.
    pub const fn set(&mut self, digests: Digests, data_max: u32) {
        (self.digests, self.data_max) = (digests, data_max);
    }

    /// The next whole PDU; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the stream cannot go on; the connection has to be closed.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Pdu>, FrameError> {
        let Some(begun) = self.headers(input)? else { return Ok(None) };
        let rest = begun.rest();
        if input.len() < rest {
            self.begun = Some(begun);
            return Ok(None);
        }
        let payload = if rest == 0 { Bytes::new() } else { input.split_to(rest).freeze() };
        begun.finish(payload).map(Some)
    }

    /// A PDU whose data has not come whole, for a caller that may take the data out of the stream
    /// itself ([`Decoder::hand_over`]).
    pub const fn begun(&self) -> Option<&Begun> {
        self.begun.as_ref()
    }

    /// Leaves the rest of the PDU that has begun to the caller: when the caller has taken it out of
    /// the input, the next PDU follows.
    pub const fn hand_over(&mut self) -> Option<Begun> {
        self.begun.take()
    }

    /// Whether a PDU has begun that is not whole yet.
    pub fn is_inside(&self, input: &BytesMut) -> bool {
        self.begun.is_some() || !input.is_empty()
    }

    /// How many bytes are missing at least until the next PDU, or its headers, are whole.
    pub fn missing(&self, input: &BytesMut) -> usize {
        let whole = match &self.begun {
            Some(begun) => begun.rest(),
            None => input.get(4).map_or(Header::BYTES, |words| {
                Header::BYTES + usize::from(*words) * 4 + self.header_digest_bytes()
            }),
        };
        whole.saturating_sub(input.len())
    }

    fn headers(&mut self, input: &mut BytesMut) -> Result<Option<Begun>, FrameError> {
        if let Some(begun) = self.begun.take() {
            return Ok(Some(begun));
        }
        let Some(bytes) = input.first_chunk() else { return Ok(None) };
        let header = Header(*bytes);
        let (opcode, ahs_length) = (header.opcode(), header.ahs_length());
        if ahs_length > AHS_BYTES_MAX {
            return Err(FrameError::AhsTooLong { opcode, length: ahs_length });
        }
        let covered = Header::BYTES + ahs_length;
        let whole = covered + self.header_digest_bytes();
        if input.len() < whole {
            return Ok(None);
        }
        if self.digests.header && Digest::of(&input[..covered]).bytes() != input[covered..whole] {
            return Err(FrameError::HeaderDigest);
        }
        let length = header.data_length();
        if length > self.data_max {
            return Err(FrameError::DataTooLong { opcode, length, limit: self.data_max });
        }
        let ahs = Bytes::copy_from_slice(&input[Header::BYTES..covered]);
        input.advance(whole);
        Ok(Some(Begun { header, ahs, data_digest: self.digests.data }))
    }

    const fn header_digest_bytes(&self) -> usize {
        if self.digests.header { DIGEST_BYTES } else { 0 }
    }
}

impl Begun {
    /// The header.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// How many bytes follow the headers: data, padding and digest.
    pub const fn rest(&self) -> usize {
        let length = self.header.data_length() as usize;
        let digest = if self.data_digest && length > 0 { DIGEST_BYTES } else { 0 };
        length + padding(length) + digest
    }

    /// The whole PDU, with the [`Begun::rest`] bytes that follow the headers.
    ///
    /// # Errors
    /// When the data is damaged.
    ///
    /// # Panics
    /// When there are more or less bytes.
    pub fn finish(self, mut payload: Bytes) -> Result<Pdu, FrameError> {
        assert_eq!(payload.len(), self.rest(), "the bytes that follow the headers");
        let length = self.header.data_length() as usize;
        let covered = length + padding(length);
        if payload.len() > covered && Digest::of(&payload[..covered]).bytes() != payload[covered..]
        {
            return Err(FrameError::DataDigest(self.header.opcode()));
        }
        payload.truncate(length);
        Ok(Pdu { header: self.header, ahs: self.ahs, data: payload })
    }
}

#[cfg(test)]
mod tests;

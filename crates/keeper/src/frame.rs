//! What a worker says about one client: whole answers, each with the part of the client's stream that
//! it settles; and where it has the client's socket itself, first what it is about to take from that.
//!
//! ```text
//!   kind: u8 | 0 | pass: u16 | length: u32 | settles: u64..u64 | pass bytes | bytes for the client
//! ```
//!
//! Big-endian; `length` counts both kinds of bytes behind the header. A frame is passed on whole or
//! not at all, so a worker that dies in the middle of one neither tears nor shifts the client's stream.

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A frame's header, in bytes.
pub const HEADER_BYTES: usize = 24;

/// What one frame may carry, in bytes: the answer to the largest read, in the most chunks that a
/// server sends it in.
pub const FRAME_BYTES_MAX: usize = 40 << 20;

/// What a successor is told of a connection, in bytes.
pub const PASS_BYTES_MAX: usize = 8 << 10;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Part of the handshake. It settles nothing: who dies in a handshake cannot be succeeded.
    Handshake,
    /// The handshake's end. It settles the handshake, and carries the pass: what a successor needs to
    /// go on with the connection.
    Established,
    /// A whole answer. It settles its request.
    Reply,
    /// What the client has sent next, as its worker sees it in the client's socket. It settles nothing;
    /// in the place of what is settled is its arrival, as an empty range.
    Heard,
    /// What was heard and has its answer, without either; see [`record`](crate::Recorder).
    Past,
    /// How many bytes the client was sent before the answers that follow: the range begins and ends
    /// there.
    Given,
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame is.
    pub kind: Kind,
    /// Bytes of the pass.
    pub pass: usize,
    /// Bytes for the client.
    pub bytes: usize,
    /// The part of the client's stream that needs no other answer, in bytes since the connection or
    /// this worker's part of it began.
    pub settles: Range<u64>,
}

/// A whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// See [`FrameHeader::settles`].
    pub settles: Range<u64>,
    /// What a successor is to be told.
    pub pass: Bytes,
    /// For the client.
    pub bytes: Bytes,
}

/// What no worker sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No such kind.
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    /// More than [`FRAME_BYTES_MAX`].
    #[error("a frame of {0} bytes, more than {FRAME_BYTES_MAX}")]
    TooLong(u32),
    /// A pass where none belongs, or one that is too long.
    #[error("a pass of {0} bytes where it cannot be")]
    Pass(u16),
    /// It ends before it begins.
    #[error("a frame that settles {0}..{1}")]
    Reversed(u64, u64),
}

impl FrameHeader {
    /// The header as bytes.
    ///
    /// # Panics
    /// When the frame is longer than a frame may be.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let length = self.pass + self.bytes;
        assert!(self.pass <= PASS_BYTES_MAX && length <= FRAME_BYTES_MAX, "{self:?} is too long");
        let mut header = [0; HEADER_BYTES];
        let mut out = &mut header[..];
        out.put_u8(self.kind.code());
        out.put_u8(0);
        out.put_u16(u16::try_from(self.pass).expect("checked above"));
        out.put_u32(u32::try_from(length).expect("checked above"));
        out.put_u64(self.settles.start);
        out.put_u64(self.settles.end);
        header
    }

    pub(crate) fn decode(mut header: &[u8]) -> Result<Self, FrameError> {
        let code = header.get_u8();
        let kind = Kind::from_code(code).ok_or(FrameError::Kind(code))?;
        header.get_u8();
        let pass = header.get_u16();
        let length = header.get_u32();
        let (start, end) = (header.get_u64(), header.get_u64());
        if length as usize > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong(length));
        }
        let allowed = if kind == Kind::Established { PASS_BYTES_MAX } else { 0 };
        if usize::from(pass) > allowed || u32::from(pass) > length {
            return Err(FrameError::Pass(pass));
        }
        if start > end {
            return Err(FrameError::Reversed(start, end));
        }
        let bytes = length as usize - usize::from(pass);
        Ok(Self { kind, pass: usize::from(pass), bytes, settles: start..end })
    }
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Handshake => 1,
            Self::Established => 2,
            Self::Reply => 3,
            Self::Heard => 4,
            Self::Past => 5,
            Self::Given => 6,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Handshake),
            2 => Some(Self::Established),
            3 => Some(Self::Reply),
            4 => Some(Self::Heard),
            5 => Some(Self::Past),
            6 => Some(Self::Given),
            _ => None,
        }
    }
}

/// Takes whole frames out of a stream of bytes.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    begun: Option<FrameHeader>,
}

impl FrameDecoder {
    /// The next whole frame; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the stream is not a worker's and cannot go on.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let header = match self.begun.take() {
            Some(header) => header,
            None if input.len() < HEADER_BYTES => return Ok(None),
            None => FrameHeader::decode(&input.split_to(HEADER_BYTES))?,
        };
        if input.len() < header.pass + header.bytes {
            self.begun = Some(header);
            return Ok(None);
        }
        let pass = input.split_to(header.pass).freeze();
        let bytes = input.split_to(header.bytes).freeze();
        Ok(Some(Frame { kind: header.kind, settles: header.settles, pass, bytes }))
    }

    /// How many bytes are missing until the next frame, or its header, is whole.
    pub fn missing(&self, input: &BytesMut) -> usize {
        let whole = self.begun.as_ref().map_or(HEADER_BYTES, |header| header.pass + header.bytes);
        whole.saturating_sub(input.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(frame: &Frame) -> Vec<u8> {
        let header = FrameHeader {
            kind: frame.kind,
            pass: frame.pass.len(),
            bytes: frame.bytes.len(),
            settles: frame.settles.clone(),
        };
        [&header.encode()[..], &frame.pass, &frame.bytes].concat()
    }

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        let kind = prop::sample::select(vec![
            Kind::Handshake,
            Kind::Established,
            Kind::Reply,
            Kind::Heard,
            Kind::Past,
            Kind::Given,
        ]);
        let frame = (kind, any::<u64>(), any::<u64>(), bytes(), bytes()).prop_map(
            |(kind, one, other, pass, bytes)| Frame {
                kind,
                settles: one.min(other)..one.max(other),
                pass: if kind == Kind::Established { pass } else { Bytes::new() },
                bytes,
            },
        );
        proptest::collection::vec(frame, 0..8)
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_however_the_stream_is_cut(frames in frames(), step in 1_usize..64) {
            let stream: Vec<u8> = frames.iter().flat_map(encoded).collect();
            let (mut decoder, mut input) = (FrameDecoder::default(), BytesMut::new());
            let mut found = Vec::new();
            for piece in stream.chunks(step) {
                input.extend_from_slice(piece);
                while let Some(frame) = decoder.decode(&mut input).unwrap() {
                    found.push(frame);
                }
            }
            prop_assert_eq!(found, frames);
            prop_assert_eq!(decoder.missing(&input), HEADER_BYTES);
        }

        #[test]
        fn a_frame_that_is_cut_anywhere_gives_nothing(frames in frames(), cut in any::<prop::sample::Index>()) {
            let Some(frame) = frames.first() else { return Ok(()) };
            let stream = encoded(frame);
            let mut input = BytesMut::from(&stream[..cut.index(stream.len())]);
            let mut decoder = FrameDecoder::default();
            prop_assert_eq!(decoder.decode(&mut input).unwrap(), None);
            prop_assert!(decoder.missing(&input) > 0);
        }

        #[test]
        fn garbage_is_refused_or_waited_for_and_never_more_than_a_frame(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (mut decoder, mut input) = (FrameDecoder::default(), BytesMut::from(&noise[..]));
            while let Ok(Some(_)) = decoder.decode(&mut input) {}
            prop_assert!(decoder.missing(&input) <= FRAME_BYTES_MAX);
        }
    }

    #[test]
    fn what_no_worker_sends_is_refused() {
        let good = FrameHeader { kind: Kind::Reply, pass: 0, bytes: 4, settles: 1..2 }.encode();
        let refused = |change: fn(&mut [u8; HEADER_BYTES])| {
            let mut header = good;
            change(&mut header);
            FrameDecoder::default().decode(&mut BytesMut::from(&header[..])).unwrap_err()
        };
        assert_eq!(refused(|header| header[0] = 9), FrameError::Kind(9));
        assert_eq!(refused(|header| header[4] = 0xff), FrameError::TooLong(0xff00_0004));
        assert_eq!(refused(|header| header[3] = 1), FrameError::Pass(1));
        assert_eq!(refused(|header| header[15] = 3), FrameError::Reversed(3, 2));
    }
}

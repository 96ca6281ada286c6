//! Replies made by hand, most of them wrong.

use bytes::{BufMut, BytesMut};

use super::*;
use crate::limits::STATUS_DESCRIPTORS_MAX;

/// Structured chunks by hand.
#[derive(Default)]
struct Chunks(BytesMut);

impl Chunks {
    fn chunk(mut self, done: bool, kind: u16, payload: &[u8]) -> Self {
        self.0.put_u32(c::STRUCTURED_REPLY_MAGIC);
        self.0.put_u16(u16::from(done));
        self.0.put_u16(kind);
        self.0.put_u64(COOKIE.0);
        self.0.put_u32(u32::try_from(payload.len()).unwrap());
        self.0.put_slice(payload);
        self
    }

    fn data(self, done: bool, offset: u64, data: &[u8]) -> Self {
        self.chunk(done, c::REPLY_TYPE_OFFSET_DATA, &[&offset.to_be_bytes()[..], data].concat())
    }

    fn hole(self, done: bool, offset: u64, length: u32) -> Self {
        let payload = [&offset.to_be_bytes()[..], &length.to_be_bytes()].concat();
        self.chunk(done, c::REPLY_TYPE_OFFSET_HOLE, &payload)
    }

    fn none(self) -> Self {
        self.chunk(true, c::REPLY_TYPE_NONE, b"")
    }

    fn error(self, done: bool, kind: u16, code: u32, text: &[u8], rest: &[u8]) -> Self {
        let length = u16::try_from(text.len()).unwrap();
        let payload = [&code.to_be_bytes()[..], &length.to_be_bytes(), text, rest].concat();
        self.chunk(done, kind, &payload)
    }

    fn status(self, context: u32, descriptors: &[(u32, u32)]) -> Self {
        let mut payload = context.to_be_bytes().to_vec();
        for (length, state) in descriptors {
            payload.extend(length.to_be_bytes());
            payload.extend(state.to_be_bytes());
        }
        self.chunk(true, c::REPLY_TYPE_BLOCK_STATUS, &payload)
    }

    fn answer(self, request: &Request) -> Result<Option<Result<Reply, Failure>>, ReplyError> {
        receive(Style::Structured, request, self.0)
    }

    fn reply(self, request: &Request) -> Result<Reply, Failure> {
        self.answer(request).unwrap().expect("a whole reply")
    }

    fn sin(self, request: &Request) -> ReplyError {
        self.answer(request).unwrap_err()
    }
}

fn chunks() -> Chunks {
    Chunks::default()
}

#[test]
fn content_may_come_in_any_order() {
    let reply = chunks().data(false, 6, b"cd").hole(false, 8, 2).data(true, 4, b"ab");
    let expected = vec![
        ReadPart::Data(Bytes::from_static(b"ab")),
        ReadPart::Data(Bytes::from_static(b"cd")),
        ReadPart::Hole(2),
    ];
    assert_eq!(reply.reply(&read(4, 10)), Ok(Reply::Read(expected)));
}

#[test]
fn content_that_overlaps_or_leaves_gaps_is_refused() {
    let request = read(0, 4);
    for reply in [
        chunks().data(false, 0, b"ab").data(false, 1, b"bc").none(),
        chunks().data(false, 0, b"ab").data(false, 0, b"ab").none(),
        chunks().data(false, 0, b"ab").data(true, 3, b"d"),
        chunks().data(true, 0, b"abc"),
        chunks().none(),
        chunks().hole(false, 0, 4).hole(true, 0, 4),
    ] {
        assert!(matches!(reply.sin(&request), ReplyError::Uneven(_)));
    }
}

#[test]
fn content_outside_the_request_is_refused() {
    let request = read(10, 20);
    for reply in [
        chunks().data(true, 9, b"ab"),
        chunks().data(true, 19, b"ab"),
        chunks().hole(true, 10, 11),
        chunks().hole(true, 0, 1),
    ] {
        assert!(matches!(reply.sin(&request), ReplyError::OutsideRequest { .. }));
    }
    let reply = chunks().hole(true, u64::MAX, 2);
    assert!(matches!(reply.sin(&request), ReplyError::Malformed(_)));
}

#[test]
fn a_chunk_longer_than_the_request_is_refused_at_its_header() {
    let assembler = Assembler::new(&read(0, 10), &negotiated(Style::Structured), false);
    let header = ReplyHeader::Chunk {
        done: true,
        kind: c::REPLY_TYPE_OFFSET_DATA,
        cookie: COOKIE,
        offset: None,
        length: 19,
    };
    assert!(matches!(assembler.payload_length(&header), Err(ReplyError::BadLength { .. })));
}

#[test]
fn chunks_of_impossible_lengths_are_refused() {
    for (request, kind, length) in [
        (read(0, 10), c::REPLY_TYPE_NONE, 1),
        (read(0, 10), c::REPLY_TYPE_OFFSET_DATA, 8),
        (read(0, 10), c::REPLY_TYPE_OFFSET_HOLE, 11),
        (read(0, 10), c::REPLY_TYPE_OFFSET_HOLE, 13),
        (read(0, 10), c::REPLY_TYPE_ERROR, 5),
        (read(0, 10), c::REPLY_TYPE_ERROR, 5000),
        (read(0, 10), c::REPLY_TYPE_ERROR_OFFSET, 13),
        (status(0, 10, false), c::REPLY_TYPE_BLOCK_STATUS, 4),
        (status(0, 10, false), c::REPLY_TYPE_BLOCK_STATUS, 11),
        (status(0, 10, false), c::REPLY_TYPE_BLOCK_STATUS, 13),
        (status(0, 10, false), c::REPLY_TYPE_BLOCK_STATUS, 4 + 8 * (STATUS_DESCRIPTORS_MAX + 1)),
    ] {
        let reply = chunks().chunk(true, kind, &vec![0; length]);
        let sin = reply.sin(&request);
        assert!(matches!(sin, ReplyError::BadLength { .. }), "{kind} {length}: {sin:?}");
    }
}

#[test]
fn chunks_of_the_wrong_kind_are_refused() {
    for (request, kind) in [
        (Request::Flush, c::REPLY_TYPE_OFFSET_DATA),
        (read(0, 10), c::REPLY_TYPE_BLOCK_STATUS),
        (status(0, 10, false), c::REPLY_TYPE_OFFSET_HOLE),
        (status(0, 10, false), c::REPLY_TYPE_BLOCK_STATUS_EXT),
        (read(0, 10), 3),
        (read(0, 10), 100),
    ] {
        let reply = chunks().chunk(true, kind, &[0; 12]);
        assert_eq!(reply.sin(&request), ReplyError::UnexpectedChunk(kind));
    }
}

#[test]
fn an_end_that_is_not_the_end_is_refused() {
    let reply = chunks().chunk(false, c::REPLY_TYPE_NONE, b"");
    assert!(matches!(reply.sin(&read(0, 1)), ReplyError::BadLength { .. }));
}

#[test]
fn the_first_error_is_told_and_content_beside_it_is_not() {
    let reply = chunks()
        .data(false, 0, b"ab")
        .error(false, c::REPLY_TYPE_ERROR_OFFSET, 5, b"bad block", &2_u64.to_be_bytes())
        .error(true, c::REPLY_TYPE_ERROR, 28, b"later", b"");
    assert_eq!(reply.reply(&read(0, 4)), Err(Failure::new(Errno::Io, "bad block")));
}

#[test]
fn errors_of_unknown_kinds_and_numbers_are_errors_all_the_same() {
    let reply = chunks().error(true, 0x8077, 4711, b"new", b"more fields");
    assert_eq!(reply.reply(&Request::Flush), Err(Failure::new(Errno::Inval, "new")));
}

#[test]
fn errors_that_contradict_themselves_are_refused() {
    let request = read(0, 4);
    for reply in [
        chunks().error(true, c::REPLY_TYPE_ERROR, 0, b"", b""),
        chunks().chunk(true, c::REPLY_TYPE_ERROR, &[0, 0, 0, 5, 0, 9, b'x']),
        chunks().chunk(
            true,
            c::REPLY_TYPE_ERROR_OFFSET,
            &[0, 0, 0, 5, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        ),
    ] {
        assert!(matches!(reply.sin(&request), ReplyError::Malformed(_)));
    }
    let offset = 4_u64.to_be_bytes();
    let reply = chunks().error(true, c::REPLY_TYPE_ERROR_OFFSET, 5, b"", &offset);
    assert!(matches!(reply.sin(&request), ReplyError::OutsideRequest { .. }));
}

#[test]
fn an_unfragmented_read_in_pieces_is_refused() {
    let request = Request::Read { extent: Extent::between(0, 4), dont_fragment: true };
    let reply = chunks().data(false, 0, b"ab").data(true, 2, b"cd");
    assert_eq!(reply.sin(&request), ReplyError::Fragmented);
}

#[test]
fn a_status_must_be_of_our_context_once_and_make_sense() {
    let request = status(0, 100, false);
    for reply in [
        chunks().status(8, &[(100, 0)]),
        chunks().status(9, &[(0, 0)]),
        chunks().status(9, &[(100, 0), (1, 0)]),
    ] {
        assert!(matches!(reply.sin(&request), ReplyError::Malformed(_)));
    }
    assert_eq!(chunks().none().sin(&request), ReplyError::NoStatus);
    let payload = [&9_u32.to_be_bytes()[..], &[0, 0, 0, 1, 0, 0, 0, 0]].concat();
    let reply = chunks().chunk(false, c::REPLY_TYPE_BLOCK_STATUS, &payload).chunk(
        true,
        c::REPLY_TYPE_BLOCK_STATUS,
        &payload,
    );
    assert!(matches!(reply.sin(&request), ReplyError::Malformed(_)));
}

#[test]
fn one_descriptor_means_one_and_not_longer_than_asked() {
    let request = status(0, 100, true);
    let two = chunks().status(9, &[(50, 0), (50, 3)]);
    assert!(matches!(two.sin(&request), ReplyError::Malformed(_)));
    let long = chunks().status(9, &[(101, 0)]);
    assert!(matches!(long.sin(&request), ReplyError::Malformed(_)));
}

#[test]
fn unknown_state_bits_are_ignored() {
    let reply = chunks().status(9, &[(100, 0xffff_fffd)]).reply(&status(0, 100, false));
    let state = SegmentState { hole: true, zero: false };
    assert_eq!(reply, Ok(Reply::BlockStatus(vec![Segment { length: 100, state }])));
}

#[test]
fn a_reply_without_end_is_cut_at_its_limit() {
    let mut endless = chunks();
    for _ in 0..=REPLY_CHUNKS_MAX {
        endless = endless.error(false, c::REPLY_TYPE_ERROR, 5, b"", b"");
    }
    assert_eq!(endless.sin(&Request::Flush), ReplyError::TooManyChunks);
}

#[test]
fn a_cookie_that_nobody_waits_for_is_refused_at_its_header() {
    let mut reply = chunks().none();
    reply.0[8] = 1;
    assert!(matches!(reply.sin(&Request::Flush), ReplyError::UnknownCookie(_)));
}

fn simple(error: u32, payload: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_u32(c::SIMPLE_REPLY_MAGIC);
    bytes.put_u32(error);
    bytes.put_u64(COOKIE.0);
    bytes.put_slice(payload);
    bytes
}

#[test]
fn simple_replies_are_taken_only_where_they_may_stand() {
    let done = receive(Style::Structured, &Request::Flush, simple(0, b""));
    assert_eq!(done, Ok(Some(Ok(Reply::Done))));
    let failed = receive(Style::Structured, &read(0, 4), simple(5, b""));
    assert_eq!(failed, Ok(Some(Err(Failure::new(Errno::Io, "")))));
    for request in [read(0, 4), status(0, 4, false)] {
        let outcome = receive(Style::Structured, &request, simple(0, b"abcd"));
        assert_eq!(outcome, Err(ReplyError::UnexpectedSimple));
    }
    let outcome = receive(Style::Extended, &Request::Flush, simple(0, b""));
    assert_eq!(outcome, Err(ReplyError::Magic(c::SIMPLE_REPLY_MAGIC)));
    let outcome = receive(Style::Simple, &Request::Flush, chunks().none().0);
    assert_eq!(outcome, Err(ReplyError::Magic(c::STRUCTURED_REPLY_MAGIC)));
}

fn extended(kind: u16, offset: u64, payload: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_u32(c::EXTENDED_REPLY_MAGIC);
    bytes.put_u16(1);
    bytes.put_u16(kind);
    bytes.put_u64(COOKIE.0);
    bytes.put_u64(offset);
    bytes.put_u64(payload.len() as u64);
    bytes.put_slice(payload);
    bytes
}

#[test]
fn an_extended_chunk_must_repeat_the_requests_offset() {
    let outcome = receive(Style::Extended, &read(7, 8), extended(c::REPLY_TYPE_NONE, 6, b""));
    assert_eq!(outcome, Err(ReplyError::WrongOffset { told: 6, asked: 7 }));
}

#[test]
fn an_extended_status_must_count_its_descriptors() {
    let descriptors = [[0; 7].as_slice(), &[100], &[0; 8]].concat();
    for (count, good) in [(1_u32, true), (0, false), (2, false), (u32::MAX, false)] {
        let payload = [&9_u32.to_be_bytes()[..], &count.to_be_bytes(), &descriptors].concat();
        let bytes = extended(c::REPLY_TYPE_BLOCK_STATUS_EXT, 0, &payload);
        assert_eq!(receive(Style::Extended, &status(0, 100, false), bytes).is_ok(), good);
    }
    let bytes = extended(c::REPLY_TYPE_BLOCK_STATUS, 0, &[0; 12]);
    let outcome = receive(Style::Extended, &status(0, 100, false), bytes);
    assert_eq!(outcome, Err(ReplyError::UnexpectedChunk(c::REPLY_TYPE_BLOCK_STATUS)));
}

//! Replies there and back in every style.

mod sins;

use blockferry_device::SegmentState;
use blockferry_wire::Outbox;
use bytes::BytesMut;

use super::*;
use crate::limits::STATUS_DESCRIPTORS_MAX;
use crate::reply::encode_reply;
use crate::reply_decoder::ReplyDecoder;
use crate::request::{Cookie, RequestDecoder, encode_request};

const STYLES: [Style; 3] = [Style::Simple, Style::Structured, Style::Extended];
const COOKIE: Cookie = Cookie(42);

fn negotiated(style: Style) -> Negotiated {
    Negotiated { style, allocation_context: Some(9) }
}

fn drain(mut out: Outbox) -> BytesMut {
    let length = out.remaining();
    BytesMut::from(&out.copy_to_bytes(length)[..])
}

fn read(start: u64, end: u64) -> Request {
    Request::Read { extent: Extent::between(start, end), dont_fragment: false }
}

fn status(start: u64, end: u64, one: bool) -> Request {
    Request::BlockStatus { extent: Extent::between(start, end), one }
}

/// What a client makes of bytes that answer its request.
fn receive(
    style: Style,
    request: &Request,
    mut input: BytesMut,
) -> Result<Option<Result<Reply, Failure>>, ReplyError> {
    let flag = matches!(request, Request::Read { dont_fragment: true, .. });
    let mut assembler = Assembler::new(request, &negotiated(style), flag);
    let mut decoder = ReplyDecoder::new(style);
    loop {
        let find = |cookie| (cookie == COOKIE).then_some(&assembler);
        let Some(frame) = decoder.decode(&mut input, find)? else { return Ok(None) };
        if let Some(outcome) = assembler.take(frame)? {
            assert!(input.is_empty(), "bytes are left");
            return Ok(Some(outcome));
        }
    }
}

/// Sends the outcome as our server does and receives it as our client does.
fn there_and_back(
    style: Style,
    request: &Request,
    outcome: Result<Reply, Failure>,
) -> Result<Reply, Failure> {
    let mut out = Outbox::new();
    encode_request(&mut out, style, COOKIE, request);
    let frame = RequestDecoder::new(style).decode(&mut drain(out)).unwrap().unwrap();
    let mut out = Outbox::new();
    encode_reply(&mut out, &negotiated(style), &frame.header, outcome);
    receive(style, request, drain(out)).unwrap().expect("a whole reply")
}

#[test]
fn success_without_content_comes_through() {
    let extent = Extent::between(0, 10);
    for style in STYLES {
        for request in [
            Request::Flush,
            Request::Trim { extent, fua: false },
            Request::Cache { extent },
            Request::Write { offset: 0, data: Bytes::from_static(b"x"), fua: true },
        ] {
            assert_eq!(there_and_back(style, &request, Ok(Reply::Done)), Ok(Reply::Done));
        }
    }
}

#[test]
fn holes_come_through_as_holes_or_as_zeroes() {
    let parts =
        vec![ReadPart::Hole(100), ReadPart::Data(Bytes::from(vec![7; 1000])), ReadPart::Hole(50)];
    let request = read(500, 1650);
    for style in [Style::Structured, Style::Extended] {
        let reply = there_and_back(style, &request, Ok(Reply::Read(parts.clone())));
        assert_eq!(reply, Ok(Reply::Read(parts.clone())));
    }
    let reply = there_and_back(Style::Simple, &request, Ok(Reply::Read(parts.clone())));
    assert_eq!(reply, Ok(Reply::Read(in_one_piece(parts))));
}

#[test]
fn data_that_was_read_in_pieces_comes_through_in_one_as_far_as_no_hole_is_between() {
    let data = |text: &'static str| ReadPart::Data(Bytes::from_static(text.as_bytes()));
    let cut = vec![data("ab"), data("c"), ReadPart::Hole(9), data("d"), data("efg")];
    let joined = vec![data("abc"), ReadPart::Hole(9), data("defg")];
    for style in [Style::Structured, Style::Extended] {
        let reply = there_and_back(style, &read(70, 86), Ok(Reply::Read(cut.clone())));
        assert_eq!(reply, Ok(Reply::Read(joined.clone())));
    }
}

#[test]
fn an_unfragmented_read_comes_in_one_piece() {
    let parts = vec![ReadPart::Data(Bytes::from_static(b"abc")), ReadPart::Hole(2)];
    let request = Request::Read { extent: Extent::between(0, 5), dont_fragment: true };
    for style in [Style::Structured, Style::Extended] {
        let reply = there_and_back(style, &request, Ok(Reply::Read(parts.clone())));
        assert_eq!(reply, Ok(Reply::Read(vec![ReadPart::Data(Bytes::from_static(b"abc\0\0"))])));
    }
}

#[test]
fn a_read_of_nothing_is_answered_with_nothing() {
    for style in STYLES {
        for reply in [Reply::Done, Reply::Read(Vec::new())] {
            let reply = there_and_back(style, &read(5, 5), Ok(reply));
            assert_eq!(reply, Ok(Reply::Read(Vec::new())));
        }
    }
}

#[test]
fn failures_keep_their_text_where_the_style_has_room_for_it() {
    let failure = Failure::new(Errno::NoSpc, "expected address 4096");
    for style in [Style::Structured, Style::Extended] {
        for request in [read(0, 10), Request::Flush, status(0, 10, false)] {
            let outcome = there_and_back(style, &request, Err(failure.clone()));
            assert_eq!(outcome, Err(failure.clone()));
        }
    }
    let outcome = there_and_back(Style::Simple, &read(0, 10), Err(failure));
    assert_eq!(outcome, Err(Failure::new(Errno::NoSpc, "")));
}

#[test]
fn a_text_that_is_too_long_is_cut_and_not_refused() {
    let failure = Failure::new(Errno::Io, "x".repeat(5000));
    let outcome = there_and_back(Style::Extended, &Request::Flush, Err(failure));
    assert_eq!(outcome.unwrap_err().message.len(), STRING_BYTES_MAX);
}

#[test]
fn segments_come_through_cut_at_the_request() {
    let hole = |length| Segment { length, state: SegmentState::HOLE };
    let data = |length| Segment { length, state: SegmentState::DATA };
    let told = Reply::BlockStatus(vec![data(100), hole(1000), data(5)]);
    for style in [Style::Structured, Style::Extended] {
        let reply = there_and_back(style, &status(10, 510, false), Ok(told.clone()));
        assert_eq!(reply, Ok(Reply::BlockStatus(vec![data(100), hole(400)])));
        let reply = there_and_back(style, &status(10, 50, true), Ok(told.clone()));
        assert_eq!(reply, Ok(Reply::BlockStatus(vec![data(40)])));
    }
}

#[test]
fn a_compact_status_of_4_gib_less_one_byte_keeps_its_length() {
    let length = u64::from(u32::MAX);
    let told = Reply::BlockStatus(vec![Segment { length: 1 << 40, state: SegmentState::HOLE }]);
    let reply = there_and_back(Style::Structured, &status(1, 1 + length, false), Ok(told));
    let expected = Segment { length, state: SegmentState::HOLE };
    assert_eq!(reply, Ok(Reply::BlockStatus(vec![expected])));
}

#[test]
fn more_descriptors_than_the_limit_are_left_out() {
    let segment = Segment { length: 1, state: SegmentState::DATA };
    let told = Reply::BlockStatus(vec![segment; STATUS_DESCRIPTORS_MAX + 1]);
    for style in [Style::Structured, Style::Extended] {
        let reply = there_and_back(style, &status(0, 1 << 30, false), Ok(told.clone()));
        let Ok(Reply::BlockStatus(segments)) = reply else { panic!("no status") };
        assert_eq!(segments.len(), STATUS_DESCRIPTORS_MAX);
    }
}

#[test]
fn an_answer_of_the_device_that_does_not_fit_is_an_input_output_error() {
    let short = Reply::Read(vec![ReadPart::Hole(9)]);
    let wide = Reply::Read(vec![ReadPart::Hole(u64::MAX), ReadPart::Hole(u64::MAX)]);
    let empty = Reply::BlockStatus(Vec::new());
    for (request, reply) in [
        (read(0, 10), short),
        (read(0, 10), wide),
        (read(0, 10), Reply::Done),
        (status(0, 10, false), empty),
        (status(0, 10, false), Reply::Done),
        (Request::Flush, Reply::Read(Vec::new())),
    ] {
        for style in [Style::Structured, Style::Extended] {
            let outcome = there_and_back(style, &request, Ok(reply.clone()));
            assert_eq!(outcome.unwrap_err().errno, Errno::Io, "{request:?} {reply:?}");
        }
    }
}

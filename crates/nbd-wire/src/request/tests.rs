//! Requests there and back, and streams that cannot go on.

use blockferry_block::Extent;

use super::*;

const STYLES: [Style; 3] = [Style::Simple, Style::Structured, Style::Extended];

fn bytes_of(mut out: Outbox) -> BytesMut {
    let length = out.remaining();
    BytesMut::from(&out.copy_to_bytes(length)[..])
}

/// A request's bytes by hand, as any client could send them.
fn raw(style: Style, flags: u16, command: u16, offset: u64, length: u64) -> BytesMut {
    let mut bytes = Vec::new();
    let extended = style == Style::Extended;
    let magic = if extended { c::EXTENDED_REQUEST_MAGIC } else { c::REQUEST_MAGIC };
    bytes.extend(magic.to_be_bytes());
    bytes.extend(flags.to_be_bytes());
    bytes.extend(command.to_be_bytes());
    bytes.extend(7_u64.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    if extended {
        bytes.extend(length.to_be_bytes());
    } else {
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
    }
    BytesMut::from(&bytes[..])
}

fn requests() -> Vec<Request> {
    let extent = Extent::between(1000, 5000);
    vec![
        Request::Read { extent, dont_fragment: true },
        Request::Write { offset: 3, data: Bytes::from(vec![5; 1000]), fua: true },
        Request::WriteZeroes { extent, fua: true, no_hole: true, fast_zero: true },
        Request::Trim { extent, fua: false },
        Request::Flush,
        Request::Cache { extent },
        Request::BlockStatus { extent, one: true },
    ]
}

#[test]
fn what_a_client_encodes_a_server_decodes_in_every_style() {
    for style in STYLES {
        for (number, request) in requests().into_iter().enumerate() {
            let cookie = Cookie(number as u64);
            let mut out = Outbox::new();
            encode_request(&mut out, style, cookie, &request);
            let mut input = bytes_of(out);
            let frame = RequestDecoder::new(style).decode(&mut input).unwrap().unwrap();
            let (command, flags) = command_of(&request);
            assert_eq!((frame.header.cookie, frame.header.command), (cookie, command));
            assert_eq!(frame.header.flags.without(CommandFlags::PAYLOAD_LEN), flags);
            if let Request::Write { data, .. } = &request {
                assert_eq!(frame.payload, data);
            }
            assert!(input.is_empty());
        }
    }
}

#[test]
fn a_request_that_comes_byte_by_byte_is_whole_at_its_last_byte() {
    for style in STYLES {
        let mut out = Outbox::new();
        encode_request(&mut out, style, Cookie(1), &requests()[1]);
        let whole = bytes_of(out);
        let mut decoder = RequestDecoder::new(style);
        let mut input = BytesMut::new();
        for byte in &whole[..whole.len() - 1] {
            input.extend_from_slice(&[*byte]);
            assert_eq!(decoder.decode(&mut input), Ok(None));
            assert!(decoder.is_inside(&input));
            assert!(decoder.missing(&input) > 0);
        }
        input.extend_from_slice(&whole[whole.len() - 1..]);
        assert!(decoder.decode(&mut input).unwrap().is_some());
        assert!(!decoder.is_inside(&input));
    }
}

#[test]
fn a_payload_is_a_slice_of_what_came() {
    let mut input = raw(Style::Simple, 0, c::CMD_WRITE, 0, 4096);
    input.extend_from_slice(&[1; 4096]);
    let place = input[COMPACT_BYTES..].as_ptr();
    let frame = RequestDecoder::new(Style::Simple).decode(&mut input).unwrap().unwrap();
    assert_eq!(frame.payload.as_ptr(), place);
}

#[test]
fn another_magic_ends_the_stream() {
    for (style, magic) in [
        (Style::Simple, c::EXTENDED_REQUEST_MAGIC),
        (Style::Structured, c::EXTENDED_REQUEST_MAGIC),
        (Style::Extended, c::REQUEST_MAGIC),
    ] {
        let mut input = BytesMut::from(&[0; 40][..]);
        input[..4].copy_from_slice(&magic.to_be_bytes());
        assert_eq!(RequestDecoder::new(style).decode(&mut input), Err(RequestError::Magic(magic)));
    }
}

#[test]
fn a_payload_beyond_the_limit_is_refused_before_it_comes() {
    for style in STYLES {
        let at_limit = u64::from(PAYLOAD_MAX);
        let mut input = raw(style, 0, c::CMD_WRITE, 0, at_limit);
        let mut decoder = RequestDecoder::new(style);
        assert_eq!(decoder.decode(&mut input), Ok(None));
        assert_eq!(decoder.missing(&input), PAYLOAD_MAX as usize);
        let mut input = raw(style, 0, c::CMD_WRITE, 0, at_limit + 1);
        assert!(matches!(
            RequestDecoder::new(style).decode(&mut input),
            Err(RequestError::PayloadTooLarge(header)) if header.cookie == Cookie(7)
        ));
    }
    let mut input = raw(Style::Extended, 1 << 5, c::CMD_TRIM, 0, u64::MAX);
    let outcome = RequestDecoder::new(Style::Extended).decode(&mut input);
    assert!(matches!(outcome, Err(RequestError::PayloadTooLarge(_))));
}

#[test]
fn a_payload_that_a_command_does_not_expect_is_consumed() {
    let mut input = raw(Style::Extended, 1 << 5, c::CMD_READ, 0, 5);
    input.extend_from_slice(b"extra");
    let frame = RequestDecoder::new(Style::Extended).decode(&mut input).unwrap().unwrap();
    assert_eq!(frame.payload, &b"extra"[..]);
    assert!(input.is_empty());
}

#[test]
fn an_extended_write_has_a_payload_with_and_without_the_flag() {
    for flags in [0, 1 << 5] {
        let mut input = raw(Style::Extended, flags, c::CMD_WRITE, 0, 3);
        input.extend_from_slice(b"abc");
        let frame = RequestDecoder::new(Style::Extended).decode(&mut input).unwrap().unwrap();
        assert_eq!(frame.payload, &b"abc"[..]);
    }
}

#[test]
fn a_disconnect_waits_for_no_payload() {
    let mut input = raw(Style::Extended, 1 << 5, c::CMD_DISC, 0, u64::MAX);
    let frame = RequestDecoder::new(Style::Extended).decode(&mut input).unwrap().unwrap();
    assert_eq!(frame.header.command, c::CMD_DISC);
}

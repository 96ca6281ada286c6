//! Every row of the table of bad requests, in every style.

use blockferry_device::Features;
use bytes::Bytes;

use super::*;
use crate::request::Cookie;

const SIZE: u64 = 1 << 30;
const LONG: u64 = PAYLOAD_MAX as u64 + 1;

const ALL: Features = Features {
    read_only: false,
    flush: true,
    fua: true,
    trim: true,
    write_zeroes: true,
    fast_zero: true,
    cache: true,
    block_status: true,
    multi_conn: true,
    rotational: true,
};

struct Asked {
    device: DeviceInfo,
    style: Style,
    context: Option<u32>,
}

impl Asked {
    const fn of(features: Features) -> Self {
        let device = DeviceInfo::new(SIZE, features);
        Self { device, style: Style::Structured, context: Some(1) }
    }

    fn admit(&self, command: u16, flags: u16, offset: u64, length: u64) -> Result<Admitted, Errno> {
        let header = RequestHeader {
            flags: CommandFlags(flags),
            command,
            cookie: Cookie(1),
            offset,
            length,
        };
        let writes = command == c::CMD_WRITE;
        let payload = if writes {
            Bytes::from(vec![0; usize::try_from(length).unwrap()])
        } else {
            Bytes::new()
        };
        let negotiated = Negotiated { style: self.style, allocation_context: self.context };
        let ahead = admit_ahead(&header, &self.device, &negotiated);
        let admitted = admit(RequestFrame { header, payload }, &self.device, &negotiated);
        let is_plain_write =
            matches!(admitted, Ok(Admitted::Call(Request::Write { fua: false, .. })));
        assert_eq!(ahead.is_some_and(|extent| !extent.is_empty()), is_plain_write, "{header:?}");
        admitted.map_err(|failure| failure.errno)
    }
}

const FUA: u16 = 1;
const NO_HOLE: u16 = 2;
const DF: u16 = 4;
const REQ_ONE: u16 = 8;
const FAST_ZERO: u16 = 16;
const PAYLOAD_LEN: u16 = 32;

#[test]
fn requests_of_no_bytes_are_answered_with_success() {
    let asked = Asked::of(ALL);
    for command in [c::CMD_READ, c::CMD_WRITE, c::CMD_TRIM, c::CMD_WRITE_ZEROES, c::CMD_CACHE] {
        assert_eq!(asked.admit(command, 0, 0, 0), Ok(Admitted::Nothing), "command {command}");
        assert_eq!(asked.admit(command, 0, SIZE, 0), Ok(Admitted::Nothing), "command {command}");
    }
}

#[test]
fn the_block_status_of_nothing_is_refused() {
    assert_eq!(Asked::of(ALL).admit(c::CMD_BLOCK_STATUS, 0, 0, 0), Err(Errno::Inval));
}

#[test]
fn what_reaches_beyond_the_end_is_refused() {
    let asked = Asked::of(ALL);
    for (command, expected) in [
        (c::CMD_READ, Errno::Inval),
        (c::CMD_TRIM, Errno::Inval),
        (c::CMD_CACHE, Errno::Inval),
        (c::CMD_BLOCK_STATUS, Errno::Inval),
        (c::CMD_WRITE, Errno::NoSpc),
        (c::CMD_WRITE_ZEROES, Errno::NoSpc),
    ] {
        assert_eq!(asked.admit(command, 0, SIZE - 1, 2), Err(expected), "command {command}");
        assert!(asked.admit(command, 0, SIZE - 1, 1).is_ok(), "command {command}");
    }
}

#[test]
fn an_end_that_overflows_is_invalid() {
    let asked = Asked::of(ALL);
    for command in [c::CMD_READ, c::CMD_WRITE, c::CMD_TRIM, c::CMD_WRITE_ZEROES] {
        assert_eq!(asked.admit(command, 0, u64::MAX, 2), Err(Errno::Inval), "command {command}");
    }
    assert_eq!(asked.admit(c::CMD_TRIM, 0, 1, u64::MAX), Err(Errno::Inval));
}

#[test]
fn unknown_commands_are_invalid() {
    let asked = Asked::of(ALL);
    for command in [8, 9, 100, u16::MAX] {
        assert_eq!(asked.admit(command, 0, 0, 0), Err(Errno::Inval), "command {command}");
    }
}

#[test]
fn a_flush_with_offset_or_length_is_invalid() {
    let asked = Asked::of(ALL);
    assert_eq!(asked.admit(c::CMD_FLUSH, 0, 0, 0), Ok(Admitted::Call(Request::Flush)));
    assert_eq!(asked.admit(c::CMD_FLUSH, 0, 0, 1), Err(Errno::Inval));
    assert_eq!(asked.admit(c::CMD_FLUSH, 0, 1, 0), Err(Errno::Inval));
}

#[test]
fn reads_longer_than_a_payload_are_refused() {
    let asked = Asked::of(ALL);
    assert!(asked.admit(c::CMD_READ, 0, 0, LONG - 1).is_ok());
    assert_eq!(asked.admit(c::CMD_READ, 0, 0, LONG), Err(Errno::Inval));
    assert_eq!(asked.admit(c::CMD_READ, DF, 0, LONG), Err(Errno::Overflow));
}

#[test]
fn effects_longer_than_a_payload_are_taken() {
    let mut asked = Asked::of(ALL);
    asked.device.size = 1 << 50;
    for command in [c::CMD_TRIM, c::CMD_WRITE_ZEROES, c::CMD_CACHE, c::CMD_BLOCK_STATUS] {
        assert!(asked.admit(command, 0, 0, 1 << 50).is_ok(), "command {command}");
    }
}

#[test]
fn flags_are_valid_only_on_their_commands() {
    let asked = Asked::of(ALL);
    for (command, valid) in [
        (c::CMD_READ, FUA | DF),
        (c::CMD_WRITE, FUA),
        (c::CMD_FLUSH, FUA),
        (c::CMD_TRIM, FUA),
        (c::CMD_CACHE, FUA),
        (c::CMD_WRITE_ZEROES, FUA | NO_HOLE | FAST_ZERO),
        (c::CMD_BLOCK_STATUS, FUA | REQ_ONE),
    ] {
        let length = u64::from(command != c::CMD_FLUSH);
        for bit in 0..16 {
            let flag = 1 << bit;
            let outcome = asked.admit(command, flag, 0, length);
            assert_eq!(outcome.is_ok(), valid & flag != 0, "command {command}, flag {flag:#x}");
        }
    }
}

#[test]
fn flags_that_were_not_negotiated_are_invalid() {
    let asked = Asked::of(Features { fua: false, fast_zero: false, ..ALL });
    assert_eq!(asked.admit(c::CMD_WRITE, FUA, 0, 1), Err(Errno::Inval));
    assert_eq!(asked.admit(c::CMD_WRITE_ZEROES, FAST_ZERO, 0, 1), Err(Errno::Inval));
    let simple = Asked { style: Style::Simple, ..Asked::of(ALL) };
    assert_eq!(simple.admit(c::CMD_READ, DF, 0, 1), Err(Errno::Inval));
    assert_eq!(simple.admit(c::CMD_WRITE, PAYLOAD_LEN, 0, 1), Err(Errno::Inval));
    let extended = Asked { style: Style::Extended, ..Asked::of(ALL) };
    assert!(extended.admit(c::CMD_WRITE, PAYLOAD_LEN, 0, 1).is_ok());
    assert_eq!(extended.admit(c::CMD_BLOCK_STATUS, PAYLOAD_LEN, 0, 1), Err(Errno::Inval));
}

#[test]
fn commands_that_were_not_offered_are_invalid() {
    let asked = Asked::of(Features::default());
    for command in
        [c::CMD_FLUSH, c::CMD_TRIM, c::CMD_WRITE_ZEROES, c::CMD_CACHE, c::CMD_BLOCK_STATUS]
    {
        let length = u64::from(command != c::CMD_FLUSH);
        assert_eq!(asked.admit(command, 0, 0, length), Err(Errno::Inval), "command {command}");
    }
    let without_context = Asked { context: None, ..Asked::of(ALL) };
    assert_eq!(without_context.admit(c::CMD_BLOCK_STATUS, 0, 0, 1), Err(Errno::Inval));
}

#[test]
fn writes_to_a_read_only_export_are_not_permitted() {
    let asked = Asked::of(Features { read_only: true, ..ALL });
    for command in [c::CMD_WRITE, c::CMD_TRIM, c::CMD_WRITE_ZEROES] {
        assert_eq!(asked.admit(command, 0, 0, 1), Err(Errno::Perm), "command {command}");
    }
    assert!(asked.admit(c::CMD_READ, 0, 0, 1).is_ok());
}

#[test]
fn requests_that_miss_the_block_size_are_invalid() {
    let mut asked = Asked::of(ALL);
    asked.device.block_size_min = 512;
    assert_eq!(asked.admit(c::CMD_READ, 0, 1, 512), Err(Errno::Inval));
    assert_eq!(asked.admit(c::CMD_WRITE, 0, 512, 1), Err(Errno::Inval));
    assert!(asked.admit(c::CMD_READ, 0, 512, 1024).is_ok());
}

#[test]
fn a_disconnect_is_one_whatever_else_it_says() {
    assert_eq!(Asked::of(ALL).admit(c::CMD_DISC, 0xffff, 1, 1), Ok(Admitted::Disconnect));
}

//! The requests that a client sends to our server.

use blockferry_block::Extent;
use blockferry_device::{
    DeviceInfo, Errno, Failure, Features, ReadPart, Reply, Request, Segment, SegmentState,
};
use blockferry_nbd_wire::{
    Admitted, Negotiated, Outbox, RequestDecoder, RequestError, RequestFrame, admit, encode_reply,
};
use bytes::Buf;

use crate::pieces::feed;
use crate::replies::style;

/// The device that is served.
pub fn device() -> DeviceInfo {
    let features = Features {
        read_only: false,
        flush: true,
        fua: true,
        trim: true,
        write_zeroes: true,
        fast_zero: true,
        cache: true,
        block_status: true,
        multi_conn: true,
        rotational: false,
    };
    DeviceInfo::new(1 << 20, features)
}

/// A client's bytes after the handshake; the first byte picks the framing and the device.
pub fn request_parser(data: &[u8]) {
    let Some((variant, data)) = data.split_first() else { return };
    let (frames, end) = decode(*variant, data, None);
    let (again, end_again) = decode(*variant, data, Some(1 + data.len() % 7));
    assert_eq!((&frames, end), (&again, end_again));
    for frame in frames {
        answer(*variant, frame);
    }
}

fn decode(
    variant: u8,
    data: &[u8],
    length: Option<usize>,
) -> (Vec<RequestFrame>, Option<RequestError>) {
    let mut decoder = RequestDecoder::new(style(variant));
    let mut frames = Vec::new();
    let end = feed(data, length, |input| {
        loop {
            match decoder.decode(input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => {
                    assert!(decoder.missing(input) > 0);
                    return None;
                }
                Err(error) => return Some(error),
            }
        }
    });
    (frames, end)
}

/// Admits the request and answers it; what reaches the device must fit it.
fn answer(variant: u8, frame: RequestFrame) {
    let header = frame.header;
    let mut device = device();
    device.features.read_only = variant & 4 != 0;
    device.block_size_min = if variant & 8 != 0 { 512 } else { 1 };
    let negotiated =
        Negotiated { style: style(variant), allocation_context: (variant & 16 != 0).then_some(1) };
    let outcome = match admit(frame, &device, &negotiated) {
        Ok(Admitted::Disconnect) => return,
        Ok(Admitted::Nothing) => Ok(Reply::Done),
        Ok(Admitted::Call(request)) => {
            assert_eq!(device.check(&request), Ok(()));
            let extent = request.extent().unwrap_or(Extent::whole(0));
            assert!(device.extent().contains(extent));
            execute(&request, extent)
        }
        Err(failure) => Err(failure),
    };
    let mut out = Outbox::new();
    encode_reply(&mut out, &negotiated, &header, outcome);
    assert!(out.remaining() >= 16);
}

fn execute(request: &Request, extent: Extent) -> Result<Reply, Failure> {
    match request {
        Request::Read { .. } => {
            let first = extent.len() / 2;
            let holes = [first, extent.len() - first].into_iter().filter(|length| *length > 0);
            Ok(Reply::Read(holes.map(ReadPart::Hole).collect()))
        }
        Request::BlockStatus { .. } => Ok(Reply::BlockStatus(vec![
            Segment { length: 1, state: SegmentState::DATA },
            Segment { length: u64::MAX - 1, state: SegmentState::HOLE },
            Segment { length: 2, state: SegmentState::DATA },
        ])),
        Request::Trim { .. } => Err(Failure::new(Errno::Io, "x".repeat(5000))),
        _ => Ok(Reply::Done),
    }
}

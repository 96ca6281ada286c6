//! Requests and answers of our own making, there and back: what a client encodes the server
//! understands, and the other way round.

use blockferry_block::Extent;
use blockferry_device::{
    DeviceInfo, Errno, Failure, PAYLOAD_MAX, ReadPart, Reply, Request, Segment, SegmentState,
};
use blockferry_nbd_wire::{
    Admitted, Assembler, Cookie, Negotiated, Outbox, ReplyDecoder, RequestDecoder, Style, admit,
    encode_reply, encode_request, in_one_piece,
};
use bytes::{Buf, Bytes, BytesMut};
use libfuzzer_sys::arbitrary::{Result, Unstructured};

use crate::replies::style;
use crate::requests::device;

/// Largest read or write that is tried, in bytes; larger ones only cost time.
const LENGTH_MAX: u64 = 4096;

/// A request and its outcome, both drawn from the bytes.
pub fn roundtrip(data: &[u8]) {
    // Bytes that run out end the attempt.
    let _ = attempt(&mut Unstructured::new(data));
}

fn attempt(u: &mut Unstructured<'_>) -> Result<()> {
    let negotiated = Negotiated { style: style(u.arbitrary()?), allocation_context: Some(1) };
    let device = DeviceInfo { size: 1 << 40, ..device() };
    let request = request(u, negotiated.style)?;
    let cookie = Cookie(u.arbitrary()?);
    let mut out = Outbox::new();
    encode_request(&mut out, negotiated.style, cookie, &request);
    let mut wire = drain(out);
    let mut decoder = RequestDecoder::new(negotiated.style);
    let frame = decoder.decode(&mut wire).expect("our own bytes").expect("a whole request");
    assert!(wire.is_empty() && frame.header.cookie == cookie);
    let header = frame.header;
    match admit(frame, &device, &negotiated) {
        Ok(Admitted::Call(admitted)) => assert_eq!(admitted, request),
        Ok(Admitted::Nothing) => assert!(request.extent().is_some_and(Extent::is_empty)),
        other => panic!("{request:?} was not admitted: {other:?}"),
    }
    let outcome = outcome(u, &request)?;
    let mut out = Outbox::new();
    encode_reply(&mut out, &negotiated, &header, outcome.clone());
    let mut wire = drain(out);
    let flag = matches!(request, Request::Read { dont_fragment: true, .. });
    let mut assembler = Assembler::new(&request, &negotiated, flag);
    let mut decoder = ReplyDecoder::new(negotiated.style);
    let received = loop {
        let frame = decoder
            .decode(&mut wire, |found| (found == cookie).then_some(&assembler))
            .expect("our own bytes")
            .expect("a whole frame");
        if let Some(received) = assembler.take(frame).expect("our own bytes") {
            break received;
        }
    };
    assert!(wire.is_empty());
    assert_eq!(received, expected(outcome, &request, negotiated.style));
    Ok(())
}

fn request(u: &mut Unstructured<'_>, style: Style) -> Result<Request> {
    let extent = extent(u, LENGTH_MAX)?;
    let longest = if style == Style::Extended { 1 << 39 } else { u64::from(u32::MAX) };
    let effect = extent_of(u, longest)?;
    Ok(match u.int_in_range(0..=6)? {
        0 => Request::Read { extent, dont_fragment: style != Style::Simple && u.arbitrary()? },
        1 => {
            let length = usize::try_from(extent.len()).unwrap_or_default();
            let data = Bytes::from(vec![u.arbitrary()?; length]);
            Request::Write { offset: extent.start(), data, fua: u.arbitrary()? }
        }
        2 => Request::WriteZeroes {
            extent: effect,
            fua: u.arbitrary()?,
            no_hole: u.arbitrary()?,
            fast_zero: u.arbitrary()?,
        },
        3 => Request::Trim { extent: effect, fua: u.arbitrary()? },
        4 => Request::Flush,
        5 => Request::Cache { extent: effect },
        _ if style == Style::Simple || effect.is_empty() => Request::Flush,
        _ => Request::BlockStatus { extent: effect, one: u.arbitrary()? },
    })
}

fn extent(u: &mut Unstructured<'_>, longest: u64) -> Result<Extent> {
    assert!(longest <= u64::from(PAYLOAD_MAX));
    extent_of(u, longest)
}

fn extent_of(u: &mut Unstructured<'_>, longest: u64) -> Result<Extent> {
    let start = u.int_in_range(0..=(1 << 39))?;
    Ok(Extent::between(start, start + u.int_in_range(0..=longest)?))
}

fn outcome(
    u: &mut Unstructured<'_>,
    request: &Request,
) -> Result<std::result::Result<Reply, Failure>> {
    if u.ratio(1, 8)? {
        let errno = Errno::from_code(u.arbitrary::<u8>()?.into());
        let text: String = u.arbitrary::<&str>()?.chars().filter(|c| !c.is_control()).collect();
        return Ok(Err(Failure::new(errno, text)));
    }
    let length = request.extent().map_or(0, Extent::len);
    Ok(Ok(match request {
        Request::Read { .. } => Reply::Read(parts(u, length)?),
        Request::BlockStatus { .. } => Reply::BlockStatus(segments(u, length)?),
        _ => Reply::Done,
    }))
}

fn parts(u: &mut Unstructured<'_>, length: u64) -> Result<Vec<ReadPart>> {
    let mut parts = Vec::new();
    let mut left = length;
    while left > 0 {
        // Without this, bytes that have run out would make pieces of one byte each.
        let now = if u.is_empty() { left } else { u.int_in_range(1..=left)? };
        left -= now;
        parts.push(if u.arbitrary()? {
            ReadPart::Hole(now)
        } else {
            let now = usize::try_from(now).unwrap_or_default();
            ReadPart::Data(Bytes::from(vec![u.arbitrary()?; now]))
        });
    }
    Ok(parts)
}

fn segments(u: &mut Unstructured<'_>, length: u64) -> Result<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut left = length;
    while left > 0 && (segments.is_empty() || u.arbitrary()?) {
        let now = u.int_in_range(1..=left)?;
        left -= now;
        let state = SegmentState { hole: u.arbitrary()?, zero: u.arbitrary()? };
        segments.push(Segment { length: now, state });
    }
    Ok(segments)
}

/// What the client has to make of the outcome.
fn expected(
    outcome: std::result::Result<Reply, Failure>,
    request: &Request,
    style: Style,
) -> std::result::Result<Reply, Failure> {
    match (outcome, request) {
        (Err(failure), _) if style == Style::Simple => Err(Failure::new(failure.errno, "")),
        (Ok(Reply::Read(parts)), Request::Read { dont_fragment, .. }) => {
            let whole = style == Style::Simple || *dont_fragment;
            Ok(Reply::Read(if whole { in_one_piece(parts) } else { parts }))
        }
        (Ok(Reply::BlockStatus(segments)), Request::BlockStatus { one: true, .. }) => {
            Ok(Reply::BlockStatus(segments[..1].to_vec()))
        }
        (outcome, _) => outcome,
    }
}

fn drain(mut out: Outbox) -> BytesMut {
    let length = out.remaining();
    BytesMut::from(&out.copy_to_bytes(length)[..])
}

//! What one request and one reply cost, without a socket.

use std::hint::black_box;

use blockferry_block::Extent;
use blockferry_device::{ReadPart, Reply, Request};
use blockferry_nbd_wire::{
    CommandFlags, Cookie, Negotiated, Outbox, RequestDecoder, RequestHeader, Style, constants,
    encode_reply, encode_request,
};
use bytes::{Buf, Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// Requests that come in one receive.
const BATCH: u64 = 32;
/// Bytes of a request.
const BLOCK: u64 = 4096;

const STYLES: [(&str, Style); 3] =
    [("simple", Style::Simple), ("structured", Style::Structured), ("extended", Style::Extended)];

fn decode_requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode 32 requests");
    group.throughput(Throughput::Elements(BATCH));
    for (name, style) in STYLES {
        for (kind, request) in [("reads", read as fn(u64) -> Request), ("writes", write)] {
            let bytes = received(style, request);
            group.bench_function(format!("{kind}, {name}"), |bencher| {
                bencher.iter_batched(
                    || (RequestDecoder::new(style), BytesMut::from(&bytes[..])),
                    |(mut decoder, mut input)| {
                        while let Ok(Some(frame)) = decoder.decode(&mut input) {
                            black_box(frame);
                        }
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

fn encode_replies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode 32 replies");
    group.throughput(Throughput::Elements(BATCH));
    let data = Bytes::from(vec![1; BLOCK as usize]);
    for (name, style) in STYLES {
        let negotiated = Negotiated { style, allocation_context: None };
        for (kind, command) in [("reads", constants::CMD_READ), ("writes", constants::CMD_WRITE)] {
            group.bench_function(format!("{kind}, {name}"), |bencher| {
                bencher.iter(|| {
                    let mut out = Outbox::new();
                    for cookie in 0..BATCH {
                        let reply = match command {
                            constants::CMD_READ => Reply::Read(vec![ReadPart::Data(data.clone())]),
                            _ => Reply::Done,
                        };
                        encode_reply(&mut out, &negotiated, &header(command, cookie), Ok(reply));
                    }
                    black_box(out)
                });
            });
        }
    }
    group.finish();
}

fn read(number: u64) -> Request {
    Request::Read {
        extent: Extent::between(number * BLOCK, (number + 1) * BLOCK),
        dont_fragment: false,
    }
}

fn write(number: u64) -> Request {
    let data = Bytes::from(vec![1; BLOCK as usize]);
    Request::Write { offset: number * BLOCK, data, fua: false }
}

fn header(command: u16, cookie: u64) -> RequestHeader {
    RequestHeader {
        flags: CommandFlags::default(),
        command,
        cookie: Cookie(cookie),
        offset: cookie * BLOCK,
        length: BLOCK,
    }
}

/// What a server receives of a pipeline of requests.
fn received(style: Style, request: fn(u64) -> Request) -> Bytes {
    let mut out = Outbox::new();
    for number in 0..BATCH {
        encode_request(&mut out, style, Cookie(number), &request(number));
    }
    out.copy_to_bytes(out.remaining())
}

criterion_group!(benches, decode_requests, encode_replies);
criterion_main!(benches);

//! What a session costs for each command: from the bytes of a window of commands to the bytes of their
//! answers.

use std::hint::black_box;

use blockferry_iscsi::pdu::{Attribute, LoginRequest, ScsiCommand};
use blockferry_iscsi::{
    Admission, DataPart, Decoder, Delivery, Event, Isid, Itt, Login, LoginStep, Lun, Offer, Outbox,
    Outcome, PortalGroup, Serial, Session, SessionLimits, Tsih,
};
use bytes::{Buf, Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Commands under way at a time.
const DEPTH: u32 = 32;
/// Data of each, in bytes.
const LENGTH: u32 = 4096;

fn commands(c: &mut Criterion) {
    let mut group = c.benchmark_group("session");
    group.throughput(Throughput::Elements(u64::from(DEPTH)));
    for (name, write) in [("read", false), ("write", true)] {
        let (mut session, mut cmd_sn) = (session(), 1);
        let mut decoder = Decoder::new();
        decoder.set(session.parameters().digests, session.parameters().target_segment_max);
        let data = Bytes::from(vec![7; LENGTH as usize]);
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut input = batch(cmd_sn, write, &data);
                cmd_sn = cmd_sn.wrapping_add(DEPTH);
                while let Ok(Some(pdu)) = decoder.decode(&mut input) {
                    session.handle(pdu).expect("our own bytes");
                }
                answer(&mut session, &data);
            });
        });
        group.bench_function(format!("{name}, the initiator's part alone"), |b| {
            b.iter(|| black_box(batch(1, write, &data)));
        });
    }
    group.finish();
}

/// The bytes of a window of commands.
fn batch(cmd_sn: u32, write: bool, data: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::with_capacity((DEPTH * (LENGTH + 64)) as usize);
    let mut outbox = Outbox::new();
    for number in 0..DEPTH {
        let command = ScsiCommand {
            immediate: false,
            last: true,
            read: !write,
            write,
            attribute: Attribute::Simple,
            lun: Lun(0),
            itt: Itt(number),
            expected_length: LENGTH,
            cmd_sn: Serial(cmd_sn).plus(number),
            expected_stat_sn: Serial(0),
            cdb: [0; 16],
        };
        outbox.put_pdu(command.encode(), &[], if write { data } else { &[] });
    }
    outbox.pieces().for_each(|piece| bytes.extend_from_slice(piece));
    bytes
}

fn answer(session: &mut Session, data: &Bytes) {
    while let Some(event) = session.poll_event() {
        let Event::Command(command) = event else { panic!("{event:?}") };
        if command.write_length > 0 {
            black_box(session.take(command.task, LENGTH, Delivery::Whole));
            session.respond(command.task, Outcome::good(u64::from(LENGTH)), &[]);
        } else {
            let part = [DataPart::Bytes(data.clone())];
            session.respond(command.task, Outcome::good(u64::from(LENGTH)), &part);
        }
    }
    let output = session.output();
    output.advance(output.remaining());
}

fn session() -> Session {
    let limits = SessionLimits::default();
    let mut login = Login::new(Offer::default(), PortalGroup(1), limits);
    let request = LoginRequest {
        expected_stat_sn: Serial(1),
        ..LoginRequest::straight(Isid([0x80, 0, 0, 0, 0, 1]), Itt(1), Serial(1))
    };
    let text = b"InitiatorName=iqn.2026-01.io.blockferry:initiator\0\
        TargetName=iqn.2026-01.io.blockferry:vol\0MaxRecvDataSegmentLength=262144\0";
    let mut outbox = Outbox::new();
    outbox.put_pdu(request.encode(), &[], text);
    let mut input = BytesMut::from(&outbox.pieces().collect::<Vec<_>>().concat()[..]);
    let pdu = Decoder::new().decode(&mut input).expect("our own bytes").expect("a whole PDU");
    login.handle(&pdu);
    match login.answer(Admission::Serve { tsih: Tsih(1), chap: None }) {
        LoginStep::Established(established) => Session::new(*established, limits),
        step => panic!("{step:?}"),
    }
}

criterion_group!(benches, commands);
criterion_main!(benches);

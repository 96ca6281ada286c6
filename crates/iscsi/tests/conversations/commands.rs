use blockferry_iscsi::pdu::{
    Attribute, NopOut, RejectReason, Request, Residual, Response, ScsiCommand, Snack, Status,
};
use blockferry_iscsi::{
    DataPart, Decoder, Event, Fault, Header, Itt, Lun, Opcode, Outcome, Pdu, Serial, Ttt,
};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use crate::talk::Talk;

fn bytes(length: usize) -> DataPart {
    DataPart::Bytes((0..length).map(|at| (at % 251) as u8).collect::<Vec<_>>().into())
}

fn rejected(talk: &mut Talk) -> RejectReason {
    match talk.response() {
        (Response::Reject(reject), header) => {
            assert_eq!(header.len(), Header::BYTES, "a Reject has the header that it is about");
            reject.reason
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_command_is_delivered_with_all_that_it_says() {
    let mut talk = Talk::new(&[]);
    let command = ScsiCommand {
        read: true,
        attribute: Attribute::Ordered,
        lun: Lun::from_number(3).unwrap(),
        expected_length: 512,
        cdb: [0x28; 16],
        ..talk.command()
    };
    talk.send_with_ahs(Request::ScsiCommand(command), &[0, 3, 1, 0, 7, 8, 0, 0], b"").unwrap();
    let delivered = talk.delivered();
    assert_eq!((delivered.lun, delivered.attribute), (command.lun, Attribute::Ordered));
    assert_eq!((delivered.read_length, delivered.write_length), (512, 0));
    assert_eq!(*delivered.cdb, [&[0x28; 16][..], &[7, 8]].concat());
}

#[test]
fn a_read_is_answered_in_one_pdu_with_its_status() {
    let mut talk = Talk::new(&[]);
    let read = talk.read(512);
    talk.session.respond(read.task, Outcome::good(512), &[bytes(512)]);
    let (Response::DataIn(data), content) = talk.response() else { panic!("no data") };
    assert_eq!(data.end, Some((Status::GOOD, Residual::None)));
    assert!(data.last && data.itt == Itt(10) && data.ttt == Ttt::NONE);
    assert_eq!(bytes(512), DataPart::Bytes(content));
}

/// Expected length, what the command transfers, what is sent, and the residual.
#[test]
fn residuals_of_reads_are_those_of_the_table() {
    for (expected, transfers, sent, residual) in [
        (512, 512, 512, Residual::None),
        (0, 512, 0, Residual::Overflow(512)),
        (10_000, 512, 512, Residual::Underflow(9488)),
        (200, 512, 200, Residual::Overflow(312)),
        (512, 1024, 512, Residual::Overflow(512)),
        (512, 0, 0, Residual::Underflow(512)),
    ] {
        let mut talk = Talk::new(&[]);
        let read = talk.read(expected);
        talk.session.respond(read.task, Outcome::good(transfers), &[bytes(transfers as usize)]);
        let (response, data) = talk.response();
        let told = match response {
            Response::DataIn(data) => data.end.unwrap(),
            Response::Scsi(response) => (response.status, response.residual),
            other => panic!("{other:?}"),
        };
        assert_eq!((told, data.len()), ((Status::GOOD, residual), sent), "{expected} {transfers}");
    }
}

#[test]
fn sense_data_comes_behind_its_length_and_never_with_data() {
    let mut talk = Talk::new(&[]);
    let read = talk.read(512);
    let sense = Bytes::from_static(&[0x70, 0, 3]);
    talk.session.respond(read.task, Outcome::check_condition(sense.clone()), &[]);
    let (Response::Scsi(response), data) = talk.response() else { panic!("no status") };
    assert_eq!(response.status, Status::CHECK_CONDITION);
    assert_eq!((response.residual, &data[..]), (Residual::Underflow(512), &[0, 3, 0x70, 0, 3][..]));
    let read = talk.read(512);
    let outcome = Outcome { transfers: 100, ..Outcome::check_condition(sense) };
    talk.session.respond(read.task, outcome, &[bytes(100)]);
    let responses = talk.responses();
    let [(Response::DataIn(data), _), (Response::Scsi(status), _)] = &responses[..] else {
        panic!("{responses:?}")
    };
    assert_eq!((data.end, data.last), (None, true));
    assert_eq!((status.residual, status.expected_data_sn), (Residual::Underflow(412), 1));
}

#[test]
fn a_command_without_data_has_a_status_alone() {
    let mut talk = Talk::new(&[]);
    let task = talk.plain();
    talk.session.respond(task, Outcome::good(0), &[]);
    let (Response::Scsi(response), _) = talk.response() else { panic!("no status") };
    assert_eq!((response.status, response.residual), (Status::GOOD, Residual::None));
}

#[test]
fn answers_to_a_batch_leave_together_and_large_data_is_not_copied() {
    let mut talk = Talk::new(&[]);
    let tasks = [talk.read(4096).task, talk.read(4096).task];
    let data = Bytes::from(vec![1; 4096]);
    for task in tasks {
        talk.session.respond(task, Outcome::good(4096), &[DataPart::Bytes(data.clone())]);
    }
    let places: Vec<_> = talk.session.output().pieces().map(<[u8]>::as_ptr).collect();
    assert_eq!((places.len(), places[1], places[3]), (4, data.as_ptr(), data.as_ptr()));
}

#[test]
fn commands_that_contradict_themselves_are_rejected_and_the_session_goes_on() {
    type Change = fn(&mut ScsiCommand);
    let table: [(Change, &[u8], &[u8], RejectReason); 7] = [
        (|c| (c.read, c.write) = (true, true), &[], &[], RejectReason::NOT_SUPPORTED),
        (|c| c.itt = Itt::NONE, &[], &[], RejectReason::INVALID_FIELD),
        (|c| c.itt = Itt(10), &[], &[], RejectReason::TASK_IN_PROGRESS),
        (|_| {}, &[], b"data", RejectReason::PROTOCOL_ERROR),
        (|c| c.last = false, &[], &[], RejectReason::PROTOCOL_ERROR),
        (|_| {}, &[0, 5, 2, 0, 0, 0, 2, 0], &[], RejectReason::NOT_SUPPORTED),
        (|_| {}, &[0, 5, 9, 0, 0, 0, 2, 0], &[], RejectReason::INVALID_FIELD),
    ];
    let mut talk = Talk::new(&["InitialR2T=No"]);
    let first = talk.plain();
    for (change, ahs, data, reason) in table {
        let mut command = talk.command();
        change(&mut command);
        talk.send_with_ahs(Request::ScsiCommand(command), ahs, data).unwrap();
        assert_eq!(rejected(&mut talk), reason);
    }
    talk.plain();
    talk.session.respond(first, Outcome::good(0), &[]);
    assert!(matches!(talk.response().0, Response::Scsi(_)));
}

#[test]
fn immediate_data_that_was_not_agreed_on_is_rejected() {
    for (keys, expected_length, data) in [
        (&["ImmediateData=No"][..], 4096, 1),
        (&["FirstBurstLength=512"], 4096, 513),
        (&[], 100, 101),
    ] {
        let mut talk = Talk::new(keys);
        let command = ScsiCommand { write: true, expected_length, ..talk.command() };
        talk.send(Request::ScsiCommand(command), &vec![0; data]).unwrap();
        assert_eq!(rejected(&mut talk), RejectReason::PROTOCOL_ERROR);
    }
}

#[test]
fn what_needs_a_higher_recovery_level_or_does_not_exist_is_rejected() {
    let mut talk = Talk::new(&[]);
    let snack = Snack {
        kind: 1,
        lun: Lun(0),
        itt: Itt::NONE,
        ttt: Ttt::NONE,
        expected_stat_sn: Serial(0),
        begin: 0,
        count: 0,
    };
    talk.send(Request::Snack(snack), b"").unwrap();
    assert_eq!(rejected(&mut talk), RejectReason::SNACK);
    let mut header = [0; 48];
    header[0] = 0x1e;
    let pdu = Pdu { header: Header(header), ahs: Bytes::new(), data: Bytes::new() };
    talk.session.handle(pdu).unwrap();
    assert_eq!(rejected(&mut talk), RejectReason::NOT_SUPPORTED);
}

#[test]
fn what_a_session_has_no_place_for_ends_it() {
    for opcode in [Opcode::LOGIN_REQUEST, Opcode::SCSI_RESPONSE, Opcode::R2T] {
        let mut header = [0; 48];
        header[0] = opcode.0;
        let pdu = Pdu { header: Header(header), ahs: Bytes::new(), data: Bytes::new() };
        assert_eq!(Talk::new(&[]).session.handle(pdu), Err(Fault::Unexpected(opcode)));
    }
}

#[test]
fn pings_come_back_with_their_data() {
    let mut talk = Talk::new(&["MaxRecvDataSegmentLength=512"]);
    let ping = NopOut {
        immediate: true,
        lun: Lun(0),
        itt: Itt(77),
        ttt: Ttt::NONE,
        cmd_sn: talk.cmd_sn,
        expected_stat_sn: Serial(0),
    };
    for length in [0, 8, 512, 1000] {
        talk.send(Request::NopOut(ping), &vec![9; length]).unwrap();
        let (Response::NopIn(answer), data) = talk.response() else { panic!("no answer") };
        assert_eq!((answer.itt, answer.ttt, data.len()), (Itt(77), Ttt::NONE, length.min(512)));
    }
    talk.send(Request::NopOut(NopOut { itt: Itt::NONE, ..ping }), b"").unwrap();
    assert!(talk.responses().is_empty());
}

#[test]
fn the_target_pings_and_is_answered() {
    let mut talk = Talk::new(&[]);
    assert!(talk.session.ping());
    assert!(!talk.session.ping(), "one at a time");
    let (Response::NopIn(ping), _) = talk.response() else { panic!("no ping") };
    assert_eq!(ping.itt, Itt::NONE);
    assert_ne!(ping.ttt, Ttt::NONE);
    let pong = |ttt| NopOut {
        immediate: true,
        lun: Lun(0),
        itt: Itt::NONE,
        ttt,
        cmd_sn: Serial(100),
        expected_stat_sn: Serial(0),
    };
    talk.send(Request::NopOut(pong(Ttt(ping.ttt.0 + 1))), b"").unwrap();
    assert_eq!(talk.events(), []);
    talk.send(Request::NopOut(pong(ping.ttt)), b"").unwrap();
    assert_eq!(talk.events(), [Event::Pong]);
    assert!(talk.session.ping());
}

#[test]
fn unsent_output_stops_the_input() {
    let mut talk = Talk::new(&[]);
    assert!(talk.session.wants_input());
    for _ in 0..5 {
        let read = talk.read(1 << 20);
        talk.session.respond(read.task, Outcome::good(1 << 20), &[DataPart::Zeroes(1 << 20)]);
    }
    assert!(!talk.session.wants_input());
    talk.responses();
    assert!(talk.session.wants_input());
}

#[test]
fn digests_go_both_ways() {
    let mut talk = Talk::new(&["HeaderDigest=CRC32C", "DataDigest=CRC32C"]);
    let write = talk.write(5, b"hello");
    let data = talk.session.take(write.task, 5, blockferry_iscsi::Delivery::Whole).unwrap();
    assert_eq!(data.into_bytes(), b"hello"[..]);
    talk.session.respond(write.task, Outcome::good(5), &[]);
    let read = talk.read(5);
    let hello = DataPart::Bytes(Bytes::from_static(b"hello"));
    talk.session.respond(read.task, Outcome::good(5), &[hello]);
    let sent = talk.session.output().pieces().collect::<Vec<_>>().concat();
    assert_eq!(talk.responses().len(), 2);
    let mut decoder = Decoder::new();
    decoder.set(talk.session.parameters().digests, 8192);
    let mut damaged = BytesMut::from(&sent[..]);
    damaged[60] ^= 1;
    assert!(matches!(decoder.decode(&mut damaged), Ok(Some(_))));
    assert!(decoder.decode(&mut damaged).is_err());
}

proptest! {
    #[test]
    fn reads_are_cut_as_negotiated_and_arrive_whole(
        segment in 512..3000_u32,
        burst in 512..9000_u32,
        lengths in proptest::collection::vec(0..4000_u64, 0..5),
        zeroes: bool,
        expected in 1..16_000_u32,
    ) {
        let keys = [
            format!("MaxRecvDataSegmentLength={segment}"),
            format!("MaxBurstLength={burst}"),
        ];
        let mut talk = Talk::new(&keys.each_ref().map(String::as_str));
        let read = talk.read(expected);
        let parts: Vec<_> = lengths
            .iter()
            .map(|length| if zeroes { DataPart::Zeroes(*length) } else { bytes(*length as usize) })
            .collect();
        let total: u64 = lengths.iter().sum();
        talk.session.respond(read.task, Outcome::good(total), &parts);
        let (mut got, mut since_final, mut ended) = (Vec::new(), 0, None);
        for (number, (response, data)) in (0..).zip(talk.responses()) {
            prop_assert!(ended.is_none());
            match response {
                Response::DataIn(pdu) => {
                    prop_assert_eq!((pdu.data_sn, pdu.offset), (number, got.len() as u32));
                    prop_assert!(!data.is_empty() && data.len() as u32 <= segment);
                    got.extend_from_slice(&data);
                    since_final += data.len() as u32;
                    prop_assert!(since_final <= burst);
                    since_final = if pdu.last { 0 } else { since_final };
                    ended = pdu.end.map(|(_, residual)| residual);
                }
                Response::Scsi(pdu) => ended = Some(pdu.residual),
                other => panic!("{other:?}"),
            }
        }
        prop_assert_eq!(since_final, 0);
        let whole: Vec<u8> = parts.iter().flat_map(|part| match part {
            DataPart::Bytes(bytes) => bytes.to_vec(),
            DataPart::Zeroes(count) => vec![0; *count as usize],
        }).collect();
        prop_assert_eq!(&got[..], &whole[..whole.len().min(expected as usize)]);
        prop_assert_eq!(ended, Some(Residual::of(expected, total)));
    }
}

use blockferry_iscsi::pdu::{R2t, Request, Residual, Response, ScsiCommand, Status};
use blockferry_iscsi::{Command, Delivery, Event, Fault, Itt, Outcome, SessionLimits, Ttt};
use bytes::Bytes;

use crate::talk::{Talk, data_out};

pub(crate) fn content(length: u32) -> Bytes {
    (0..length).map(|at| (at % 251) as u8).collect::<Vec<_>>().into()
}

pub(crate) fn r2ts(talk: &mut Talk) -> Vec<R2t> {
    let responses = talk.responses().into_iter();
    let r2t = |(response, _)| match response {
        Response::R2t(r2t) => r2t,
        other => panic!("{other:?}"),
    };
    responses.map(r2t).collect()
}

fn taken(talk: &mut Talk, command: &Command, length: u32) -> Option<Bytes> {
    let data = talk.session.take(command.task, length, Delivery::Whole);
    data.map(blockferry_iscsi::Pieces::into_bytes)
}

/// The residual of the one status.
pub(crate) fn residual(talk: &mut Talk) -> Residual {
    match talk.response() {
        (Response::Scsi(response), _) => response.residual,
        other => panic!("{other:?}"),
    }
}

#[test]
fn immediate_data_is_there_at_once() {
    let mut talk = Talk::new(&[]);
    let write = talk.write(4096, &content(4096));
    assert_eq!((write.write_length, write.available), (4096, 4096));
    assert_eq!(taken(&mut talk, &write, 4096), Some(content(4096)));
    talk.session.respond(write.task, Outcome::good(4096), &[]);
    assert_eq!(residual(&mut talk), Residual::None);
}

/// Expected length, what the command takes, what of it comes, and the residual.
#[test]
fn residuals_of_writes_are_those_of_the_table() {
    for (expected, takes, comes, residual_expected) in [
        (0, 512, 0, Residual::Overflow(512)),
        (1024, 512, 512, Residual::Underflow(512)),
        (512, 1024, 512, Residual::Overflow(512)),
        (10_000, 512, 512, Residual::Underflow(9488)),
        (200, 512, 200, Residual::Overflow(312)),
        (512, 512, 512, Residual::None),
    ] {
        let mut talk = Talk::new(&["ImmediateData=Yes"]);
        let write = talk.write(expected, &content(expected));
        let data = taken(&mut talk, &write, takes).unwrap();
        assert_eq!(data, content(comes), "{expected} {takes}");
        talk.session.respond(write.task, Outcome::good(u64::from(takes)), &[]);
        assert_eq!(residual(&mut talk), residual_expected, "{expected} {takes}");
    }
}

#[test]
fn data_that_the_command_does_not_take_is_not_asked_for() {
    let mut talk = Talk::new(&["MaxBurstLength=4096"]);
    let write = talk.write(100_000, b"");
    assert_eq!(taken(&mut talk, &write, 5000), None);
    let first = r2ts(&mut talk);
    assert_eq!((first.len(), first[0].offset, first[0].length), (1, 0, 4096));
    talk.send(data_out(first[0].itt, first[0].ttt, 0, 0, true), &content(4096)).unwrap();
    let second = r2ts(&mut talk);
    assert_eq!((second[0].offset, second[0].length, second[0].r2t_sn), (4096, 904, 1));
    talk.send(data_out(second[0].itt, second[0].ttt, 0, 4096, true), &[1; 904]).unwrap();
    let events = talk.events();
    let [Event::Data { task, offset: 0, data, last: true }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((*task, data.len()), (write.task, 5000));
    assert!(r2ts(&mut talk).is_empty());
    talk.session.respond(write.task, Outcome::good(5000), &[]);
    assert_eq!(residual(&mut talk), Residual::Underflow(95_000));
}

#[test]
fn pieces_are_delivered_as_they_come() {
    let mut talk = Talk::new(&["InitialR2T=No"]);
    let command = ScsiCommand { write: true, last: false, expected_length: 3000, ..talk.command() };
    talk.send(Request::ScsiCommand(command), &content(1000)).unwrap();
    let write = talk.delivered();
    assert_eq!(talk.session.take(write.task, 3000, Delivery::Pieces), None);
    talk.send(data_out(command.itt, Ttt::NONE, 0, 1000, false), &content(1500)).unwrap();
    talk.send(data_out(command.itt, Ttt::NONE, 1, 2500, true), &content(500)).unwrap();
    let pieces: Vec<_> = talk
        .events()
        .into_iter()
        .map(|event| match event {
            Event::Data { offset, data, last, .. } => (offset, data.len(), last),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(pieces, [(0, 1000, false), (1000, 1500, false), (2500, 500, true)]);
}

#[test]
fn a_receiver_is_told_where_data_goes() {
    let mut talk = Talk::new(&[]);
    let write = talk.write(4096, b"");
    assert_eq!(taken(&mut talk, &write, 4096), None);
    let r2t = r2ts(&mut talk)[0];
    let header = |request: Request| request.encode();
    let next = header(data_out(r2t.itt, r2t.ttt, 0, 0, true));
    assert_eq!(talk.session.place_of(&next), Some((write.task, 0)));
    let later = header(data_out(r2t.itt, r2t.ttt, 0, 10, true));
    assert_eq!(talk.session.place_of(&later), None);
    let strange = header(data_out(Itt(99), r2t.ttt, 0, 0, true));
    assert_eq!(talk.session.place_of(&strange), None);
}

#[test]
fn an_early_answer_waits_for_the_data_under_way() {
    let mut talk = Talk::new(&["InitialR2T=No"]);
    let command = ScsiCommand { write: true, last: false, expected_length: 3000, ..talk.command() };
    talk.send(Request::ScsiCommand(command), b"").unwrap();
    let write = talk.delivered();
    let sense = Bytes::from_static(&[0x70]);
    talk.session.respond(write.task, Outcome::check_condition(sense), &[]);
    assert!(talk.responses().is_empty() && !talk.session.is_idle());
    talk.send(data_out(command.itt, Ttt::NONE, 0, 0, false), &content(1000)).unwrap();
    assert!(talk.responses().is_empty());
    talk.send(data_out(command.itt, Ttt::NONE, 1, 1000, true), &content(1000)).unwrap();
    assert_eq!(residual(&mut talk), Residual::Underflow(3000));
    assert_eq!((talk.events(), talk.session.is_idle()), (vec![], true));
    // Data that comes even later belongs to nobody.
    talk.send(data_out(command.itt, Ttt::NONE, 2, 2000, true), &content(1000)).unwrap();
    assert!(talk.responses().is_empty());
}

/// The sins of libiscsi's test of `DataSN`: twice 0, then far ahead, then -1, then the wrong order.
#[test]
fn data_out_of_order_ends_the_command_and_the_session_goes_on() {
    for numbers in [&[0, 0][..], &[27], &[u32::MAX], &[1, 0]] {
        let mut talk = Talk::new(&[]);
        let write = talk.write(2000, b"");
        taken(&mut talk, &write, 2000);
        let r2t = r2ts(&mut talk)[0];
        for (number, data_sn) in (0..).zip(numbers) {
            assert!(talk.responses().is_empty());
            let last = number + 1 == numbers.len() as u32;
            let piece = data_out(r2t.itt, r2t.ttt, *data_sn, number * 1000, last);
            talk.send(piece, &content(1000)).unwrap();
        }
        assert_eq!(talk.events(), [Event::Aborted(write.task)], "{numbers:?}");
        assert!(talk.responses().is_empty(), "the caller still has the command");
        talk.session.respond(write.task, Outcome::good(2000), &[]);
        assert_eq!(additional_sense(&mut talk), [0x47, 0x05]);
        talk.plain();
    }
}

/// The additional codes of the sense data of the one status.
fn additional_sense(talk: &mut Talk) -> [u8; 2] {
    match talk.response() {
        (Response::Scsi(response), sense) => {
            assert_eq!(response.status, Status::CHECK_CONDITION);
            assert_eq!((sense[..2].to_vec(), sense[4]), (vec![0, 18], 0x0b), "ABORTED COMMAND");
            [sense[14], sense[15]]
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_broken_command_is_answered_when_all_data_under_way_has_come() {
    let mut talk = Talk::new(&["MaxOutstandingR2T=2", "MaxBurstLength=1000"]);
    let write = talk.write(5000, b"");
    taken(&mut talk, &write, 5000);
    let asked = r2ts(&mut talk);
    assert_eq!(asked.len(), 2);
    talk.send(data_out(asked[0].itt, asked[0].ttt, 0, 0, true), &content(999)).unwrap();
    assert_eq!(talk.events(), [Event::Aborted(write.task)]);
    talk.session.respond(write.task, Outcome::good(0), &[]);
    assert!(talk.responses().is_empty(), "neither an answer nor another R2T");
    talk.send(data_out(asked[1].itt, asked[1].ttt, 0, 1000, false), &content(500)).unwrap();
    assert!(talk.responses().is_empty());
    talk.send(data_out(asked[1].itt, asked[1].ttt, 1, 1500, true), &content(500)).unwrap();
    assert_eq!(additional_sense(&mut talk), [0x0c, 0x0d]);
    assert!(talk.session.is_idle());
}

#[test]
fn data_that_nobody_asked_for_ends_the_session() {
    let mut talk = Talk::new(&[]);
    let write = talk.write(2000, b"");
    let itt = Itt(talk.itt - 1);
    let unsolicited = talk.send(data_out(itt, Ttt::NONE, 0, 0, true), &content(10));
    assert_eq!(unsolicited, Err(Fault::UnexpectedData(itt)));
    let early = talk.send(data_out(itt, Ttt(0), 0, 0, true), &content(10));
    assert_eq!(early, Err(Fault::UnexpectedData(itt)));
    taken(&mut talk, &write, 2000);
    let r2t = r2ts(&mut talk)[0];
    let other = talk.send(data_out(itt, Ttt(r2t.ttt.0 ^ 1), 0, 0, true), &content(10));
    assert_eq!(other, Err(Fault::UnexpectedData(itt)));
    let read = talk.read(10);
    let for_a_read = talk.send(data_out(Itt(talk.itt - 1), Ttt::NONE, 0, 0, true), b"x");
    assert!(for_a_read.is_err() && read.read_length == 10);
}

#[test]
fn r2ts_of_a_session_ask_for_no_more_than_its_limit() {
    let limits = SessionLimits { solicited_bytes_max: 8192, ..SessionLimits::default() };
    let mut talk = Talk::with(&[], limits);
    let mut writes = Vec::new();
    for _ in 0..3 {
        let write = talk.write(4096, b"");
        assert_eq!(taken(&mut talk, &write, 4096), None);
        writes.push(write);
    }
    let asked = r2ts(&mut talk);
    assert_eq!(asked.len(), 2, "the third waits");
    talk.send(data_out(asked[0].itt, asked[0].ttt, 0, 0, true), &content(4096)).unwrap();
    assert!(r2ts(&mut talk).is_empty(), "the data is still kept");
    talk.session.respond(writes[0].task, Outcome::good(4096), &[]);
    assert!(matches!(talk.responses()[..], [(Response::Scsi(_), _), (Response::R2t(_), _)]));
}

#[test]
fn a_write_beyond_the_limit_has_its_turn_alone() {
    let limits = SessionLimits { solicited_bytes_max: 100, ..SessionLimits::default() };
    let mut talk = Talk::with(&[], limits);
    let (first, second) = (talk.write(4096, b""), talk.write(4096, b""));
    taken(&mut talk, &first, 4096);
    taken(&mut talk, &second, 4096);
    assert_eq!(r2ts(&mut talk).len(), 1);
}

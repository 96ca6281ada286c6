use blockferry_iscsi::pdu::{NopOut, RejectReason, Request, Response, ScsiCommand};
use blockferry_iscsi::{Event, Itt, Lun, Outcome, Serial, SessionLimits, Ttt};
use proptest::prelude::*;

use crate::talk::{Talk, data_out};

fn small() -> SessionLimits {
    SessionLimits { window: 4, immediate_max: 2, ..SessionLimits::default() }
}

fn delivered(talk: &mut Talk) -> Vec<u8> {
    let events = talk.events().into_iter();
    events
        .map(|event| match event {
            Event::Command(command) => command.cdb[0],
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Sends the command of the number, which its CDB tells.
fn send(talk: &mut Talk, cmd_sn: u32) {
    let cdb = [cmd_sn as u8; 16];
    let command = ScsiCommand { cmd_sn: Serial(cmd_sn), cdb, ..talk.command() };
    talk.send(Request::ScsiCommand(command), b"").unwrap();
}

#[test]
fn commands_outside_the_window_are_ignored() {
    let mut talk = Talk::with(&[], small());
    for cmd_sn in [99, 104, 105, 0, 100_u32.wrapping_add(1 << 31)] {
        send(&mut talk, cmd_sn);
        assert!(delivered(&mut talk).is_empty() && talk.responses().is_empty(), "{cmd_sn}");
    }
    send(&mut talk, 100);
    assert_eq!(delivered(&mut talk), [100]);
}

#[test]
fn commands_are_delivered_once_and_in_their_order() {
    let mut talk = Talk::with(&[], small());
    for cmd_sn in [102, 101, 102, 101] {
        send(&mut talk, cmd_sn);
        assert_eq!(delivered(&mut talk), [0; 0]);
    }
    send(&mut talk, 100);
    assert_eq!(delivered(&mut talk), [100, 101, 102]);
    for cmd_sn in [100, 101, 102] {
        send(&mut talk, cmd_sn);
        assert_eq!(delivered(&mut talk), [0; 0]);
    }
}

#[test]
fn a_full_window_opens_with_an_answer() {
    let mut talk = Talk::with(&[], small());
    let first = talk.plain();
    for _ in 0..3 {
        talk.plain();
    }
    send(&mut talk, 104);
    assert!(delivered(&mut talk).is_empty());
    talk.session.respond(first, Outcome::good(0), &[]);
    let (Response::Scsi(response), _) = talk.response() else { panic!("no status") };
    assert_eq!(response.sequence.expected_cmd_sn, Serial(104));
    assert_eq!(response.sequence.max_cmd_sn, Serial(104));
    send(&mut talk, 104);
    assert_eq!(delivered(&mut talk), [104]);
}

#[test]
fn immediate_commands_pass_the_others_and_have_a_limit_of_their_own() {
    let mut talk = Talk::with(&[], small());
    let immediate = |talk: &mut Talk| {
        let command = ScsiCommand { immediate: true, ..talk.command() };
        talk.cmd_sn = talk.cmd_sn.minus(1);
        talk.send(Request::ScsiCommand(command), b"").unwrap();
    };
    send(&mut talk, 101);
    assert!(delivered(&mut talk).is_empty());
    immediate(&mut talk);
    immediate(&mut talk);
    assert_eq!(delivered(&mut talk).len(), 2);
    immediate(&mut talk);
    let (Response::Reject(reject), _) = talk.response() else { panic!("no Reject") };
    assert_eq!(reject.reason, RejectReason::TOO_MANY_IMMEDIATE);
    assert_eq!(reject.sequence.max_cmd_sn, Serial(103), "they do not use the window");
}

#[test]
fn unsolicited_data_of_a_command_ahead_of_its_turn_is_kept() {
    let mut talk = Talk::with(&["InitialR2T=No"], small());
    let ahead = ScsiCommand {
        write: true,
        last: false,
        expected_length: 8,
        cmd_sn: Serial(101),
        ..talk.command()
    };
    talk.send(Request::ScsiCommand(ahead), b"abcd").unwrap();
    talk.send(data_out(ahead.itt, Ttt::NONE, 0, 4, true), b"efgh").unwrap();
    assert_eq!(talk.events(), []);
    send(&mut talk, 100);
    let events = talk.events();
    let [Event::Command(_), Event::Command(write)] = &events[..] else { panic!("{events:?}") };
    let data = talk.session.take(write.task, 8, blockferry_iscsi::Delivery::Whole).unwrap();
    assert_eq!((write.available, data.into_bytes()), (8, "abcdefgh".into()));
}

#[test]
fn a_rejected_command_uses_its_number() {
    let mut talk = Talk::with(&[], small());
    for cmd_sn in [101, 100] {
        let bad = ScsiCommand { read: true, write: true, cmd_sn: Serial(cmd_sn), ..talk.command() };
        talk.send(Request::ScsiCommand(bad), b"").unwrap();
        assert!(matches!(talk.response().0, Response::Reject(_)));
    }
    send(&mut talk, 102);
    assert_eq!(delivered(&mut talk), [102]);
}

#[test]
fn other_requests_keep_their_turn_too() {
    let mut talk = Talk::with(&[], small());
    let nop = NopOut {
        immediate: false,
        lun: Lun(0),
        itt: Itt(77),
        ttt: Ttt::NONE,
        cmd_sn: Serial(101),
        expected_stat_sn: Serial(0),
    };
    talk.send(Request::NopOut(nop), b"x").unwrap();
    assert!(talk.responses().is_empty());
    send(&mut talk, 100);
    assert!(matches!(talk.response().0, Response::NopIn(_)));
    let much = NopOut { cmd_sn: Serial(103), ..nop };
    assert!(talk.send(Request::NopOut(much), &[0; 8193]).is_err());
}

proptest! {
    #[test]
    fn whatever_numbers_come_each_command_is_delivered_once_in_order_and_within_the_window(
        numbers in proptest::collection::vec(95..125_u32, 1..80), answers: Vec<bool>,
    ) {
        let mut talk = Talk::with(&[], small());
        let (mut next, mut under_way) = (100, Vec::new());
        let mut answers = answers.into_iter().cycle();
        for cmd_sn in numbers {
            send(&mut talk, cmd_sn);
            for event in talk.events() {
                let Event::Command(command) = event else { panic!("{event:?}") };
                prop_assert_eq!(u32::from(command.cdb[0]), next);
                next += 1;
                under_way.push(command.task);
            }
            prop_assert!(under_way.len() <= 4);
            if answers.next() == Some(true) && !under_way.is_empty() {
                talk.session.respond(under_way.remove(0), Outcome::good(0), &[]);
                let (Response::Scsi(response), _) = talk.response() else { panic!("no status") };
                let max = response.sequence.max_cmd_sn;
                prop_assert_eq!(max, Serial(next + 3 - under_way.len() as u32));
            }
        }
    }
}

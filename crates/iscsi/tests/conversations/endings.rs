use blockferry_iscsi::pdu::{
    AsyncEvent, LogoutReason, LogoutRequest, LogoutResult, NopOut, RejectReason, Request, Response,
    ScsiCommand,
};
use blockferry_iscsi::{Cid, Delivery, Event, Itt, Lun, Notice, Outcome, Reconnect, Serial, Ttt};

use crate::talk::Talk;

fn logout(talk: &mut Talk, reason: LogoutReason, cid: u16) {
    let request = LogoutRequest {
        immediate: true,
        reason,
        itt: Itt(600),
        cid: Cid(cid),
        cmd_sn: talk.cmd_sn,
        expected_stat_sn: Serial(0),
    };
    talk.send(Request::Logout(request), b"").unwrap();
}

fn result(talk: &mut Talk) -> LogoutResult {
    match talk.response() {
        (Response::Logout(response), _) => {
            assert_eq!(response.itt, Itt(600));
            response.result
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_idle_session_ends_at_once() {
    for (reason, cid) in [(LogoutReason::CLOSE_SESSION, 0), (LogoutReason::CLOSE_CONNECTION, 3)] {
        let mut talk = Talk::new(&["DefaultTime2Wait=5"]);
        logout(&mut talk, reason, cid);
        let (Response::Logout(response), _) = talk.response() else { panic!("no answer") };
        assert_eq!((response.result, response.time2wait), (LogoutResult::CLOSED, 5));
        assert_eq!(talk.events(), [Event::LoggedOut]);
        assert!(talk.session.is_closed() && !talk.session.wants_input());
    }
}

#[test]
fn logouts_of_what_there_is_not_are_answered_so() {
    let mut talk = Talk::new(&[]);
    logout(&mut talk, LogoutReason::CLOSE_CONNECTION, 4);
    assert_eq!(result(&mut talk), LogoutResult::NO_SUCH_CONNECTION);
    logout(&mut talk, LogoutReason::REMOVE_FOR_RECOVERY, 3);
    assert_eq!(result(&mut talk), LogoutResult::NO_RECOVERY);
    logout(&mut talk, LogoutReason(9), 0);
    let (Response::Reject(reject), _) = talk.response() else { panic!("no Reject") };
    assert_eq!(reject.reason, RejectReason::INVALID_FIELD);
    talk.plain();
}

#[test]
fn a_logout_waits_for_the_commands_under_way() {
    let mut talk = Talk::new(&[]);
    let task = talk.plain();
    logout(&mut talk, LogoutReason::CLOSE_SESSION, 0);
    assert!(talk.responses().is_empty());
    talk.session.respond(task, Outcome::good(0), &[]);
    let responses = talk.responses();
    let [(Response::Scsi(_), _), (Response::Logout(_), _)] = &responses[..] else {
        panic!("{responses:?}")
    };
}

#[test]
fn a_logout_ends_writes_whose_data_will_not_come() {
    let mut talk = Talk::new(&["InitialR2T=No"]);
    let waiting = talk.write(1000, b"");
    assert_eq!(talk.session.take(waiting.task, 1000, Delivery::Whole), None);
    let command = ScsiCommand { write: true, last: false, expected_length: 8, ..talk.command() };
    talk.send(Request::ScsiCommand(command), b"").unwrap();
    let answered = talk.delivered();
    talk.session.respond(answered.task, Outcome::good(0), &[]);
    talk.responses();
    let not_taken = talk.write(1000, b"");
    logout(&mut talk, LogoutReason::CLOSE_SESSION, 0);
    assert_eq!(talk.events(), [Event::Aborted(waiting.task)]);
    assert_eq!(talk.session.take(not_taken.task, 1000, Delivery::Whole), None);
    assert_eq!(talk.events(), [Event::Aborted(not_taken.task)]);
    talk.session.respond(waiting.task, Outcome::good(0), &[]);
    assert!(talk.responses().is_empty());
    talk.session.respond(not_taken.task, Outcome::good(0), &[]);
    assert_eq!(result(&mut talk), LogoutResult::CLOSED);
}

#[test]
fn commands_after_a_logout_are_forgotten() {
    let mut talk = Talk::new(&[]);
    let task = talk.plain();
    logout(&mut talk, LogoutReason::CLOSE_SESSION, 0);
    logout(&mut talk, LogoutReason::CLOSE_SESSION, 0);
    let late = talk.command();
    talk.send(Request::ScsiCommand(late), b"").unwrap();
    assert_eq!(talk.events(), []);
    talk.session.respond(task, Outcome::good(0), &[]);
    assert_eq!(talk.responses().len(), 2);
    let later = talk.command();
    talk.send(Request::ScsiCommand(later), b"").unwrap();
    assert_eq!(talk.events(), [Event::LoggedOut]);
    assert!(talk.responses().is_empty());
}

#[test]
fn a_drain_keeps_commands_back_and_a_resume_lets_them_come() {
    let mut talk = Talk::new(&["InitialR2T=No"]);
    let before = talk.plain();
    talk.session.drain();
    assert!(!talk.session.is_idle());
    let kept = talk.command();
    talk.send(Request::ScsiCommand(kept), b"").unwrap();
    let write = ScsiCommand { write: true, expected_length: 4, ..talk.command() };
    talk.send(Request::ScsiCommand(write), b"data").unwrap();
    assert_eq!(talk.events(), []);
    talk.session.respond(before, Outcome::good(0), &[]);
    assert!(matches!(talk.response().0, Response::Scsi(_)));
    assert!(talk.session.is_idle());
    let ping = NopOut {
        immediate: true,
        lun: Lun(0),
        itt: Itt(77),
        ttt: Ttt::NONE,
        cmd_sn: talk.cmd_sn,
        expected_stat_sn: Serial(0),
    };
    talk.send(Request::NopOut(ping), b"").unwrap();
    assert!(matches!(talk.response().0, Response::NopIn(_)));
    talk.session.resume();
    let events = talk.events();
    let [Event::Command(first), Event::Command(second)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((first.write_length, second.available), (0, 4));
    talk.session.respond(first.task, Outcome::good(0), &[]);
    talk.session.respond(second.task, Outcome::good(4), &[]);
    assert_eq!(talk.responses().len(), 2);
}

#[test]
fn a_drained_session_logs_out_and_forgets_what_was_kept_back() {
    let mut talk = Talk::new(&[]);
    talk.session.drain();
    talk.session.notify(Notice::LogoutRequest { within: 30 });
    let (Response::Async(message), _) = talk.response() else { panic!("no message") };
    assert_eq!((message.event, message.parameters), (AsyncEvent::LOGOUT_REQUEST, [0, 0, 30]));
    let kept = talk.command();
    talk.send(Request::ScsiCommand(kept), b"").unwrap();
    logout(&mut talk, LogoutReason::CLOSE_SESSION, 0);
    assert_eq!(result(&mut talk), LogoutResult::CLOSED);
    assert_eq!(talk.events(), [Event::LoggedOut]);
}

#[test]
fn drops_are_announced_with_their_times() {
    let mut talk = Talk::new(&[]);
    let at = Reconnect { time2wait: 2, time2retain: 4 };
    talk.session.notify(Notice::ConnectionDrop(at));
    talk.session.notify(Notice::SessionDrop(at));
    let told: Vec<_> = talk
        .responses()
        .into_iter()
        .map(|(response, _)| match response {
            Response::Async(message) => (message.event, message.parameters),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected =
        [(AsyncEvent::CONNECTION_DROP, [3, 2, 4]), (AsyncEvent::SESSION_DROP, [0, 2, 4])];
    assert_eq!(told, expected);
}

#[test]
fn a_lost_connection_leaves_commands_that_end_in_silence() {
    let mut talk = Talk::new(&[]);
    let task = talk.plain();
    talk.session.drain();
    let kept = talk.command();
    talk.send(Request::ScsiCommand(kept), b"").unwrap();
    talk.session.abandon();
    assert_eq!(talk.events(), [Event::Aborted(task)]);
    assert!(!talk.session.is_idle());
    talk.session.respond(task, Outcome::good(0), &[]);
    assert!(talk.session.is_idle() && talk.session.output().is_empty());
}

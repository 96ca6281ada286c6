use blockferry_iscsi::pdu::{
    Function, FunctionResult, ManagementRequest, RejectReason, Request, Response, ScsiCommand,
};
use blockferry_iscsi::{
    DataPart, Delivery, Event, Itt, Lun, ManagementId, Outcome, Serial, TaskId, Ttt,
};

use crate::talk::{Talk, data_out};

fn request(talk: &Talk, function: Function) -> ManagementRequest {
    ManagementRequest {
        immediate: true,
        function,
        lun: Lun(0),
        itt: Itt(500),
        referenced: Itt::NONE,
        cmd_sn: talk.cmd_sn,
        expected_stat_sn: Serial(0),
        referenced_cmd_sn: Serial(0),
    }
}

fn abort(talk: &Talk, referenced: u32, cmd_sn: u32) -> Request {
    Request::Management(ManagementRequest {
        referenced: Itt(referenced),
        referenced_cmd_sn: Serial(cmd_sn),
        ..request(talk, Function::ABORT_TASK)
    })
}

fn send(talk: &mut Talk, function: Function) {
    let request = Request::Management(request(talk, function));
    talk.send(request, b"").unwrap();
}

/// The one outcome that is told.
fn result(talk: &mut Talk) -> FunctionResult {
    match talk.response() {
        (Response::Management(response), _) => {
            assert_eq!(response.itt, Itt(500));
            response.result
        }
        other => panic!("{other:?}"),
    }
}

/// Which commands were aborted, and what is to be managed then.
fn aborted(talk: &mut Talk) -> (Vec<TaskId>, Option<ManagementId>) {
    let (mut tasks, mut manage) = (Vec::new(), None);
    for event in talk.events() {
        match event {
            Event::Aborted(task) => tasks.push(task),
            Event::Manage { id, .. } => manage = Some(id),
            other => panic!("{other:?}"),
        }
    }
    (tasks, manage)
}

#[test]
fn a_task_is_aborted_when_its_command_has_ended_and_its_answer_is_not_sent() {
    let mut talk = Talk::new(&[]);
    let (read, other) = (talk.read(512), talk.plain());
    let abort = abort(&talk, 10, 100);
    talk.send(abort, b"").unwrap();
    assert_eq!(aborted(&mut talk), (vec![read.task], None));
    assert!(talk.responses().is_empty(), "the command may still have an effect");
    talk.session.respond(read.task, Outcome::good(512), &[DataPart::Zeroes(512)]);
    assert_eq!(result(&mut talk), FunctionResult::COMPLETE);
    talk.session.respond(other, Outcome::good(0), &[]);
    assert!(matches!(talk.response().0, Response::Scsi(_)));
}

#[test]
fn a_task_that_has_been_answered_does_not_exist() {
    let mut talk = Talk::new(&[]);
    let task = talk.plain();
    talk.session.respond(task, Outcome::good(0), &[]);
    talk.responses();
    let abort = abort(&talk, 10, 100);
    talk.send(abort, b"").unwrap();
    assert_eq!(result(&mut talk), FunctionResult::NO_SUCH_TASK);
}

#[test]
fn a_task_of_another_unit_is_left_alone() {
    let mut talk = Talk::new(&[]);
    talk.plain();
    let Request::Management(abort) = abort(&talk, 10, 100) else { panic!("a request") };
    let other = ManagementRequest { lun: Lun::from_number(1).unwrap(), ..abort };
    talk.send(Request::Management(other), b"").unwrap();
    assert_eq!(result(&mut talk), FunctionResult::NO_SUCH_TASK);
    assert_eq!(talk.events(), []);
}

#[test]
fn a_task_that_has_not_come_is_aborted_before_it_comes() {
    let mut talk = Talk::new(&[]);
    talk.cmd_sn = Serial(101);
    let abort = abort(&talk, 10, 100);
    talk.send(abort, b"").unwrap();
    assert_eq!(result(&mut talk), FunctionResult::COMPLETE);
    let late = ScsiCommand { cmd_sn: Serial(100), ..talk.command() };
    talk.send(Request::ScsiCommand(late), b"").unwrap();
    assert_eq!(talk.events(), []);
    talk.cmd_sn = Serial(101);
    talk.plain();
}

#[test]
fn data_of_an_aborted_write_is_dropped() {
    let mut talk = Talk::new(&[]);
    let write = talk.write(1000, b"");
    assert_eq!(talk.session.take(write.task, 1000, Delivery::Whole), None);
    let (Response::R2t(r2t), _) = talk.response() else { panic!("no R2T") };
    let abort = abort(&talk, 10, 100);
    talk.send(abort, b"").unwrap();
    let piece = data_out(r2t.itt, r2t.ttt, 0, 0, false);
    talk.send(piece, &[1; 500]).unwrap();
    assert_eq!(aborted(&mut talk).0, [write.task]);
    talk.session.respond(write.task, Outcome::good(0), &[]);
    assert_eq!(result(&mut talk), FunctionResult::COMPLETE);
    talk.send(piece, &[1; 500]).unwrap();
    assert!(talk.responses().is_empty() && talk.events().is_empty());
}

#[test]
fn an_aborted_command_may_still_be_asked_for_its_data() {
    let mut talk = Talk::new(&[]);
    let write = talk.write(1000, &[1; 1000]);
    let abort = abort(&talk, 10, 100);
    talk.send(abort, b"").unwrap();
    assert_eq!(talk.session.take(write.task, 1000, Delivery::Whole), None);
    talk.session.respond(write.task, Outcome::good(0), &[]);
    assert_eq!(result(&mut talk), FunctionResult::COMPLETE);
}

#[test]
fn functions_end_the_tasks_that_they_name() {
    let one = Lun::from_number(1).unwrap();
    for (function, both) in [
        (Function::ABORT_TASK_SET, false),
        (Function::CLEAR_TASK_SET, false),
        (Function::LOGICAL_UNIT_RESET, false),
        (Function::TARGET_WARM_RESET, true),
        (Function::TARGET_COLD_RESET, true),
    ] {
        let mut talk = Talk::new(&[]);
        let first = talk.plain();
        let command = ScsiCommand { lun: one, ..talk.command() };
        talk.send(Request::ScsiCommand(command), b"").unwrap();
        let second = talk.delivered().task;
        send(&mut talk, function);
        let (tasks, manage) = aborted(&mut talk);
        assert_eq!(tasks, if both { vec![first, second] } else { vec![first] });
        let later = talk.plain();
        talk.session.respond(first, Outcome::good(0), &[]);
        talk.session.managed(manage.unwrap(), FunctionResult::COMPLETE);
        if both {
            assert!(talk.responses().is_empty(), "a command is still under way");
            talk.session.respond(second, Outcome::good(0), &[]);
        }
        assert_eq!(result(&mut talk), FunctionResult::COMPLETE, "{function:?}");
        talk.session.respond(later, Outcome::good(0), &[]);
        assert!(matches!(talk.response().0, Response::Scsi(_)), "what came later goes on");
    }
}

#[test]
fn a_reset_ends_a_command_for_immediate_delivery_that_came_before_it() {
    let mut talk = Talk::new(&[]);
    let command = ScsiCommand { immediate: true, ..talk.command() };
    talk.cmd_sn = Serial(100);
    talk.send(Request::ScsiCommand(command), b"").unwrap();
    let task = talk.delivered().task;
    send(&mut talk, Function::LOGICAL_UNIT_RESET);
    assert_eq!(aborted(&mut talk).0, [task]);
}

#[test]
fn nothing_comes_for_a_command_that_has_been_answered_meanwhile() {
    let mut talk = Talk::new(&[]);
    let (first, second) = (talk.plain(), talk.plain());
    send(&mut talk, Function::LOGICAL_UNIT_RESET);
    talk.session.respond(first, Outcome::good(0), &[]);
    let (tasks, manage) = aborted(&mut talk);
    assert_eq!((tasks, manage.is_some()), (vec![second], true));
}

#[test]
fn the_caller_says_how_a_function_went() {
    let mut talk = Talk::new(&[]);
    send(&mut talk, Function::LOGICAL_UNIT_RESET);
    let (_, manage) = aborted(&mut talk);
    talk.session.managed(manage.unwrap(), FunctionResult::NO_SUCH_LUN);
    assert_eq!(result(&mut talk), FunctionResult::NO_SUCH_LUN);
}

#[test]
fn what_is_not_supported_is_answered_so() {
    for (function, expected) in [
        (Function::TASK_REASSIGN, FunctionResult::NO_REASSIGNMENT),
        (Function::CLEAR_ACA, FunctionResult::NOT_SUPPORTED),
        (Function(99), FunctionResult::NOT_SUPPORTED),
    ] {
        let mut talk = Talk::new(&[]);
        send(&mut talk, function);
        assert_eq!(result(&mut talk), expected);
    }
}

#[test]
fn commands_ahead_of_their_turn_are_ended_without_a_word() {
    let mut talk = Talk::new(&[]);
    let ahead = ScsiCommand { cmd_sn: Serial(101), ..talk.command() };
    talk.send(Request::ScsiCommand(ahead), b"").unwrap();
    talk.cmd_sn = Serial(102);
    send(&mut talk, Function::LOGICAL_UNIT_RESET);
    let (tasks, manage) = aborted(&mut talk);
    assert_eq!(tasks, []);
    talk.session.managed(manage.unwrap(), FunctionResult::COMPLETE);
    assert_eq!(result(&mut talk), FunctionResult::COMPLETE);
    talk.cmd_sn = Serial(100);
    talk.plain();
    talk.cmd_sn = Serial(102);
    talk.plain();
}

#[test]
fn more_functions_than_the_limit_are_rejected() {
    let mut talk = Talk::new(&[]);
    for _ in 0..blockferry_iscsi::limits::MANAGEMENTS_MAX {
        send(&mut talk, Function::LOGICAL_UNIT_RESET);
    }
    send(&mut talk, Function::LOGICAL_UNIT_RESET);
    let (Response::Reject(reject), _) = talk.response() else { panic!("no Reject") };
    assert_eq!(reject.reason, RejectReason::TOO_MANY_IMMEDIATE);
}

#[test]
fn a_reset_by_another_session_ends_commands_without_an_answer() {
    let mut talk = Talk::new(&[]);
    let (first, one) = (talk.plain(), Lun::from_number(1).unwrap());
    talk.session.abort_all(Some(one));
    assert_eq!(talk.events(), []);
    talk.session.abort_all(Some(Lun(0)));
    assert_eq!(talk.events(), [Event::Aborted(first)]);
    talk.session.respond(first, Outcome::good(0), &[]);
    assert!(talk.responses().is_empty() && talk.session.is_idle());
}

#[test]
fn an_answer_that_waits_for_data_is_given_up_with_its_task() {
    let mut talk = Talk::new(&["InitialR2T=No"]);
    let command = ScsiCommand { write: true, last: false, expected_length: 8, ..talk.command() };
    talk.send(Request::ScsiCommand(command), b"").unwrap();
    let write = talk.delivered();
    talk.session.respond(write.task, Outcome::good(0), &[]);
    let abort = abort(&talk, 10, 100);
    talk.send(abort, b"").unwrap();
    assert_eq!(result(&mut talk), FunctionResult::COMPLETE);
    talk.send(data_out(command.itt, Ttt::NONE, 0, 0, true), b"abcdefgh").unwrap();
    assert!(talk.events().is_empty() && talk.responses().is_empty());
}

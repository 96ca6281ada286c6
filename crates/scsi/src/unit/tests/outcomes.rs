//! What an initiator hears of what the medium did.

use super::*;
use crate::work::{Failure, Outcome, Run};

fn read() -> Medium {
    let extent = Extent::between(4096, 8192);
    Medium { work: Work::Read { extent, fua: false }, transfer: Transfer::back(4096) }
}

fn write() -> Medium {
    let extent = Extent::between(4096, 8192);
    Medium { work: Work::Write { extent, fua: false }, transfer: Transfer::out(4096) }
}

#[test]
fn done_is_good_and_tells_what_the_command_transfers() {
    let response = unit().finish(&read(), &Outcome::Done);
    assert_eq!(response, Response::good(Transfer::back(4096)));
    let response = unit().finish(&write(), &Outcome::Done);
    assert_eq!(response, Response::good(Transfer::out(4096)));
}

#[test]
fn a_miscompare_names_the_first_byte_that_differs() {
    let response = unit().finish(&write(), &Outcome::Miscompare { at: 27 });
    assert_eq!(sense(&response), (0xe, 0x1d, 0x00));
    let sense = response.sense.unwrap();
    assert_eq!(sense.as_bytes()[0], 0xf0);
    assert_eq!(sense.as_bytes()[3..7], [0, 0, 0, 27]);
}

#[test]
fn failures_are_told_in_the_words_that_initiators_act_upon() {
    let unit = unit();
    for (medium, failure, expected) in [
        (read(), Failure::Medium { at: None }, (3, 0x11, 0x00)),
        (write(), Failure::Medium { at: None }, (3, 0x0c, 0x00)),
        (write(), Failure::NoSpace, (7, 0x27, 0x07)),
        (write(), Failure::ReadOnly, (7, 0x27, 0x00)),
        (write(), Failure::Internal, (4, 0x44, 0x00)),
    ] {
        let response = unit.finish(&medium, &Outcome::Failed(failure));
        assert_eq!(sense(&response), expected, "{failure:?}");
        assert_eq!(response.transfer, medium.transfer);
    }
    let flush =
        Medium { work: Work::Flush { extent: Extent::whole(SIZE) }, transfer: Transfer::default() };
    let response = unit.finish(&flush, &Outcome::Failed(Failure::Medium { at: None }));
    assert_eq!(sense(&response), (3, 0x0c, 0x00));
}

#[test]
fn an_error_of_the_medium_names_its_block() {
    let failure = Failure::Medium { at: Some(5000) };
    let response = unit().finish(&read(), &Outcome::Failed(failure));
    let sense = response.sense.unwrap();
    assert_eq!(sense.as_bytes()[0], 0xf0);
    assert_eq!(sense.as_bytes()[3..7], [0, 0, 0, 9]);
}

#[test]
fn a_busy_medium_is_no_error() {
    let response = unit().finish(&write(), &Outcome::Failed(Failure::Busy));
    assert_eq!((response.status, response.sense), (Status::Busy, None));
}

#[test]
fn a_status_is_told_in_blocks_and_cut_to_the_room_there_is() {
    let mut unit = unit();
    let runs = Outcome::Runs(vec![
        Run { length: 4096, mapped: true },
        Run { length: SIZE - 8192, mapped: false },
    ]);
    let medium = work(&mut unit, A, &sixteen(0x9e, 0x12, 8, 24), 0);
    let response = unit.finish(&medium, &runs);
    assert_eq!(response.transfer, Transfer::back(24));
    let expected = [0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 0];
    assert_eq!(response.data_in, &expected[..]);
    let medium = work(&mut unit, A, &sixteen(0x9e, 0x12, 8, 10), 0);
    assert_eq!(unit.finish(&medium, &runs).data_in, &expected[..10]);
}

#[test]
fn an_outcome_that_does_not_fit_its_work_is_an_internal_failure() {
    let mut unit = unit();
    let response = unit.finish(&read(), &Outcome::Runs(Vec::new()));
    assert_eq!(sense(&response), (4, 0x44, 0x00));
    let medium = work(&mut unit, A, &sixteen(0x9e, 0x12, 8, 24), 0);
    assert_eq!(sense(&unit.finish(&medium, &Outcome::Done)), (4, 0x44, 0x00));
}

//! Who hears of what, and when.

use super::*;

/// What waits for a session, told with REQUEST SENSE.
fn waiting(unit: &mut LogicalUnit, nexus: NexusId) -> (u8, u8, u8) {
    let response = answer(unit, nexus, &[0x03, 0, 0, 0, 18, 0]);
    assert_eq!((response.status, response.data_in.len()), (Status::Good, 18));
    (response.data_in[2], response.data_in[12], response.data_in[13])
}

const NOTHING: (u8, u8, u8) = (0, 0, 0);

#[test]
fn a_new_session_hears_of_it_with_its_first_command_and_only_then() {
    let mut unit = unit();
    unit.disconnect(A);
    unit.connect(A, port(A)).unwrap();
    assert_eq!(sense(&answer(&mut unit, A, &sixteen(0x88, 0, 0, 1))), (6, 0x29, 0x00));
    assert_eq!(answer(&mut unit, A, &TEST_UNIT_READY).status, Status::Good);
}

#[test]
fn an_attention_comes_before_an_unknown_command_and_a_conflict() {
    let mut unit = unit();
    answer(&mut unit, A, &RESERVE_6);
    unit.disconnect(B);
    unit.connect(B, port(B)).unwrap();
    assert_eq!(sense(&answer(&mut unit, B, &[0xff; 16])), (6, 0x29, 0x00));
    assert_eq!(answer(&mut unit, B, &TEST_UNIT_READY).status, Status::ReservationConflict);
    assert_eq!(sense(&answer(&mut unit, B, &[0xff; 16])), (5, 0x20, 0x00));
}

#[test]
fn inquiry_and_report_luns_leave_attentions_and_request_sense_tells_them() {
    let mut unit = unit();
    unit.reset();
    assert_eq!(answer(&mut unit, A, &[0x12, 0, 0, 0, 36, 0]).status, Status::Good);
    let luns = [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0];
    assert_eq!(answer(&mut unit, A, &luns).status, Status::Good);
    assert_eq!(waiting(&mut unit, A), (6, 0x29, 0x03));
    assert_eq!(waiting(&mut unit, A), NOTHING);
}

#[test]
fn request_sense_answers_in_the_format_that_is_asked_for() {
    let mut unit = unit();
    unit.reset();
    let response = answer(&mut unit, A, &[0x03, 1, 0, 0, 252, 0]);
    assert_eq!(response.data_in, &[0x72, 6, 0x29, 0x03, 0, 0, 0, 0][..]);
}

#[test]
fn a_reset_reaches_every_session_frees_reserve_and_keeps_persistent_reservations() {
    let mut unit = unit();
    answer(&mut unit, A, &RESERVE_6);
    assert!(!unit.reset());
    for nexus in [A, B, C] {
        assert_eq!(sense(&answer(&mut unit, nexus, &TEST_UNIT_READY)), (6, 0x29, 0x03));
        assert_eq!(answer(&mut unit, nexus, &TEST_UNIT_READY).status, Status::Good);
    }
    reserve_out(&mut unit, A, (0, 0), (0, 5));
    reserve_out(&mut unit, A, (1, 3), (5, 0));
    let before = unit.state();
    unit.reset();
    assert_eq!(unit.state(), before);
}

#[test]
fn a_lost_session_frees_its_own_reserve_and_no_other() {
    let mut unit = unit();
    answer(&mut unit, A, &RESERVE_6);
    unit.disconnect(C);
    assert_eq!(answer(&mut unit, B, &TEST_UNIT_READY).status, Status::ReservationConflict);
    unit.disconnect(A);
    assert_eq!(answer(&mut unit, B, &TEST_UNIT_READY).status, Status::Good);
}

#[test]
fn preempted_sessions_hear_of_it_and_their_commands_are_named() {
    let mut unit = unit();
    for (nexus, key) in [(A, 1), (B, 2), (C, 3)] {
        reserve_out(&mut unit, nexus, (0, 0), (0, key));
    }
    let second = NexusId(4);
    unit.connect(second, port(B)).unwrap();
    answer(&mut unit, second, &TEST_UNIT_READY);
    let begun = reserve_out(&mut unit, A, (5, 1), (1, 2));
    assert_eq!(begun.abort, [B, second]);
    assert!(begun.changed);
    for nexus in [B, second] {
        assert_eq!(waiting(&mut unit, nexus), (6, 0x2a, 0x05));
    }
    assert_eq!((waiting(&mut unit, A), waiting(&mut unit, C)), (NOTHING, NOTHING));
    let begun = reserve_out(&mut unit, A, (4, 1), (1, 3));
    assert!(begun.abort.is_empty());
    assert_eq!(waiting(&mut unit, C), (6, 0x2a, 0x05));
}

#[test]
fn a_released_reservation_is_told_to_whoever_is_registered() {
    let mut unit = unit();
    for (nexus, key) in [(A, 1), (B, 2)] {
        reserve_out(&mut unit, nexus, (0, 0), (0, key));
    }
    reserve_out(&mut unit, A, (1, 5), (1, 0));
    reserve_out(&mut unit, A, (2, 5), (1, 0));
    assert_eq!(waiting(&mut unit, A), NOTHING);
    assert_eq!(waiting(&mut unit, B), (6, 0x2a, 0x04));
    assert_eq!(waiting(&mut unit, C), NOTHING);
}

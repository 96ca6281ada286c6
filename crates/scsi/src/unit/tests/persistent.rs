//! Persistent reservations as initiators use them, from the first registration to the move of the
//! volume.

use super::*;

fn report(unit: &mut LogicalUnit, nexus: NexusId, action: u8) -> Vec<u8> {
    let response = answer(unit, nexus, &[0x5e, action, 0, 0, 0, 0, 0, 0x40, 0, 0]);
    assert_eq!(response.status, Status::Good);
    response.data_in.to_vec()
}

#[test]
fn keys_are_read_by_everybody_and_cut_to_the_room_there_is() {
    let mut unit = unit();
    reserve_out(&mut unit, A, (6, 0), (0, 0x0102));
    let keys = [0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 1, 2];
    assert_eq!(report(&mut unit, B, 0), keys);
    let cut = answer(&mut unit, B, &[0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0]);
    assert_eq!(cut.data_in, &keys[..8]);
}

#[test]
fn registration_and_reservation_outlive_the_session() {
    let mut unit = unit();
    reserve_out(&mut unit, A, (0, 0), (0, 5));
    reserve_out(&mut unit, A, (1, 1), (5, 0));
    unit.disconnect(A);
    let write = sixteen(0x8a, 0, 0, 1);
    assert_eq!(answer_with(&mut unit, B, &write, 512).status, Status::ReservationConflict);
    let again = NexusId(9);
    unit.connect(again, port(A)).unwrap();
    answer(&mut unit, again, &TEST_UNIT_READY);
    work(&mut unit, again, &write, 512);
}

#[test]
fn a_second_session_of_one_port_shares_its_registration() {
    let mut unit = unit();
    reserve_out(&mut unit, A, (0, 0), (0, 5));
    reserve_out(&mut unit, A, (1, 3), (5, 0));
    let second = NexusId(9);
    unit.connect(second, port(A)).unwrap();
    answer(&mut unit, second, &TEST_UNIT_READY);
    work(&mut unit, second, &sixteen(0x88, 0, 0, 1), 0);
    assert_eq!(status(&reserve_out(&mut unit, second, (2, 3), (5, 0))), Status::Good);
}

#[test]
fn only_what_changes_something_says_so() {
    let mut unit = unit();
    for (nexus, action, keys, changed) in [
        (A, (0, 0), (0, 5), true),
        (A, (0, 0), (0, 6), false),
        (A, (1, 1), (5, 0), true),
        (A, (1, 1), (5, 0), false),
        (B, (1, 1), (0, 0), false),
        (A, (2, 1), (5, 0), true),
        (A, (2, 1), (5, 0), false),
        (A, (3, 0), (5, 0), true),
    ] {
        let before = unit.state();
        let begun = reserve_out(&mut unit, nexus, action, keys);
        assert_eq!(begun.changed, changed, "{action:?} with {keys:?}");
        assert_eq!(unit.state() != before, changed);
    }
}

#[test]
fn a_parameter_list_of_another_length_is_refused_before_it_comes() {
    let mut unit = unit();
    for length in [0, 23, 25] {
        let cdb = [0x5f, 0, 0, 0, 0, 0, 0, 0, length, 0];
        assert_eq!(sense(&answer_with(&mut unit, A, &cdb, 24)), (5, 0x1a, 0x00));
    }
}

#[test]
fn an_unknown_service_action_is_refused_and_registering_for_others_too() {
    let mut unit = unit();
    let move_it = [0x5f, 7, 0, 0, 0, 0, 0, 0, 24, 0];
    assert_eq!(sense(&answer_with(&mut unit, A, &move_it, 24)), (5, 0x24, 0x00));
    let mut list = [0; 24];
    list[20] = 0x08;
    let begun = with_list(&mut unit, A, &[0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0], &list);
    let Step::Answer(response) = begun.step else { panic!("not answered") };
    assert_eq!(sense(&response), (5, 0x26, 0x00));
}

#[test]
fn a_reservation_that_came_in_between_holds_a_command_back_that_has_its_list_only_now() {
    let mut unit = unit();
    let unmap = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
    assert_eq!(unit.begin(B, &unmap, 24).step, Step::Parameters { bytes: 24 });
    reserve_out(&mut unit, A, (0, 0), (0, 5));
    reserve_out(&mut unit, A, (1, 1), (5, 0));
    let begun = unit.parameters(B, &unmap, &[0; 24]);
    assert_eq!(status(&begun), Status::ReservationConflict);
}

#[test]
fn aptpl_is_told_of_the_last_registration_that_set_it() {
    let mut unit = unit();
    let cdb = [0x5f, 6, 0, 0, 0, 0, 0, 0, 24, 0];
    let mut list = [0; 24];
    list[15] = 1;
    for (flag, told) in [(1, 0x81), (0, 0x80)] {
        list[20] = flag;
        assert!(with_list(&mut unit, A, &cdb, &list).changed);
        assert_eq!(report(&mut unit, A, 2)[3], told);
        assert_eq!(unit.reservations().persistent, flag == 1);
    }
}

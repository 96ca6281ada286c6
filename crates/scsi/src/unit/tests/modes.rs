//! What an initiator changes of the unit, and what others make of it.

use super::*;

/// MODE SELECT (6) of one page.
fn select(unit: &mut LogicalUnit, nexus: NexusId, save: bool, page: &[u8]) -> Begun {
    let list = [&[0; 4], page].concat();
    let length = u8::try_from(list.len()).unwrap();
    with_list(unit, nexus, &[0x15, 0x10 | u8::from(save), 0, 0, length, 0], &list)
}

/// A page as it is in force.
fn page(unit: &mut LogicalUnit, code: u8) -> Vec<u8> {
    answer(unit, A, &[0x1a, 0x08, code, 0, 255, 0]).data_in[4..].to_vec()
}

/// The caching page without a write cache.
fn without_cache(unit: &mut LogicalUnit) -> Vec<u8> {
    let mut caching = page(unit, 0x08);
    caching[2] &= !0x04;
    caching
}

/// The control page with these bits.
fn control(unit: &mut LogicalUnit, d_sense: bool, swp: bool) -> Vec<u8> {
    let mut control = page(unit, 0x0a);
    control[2] = control[2] & !0x04 | u8::from(d_sense) << 2;
    control[4] = u8::from(swp) << 3;
    control
}

#[test]
fn whoever_did_not_change_a_mode_hears_of_it() {
    let mut unit = unit();
    let protected = control(&mut unit, false, true);
    let begun = select(&mut unit, A, false, &protected);
    assert_eq!((status(&begun), begun.changed), (Status::Good, true));
    assert_eq!(answer(&mut unit, A, &TEST_UNIT_READY).status, Status::Good);
    for nexus in [B, C] {
        assert_eq!(sense(&answer(&mut unit, nexus, &TEST_UNIT_READY)), (6, 0x2a, 0x01));
    }
    let begun = select(&mut unit, A, false, &protected);
    assert_eq!((status(&begun), begun.changed), (Status::Good, false));
    assert_eq!(answer(&mut unit, B, &TEST_UNIT_READY).status, Status::Good);
}

#[test]
fn software_write_protection_refuses_writes_until_it_is_taken_back() {
    let mut unit = unit();
    let protected = control(&mut unit, false, true);
    select(&mut unit, A, false, &protected);
    let write = sixteen(0x8a, 0, 0, 1);
    assert_eq!(sense(&answer_with(&mut unit, A, &write, 512)), (7, 0x27, 0x02));
    work(&mut unit, A, &sixteen(0x88, 0, 0, 1), 0);
    assert!(!unit.admits_stranger(Access::Write));
    let free = control(&mut unit, false, false);
    select(&mut unit, A, false, &free);
    work(&mut unit, A, &write, 512);
}

#[test]
fn protection_that_came_in_between_refuses_an_unmap_that_has_its_list_only_now() {
    let mut unit = unit();
    let unmap = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
    assert_eq!(unit.begin(A, &unmap, 24).step, Step::Parameters { bytes: 24 });
    let protected = control(&mut unit, false, true);
    select(&mut unit, A, false, &protected);
    let mut list = [0; 24];
    list[3] = 16;
    list[19] = 8;
    let Step::Answer(response) = unit.parameters(A, &unmap, &list).step else {
        panic!("not answered");
    };
    assert_eq!(sense(&response), (7, 0x27, 0x02));
}

#[test]
fn descriptor_sense_changes_the_format_of_every_error() {
    let mut unit = unit();
    let beyond = sixteen(0x88, 0, u64::MAX, 1);
    let response = answer(&mut unit, A, &beyond);
    assert_eq!(response.sense.unwrap().as_bytes()[0], 0x70);
    let descriptors = control(&mut unit, true, false);
    select(&mut unit, A, false, &descriptors);
    let response = answer(&mut unit, A, &beyond);
    let expected = [0x72, 5, 0x21, 0, 0, 0, 0, 12, 0, 0x0a, 0x80, 0];
    let sense = response.sense.unwrap();
    assert_eq!(sense.as_bytes(), [&expected[..], &[0xff; 8]].concat());
}

#[test]
fn a_write_cache_that_is_switched_off_is_flushed_first_and_writes_are_durable_then() {
    let mut unit = unit();
    let off = without_cache(&mut unit);
    let begun = select(&mut unit, A, false, &off);
    assert!(begun.changed);
    let Step::Medium(medium) = begun.step else { panic!("not flushed: {:?}", begun.step) };
    assert_eq!(medium.work, Work::Flush { extent: Extent::whole(SIZE) });
    let durable = |unit: &mut LogicalUnit, cdb: [u8; 16], data| work(unit, A, &cdb, data).work;
    assert!(durable(&mut unit, sixteen(0x8a, 0, 0, 1), 512).is_durable());
    assert!(durable(&mut unit, sixteen(0x8b, 0, 0, 1), 512).is_durable());
    assert!(durable(&mut unit, sixteen(0x93, 0, 0, 1), 512).is_durable());
    let again = select(&mut unit, A, false, &off);
    assert_eq!((status(&again), again.changed), (Status::Good, false));
}

#[test]
fn a_reset_forgets_what_was_not_saved() {
    for save in [false, true] {
        let mut unit = unit();
        let protected = control(&mut unit, false, true);
        assert!(select(&mut unit, A, save, &protected).changed);
        assert_eq!(unit.reset(), !save);
        assert_eq!(unit.is_write_protected(), save);
    }
}

#[test]
fn a_mode_that_cannot_be_changed_stays_and_nobody_hears_of_anything() {
    let mut unit = unit();
    let mut queueing = page(&mut unit, 0x0a);
    queueing[3] = 0;
    let before = unit.state();
    let begun = select(&mut unit, A, true, &queueing);
    let Step::Answer(response) = &begun.step else { panic!("not answered") };
    assert_eq!((sense(response), begun.changed), ((5, 0x26, 0x00), false));
    assert_eq!(unit.state(), before);
    assert_eq!(answer(&mut unit, B, &TEST_UNIT_READY).status, Status::Good);
}

#[test]
fn a_parameter_list_that_is_not_whole_or_too_long_is_refused() {
    let mut unit = unit();
    let cdb = [0x15, 0x10, 0, 0, 24, 0];
    assert_eq!(unit.begin(A, &cdb, 10).step, Step::Parameters { bytes: 24 });
    let begun = unit.parameters(A, &cdb, &[0; 10]);
    let Step::Answer(response) = begun.step else { panic!("not answered") };
    assert_eq!((sense(&response), response.transfer), ((5, 0x1a, 0), Transfer::out(24)));
    let long = [0x55, 0x10, 0, 0, 0, 0, 0, 0xff, 0xff, 0];
    assert_eq!(sense(&answer_with(&mut unit, A, &long, 65_535)), (5, 0x1a, 0));
    let empty = answer(&mut unit, A, &[0x15, 0x10, 0, 0, 0, 0]);
    assert_eq!(empty.status, Status::Good);
}

#[test]
fn the_pages_that_are_told_fit_the_room_there_is() {
    let mut unit = unit();
    let all = answer(&mut unit, A, &[0x1a, 0, 0x3f, 0, 255, 0]);
    assert_eq!(usize::from(all.data_in[0]) + 1, all.data_in.len());
    let four = answer(&mut unit, A, &[0x1a, 0, 0x3f, 0, 4, 0]);
    assert_eq!(four.data_in, &all.data_in[..4]);
    assert_eq!(four.transfer, Transfer::back(4));
}

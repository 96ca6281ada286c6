//! What the destination refuses, and what it falls back to.

use super::*;
use crate::digest::Piece;

const SIZE: u64 = 4 * LEAF + 7;

fn attached() -> (Destination, u64) {
    let mut destination = Destination::new(SIZE, BootId(100), 0, Frontier::new(), 0);
    destination.attach_begin(BootId(1));
    let epoch = destination.attach_finish().expect("idle").epoch;
    (destination, epoch)
}

fn copy(destination: &mut Destination, epoch: u64, length: u64) {
    let at = destination.reserved();
    destination.copy_begin(epoch, Extent::between(at, at + length)).expect("at W");
    let mut stream = destination.stream().clone();
    stream.push(Piece::Zeroes(length));
    destination.copy_done(Some(stream));
}

#[test]
fn d2_5_a_copy_write_at_any_other_address_is_refused_and_changes_nothing() {
    let (mut destination, epoch) = attached();
    copy(&mut destination, epoch, LEAF);
    for start in [0, LEAF - 1, LEAF + 1, 3 * LEAF] {
        let refusal = destination.copy_begin(epoch, Extent::between(start, start + 1));
        assert_eq!(refusal, Err(Refusal::WrongAddress { expected: LEAF }));
        assert_eq!(destination.reserved(), LEAF);
    }
}

#[test]
fn i2_a_failed_copy_write_leaves_the_reserved_address_where_it_was() {
    let (mut destination, epoch) = attached();
    destination.copy_begin(epoch, Extent::between(0, LEAF)).expect("at W");
    destination.copy_done(None);
    assert_eq!(destination.reserved(), 0);
    assert!(!destination.is_pristine(0), "the write may have been half done");
}

#[test]
fn i3_a_mirror_write_above_the_reserved_address_is_refused_by_name() {
    let (mut destination, epoch) = attached();
    copy(&mut destination, epoch, LEAF);
    let straddling = Extent::between(LEAF - 1, LEAF + 1);
    let refusal = destination.mirror_begin(epoch, straddling);
    assert_eq!(refusal, Err(Refusal::AboveReserved { reserved: LEAF }));
    assert_eq!(destination.mirror_begin(epoch, Extent::between(0, LEAF)), Ok(()));
}

#[test]
fn i9_after_a_failed_flush_only_an_attach_goes_on_and_from_what_was_durable() {
    let (mut destination, epoch) = attached();
    copy(&mut destination, epoch, LEAF);
    let (address, _) = destination.checkpoint_begin(epoch).expect("valid");
    destination.checkpoint_done(address);
    copy(&mut destination, epoch, LEAF);
    let (address, _) = destination.checkpoint_begin(epoch).expect("valid");
    destination.mirror_begin(epoch, Extent::between(0, 1)).expect("below W");
    destination.flush_failed();
    let next = destination.epoch();
    assert_ne!(next, epoch);
    for epoch in [epoch, next] {
        let refusal = destination.copy_begin(epoch, Extent::between(2 * LEAF, 3 * LEAF));
        assert_eq!(refusal, Err(Refusal::StaleEpoch));
        let refusal = destination.mirror_begin(epoch, Extent::between(0, 1));
        assert_eq!(refusal, Err(Refusal::StaleEpoch));
        assert!(destination.checkpoint_state(epoch, address).is_err());
        assert!(destination.checkpoint_begin(epoch).is_err());
        assert!(destination.ready_begin(epoch).is_err());
    }
    destination.mirror_done();
    destination.attach_begin(BootId(1));
    assert_eq!(destination.attach_finish().expect("idle").reserved, LEAF);
}

#[test]
fn i12_an_attach_fences_every_connection_and_checkpoint_of_before() {
    let (mut destination, epoch) = attached();
    copy(&mut destination, epoch, 2 * LEAF);
    let (address, _) = destination.checkpoint_begin(epoch).expect("valid");
    destination.mirror_begin(epoch, Extent::between(0, 1)).expect("below W");
    destination.attach_begin(BootId(2));
    assert_eq!(destination.attach_finish(), Err(Refusal::Busy), "a write is under way");
    let late = Extent::between(2 * LEAF, 3 * LEAF);
    assert_eq!(destination.copy_begin(epoch, late), Err(Refusal::StaleEpoch));
    assert!(destination.checkpoint_state(epoch, address).is_err());
    destination.mirror_done();
    let attached = destination.attach_finish().expect("idle now");
    assert_eq!((attached.reserved, destination.reserved()), (0, 0));
}

#[test]
fn ready_needs_the_whole_volume_durable() {
    let (mut destination, epoch) = attached();
    copy(&mut destination, epoch, SIZE);
    assert!(matches!(destination.ready_begin(epoch), Err(Refusal::Incomplete { .. })));
    let (address, _) = destination.checkpoint_begin(epoch).expect("valid");
    assert_eq!(address, SIZE, "the end counts though it is no leaf's boundary");
    destination.checkpoint_done(address);
    assert_eq!(destination.ready_begin(epoch), Ok(()));
    assert!(destination.is_write_through());
}

#[test]
fn l3_an_attach_that_arrives_late_takes_no_promise_back() {
    let (mut destination, epoch) = attached();
    copy(&mut destination, epoch, SIZE);
    let (address, _) = destination.checkpoint_begin(epoch).expect("valid");
    destination.checkpoint_done(address);
    destination.ready_begin(epoch).expect("all is durable");
    destination.ready_durable(epoch, Attempt(3)).expect("valid");
    destination.attach_begin(BootId(1));
    destination.attach_finish().expect("idle");
    assert_eq!(destination.phase(), Phase::Receiving);
    assert_eq!(destination.promised(), Some(Attempt(3)));
    assert!(destination.is_write_through(), "what was promised stays durable");
}

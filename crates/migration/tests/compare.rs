//! What a comparison of both sides proves, and what it does not.

use blockferry_block::{Attempt, Extent};
use blockferry_migration::Faults;
use blockferry_migration::digest::{Frontier, LEAF, Piece};
use blockferry_migration::in_flight::OpId;
use blockferry_migration::source::{ClaimStep, MirrorOutcome, Missing, Source, Step};

const SIZE: u64 = 4 * LEAF;
const HALF: u64 = SIZE / 2;

/// The source of a volume that was copied, in parts, so that no digest is known of it.
fn copied() -> Source {
    let mut source = Source::new(SIZE, Faults::default());
    source.begin();
    attach(&mut source, 1, 0);
    copy(&mut source, 1);
    source
}

fn attach(source: &mut Source, epoch: u64, reserved: u64) {
    let mut stream = Frontier::new();
    stream.push(Piece::Zeroes(reserved));
    assert!(source.attached(epoch, reserved, stream));
}

fn copy(source: &mut Source, epoch: u64) {
    let claim = source.claim(epoch, Extent::whole(SIZE), SIZE).expect("attached");
    assert_eq!(source.claim_step(claim), ClaimStep::Read);
    source.reserved_grew(epoch, SIZE);
    checkpoint(source);
    source.settle(Attempt(1)).expect("all is swept");
}

fn checkpoint(source: &mut Source) {
    source.checkpoint_begin();
    assert_eq!(source.checkpoint_agree(SIZE, Frontier::new().digest()), Ok(None));
    source.checkpoint_done(SIZE);
}

fn begin(source: &mut Source) -> (OpId, Extent) {
    let (id, extent) = source.next_compare(HALF).expect("something to compare");
    assert!(matches!(source.step(id), Step::Apply { .. }));
    (id, extent)
}

fn compare(source: &mut Source, equal: bool) {
    let (id, extent) = begin(source);
    source.compare_done(id, extent, Some(equal));
}

fn resync(source: &mut Source) {
    while let Some(batch) = source.take_log_batch() {
        source.log_durable(batch.id);
    }
    let (id, extent) = source.next_resync().expect("what differs is dirty");
    assert!(matches!(source.step(id), Step::Apply { .. }));
    source.resync_done(id, extent, MirrorOutcome::Executed);
}

fn address(source: &Source) -> Option<u64> {
    source.sweep()?.comparison().map(|pass| pass.address())
}

#[test]
fn a_whole_pass_without_a_difference_stands_for_the_digest() {
    let mut source = copied();
    assert_eq!(source.missing(), Some(Missing::Digest));
    source.ask_comparison(true);
    compare(&mut source, true);
    assert_eq!(source.missing(), Some(Missing::Digest), "it is half way");
    compare(&mut source, true);
    assert_eq!(source.missing(), None);
    assert_eq!(source.next_compare(HALF), None, "the pass has ended");
}

#[test]
fn one_half_compared_twice_proves_nothing() {
    let mut source = copied();
    for _ in 0..2 {
        source.ask_comparison(true);
        compare(&mut source, true);
    }
    assert_eq!(source.missing(), Some(Missing::Digest));
}

#[test]
fn a_pass_that_found_a_difference_proves_nothing_even_when_it_was_sent_again() {
    let mut source = copied();
    source.ask_comparison(true);
    compare(&mut source, false);
    compare(&mut source, true);
    resync(&mut source);
    checkpoint(&mut source);
    assert_eq!(source.missing(), Some(Missing::Digest));
}

#[test]
fn what_was_read_before_a_pass_began_does_not_count_for_it() {
    let mut source = copied();
    source.ask_comparison(true);
    let (early, extent) = begin(&mut source);
    source.ask_comparison(true);
    source.compare_done(early, extent, Some(true));
    assert_eq!(address(&source), Some(0));
    compare(&mut source, true);
    let (early, second) = begin(&mut source);
    source.ask_comparison(true);
    source.compare_done(early, second, Some(true));
    assert_eq!(address(&source), Some(0), "the new pass has passed nothing over");
}

#[test]
fn a_difference_that_an_older_pass_finds_is_sent_again_all_the_same() {
    let mut source = copied();
    source.ask_comparison(true);
    let (early, extent) = begin(&mut source);
    source.ask_comparison(true);
    source.compare_done(early, extent, Some(false));
    assert!(source.sweep().is_some_and(|sweep| sweep.is_dirty(extent)));
}

#[test]
fn what_a_restarted_destination_has_lost_is_compared_again() {
    let mut source = copied();
    source.ask_comparison(true);
    compare(&mut source, true);
    compare(&mut source, true);
    attach(&mut source, 2, LEAF);
    assert_eq!(address(&source), Some(LEAF));
    copy(&mut source, 2);
    assert_eq!(source.missing(), Some(Missing::Digest));
    compare(&mut source, true);
    compare(&mut source, true);
    assert_eq!(source.missing(), None);
}

#[test]
fn what_an_earlier_run_of_the_destination_held_proves_nothing_of_this_one() {
    let mut source = copied();
    source.ask_comparison(true);
    let (early, extent) = begin(&mut source);
    attach(&mut source, 2, SIZE);
    source.compare_done(early, extent, Some(true));
    assert_eq!(address(&source), Some(0));
}

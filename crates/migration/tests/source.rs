//! What the source promises, decision by decision.

use blockferry_block::{Attempt, Extent};
use blockferry_migration::Faults;
use blockferry_migration::digest::{Frontier, LEAF, Noted, Piece};
use blockferry_migration::in_flight::OpId;
use blockferry_migration::source::{
    Answer, ClaimRefusal, ClaimStep, CommitRefusal, MirrorOutcome, Missing, PhaseName, ReadStart,
    SessionKey, Source, Step,
};

const SIZE: u64 = 16 * LEAF;
const EPOCH: u64 = 7;
const CLIENT: SessionKey = SessionKey(1);

fn at(leaf: u64) -> Extent {
    Extent::between(leaf * LEAF, (leaf + 1) * LEAF)
}

/// A source attached at address 0, with the client's mirror connection open.
fn attached() -> Source {
    let mut source = Source::new(SIZE, Faults::default());
    source.begin();
    assert!(source.attached(EPOCH, 0, Frontier::new()));
    source.mirror_open(CLIENT);
    source
}

/// Makes the activity log durable as often as it asks for it.
fn write_log(source: &mut Source) {
    while let Some(batch) = source.take_log_batch() {
        source.log_durable(batch.id);
    }
}

fn claim(source: &mut Source, extent: Extent) {
    let id = source.claim(EPOCH, extent, extent.len()).expect("attached");
    assert_eq!(source.claim_step(id), ClaimStep::Read);
}

/// Sweeps the whole volume, as a copier does that was given zeroes.
fn sweep(source: &mut Source) {
    claim(source, Extent::whole(SIZE));
    source.note_copied(Noted::of(0, &[Piece::Zeroes(SIZE)], SIZE));
    source.reserved_grew(EPOCH, SIZE);
    checkpoint(source, SIZE);
}

fn checkpoint(source: &mut Source, address: u64) {
    let mut stream = Frontier::new();
    stream.push(Piece::Zeroes(address));
    source.checkpoint_begin();
    assert_eq!(source.checkpoint_agree(address, stream.digest()), Ok(Some(true)));
    source.checkpoint_done(address);
}

/// Begins an update and gives it with the part that is to be mirrored.
fn begin(source: &mut Source, extent: Extent) -> (OpId, Option<Extent>) {
    let id = source.begin_update(CLIENT, extent);
    write_log(source);
    match source.step(id) {
        Step::Apply { mirror } => (id, mirror),
        other => panic!("{other:?}"),
    }
}

#[test]
fn d1_3_a_claim_waits_for_the_update_that_is_under_way_on_its_extent() {
    let mut source = attached();
    let (id, mirror) = begin(&mut source, at(2));
    assert_eq!(mirror, None, "what the sweep will carry is not mirrored");
    let claim = source.claim(EPOCH, Extent::whole(4 * LEAF), 4 * LEAF).expect("attached");
    assert_eq!(source.claim_step(claim), ClaimStep::Wait);
    assert_eq!(source.sweep().map(|s| s.read_cursor()), Some(4 * LEAF), "R moves first");
    source.local_done(id, true);
    assert_eq!(source.step(id), Step::Reply(Answer::Done));
    assert_eq!(source.claim_step(claim), ClaimStep::Read);
}

#[test]
fn d1_2_a_claim_of_data_that_is_not_being_updated_is_granted_at_once() {
    let mut source = attached();
    begin(&mut source, at(9));
    claim(&mut source, Extent::whole(4 * LEAF));
}

#[test]
fn d1_4_an_update_is_recorded_from_its_admission_to_its_answer() {
    let mut source = attached();
    assert_eq!(source.in_flight(), 0);
    let (id, _) = begin(&mut source, at(2));
    assert_eq!(source.in_flight(), 1);
    source.local_done(id, true);
    assert_eq!(source.in_flight(), 1, "it is not answered yet");
    assert_eq!(source.step(id), Step::Reply(Answer::Done));
    assert_eq!(source.in_flight(), 0);
}

#[test]
fn an_update_that_straddles_the_cursor_is_mirrored_below_it_only() {
    let mut source = attached();
    claim(&mut source, Extent::whole(4 * LEAF));
    let (_, mirror) = begin(&mut source, Extent::between(3 * LEAF, 5 * LEAF));
    assert_eq!(mirror, Some(at(3)));
}

#[test]
fn i7_an_update_below_the_cursor_is_answered_when_both_sides_have_it() {
    let mut source = attached();
    claim(&mut source, Extent::whole(4 * LEAF));
    let (id, _) = begin(&mut source, at(1));
    source.local_done(id, true);
    assert_eq!(source.step(id), Step::Wait);
    source.mirror_done(id, MirrorOutcome::Executed);
    assert_eq!(source.step(id), Step::Reply(Answer::Done));
    assert_eq!(source.sweep().map(|s| s.dirty_bytes()), Some(0));
}

#[test]
fn i7_a_refused_mirror_write_makes_its_extent_dirty_until_resync_has_sent_it() {
    let mut source = attached();
    claim(&mut source, Extent::whole(4 * LEAF));
    let (id, _) = begin(&mut source, at(1));
    source.local_done(id, true);
    source.mirror_done(id, MirrorOutcome::Refused { epoch: EPOCH, reserved: 0 });
    assert_eq!(source.step(id), Step::Reply(Answer::Done));
    assert_eq!(source.sweep().map(|s| s.dirty_bytes()), Some(LEAF));
    assert_eq!(source.next_resync(), None, "W has not passed it");
    source.reserved_grew(EPOCH, 4 * LEAF);
    let (resync, extent) = source.next_resync().expect("W has passed it");
    assert_eq!(extent, at(1));
    assert!(matches!(source.step(resync), Step::Apply { .. }));
    source.resync_done(resync, extent, MirrorOutcome::Executed);
    assert_eq!(source.sweep().map(|s| s.dirty_bytes()), Some(0));
}

#[test]
fn no_resync_begins_while_an_old_mirror_write_may_still_land() {
    let mut source = attached();
    claim(&mut source, Extent::whole(4 * LEAF));
    source.reserved_grew(EPOCH, 4 * LEAF);
    let (id, _) = begin(&mut source, at(1));
    source.local_done(id, true);
    source.mirror_done(id, MirrorOutcome::Failed);
    source.mirror_lost(CLIENT);
    assert_eq!(source.step(id), Step::Reply(Answer::Done));
    assert_eq!(source.next_resync(), None);
    source.mirror_fenced(CLIENT);
    assert!(source.next_resync().is_some());
}

#[test]
fn i6_overlapping_updates_are_applied_one_after_the_other() {
    let mut source = attached();
    let (first, _) = begin(&mut source, at(1));
    let second = source.begin_update(CLIENT, at(1));
    assert_eq!(source.step(second), Step::Wait);
    source.local_done(first, true);
    assert_eq!(source.step(first), Step::Reply(Answer::Done));
    assert!(source.take_woken().contains(&second));
    assert!(matches!(source.step(second), Step::Apply { .. }));
}

#[test]
fn i9_an_update_goes_nowhere_before_its_extent_is_in_the_activity_log() {
    let mut source = attached();
    claim(&mut source, Extent::whole(4 * LEAF));
    let id = source.begin_update(CLIENT, at(1));
    assert_eq!(source.step(id), Step::Wait);
    let batch = source.take_log_batch().expect("the extent's unit");
    source.log_durable(batch.id);
    assert!(matches!(source.step(id), Step::Apply { .. }));
}

#[test]
fn i9_what_was_mirrored_since_the_last_checkpoint_is_dirty_after_an_attach() {
    let mut source = attached();
    sweep(&mut source);
    let (id, _) = begin(&mut source, at(3));
    source.local_done(id, true);
    source.mirror_done(id, MirrorOutcome::Executed);
    assert_eq!(source.step(id), Step::Reply(Answer::Done));
    source.detached();
    assert!(source.attached(EPOCH + 1, SIZE, Frontier::new()));
    assert_eq!(source.sweep().map(|s| s.dirty_bytes()), Some(LEAF));
}

#[test]
fn i9_a_write_between_the_two_flushes_of_a_checkpoint_counts_as_unflushed() {
    let mut source = attached();
    sweep(&mut source);
    source.checkpoint_begin();
    let (id, _) = begin(&mut source, at(3));
    source.local_done(id, true);
    source.mirror_done(id, MirrorOutcome::Executed);
    source.step(id);
    let mut stream = Frontier::new();
    stream.push(Piece::Zeroes(SIZE));
    source.checkpoint_agree(SIZE, stream.digest()).expect("equal");
    source.checkpoint_done(SIZE);
    source.detached();
    source.attached(EPOCH + 1, SIZE, Frontier::new());
    assert_eq!(source.sweep().map(|s| s.dirty_bytes()), Some(LEAF));
}

#[test]
fn i12_a_claim_of_an_older_epoch_is_refused() {
    let mut source = attached();
    assert_eq!(source.claim(EPOCH - 1, at(0), LEAF), Err(ClaimRefusal::StaleEpoch));
    source.detached();
    assert_eq!(source.claim(EPOCH, at(0), LEAF), Err(ClaimRefusal::Detached));
}

#[test]
fn i10_a_dirty_extent_keeps_the_commit_from_beginning() {
    let mut source = attached();
    sweep(&mut source);
    source.settle(Attempt(1)).expect("the sweep is complete");
    assert_eq!(source.missing(), None);
    let (id, _) = begin(&mut source, at(3));
    source.local_done(id, true);
    source.mirror_done(id, MirrorOutcome::Failed);
    source.mirror_lost(CLIENT);
    let refusal = source.commit_begin(Attempt(1));
    assert_eq!(refusal, Err(CommitRefusal::NotReady(Missing::Fence)));
    source.mirror_fenced(CLIENT);
    let refusal = source.commit_begin(Attempt(1));
    assert!(matches!(refusal, Err(CommitRefusal::NotReady(Missing::Dirty { .. }))));
}

#[test]
fn i10_only_the_settled_attempt_can_be_committed() {
    let mut source = attached();
    sweep(&mut source);
    assert_eq!(source.commit_begin(Attempt(1)), Err(CommitRefusal::WrongAttempt));
    source.settle(Attempt(2)).expect("the sweep is complete");
    assert_eq!(source.commit_begin(Attempt(1)), Err(CommitRefusal::WrongAttempt));
    assert_eq!(source.commit_begin(Attempt(2)), Ok(()));
}

#[test]
fn i11_a_mirror_failure_while_the_outcome_is_unknown_is_held_and_then_forwarded() {
    let mut source = attached();
    sweep(&mut source);
    source.settle(Attempt(1)).expect("the sweep is complete");
    let (id, _) = begin(&mut source, at(3));
    source.commit_begin(Attempt(1)).expect("nothing is dirty");
    source.local_done(id, true);
    source.mirror_done(id, MirrorOutcome::Failed);
    assert_eq!(source.step(id), Step::Wait, "it was acknowledged as dirty");
    source.commit_durable();
    assert_eq!(source.step(id), Step::Forward);
}

#[test]
fn i11_a_held_update_becomes_dirty_when_the_commit_came_to_nothing() {
    let mut source = attached();
    sweep(&mut source);
    source.settle(Attempt(1)).expect("the sweep is complete");
    let (id, _) = begin(&mut source, at(3));
    source.commit_begin(Attempt(1)).expect("nothing is dirty");
    source.local_done(id, true);
    source.mirror_done(id, MirrorOutcome::Failed);
    source.commit_failed();
    assert_eq!(source.step(id), Step::Reply(Answer::Done));
    assert_eq!(source.sweep().map(|s| s.dirty_bytes()), Some(LEAF));
}

#[test]
fn i14_an_update_that_failed_here_while_the_source_commits_is_left_to_the_destination() {
    for outcome in [MirrorOutcome::Executed, MirrorOutcome::Failed] {
        let mut source = attached();
        sweep(&mut source);
        source.settle(Attempt(1)).expect("the sweep is complete");
        let (id, _) = begin(&mut source, at(3));
        source.commit_begin(Attempt(1)).expect("nothing is dirty");
        source.mirror_done(id, outcome);
        source.local_done(id, false);
        assert_eq!(source.step(id), Step::Wait, "the sides differ, and the client was told");
        source.commit_durable();
        assert_eq!(source.step(id), Step::Forward);
    }
}

#[test]
fn i14_an_update_that_failed_here_is_dirty_when_the_commit_came_to_nothing() {
    let mut source = attached();
    sweep(&mut source);
    source.settle(Attempt(1)).expect("the sweep is complete");
    let (id, _) = begin(&mut source, at(3));
    source.commit_begin(Attempt(1)).expect("nothing is dirty");
    source.mirror_done(id, MirrorOutcome::Executed);
    source.local_done(id, false);
    source.commit_failed();
    assert_eq!(source.step(id), Step::Reply(Answer::LocalFailed));
    assert_eq!(source.sweep().map(|s| s.dirty_bytes()), Some(LEAF));
}

#[test]
fn d1_1_after_the_commit_everything_is_forwarded() {
    let mut source = attached();
    sweep(&mut source);
    source.settle(Attempt(1)).expect("the sweep is complete");
    source.commit_begin(Attempt(1)).expect("nothing is dirty");
    source.commit_durable();
    assert_eq!(source.phase(), PhaseName::Forwarding);
    assert_eq!(source.begin_read(at(0)), ReadStart::Forward);
    let id = source.begin_update(CLIENT, at(0));
    assert_eq!(source.step(id), Step::Forward);
}

#[test]
fn i15_from_settling_on_a_read_waits_for_the_update_that_overlaps_it() {
    let mut source = attached();
    sweep(&mut source);
    source.settle(Attempt(1)).expect("the sweep is complete");
    let (update, _) = begin(&mut source, at(3));
    let ReadStart::Recorded(read) = source.begin_read(at(3)) else { panic!("not recorded") };
    assert_eq!(source.step(read), Step::Wait);
    source.local_done(update, true);
    source.mirror_done(update, MirrorOutcome::Executed);
    assert_eq!(source.step(update), Step::Reply(Answer::Done));
    assert!(matches!(source.step(read), Step::Apply { .. }));
}

#[test]
fn a_digest_that_differs_is_never_checkpointed() {
    let mut source = attached();
    claim(&mut source, Extent::whole(SIZE));
    source.note_copied(Noted::of(0, &[Piece::Zeroes(SIZE)], SIZE));
    checkpoint(&mut source, LEAF);
    let mut other = Frontier::new();
    other.push(Piece::Data(&[1; 2 * LEAF as usize]));
    let mismatch = source.checkpoint_agree(2 * LEAF, other.digest()).expect_err("another stream");
    assert_eq!(mismatch.stretch, at(1), "what came since the last checkpoint");
}

#[test]
fn an_abort_before_the_commit_returns_to_the_owner_and_after_it_is_refused() {
    let mut source = attached();
    sweep(&mut source);
    let id = source.begin_update(CLIENT, at(1));
    assert_eq!(source.abort_begin(), Ok(()));
    source.abort_durable();
    assert!(matches!(source.step(id), Step::Apply { mirror: None }), "it waited for the log");
    let mut source = attached();
    sweep(&mut source);
    source.settle(Attempt(1)).expect("the sweep is complete");
    source.commit_begin(Attempt(1)).expect("nothing is dirty");
    assert_eq!(source.abort_begin(), Err(CommitRefusal::TooLate));
}

#[test]
fn i7_an_abort_that_is_not_durable_yet_goes_on_mirroring() {
    let mut source = attached();
    sweep(&mut source);
    source.abort_begin().expect("before the commit");
    let (_, mirror) = begin(&mut source, at(1));
    assert_eq!(mirror, Some(at(1)), "a next run of the source would not know that it is missing");
}

#[test]
fn nothing_is_committed_while_the_record_of_an_abort_is_being_written() {
    let mut source = attached();
    sweep(&mut source);
    source.settle(Attempt(1)).expect("the sweep is complete");
    source.abort_begin().expect("before the commit");
    assert_eq!(source.commit_begin(Attempt(1)), Err(CommitRefusal::WrongAttempt));
    assert_eq!(source.settle(Attempt(2)), Err(CommitRefusal::Ending));
    assert_eq!(source.abort_begin(), Ok(()), "an abort that failed is asked for again");
    source.abort_durable();
    assert_eq!(source.phase(), PhaseName::Owner);
}

#[test]
fn i15_a_commit_waits_for_an_update_that_an_unlocked_read_may_have_seen() {
    let mut source = attached();
    sweep(&mut source);
    assert_eq!(source.begin_read(at(3)), ReadStart::Unlocked);
    let (seen, _) = begin(&mut source, at(3));
    source.local_done(seen, true);
    source.settle(Attempt(1)).expect("the sweep is complete");
    assert_eq!(source.missing(), Some(Missing::Reads));
    source.end_unlocked_read();
    assert_eq!(source.missing(), Some(Missing::Updates), "its mirror write is under way");
    let (unseen, _) = begin(&mut source, at(5));
    source.mirror_done(seen, MirrorOutcome::Executed);
    source.step(seen);
    assert_eq!(source.missing(), None, "no read without a lock can have seen {unseen:?}");
}

#[test]
fn i5_a_migration_that_begins_after_an_aborted_one_waits_for_what_that_one_mirrored() {
    let mut source = attached();
    claim(&mut source, Extent::whole(4 * LEAF));
    let (id, mirror) = begin(&mut source, at(1));
    assert_eq!(mirror, Some(at(1)));
    source.abort_begin().expect("before the commit");
    source.abort_durable();
    source.mirror_done(id, MirrorOutcome::Failed);
    source.begin();
    assert!(source.attached(EPOCH, 0, Frontier::new()));
    let claim = source.claim(EPOCH, Extent::whole(4 * LEAF), 4 * LEAF).expect("attached");
    assert_eq!(source.claim_step(claim), ClaimStep::Wait, "the update is still being applied");
    source.local_done(id, true);
    assert_eq!(source.step(id), Step::Reply(Answer::Done));
    assert_eq!(source.claim_step(claim), ClaimStep::Read);
}

#[test]
fn i11_a_refusal_after_the_commit_has_begun_is_held_like_a_failure() {
    let mut source = attached();
    sweep(&mut source);
    source.settle(Attempt(1)).expect("the sweep is complete");
    let (id, _) = begin(&mut source, at(3));
    source.commit_begin(Attempt(1)).expect("nothing is dirty");
    source.local_done(id, true);
    source.mirror_done(id, MirrorOutcome::Refused { epoch: EPOCH, reserved: 0 });
    assert_eq!(source.step(id), Step::Wait, "it was acknowledged as dirty");
    source.commit_durable();
    assert_eq!(source.step(id), Step::Forward);
}

#[test]
fn a_log_that_failed_once_is_asked_for_again_by_the_next_update() {
    let mut source = attached();
    claim(&mut source, Extent::whole(4 * LEAF));
    let failed = source.begin_update(CLIENT, at(1));
    let batch = source.take_log_batch().expect("the extent's unit");
    source.log_failed(batch.id);
    assert_eq!(source.step(failed), Step::Reply(Answer::NotLogged));
    let (_, mirror) = begin(&mut source, at(1));
    assert_eq!(mirror, Some(at(1)));
}

#[test]
fn i9_a_resync_that_a_lost_destination_had_answered_leaves_its_extent_dirty() {
    let mut source = attached();
    sweep(&mut source);
    let (id, _) = begin(&mut source, at(1));
    source.local_done(id, true);
    source.mirror_done(id, MirrorOutcome::Failed);
    source.step(id);
    let (resync, extent) = source.next_resync().expect("a dirty extent below W");
    assert!(matches!(source.step(resync), Step::Apply { .. }));
    source.detached();
    assert!(source.attached(EPOCH + 1, SIZE, Frontier::new()));
    source.resync_done(resync, extent, MirrorOutcome::Executed);
    assert_eq!(source.sweep().map(|s| s.dirty_bytes()), Some(LEAF));
}

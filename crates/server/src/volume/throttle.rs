//! `--slow-destination throttle`: a client goes no faster than the destination follows.
//!
//! A write to an extent that is dirty is not mirrored, so it would cost the client nothing, and a
//! client that goes on writing could keep resync busy for ever. Here it waits for the resync first.
//! Its mirrored writes may take longer, too, before they make an extent dirty.

use std::time::Duration;

use blockferry_block::Extent;
use blockferry_migration::source::{Attachment, Source};
use tokio::time::Instant;

use super::owner::Owner;

/// How long a write waits for a resync, and again for its mirrored part: together no longer than
/// the 10 s that a client may be held before the commit.
pub(super) const THROTTLED_MAX: Duration = Duration::from_secs(5);

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until resync has made the extent equal on both sides.
pub(super) async fn wait_for_resync(owner: &Owner, extent: Extent) {
    let begun = Instant::now();
    while begun.elapsed() < THROTTLED_MAX && owner.with(|source| is_resyncing(source, extent)) {
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether the extent is dirty and nothing but the destination's speed keeps it so: while it is away,
/// or the copy has not come so far, a client is not held.
fn is_resyncing(source: &mut Source, extent: Extent) -> bool {
    source.sweep().is_some_and(|sweep| {
        let attached = matches!(sweep.attachment(), Attachment::Attached { .. });
        attached && extent.end() <= sweep.reserved() && sweep.is_dirty(extent)
    })
}

#[cfg(test)]
mod tests {
    use blockferry_migration::Faults;
    use blockferry_migration::digest::Frontier;
    use blockferry_migration::source::{MirrorOutcome, SessionKey, Step};

    use super::*;

    const SIZE: u64 = 1 << 20;
    const WRITTEN: Extent = Extent::whole(4096);

    /// A migration half way, with an extent that the destination did not execute.
    async fn with_dirty_extent() -> Owner {
        let owner = Owner::new(Source::new(SIZE, Faults::default()));
        owner.with(|source| {
            source.begin();
            source.attached(1, 0, Frontier::new());
            source.mirror_open(SessionKey(1));
        });
        let claim = owner.with(|source| source.claim(1, Extent::whole(SIZE / 2), SIZE / 2));
        owner.claimed(claim.expect("attached")).await.expect("nothing is under way");
        owner.with(|source| source.reserved_grew(1, SIZE / 2));
        let update = owner.with(|source| source.begin_update(SessionKey(1), WRITTEN));
        log_at_once(&owner);
        assert!(matches!(owner.step(update).await, Step::Apply { mirror: Some(_) }));
        owner.with(|source| source.local_done(update, true));
        owner.with(|source| source.mirror_done(update, MirrorOutcome::Failed));
        owner.step(update).await;
        owner
    }

    fn log_at_once(owner: &Owner) {
        owner.with(|source| {
            while let Some(batch) = source.take_log_batch() {
                source.log_durable(batch.id);
            }
        });
    }

    #[tokio::test]
    async fn a_write_to_a_dirty_extent_waits_for_its_resync_and_others_do_not() {
        let owner = with_dirty_extent().await;
        wait_for_resync(&owner, Extent::between(SIZE / 2, SIZE)).await;
        let mut waiting = std::pin::pin!(wait_for_resync(&owner, WRITTEN));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        let (id, extent) = owner.with(Source::next_resync).expect("W has passed it");
        assert!(matches!(owner.step(id).await, Step::Apply { .. }));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending(), "it is under way only");
        owner.with(|source| source.resync_done(id, extent, MirrorOutcome::Executed));
        let begun = Instant::now();
        waiting.await;
        assert!(begun.elapsed() < THROTTLED_MAX, "it was let go late");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_destination_that_is_away() {
        let owner = with_dirty_extent().await;
        owner.with(Source::detached);
        assert!(futures_util::poll!(std::pin::pin!(wait_for_resync(&owner, WRITTEN))).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_is_held_no_longer_than_its_limit() {
        let owner = with_dirty_extent().await;
        wait_for_resync(&owner, WRITTEN).await;
        assert!(owner.with(|source| source.sweep().is_some_and(|s| s.is_dirty(WRITTEN))));
    }
}

//! The source's side of a migration that runs by itself: it attaches to the destination, follows its
//! reserved address, makes checkpoints, and attaches again when either side was restarted.
//!
//! No client waits for any of it (L2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use blockferry_control::ControlError;
use blockferry_control::api::{
    AttachReply, AttachRequest, CheckpointReply, CheckpointRequest, FinishCheckpoint, ReservedReply,
};
use blockferry_device::{Device, Request};
use blockferry_migration::digest::Frontier;
use blockferry_migration::record::VolumeRecord;
use blockferry_migration::source::{Attachment, CLAIM_AHEAD_MAX, PhaseName, Source};

use super::Volume;
use super::outgoing::Outgoing;
use super::owner::Owner;
use super::setbacks::NotDurable;

/// First and longest pause between two tries to attach.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(1000));

/// The destination holds a question for its reserved address so long at most.
const WATCH_WAIT: Duration = Duration::from_secs(5);

/// It answers before when `W` has grown by so many bytes, or to the end: a small part of what may be claimed
/// ahead of it, so that no claim waits for news, and no program wakes for each write of the copy.
const NEWS_BYTES: u64 = CLAIM_AHEAD_MAX / 8;

/// Until `W` has reached the end it answers after this time in any case: what is dirty waits for it.
const NEWS_WAIT: Duration = Duration::from_millis(100);

/// A checkpoint is made after so much claimed data, in bytes, or after [`CHECKPOINT_INTERVAL`].
const CHECKPOINT_DATA: u64 = 64 << 20;

/// Longest time between two checkpoints of a stream that moves.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// How often the conditions for a checkpoint are looked at.
const CHECKPOINT_LOOK: Duration = Duration::from_millis(20);

/// A flush on a slow disk may take this long.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(120);

/// Keeps the source attached until the migration is aborted or committed.
pub(super) async fn stay_attached(volume: Arc<Volume>, owner: Arc<Owner>, outgoing: Arc<Outgoing>) {
    let mut pause = RETRY_PAUSES.0;
    while !is_over(&owner, &outgoing) {
        match attach(&volume, &owner, &outgoing).await {
            Ok(epoch) => {
                pause = RETRY_PAUSES.0;
                outgoing.set_trouble(None);
                owner.announce();
                let error = follow(&volume, &owner, &outgoing, epoch).await;
                if let Some(error) = error {
                    outgoing.set_trouble(Some(format!("{error:#}")));
                    if outgoing.setbacks.gives_up(&error) {
                        owner.with(|source| source.pause(true));
                    }
                }
                outcome_known(&owner).await;
                owner.with(Source::detached);
                owner.announce();
            }
            Err(refusal) => {
                outgoing.set_trouble(Some(format!("{refusal:#}")));
                if let Some(generation) = volume.owner_by_promotion(&outgoing, &refusal).await {
                    match volume.step_down(&outgoing, generation).await {
                        Ok(()) => return,
                        Err(error) => outgoing.set_trouble(Some(format!("{error:#}"))),
                    }
                }
            }
        }
        tokio::select! {
            () = outgoing.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = (2 * pause).min(RETRY_PAUSES.1),
        }
    }
}

fn is_over(owner: &Owner, outgoing: &Outgoing) -> bool {
    let phase = owner.with(|source| source.phase());
    outgoing.stop.is_cancelled() || matches!(phase, PhaseName::Owner | PhaseName::Forwarding)
}

/// While the commit record is being made durable nobody may attach.
async fn outcome_known(owner: &Owner) {
    while owner.with(|source| source.phase()) == PhaseName::Committing {
        tokio::time::sleep(CHECKPOINT_LOOK).await;
    }
}

async fn attach(volume: &Volume, owner: &Owner, outgoing: &Outgoing) -> Result<u64> {
    let request = AttachRequest {
        migration: outgoing.migration.to_string(),
        token: outgoing.token.to_string(),
        source_boot: outgoing.source_boot().0,
    };
    let path = format!("/v1/volumes/{}/attach", volume.name);
    blockferry_label::reached("source.attach.asking");
    let reply: AttachReply = outgoing.control.post(&path, &request).await?;
    blockferry_label::reached("source.attach.answered");
    let stream = Frontier::from_text(&reply.digest_state).context("the destination's digest")?;
    outgoing.set_destination_boot(reply.destination_boot);
    let attached =
        owner.with(|source| source.attached(reply.epoch, reply.reserved_address, stream));
    if !attached {
        bail!("the volume changes its owner");
    }
    tracing::info!(
        volume = %volume.name, epoch = reply.epoch, address = reply.reserved_address,
        "attached to the destination"
    );
    blockferry_label::reached("source.attach.done");
    Ok(reply.epoch)
}

/// Runs until the attachment ends; tells why, unless the migration is over.
async fn follow(
    volume: &Arc<Volume>,
    owner: &Arc<Owner>,
    outgoing: &Arc<Outgoing>,
    epoch: u64,
) -> Option<anyhow::Error> {
    let ended = tokio::select! {
        () = outgoing.stop.cancelled() => return None,
        ended = watch(volume, owner, outgoing, epoch) => ended,
        ended = checkpoints(volume, owner, outgoing, epoch) => ended,
        () = super::resync::run(volume, owner) => Ok(()),
    };
    if is_over(owner, outgoing) { None } else { ended.err() }
}

/// Follows the destination's reserved address.
async fn watch(volume: &Volume, owner: &Owner, outgoing: &Outgoing, epoch: u64) -> Result<()> {
    let (mut known, mut moves) = (known_address(owner), false);
    loop {
        let (above, wait) = worth_telling(known, volume.info.size, moves);
        let path = format!(
            "/v1/volumes/{}/reserved?migration={}&epoch={epoch}&above={above}&wait_ms={}",
            volume.name,
            outgoing.migration,
            wait.as_millis()
        );
        let reply: ReservedReply =
            ask_twice(|| outgoing.control.get_within(&path, 2 * WATCH_WAIT)).await?;
        if reply.epoch != epoch {
            bail!("the destination was restarted, or attached by somebody else");
        }
        owner.with(|source| source.reserved_grew(epoch, reply.reserved_address));
        moves = reply.reserved_address != known;
        known = reply.reserved_address;
        owner.announce();
    }
}

/// Above which address the destination is to tell of `W` at once, and after what time in any case. Where
/// `W` does not move, the first step is news.
fn worth_telling(known: u64, size: u64, moves: bool) -> (u64, Duration) {
    if known >= size || !moves {
        return (known, WATCH_WAIT);
    }
    let next = known.saturating_add(NEWS_BYTES).min(size);
    (next - 1, NEWS_WAIT)
}

fn known_address(owner: &Owner) -> u64 {
    owner.with(|source| source.sweep().map_or(0, |sweep| sweep.reserved()))
}

/// A connection that was kept open may have been closed in between; once more on a new one.
async fn ask_twice<T, F>(ask: impl Fn() -> F) -> Result<T, ControlError>
where
    F: Future<Output = Result<T, ControlError>>,
{
    match ask().await {
        Err(ControlError::Unreachable { .. }) => ask().await,
        answer => answer,
    }
}

async fn checkpoints(
    volume: &Arc<Volume>,
    owner: &Owner,
    outgoing: &Outgoing,
    epoch: u64,
) -> Result<()> {
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(CHECKPOINT_LOOK).await;
        if !is_due(owner, epoch, last) {
            continue;
        }
        let made = checkpoint(volume, owner, outgoing, epoch).await;
        if made.is_err() {
            owner.with(Source::checkpoint_failed);
        }
        made?;
        outgoing.setbacks.overcome();
        last = Instant::now();
        owner.announce();
    }
}

fn is_due(owner: &Owner, epoch: u64, last: Instant) -> bool {
    owner.with(|source| {
        let settling = source.phase() == PhaseName::Settling;
        let Some(sweep) = source.sweep() else { return false };
        let moved = sweep.reserved() > sweep.durable();
        let whole = sweep.reserved() == source.size();
        let much = sweep.lag() >= CHECKPOINT_DATA;
        let attached = sweep.attachment() == Attachment::Attached { epoch };
        let due = much || whole || last.elapsed() >= CHECKPOINT_INTERVAL;
        attached
            && source.phase() != PhaseName::Committing
            && ((moved && due) || (settling && sweep.durable() < source.size()))
    })
}

/// Both sides flush; then both make the address durable ("Durability").
async fn checkpoint(
    volume: &Arc<Volume>,
    owner: &Owner,
    outgoing: &Outgoing,
    epoch: u64,
) -> Result<()> {
    let request = CheckpointRequest {
        migration: outgoing.migration.to_string(),
        token: outgoing.token.to_string(),
        source_boot: outgoing.source_boot().0,
        epoch,
    };
    let path = format!("/v1/volumes/{}/checkpoint", volume.name);
    owner.with(Source::checkpoint_begin);
    blockferry_label::reached("source.checkpoint.asking");
    let reply: CheckpointReply = outgoing
        .control
        .post_within(&path, &request, CHECKPOINT_TIMEOUT)
        .await
        .map_err(at_destination)?;
    let address = reply.reserved_address;
    let theirs = reply.digest.parse().context("the destination's digest")?;
    owner.with(|source| source.checkpoint_agree(address, theirs))?;
    blockferry_label::reached("source.checkpoint.agreed");
    volume.store.call(Request::Flush).await.context(NotDurable("the source cannot flush"))?;
    blockferry_label::reached("source.checkpoint.flushed");
    let finish = FinishCheckpoint { checkpoint: request, reserved_address: address };
    let path = format!("/v1/volumes/{}/checkpoint/finish", volume.name);
    let _: serde_json::Value =
        outgoing.control.post_within(&path, &finish, CHECKPOINT_TIMEOUT).await?;
    blockferry_label::reached("source.checkpoint.finished");
    let stream = owner.with(|source| {
        source.checkpoint_done(address);
        source.sweep().map(|sweep| sweep.digest_state())
    });
    if let Some(stream) = stream {
        volume.record(VolumeRecord::Durable { address, stream }).await?;
        blockferry_label::reached("source.checkpoint.recorded");
    }
    Ok(())
}

/// An error of the destination's own is one of its storage; it refuses for other reasons otherwise.
fn at_destination(error: ControlError) -> anyhow::Error {
    let own = matches!(error, ControlError::Refused { status, .. } if status.is_server_error());
    let error = anyhow::Error::from(error);
    if own { error.context(NotDurable("the destination cannot flush")) } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_destination_tells_of_its_address_in_steps_and_at_once_of_the_end() {
        let size = 10 * NEWS_BYTES + 4096;
        let told_from = |known: u64| worth_telling(known, size, true).0 + 1;
        assert_eq!(told_from(0), NEWS_BYTES);
        assert_eq!(told_from(5 * NEWS_BYTES + 7), 6 * NEWS_BYTES + 7);
        assert_eq!(told_from(10 * NEWS_BYTES), size);
        assert_eq!(told_from(size - 1), size);
    }

    #[test]
    fn where_nothing_moves_and_at_the_end_it_is_not_asked_again_and_again() {
        for moves in [false, true] {
            assert_eq!(worth_telling(4096, 4096, moves), (4096, WATCH_WAIT));
        }
        assert_eq!(worth_telling(7, 4096, false), (7, WATCH_WAIT));
    }
}

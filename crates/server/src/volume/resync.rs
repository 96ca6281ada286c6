//! Makes dirty extents equal again, and compares both sides under live writes. Both lock the extent
//! in the in-flight record, so that no client's write comes between.

use std::sync::Arc;
use std::time::Duration;

use blockferry_block::{Extent, MIB};
use blockferry_device::{Device, Failure, ReadPart, Reply, Request};
use blockferry_migration::in_flight::OpId;
use blockferry_migration::source::{MirrorOutcome, Step};

use super::Volume;
use super::mirror_out::MirrorLane;
use super::owner::Owner;

/// How often dirty extents are looked for when nothing tells of one.
const LOOK: Duration = Duration::from_millis(10);

/// Pause after a resync or comparison that did not succeed.
const PAUSE: Duration = Duration::from_millis(50);

/// Length of one comparison in bytes.
const COMPARE_LENGTH: u64 = MIB;

/// Runs until it is dropped. Each operation is a task of its own, since the lock that it holds must
/// be given back whatever becomes of this one.
pub(super) async fn run(volume: &Arc<Volume>, owner: &Arc<Owner>) {
    let Some(lane) = volume.own_lane() else { return std::future::pending().await };
    loop {
        while let Some((id, extent)) = owner.with(|source| source.next_resync()) {
            let (volume, owner, lane) = (Arc::clone(volume), Arc::clone(owner), Arc::clone(&lane));
            tokio::spawn(async move { resync(&volume, &owner, &lane, id, extent).await });
        }
        if compare_next(volume, owner, &lane).await {
            continue;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Compares the next extent, if somebody wants it; false when there was none.
async fn compare_next(volume: &Arc<Volume>, owner: &Arc<Owner>, lane: &Arc<MirrorLane>) -> bool {
    let next = owner.with(|source| source.next_compare(COMPARE_LENGTH));
    let Some((id, extent)) = next else { return false };
    let work =
        Compare { volume: Arc::clone(volume), owner: Arc::clone(owner), lane: Arc::clone(lane) };
    let compared = tokio::spawn(async move { work.run(id, extent).await });
    if !compared.await.unwrap_or(false) {
        tokio::time::sleep(PAUSE).await;
    }
    true
}

async fn resync(volume: &Volume, owner: &Owner, lane: &MirrorLane, id: OpId, extent: Extent) {
    match owner.step(id).await {
        Step::Apply { .. } => {
            blockferry_label::reached("source.resync.locked");
            let outcome = send_again(volume, lane, extent).await;
            if outcome != MirrorOutcome::Executed {
                tokio::time::sleep(PAUSE).await;
            }
            owner.with(|source| source.resync_done(id, extent, outcome));
        }
        Step::Wait | Step::Forward | Step::Reply(_) => {}
    }
}

async fn send_again(volume: &Volume, lane: &MirrorLane, extent: Extent) -> MirrorOutcome {
    let read = volume.store.call(Request::Read { extent, dont_fragment: false }).await;
    let parts = match read {
        Ok(Reply::Read(parts)) => parts,
        Ok(_) => return MirrorOutcome::Failed,
        Err(error) => {
            tracing::error!(volume = %volume.name, %extent, %error, "a resync could not read");
            return MirrorOutcome::Failed;
        }
    };
    blockferry_label::reached("source.resync.read");
    let mut offset = extent.start();
    for part in parts {
        let length = part.len();
        let outcome = lane.outcome(write_of(offset, part)).await;
        if outcome != MirrorOutcome::Executed {
            return outcome;
        }
        offset += length;
    }
    blockferry_label::reached("source.resync.sent");
    MirrorOutcome::Executed
}

fn write_of(offset: u64, part: ReadPart) -> Request {
    match part {
        ReadPart::Data(data) => Request::Write { offset, data, fua: false },
        ReadPart::Hole(length) => Request::WriteZeroes {
            extent: Extent::between(offset, offset + length),
            fua: false,
            no_hole: false,
            fast_zero: false,
        },
    }
}

struct Compare {
    volume: Arc<Volume>,
    owner: Arc<Owner>,
    lane: Arc<MirrorLane>,
}

impl Compare {
    /// Compares the extent; false when it could not be compared now.
    async fn run(self, id: OpId, extent: Extent) -> bool {
        let equal = match self.owner.step(id).await {
            Step::Apply { .. } => self.equal(extent).await,
            Step::Wait | Step::Forward | Step::Reply(_) => None,
        };
        self.owner.with(|source| source.compare_done(id, extent, equal));
        if equal == Some(false) {
            tracing::error!(volume = %self.volume.name, %extent, "the sides differ");
        }
        equal.is_some()
    }

    async fn equal(&self, extent: Extent) -> Option<bool> {
        let request = Request::Read { extent, dont_fragment: true };
        let ours = self.volume.store.call(request.clone());
        let (ours, theirs) = tokio::join!(ours, self.lane.call(request));
        let ours = content(ours)?;
        let theirs = content(theirs.1?)?;
        Some(ours == theirs)
    }
}

fn content(reply: Result<Reply, Failure>) -> Option<Vec<u8>> {
    let Ok(Reply::Read(parts)) = reply else { return None };
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            ReadPart::Data(data) => bytes.extend_from_slice(&data),
            ReadPart::Hole(length) => {
                bytes.resize(bytes.len() + usize::try_from(length).ok()?, 0);
            }
        }
    }
    Some(bytes)
}

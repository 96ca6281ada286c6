//! A read and a write as one step: for commands of which what they write depends on what is there.
//!
//! Everybody else sees the volume before it or after it. Updates that overlap it wait, as they do for any
//! update (D1.4); so that those wait, too, which would go straight to the store, that way is closed for
//! so long. What is mirrored is the write that it came to.

use std::sync::Arc;

use blockferry_block::Extent;
use blockferry_device::{Device, Errno, Failure, ReadPart, Reply, Request};
use blockferry_migration::in_flight::OpId;
use blockferry_migration::source::{Answer, MirrorOutcome, Step};
use bytes::Bytes;

use super::client::{ClientPath, not_logged, part_of};
use super::owner::Owner;
use super::plain::Closed;
use super::throttle::wait_for_resync;
use super::{Stage, Volume, not_the_owner};

/// What a change makes of what is there: as much, or nothing where that is to stay as it is.
pub(crate) type Change<'a> = &'a (dyn Fn(&[u8]) -> Option<Bytes> + Sync);

/// What has become of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Modified {
    /// It was written.
    Written,
    /// Nothing was to be written.
    Left,
    /// Nothing was done: the destination owns the volume, and has to execute the whole of it.
    Forward,
    /// The destination owns the volume, and whether it has executed the write nobody can tell: it must not
    /// be asked to judge again what it may have changed itself.
    Unknown,
}

/// How far a change has come.
#[derive(Clone, Debug)]
struct Progress {
    here: Result<Modified, Failure>,
    at_destination: Modified,
}

impl Volume {
    /// Changes an extent, which is not empty, on the owner's authority; durable where `fua` says so.
    ///
    /// # Errors
    /// Where this side does not own the volume, the store fails, or the change cannot be logged.
    pub(super) async fn modify(
        self: &Arc<Self>,
        path: &ClientPath,
        (extent, fua): (Extent, bool),
        change: Change<'_>,
    ) -> Result<Modified, Failure> {
        let Stage::Owner(owner) = self.stage() else { return Err(not_the_owner(&self.name)) };
        let _alone = Closed::wait(self).await;
        if self.outgoing().is_some_and(|outgoing| outgoing.throttle) {
            wait_for_resync(&owner, extent).await;
        }
        let id = owner.with(|source| source.begin_update(path.key, extent));
        let mut progress = Progress { here: Ok(Modified::Left), at_destination: Modified::Forward };
        loop {
            match owner.step(id).await {
                Step::Apply { mirror } => {
                    let request = self.changed(extent, fua, change).await;
                    progress = self.apply(&owner, path, (id, mirror), request).await;
                }
                Step::Wait => {}
                Step::Forward => {
                    path.mirror.fenced().await;
                    return Ok(progress.at_destination);
                }
                Step::Reply(Answer::NotLogged) => return Err(not_logged()),
                Step::Reply(_) => return progress.here,
            }
        }
    }

    /// The write that the change comes to; the extent is nobody else's.
    async fn changed(
        &self,
        extent: Extent,
        fua: bool,
        change: Change<'_>,
    ) -> Result<Option<Request>, Failure> {
        let read = self.store.call(Request::Read { extent, dont_fragment: true }).await?;
        let found = content(read).filter(|found| found.len() as u64 == extent.len());
        let found =
            found.ok_or_else(|| Failure::new(Errno::Io, "the store has read too little"))?;
        let write = |data| Request::Write { offset: extent.start(), data, fua };
        Ok(change(&found).map(write))
    }

    async fn apply(
        &self,
        owner: &Owner,
        path: &ClientPath,
        (id, mirror): (OpId, Option<Extent>),
        request: Result<Option<Request>, Failure>,
    ) -> Progress {
        let request = match request {
            Ok(Some(request)) => request,
            unwritten => {
                let here = unwritten.map(|_| Modified::Left);
                owner.with(|source| {
                    source.local_done(id, here.is_ok());
                    // Both sides have what they had.
                    source.mirror_done(id, MirrorOutcome::Executed);
                });
                return Progress { here, at_destination: Modified::Forward };
            }
        };
        let applied = async {
            let applied = self.store.call(request.clone()).await;
            owner.with(|source| source.local_done(id, applied.is_ok()));
            applied.map(|_| Modified::Written)
        };
        let mirrored = async {
            let Some(part) = mirror else { return Modified::Forward };
            match path.mirror.send(id, part_of(&request, part)).await {
                MirrorOutcome::Executed if Some(part) == request.extent() => Modified::Written,
                MirrorOutcome::Executed | MirrorOutcome::Failed => Modified::Unknown,
                MirrorOutcome::Refused { .. } => Modified::Forward,
            }
        };
        let (here, at_destination) = tokio::join!(applied, mirrored);
        Progress { here, at_destination }
    }
}

fn content(reply: Reply) -> Option<Bytes> {
    let Reply::Read(mut parts) = reply else { return None };
    match parts.pop() {
        Some(ReadPart::Data(data)) if parts.is_empty() => Some(data),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

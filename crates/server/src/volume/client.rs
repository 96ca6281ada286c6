//! The way of a client's request through the owner.

use std::sync::Arc;
use std::time::Instant;

use blockferry_block::Extent;
use blockferry_device::{Device, Errno, Failure, Reply, Request};
use blockferry_migration::in_flight::OpId;
use blockferry_migration::source::{Answer, ReadStart, SessionKey, Step};

use super::forward::ForwardPath;
use super::mirror_out::MirrorLane;
use super::owner::Owner;
use super::throttle::wait_for_resync;
use super::{Stage, Volume, not_the_owner};

/// What a client connection has beyond the volume: its own mirror lane and forward path, so that
/// requests carry nothing beyond NBD and can be fenced by connection.
pub(crate) struct ClientPath {
    pub(super) key: SessionKey,
    pub(super) mirror: Arc<MirrorLane>,
    pub(super) forward: Arc<ForwardPath>,
}

impl ClientPath {
    /// The client has gone; what it began has ended.
    pub(super) fn end(&self) {
        self.mirror.end();
        self.forward.end();
    }
}

impl Volume {
    /// Executes a client's request on the owner's authority, or forwards it.
    pub(super) async fn client(
        self: &Arc<Self>,
        path: &ClientPath,
        request: Request,
    ) -> Result<Reply, Failure> {
        let Stage::Owner(owner) = self.stage() else { return Err(not_the_owner(&self.name)) };
        let outgoing = self.outgoing();
        let begun = outgoing.as_ref().map(|_| Instant::now());
        let answer = match request {
            Request::Read { extent, .. }
            | Request::BlockStatus { extent, .. }
            | Request::Cache { extent } => self.read(&owner, path, request, extent).await,
            Request::Flush => self.flush(&owner, path).await,
            _ => {
                let throttle = outgoing.as_ref().is_some_and(|outgoing| outgoing.throttle);
                if let Some(extent) = request.extent().filter(|_| throttle) {
                    wait_for_resync(&owner, extent).await;
                }
                self.update(&owner, path, request).await
            }
        };
        if let (Some(outgoing), Some(begun)) = (outgoing, begun) {
            outgoing.saw_request(begun.elapsed());
            blockferry_label::reached("source.client.answering");
        }
        answer
    }

    async fn read(
        &self,
        owner: &Owner,
        path: &ClientPath,
        request: Request,
        extent: Extent,
    ) -> Result<Reply, Failure> {
        match owner.with(|source| source.begin_read(extent)) {
            ReadStart::Unlocked => {
                let _reading = UnlockedRead(owner);
                self.store.call(request).await
            }
            ReadStart::Recorded(id) => self.recorded_read(owner, path, id, request).await,
            ReadStart::Forward => path.forward.call(request).await,
        }
    }

    async fn recorded_read(
        &self,
        owner: &Owner,
        path: &ClientPath,
        id: OpId,
        request: Request,
    ) -> Result<Reply, Failure> {
        let mut reply = Ok(Reply::Done);
        loop {
            match owner.step(id).await {
                Step::Apply { .. } | Step::Wait => {
                    reply = self.store.call(request.clone()).await;
                    owner.with(|source| source.local_done(id, reply.is_ok()));
                }
                Step::Forward => return path.forward.call(request).await,
                Step::Reply(_) => return reply,
            }
        }
    }

    /// Before the commit a flush is the owner's alone; it is the authority.
    async fn flush(&self, owner: &Owner, path: &ClientPath) -> Result<Reply, Failure> {
        match owner.with(|source| source.begin_read(Extent::between(0, 0))) {
            ReadStart::Unlocked => {
                let _reading = UnlockedRead(owner);
                self.store.call(Request::Flush).await
            }
            ReadStart::Recorded(id) => self.recorded_read(owner, path, id, Request::Flush).await,
            ReadStart::Forward => path.forward.call(Request::Flush).await,
        }
    }

    async fn update(
        &self,
        owner: &Owner,
        path: &ClientPath,
        request: Request,
    ) -> Result<Reply, Failure> {
        let extent = request.extent().unwrap_or(Extent::between(0, 0));
        let id = owner.with(|source| source.begin_update(path.key, extent));
        let mut local = Ok(Reply::Done);
        loop {
            match owner.step(id).await {
                Step::Apply { mirror: None } => {
                    local = self.store.call(request.clone()).await;
                    owner.with(|source| source.local_done(id, local.is_ok()));
                }
                Step::Apply { mirror: Some(part) } => {
                    blockferry_label::reached("source.mirror.sending");
                    let mirrored = path.mirror.send(id, part_of(&request, part));
                    let applied = async {
                        let applied = self.store.call(request.clone()).await;
                        owner.with(|source| source.local_done(id, applied.is_ok()));
                        blockferry_label::reached("source.mirror.applied");
                        applied
                    };
                    (local, _) = tokio::join!(applied, mirrored);
                }
                Step::Wait => {}
                Step::Forward => {
                    path.mirror.fenced().await;
                    return path.forward.call(request).await;
                }
                Step::Reply(Answer::NotLogged) => return Err(not_logged()),
                Step::Reply(_) => return local,
            }
        }
    }
}

struct UnlockedRead<'a>(&'a Owner);

impl Drop for UnlockedRead<'_> {
    fn drop(&mut self) {
        self.0.with(|source| source.end_unlocked_read());
    }
}

pub(super) fn not_logged() -> Failure {
    Failure::new(Errno::Io, "the activity log of the migration cannot be written; see the log")
}

/// The part of an update that lies in `part`.
pub(super) fn part_of(request: &Request, part: Extent) -> Request {
    match request {
        Request::Write { offset, data, fua } => {
            let from = usize::try_from(part.start() - offset).unwrap_or(data.len());
            let length = usize::try_from(part.len()).unwrap_or(0);
            let data = data.slice(from..from + length);
            Request::Write { offset: part.start(), data, fua: *fua }
        }
        Request::WriteZeroes { fua, no_hole, .. } => {
            Request::WriteZeroes { extent: part, fua: *fua, no_hole: *no_hole, fast_zero: false }
        }
        Request::Trim { fua, .. } => Request::Trim { extent: part, fua: *fua },
        other => other.clone(),
    }
}

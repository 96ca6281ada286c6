//! The mirror lane of one client session: its own connection to the destination, opened, fenced and
//! opened again as the migration needs it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use blockferry_block::{ClaimEpoch, Generation, SessionId};
use blockferry_device::{Failure, Reply, Request};
use blockferry_migration::in_flight::OpId;
use blockferry_migration::source::{Attachment, MirrorOutcome, PhaseName, SessionKey};
use blockferry_nbd_session::{CallError, FenceRequest, Link, Role};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Volume;
use super::outgoing::Outgoing;
use super::owner::Owner;
use super::throttle::THROTTLED_MAX;

/// A mirror write that takes longer makes its extent dirty ("The source during the sweep").
const MIRROR_TIMEOUT: Duration = Duration::from_secs(1);

/// Pause between two tries to open a lane.
const REOPEN_PAUSE: Duration = Duration::from_millis(50);

/// Generations of one client generation that belong to its mirror connections; those of its
/// forward connections come after them.
pub(super) const FORWARD_GENERATIONS: u64 = 1 << 31;

/// One lane. It does nothing while no migration is under way.
pub(crate) struct MirrorLane {
    /// That of its session's thread, so that a mirrored write need not wait for another one.
    runtime: Handle,
    volume: std::sync::Weak<Volume>,
    key: SessionKey,
    session: SessionId,
    state: Mutex<LaneState>,
    changed: Notify,
    ended: CancellationToken,
}

#[derive(Debug)]
struct LaneState {
    generation: Generation,
    open: Option<OpenLane>,
    unfenced: bool,
    calls: usize,
    /// Somebody waits until there are no calls.
    is_leaving: bool,
}

#[derive(Clone, Debug)]
struct OpenLane {
    link: Arc<Link>,
    epoch: u64,
}

impl MirrorLane {
    pub(super) fn new(
        volume: &Arc<Volume>,
        key: SessionKey,
        session: SessionId,
        generation: Generation,
    ) -> Arc<Self> {
        Arc::new(Self {
            runtime: Handle::current(),
            volume: Arc::downgrade(volume),
            key,
            session,
            state: Mutex::new(LaneState {
                generation,
                open: None,
                unfenced: false,
                calls: 0,
                is_leaving: false,
            }),
            changed: Notify::new(),
            ended: CancellationToken::new(),
        })
    }

    /// Sends a mirrored part, and reports its outcome to the owner's machine, too.
    pub(super) async fn send(&self, id: OpId, request: Request) -> MirrorOutcome {
        let outcome = self.outcome(request).await;
        blockferry_label::reached(match outcome {
            MirrorOutcome::Refused { .. } => "source.mirror.refused",
            _ => "source.mirror.answered",
        });
        if let Some(owner) = self.volume.upgrade().and_then(|volume| volume.owner()) {
            owner.with(|source| source.mirror_done(id, outcome));
        }
        outcome
    }

    /// Executes an update at the destination.
    pub(super) async fn outcome(&self, request: Request) -> MirrorOutcome {
        match self.call(request).await {
            (_, Some(Ok(_))) => MirrorOutcome::Executed,
            (epoch, Some(Err(failure))) => refusal(epoch, &failure),
            (_, None) => MirrorOutcome::Failed,
        }
    }

    /// Asks the destination; `None` when the answer is unknown, and then the lane is fenced before
    /// it opens again.
    pub(super) async fn call(&self, request: Request) -> (u64, Option<Result<Reply, Failure>>) {
        let Some(lane) = self.enter() else { return (0, None) };
        let _calling = Calling(self);
        let call = lane.link.request(request);
        match tokio::time::timeout(self.timeout(), call).await {
            Ok(Ok(reply)) => (lane.epoch, Some(Ok(reply))),
            Ok(Err(CallError::Refused(failure))) => (lane.epoch, Some(Err(failure))),
            Ok(Err(CallError::Lost)) | Err(_) => {
                self.lost(&lane);
                (lane.epoch, None)
            }
        }
    }

    fn enter(&self) -> Option<OpenLane> {
        let mut state = self.lock();
        let lane = state.open.clone()?;
        state.calls += 1;
        Some(lane)
    }

    fn timeout(&self) -> Duration {
        let outgoing = self.volume.upgrade().and_then(|volume| volume.outgoing());
        match outgoing {
            Some(outgoing) if outgoing.throttle => THROTTLED_MAX,
            _ => MIRROR_TIMEOUT,
        }
    }

    fn lost(&self, lane: &OpenLane) {
        {
            let mut state = self.lock();
            state.unfenced = true;
            state.open.take_if(|open| Arc::ptr_eq(&open.link, &lane.link));
        }
        lane.link.abort();
        if let Some(owner) = self.volume.upgrade().and_then(|volume| volume.owner()) {
            owner.with(|source| source.mirror_lost(self.key));
        }
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// Waits until nothing that the lane sent can execute any more.
    pub(super) async fn fenced(&self) {
        loop {
            let mut news = std::pin::pin!(self.changed.notified());
            news.as_mut().enable();
            if !self.lock().unfenced {
                return;
            }
            news.await;
        }
    }

    /// Whether the lane is open in this epoch.
    fn is_open(&self, epoch: u64) -> bool {
        self.lock().open.as_ref().is_some_and(|open| open.epoch == epoch)
    }

    /// The client has gone.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the lane open while the migration and the client last, and does not leave before
    /// everything that it sent is answered or fenced.
    pub(super) fn start(self: &Arc<Self>, owner: Arc<Owner>, outgoing: Arc<Outgoing>) {
        self.runtime.spawn(Arc::clone(self).maintain(owner, outgoing));
    }

    async fn maintain(self: Arc<Self>, owner: Arc<Owner>, outgoing: Arc<Outgoing>) {
        loop {
            let mut changed = std::pin::pin!(owner.changed());
            changed.as_mut().enable();
            let mut news = std::pin::pin!(self.changed.notified());
            news.as_mut().enable();
            let over = self.ended.is_cancelled() || outgoing.stop.is_cancelled();
            if owner.with(|source| source.phase()) == PhaseName::Owner {
                return self.close(&owner);
            }
            let (unfenced, calls) = {
                let mut state = self.lock();
                state.is_leaving = over;
                (state.unfenced, state.calls)
            };
            let done = if unfenced {
                self.fence(&owner, &outgoing).await
            } else if over {
                if calls == 0 {
                    return self.close(&owner);
                }
                true
            } else {
                self.open_if_wanted(&owner, &outgoing).await
            };
            if !done {
                tokio::time::sleep(REOPEN_PAUSE).await;
                continue;
            }
            if unfenced {
                continue;
            }
            tokio::select! {
                () = changed => {}
                () = news => {}
                () = self.ended.cancelled(), if !over => {}
                () = outgoing.stop.cancelled(), if !over => {}
                () = self.link_closed() => {}
            }
        }
    }

    /// True when nothing is to be done, or it was done.
    async fn open_if_wanted(&self, owner: &Owner, outgoing: &Outgoing) -> bool {
        match attached_epoch(owner) {
            Some(epoch) if !self.is_open(epoch) => self.open(owner, outgoing, epoch).await,
            _ => true,
        }
    }

    async fn link_closed(&self) {
        let Some(open) = self.lock().open.clone() else { return std::future::pending().await };
        open.link.closed().await;
        self.lost(&open);
    }

    fn close(&self, owner: &Owner) {
        let open = {
            let mut state = self.lock();
            state.unfenced = false;
            state.open.take()
        };
        owner.with(|source| source.mirror_closed(self.key));
        self.changed.notify_waiters();
        if let Some(open) = open {
            open.link.abort();
        }
    }

    /// Has the destination fence what the lane sent; true once it is certain.
    async fn fence(&self, owner: &Owner, outgoing: &Outgoing) -> bool {
        let generation = self.next_generation();
        let export = self.volume.upgrade().map(|volume| volume.name.to_string());
        let request =
            FenceRequest { export: export.unwrap_or_default(), session: self.session, generation };
        if !outgoing.fence(&request).await {
            return false;
        }
        self.lock().unfenced = false;
        owner.with(|source| source.mirror_fenced(self.key));
        self.changed.notify_waiters();
        true
    }

    async fn open(&self, owner: &Owner, outgoing: &Outgoing, epoch: u64) -> bool {
        let generation = self.next_generation();
        let claim = outgoing.claim(Role::Mirror, self.session, generation, ClaimEpoch(epoch));
        let link = match outgoing.connect(claim).await {
            Ok(link) => Arc::new(link),
            Err(error) => {
                tracing::debug!(%error, "a mirror connection could not be opened");
                return false;
            }
        };
        let earlier = self.lock().open.replace(OpenLane { link: Arc::clone(&link), epoch });
        if let Some(earlier) = earlier {
            earlier.link.abort();
        }
        let opened = owner.with(|source| {
            let valid = source.sweep().map(|sweep| sweep.attachment())
                == Some(Attachment::Attached { epoch });
            if valid {
                source.mirror_open(self.key);
            }
            valid
        });
        if !opened {
            self.lock().open.take();
            link.abort();
        }
        blockferry_label::reached("source.lane.opened");
        opened
    }

    fn next_generation(&self) -> Generation {
        let mut state = self.lock();
        state.generation = state.generation.next();
        state.generation
    }
}

struct Calling<'a>(&'a MirrorLane);

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        let is_awaited = {
            let mut state = self.0.lock();
            state.calls -= 1;
            state.calls == 0 && state.is_leaving
        };
        if is_awaited {
            self.0.changed.notify_waiters();
        }
    }
}

/// The epoch to open lanes in; none while detached and once the commit has begun.
fn attached_epoch(owner: &Owner) -> Option<u64> {
    owner.with(|source| match (source.phase(), source.sweep()?.attachment()) {
        (PhaseName::Sweeping | PhaseName::Settling, Attachment::Attached { epoch }) => Some(epoch),
        _ => None,
    })
}

/// A refusal that names `W` came from a destination that has not passed the extent.
fn refusal(epoch: u64, failure: &Failure) -> MirrorOutcome {
    let reserved = failure
        .message
        .strip_prefix("reserved address ")
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok());
    match reserved {
        Some(reserved) => MirrorOutcome::Refused { epoch, reserved },
        None => MirrorOutcome::Failed,
    }
}

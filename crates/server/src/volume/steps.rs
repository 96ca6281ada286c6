//! The steps of a migration that others ask for. Each is idempotent: asked again with the same
//! content it answers the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use blockferry_block::{Attempt, BootId, Generation, MigrationId, SessionId, Token};
use blockferry_control::api::{
    AbortRequest, Arrangement, AttachReply, AttachRequest, CheckpointReply, CheckpointRequest,
    CommitReply, CommitRequest, FinishCheckpoint, MoveReply, OwnReply, OwnRequest, ReadyReply,
    ReadyRequest, ReservedQuery, ReservedReply, RetireReply, SendReply, SendRequest, SettleReply,
    SettleRequest, SlowDestination, TermReply, TermRequest, VerifyReply, VerifyRequest,
};
use blockferry_device::{Device, Request};
use blockferry_migration::destination::Phase;
use blockferry_migration::record::{Part, Party, VolumeRecord, VolumeState};
use blockferry_migration::source::{Attachment, PhaseName, SessionKey, Source};
use blockferry_nbd_session::{FenceRequest, Hello, OpenError, Role, RoleClaim};

use super::activity::{self, ActivityFile};
use super::client::ClientPath;
use super::device::{Use, VolumeDevice};
use super::forward::ForwardPath;
use super::mirror_out::{self, MirrorLane};
use super::outgoing::Outgoing;
use super::owner::Owner;
use super::{NOT_THE_OWNER, Stage, Volume};

/// A request to settle or to send is answered after this long even when it has not succeeded yet.
const STEP_WAIT: Duration = Duration::from_secs(1);

/// A source that was told to migrate has to be attached within this time.
const ATTACH_WAIT: Duration = Duration::from_secs(10);

/// Arrangement information is sent so often, this far apart, until the switch has taken it.
const ARRANGEMENT_TRIES: (u32, Duration) = (20, Duration::from_millis(500));

/// Why a step is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// Not in this state, or not by this caller.
    #[error("{0}")]
    Conflict(String),
    /// A wrong token.
    #[error("the token is not that of the migration")]
    Token,
    /// It failed here.
    #[error("{0:#}")]
    Internal(#[from] anyhow::Error),
}

impl Refused {
    fn conflict(why: impl std::fmt::Display) -> Self {
        Self::Conflict(why.to_string())
    }
}

type Step<T> = Result<T, Refused>;

impl Volume {
    /// Goes on with a migration that the records tell of.
    pub(super) fn resume_outgoing(self: &Arc<Self>, state: &VolumeState) -> anyhow::Result<()> {
        let migration = state.migration.as_ref().context("a source has a migration")?;
        let own_session = self.program.random_session();
        let outgoing = Arc::new(Outgoing::new(&self.program, self.name.as_str(), migration)?);
        self.set_outgoing(Some(Arc::clone(&outgoing)));
        if state.part == Part::Forwarding {
            outgoing.stop.cancel();
            return Ok(());
        }
        let owner = self.owner().context("a source is an owner")?;
        let path = ActivityFile::path(&self.program.state_dir, self.name.as_str());
        let (file, _) = ActivityFile::open(path)?;
        tokio::spawn(activity::write_batches(Arc::clone(&owner), file, outgoing.stop.clone()));
        let lane = MirrorLane::new(self, OWN_KEY, own_session, Generation(0));
        self.set_own_lane(Some(Arc::clone(&lane)));
        tokio::spawn(mirror_out::maintain(lane, Arc::clone(&owner), Arc::clone(&outgoing)));
        self.maintain_lanes(&owner, &outgoing);
        let volume = Arc::clone(self);
        tokio::spawn(async move { super::attach::stay_attached(volume, owner, outgoing).await });
        Ok(())
    }

    /// Opens the volume for one connection.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        hello: &Hello,
        by_token: Option<Token>,
    ) -> Result<VolumeDevice, OpenError> {
        let claim = hello.role.as_ref();
        let role =
            if by_token.is_some() { Role::Copy } else { claim.map_or(Role::Client, |c| c.role) };
        if role != Role::Client {
            let token = by_token.or(claim.map(|claim| claim.token));
            let migration = claim.filter(|_| by_token.is_none()).map(|claim| claim.migration);
            self.check_party(migration, token).map_err(|e| OpenError::Policy(e.to_string()))?;
        }
        let session = claim.map_or_else(|| self.program.random_session(), |claim| claim.session);
        let generation = claim.map_or(Generation(DIRECT_GENERATION), |claim| claim.generation);
        let standby = claim.is_some_and(|claim| claim.standby);
        if role == Role::Client {
            self.check_client(standby)?;
        }
        let purpose = match role {
            Role::Client => None,
            Role::Copy => Some(self.copy_use(claim.filter(|_| by_token.is_none())).await?),
            Role::Mirror | Role::Forward => None,
        };
        let connection = self
            .sessions
            .open(role, session, generation)
            .ok_or_else(|| OpenError::Policy("this generation of the session is fenced".into()))?;
        let arrangement = claim.map(|claim| claim.arrangement.clone()).unwrap_or_default();
        let path = || self.client_path(connection.key, session, generation, arrangement.clone());
        let purpose = match (role, purpose, claim) {
            (_, Some(purpose), _) => purpose,
            (Role::Mirror, _, Some(claim)) => {
                Use::MirrorIn { epoch: claim.claim_epoch.0, path: path() }
            }
            (Role::Forward, _, Some(claim)) => {
                Use::ForwardIn { claim: claim.clone(), told: false.into(), path: path() }
            }
            _ => Use::Client(path()),
        };
        Ok(VolumeDevice::new(Arc::clone(self), connection, purpose))
    }

    fn check_party(&self, migration: Option<MigrationId>, token: Option<Token>) -> Step<()> {
        let state = self.state();
        let Some(known) = state.migration else {
            return Err(Refused::conflict("the volume takes part in no migration"));
        };
        if migration.is_some_and(|migration| migration.to_string() != known.migration) {
            return Err(Refused::conflict("the volume takes part in another migration"));
        }
        match token {
            Some(token) if same(&token.to_string(), &known.token) => Ok(()),
            _ => Err(Refused::Token),
        }
    }

    fn check_client(&self, standby: bool) -> Result<(), OpenError> {
        match self.stage() {
            Stage::Owner(_) => Ok(()),
            Stage::Receiver(_) if standby => Ok(()),
            Stage::Receiver(_) => Err(OpenError::Policy(format!(
                "{NOT_THE_OWNER} of {} yet: it is being received; connect to its owner",
                self.name
            ))),
            Stage::Retired => Err(OpenError::Policy(format!(
                "{NOT_THE_OWNER} of {} any more: it was retired here; connect to its owner",
                self.name
            ))),
            Stage::Gone => Err(OpenError::Unknown(format!("there is no volume {}", self.name))),
        }
    }

    /// The copy role: with a claim its epoch and the controller's term count; without one (a stock
    /// tool that named the token) the present epoch does.
    async fn copy_use(&self, claim: Option<&RoleClaim>) -> Result<Use, OpenError> {
        if let Some(claim) = claim {
            let term = self.state().migration.map_or(0, |migration| migration.term);
            if claim.generation.0 < term {
                return Err(OpenError::Policy(format!(
                    "a newer controller (term {term}) has taken the migration over"
                )));
            }
        }
        match self.stage() {
            Stage::Owner(owner) => {
                let attached = owner.with(|source| source.sweep().map(|sweep| sweep.attachment()));
                let Some(Attachment::Attached { epoch: present }) = attached else {
                    return Err(OpenError::Policy(
                        "the source is not attached to a destination; ask its status".into(),
                    ));
                };
                Ok(Use::CopyOut { epoch: claim.map_or(present, |claim| claim.claim_epoch.0) })
            }
            Stage::Receiver(receiver) => {
                let present = receiver.read(|destination| destination.epoch());
                Ok(Use::CopyIn { epoch: claim.map_or(present, |claim| claim.claim_epoch.0) })
            }
            Stage::Retired | Stage::Gone => {
                Err(OpenError::Policy("the volume takes part in no migration here".into()))
            }
        }
    }

    fn client_path(
        self: &Arc<Self>,
        key: SessionKey,
        session: SessionId,
        generation: Generation,
        arrangement: String,
    ) -> ClientPath {
        let mirror = MirrorLane::new(self, key, session, generation);
        let forward = ForwardPath::new(self, session, generation, arrangement);
        self.remember_lane(&mirror, &forward);
        if let (Some(owner), Some(outgoing)) = (self.owner(), self.outgoing())
            && !outgoing.stop.is_cancelled()
        {
            tokio::spawn(mirror_out::maintain(Arc::clone(&mirror), owner, outgoing));
        }
        ClientPath { key, mirror, forward }
    }

    /// Makes a fence durable once nothing older of the session executes here (I13).
    pub(crate) async fn fence(self: &Arc<Self>, fence: &FenceRequest) -> anyhow::Result<()> {
        self.sessions.fence(fence.session, fence.generation).await;
        let record = VolumeRecord::Fence {
            session: fence.session.to_string(),
            generation: fence.generation.0,
        };
        self.record(record).await
    }

    /// `/send`: begins the migration.
    pub(crate) async fn send(self: &Arc<Self>, request: SendRequest) -> Step<SendReply> {
        let state = self.state();
        match (state.part, &state.migration) {
            (Part::Owner, _) => {
                let record = VolumeRecord::Sending {
                    migration: checked::<MigrationId>(&request.migration, "migration")?,
                    token: checked::<Token>(&request.token, "token")?,
                    destination: Party {
                        nbd: request.destination.nbd,
                        control: request.destination.control,
                    },
                    throttle: request.slow_destination == SlowDestination::Throttle,
                };
                self.record(record).await?;
                self.record(VolumeRecord::Term { term: request.term }).await?;
                let owner = self.owner().ok_or_else(|| Refused::conflict("not the owner"))?;
                owner.with(Source::begin);
                self.resume_outgoing(&self.state())?;
            }
            (Part::Source, Some(known)) if known.migration == request.migration => {
                self.check_term(request.term).await?;
            }
            _ => return Err(Refused::conflict("the volume takes part in another migration")),
        }
        self.attached_reply().await
    }

    async fn attached_reply(&self) -> Step<SendReply> {
        let deadline = Instant::now() + ATTACH_WAIT;
        loop {
            let owner = self.owner().ok_or_else(|| Refused::conflict("not the owner"))?;
            let outgoing =
                self.outgoing().ok_or_else(|| Refused::conflict("there is no migration"))?;
            let attached = owner.with(|source| {
                let sweep = source.sweep()?;
                match sweep.attachment() {
                    Attachment::Attached { epoch } => Some((epoch, sweep.reserved())),
                    Attachment::Detached => None,
                }
            });
            if let Some((epoch, reserved_address)) = attached {
                return Ok(SendReply {
                    boot: self.program.boot.0,
                    destination_boot: outgoing.destination_boot().0,
                    epoch,
                    reserved_address,
                });
            }
            if Instant::now() > deadline {
                let trouble = outgoing.trouble().unwrap_or_else(|| "no answer yet".to_owned());
                return Err(Refused::conflict(format!(
                    "not attached to the destination: {trouble}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// `/term`: a controller takes over.
    pub(crate) async fn term(self: &Arc<Self>, request: TermRequest) -> Step<TermReply> {
        let migration = self.migration(&request.migration)?;
        if let Some(token) = &request.token
            && !same(token, &migration.token)
        {
            return Err(Refused::Token);
        }
        let term = migration.term + 1;
        if self.state().part == Part::Source {
            self.record(VolumeRecord::Term { term }).await?;
            self.sessions.stop_roles(&[Role::Copy]).await;
        }
        Ok(TermReply {
            term,
            token: migration.token,
            destination: blockferry_control::api::PartyAddress {
                nbd: migration.peer.nbd,
                control: migration.peer.control,
            },
        })
    }

    fn migration(&self, id: &str) -> Step<blockferry_migration::record::MigrationState> {
        match self.state().migration {
            Some(known) if known.migration == id => Ok(known),
            Some(_) => Err(Refused::conflict("the volume takes part in another migration")),
            None => Err(Refused::conflict("the volume takes part in no migration")),
        }
    }

    /// A newer term is made durable and fences older ones (I12); an older one is refused.
    async fn check_term(self: &Arc<Self>, term: u64) -> Step<()> {
        let known = self.state().migration.map_or(0, |migration| migration.term);
        if term < known {
            return Err(Refused::conflict(format!(
                "a newer controller (term {known}) has taken the migration over"
            )));
        }
        if term > known {
            self.record(VolumeRecord::Term { term }).await?;
            self.sessions.stop_roles(&[Role::Copy]).await;
        }
        Ok(())
    }

    fn authenticated(&self, migration: &str, token: &str) -> Step<()> {
        let known = self.migration(migration)?;
        if same(token, &known.token) { Ok(()) } else { Err(Refused::Token) }
    }

    /// `/attach`, at the destination.
    pub(crate) async fn attach(self: &Arc<Self>, request: AttachRequest) -> Step<AttachReply> {
        self.authenticated(&request.migration, &request.token)?;
        let receiver =
            self.receiver().ok_or_else(|| Refused::conflict("the destination owns the volume"))?;
        let attach = receiver.attach(BootId(request.source_boot));
        let stop = self.sessions.stop_roles(&[Role::Copy, Role::Mirror]);
        let (attached, ()) = tokio::join!(attach, stop);
        Ok(AttachReply {
            destination_boot: self.program.boot.0,
            reserved_address: attached.reserved,
            epoch: attached.epoch,
            digest_state: attached.stream.to_text(),
        })
    }

    /// `/reserved`, at the destination: a long poll.
    pub(crate) async fn reserved(&self, query: &ReservedQuery) -> Step<ReservedReply> {
        self.migration(&query.migration)?;
        let receiver =
            self.receiver().ok_or_else(|| Refused::conflict("the destination owns the volume"))?;
        let deadline = Instant::now() + Duration::from_millis(query.wait_ms.min(10_000));
        loop {
            let mut changed = std::pin::pin!(receiver.changed());
            changed.as_mut().enable();
            let (epoch, reserved) = receiver.read(|d| (d.epoch(), d.reserved()));
            let left = deadline.saturating_duration_since(Instant::now());
            if reserved > query.above || epoch != query.epoch || left.is_zero() {
                let destination_boot = self.program.boot.0;
                return Ok(ReservedReply { destination_boot, epoch, reserved_address: reserved });
            }
            let _ = tokio::time::timeout(left, changed).await;
        }
    }

    /// `/checkpoint`, at the destination.
    pub(crate) async fn checkpoint(&self, request: &CheckpointRequest) -> Step<CheckpointReply> {
        self.authenticated(&request.migration, &request.token)?;
        let receiver =
            self.receiver().ok_or_else(|| Refused::conflict("the destination owns the volume"))?;
        let (reserved_address, digest) = receiver
            .with(|destination| destination.checkpoint_begin(request.epoch))
            .map_err(Refused::conflict)?;
        self.flush_store().await?;
        Ok(CheckpointReply { reserved_address, digest: digest.to_string() })
    }

    /// `/checkpoint/finish`, at the destination.
    pub(crate) async fn finish_checkpoint(
        self: &Arc<Self>,
        request: &FinishCheckpoint,
    ) -> Step<()> {
        let checkpoint = &request.checkpoint;
        self.authenticated(&checkpoint.migration, &checkpoint.token)?;
        let receiver =
            self.receiver().ok_or_else(|| Refused::conflict("the destination owns the volume"))?;
        let _step = receiver.steps.lock().await;
        let address = request.reserved_address;
        let stream = receiver
            .read(|d| d.checkpoint_state(checkpoint.epoch, address).map(|s| s.to_text()))
            .map_err(Refused::conflict)?;
        self.record(VolumeRecord::Durable { address, stream }).await?;
        receiver.with(|destination| destination.checkpoint_done(address));
        Ok(())
    }

    async fn flush_store(&self) -> Step<()> {
        let flushed = self.store.call(Request::Flush).await;
        flushed.context("flushing the volume").map_err(Refused::Internal)?;
        Ok(())
    }

    /// `/settle`, at the source.
    pub(crate) async fn settle(self: &Arc<Self>, request: &SettleRequest) -> Step<SettleReply> {
        self.migration(&request.migration)?;
        self.check_term(request.term).await?;
        let owner = self.owner().ok_or_else(|| Refused::conflict("not the owner"))?;
        let attempt = self.attempt(&owner).await?;
        let deadline = Instant::now() + STEP_WAIT;
        loop {
            let settling = owner.with(|source| source.settle(attempt));
            let missing = match settling {
                Ok(()) => owner.with(|source| source.missing()).map(|missing| missing.to_string()),
                Err(refusal) => Some(refusal.to_string()),
            };
            if missing.is_none() {
                self.open_forward_paths().await;
            }
            if missing.is_none() || Instant::now() > deadline {
                let epoch = owner.with(|source| match source.sweep()?.attachment() {
                    Attachment::Attached { epoch } => Some(epoch),
                    Attachment::Detached => None,
                });
                return Ok(SettleReply {
                    settled: missing.is_none() && epoch.is_some(),
                    attempt: attempt.0,
                    missing,
                    epoch: epoch.unwrap_or(0),
                });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The attempt under way, or a new one that is durable before it is used.
    async fn attempt(self: &Arc<Self>, owner: &Owner) -> Step<Attempt> {
        let last = self.state().migration.map_or(Attempt(0), |migration| migration.attempt);
        if owner.with(|source| source.phase()) == PhaseName::Settling && last > Attempt(0) {
            return Ok(last);
        }
        let attempt = last.next();
        self.record(VolumeRecord::Attempt { attempt: attempt.0 }).await?;
        Ok(attempt)
    }

    /// `/ready`, at the destination: write-through first, then flush, then the record.
    pub(crate) async fn ready(self: &Arc<Self>, request: &ReadyRequest) -> Step<ReadyReply> {
        self.authenticated(&request.migration, &request.token)?;
        self.check_term(request.term).await?;
        let receiver =
            self.receiver().ok_or_else(|| Refused::conflict("the destination owns the volume"))?;
        receiver
            .with(|destination| destination.ready_begin(request.epoch))
            .map_err(Refused::conflict)?;
        let begun = Instant::now();
        self.flush_store().await?;
        let flush_seconds = begun.elapsed().as_secs_f64();
        let generation = self.state().generation.next();
        let _step = receiver.steps.lock().await;
        let (attempt, generation) = (request.attempt, generation.0);
        self.record(VolumeRecord::Ready { attempt, generation }).await?;
        receiver
            .with(|destination| destination.ready_durable(request.epoch, Attempt(attempt)))
            .map_err(Refused::conflict)?;
        Ok(ReadyReply { generation, flush_seconds, boot: self.program.boot.0 })
    }

    /// `/commit`, at the source: the point of no return.
    pub(crate) async fn commit(self: &Arc<Self>, request: &CommitRequest) -> Step<CommitReply> {
        self.migration(&request.migration)?;
        let state = self.state();
        if state.part == Part::Forwarding {
            return Ok(CommitReply { generation: state.generation.0 });
        }
        self.check_term(request.term).await?;
        let owner = self.owner().ok_or_else(|| Refused::conflict("not the owner"))?;
        let outgoing = self.outgoing().ok_or_else(|| Refused::conflict("there is no migration"))?;
        if outgoing.destination_boot() != BootId(request.destination_boot) {
            return Err(Refused::conflict("the destination was restarted since it was ready"));
        }
        let begun = owner.with(|source| source.commit_begin(Attempt(request.attempt)));
        if let Err(refusal) = begun {
            owner.with(Source::unsettle);
            return Err(Refused::conflict(refusal));
        }
        owner.with(|source| {
            if let Some(sweep) = source.sweep() {
                outgoing.remember(sweep);
            }
        });
        let generation = state.generation.next().0;
        let record = VolumeRecord::Committed { attempt: request.attempt, generation };
        if let Err(error) = self.record(record).await {
            // Nobody knows whether the record is durable; only a restart can tell.
            tracing::error!(volume = %self.name, error = format!("{error:#}"),
                "the commit record could not be written; stopping, the journal decides");
            std::process::exit(1);
        }
        outgoing.stop.cancel();
        owner.with(Source::commit_durable);
        owner.announce();
        tracing::info!(volume = %self.name, generation, "committed; forwarding from now on");
        Ok(CommitReply { generation })
    }

    /// `/own`, at the destination.
    pub(crate) async fn own(self: &Arc<Self>, request: &OwnRequest) -> Step<OwnReply> {
        self.authenticated(&request.migration, &request.token)?;
        self.become_owner(request.generation).await
    }

    /// A forwarded request proves the commit.
    pub(super) async fn own_by_proof(self: &Arc<Self>, claim: &RoleClaim) -> Step<()> {
        self.authenticated(&claim.migration.to_string(), &claim.token.to_string())?;
        let generation = self.state().generation.next().0;
        self.become_owner(generation).await.map(|_| ())
    }

    async fn become_owner(self: &Arc<Self>, generation: u64) -> Step<OwnReply> {
        let Some(receiver) = self.receiver() else {
            let state = self.state();
            return match self.stage() {
                Stage::Owner(_) if state.generation.0 >= generation => {
                    Ok(OwnReply { generation: state.generation.0 })
                }
                _ => Err(Refused::conflict("the volume is not received here")),
            };
        };
        let _step = receiver.steps.lock().await;
        if let Stage::Owner(_) = self.stage() {
            return Ok(OwnReply { generation: self.state().generation.0 });
        }
        // I10: only a side that promised to be ready can have been committed to.
        if !matches!(receiver.read(|d| d.phase()), Phase::Ready(_)) {
            return Err(Refused::conflict("the destination is not ready"));
        }
        if self.state().generation.next().0 != generation {
            return Err(Refused::conflict("that is not the generation that was made ready"));
        }
        self.record(VolumeRecord::Owned { generation }).await?;
        let source = Source::new(self.info.size, self.faults());
        self.set_stage(Stage::Owner(Arc::new(Owner::new(source))));
        tracing::info!(volume = %self.name, generation, "owner from now on");
        Ok(OwnReply { generation })
    }

    /// `/abort` on either side, before the commit record.
    pub(crate) async fn abort(self: &Arc<Self>, request: &AbortRequest) -> Step<()> {
        match (self.stage(), self.state().part) {
            (Stage::Owner(owner), Part::Source) => {
                self.migration(&request.migration)?;
                self.check_term(request.term).await?;
                owner.with(Source::abort).map_err(Refused::conflict)?;
                self.record(VolumeRecord::Aborted).await?;
                self.end_outgoing().await;
                Ok(())
            }
            (Stage::Receiver(receiver), _) => {
                // A controller that died between `/receive` and `/send` took the token with it.
                // Whoever may speak on the control address may clean up after it.
                match &request.token {
                    Some(token) => self.authenticated(&request.migration, token)?,
                    None => drop(self.migration(&request.migration)?),
                }
                let _step = receiver.steps.lock().await;
                self.record(VolumeRecord::Aborted).await?;
                self.set_stage(Stage::Gone);
                self.sessions.stop_roles(&ALL_ROLES).await;
                self.close_book().await;
                Ok(())
            }
            (Stage::Owner(_), Part::Owner) => Ok(()),
            _ => Err(Refused::conflict("the commit has begun; there is only the way forward")),
        }
    }

    async fn end_outgoing(self: &Arc<Self>) {
        if let Some(outgoing) = self.outgoing() {
            outgoing.stop.cancel();
        }
        self.set_outgoing(None);
        self.set_own_lane(None);
        self.sessions.stop_roles(&[Role::Copy]).await;
        let path = ActivityFile::path(&self.program.state_dir, self.name.as_str());
        if let Err(error) = tokio::fs::remove_file(&path).await {
            tracing::debug!(path = %path.display(), %error, "the activity log stays");
        }
    }

    /// `/retire`, at the former owner.
    pub(crate) async fn retire(self: &Arc<Self>) -> Step<RetireReply> {
        let sessions = self.sessions.clients();
        match self.state().part {
            Part::Retired => Ok(RetireReply { retired: true, sessions: 0 }),
            Part::Forwarding if sessions == 0 => {
                self.record(VolumeRecord::Retired).await?;
                self.set_stage(Stage::Retired);
                Ok(RetireReply { retired: true, sessions })
            }
            Part::Forwarding => Ok(RetireReply { retired: false, sessions }),
            _ => Err(Refused::conflict("the volume has not been moved away from here")),
        }
    }

    /// `/pause` and `/unpause`, at the source.
    pub(crate) fn pause(&self, migration: &str, paused: bool) -> Step<()> {
        self.migration(migration)?;
        let owner = self.owner().ok_or_else(|| Refused::conflict("not the owner"))?;
        owner.with(|source| source.pause(paused));
        owner.announce();
        Ok(())
    }

    /// `/verify`, at the source.
    pub(crate) fn verify(&self, request: &VerifyRequest) -> Step<VerifyReply> {
        self.migration(&request.migration)?;
        let outgoing = self.outgoing().ok_or_else(|| Refused::conflict("there is no migration"))?;
        if request.restart {
            outgoing.set_compared(|compared| {
                *compared = super::outgoing::CompareState { wanted: true, ..Default::default() };
            });
        }
        let compared = outgoing.compared();
        Ok(VerifyReply {
            verified_bytes: compared.address,
            mismatched_bytes: compared.mismatched,
            done: compared.address >= self.info.size,
        })
    }

    /// Tells a client's switch where the volume lives now (D1.6).
    pub(super) fn tell_arrangement(self: &Arc<Self>, arrangement: String) {
        let volume = Arc::clone(self);
        tokio::spawn(async move {
            let Some((control, route)) = arrangement.split_once(' ') else { return };
            for _ in 0..ARRANGEMENT_TRIES.0 {
                match volume.send_arrangement(control, route).await {
                    Ok(_) => return,
                    Err(error) => tracing::info!(%error, route, "arrangement not taken yet"),
                }
                tokio::time::sleep(ARRANGEMENT_TRIES.1).await;
            }
        });
    }

    async fn send_arrangement(&self, control: &str, route: &str) -> anyhow::Result<MoveReply> {
        let state = self.state();
        let migration = state.migration.map(|migration| migration.migration);
        let message = Arrangement {
            migration: migration.unwrap_or_default(),
            generation: state.generation.0,
            export: self.name.to_string(),
            owner: self.program.address.clone(),
        };
        let client = self.program.control_client(control)?;
        let path = format!("/v1/routes/{route}/arrangement");
        Ok(client.post(&path, &message).await?)
    }
}

/// The key of the volume's own lane, for resync and comparison.
const OWN_KEY: SessionKey = SessionKey(u64::MAX);

/// Generation of a client that speaks for itself.
const DIRECT_GENERATION: u64 = 1 << 32;

const ALL_ROLES: [Role; 4] = [Role::Client, Role::Copy, Role::Mirror, Role::Forward];

/// Compares secrets without telling by the time how much of them was right.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
}

fn checked<T: std::str::FromStr>(text: &str, what: &str) -> Step<String> {
    match text.parse::<T>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Refused::conflict(format!("{what} {text:?} is not of the expected form"))),
    }
}

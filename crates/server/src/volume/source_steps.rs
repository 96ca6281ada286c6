//! The steps of a migration at its source. Each is idempotent: asked again with the same content it
//! answers the same.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use blockferry_block::{Attempt, BootId, Generation, MigrationId, Token};
use blockferry_control::api::{
    CommitReply, CommitRequest, RetireReply, SendReply, SendRequest, SettleReply, SettleRequest,
    SlowDestination, VerifyReply, VerifyRequest,
};
use blockferry_journal::OsFiles;
use blockferry_migration::record::{Part, VolumeRecord, VolumeState};
use blockferry_migration::source::{Attachment, PhaseName, SessionKey, Source};
use blockferry_nbd_session::Role;

use super::activity;
use super::mirror_out::MirrorLane;
use super::outgoing::Outgoing;
use super::owner::Owner;
use super::plain::Closed;
use super::status::party;
use super::steps::{Refused, Step, client_p99};
use super::{ActivityFile, Stage, Volume};

/// A request to settle is answered after this long even when it has not succeeded yet.
const SETTLE_WAIT: Duration = Duration::from_secs(1);

/// A source that was told to migrate has to be attached within this time.
const ATTACH_WAIT: Duration = Duration::from_secs(10);

/// Clients of a source that was restarted come back within this time: a path that nobody uses looks
/// every 5 s whether its server is there again.
const RETURN_MAX: Duration = Duration::from_secs(10);

/// How often a condition that nothing announces is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The key of the volume's own lane, for resync and comparison.
const OWN_KEY: SessionKey = SessionKey(u64::MAX);

impl Volume {
    /// Goes on with a migration that the records tell of. Without an activity log there is nothing to
    /// be done but forwarding.
    pub(super) fn start_outgoing(
        self: &Arc<Self>,
        state: &VolumeState,
        log: Option<ActivityFile>,
    ) -> anyhow::Result<()> {
        let migration = state.migration.as_ref().context("a source has a migration")?;
        let own_session = self.program.random_session();
        let outgoing = Arc::new(Outgoing::new(&self.program, self.name.as_str(), migration)?);
        self.set_outgoing(Some(Arc::clone(&outgoing)));
        let Some(log) = log else {
            outgoing.stop.cancel();
            return Ok(());
        };
        let owner = self.owner().context("a source is an owner")?;
        tokio::spawn(activity::write_batches(Arc::clone(&owner), log, outgoing.stop.clone()));
        let lane = MirrorLane::new(self, OWN_KEY, own_session, Generation(0));
        self.set_own_lane(Some(Arc::clone(&lane)));
        lane.start(Arc::clone(&owner), Arc::clone(&outgoing));
        self.maintain_lanes(&owner, &outgoing);
        let volume = Arc::clone(self);
        tokio::spawn(async move { super::attach::stay_attached(volume, owner, outgoing).await });
        Ok(())
    }

    /// `/send`: begins the migration.
    pub(crate) async fn send(self: &Arc<Self>, request: SendRequest) -> Step<SendReply> {
        let ending = self.ending.lock().await;
        let state = self.state();
        match (state.part, &state.migration) {
            (Part::Owner, _) => {
                blockferry_label::reached("source.send.asked");
                let bound = client_p99(request.client_p99_ms)?;
                self.check_initiators(request.destination.iscsi.as_deref())?;
                let record = VolumeRecord::Sending {
                    migration: checked::<MigrationId>(&request.migration, "migration")?,
                    token: checked::<Token>(&request.token, "token")?,
                    destination: party(request.destination),
                    throttle: request.slow_destination == SlowDestination::Throttle,
                };
                let closed = Closed::wait(self).await;
                // Before the record: what cannot be kept is not begun.
                let path = self.activity_path();
                let create = move || ActivityFile::create(OsFiles, path);
                let created = tokio::task::spawn_blocking(create).await;
                let log =
                    created.context("its task failed")?.context("creating the activity log")?;
                self.record(record).await?;
                blockferry_label::reached("source.send.recorded");
                self.record(VolumeRecord::Term { term: request.term }).await?;
                blockferry_label::reached("source.send.term-recorded");
                let owner = self.owner().ok_or_else(|| Refused::conflict("not the owner"))?;
                owner.with(Source::begin);
                closed.keep();
                self.start_outgoing(&self.state(), Some(log))?;
                if let Some(outgoing) = self.outgoing() {
                    bound.into_iter().for_each(|bound| outgoing.governor.set_bound(bound));
                    if self.sessions.clients() == 0 {
                        outgoing.governor.let_go();
                    }
                }
                blockferry_label::reached("source.send.begun");
            }
            (Part::Source, Some(known)) if known.migration == request.migration => {
                self.check_term(request.term).await?;
            }
            _ => return Err(Refused::conflict("the volume takes part in another migration")),
        }
        drop(ending);
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
                blockferry_label::reached("source.send.answering");
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
            tokio::time::sleep(LOOK).await;
        }
    }

    /// `/settle`, at the source.
    pub(crate) async fn settle(self: &Arc<Self>, request: &SettleRequest) -> Step<SettleReply> {
        self.migration(&request.migration)?;
        self.check_term(request.term).await?;
        let owner = self.owner().ok_or_else(|| Refused::conflict("not the owner"))?;
        blockferry_label::reached("source.settle.asked");
        let attempt = self.attempt(&owner).await?;
        let deadline = Instant::now() + SETTLE_WAIT;
        loop {
            let settling = owner.with(|source| source.settle(attempt));
            let missing = match settling {
                Ok(()) => owner.with(|source| source.missing()).map(|missing| missing.to_string()),
                Err(refusal) => Some(refusal.to_string()),
            };
            if missing.is_none() {
                self.open_forward_paths().await;
                blockferry_label::reached("source.settle.paths-open");
            }
            if missing.is_none() || Instant::now() > deadline {
                let epoch = owner.with(|source| match source.sweep()?.attachment() {
                    Attachment::Attached { epoch } => Some(epoch),
                    Attachment::Detached => None,
                });
                blockferry_label::reached("source.settle.answering");
                return Ok(SettleReply {
                    settled: missing.is_none() && epoch.is_some(),
                    attempt: attempt.0,
                    missing,
                    epoch: epoch.unwrap_or(0),
                });
            }
            tokio::time::sleep(LOOK).await;
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
        blockferry_label::reached("source.settle.attempt-recorded");
        Ok(attempt)
    }

    /// `/commit`, at the source: the point of no return.
    pub(crate) async fn commit(self: &Arc<Self>, request: &CommitRequest) -> Step<CommitReply> {
        self.migration(&request.migration)?;
        let state = self.state();
        if state.part == Part::Forwarding {
            return Ok(CommitReply { generation: state.generation.0 });
        }
        self.check_term(request.term).await?;
        let _ending = self.ending.lock().await;
        let owner = self.owner().ok_or_else(|| Refused::conflict("not the owner"))?;
        let outgoing = self.outgoing().ok_or_else(|| Refused::conflict("there is no migration"))?;
        if outgoing.destination_boot() != BootId(request.destination_boot) {
            return Err(Refused::conflict("the destination was restarted since it was ready"));
        }
        blockferry_label::reached("source.commit.asked");
        let destination = state.migration.and_then(|migration| migration.peer.iscsi);
        let hushed = self.hush_disk().await?;
        blockferry_label::reached("source.disk.hushed");
        self.check_initiators(destination.as_deref())?;
        self.send_disk(&outgoing).await?;
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
        blockferry_label::reached("source.commit.begun");
        let record = VolumeRecord::Committed { attempt: request.attempt, generation };
        if let Err(error) = self.record(record).await {
            // Nobody knows whether the record is durable; only a restart can tell.
            tracing::error!(volume = %self.name, error = format!("{error:#}"),
                "the commit record could not be written; stopping, the journal decides");
            std::process::exit(1);
        }
        blockferry_label::reached("source.commit.recorded");
        outgoing.stop.cancel();
        owner.with(Source::commit_durable);
        owner.announce();
        if let Some(hushed) = hushed {
            hushed.leave();
            blockferry_label::reached("source.disk.leaving");
        }
        blockferry_label::reached("source.commit.forwarding");
        tracing::info!(volume = %self.name, generation, "committed; forwarding from now on");
        Ok(CommitReply { generation })
    }

    pub(super) async fn end_outgoing(self: &Arc<Self>) {
        if let Some(outgoing) = self.outgoing() {
            outgoing.stop.cancel();
        }
        self.set_outgoing(None);
        self.set_own_lane(None);
        self.sessions.stop_roles(&[Role::Copy]).await;
        let path = self.activity_path();
        let _ = tokio::task::spawn_blocking(move || ActivityFile::remove(&OsFiles, &path)).await;
    }

    fn activity_path(&self) -> PathBuf {
        ActivityFile::path(&self.program.state_dir, self.name.as_str())
    }

    /// `/retire`, at the former owner.
    pub(crate) async fn retire(self: &Arc<Self>) -> Step<RetireReply> {
        let sessions = self.sessions.clients();
        let sent_on = self.sent_on.load(Ordering::Relaxed);
        match self.state().part {
            Part::Retired => Ok(RetireReply { retired: true, sessions: 0, sent_on }),
            Part::Forwarding if sessions == 0 && !self.clients_may_come_back() => {
                blockferry_label::reached("source.retire.asked");
                self.record(VolumeRecord::Retired).await?;
                blockferry_label::reached("source.retire.recorded");
                self.set_stage(Stage::Retired);
                Ok(RetireReply { retired: true, sessions, sent_on })
            }
            Part::Forwarding => Ok(RetireReply { retired: false, sessions, sent_on }),
            _ => Err(Refused::conflict("the volume has not been moved away from here")),
        }
    }

    /// Those that lost a former owner which was restarted do not all come back at once.
    fn clients_may_come_back(&self) -> bool {
        self.forwards_again_since.is_some_and(|since| since.elapsed() < RETURN_MAX)
    }

    /// `/pause` and `/unpause`, at the source.
    pub(crate) fn pause(&self, migration: &str, paused: bool) -> Step<()> {
        self.migration(migration)?;
        let owner = self.owner().ok_or_else(|| Refused::conflict("not the owner"))?;
        if let Some(outgoing) = self.outgoing().filter(|_| !paused) {
            outgoing.setbacks.overcome();
        }
        owner.with(|source| source.pause(paused));
        owner.announce();
        Ok(())
    }

    /// `/verify`, at the source.
    pub(crate) fn verify(&self, request: &VerifyRequest) -> Step<VerifyReply> {
        self.migration(&request.migration)?;
        if self.state().part != Part::Source {
            return Err(Refused::conflict("the commit has begun: nothing is compared any more"));
        }
        let comparison = self
            .owner()
            .and_then(|owner| owner.with(|source| source.ask_comparison(request.restart)))
            .ok_or_else(|| Refused::conflict("there is no migration"))?;
        Ok(VerifyReply {
            verified_bytes: comparison.address(),
            mismatched_bytes: comparison.mismatched(),
            done: comparison.address() >= self.info.size,
        })
    }
}

fn checked<T: std::str::FromStr>(text: &str, what: &str) -> Step<String> {
    match text.parse::<T>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Refused::conflict(format!("{what} {text:?} is not of the expected form"))),
    }
}

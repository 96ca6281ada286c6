//! Opens the volume for a connection: who may have which role, and the fences.

use std::sync::Arc;

use blockferry_block::{Generation, MigrationId, SessionId, Token};
use blockferry_migration::record::VolumeRecord;
use blockferry_migration::source::{Attachment, SessionKey};
use blockferry_nbd_session::{FenceRequest, Hello, OpenError, Role, RoleClaim};

use super::client::ClientPath;
use super::device::{Use, VolumeDevice};
use super::forward::ForwardPath;
use super::mirror_out::MirrorLane;
use super::steps::{Refused, Step, same};
use super::{NOT_THE_OWNER, Stage, Volume};

/// Generation of a client that speaks for itself.
const DIRECT_GENERATION: u64 = 1 << 32;

impl Volume {
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
            self.check_party(role, migration, token)
                .map_err(|e| OpenError::Policy(e.to_string()))?;
        }
        let session = claim.map_or_else(|| self.program.random_session(), |claim| claim.session);
        let generation = claim.map_or(Generation(DIRECT_GENERATION), |claim| claim.generation);
        let standby = claim.is_some_and(|claim| claim.standby);
        if role == Role::Client {
            self.check_client(standby).inspect_err(|_| self.tell_latecomer(claim))?;
        }
        let purpose = match role {
            Role::Client => None,
            Role::Copy => Some(self.copy_use(claim.filter(|_| by_token.is_none())).await?),
            Role::Mirror | Role::Forward => None,
        };
        let connection = self.sessions.open(role, session, generation).ok_or(OpenError::Fenced)?;
        if role == Role::Copy && by_token.is_none() && self.is_outdated(claim) {
            return Err(OpenError::Policy(
                "a newer controller has taken the migration over".into(),
            ));
        }
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

    /// A party shows the migration's token. The source of a former one may still forward.
    fn check_party(
        &self,
        role: Role,
        migration: Option<MigrationId>,
        token: Option<Token>,
    ) -> Step<()> {
        let state = self.state();
        let present = state.migration.map(|known| (known.migration, known.token));
        let former = state.former.into_iter().filter(|_| role == Role::Forward);
        let mut known = present.into_iter().chain(former).peekable();
        if known.peek().is_none() {
            return Err(Refused::conflict("the volume takes part in no migration"));
        }
        let named = migration.map(|migration| migration.to_string());
        let secret = known.find(|(id, _)| named.as_ref().is_none_or(|named| named == id));
        match (secret, token) {
            (None, _) => Err(Refused::conflict("the volume takes part in another migration")),
            (Some((_, secret)), Some(token)) if same(&token.to_string(), &secret) => Ok(()),
            _ => Err(Refused::Token),
        }
    }

    /// A switch that was away while the volume moved, and still comes here after the source has
    /// retired, is told where the volume lives.
    fn tell_latecomer(self: &Arc<Self>, claim: Option<&RoleClaim>) {
        let told = claim.map(|claim| claim.arrangement.clone()).unwrap_or_default();
        if matches!(self.stage(), Stage::Retired) && !told.is_empty() {
            self.tell_arrangement(told);
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
    async fn copy_use(self: &Arc<Self>, claim: Option<&RoleClaim>) -> Result<Use, OpenError> {
        // A newer controller's connection fences those of older ones, on either side (I12).
        if let Some(claim) = claim {
            let taken = self.check_term(claim.generation.0).await;
            taken.map_err(|refused| OpenError::Policy(refused.to_string()))?;
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

    /// Whether another controller has taken over meanwhile: it has stopped the connections that were
    /// open by then, and those that open later stop here (I12).
    fn is_outdated(&self, claim: Option<&RoleClaim>) -> bool {
        let term = self.state().migration.map_or(0, |migration| migration.term);
        claim.is_some_and(|claim| claim.generation.0 < term)
    }

    pub(super) fn client_path(
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
            mirror.start(owner, outgoing);
        }
        ClientPath { key, mirror, forward }
    }

    /// Makes a fence durable once nothing older of the session executes here (I13).
    pub(crate) async fn fence(self: &Arc<Self>, fence: &FenceRequest) -> anyhow::Result<()> {
        self.sessions.fence(fence.session, fence.generation).await;
        blockferry_label::reached("storage.fence.drained");
        let record = VolumeRecord::Fence {
            session: fence.session.to_string(),
            generation: fence.generation.0,
        };
        self.record(record).await?;
        blockferry_label::reached("storage.fence.recorded");
        Ok(())
    }
}

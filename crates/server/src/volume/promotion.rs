//! A destination that an operator makes the owner because its source is lost for good, and a source
//! that comes back all the same.
//!
//! Only an operator can say that a source is lost: to everybody else it may be cut off, and serve its
//! clients. What it had acknowledged and not sent is lost with it.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use blockferry_control::ControlError;
use blockferry_control::api::{OwnReply, PromoteRequest, VolumeRole, VolumeStatus};
use blockferry_migration::destination::Destination;
use blockferry_migration::record::VolumeRecord;
use blockferry_migration::source::Source;
use blockferry_nbd_session::Role;

use super::outgoing::Outgoing;
use super::owner::Owner;
use super::steps::{Refused, Step};
use super::{Stage, Volume};

impl Volume {
    /// `/promote`, at the destination. Nothing of the source executes here afterwards (I12), and what
    /// it has executed is durable (I8).
    pub(crate) async fn promote(self: &Arc<Self>, request: &PromoteRequest) -> Step<OwnReply> {
        self.migration(&request.migration)?;
        let Some(receiver) = self.receiver() else {
            return match self.stage() {
                Stage::Owner(_) => Ok(OwnReply { generation: self.state().generation.0 }),
                _ => Err(Refused::conflict("the volume is not received here")),
            };
        };
        let _step = receiver.steps.lock().await;
        let (here, size) = (receiver.read(Destination::reserved), self.info.size);
        if here < size {
            return Err(Refused::conflict(format!(
                "{here} of {size} bytes are here; without the rest this is no volume"
            )));
        }
        receiver.with(Destination::fence);
        self.sessions.stop_roles(&[Role::Copy, Role::Mirror]).await;
        self.flush_store(&receiver).await?;
        let generation = self.state().generation.next().0;
        self.record(VolumeRecord::Owned { generation }).await?;
        self.owns();
        tracing::warn!(volume = %self.name, generation, "promoted: owner without the source's commit");
        Ok(OwnReply { generation })
    }

    /// Whether the destination owns the volume though this source has not committed: with which
    /// generation.
    pub(super) async fn owner_by_promotion(
        &self,
        outgoing: &Outgoing,
        refusal: &anyhow::Error,
    ) -> Option<u64> {
        let status = refusal.downcast_ref::<ControlError>().and_then(ControlError::status);
        status.filter(|status| *status == 409)?;
        let path = format!("/v1/volumes/{}", self.name);
        let there: VolumeStatus = outgoing.control.get(&path).await.ok()?;
        let newer = there.generation > self.state().generation.0;
        (there.role == VolumeRole::Owner && newer).then_some(there.generation)
    }

    /// Serves nobody on its own authority any more: what still comes is forwarded, as after a commit.
    /// Connections are cut, so that nothing is answered that was executed here alone.
    pub(super) async fn step_down(
        self: &Arc<Self>,
        outgoing: &Outgoing,
        generation: u64,
    ) -> Result<()> {
        let attempt = self.state().migration.context("a source has a migration")?.attempt.0;
        self.record(VolumeRecord::Committed { attempt, generation }).await?;
        let forwarding = Source::forwarding(self.info.size);
        self.set_stage(Stage::Owner(Arc::new(Owner::new(forwarding))));
        self.sessions.stop_roles(&[Role::Client, Role::Copy]).await;
        outgoing.stop.cancel();
        tracing::warn!(volume = %self.name, generation,
            "the destination was promoted while this source was away; stepping down");
        Ok(())
    }
}

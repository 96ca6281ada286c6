//! The steps of a migration at its destination, idempotent like those of the source.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use blockferry_block::{Attempt, BootId};
use blockferry_control::api::{
    AttachReply, AttachRequest, CheckpointReply, CheckpointRequest, FinishCheckpoint, OwnReply,
    OwnRequest, ReadyReply, ReadyRequest, ReservedQuery, ReservedReply,
};
use blockferry_device::{Device, Failure, Request};
use blockferry_migration::destination::Destination;
use blockferry_migration::record::VolumeRecord;
use blockferry_nbd_session::{Role, RoleClaim};

use super::receiver::Receiver;
use super::steps::{Refused, Step};
use super::{Stage, Volume};

impl Volume {
    /// `/attach`, at the destination.
    pub(crate) async fn attach(self: &Arc<Self>, request: AttachRequest) -> Step<AttachReply> {
        self.authenticated(&request.migration, &request.token)?;
        let receiver =
            self.receiver().ok_or_else(|| Refused::conflict("the destination owns the volume"))?;
        blockferry_label::reached("destination.attach.asked");
        let attach = receiver.attach(BootId(request.source_boot), &*self.store);
        let stop = self.sessions.stop_roles(&[Role::Copy, Role::Mirror]);
        let (attached, ()) = tokio::join!(attach, stop);
        // I9: the next run may find the checkpoint that could not be recorded here, and go on from
        // there; the source would have missed what lies between.
        if self.unrecorded.load(Ordering::SeqCst) {
            return Err(Refused::conflict("a record failed; the program has to be started again"));
        }
        blockferry_label::reached("destination.attach.fenced");
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
        blockferry_label::reached("destination.checkpoint.begun");
        self.flush_store(&receiver).await?;
        blockferry_label::reached("destination.checkpoint.flushed");
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
        blockferry_label::reached("destination.checkpoint.recorded");
        receiver.with(|destination| destination.checkpoint_done(address));
        blockferry_label::reached("destination.checkpoint.done");
        Ok(())
    }

    /// Flushes; one that fails is as good as a restart.
    pub(super) async fn flush_store(&self, receiver: &Receiver) -> Step<()> {
        if self.faults().skip_flush {
            return Ok(());
        }
        let flushed = self.store.call(Request::Flush).await;
        if let Err(failure) = &flushed {
            self.may_have_lost(receiver, failure);
        }
        flushed.context("flushing the volume").map_err(Refused::Internal)?;
        Ok(())
    }

    /// The store could not make durable what it had answered. Whatever no checkpoint covers may be
    /// gone, so the source has to attach again, which copies and sends it once more (I9).
    pub(super) fn may_have_lost(&self, receiver: &Receiver, failure: &Failure) {
        tracing::warn!(volume = %self.name, %failure,
            "the store may have lost what no checkpoint covers; the source has to attach again");
        receiver.with(Destination::flush_failed);
    }

    /// `/ready`, at the destination: write-through first, then flush, then the record, so that what
    /// was promised durable at the source, before or since, is durable here at the commit (I8).
    pub(crate) async fn ready(self: &Arc<Self>, request: &ReadyRequest) -> Step<ReadyReply> {
        self.authenticated(&request.migration, &request.token)?;
        self.check_term(request.term).await?;
        let receiver =
            self.receiver().ok_or_else(|| Refused::conflict("the destination owns the volume"))?;
        blockferry_label::reached("destination.ready.asked");
        receiver
            .with(|destination| destination.ready_begin(request.epoch))
            .map_err(Refused::conflict)?;
        blockferry_label::reached("destination.ready.write-through");
        let begun = Instant::now();
        self.flush_store(&receiver).await?;
        let flush_seconds = begun.elapsed().as_secs_f64();
        blockferry_label::reached("destination.ready.flushed");
        let generation = self.state().generation.next();
        let _step = receiver.steps.lock().await;
        let (attempt, generation) = (request.attempt, generation.0);
        self.record(VolumeRecord::Ready { attempt, generation }).await?;
        blockferry_label::reached("destination.ready.recorded");
        receiver
            .with(|destination| destination.ready_durable(request.epoch, Attempt(attempt)))
            .map_err(Refused::conflict)?;
        blockferry_label::reached("destination.ready.answering");
        Ok(ReadyReply { generation, flush_seconds, boot: self.program.boot.0 })
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

    pub(super) async fn become_owner(self: &Arc<Self>, generation: u64) -> Step<OwnReply> {
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
        // I10: only a side that promised to be ready can have been committed to. What came between
        // does not take the promise back: it was kept when the record became durable.
        if receiver.read(Destination::promised).is_none() {
            return Err(Refused::conflict("the destination is not ready"));
        }
        if self.state().generation.next().0 != generation {
            return Err(Refused::conflict("that is not the generation that was made ready"));
        }
        blockferry_label::reached("destination.own.begun");
        self.record(VolumeRecord::Owned { generation }).await?;
        blockferry_label::reached("destination.own.recorded");
        // Whatever was answered up to here is durable (I8), so nothing that was lost matters.
        if receiver.read(Destination::is_idle) {
            self.store.forget_losses();
        }
        self.owns();
        tracing::info!(volume = %self.name, generation, "owner from now on");
        blockferry_label::reached("destination.own.owner");
        Ok(OwnReply { generation })
    }
}

#[cfg(test)]
mod tests;

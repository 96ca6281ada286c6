//! The steps of a migration at its destination.

use super::*;
use crate::unit::record;

impl DestinationProgram {
    pub(super) async fn attach(&self, boot: u64) -> Reply {
        if self.owning.get() {
            return Reply::Refused("the volume has another owner");
        }
        let _step = self.step_turn().await;
        self.witness.note("attach", || format!("of boot {boot}"));
        self.machine.borrow_mut().attach_begin(BootId(boot));
        self.changed.raise();
        loop {
            let changed = self.changed.wait();
            if self.machine.borrow().is_idle() {
                self.witness.destination_disk.forget_losses();
            }
            let finished = self.machine.borrow_mut().attach_finish();
            if let Ok(attached) = finished {
                // The next run may find what could not be recorded, and answer another address.
                if self.records().is_unrecorded() {
                    return UNRECORDED;
                }
                self.changed.raise();
                let stream = attached.stream;
                return Reply::Attached {
                    epoch: attached.epoch,
                    reserved: attached.reserved,
                    stream,
                };
            }
            changed.await;
        }
    }

    pub(super) async fn step_turn(&self) -> Option<Turn> {
        if self.witness.breaks(Mutation::AttachDuringCheckpoint) {
            return None;
        }
        Some(self.steps.turn().await)
    }

    pub(super) async fn checkpoint(&self, epoch: u64) -> Reply {
        let begun = self.machine.borrow_mut().checkpoint_begin(epoch);
        let Ok((address, digest)) = begun else { return STALE };
        if !self.witness.breaks(Mutation::CheckpointWithoutFlush) && !self.flush().await {
            return LOST;
        }
        self.witness.note("checkpoint", || address.to_string());
        Reply::Checkpoint { address, digest }
    }

    pub(super) async fn finish_checkpoint(&self, epoch: u64, address: u64) -> Reply {
        let _step = self.step_turn().await;
        let state = self.machine.borrow().checkpoint_state(epoch, address).cloned();
        let Ok(state) = state else { return STALE };
        self.witness.note("finishing", || address.to_string());
        let record = VolumeRecord::Durable { address, stream: state.to_text() };
        if self.records().append(record).await.is_err() {
            return UNRECORDED;
        }
        self.machine.borrow_mut().checkpoint_done(address);
        self.changed.raise();
        self.witness.note("checkpointed", || address.to_string());
        Reply::Done
    }

    /// Write through, flush, make the promise durable; in this order.
    pub(super) async fn ready(&self, epoch: u64, attempt: u64, term: u64) -> Reply {
        if let Err(refusal) = self.check_term(term).await {
            return refusal;
        }
        let broken = self.witness.breaks(Mutation::FlushBeforeWriteThrough);
        if broken && !self.flush().await {
            return LOST;
        }
        if self.machine.borrow_mut().ready_begin(epoch).is_err() {
            return STALE;
        }
        self.witness.note("promising", || attempt.to_string());
        if !broken && !self.flush().await {
            return LOST;
        }
        let _step = self.step_turn().await;
        let record = VolumeRecord::Ready { attempt, generation: self.next_generation() };
        if self.records().append(record).await.is_err() {
            return UNRECORDED;
        }
        let ready = self.machine.borrow_mut().ready_durable(epoch, Attempt(attempt));
        self.witness.note("ready", || format!("{attempt}: {ready:?}"));
        if ready.is_ok() { Reply::Done } else { STALE }
    }

    pub(super) async fn log_in(&self, connection: ConnectionId, session: Session) -> Reply {
        let Some(unit) = self.unit.borrow().clone() else { return NOT_OWNER };
        match unit.log_in(connection, session, SessionKey(session.0)).await {
            Some(_) => Reply::Done,
            None => Reply::Refused("the session has ended"),
        }
    }

    pub(super) async fn set(&self, connection: ConnectionId, value: u64) -> Reply {
        let Some(unit) = self.unit.borrow().clone() else { return NOT_OWNER };
        match unit.begin(connection).await {
            Ok(_running) => unit.set(self.records(), connection, value).await,
            Err(reply) => reply,
        }
    }

    pub(super) async fn value(&self, connection: ConnectionId) -> Reply {
        let Some(unit) = self.unit.borrow().clone() else { return NOT_OWNER };
        match unit.begin(connection).await {
            Ok(_running) => unit.value(connection),
            Err(reply) => reply,
        }
    }

    /// Keeps what initiators have set at the source; an older state than is known comes late.
    pub(super) async fn disk(&self, serial: u64, state: String) -> Reply {
        let _step = self.step_turn().await;
        if self.owner.borrow().is_some() {
            return Reply::Refused("the destination owns the volume");
        }
        let known = self.records().state().and_then(|state| state.disk);
        if serial > known.map_or(0, |disk| disk.serial)
            && self.records().append(record(serial, state)).await.is_err()
        {
            return UNRECORDED;
        }
        Reply::Done
    }

    fn next_generation(&self) -> u64 {
        self.records().state().map_or(0, |state| state.generation.next().0)
    }

    pub(super) async fn check_term(&self, term: u64) -> Result<(), Reply> {
        let record = async |term| self.records().append(VolumeRecord::Term { term }).await.is_ok();
        self.terms.check(term, record).await
    }

    /// The source has given the migration up: the volume is removed here.
    pub(super) async fn abort(&self) -> Reply {
        let _step = self.step_turn().await;
        if self.owner.borrow().is_some() {
            return Reply::TooLate;
        }
        if self.gone.get() {
            return Reply::Done;
        }
        if self.records().append(VolumeRecord::Aborted).await.is_err() {
            return UNRECORDED;
        }
        self.gone.set(true);
        self.changed.raise();
        self.idle().await;
        self.records().remove().await;
        self.witness.note("removed", String::new);
        Reply::Done
    }

    /// Waits until nothing is being written.
    async fn idle(&self) {
        loop {
            let changed = self.changed.wait();
            if self.machine.borrow().is_idle() {
                return;
            }
            changed.await;
        }
    }

    /// Mirror writes end; then the ownership is durable, and clients are served. Only a side that
    /// promised to be ready can have been committed to (I10).
    pub(super) async fn own(&self) -> Reply {
        if self.machine.borrow().promised().is_none() {
            return Reply::Refused("the destination has not promised to be ready");
        }
        self.owning.set(true);
        let _step = self.step_turn().await;
        self.idle().await;
        if self.gone.get() {
            return GONE;
        }
        // Whatever was answered up to here is durable (I8), so nothing that was lost matters.
        self.witness.destination_disk.forget_losses();
        if self.owner.borrow().is_none() {
            self.witness.owned();
            let record = VolumeRecord::Owned { generation: self.next_generation() };
            if self.records().append(record).await.is_err() {
                return UNRECORDED;
            }
            self.become_owner(self.new_owner());
            self.witness.note("owned", String::new);
            self.changed.raise();
        }
        Reply::Done
    }
}

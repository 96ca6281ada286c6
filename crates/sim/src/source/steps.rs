//! The steps of a migration at its source.

use super::*;

impl SourceProgram {
    async fn record_term(&self, term: u64) -> bool {
        self.records().append(VolumeRecord::Term { term }).await.is_ok()
    }

    pub(super) async fn check_term(&self, term: u64) -> Result<(), Reply> {
        self.terms.check(term, async |term| self.record_term(term).await).await
    }

    pub(super) async fn take_over(&self) -> Reply {
        if self.volume.machine.borrow().sweep().is_none() {
            return Reply::Refused("there is no migration");
        }
        match self.terms.take(async |term| self.record_term(term).await).await {
            Ok(term) => Reply::Term(term),
            Err(refusal) => refusal,
        }
    }

    /// One step towards a settled attempt, which gets a number that no other ever had.
    pub(super) async fn settle(&self, term: u64) -> Reply {
        if let Err(refusal) = self.check_term(term).await {
            return refusal;
        }
        let phase = self.volume.machine.borrow().phase();
        let migration = self.records().state().and_then(|state| state.migration);
        let mut attempt = migration.map_or(0, |migration| migration.attempt.0);
        if phase != PhaseName::Settling || attempt == 0 {
            attempt += 1;
            if self.records().append(VolumeRecord::Attempt { attempt }).await.is_err() {
                return UNRECORDED;
            }
        }
        let Some(epoch) = self.route.epoch() else { return Reply::Refused("not attached") };
        let settled = self.volume.machine.borrow_mut().settle(Attempt(attempt));
        self.volume.after_change();
        if let Err(refusal) = settled {
            self.sim.trace(|| format!("settle {attempt}: {refusal}"));
            return Reply::Refused("cannot settle");
        }
        let missing = self.volume.machine.borrow().missing();
        self.witness.note("settled", || format!("{attempt}: missing {missing:?}"));
        Reply::Settled { attempt, epoch, missing }
    }

    /// The point of no return. A repeated call is answered like the first.
    pub(super) async fn commit(&self, attempt: u64, term: u64) -> Reply {
        if self.volume.machine.borrow().phase() == PhaseName::Forwarding {
            return Reply::Done;
        }
        if let Err(refusal) = self.check_term(term).await {
            return refusal;
        }
        let _ending = self.ending.turn().await;
        if self.committing.replace(true) {
            return Reply::Refused("a commit is under way");
        }
        if !self.unit.hush().await || !self.unit.send(self.records(), &self.route.connect()).await {
            self.committing.set(false);
            self.unit.unhush();
            return Reply::Refused("initiators' commands or their state stand against it");
        }
        let begun = self.volume.machine.borrow_mut().commit_begin(Attempt(attempt));
        if let Err(refusal) = begun {
            self.committing.set(false);
            self.unit.unhush();
            self.sim.trace(|| format!("commit {attempt}: {refusal}"));
            return Reply::Refused("cannot commit");
        }
        self.witness.committing(attempt);
        self.witness.note("committing", || attempt.to_string());
        if self.witness.breaks(Mutation::ForwardBeforeRecord) {
            self.volume.machine.borrow_mut().commit_durable();
            self.volume.after_change();
        }
        let generation = self.records().state().map_or(0, |state| state.generation.next().0);
        let record = VolumeRecord::Committed { attempt, generation };
        if self.records().append(record).await.is_err() {
            // Nobody knows whether it is durable; only a restart can tell.
            self.witness.faults.stop(Host::Source);
            return std::future::pending().await;
        }
        self.witness.committed();
        self.volume.machine.borrow_mut().commit_durable();
        self.unit.leave();
        self.witness.note("committed", || attempt.to_string());
        self.volume.after_change();
        Reply::Done
    }

    /// Gives the migration up before its commit: the source goes on mirroring until the record of it is
    /// durable.
    pub(super) async fn abort(&self, term: u64) -> Reply {
        if self.is_given_up() {
            return Reply::Done;
        }
        if let Err(refusal) = self.check_term(term).await {
            return refusal;
        }
        let _ending = self.ending.turn().await;
        if self.is_given_up() {
            return Reply::Done; // another controller has done it meanwhile
        }
        if self.volume.machine.borrow_mut().abort_begin().is_err() {
            return Reply::TooLate;
        }
        self.witness.note("aborting", String::new);
        if self.witness.breaks(Mutation::AbortBeforeRecord) {
            self.volume.machine.borrow_mut().abort_durable();
            self.volume.after_change();
        }
        if self.records().append(VolumeRecord::Aborted).await.is_err() {
            return UNRECORDED;
        }
        self.volume.machine.borrow_mut().abort_durable();
        self.witness.aborted();
        self.route.end();
        self.volume.after_change();
        self.witness.source_log.remove().await;
        Reply::Done
    }
}

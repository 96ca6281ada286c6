//! The way back to the owner: a migration ends before its commit.

use super::{CommitRefusal, Phase, Source};

impl Source {
    /// Begins to end the migration: make the record of it durable now. Nothing is committed any more,
    /// but until then the source goes on as one: should it die first, its next run takes the migration
    /// up again and knows of no update that went nowhere but here (I7).
    ///
    /// # Errors
    /// [`CommitRefusal::TooLate`] from `Committing` on.
    pub fn abort_begin(&mut self) -> Result<(), CommitRefusal> {
        if matches!(self.phase, Phase::Committing(_) | Phase::Forwarding) {
            return Err(CommitRefusal::TooLate);
        }
        self.unsettle();
        if let Some(sweep) = self.sweep_mut() {
            sweep.ending = true;
        }
        Ok(())
    }

    /// The record that the migration has ended is durable: the source is nothing but the owner.
    pub fn abort_durable(&mut self) {
        if matches!(self.phase, Phase::Sweeping(_)) {
            self.phase = Phase::Owner;
            self.decide_again();
        }
    }
}

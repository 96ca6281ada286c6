//! Attach, checkpoints, and the way from the end of the sweep to the change of owner.

use std::fmt;

use blockferry_block::{Attempt, Extent};

use super::{Attachment, OpId, Phase, SessionKey, Source};
use crate::digest::{Digest, Frontier};

/// What keeps the migration from being committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The source is not attached to the destination.
    Attachment,
    /// `W` has not reached the volume's end.
    Sweep {
        /// `W` in bytes.
        reserved: u64,
    },
    /// Extents are dirty.
    Dirty {
        /// So many bytes.
        bytes: u64,
    },
    /// A mirror connection failed and its session is not fenced yet.
    Fence,
    /// `W_durable` has not reached the volume's end.
    Checkpoint {
        /// `W_durable` in bytes.
        durable: u64,
    },
    /// The digests were not compared, since the copier read leaves in parts and nothing was verified.
    Digest,
    /// Reads that began before locks were taken are still under way.
    Reads,
    /// Updates that such a read may have seen are not answered.
    Updates,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attachment => f.write_str("the source is not attached to the destination"),
            Self::Sweep { reserved } => write!(f, "the copy has reached address {reserved} only"),
            Self::Dirty { bytes } => write!(f, "{bytes} bytes are dirty"),
            Self::Fence => f.write_str("a failed mirror connection is not fenced yet"),
            Self::Checkpoint { durable } => write!(f, "only {durable} bytes are durable"),
            Self::Digest => f.write_str(
                "the digests could not be compared (the copier read in parts); run verify",
            ),
            Self::Reads => f.write_str("older reads are still under way"),
            Self::Updates => f.write_str("updates that older reads may have seen are under way"),
        }
    }
}

/// Why a step towards the commit is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitRefusal {
    /// The volume changes, or has changed, its owner.
    #[error("the commit has begun; there is only the way forward")]
    TooLate,
    /// There is no migration, or no settled attempt of this number.
    #[error("no attempt of this number has settled")]
    WrongAttempt,
    /// The migration is being aborted.
    #[error("the migration is being aborted")]
    Ending,
    /// A condition of I10 does not hold.
    #[error("not ready to commit: {0}")]
    NotReady(Missing),
}

/// The two sides have seen different streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "what the destination took of {stretch} is not what the source sent (digests {theirs} and {ours}); \
     the copy goes back to its last checkpoint"
)]
pub struct DigestMismatch {
    /// What came since the last checkpoint, up to which they were equal.
    pub stretch: Extent,
    /// The digest of the source's stream up to the end of the stretch.
    pub ours: Digest,
    /// The destination's.
    pub theirs: Digest,
}

impl Source {
    /// The destination has fenced what was, and goes on from its durable address ("Restarts").
    /// Refused while a commit's outcome is unknown.
    pub fn attached(&mut self, epoch: u64, reserved: u64, digest: Frontier) -> bool {
        if matches!(self.phase, Phase::Committing(_)) {
            return false;
        }
        self.unsettle();
        match self.sweep_mut() {
            Some(sweep) => {
                sweep.attach(epoch, reserved, digest);
                true
            }
            None => false,
        }
    }

    /// The destination went away, or another run of it answered.
    pub fn detached(&mut self) {
        self.unsettle();
        if let Some(sweep) = self.sweep_mut() {
            sweep.attachment = Attachment::Detached;
            sweep.mirrors.clear();
        }
    }

    /// The session's mirror connection is open, and every older one of it is fenced.
    pub fn mirror_open(&mut self, session: SessionKey) {
        if let Some(sweep) = self.sweep_mut() {
            sweep.unfenced.remove(&session);
            sweep.mirrors.insert(session);
        }
    }

    /// The session's mirror connection failed: what it carried may still be executed until the
    /// destination has fenced it.
    pub fn mirror_lost(&mut self, session: SessionKey) {
        if let Some(sweep) = self.sweep_mut()
            && sweep.mirrors.remove(&session)
        {
            sweep.unfenced.insert(session);
        }
    }

    /// The session ended in order: nothing that it mirrored is unanswered.
    pub fn mirror_closed(&mut self, session: SessionKey) {
        if let Some(sweep) = self.sweep_mut() {
            sweep.mirrors.remove(&session);
        }
    }

    /// Whether what the session mirrored may still be executed at the destination.
    pub fn is_unfenced(&self, session: SessionKey) -> bool {
        self.sweep().is_some_and(|sweep| sweep.unfenced.contains(&session))
    }

    /// Nothing that the session sent can be executed any more.
    pub fn mirror_fenced(&mut self, session: SessionKey) {
        if let Some(sweep) = self.sweep_mut() {
            sweep.unfenced.remove(&session);
        }
    }

    /// Notes what the copier was given.
    pub fn note_copied(&mut self, noted: crate::digest::Noted) {
        if let Some(sweep) = self.sweep_mut() {
            sweep.ledger.note(noted);
        }
    }

    /// Begins a checkpoint, before either side flushes: what is touched from now on, or is under way,
    /// may miss the flushes.
    pub fn checkpoint_begin(&mut self) {
        let updates: Vec<_> = self.in_flight.updates().collect();
        let Some(sweep) = self.sweep_mut() else { return };
        let mut flushing = sweep.unflushed.take();
        if let Some(unfinished) = sweep.flushing.take() {
            flushing.insert_all(&unfinished);
        }
        sweep.flushing = Some(flushing);
        updates.into_iter().for_each(|extent| sweep.unflushed.insert(extent));
    }

    /// The destination has flushed what lies below `address`. Flush this side next. Tells whether
    /// the digests agree; `None` when this side does not know its own.
    ///
    /// # Errors
    /// [`DigestMismatch`]: the copy must go back to the last checkpoint.
    pub fn checkpoint_agree(
        &mut self,
        address: u64,
        theirs: Digest,
    ) -> Result<Option<bool>, DigestMismatch> {
        let Some(sweep) = self.sweep_mut() else { return Ok(None) };
        let ours = sweep.ledger.digest(address);
        sweep.digest_agreed = ours.map(|ours| ours == theirs);
        if let Some(ours) = ours
            && ours != theirs
        {
            let stretch = Extent::between(sweep.ledger.base(), address);
            return Err(DigestMismatch { stretch, ours, theirs });
        }
        Ok(sweep.digest_agreed)
    }

    /// Both sides have flushed, and the destination has persisted the address. Nothing happens when
    /// an attach came between.
    pub fn checkpoint_done(&mut self, address: u64) {
        let Some(sweep) = self.sweep_mut() else { return };
        if sweep.flushing.take().is_none() {
            return;
        }
        sweep.durable = sweep.durable.max(address);
        sweep.data_claimed.checkpoint(address);
        if let Some(state) = sweep.ledger.fold(address) {
            sweep.ledger.confirm(state);
        }
        let (unflushed, dirty) = (&sweep.unflushed, &sweep.dirty);
        sweep.log.retain(|unit| unflushed.overlaps(unit) || dirty.overlaps(unit));
    }

    /// The checkpoint came to nothing.
    pub fn checkpoint_failed(&mut self) {
        if let Some(sweep) = self.sweep_mut()
            && let Some(flushing) = sweep.flushing.take()
        {
            sweep.unflushed.insert_all(&flushing);
        }
    }

    /// The sweep has reached the end: reads take locks from now on. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`CommitRefusal::NotReady`] while the sweep is under way; [`CommitRefusal::Ending`].
    pub fn settle(&mut self, attempt: Attempt) -> Result<(), CommitRefusal> {
        let size = self.size;
        if self.sweep().is_some_and(|sweep| sweep.ending) {
            return Err(CommitRefusal::Ending);
        }
        match std::mem::replace(&mut self.phase, Phase::Owner) {
            Phase::Sweeping(mut sweep) => {
                sweep.reads_locked = None;
                let refusal = if !sweep.is_attached() {
                    Some(Missing::Attachment)
                } else if sweep.reserved < size {
                    Some(Missing::Sweep { reserved: sweep.reserved })
                } else {
                    None
                };
                self.phase = match refusal {
                    Some(_) => Phase::Sweeping(sweep),
                    None => Phase::Settling(sweep, attempt),
                };
                self.note_reads_locked();
                refusal.map_or(Ok(()), |missing| Err(CommitRefusal::NotReady(missing)))
            }
            Phase::Settling(sweep, _) => {
                self.phase = Phase::Settling(sweep, attempt);
                Ok(())
            }
            other => {
                self.phase = other;
                Err(CommitRefusal::TooLate)
            }
        }
    }

    /// Notes that from now on no read sees an update whose mirror write is under way.
    pub(super) fn note_reads_locked(&mut self) {
        let next = self.in_flight.next();
        if let (0, Phase::Settling(sweep, _)) = (self.unlocked_reads, &mut self.phase) {
            sweep.reads_locked.get_or_insert(next);
        }
    }

    /// Leaves `Settling`: something happened that makes the attempt void.
    pub fn unsettle(&mut self) {
        if matches!(self.phase, Phase::Settling(..))
            && let Phase::Settling(sweep, _) = std::mem::replace(&mut self.phase, Phase::Owner)
        {
            self.phase = Phase::Sweeping(sweep);
        }
    }

    /// What a settled attempt still lacks (I10, I14); `None` when it can be committed.
    pub fn missing(&self) -> Option<Missing> {
        let sweep = self.sweep()?;
        let verified = sweep.comparison.is_some_and(|pass| pass.proves(self.size));
        if !sweep.is_attached() {
            Some(Missing::Attachment)
        } else if sweep.reserved < self.size {
            Some(Missing::Sweep { reserved: sweep.reserved })
        } else if !sweep.unfenced.is_empty() {
            Some(Missing::Fence)
        } else if !sweep.dirty.is_empty() {
            Some(Missing::Dirty { bytes: sweep.dirty.bytes() })
        } else if sweep.durable < self.size {
            Some(Missing::Checkpoint { durable: sweep.durable })
        } else if sweep.digest_agreed.is_none() && !verified && self.size > 0 {
            Some(Missing::Digest)
        } else {
            match sweep.reads_locked {
                None => Some(Missing::Reads),
                Some(end) if self.in_flight.has_update_before(end) => Some(Missing::Updates),
                Some(_) => None,
            }
        }
    }

    /// Enters `Committing`: make the commit record durable now, then report its outcome.
    ///
    /// # Errors
    /// [`CommitRefusal`]; the caller settles a new attempt.
    pub fn commit_begin(&mut self, attempt: Attempt) -> Result<(), CommitRefusal> {
        if !matches!(self.phase, Phase::Settling(_, settled) if settled == attempt) {
            return Err(CommitRefusal::WrongAttempt);
        }
        // I10
        if let Some(missing) = self.missing() {
            return Err(CommitRefusal::NotReady(missing));
        }
        if let Phase::Settling(sweep, _) = std::mem::replace(&mut self.phase, Phase::Owner) {
            self.phase = Phase::Committing(sweep);
        }
        Ok(())
    }

    /// The commit record is durable: from now on the destination is the owner (I1).
    pub fn commit_durable(&mut self) {
        if matches!(self.phase, Phase::Committing(_)) {
            self.phase = Phase::Forwarding;
            self.outcome_known();
        }
    }

    /// The commit record is known not to be durable, and never will be.
    pub fn commit_failed(&mut self) {
        if matches!(self.phase, Phase::Committing(_))
            && let Phase::Committing(sweep) = std::mem::replace(&mut self.phase, Phase::Owner)
        {
            self.phase = Phase::Sweeping(sweep);
            self.outcome_known();
        }
    }

    fn outcome_known(&mut self) {
        let all: Vec<OpId> = self.operations.keys().copied().collect();
        all.into_iter().for_each(|id| self.settle_operation(id));
        self.decide_again();
    }
}

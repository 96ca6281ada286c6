//! Claims: how the copier takes the next extent (I4, I5).

use blockferry_block::{Extent, MIB};

use super::{Attachment, Source};

/// How much data the copier may claim beyond `W`, in bytes: enough for two large chunks to be read
/// ahead, little enough that few mirror writes are refused because `W` has not passed them.
pub const CLAIM_AHEAD_MAX: u64 = 64 * MIB;

/// How much data may be claimed beyond the last checkpoint, in bytes: what a restart of the
/// destination copies again at most.
pub const CHECKPOINT_LAG_MAX: u64 = 192 * MIB;

/// A sweep that leaves more dirty than this behind waits for resync, in bytes: dirty may not grow
/// forever unnoticed.
pub const SWEEP_DIRTY_MAX: u64 = 256 * MIB;

/// One claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimId(pub(super) u64);

/// Whether the claimed extent may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimStep {
    /// Not yet; ask again when claims are woken.
    Wait,
    /// Now; the claim is forgotten.
    Read,
    /// Never: the epoch is over.
    Refused(ClaimRefusal),
}

/// Why a claim is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRefusal {
    /// Another epoch is valid: a storage program was restarted since.
    #[error("the claim's epoch is over; connect again with the present one")]
    StaleEpoch,
    /// There is no sweep, or the source is not attached to the destination.
    #[error("the source is not attached to a destination; ask its status")]
    Detached,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Claim {
    extent: Extent,
    epoch: u64,
    data: u64,
}

impl Source {
    /// Asks for the extent, which holds so many bytes of data beside its holes, on behalf of a copy
    /// connection of the given epoch.
    ///
    /// # Errors
    /// [`ClaimRefusal`].
    pub fn claim(
        &mut self,
        epoch: u64,
        extent: Extent,
        data: u64,
    ) -> Result<ClaimId, ClaimRefusal> {
        let sweep = self.sweep_mut().ok_or(ClaimRefusal::Detached)?;
        match sweep.attachment {
            Attachment::Detached => return Err(ClaimRefusal::Detached),
            Attachment::Attached { epoch: valid } if valid != epoch => {
                return Err(ClaimRefusal::StaleEpoch);
            }
            Attachment::Attached { .. } => {}
        }
        let id = ClaimId(sweep.next_claim);
        sweep.next_claim += 1;
        sweep.claims.insert(id, Claim { extent, epoch, data });
        Ok(id)
    }

    /// Forgets a claim that nobody waits for any more. The cursor stays where it is.
    pub fn drop_claim(&mut self, id: ClaimId) {
        if let Some(sweep) = self.sweep_mut() {
            sweep.claims.remove(&id);
        }
    }

    /// `R`, and how many bytes of data beyond it may be claimed at the moment.
    pub fn claimable(&self) -> (u64, u64) {
        let Some(sweep) = self.sweep() else { return (0, 0) };
        (sweep.read_cursor, sweep.claim_budget().min(CLAIM_AHEAD_MAX))
    }

    /// Whether a claim may be read now. First `R` moves, so that writes there are mirrored from now
    /// on; then every update that is applied here alone must end (I5).
    pub fn claim_step(&mut self, id: ClaimId) -> ClaimStep {
        let waits = !self.faults.claim_without_waiting;
        let Some(sweep) = self.sweep_mut() else {
            return ClaimStep::Refused(ClaimRefusal::Detached);
        };
        let Some(claim) = sweep.claims.get(&id).copied() else {
            return ClaimStep::Refused(ClaimRefusal::StaleEpoch);
        };
        if sweep.attachment != (Attachment::Attached { epoch: claim.epoch }) {
            sweep.claims.remove(&id);
            return ClaimStep::Refused(ClaimRefusal::StaleEpoch);
        }
        // What lies below `R` was counted when it was claimed.
        let fresh = claim.data.min(claim.extent.end().saturating_sub(sweep.read_cursor));
        if sweep.paused
            || sweep.dirty.bytes() > SWEEP_DIRTY_MAX
            || (fresh > 0 && fresh > sweep.claim_budget())
        {
            return ClaimStep::Wait;
        }
        if claim.extent.end() > sweep.read_cursor {
            sweep.read_cursor = claim.extent.end();
            sweep.data_claimed.push(claim.extent.end(), fresh);
        }
        if waits && self.in_flight.local_only_overlaps(claim.extent) {
            return ClaimStep::Wait;
        }
        if let Some(sweep) = self.sweep_mut() {
            sweep.claims.remove(&id);
        }
        ClaimStep::Read
    }

    /// Whether claims wait, so that somebody must ask for their steps again.
    pub fn has_claims(&self) -> bool {
        self.sweep().is_some_and(|sweep| !sweep.claims.is_empty())
    }

    /// The destination's reserved address was at least this in the given epoch; news of an older
    /// epoch are dropped, since `W` may have fallen (I12).
    pub fn reserved_grew(&mut self, epoch: u64, reserved: u64) {
        if let Some(sweep) = self.sweep_mut()
            && sweep.attachment == (Attachment::Attached { epoch })
        {
            // I4: nothing above R has been claimed, so W cannot be there.
            sweep.reserved = sweep.reserved.max(reserved.min(sweep.read_cursor));
        }
    }

    /// An operator pauses the sweep, or lets it go on.
    pub fn pause(&mut self, paused: bool) {
        if let Some(sweep) = self.sweep_mut() {
            sweep.paused = paused;
        }
    }
}

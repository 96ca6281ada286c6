//! Resync: dirty extents are made equal again, by the source alone, under its own lock.

use blockferry_block::{Extent, MIB};

use super::operation::{Answer, Kind, OpState, Operation, SessionKey};
use super::{MirrorOutcome, Phase, Source};
use crate::in_flight::{Mode, OpId};

/// Longest extent that one resync locks, in bytes: clients wait that long at most for it.
pub const RESYNC_LENGTH_MAX: u64 = MIB;

/// Resyncs under way at once.
const RESYNCS_MAX: usize = 4;

/// Resync and comparison belong to no client.
pub(super) const NO_SESSION: SessionKey = SessionKey(u64::MAX);

impl Source {
    /// The next resync to carry out, if one is possible: `W` has passed a dirty extent and no old
    /// mirror write can still land on it.
    pub fn next_resync(&mut self) -> Option<(OpId, Extent)> {
        let sweep = match &mut self.phase {
            Phase::Sweeping(sweep) | Phase::Settling(sweep, _) => sweep,
            Phase::Owner | Phase::Committing(_) | Phase::Forwarding => return None,
        };
        if !sweep.is_attached() || !sweep.unfenced.is_empty() || sweep.resyncing >= RESYNCS_MAX {
            return None;
        }
        let below = sweep.reserved.min(sweep.read_cursor);
        let run = |from| sweep.dirty.run(from, below, RESYNC_LENGTH_MAX);
        let extent = run(sweep.resync_cursor).or_else(|| run(0))?;
        if sweep.resyncing > 0 && extent.start() < sweep.resync_cursor {
            return None;
        }
        sweep.resync_cursor = extent.end();
        sweep.resyncing += 1;
        let operation = Operation::new(Kind::Resync, NO_SESSION, extent);
        Some((self.admit(operation, Mode::Exclusive), extent))
    }

    pub(super) fn decide_resync(&mut self, extent: Extent) -> OpState {
        let (Phase::Sweeping(sweep) | Phase::Settling(sweep, _)) = &mut self.phase else {
            return self.skip_resync();
        };
        let possible = sweep.is_attached()
            && sweep.unfenced.is_empty()
            && extent.end() <= sweep.reserved
            && sweep.dirty.overlaps(extent);
        if !possible {
            return self.skip_resync();
        }
        sweep.unflushed.insert(extent);
        OpState::apply(Some(extent))
    }

    fn skip_resync(&mut self) -> OpState {
        if let Some(sweep) = self.sweep_mut() {
            sweep.resyncing = sweep.resyncing.saturating_sub(1);
        }
        OpState::Answered(Answer::Skipped)
    }

    /// A resync has ended: read here, written there.
    pub fn resync_done(&mut self, id: OpId, extent: Extent, outcome: MirrorOutcome) {
        if let MirrorOutcome::Refused { epoch, reserved } = outcome {
            self.reserved_grew(epoch, reserved);
        }
        let decided_in = self.operations.get(&id).and_then(|operation| operation.decided_in);
        if let Some(sweep) = self.sweep_mut() {
            sweep.resyncing = sweep.resyncing.saturating_sub(1);
            // I9: the answer of a destination that has been attached again since may be news of what
            // it has lost.
            let valid = decided_in == Some(sweep.attachment);
            if outcome == MirrorOutcome::Executed && valid {
                sweep.dirty.remove_within(extent);
                sweep.counters.resynced_bytes += extent.len();
            }
        }
        self.end(id);
    }

    pub(super) fn end(&mut self, id: OpId) {
        self.operations.remove(&id);
        self.in_flight.erase(id);
        self.wake_granted();
    }
}

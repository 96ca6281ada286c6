//! The comparison of both sides under live updates. What differs is dirty from then on, and a pass
//! that found something proves nothing: another one has to follow.

use blockferry_block::Extent;

use super::Source;
use super::operation::{Answer, Kind, OpState, Operation};
use super::resync::NO_SESSION;
use crate::in_flight::{Mode, OpId};

/// One pass over the volume, from its beginning to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub(super) address: u64,
    pub(super) mismatched: u64,
    /// The only operation whose result counts: what was read before the pass began says nothing of it.
    pub(super) under_way: Option<OpId>,
}

impl Comparison {
    /// Bytes from the volume's beginning that both sides were read of.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Bytes among them that differed.
    pub fn mismatched(&self) -> u64 {
        self.mismatched
    }

    /// Whether the whole volume was compared and is equal but for what is dirty.
    pub fn proves(&self, size: u64) -> bool {
        self.address >= size && self.mismatched == 0
    }

    /// What lies above is copied again.
    pub(super) fn take_back(&mut self, reserved: u64) {
        self.address = self.address.min(reserved);
        self.under_way = None;
    }
}

impl Source {
    /// How far the comparison is. It begins when there is none, and anew when `restart` says so; `None`
    /// when there is no migration.
    pub fn ask_comparison(&mut self, restart: bool) -> Option<Comparison> {
        let sweep = self.sweep_mut()?;
        if restart {
            sweep.comparison = None;
        }
        Some(*sweep.comparison.get_or_insert_default())
    }

    /// The next extent to compare, of at most `length_max` bytes; `None` while there is nothing to do.
    /// The operation's step tells when both sides may be read, and [`Source::compare_done`] ends it,
    /// whatever the step was.
    pub fn next_compare(&mut self, length_max: u64) -> Option<(OpId, Extent)> {
        let size = self.size;
        let comparison = self.sweep().filter(|sweep| sweep.is_attached())?.comparison?;
        let from = comparison.address;
        if comparison.under_way.is_some() || from >= size {
            return None;
        }
        let extent = Extent::between(from, size.min(from + length_max));
        let id = self.admit(Operation::new(Kind::Compare, NO_SESSION, extent), Mode::Shared);
        if let Some(comparison) = self.sweep_mut().and_then(|sweep| sweep.comparison.as_mut()) {
            comparison.under_way = Some(id);
        }
        Some((id, extent))
    }

    pub(super) fn decide_compare(&self, extent: Extent) -> OpState {
        let comparable = self.sweep().is_some_and(|sweep| {
            sweep.is_attached() && extent.end() <= sweep.reserved && !sweep.dirty.overlaps(extent)
        });
        if comparable { OpState::apply(Some(extent)) } else { OpState::Answered(Answer::Skipped) }
    }

    /// A comparison has ended; `None` when one side could not be read, or was not to be.
    pub fn compare_done(&mut self, id: OpId, extent: Extent, equal: Option<bool>) {
        let decided_in = self.operations.get(&id).and_then(|operation| operation.decided_in);
        if let Some(sweep) = self.sweep_mut() {
            // What an earlier attachment read is no news of this one.
            let equal = equal.filter(|_| decided_in == Some(sweep.attachment));
            if equal == Some(false) {
                sweep.log.require(extent);
                sweep.dirty.insert(extent);
            }
            let pass = sweep.comparison.as_mut().filter(|pass| pass.under_way == Some(id));
            if let Some(pass) = pass {
                pass.under_way = None;
                match equal {
                    Some(true) => pass.address = extent.end(),
                    Some(false) => {
                        pass.address = extent.end();
                        pass.mismatched += extent.len();
                    }
                    None => {}
                }
            }
        }
        self.end(id);
    }
}

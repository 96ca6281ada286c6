//! Requests that another process has left unanswered and this one begins again.
//!
//! All of them are queued before any begins, whatever room there is: that they are queued is what
//! others wait for. The other process had no more under way than this one may have, so their number
//! is bounded by that. Writes hold nothing but what has come already; everything else is held back
//! until there is room for its answer.

use std::collections::VecDeque;

use blockferry_keeper::Arrivals;

use crate::kept::Progress;
use crate::parked::Parked;

/// What a connection begins with that another process has served before.
pub struct Replay {
    /// How much of what comes first that process may have begun, in bytes.
    pub bytes: u64,
    /// Dropped when all of it is queued, or will never be.
    pub missing: Box<dyn Send>,
}

/// See the module.
pub(crate) struct Replaying {
    replay: Replay,
    arrivals: Arrivals,
    count: usize,
    count_max: usize,
}

/// Requests that wait for room.
pub(crate) type HeldBack = VecDeque<Parked>;

impl Replaying {
    /// `in_flight_max` is how many requests a process has under way.
    pub(crate) const fn new(replay: Replay, arrivals: Arrivals, in_flight_max: usize) -> Self {
        Self { replay, arrivals, count: 0, count_max: in_flight_max }
    }

    /// A request was taken that ends here, whatever it asks; gives when it had arrived.
    pub(crate) fn take(&mut self, end: u64) -> u64 {
        self.count += 1;
        self.arrivals.at(end.saturating_sub(1))
    }

    /// Whether nothing that comes next can have been begun.
    pub(crate) const fn is_over(&self, progress: Progress) -> bool {
        progress.taken >= self.replay.bytes || self.count >= self.count_max
    }

    /// Whether everything has come; what is not whole was not begun.
    pub(crate) const fn has_come(&self, progress: Progress) -> bool {
        progress.received >= self.replay.bytes
    }
}

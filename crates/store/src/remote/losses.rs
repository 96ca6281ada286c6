//! Which answered writes a server may have lost.
//!
//! A server that comes back after its connection was lost may be another run of it, on a machine that
//! lost its power: what it had answered and not flushed may be gone. NBD has no word for that, so
//! every lost connection counts as such a loss.

use std::sync::{Mutex, MutexGuard, PoisonError};

use blockferry_device::{Errno, Failure};

/// Writes that were answered and not yet flushed, on the present link.
#[derive(Debug, Default)]
pub(super) struct Losses(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Number of the link that the counts are about.
    link: u64,
    answered: u64,
    flushed: u64,
    lost: bool,
}

impl Default for State {
    /// What an earlier run of this program wrote may not be flushed either.
    fn default() -> Self {
        Self { link: 0, answered: 1, flushed: 0, lost: false }
    }
}

/// A flush that was sent, and what it covers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flush {
    link: u64,
    covers: u64,
}

impl Losses {
    /// A write without FUA was answered.
    pub(super) fn answered(&self, link: u64) {
        let mut state = self.state();
        if link == state.link {
            state.answered += 1;
        } else {
            // Its link is gone by now.
            state.lost = true;
        }
    }

    /// The link was lost.
    pub(super) fn link_lost(&self, link: u64) {
        let mut state = self.state();
        if link == state.link {
            let lost = state.lost || state.answered > state.flushed;
            *state = State { link: link + 1, answered: 0, flushed: 0, lost };
        }
    }

    /// A flush is about to be sent: it covers what was answered before.
    pub(super) fn flush(&self, link: u64) -> Flush {
        let state = self.state();
        Flush { link, covers: if link == state.link { state.answered } else { 0 } }
    }

    /// The flush was answered.
    ///
    /// # Errors
    /// When something that it should cover may be lost: this flush fails, and every later one.
    pub(super) fn flushed(&self, flush: Flush) -> Result<(), Failure> {
        let mut state = self.state();
        if flush.link == state.link {
            state.flushed = state.flushed.max(flush.covers);
        }
        if state.lost {
            return Err(Failure::new(
                Errno::Io,
                "the volume's server was away and may have lost writes that it had answered",
            ));
        }
        Ok(())
    }

    /// The server could not flush: nobody knows what it has kept.
    pub(super) fn flush_failed(&self) {
        self.state().lost = true;
    }

    /// The losses so far are dealt with.
    pub(super) fn forget(&self) {
        self.state().lost = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole after every step, whatever panicked elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was there before is flushed.
    fn clean() -> Losses {
        let losses = Losses::default();
        losses.flushed(losses.flush(0)).expect("nothing was lost");
        losses
    }

    fn flush(losses: &Losses, link: u64) -> bool {
        losses.flushed(losses.flush(link)).is_ok()
    }

    #[test]
    fn a_lost_link_loses_what_was_answered_and_not_flushed_and_nothing_else() {
        let losses = clean();
        losses.answered(0);
        assert!(flush(&losses, 0));
        losses.link_lost(0);
        assert!(flush(&losses, 1), "all of it was flushed");
        losses.answered(1);
        losses.link_lost(1);
        assert!(!flush(&losses, 2));
        assert!(!flush(&losses, 2), "it was not dealt with");
        losses.forget();
        assert!(flush(&losses, 2));
    }

    #[test]
    fn a_flush_covers_only_what_was_answered_before_it_was_sent() {
        let losses = clean();
        let sent = losses.flush(0);
        losses.answered(0);
        losses.flushed(sent).expect("nothing was lost");
        losses.link_lost(0);
        assert!(!flush(&losses, 1));
    }

    #[test]
    fn a_flush_that_outlived_its_link_covers_nothing_of_the_next_one() {
        let losses = clean();
        let sent = losses.flush(0);
        losses.link_lost(0);
        losses.answered(1);
        losses.flushed(sent).expect("nothing was lost");
        losses.link_lost(1);
        assert!(!flush(&losses, 2));
    }

    #[test]
    fn an_answer_that_is_noticed_after_its_link_was_lost_is_lost() {
        let losses = clean();
        losses.link_lost(0);
        losses.answered(0);
        assert!(!flush(&losses, 1));
    }

    #[test]
    fn one_loss_that_many_notice_is_one_loss() {
        let losses = clean();
        losses.link_lost(0);
        losses.answered(1);
        losses.link_lost(0);
        assert!(flush(&losses, 1), "the second link stands");
    }

    #[test]
    fn what_an_earlier_run_wrote_counts_until_the_first_flush() {
        let losses = Losses::default();
        losses.link_lost(0);
        assert!(!flush(&losses, 1));
    }
}

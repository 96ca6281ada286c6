//! How fast the copy may go.

use std::time::Duration;

use blockferry_block::MIB;

use super::window::Seen;

/// The copy is never slower than this, in bytes a second, so that it ends.
const RATE_MIN: f64 = 8.0 * MIB as f64;

/// From this rate on, in bytes a second, there is no limit.
pub(super) const RATE_FREE: f64 = 16384.0 * MIB as f64;

/// The part of the rate that is left when clients suffer.
const SLOWER: f64 = 0.7;

/// What the rate is multiplied by when they do not.
const FASTER: f64 = 1.2;

/// The same until they suffer for the first time.
const FASTER_AT_FIRST: f64 = 2.0;

/// The same when nobody uses the volume.
const FREER: f64 = 64.0;

/// Where less than this part of the rate was used, clients have not seen what it would do to them.
const USED: f64 = 0.7;

/// Clients get this part of what they get done in a quiet window, or more.
const DONE: f64 = 0.7;

/// When the copy goes at this part of the rate at which clients first got little done, they have to get
/// more done, ...
const HALF: f64 = 0.5;

/// ... by this factor. Else it is not the copy that keeps them from it: they may want less, or each of
/// their requests costs more than before.
const HELPED: f64 = 1.1;

/// Where the bound is not kept in quiet windows either, requests may take so much longer than there.
const LONGER: f64 = 1.5;

/// The rate of the copy, and what is known of the clients without it.
#[derive(Debug)]
pub(super) struct Rate {
    pub(super) bytes_per_second: f64,
    quiet: Option<Quiet>,
    /// Whether clients have suffered since the last quiet window.
    is_found: bool,
    /// What clients got done at the rate at which that was too little.
    too_little: Option<Done>,
}

/// What clients got done.
#[derive(Clone, Copy, Debug)]
struct Done {
    at_rate: f64,
    requests_per_second: f64,
}

/// What clients see while the copy goes at its slowest.
#[derive(Clone, Copy, Debug)]
struct Quiet {
    client_p99: Duration,
    requests_per_second: f64,
}

impl Default for Rate {
    /// The slowest, to see what clients see without the copy; without clients that is soon over.
    fn default() -> Self {
        Self { bytes_per_second: RATE_MIN, quiet: None, is_found: false, too_little: None }
    }
}

impl Rate {
    /// Changes with what was seen in a window.
    pub(super) fn follow(&mut self, seen: &Seen, bound: Duration) {
        let Some(client_p99) = seen.client_p99 else {
            self.set(self.bytes_per_second * FREER);
            return;
        };
        if self.bytes_per_second <= RATE_MIN {
            let requests_per_second = seen.requests_per_second;
            self.quiet = Some(Quiet { client_p99, requests_per_second });
            (self.is_found, self.too_little) = (false, None);
            self.set(RATE_MIN * FASTER_AT_FIRST);
        } else if seen.admitted_per_second == 0.0 {
            // Whatever clients saw, it was not the copy.
        } else if self.delays(client_p99, bound) {
            self.slow_down(seen);
        } else if self.crowds_out(seen) {
            match self.rate_that_is_not_to_blame(seen) {
                Some(rate) => self.set(rate),
                None => self.slow_down(seen),
            }
        } else if seen.admitted_per_second >= self.bytes_per_second * USED {
            let faster = if self.is_found { FASTER } else { FASTER_AT_FIRST };
            self.set(self.bytes_per_second * faster);
        }
    }

    /// Nobody is there who could suffer.
    pub(super) fn let_go(&mut self) {
        self.set(RATE_FREE);
    }

    fn slow_down(&mut self, seen: &Seen) {
        self.is_found = true;
        self.set(self.bytes_per_second.min(seen.admitted_per_second) * SLOWER);
    }

    /// Whether requests take too long.
    fn delays(&self, client_p99: Duration, bound: Duration) -> bool {
        let anyway = self.quiet.map_or(Duration::ZERO, |quiet| quiet.client_p99.mul_f64(LONGER));
        client_p99 > bound.max(anyway)
    }

    /// Whether clients get too little done.
    fn crowds_out(&mut self, seen: &Seen) -> bool {
        let wanted = self.quiet.map_or(0.0, |quiet| quiet.requests_per_second * DONE);
        let is_too_little = seen.requests_per_second < wanted;
        if !is_too_little {
            self.too_little = None;
        }
        is_too_little
    }

    /// The rate at which clients began to get too little done, if going slower has not helped them;
    /// then what they get done now is what they want.
    fn rate_that_is_not_to_blame(&mut self, seen: &Seen) -> Option<f64> {
        let requests_per_second = seen.requests_per_second;
        let now = Done { at_rate: self.bytes_per_second, requests_per_second };
        let before = self.too_little.get_or_insert(now);
        if now.at_rate > before.at_rate * HALF {
            return None;
        }
        if requests_per_second >= before.requests_per_second * HELPED {
            *before = now;
            return None;
        }
        let rate = before.at_rate;
        self.too_little = None;
        if let Some(quiet) = &mut self.quiet {
            quiet.requests_per_second = requests_per_second;
        }
        Some(rate)
    }

    fn set(&mut self, bytes_per_second: f64) {
        self.bytes_per_second = bytes_per_second.clamp(RATE_MIN, RATE_FREE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(10);

    /// A volume whose clients see, at a rate of the copy, what `see` says: the slowest hundredth of their
    /// requests in milliseconds, and how many requests they get done in a second.
    struct Play {
        rate: Rate,
        see: fn(f64) -> Option<(u64, f64)>,
        fastest: f64,
    }

    impl Play {
        fn new(see: fn(f64) -> Option<(u64, f64)>) -> Self {
            Self { rate: Rate::default(), see, fastest: 1024.0 }
        }

        /// One window; gives the rate that was reached in it, in MiB a second.
        fn window(&mut self) -> f64 {
            let reached = (self.rate.bytes_per_second / MIB as f64).min(self.fastest);
            let clients = (self.see)(reached);
            let seen = Seen {
                client_p99: clients.map(|(p99, _)| Duration::from_millis(p99)),
                requests_per_second: clients.map_or(0.0, |(_, done)| done),
                admitted_per_second: reached * MIB as f64,
            };
            self.rate.follow(&seen, BOUND);
            reached
        }

        fn mean(&mut self, windows: u32) -> f64 {
            (0..windows).map(|_| self.window()).sum::<f64>() / f64::from(windows)
        }
    }

    #[test]
    fn a_volume_that_nobody_uses_is_free_after_one_window() {
        let mut play = Play::new(|_| None);
        play.window();
        assert!(play.window() > 500.0);
        play.window();
        assert_eq!(play.rate.bytes_per_second, RATE_FREE);
    }

    #[test]
    fn clients_that_do_not_suffer_hold_nothing_back_for_long() {
        let mut play = Play::new(|_| Some((3, 1000.0)));
        play.mean(10);
        assert_eq!(play.window(), 1024.0);
    }

    #[test]
    fn a_copy_that_begins_without_clients_is_slowed_down_by_those_who_come() {
        let mut play = Play::new(|rate| Some((if rate > 300.0 { 40 } else { 2 }, 1000.0)));
        play.rate.let_go();
        assert_eq!(play.rate.bytes_per_second, RATE_FREE);
        play.mean(20);
        let mean = play.mean(100);
        assert!((200.0..=320.0).contains(&mean), "{mean}");
    }

    #[test]
    fn the_rate_settles_where_the_bound_is_kept() {
        let mut play = Play::new(|rate| Some((if rate > 300.0 { 40 } else { 2 }, 1000.0)));
        play.mean(20);
        let mean = play.mean(100);
        assert!((200.0..=320.0).contains(&mean), "{mean}");
    }

    #[test]
    fn clients_keep_their_part_of_what_they_get_done_without_the_copy() {
        let mut play = Play::new(|rate| Some((1, 10_000.0 / (1.0 + rate / 200.0))));
        play.mean(20);
        let mean = play.mean(100);
        // At 86 MiB a second they get 0.7 of it done.
        assert!((55.0..=100.0).contains(&mean), "{mean}");
    }

    #[test]
    fn clients_that_want_less_than_before_do_not_hold_the_copy_back() {
        let mut play = Play::new(|_| Some((1, 10_000.0)));
        play.mean(20);
        play.see = |_| Some((1, 2_000.0));
        let mean = play.mean(30);
        assert!(mean > 700.0, "{mean}");
    }

    #[test]
    fn it_never_stops_and_is_never_slower_than_the_least() {
        let mut play = Play::new(|rate| Some((if rate > 8.5 { 1000 } else { 5 }, 100.0)));
        let slowest = (0..100).map(|_| play.window()).fold(f64::MAX, f64::min);
        assert_eq!(slowest, RATE_MIN / MIB as f64);
    }

    #[test]
    fn what_clients_suffer_without_the_copy_does_not_hold_it_back() {
        let mut play = Play::new(|_| Some((80, 100.0)));
        play.mean(10);
        assert_eq!(play.window(), 1024.0);
    }

    #[test]
    fn a_pause_of_the_copy_teaches_nothing() {
        let mut play = Play::new(|_| Some((3, 1000.0)));
        play.mean(3);
        let before = play.rate.bytes_per_second;
        let idle = Seen {
            client_p99: Some(Duration::from_secs(1)),
            requests_per_second: 1.0,
            admitted_per_second: 0.0,
        };
        play.rate.follow(&idle, BOUND);
        assert_eq!(play.rate.bytes_per_second, before);
    }
}

//! The rate over the last seconds, told the time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far back a rate looks.
const WINDOW: Duration = Duration::from_secs(5);

/// Shortest time from which a rate is told.
const SHORTEST: Duration = Duration::from_millis(500);

/// Positions of the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// Notes a position. One that lies below the last (a restart) makes the ones before worthless.
    pub(crate) fn note(&mut self, now: Instant, position: u64) {
        if self.samples.back().is_some_and(|(_, last)| *last > position) {
            self.samples.clear();
        }
        self.samples.push_back((now, position));
        while self.samples.len() > 2
            && self.samples.get(1).is_some_and(|(then, _)| now.duration_since(*then) >= WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// Bytes a second; `None` while that is unknown or nothing moves.
    pub(crate) fn bytes_per_second(&self) -> Option<u64> {
        let ((then, from), (now, to)) = (self.samples.front()?, self.samples.back()?);
        let nanos = now.duration_since(*then).as_nanos();
        if nanos < SHORTEST.as_nanos() {
            return None;
        }
        let rate = u128::from(to - from) * 1_000_000_000 / nanos;
        u64::try_from(rate).ok().filter(|rate| *rate > 0)
    }

    /// How long the rest takes at this rate.
    pub(crate) fn seconds_left(&self, rest: u64) -> Option<u64> {
        self.bytes_per_second().map(|rate| rest.div_ceil(rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, positions: &[(u64, u64)]) -> Rate {
        let mut rate = Rate::default();
        for (second, position) in positions {
            rate.note(start + Duration::from_secs(*second), *position);
        }
        rate
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds_and_not_of_the_whole_run() {
        let start = Instant::now();
        let fast_then_slow = [(0, 0), (1, 1000), (2, 2000), (3, 2010), (5, 2030), (8, 2060)];
        let rate = after(start, &fast_then_slow);
        assert_eq!(rate.bytes_per_second(), Some(10));
        assert_eq!(rate.seconds_left(101), Some(11));
    }

    #[test]
    fn there_is_no_rate_while_nothing_moves() {
        let start = Instant::now();
        let stopped = [(0, 0), (1, 500), (2, 500), (7, 500), (8, 500)];
        assert_eq!(after(start, &stopped).bytes_per_second(), None);
        assert_eq!(after(start, &[(0, 5)]).bytes_per_second(), None);
    }

    #[test]
    fn a_restart_from_a_lower_address_begins_a_new_rate() {
        let start = Instant::now();
        let rate = after(start, &[(0, 0), (1, 9000), (2, 100), (3, 150)]);
        assert_eq!(rate.bytes_per_second(), Some(50));
    }
}

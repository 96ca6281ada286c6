//! What clients saw, and how much was copied, in a stretch of time.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Shortest window: a machine's scheduler shows in less.
const LENGTH_MIN: Duration = Duration::from_millis(100);

/// A window of fewer requests goes on, since the slowest of a few says little.
const REQUESTS_ENOUGH: u64 = 100;

/// Longest window.
const LENGTH_MAX: Duration = Duration::from_millis(500);

/// Longest request that is told from longer ones, in microseconds.
const LONGEST_US: u64 = 60_000_000;

/// A window that is not over.
#[derive(Debug)]
pub(super) struct Window {
    began: Instant,
    took_us: Histogram<u32>,
    admitted: u64,
}

/// What a window has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    /// What the slowest hundredth of the clients' requests took; `None` without any.
    pub(super) client_p99: Option<Duration>,
    /// Clients' requests that ended.
    pub(super) requests_per_second: f64,
    /// Bytes that the copier was let read.
    pub(super) admitted_per_second: f64,
}

impl Window {
    pub(super) fn beginning_at(now: Instant) -> Self {
        // One digit: what matters is far from the bound, or the rate comes and goes around it.
        let took_us = Histogram::new_with_max(LONGEST_US, 1).expect("bounds that make sense");
        Self { began: now, took_us, admitted: 0 }
    }

    pub(super) fn record(&mut self, took: Duration) {
        self.took_us.saturating_record(u64::try_from(took.as_micros()).unwrap_or(LONGEST_US));
    }

    pub(super) fn admit(&mut self, bytes: u64) {
        self.admitted += bytes;
    }

    /// What the window has shown when it is over; another one begins then.
    pub(super) fn over(&mut self, now: Instant) -> Option<Seen> {
        let length = now.saturating_duration_since(self.began);
        let requests = self.took_us.len();
        let few = (1..REQUESTS_ENOUGH).contains(&requests);
        if length < LENGTH_MIN || (few && length < LENGTH_MAX) {
            return None;
        }
        let seconds = length.as_secs_f64();
        let slowest = Duration::from_micros(self.took_us.value_at_quantile(0.99));
        let seen = Seen {
            client_p99: (requests > 0).then_some(slowest),
            requests_per_second: requests as f64 / seconds,
            admitted_per_second: self.admitted as f64 / seconds,
        };
        self.took_us.reset();
        (self.began, self.admitted) = (now, 0);
        Some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_shows_the_slowest_hundredth_and_rates() {
        let start = Instant::now();
        let mut window = Window::beginning_at(start);
        (0..198).for_each(|_| window.record(Duration::from_millis(1)));
        (0..2).for_each(|_| window.record(Duration::from_millis(50)));
        window.admit(1000);
        assert_eq!(window.over(start + LENGTH_MIN / 2), None);
        let seen = window.over(start + LENGTH_MIN).expect("over");
        assert_eq!((seen.requests_per_second, seen.admitted_per_second), (2000.0, 10_000.0));
        assert!(seen.client_p99 < Some(Duration::from_millis(2)), "{seen:?}");
        let seen = window.over(start + 2 * LENGTH_MIN).expect("over");
        assert_eq!((seen.client_p99, seen.requests_per_second), (None, 0.0));
    }

    #[test]
    fn a_window_of_few_requests_is_longer_but_ends() {
        let start = Instant::now();
        let mut window = Window::beginning_at(start);
        window.record(Duration::from_millis(30));
        assert_eq!(window.over(start + LENGTH_MAX / 2), None);
        let seen = window.over(start + LENGTH_MAX).expect("over");
        assert!(seen.client_p99 >= Some(Duration::from_millis(30)), "{seen:?}");
    }
}

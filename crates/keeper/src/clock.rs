//! The order of everything that is received from clients; see [`Arrivals`](crate::Arrivals).

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

/// Gives numbers that grow: over all processes of a machine with time, and within one with each number.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

impl Clock {
    /// The next number.
    pub fn tick(&self) -> u64 {
        let now = nanoseconds();
        let later = |last: u64| now.max(last + 1);
        let update =
            self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(later(last)));
        later(update.unwrap_or_default())
    }

    /// The last number.
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Goes on with another keeper's.
    pub(crate) fn go_on_at(&self, now: u64) {
        self.0.fetch_max(now, Ordering::SeqCst);
    }
}

/// Since the machine was started.
fn nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let parts = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    let (seconds, rest) = (parts.0.unwrap_or_default(), parts.1.unwrap_or_default());
    seconds * 1_000_000_000 + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_within_a_process_and_from_one_to_the_next() {
        let (one, next) = (Clock::default(), Clock::default());
        let mut last = 0;
        for _ in 0..1000 {
            let number = one.tick();
            assert!(number > last);
            last = number;
        }
        while nanoseconds() <= last {
            std::hint::spin_loop();
        }
        assert!(next.tick() > last);
        next.go_on_at(u64::MAX / 2);
        assert_eq!(next.tick(), u64::MAX / 2 + 1);
    }
}

//! The bandwidth limit: a token bucket that is told the time.

use std::time::{Duration, Instant};

/// How much may be spent at once after a quiet time: a tenth of a second's worth.
const BURST: Duration = Duration::from_millis(100);

/// A limit of bytes a second. A chunk larger than what is left is let through and paid for
/// afterwards, so that chunks of any size keep the mean.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    bytes_per_second: u64,
    /// When everything that was let through has been paid for.
    paid_at: Instant,
}

impl Pace {
    /// A limit that has not been used yet.
    pub fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), paid_at: now }
    }

    /// The earliest time at which more may be let through.
    pub fn next(&self) -> Instant {
        self.paid_at
    }

    /// Lets `bytes` through at `now`.
    pub fn spend(&mut self, now: Instant, bytes: u64) {
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        self.paid_at = self.paid_at.max(earliest) + self.price(bytes);
    }

    fn price(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Spends as early as allowed; gives the time that it took.
    fn run(pace: &mut Pace, from: Instant, chunk: u64, chunks: u32) -> Duration {
        let mut now = from;
        for _ in 0..chunks {
            now = now.max(pace.next());
            pace.spend(now, chunk);
        }
        pace.next().max(now) - from
    }

    #[test]
    fn the_mean_keeps_the_rate_whatever_the_size_of_a_chunk() {
        let start = Instant::now();
        for chunk in [4 << 10, MIB, 32 * MIB] {
            let mut pace = Pace::new(64 * MIB, start);
            let chunks = u32::try_from(256 * MIB / chunk).unwrap();
            let took = run(&mut pace, start, chunk, chunks).as_secs_f64();
            assert!((3.8..=4.1).contains(&took), "{chunk} bytes a chunk took {took} s");
        }
    }

    #[test]
    fn a_quiet_time_is_not_saved_up() {
        let start = Instant::now();
        let mut pace = Pace::new(MIB, start);
        pace.spend(start, MIB);
        let later = start + Duration::from_secs(3600);
        let took = run(&mut pace, later, MIB / 10, 20).as_secs_f64();
        assert!((1.8..=2.0).contains(&took), "took {took} s");
    }
}

//! How long the reads and writes of the copy are.
//!
//! Each write waits for the completion of the one before (D2.4), so each costs a round trip in which no
//! data moves. Long writes make that little; short ones keep the client's writes away from what is
//! claimed, and take less memory. So they are as short as the way allows: it is known how long a round
//! trip takes, and each write shows how much the way carries.

use std::time::Duration;

use blockferry_block::MIB;

/// Shortest that is chosen, in bytes.
pub(crate) const SHORTEST: u64 = 2 * MIB;

/// Longest that is chosen, in bytes.
pub(crate) const LONGEST: u64 = 32 * MIB;

/// A write takes so many times as long as a round trip, so that no more than this part is lost.
const ROUND_TRIPS: f64 = 20.0;

/// The length, between two bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Chunk {
    now: u64,
    longest: u64,
    round_trip: Duration,
}

impl Chunk {
    /// As short as it may be at first.
    pub(crate) fn new(shortest: u64, longest: u64, round_trip: Duration) -> Self {
        Self { now: shortest, longest: longest.max(shortest), round_trip }
    }

    /// Bytes.
    pub(crate) fn len(&self) -> u64 {
        self.now
    }

    /// A write of so many bytes took so long, its round trip included.
    pub(crate) fn note(&mut self, bytes: u64, took: Duration) {
        if bytes < self.now {
            return;
        }
        let moving = took.saturating_sub(self.round_trip).as_secs_f64().max(1e-6);
        let wanted = bytes as f64 / moving * self.round_trip.as_secs_f64() * ROUND_TRIPS;
        while self.now < self.longest && wanted > self.now as f64 {
            self.now = (2 * self.now).min(self.longest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The length that is found for a way of so many bytes a second.
    fn found(bytes_per_second: u64, round_trip: Duration) -> u64 {
        let mut chunk = Chunk::new(SHORTEST, LONGEST, round_trip);
        for _ in 0..20 {
            let moving = chunk.len() as f64 / bytes_per_second as f64;
            chunk.note(chunk.len(), round_trip + Duration::from_secs_f64(moving));
        }
        chunk.len()
    }

    #[test]
    fn near_by_it_stays_short() {
        assert_eq!(found(700 * MIB, Duration::from_micros(100)), SHORTEST);
    }

    #[test]
    fn far_away_it_grows_until_round_trips_cost_little() {
        assert_eq!(found(119 * MIB, Duration::from_millis(20)), LONGEST);
        assert_eq!(found(119 * MIB, Duration::from_millis(2)), 8 * MIB);
    }

    #[test]
    fn a_short_write_says_nothing() {
        let mut chunk = Chunk::new(SHORTEST, LONGEST, Duration::from_millis(20));
        chunk.note(4096, Duration::from_millis(21));
        assert_eq!(chunk.len(), SHORTEST);
    }

    #[test]
    fn a_length_that_was_asked_for_stays() {
        let mut chunk = Chunk::new(MIB, MIB, Duration::from_secs(1));
        chunk.note(MIB, Duration::from_secs(1));
        assert_eq!(chunk.len(), MIB);
    }
}

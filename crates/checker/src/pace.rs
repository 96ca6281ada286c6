//! So many requests a second, evenly, over all connections.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Gives out moments at which a request may be sent.
#[derive(Debug)]
pub(crate) struct Pace {
    between: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    /// At most `rate` requests a second, which is not 0.
    pub(crate) fn new(rate: u32) -> Self {
        Self { between: Duration::from_secs(1) / rate, next: Mutex::new(Instant::now()) }
    }

    /// When the next request may be sent. What was missed during a stall is not caught up.
    pub(crate) fn take(&self) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = (*next).max(Instant::now());
        *next = mine + self.between;
        mine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_are_evenly_spaced_and_a_stall_is_not_caught_up() {
        let start = Instant::now();
        let pace = Pace::new(10);
        assert_eq!(pace.take() - start, Duration::ZERO);
        assert_eq!(pace.take() - start, Duration::from_millis(100));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(pace.take() - start, Duration::from_secs(5));
        assert_eq!(pace.take() - start, Duration::from_millis(5100));
    }
}

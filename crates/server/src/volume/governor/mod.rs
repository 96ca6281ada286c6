//! The governor: while clients suffer from the copy, it goes slower. It never stops.
//!
//! Every request of a client is timed while a migration is under way. After each window of time the
//! rate at which the copier is given data follows what was seen: down by a part when clients suffer, up
//! by a smaller part when there is room. A volume that nobody uses is copied as fast as it can be read.
//!
//! Clients suffer when the slowest hundredth of their requests takes longer than the bound, or when
//! they get little done in comparison with a quiet window, in which the copy went at its slowest. What
//! they suffer in quiet windows as well is not the copy's doing, and does not hold it back.

mod rate;
mod window;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rate::{RATE_FREE, Rate};
use window::Window;

/// The bound where nobody names one.
pub(super) const CLIENT_P99_DEFAULT: Duration = Duration::from_millis(5);

/// What is let through at once after a pause, in seconds' worth.
const BURST: f64 = 0.02;

/// How long a copier that has to wait waits before it asks again: the rate may have changed.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub(crate) struct Governor(Mutex<State>);

#[derive(Debug)]
struct State {
    bound: Duration,
    rate: Rate,
    window: Window,
    /// When everything that was let through has been paid for.
    paid_at: Instant,
    client_p99: Option<Duration>,
}

impl Governor {
    /// One that has seen nothing.
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(State {
            bound: CLIENT_P99_DEFAULT,
            rate: Rate::default(),
            window: Window::beginning_at(now),
            paid_at: now,
            client_p99: None,
        }))
    }

    /// Sets how long the slowest hundredth of the clients' requests may take.
    pub(crate) fn set_bound(&self, client_p99: Duration) {
        self.state().bound = client_p99;
    }

    /// No client is connected: the copy need not go slowly to see what it does to them.
    pub(crate) fn let_go(&self) {
        self.state().rate.let_go();
    }

    /// A client's request took so long.
    pub(crate) fn saw_request(&self, took: Duration) {
        self.state().window.record(took);
    }

    /// Lets the copier read so many bytes now.
    ///
    /// # Errors
    /// When to ask again.
    pub(crate) fn admit(&self, bytes: u64, now: Instant) -> Result<(), Instant> {
        let mut state = self.state();
        state.look(now);
        if state.paid_at > now {
            return Err(state.paid_at.min(now + ASK_AGAIN));
        }
        let earliest = now.checked_sub(Duration::from_secs_f64(BURST)).unwrap_or(now);
        let price = Duration::from_secs_f64(bytes as f64 / state.rate.bytes_per_second);
        state.paid_at = state.paid_at.max(earliest) + price;
        state.window.admit(bytes);
        Ok(())
    }

    /// What the slowest hundredth of the clients' requests took in the last window, if there were any.
    pub(crate) fn client_p99(&self) -> Option<Duration> {
        self.state().client_p99
    }

    /// Bytes a second that the copy is held to; `None` when it is not held back.
    pub(crate) fn limit(&self) -> Option<u64> {
        let rate = self.state().rate.bytes_per_second;
        (rate < RATE_FREE).then_some(rate as u64)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Draws its conclusion when the window is over.
    fn look(&mut self, now: Instant) {
        let Some(seen) = self.window.over(now) else { return };
        let before = self.rate.bytes_per_second;
        self.client_p99 = seen.client_p99;
        self.rate.follow(&seen, self.bound);
        // What was let through is paid for at the new rate.
        let debt = self.paid_at.saturating_duration_since(now);
        self.paid_at = now + debt.mul_f64((before / self.rate.bytes_per_second).min(1.0));
    }
}

//! The answer to a request, on its way or there already.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::{Failure, Reply};

/// What becomes of a request.
pub type Outcome = Result<Reply, Failure>;

/// The answer to a [`Request`](crate::Request): a future that costs no memory of its own where the
/// outcome is known when the call returns.
pub struct Answer(State);

enum State {
    Ready(Outcome),
    Later(Pin<Box<dyn Future<Output = Outcome> + Send>>),
    Taken,
}

impl Answer {
    /// An outcome that is known.
    pub const fn ready(outcome: Outcome) -> Self {
        Self(State::Ready(outcome))
    }

    /// An outcome that a future brings.
    pub fn later(future: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self(State::Later(Box::pin(future)))
    }
}

impl Future for Answer {
    type Output = Outcome;

    /// # Panics
    /// After it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        if let State::Later(future) = &mut self.0 {
            return future.as_mut().poll(cx);
        }
        match std::mem::replace(&mut self.0, State::Taken) {
            State::Ready(outcome) => Poll::Ready(outcome),
            State::Later(_) | State::Taken => panic!("an answer is taken once"),
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            State::Ready(outcome) => f.debug_tuple("Ready").field(outcome).finish(),
            State::Later(_) => f.write_str("Later"),
            State::Taken => f.write_str("Taken"),
        }
    }
}

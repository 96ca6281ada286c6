//! A timer that can be stopped and begun anew at no cost.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that runs only while somebody is waited for.
#[derive(Debug, Default)]
pub struct Deadline {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Deadline {
    /// One that does not run.
    pub const fn new() -> Self {
        Self { sleep: None, armed: false }
    }

    /// Nobody is waited for any more.
    pub const fn disarm(&mut self) {
        self.armed = false;
    }

    /// Ready when it was armed for the whole timeout; arms it when it was not.
    pub fn poll(&mut self, cx: &mut Context<'_>, timeout: Duration) -> Poll<()> {
        if !self.armed {
            self.armed = true;
            let at = Instant::now() + timeout;
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(at),
                None => self.sleep = Some(Box::pin(sleep_until(at))),
            }
        }
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

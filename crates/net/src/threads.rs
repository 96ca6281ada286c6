//! Threads that serve connections. A connection stays on one, with everything that its requests need,
//! so that no part of a request's way waits for another processor to wake.

use std::io;
use std::sync::Arc;
use std::thread::{self, available_parallelism};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Threads, one for each processor; they end with this value, and with them what they still serve.
#[derive(Debug)]
pub struct Threads {
    threads: Vec<Serving>,
    _end: DropGuard,
}

#[derive(Debug)]
struct Serving {
    runtime: Handle,
    /// As many more are there as the thread has connections.
    place: Place,
}

/// A connection's place in its thread, as long as it lives.
pub type Place = Arc<()>;

impl Threads {
    /// Starts them.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn start() -> io::Result<Self> {
        let count = available_parallelism().map_or(1, usize::from);
        let end = CancellationToken::new();
        let threads = (0..count).map(|number| Serving::start(number, end.clone()));
        Ok(Self { threads: threads.collect::<io::Result<_>>()?, _end: end.drop_guard() })
    }

    /// A place where the fewest connections are.
    pub fn place(&self) -> (Handle, Place) {
        let emptiest = self.threads.iter().min_by_key(|thread| Arc::strong_count(&thread.place));
        let thread = emptiest.expect("there is a thread for each processor");
        (thread.runtime.clone(), Arc::clone(&thread.place))
    }
}

impl Serving {
    fn start(number: usize, end: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        thread::Builder::new()
            .name(format!("serve-{number}"))
            .spawn(move || runtime.block_on(end.cancelled()))?;
        Ok(Self { runtime: handle, place: Place::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_spread_over_the_threads_and_a_place_that_is_left_is_taken_again() {
        let threads = Threads::start().unwrap();
        let mut places: Vec<_> = (0..2 * threads.threads.len()).map(|_| threads.place()).collect();
        let held = |threads: &Threads| -> Vec<usize> {
            threads.threads.iter().map(|thread| Arc::strong_count(&thread.place) - 1).collect()
        };
        assert!(held(&threads).iter().all(|held| *held == 2), "{:?}", held(&threads));
        let (last, place) = places.pop().unwrap();
        let id = last.id();
        drop(place);
        assert_eq!(threads.place().0.id(), id);
    }

    #[test]
    fn what_a_thread_still_serves_ends_with_the_threads() {
        let threads = Threads::start().unwrap();
        let (alive, served) = std::sync::mpsc::channel::<()>();
        threads.place().0.spawn(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        drop(threads);
        served.recv().unwrap_err();
    }
}

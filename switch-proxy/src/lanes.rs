//! Threads that serve connections. A connection stays on one, with its path and the links of that, so
//! that no part of a request's way waits for another processor to wake.

use std::io;
use std::sync::Arc;
use std::thread::{self, available_parallelism};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// One for each processor; they end with this value, and with them what they still serve.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    _end: DropGuard,
}

struct Lane {
    runtime: Handle,
    /// As many more are there as the lane has connections.
    place: Place,
}

/// A connection's place in its lane, as long as it lives.
pub(crate) type Place = Arc<()>;

impl Lanes {
    /// Starts them.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn start() -> io::Result<Self> {
        let count = available_parallelism().map_or(1, usize::from);
        let end = CancellationToken::new();
        let lanes = (0..count).map(|number| Lane::start(number, end.clone()));
        Ok(Self { lanes: lanes.collect::<io::Result<_>>()?, _end: end.drop_guard() })
    }

    /// A place where the fewest connections are.
    pub(crate) fn place(&self) -> (Handle, Place) {
        let emptiest = self.lanes.iter().min_by_key(|lane| Arc::strong_count(&lane.place));
        let lane = emptiest.expect("there is a lane for each processor");
        (lane.runtime.clone(), Arc::clone(&lane.place))
    }
}

impl Lane {
    fn start(number: usize, end: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        thread::Builder::new()
            .name(format!("lane-{number}"))
            .spawn(move || runtime.block_on(end.cancelled()))?;
        Ok(Self { runtime: handle, place: Place::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_spread_over_the_lanes_and_a_place_that_is_left_is_taken_again() {
        let lanes = Lanes::start().unwrap();
        let mut places: Vec<_> = (0..2 * lanes.lanes.len()).map(|_| lanes.place()).collect();
        let held = |lanes: &Lanes| -> Vec<usize> {
            lanes.lanes.iter().map(|lane| Arc::strong_count(&lane.place) - 1).collect()
        };
        assert!(held(&lanes).iter().all(|held| *held == 2), "{:?}", held(&lanes));
        let (last, place) = places.pop().unwrap();
        let id = last.id();
        drop(place);
        assert_eq!(lanes.place().0.id(), id);
    }

    #[test]
    fn what_a_lane_still_serves_ends_with_the_lanes() {
        let lanes = Lanes::start().unwrap();
        let (alive, served) = std::sync::mpsc::channel::<()>();
        lanes.place().0.spawn(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        drop(lanes);
        served.recv().unwrap_err();
    }
}

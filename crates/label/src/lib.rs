//! Named points of the programs' course. A test has a program stop there, and then kills it, lets it
//! go on after a while, or cuts it off: so it meets moments that last a few microseconds.
//!
//! Labels stand in what acts: the steps of the storage programs, the controller's phases, the
//! switch. What decides has none, since the simulator stops that wherever it likes. Without
//! [`stop_at`] a label costs two looks at memory. With the log at `blockferry_label=trace` each one
//! that is passed is a line.

mod table;

use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

pub use table::LABELS;

/// The signal may be taken by another thread, which then stops this one. Until then this one waits,
/// lest it runs ahead of its label.
const STOPPING: Duration = Duration::from_millis(50);

static STOPS: OnceLock<Vec<Stop>> = OnceLock::new();

/// Where to stop, as a command line says it: `LABEL`, or `LABEL:N` for the Nth time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// One of [`LABELS`].
    pub label: &'static str,
    /// Which time, counted from 1.
    pub time: u64,
}

/// A point that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no point to stop at: expected LABEL or LABEL:N, a known label and N from 1")]
pub struct NoSuchPoint(String);

#[derive(Debug)]
struct Stop {
    point: Point,
    passed: AtomicU64,
}

impl FromStr for Point {
    type Err = NoSuchPoint;

    fn from_str(text: &str) -> Result<Self, NoSuchPoint> {
        let (name, time) = text.split_once(':').unwrap_or((text, "1"));
        let label = LABELS.iter().find(|label| **label == name);
        let time = time.parse().ok().filter(|time| *time > 0);
        match (label, time) {
            (Some(label), Some(time)) => Ok(Self { label, time }),
            _ => Err(NoSuchPoint(text.to_owned())),
        }
    }
}

/// Has this program stop itself (SIGSTOP) at these points, once at each. Said again, it changes
/// nothing.
///
/// # Errors
/// The first that is no point.
pub fn stop_at<T: AsRef<str>>(points: &[T]) -> Result<(), NoSuchPoint> {
    let parse = |text: &T| text.as_ref().parse().map(|point| Stop { point, passed: 0.into() });
    let stops: Vec<Stop> = points.iter().map(parse).collect::<Result<_, _>>()?;
    if !stops.is_empty() {
        STOPS.get_or_init(|| stops);
    }
    Ok(())
}

/// The program has come to this label.
pub fn reached(label: &'static str) {
    tracing::trace!(label, "reached");
    let Some(stops) = STOPS.get() else { return };
    for stop in stops.iter().filter(|stop| stop.point.label == label) {
        if stop.passed.fetch_add(1, Ordering::Relaxed) + 1 == stop.point.time {
            // A process may always stop itself; if it could not, the test would miss the stop.
            let _ = kill_process(getpid(), Signal::STOP);
            std::thread::sleep(STOPPING);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_a_known_label_and_a_time_from_1() {
        let label = LABELS[0];
        assert_eq!(label.parse(), Ok(Point { label, time: 1 }));
        assert_eq!(format!("{label}:7").parse(), Ok(Point { label, time: 7 }));
        for bad in ["", "nowhere", &format!("{label}:0"), &format!("{label}:x"), ":1"] {
            assert!(bad.parse::<Point>().is_err(), "{bad:?}");
        }
        assert!(stop_at(&["nowhere"]).is_err());
    }

    #[test]
    fn no_label_is_listed_twice() {
        let mut labels = LABELS.to_vec();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), LABELS.len());
    }
}

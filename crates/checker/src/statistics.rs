//! How many requests there were, and how long they took.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::plan::Step;

/// Errors that are kept with their text; of the others only the number is.
pub const ERRORS_KEPT_MAX: usize = 64;

/// Longest time that the histogram tells apart: an hour, in microseconds.
const LONGEST_US: u64 = 3_600_000_000;

/// Requests that were answered without an error, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Zeroings.
    pub write_zeroes: u64,
    /// Trims.
    pub trims: u64,
    /// Flushes.
    pub flushes: u64,
}

impl Counts {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.reads + self.writes + self.write_zeroes + self.trims + self.flushes
    }

    fn add(&mut self, step: &Step) {
        match step {
            Step::Read(_) => self.reads += 1,
            Step::Write { .. } => self.writes += 1,
            Step::WriteZeroes { .. } => self.write_zeroes += 1,
            Step::Trim { .. } => self.trims += 1,
            Step::Flush => self.flushes += 1,
        }
    }
}

/// Requests that a client would have seen fail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// How many there were.
    pub total: u64,
    /// The first of them, [`ERRORS_KEPT_MAX`] at most.
    pub first: Vec<String>,
}

impl Errors {
    pub(crate) fn push(&mut self, error: String) {
        self.total += 1;
        if self.first.len() < ERRORS_KEPT_MAX {
            self.first.push(error);
        }
    }

    /// Whether there was none.
    pub const fn is_empty(&self) -> bool {
        self.total == 0
    }
}

/// The request that took longest.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Longest {
    /// How long, in milliseconds.
    pub ms: f64,
    /// Which one; empty while there was none.
    pub request: String,
    /// When it was sent, in seconds since the load began.
    pub sent_s: f64,
}

/// How long requests took, in milliseconds; half of them not longer than `p50_ms`, and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
}

#[derive(Debug)]
pub(crate) struct Statistics {
    pub(crate) counts: Counts,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
    pub(crate) errors: Errors,
    longest: Option<(Duration, Duration, Step, usize)>,
    histogram: Histogram<u64>,
}

impl Statistics {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, 3);
        Self {
            counts: Counts::default(),
            bytes_read: 0,
            bytes_written: 0,
            errors: Errors::default(),
            longest: None,
            histogram: histogram.expect("1 us to an hour in 3 digits is a valid histogram"),
        }
    }

    /// A request was answered without an error.
    pub(crate) fn count(&mut self, step: &Step) {
        self.counts.add(step);
        match step {
            Step::Read(extent) => self.bytes_read += extent.len(),
            Step::Write { extent, .. } => self.bytes_written += extent.len(),
            _ => {}
        }
    }

    /// A request was answered or given up.
    pub(crate) fn time(&mut self, step: Step, connection: usize, sent: Duration, took: Duration) {
        self.histogram.saturating_record(u64::try_from(took.as_micros()).unwrap_or(LONGEST_US));
        if self.longest.is_none_or(|(longest, ..)| took > longest) {
            self.longest = Some((took, sent, step, connection));
        }
    }

    pub(crate) fn longest_request(&self) -> Duration {
        self.longest.map(|(took, ..)| took).unwrap_or_default()
    }

    pub(crate) fn longest(&self) -> Longest {
        let Some((took, sent, step, connection)) = self.longest else { return Longest::default() };
        Longest {
            ms: took.as_secs_f64() * 1e3,
            request: format!("{step} on connection {connection}"),
            sent_s: sent.as_secs_f64(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "an hour of microseconds fits exactly")]
    pub(crate) fn latency(&self) -> Latency {
        let at = |quantile: f64| self.histogram.value_at_quantile(quantile) as f64 / 1e3;
        Latency { p50_ms: at(0.5), p99_ms: at(0.99), p999_ms: at(0.999) }
    }
}

//! What a load has shown.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::journal::Journal;
use crate::statistics::{Counts, Errors, Latency, Longest};
use crate::violation::Violations;

/// Violations and errors that the text shows; the JSON form has more.
const SHOWN_MAX: usize = 5;

/// The outcome of a load.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The run's number, which its writes carry.
    pub run: u64,
    /// The seed of its requests.
    pub seed: u64,
    /// How long it ran.
    pub seconds: f64,
    /// Requests that were answered without an error.
    pub operations: Counts,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Bytes that were written, without zeroings and trims.
    pub bytes_written: u64,
    /// Answered requests a second.
    pub iops: f64,
    /// The longest that any request took, those that failed included.
    #[serde(skip)]
    pub longest_request: Duration,
    /// The request that took longest.
    pub longest: Longest,
    /// How long requests took.
    pub latency: Latency,
    /// Requests that failed.
    pub errors: Errors,
    /// Answers that were wrong (I15).
    pub violations: Violations,
    /// What every block may hold now.
    #[serde(skip)]
    pub journal: Journal,
}

impl Report {
    /// Whether something was checked, nothing was wrong and nothing failed.
    pub const fn is_clean(&self) -> bool {
        self.operations.total() > 0 && self.errors.is_empty() && self.violations.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, operations, iops, longest, latency, .. } = self;
        let Counts { reads, writes, write_zeroes, trims, flushes } = operations;
        writeln!(
            f,
            "{} requests in {seconds:.1} s, {iops:.0} a second: {reads} reads, {writes} writes, \
             {write_zeroes} zeroings, {trims} trims, {flushes} flushes",
            operations.total()
        )?;
        writeln!(
            f,
            "longest {:.1} ms ({}, sent at {:.3} s); p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms",
            longest.ms,
            if longest.request.is_empty() { "none" } else { &longest.request },
            longest.sent_s,
            latency.p50_ms,
            latency.p99_ms,
            latency.p999_ms
        )?;
        list(f, "errors", self.errors.total, &self.errors.first)?;
        list(f, "violations", self.violations.total, &self.violations.first)
    }
}

/// `NAME: none`, or the first few, a line each.
pub(crate) fn list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    total: u64,
    first: &[T],
) -> fmt::Result {
    if total == 0 {
        return writeln!(f, "{name}: none");
    }
    writeln!(f, "{name}: {total}")?;
    first.iter().take(SHOWN_MAX).try_for_each(|one| writeln!(f, "  {one}"))?;
    let shown = first.len().min(SHOWN_MAX) as u64;
    if total > shown { writeln!(f, "  and {} more", total - shown) } else { Ok(()) }
}

/// How a load is doing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// Time since it began, in seconds.
    pub seconds: f64,
    /// Requests that were answered without an error.
    pub operations: Counts,
    /// The longest that an ended request took, in milliseconds.
    pub longest_ms: f64,
    /// How long the oldest request under way has been so, in milliseconds.
    pub waiting_ms: f64,
    /// Requests that failed.
    pub errors: u64,
    /// Answers that were wrong.
    pub violations: u64,
}

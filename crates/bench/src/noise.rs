//! Whether others use the machine: figures of a busy machine are not to be quoted.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// A machine of which others use more than so many processors is busy.
pub(crate) const BUSY: f64 = 0.5;

/// How long it is looked at before a round. Nothing of ours runs meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// Ticks of all processors since the start of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    /// Used by somebody on this machine, or stolen by another one's.
    busy: u64,
    all: u64,
}

/// How many processors others use now, time stolen by other machines included.
///
/// # Errors
/// When the system does not tell.
pub(crate) fn look(processors: usize) -> Result<f64> {
    let before = read()?;
    std::thread::sleep(LOOK);
    Ok(used(before, read()?) * processors as f64)
}

fn read() -> Result<Ticks> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    parse(&text).context("/proc/stat has no line for all processors")
}

/// `cpu user nice system idle iowait irq softirq steal ...`
fn parse(text: &str) -> Option<Ticks> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let all = fields.iter().take(8).sum();
    let idle = fields.get(3)? + fields.get(4)?;
    Some(Ticks { busy: all - idle, all })
}

/// The share of all processors.
fn used(before: Ticks, after: Ticks) -> f64 {
    let all = after.all.saturating_sub(before.all).max(1);
    after.busy.saturating_sub(before.busy) as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_counts_as_busy_and_waiting_for_a_disk_does_not() {
        let before = parse("cpu  10 0 10 100 50 0 0 5 0 0\ncpu0 1 1\n").unwrap();
        let after = parse("cpu  20 0 20 150 70 0 0 15 0 0\n").unwrap();
        assert_eq!(before, Ticks { busy: 25, all: 175 });
        assert!((used(before, after) - 0.3).abs() < 1e-9);
        assert_eq!(parse("intr 1"), None);
    }
}

//! What many trials have shown, in a few lines.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::runner::Verdict;
use super::trial::{Fault, Party, Point};

/// Counts of trials.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    kinds: BTreeMap<(Option<Party>, Option<Fault>, bool), Count>,
    longest: Vec<Duration>,
    /// Lines of the trials that failed.
    pub failed: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    trials: u64,
    missed: u64,
    failed: u64,
}

impl Figures {
    /// Counts a verdict.
    pub fn add(&mut self, verdict: &Verdict) {
        let blow = verdict.trial.blows.last();
        let by_call = blow.is_some_and(|blow| matches!(blow.point, Point::Call(_)));
        let kind = (blow.map(|blow| blow.party), blow.map(|blow| blow.fault), by_call);
        let count = self.kinds.entry(kind).or_default();
        count.trials += 1;
        match &verdict.result {
            Ok(shown) => {
                count.missed += u64::from(!shown.struck);
                self.longest.push(shown.longest_request);
            }
            Err(_) => {
                count.failed += 1;
                self.failed.push(verdict.trial.to_string());
            }
        }
    }

    /// All trials.
    pub fn trials(&self) -> u64 {
        self.kinds.values().map(|count| count.trials).sum()
    }

    /// Trials that ended before their point was reached.
    pub fn missed(&self) -> u64 {
        self.kinds.values().map(|count| count.missed).sum()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((party, fault, by_call), count) in &self.kinds {
            let party = party.map_or("nobody".to_owned(), |party| party.to_string());
            let fault = fault.map_or("peace".to_owned(), |fault| fault.to_string());
            let at = if *by_call { "system calls" } else { "labels" };
            let Count { trials, missed, failed } = count;
            writeln!(
                f,
                "{party:<12} {fault:<8} at {at:<13} {trials:>5} trials, {missed:>3} not reached, {failed:>2} failed"
            )?;
        }
        let mut longest = self.longest.clone();
        longest.sort_unstable();
        let ms = |at: usize| longest.get(at).map_or(0, Duration::as_millis);
        writeln!(
            f,
            "{} trials, {} failed; longest request of a trial: median {} ms, maximum {} ms",
            self.trials(),
            self.failed.len(),
            ms(longest.len() / 2),
            ms(longest.len().saturating_sub(1)),
        )?;
        self.failed.iter().try_for_each(|line| writeln!(f, "failed: {line}"))
    }
}

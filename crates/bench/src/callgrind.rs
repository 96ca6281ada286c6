//! Counts the instructions of a program: a figure that a busy machine does not change much.

use std::path::Path;

use anyhow::{Context, Result};

/// What a program is run under.
pub(crate) fn wrapper(out: &Path) -> Vec<String> {
    let out = format!("--callgrind-out-file={}", out.display());
    ["valgrind", "--tool=callgrind", &out].map(str::to_owned).to_vec()
}

/// Reads how many instructions the program has executed, once it has ended.
pub(crate) fn instructions(out: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(out)
        .with_context(|| format!("callgrind left nothing at {}", out.display()))?;
    parse(&text).with_context(|| format!("{} has no sum of instructions", out.display()))
}

fn parse(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("summary:").or_else(|| line.strip_prefix("totals:")))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_all_threads_is_read() {
        assert_eq!(parse("events: Ir\nsummary: 1234567\nfn=x\n"), Some(1_234_567));
        assert_eq!(parse("events: Ir\nfn=x\n1 2\ntotals: 99\n"), Some(99));
        assert_eq!(parse("events: Ir\n"), None);
    }
}

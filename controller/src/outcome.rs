//! How a command ends, and the exit codes of the outside contract.

use std::fmt;

/// The end of a command that did what it was told, or was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done: exit code 0.
    Done,
    /// A signal came; everything stands where it can be resumed: exit code 3.
    Interrupted,
}

/// What was asked for makes no sense: exit code 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Exit code of a command: 0 done, 3 interrupted, 2 bad usage, 1 everything else.
pub fn exit_code(result: &anyhow::Result<Outcome>) -> u8 {
    match result {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::Interrupted) => 3,
        Err(error) if error.is::<Usage>() => 2,
        Err(_) => 1,
    }
}

/// An error with its causes in one line: what failed, on what, what to do.
pub fn one_line(error: &anyhow::Error) -> String {
    Line(error).to_string()
}

struct Line<'a>(&'a anyhow::Error);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:#}", self.0);
        let mut words = text.split_whitespace();
        f.write_str(words.next().unwrap_or("unknown error"))?;
        words.try_for_each(|word| write!(f, " {word}"))
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        assert_eq!(exit_code(&Ok(Outcome::Done)), 0);
        assert_eq!(exit_code(&Ok(Outcome::Interrupted)), 3);
        assert_eq!(exit_code(&Err(anyhow!(Usage("x".to_owned())))), 2);
        assert_eq!(exit_code(&Err(anyhow!("x").context("y"))), 1);
    }

    #[test]
    fn an_error_of_several_lines_becomes_one() {
        let error = anyhow!("a\n  b").context("c");
        assert_eq!(one_line(&error), "c: a b");
    }
}

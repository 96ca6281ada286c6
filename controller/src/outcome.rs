//! How a command ends, and the exit codes of the outside contract.

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

/// An error with its causes in one line: what failed, on what, what to do. A cause that its
/// consequence has told already is not told again.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if line.contains(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    line
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

    #[test]
    fn a_cause_that_was_told_already_is_not_told_again() {
        let error = anyhow!("refused").context("cannot connect: refused").context("no copy");
        assert_eq!(one_line(&error), "no copy: cannot connect: refused");
    }
}

//! A scope, explored to its last state.

use std::fmt;

use crate::invariant::Invariant;
use crate::scope::Scope;
use crate::search::{Graph, Question, Trace};

/// What was seen when everything held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Number of states.
    pub states: usize,
    /// Steps to the farthest of them.
    pub depth: u32,
}

/// Something does not hold.
#[derive(Clone, Debug)]
pub struct Broken {
    /// What.
    pub what: &'static str,
    /// The shortest way there.
    pub trace: Trace,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not hold after\n{}", self.what, self.trace)
    }
}

/// Sees every state of the scope; each has to hold every invariant and to answer every question.
///
/// # Errors
/// [`Broken`]: the first that does not.
pub fn prove(scope: Scope, questions: &[Question]) -> Result<Seen, Broken> {
    let mut graph = Graph::explore(scope, Invariant::ALL, questions);
    if let Some((invariant, trace)) = graph.broken.take() {
        return Err(Broken { what: invariant.name(), trace });
    }
    for (number, question) in questions.iter().enumerate() {
        if let Some(trace) = graph.dead_end(number) {
            return Err(Broken { what: question.name, trace });
        }
    }
    Ok(Seen { states: graph.states(), depth: graph.depth })
}

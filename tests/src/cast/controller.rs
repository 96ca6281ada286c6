//! Runs of the controller.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::binaries::{binary, command_under};
use super::process::Process;

/// A run that takes longer hangs.
const RUN_MAX: Duration = Duration::from_secs(60);

/// A run of the controller.
pub struct Controller {
    /// The process.
    pub process: Process,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Lines on its standard output.
    pub out: Vec<String>,
    /// Lines on its standard error.
    pub err: Vec<String>,
}

impl Controller {
    /// Starts it in `folder`, where its certificate goes.
    pub fn start(folder: &Path, arguments: &[String]) -> Self {
        Self::start_under(&[], folder, arguments)
    }

    /// The same under another program, like a tracer with its arguments.
    pub fn start_under(under: &[String], folder: &Path, arguments: &[String]) -> Self {
        let mut command = command_under(under, binary("controller"));
        command.args(arguments).current_dir(folder);
        Self {
            process: Process::start(format!("controller {}", arguments.join(" ")), &mut command),
        }
    }

    /// Waits for its end.
    pub async fn end(mut self) -> Outcome {
        let status = self.process.end_within(RUN_MAX).await;
        let outcome =
            Outcome { code: status.code(), out: self.process.out(), err: self.process.log() };
        if outcome.code != Some(0) {
            eprintln!("the controller ended with {status}: {:#?}", outcome.err);
        }
        outcome
    }

    /// Waits for its end, which has to be a success.
    ///
    /// # Panics
    /// When it was none.
    pub async fn done(self) -> Outcome {
        let outcome = self.end().await;
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        outcome
    }
}

impl Outcome {
    /// The last line of `--json`.
    ///
    /// # Panics
    /// When it is no JSON.
    pub fn last(&self) -> Value {
        let line = self.out.last().unwrap_or_else(|| panic!("no output: {self:#?}"));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// The lines of `--json` of this kind.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        let lines = self.out.iter().filter_map(|line| serde_json::from_str(line).ok());
        lines.filter(|event: &Value| event["event"] == kind).collect()
    }
}

//! Other people's NBD tools, run to their end.

use std::process::Command;
use std::time::Duration;

use super::process::Process;

/// A tool that takes longer hangs.
const TOOL_MAX: Duration = Duration::from_secs(60);

/// What a tool said.
#[derive(Clone, Debug)]
pub struct Script {
    /// Whether it ended well.
    pub success: bool,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// Runs a tool to its end.
pub async fn run_tool(command: &mut Command) -> Script {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut process = Process::start(name, command);
    let status = process.end_within(TOOL_MAX).await;
    Script {
        success: status.success(),
        out: process.out().join("\n"),
        err: process.log().join("\n"),
    }
}

/// Runs lines of Python in libnbd's shell; they have to end well. The shell shows on standard error
/// what servers say beside the numbers of their errors.
///
/// # Panics
/// When they do not end well.
pub async fn nbdsh(lines: &str) -> Script {
    let mut command = Command::new("nbdsh");
    // The module belongs to the system's own Python.
    command.env("PATH", "/usr/bin:/bin").env("LIBNBD_DEBUG", "1");
    let script = run_tool(command.args(["-c", lines])).await;
    assert!(script.success, "nbdsh failed:\n{lines}\n{}\n{}", script.out, script.err);
    script
}

//! The real programs, started as a user starts them, and ended whatever becomes of the test.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest wait for anything that a program does by itself.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// Waits until `look` finds something.
///
/// # Errors
/// When it has not within the time, and what was waited for.
pub fn eventually<T>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T> {
    let end = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        ensure!(Instant::now() < end, "waited {within:?} for {what}");
        thread::sleep(GLANCE);
    }
}

/// Where the build has put a program of the workspace.
///
/// # Errors
/// When it has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe().context("this test's own path")?;
    let folder = test.parent().and_then(Path::parent).context("a test lies in target/…/deps")?;
    let path = folder.join(name);
    ensure!(
        path.exists(),
        "{} is not built: run dev/test, or cargo build --workspace",
        path.display()
    );
    Ok(path)
}

/// A program that runs, with its log in a file. Dropping it kills it.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a program of the workspace that serves until it is told to end. Its log goes to
    /// `folder`, as JSON.
    ///
    /// # Errors
    /// When it is not built or cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        folder: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log);
        let output = output.with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(binary(name)?)
            .args(arguments)
            .args(["--log", "info", "--log-format", "json"])
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("a second handle of the log")?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Where it serves NBD, once it does.
    ///
    /// # Errors
    /// When it does not, and what it logged.
    pub fn nbd(&mut self) -> Result<String> {
        self.bound("serving NBD")
    }

    /// Where its control API listens, once it does.
    ///
    /// # Errors
    /// When it does not, and what it logged.
    pub fn control(&mut self) -> Result<String> {
        self.bound("control API listens")
    }

    fn bound(&mut self, message: &str) -> Result<String> {
        let line = self.logged(message)?;
        let address = line["address"].as_str().or_else(|| line["fields"]["address"].as_str());
        address.map(str::to_owned).with_context(|| format!("no address in {line}"))
    }

    /// The first line of the log with this message, once it is there.
    ///
    /// # Errors
    /// When the program ends before, or takes too long; and what it logged.
    pub fn logged(&mut self, message: &str) -> Result<Value> {
        let found = eventually(message, PATIENCE, || match find(&self.log, message) {
            Some(line) => Some(Ok(line)),
            None => self.child.try_wait().ok().flatten().map(Err),
        });
        match found {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(status)) => {
                bail!("{} ended ({status}) before {message:?}:\n{}", self.name, self.log_text())
            }
            Err(error) => bail!("{}: {error}:\n{}", self.name, self.log_text()),
        }
    }

    /// Everything it has logged.
    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn terminate(mut self) -> Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("SIGTERM")?;
        eventually(&format!("{} to end", self.name), PATIENCE, || {
            self.child.try_wait().ok().flatten()
        })
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("SIGKILL")?;
        self.child.wait().map(drop).context("waiting for what was killed")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find(log: &Path, message: &str) -> Option<Value> {
    let text = fs::read_to_string(log).ok()?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut lines =
        lines.filter(|line| line["message"] == message || line["fields"]["message"] == message);
    lines.next()
}

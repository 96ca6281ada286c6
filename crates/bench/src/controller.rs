//! A migration by `controller migrate --json`: how long each phase took, and what it reports.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::child::resident;
use crate::record::Measured;
use crate::requests::Span;

/// How often the memory of the running controller is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Numbers of the report that are kept as they are.
const REPORTED: [&str; 7] = [
    "flush_seconds",
    "passes",
    "cutover_ms",
    "longest_request_ms",
    "copied_bytes",
    "mirrored_bytes",
    "resynced_bytes",
];

/// Whom to move a volume between, and how.
#[derive(Clone, Debug)]
pub(crate) struct Move<'a> {
    pub(crate) bin: &'a Path,
    pub(crate) volume: &'a str,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) switch: Option<SocketAddr>,
    /// More of its flags.
    pub(crate) more: &'a [&'a str],
    /// Where its certificate goes.
    pub(crate) folder: &'a Path,
    pub(crate) longest: Duration,
}

/// A migration that has ended well.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    /// From the start of the controller to its end.
    pub(crate) seconds: f64,
    /// Seconds of each phase, by its name.
    phases: BTreeMap<String, f64>,
    /// The last line.
    report: Value,
    /// The most memory that the controller had, in bytes.
    pub(crate) resident_max: u64,
}

impl Move<'_> {
    /// Runs it to its end; `None` when it has not ended within the longest time, and is killed.
    pub(crate) fn run(&self) -> Result<Option<Moved>> {
        let begun = Instant::now();
        let mut child = self.command().spawn().context("cannot start controller")?;
        let lines = lines(&mut child);
        let errors = child.stderr.take();
        let outcome = follow(&mut child, &lines, begun, self.longest);
        if !matches!(outcome, Ok(Some(_))) {
            // It may have ended already.
            let _ = child.kill();
        }
        let status = child.wait()?;
        match outcome? {
            Some(followed) if status.success() => followed.finish(begun.elapsed()).map(Some),
            Some(_) => bail!("controller failed ({status}): {}", last_line(errors)),
            None => Ok(None),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.bin.join("controller"));
        command.args(["migrate", self.volume, "--json", "--log", "warn"]);
        command.arg("--from").arg(format!("http://{}", self.from));
        command.arg("--to").arg(format!("http://{}", self.to));
        if let Some(switch) = self.switch {
            command.arg("--switch").arg(format!("http://{switch}"));
        }
        command.arg("--certificate").arg(self.folder.join(format!("{}.certificate", self.volume)));
        command.args(self.more).current_dir(self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Moved {
    /// Seconds of a phase; 0 of one that did not come.
    pub(crate) fn phase(&self, name: &str) -> f64 {
        self.phases.get(name).copied().unwrap_or(0.0)
    }

    /// A number of the report.
    pub(crate) fn number(&self, field: &str) -> Option<f64> {
        self.report[field].as_f64()
    }

    /// From the request to commit until every path had moved.
    pub(crate) fn cutover(&self) -> Option<Span> {
        let (start, end) = (self.number("cutover_start")?, self.number("cutover_end")?);
        Some(Span { start, end })
    }

    /// What every migration is measured by.
    pub(crate) fn measured(&self) -> Measured {
        let mut measured = Measured::default()
            .with("seconds", self.seconds)
            .with("copy_seconds", self.phase("copy"));
        for field in REPORTED {
            if let Some(value) = self.number(field) {
                measured = measured.with(field, value);
            }
        }
        if self.report["digest_match"] != true {
            measured.note = Some(format!("digest_match: {}", self.report["digest_match"]));
        }
        measured
    }
}

/// What was read so far.
#[derive(Default)]
struct Followed {
    phases: BTreeMap<String, f64>,
    present: Option<(String, Instant)>,
    last: Value,
    resident_max: u64,
}

impl Followed {
    fn take_in(&mut self, line: &str) -> Result<()> {
        let event: Value =
            serde_json::from_str(line).with_context(|| format!("controller printed {line:?}"))?;
        if event["event"] == "phase" || event["event"] == "done" {
            let now = Instant::now();
            if let Some((name, begun)) = self.present.take() {
                *self.phases.entry(name).or_default() += (now - begun).as_secs_f64();
            }
            self.present = event["phase"].as_str().map(|name| (name.to_owned(), now));
        }
        self.last = event;
        Ok(())
    }

    fn finish(self, elapsed: Duration) -> Result<Moved> {
        if self.last["event"] != "done" {
            bail!("controller ended without a report: {}", self.last);
        }
        let (phases, report, resident_max) = (self.phases, self.last, self.resident_max);
        Ok(Moved { seconds: elapsed.as_secs_f64(), phases, report, resident_max })
    }
}

fn follow(
    child: &mut Child,
    lines: &Receiver<String>,
    begun: Instant,
    longest: Duration,
) -> Result<Option<Followed>> {
    let mut followed = Followed::default();
    while begun.elapsed() < longest {
        match lines.recv_timeout(LOOK) {
            Ok(line) => followed.take_in(&line)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(Some(followed)),
        }
        followed.resident_max = followed.resident_max.max(resident(child.id()).1);
    }
    Ok(None)
}

fn lines(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(out) = child.stdout.take() {
        std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            lines.map(|line| sender.send(line)).take_while(Result::is_ok).for_each(drop);
        });
    }
    receiver
}

fn last_line(errors: Option<ChildStderr>) -> String {
    let mut text = String::new();
    // What cannot be read is not shown.
    let _ = errors.map(|mut errors| errors.read_to_string(&mut text));
    text.trim().lines().last().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_timed_from_one_to_the_next_and_the_report_is_the_last_line() {
        let mut followed = Followed::default();
        for line in [
            r#"{"event":"phase","volume":"vol","phase":"copy"}"#,
            r#"{"event":"progress","phase":"copy","done_bytes":1}"#,
            r#"{"event":"phase","volume":"vol","phase":"settle"}"#,
            r#"{"event":"done","passes":1,"digest_match":true,"cutover_start":1.0,"cutover_end":1.5}"#,
        ] {
            followed.take_in(line).unwrap();
        }
        let moved = followed.finish(Duration::from_secs(2)).unwrap();
        assert_eq!(moved.phases.keys().collect::<Vec<_>>(), ["copy", "settle"]);
        assert_eq!(moved.cutover(), Some(Span { start: 1.0, end: 1.5 }));
        let measured = moved.measured();
        assert_eq!((measured.values["passes"], measured.note), (1.0, None));
    }

    #[test]
    fn a_controller_that_ends_before_its_report_is_a_failure() {
        let mut followed = Followed::default();
        followed.take_in(r#"{"event":"held","volume":"vol"}"#).unwrap();
        assert!(followed.finish(Duration::ZERO).is_err());
    }
}

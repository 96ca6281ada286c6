//! A child process: its lines are kept, its signals are sent by process id, and it never outlives the
//! test.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::until::{until, until_within};

/// Lines of each process that a failed test shows.
const SHOWN_MAX: usize = 60;

/// A running child, or one that has ended.
pub struct Process {
    name: String,
    child: Child,
    out: Lines,
    err: Lines,
    input: Option<ChildStdin>,
    readers: Vec<JoinHandle<()>>,
}

type Lines = Arc<Mutex<Vec<String>>>;

tokio::task_local! {
    static LOGS: PathBuf;
}

/// Runs it. What processes print that it starts is kept in files of this folder, too.
pub async fn keeping_logs<F: Future>(folder: PathBuf, run: F) -> F::Output {
    LOGS.scope(folder, run).await
}

impl Process {
    /// Starts it. Its name is for messages.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: impl Into<String>, command: &mut Command) -> Self {
        Self::start_with(name.into(), command, Stdio::null())
    }

    /// Starts one that is talked to with [`Process::say`].
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_listening(name: impl Into<String>, command: &mut Command) -> Self {
        Self::start_with(name.into(), command, Stdio::piped())
    }

    fn start_with(name: String, command: &mut Command, input: Stdio) -> Self {
        // A group of its own, so that a signal from a terminal ends the test first.
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => panic!("{name} is not installed: dev/test installs it"),
            _ => panic!("{name}: {error}"),
        });
        let (out, err) = (Lines::default(), Lines::default());
        let readers = vec![
            keep(child.stdout.take().expect("piped"), &out, log_file(&name, child.id(), "out")),
            keep(child.stderr.take().expect("piped"), &err, log_file(&name, child.id(), "log")),
        ];
        let input = child.stdin.take();
        Self { name, child, out, err, input, readers }
    }

    /// Writes a line to its standard input.
    ///
    /// # Panics
    /// When it does not listen, or no longer.
    pub fn say(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap_or_else(|| panic!("{} does not listen", self.name));
        writeln!(input, "{line}").unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Waits until so many lines of its standard output contain `words`, and gives them all.
    pub async fn said(&mut self, words: &str, count: usize) -> Vec<String> {
        self.said_within(Duration::from_secs(30), words, count).await
    }

    /// The same with another patience.
    pub async fn said_within(
        &mut self,
        patience: Duration,
        words: &str,
        count: usize,
    ) -> Vec<String> {
        let what = format!("{} says {words:?} {count} times", self.name);
        until_within(patience, &what, async || {
            let ended = self.ended();
            let mut lines = self.out();
            lines.retain(|line| line.contains(words));
            if lines.len() < count
                && let Some(status) = ended
            {
                panic!("{} ended ({status}) before it said {words:?} {count} times", self.name);
            }
            (lines.len() >= count).then_some(lines)
        })
        .await
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lines on its standard output so far.
    pub fn out(&self) -> Vec<String> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lines on its standard error so far: the log.
    pub fn log(&self) -> Vec<String> {
        self.err.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a log line that contains `words`, and gives it.
    pub async fn logged(&mut self, words: &str) -> String {
        let logged = self.logged_or_ended(words).await;
        logged.unwrap_or_else(|status| {
            panic!("{} ended ({status}) before it logged {words:?}", self.name)
        })
    }

    /// The same of a process that may end first; then it gives how it ended.
    ///
    /// # Errors
    /// How it ended.
    pub async fn logged_or_ended(&mut self, words: &str) -> Result<String, ExitStatus> {
        let what = format!("{} logs {words:?}", self.name);
        until(&what, async || {
            let ended = self.ended();
            let line = self.log().into_iter().find(|line| line.contains(words));
            line.map(Ok).or(ended.map(Err))
        })
        .await
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends its standard input and waits for its end; all its lines are there then.
    pub async fn end_within(&mut self, patience: Duration) -> ExitStatus {
        self.input = None;
        let what = format!("{} ends", self.name);
        let status = until_within(patience, &what, async || self.ended()).await;
        self.join();
        status
    }

    /// `kill -9`.
    pub fn kill9(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
        self.join();
    }

    /// The same, together with the program that it traces.
    pub fn kill9_with_traced(&mut self) {
        if self.ended().is_none() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        }
        let _ = self.child.wait();
        self.join();
    }

    /// SIGTERM, and waits for its end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.end_within(Duration::from_secs(30)).await
    }

    /// SIGINT: what Control-C sends.
    pub fn interrupt(&mut self) {
        self.signal(Signal::INT);
    }

    /// SIGSTOP.
    pub fn stop(&mut self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn cont(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Whether a signal has stopped it.
    pub fn is_stopped(&self) -> bool {
        is_stopped(self.pid())
    }

    /// SIGHUP.
    pub fn hang_up(&mut self) {
        self.signal(Signal::HUP);
    }

    /// The most memory that it has held, in bytes; `None` once it has ended.
    pub fn resident_max(&self) -> Option<u64> {
        resident_max(self.pid())
    }

    /// Only to a process that was not waited for: its id cannot be another's yet.
    fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            kill_process(Pid::from_child(&self.child), signal).expect("a child takes signals");
        }
    }

    fn join(&mut self) {
        self.readers.drain(..).for_each(|reader| {
            let _ = reader.join();
        });
    }
}

/// The most memory that a process has held, in bytes; `None` once it has ended.
pub(super) fn resident_max(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            // What it traces has to end with it, and is of its group.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            for (kind, lines) in [("output", self.out()), ("log", self.log())] {
                let skipped = lines.len().saturating_sub(SHOWN_MAX);
                eprintln!("--- {}: {kind}, without the first {skipped} lines", self.name);
                lines.iter().skip(skipped).for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

/// Whether a signal has stopped the process of this id.
pub(super) fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    // The state follows the name, which stands in brackets and may hold anything.
    stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")))
}

fn log_file(name: &str, pid: u32, kind: &str) -> Option<File> {
    let words = name.split_whitespace().take(2).collect::<Vec<_>>().join("-");
    LOGS.try_with(|folder| File::create(folder.join(format!("{words}-{pid}.{kind}"))).ok())
        .ok()
        .flatten()
}

fn keep(pipe: impl Read + Send + 'static, lines: &Lines, mut file: Option<File>) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            // A log that cannot be kept is no reason to fail.
            let _ = file.as_mut().map(|file| writeln!(file, "{line}"));
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    })
}

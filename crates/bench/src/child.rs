//! Processes that are measured: each with all its children, whose time and memory are added up, and
//! none outlives its measurement.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::interrupt;

/// How long a process may take until it listens; a traced one is slow.
const START_MAX: Duration = Duration::from_secs(60);
/// How long it may take to end once it was told to.
const STOP_MAX: Duration = Duration::from_secs(20);
/// Pause between two looks at it.
const LOOK: Duration = Duration::from_millis(20);
/// `sysconf(_SC_CLK_TCK)` of every Linux that Rust runs on.
const TICKS_A_SECOND: f64 = 100.0;

/// A running process, and those that it has started.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    child: Child,
}

/// What a process and its children use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Processor time, user and system, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Resident memory now, and what they share in memory files, in bytes.
    pub(crate) resident: u64,
    /// The most that each has had, added up, in bytes.
    pub(crate) resident_max: u64,
}

impl Server {
    /// Starts it; what it prints goes into a file.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log);
        let out = out.with_context(|| format!("cannot write {}", log.display()))?;
        let err = out.try_clone()?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        Ok(Self { name: name.to_owned(), child: spawn(name, command)? })
    }

    /// The same, and waits until it listens.
    pub(crate) fn listening(
        name: &str,
        command: &mut Command,
        log: &Path,
        ports: &[SocketAddr],
    ) -> Result<Self> {
        let mut server = Self::start(name, command, log)?;
        for port in ports {
            server.wait_for(*port).with_context(|| last_line(log))?;
        }
        Ok(server)
    }

    fn wait_for(&mut self, address: SocketAddr) -> Result<()> {
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before it listened on {address}", self.name);
            }
            if begun.elapsed() > START_MAX {
                bail!("{} does not listen on {address}", self.name);
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it and those that it has started use.
    pub(crate) fn usage(&self) -> Usage {
        usage_of_family(self.pid())
    }

    /// Whether it runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal to all of them.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            // One that has ended meanwhile needs no signal.
            let _ = kill_process_group(Pid::from_child(&self.child), signal);
        }
    }

    /// Has it end by itself.
    pub(crate) fn stop(mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM);
        self.wait(STOP_MAX)
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, longest: Duration) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begun.elapsed() > longest {
                bail!("{} has not ended after {} s", self.name, longest.as_secs());
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Runs a command to its end; it has to succeed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = spawn(&name, command)?.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed ({}): {}", output.status, said.trim().lines().last().unwrap_or(""));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A port of the loopback interface that nobody has now.
pub(crate) fn free_port() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr()?)
}

fn spawn(name: &str, command: &mut Command) -> Result<Child> {
    let _beginning = interrupt::beginning();
    let missing = || format!("cannot start {name}: dev/bench installs what is needed");
    command.spawn().with_context(missing)
}

/// Kills all that this process has started, and what those have.
pub(crate) fn kill_descendants() {
    let all = all_processes();
    let children = all.iter().filter(|process| process.parent == std::process::id());
    for pid in children.flat_map(|child| family(child.pid, &all)) {
        // One that has ended meanwhile needs no signal.
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
    }
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    format!("it said {:?}", text.trim().lines().last().unwrap_or(""))
}

/// A process and those that it and its descendants have started, also where one of them has put
/// itself into another group, or has lost its parent.
fn family(first: u32, all: &[Process]) -> Vec<u32> {
    let mut family = vec![first];
    let mut at = 0;
    while let Some(&member) = family.get(at) {
        let of_it = |process: &&Process| process.parent == member || process.group == first;
        let more: Vec<u32> = all.iter().filter(of_it).map(|process| process.pid).collect();
        family.extend(more.into_iter().filter(|pid| !family.contains(pid)).collect::<Vec<_>>());
        at += 1;
    }
    family
}

fn usage_of_family(first: u32) -> Usage {
    let all = all_processes();
    let family = family(first, &all);
    let members = all.iter().filter(|process| family.contains(&process.pid));
    let shared = family.iter().flat_map(|pid| memory_files(*pid)).collect::<HashMap<_, _>>();
    let shared = Usage { resident: shared.values().sum(), ..Usage::default() };
    members.fold(shared, |sum, process| {
        let (resident, resident_max) = resident(process.pid);
        Usage {
            cpu_seconds: sum.cpu_seconds + process.cpu_seconds,
            resident: sum.resident + resident,
            resident_max: sum.resident_max + resident_max,
        }
    })
}

/// What a line of `/proc/PID/stat` tells.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Process {
    pid: u32,
    parent: u32,
    group: u32,
    cpu_seconds: f64,
}

fn all_processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok())
        .filter_map(|stat| parse_stat(&stat))
        .collect()
}

/// The name stands in brackets and may hold anything.
fn parse_stat(stat: &str) -> Option<Process> {
    let pid = stat.split_whitespace().next()?.parse().ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let (parent, group) = (number(1)?.try_into().ok()?, number(2)?.try_into().ok()?);
    let ticks = number(11)? + number(12)?;
    Some(Process { pid, parent, group, cpu_seconds: ticks as f64 / TICKS_A_SECOND })
}

/// Processor time of all processes that this one has started and that have ended, in seconds.
pub(crate) fn seconds_of_ended() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    parse_ended(&stat).unwrap_or_default()
}

fn parse_ended(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some((number(13)? + number(14)?) as f64 / TICKS_A_SECOND)
}

/// Memory that a process has now, and the most that it has had, in bytes; 0 when it has ended.
pub(crate) fn resident(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let bytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.unwrap_or_default() << 10
    };
    (bytes("VmRSS:"), bytes("VmHWM:"))
}

/// Files in memory that a process has open, by their numbers, and what each takes, in bytes.
fn memory_files(pid: u32) -> Vec<(u64, u64)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let in_memory = |path: &PathBuf| {
        fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:"))
    };
    let files = paths.filter(in_memory).filter_map(|path| fs::metadata(path).ok());
    files.map(|file| (file.ino(), file.blocks() * 512)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_behind_a_name_with_brackets() {
        let stat = "12 (a) b) S 1 77 77 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 1 0 5";
        let expected = Process { pid: 12, parent: 1, group: 77, cpu_seconds: 2.0 };
        assert_eq!(parse_stat(stat), Some(expected));
        assert_eq!(parse_ended(stat), Some(0.18));
    }

    #[test]
    fn a_process_that_is_dropped_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        let server = Server::start("sleep", command.arg("60"), &folder.path().join("log")).unwrap();
        let stat = format!("/proc/{}/stat", server.pid());
        assert!(server.usage().resident_max > 0);
        drop(server);
        assert!(!Path::new(&stat).exists());
    }
}

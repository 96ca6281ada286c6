//! Kills at system calls: strace counts them, and kills the program before the Nth is made.
//!
//! strace counts by thread. So that almost all calls of a program are made by few threads, it runs
//! with one worker; a sweep then goes up to the largest count of any thread. A switch's worker is not
//! ours to start: strace attaches to it, and its keeper is left alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::runner::run_one;
use super::stage::Setting;
use super::trial::{Fault, Party, Point, Trial};
use crate::cast::Process;

/// The calls that write to files and sockets, sync, send, and take what was sent.
pub const CALLS: [&str; 10] = [
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "fsync",
    "fdatasync",
    "sendto",
    "sendmsg",
    "recvfrom",
];

/// One worker, and the tracer. (With `--seccomp-bpf` it would be faster, and kill nobody.)
const TRACER: [&str; 5] = ["env", "TOKIO_WORKER_THREADS=1", "strace", "--follow-forks", "-qqq"];

/// What a tracer is for.
pub(super) enum Tracing<'a> {
    /// Kills at the Nth call of this name.
    Kill(&'static str, u64),
    /// Writes every call to a file.
    Count(&'a Path),
}

impl Tracing<'_> {
    fn flags(&self) -> Vec<String> {
        let flags = match self {
            Self::Kill(call, time) => {
                let inject = format!("inject={call}:signal=SIGKILL:when={time}");
                vec![
                    "-o".into(),
                    "/dev/null".into(),
                    "-e".into(),
                    format!("trace={call}"),
                    "-e".into(),
                    inject,
                ]
            }
            Self::Count(file) => {
                let (file, calls) = (file.display().to_string(), CALLS.join(","));
                vec!["-A".into(), "-o".into(), file, "-e".into(), format!("trace={calls}")]
            }
        };
        ["-e".into(), "signal=none".into()].into_iter().chain(flags).collect()
    }

    /// What a program runs under.
    pub(super) fn around(&self) -> Vec<String> {
        TRACER.iter().map(|&word| word.to_owned()).chain(self.flags()).collect()
    }

    /// A tracer of a process that runs already, once it has attached to all its threads. It ends with
    /// the process.
    pub(super) async fn of(&self, process: u32) -> Process {
        let mut strace = Command::new("strace");
        strace.args(["--follow-forks", "-p", &process.to_string()]).args(self.flags());
        let mut tracer = Process::start("strace", &mut strace);
        tracer.logged("attached").await;
        tracer
    }
}

/// How many calls of each name the busiest thread of a program makes in a migration in peace.
///
/// # Errors
/// When that fails.
pub fn count(
    party: Party,
    connections: usize,
    setting: &Setting,
) -> Result<BTreeMap<&'static str, u64>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("calls");
    let counted = Some((party, file.clone()));
    let verdict = run_one(&Trial::peaceful(connections), &Setting { counted, ..setting.clone() });
    verdict.result.map_err(anyhow::Error::msg).context("a migration in peace")?;
    Ok(busiest(&std::fs::read_to_string(&file).context("no calls were counted")?))
}

/// From lines like `4711 fsync(7) = 0`.
fn busiest(trace: &str) -> BTreeMap<&'static str, u64> {
    let mut counts: BTreeMap<(&str, &'static str), u64> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let name = rest.trim_start().split('(').next().unwrap_or_default();
        if let Some(call) = CALLS.iter().find(|call| **call == name) {
            *counts.entry((thread, call)).or_default() += 1;
        }
    }
    let mut busiest = BTreeMap::new();
    for ((_, call), count) in counts {
        let most = busiest.entry(call).or_default();
        *most = count.max(*most);
    }
    busiest
}

/// A kill at each of the calls.
pub fn sweep(party: Party, counts: &BTreeMap<&'static str, u64>, connections: usize) -> Vec<Trial> {
    let of = |call, time| {
        let trial = Trial::of(party, Point::Call(call), time, Fault::Kill);
        Trial { connections, seed: time, ..trial }
    };
    counts.iter().flat_map(|(call, count)| (1..=*count).map(move |time| of(*call, time))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_thread_counts_and_what_is_resumed_counts_once() {
        let trace = "12 fsync(3) = 0\n13 fsync(3 <unfinished ...>\n13 <... fsync resumed>) = 0\n\
                     13  fsync(4) = 0\n12 read(0) = 0\n12 +++ exited with 0 +++\n";
        assert_eq!(busiest(trace), BTreeMap::from([("fsync", 2)]));
        let trials = sweep(Party::Source, &busiest(trace), 4);
        let lines: Vec<_> = trials.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["source/fsync/1/kill x4 seed=1", "source/fsync/2/kill x4 seed=2"]);
    }
}

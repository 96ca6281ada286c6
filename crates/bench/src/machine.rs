//! What a run was made on: the reader of a figure wants to know.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// A machine, the versions of what ran on it, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// When the run began, in UTC; its name.
    pub(crate) run: String,
    /// Rounds that were asked for.
    pub(crate) rounds: u32,
    /// Whether it was a smoke test.
    pub(crate) quick: bool,
    pub(crate) processors: usize,
    pub(crate) processor: String,
    pub(crate) kernel: String,
    /// In bytes.
    pub(crate) memory: u64,
    /// File systems of the folders that hold volumes.
    pub(crate) disk: String,
    pub(crate) tmpfs: String,
    /// What ran, with its version.
    pub(crate) versions: Vec<(String, String)>,
}

/// Peers and tools, and how they tell their version.
const TOOLS: [(&str, &str); 10] = [
    ("fio", "--version"),
    ("nbdkit", "--version"),
    ("nbdcopy", "--version"),
    ("qemu-nbd", "--version"),
    ("qemu-img", "--version"),
    ("qemu-storage-daemon", "--version"),
    ("haproxy", "-v"),
    ("tgtd", "--version"),
    ("cp", "--version"),
    ("valgrind", "--version"),
];

impl Machine {
    /// This machine, now.
    pub(crate) fn here(bin: &Path, disk: &Path, tmpfs: &Path, rounds: u32, quick: bool) -> Self {
        let ours = bin.join("target-src");
        let ours = first_line(Command::new(ours).arg("--version"));
        let commit = first_line(Command::new("git").args(["describe", "--always", "--dirty"]));
        let mut versions =
            vec![("blockferry".to_owned(), format!("{ours}, commit {commit}").trim().to_owned())];
        for (name, flag) in TOOLS {
            versions.push((name.to_owned(), first_line(Command::new(name).arg(flag))));
        }
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let mounts = read("/proc/mounts");
        Self {
            run: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            rounds,
            quick,
            processors: processors(),
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory: field(&read("/proc/meminfo"), "MemTotal").map_or(0, |text| kib(&text) << 10),
            disk: file_system(&mounts, disk).unwrap_or_default(),
            tmpfs: file_system(&mounts, tmpfs).unwrap_or_default(),
            versions,
        }
    }
}

/// Processors that this process may use.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn first_line(command: &mut Command) -> String {
    let Ok(output) = command.output() else { return "not installed".to_owned() };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn field(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

fn kib(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default()
}

/// The type of the file system that a folder lies on: that of the longest mount point above it.
fn file_system(mounts: &str, folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mount = |line: &str| -> Option<(String, String)> {
        let mut words = line.split_whitespace().skip(1);
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    mounts
        .lines()
        .filter_map(mount)
        .filter(|(point, _)| folder.starts_with(point))
        .max_by_key(|(point, _)| point.len())
        .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_lies_on_the_file_system_that_is_mounted_nearest_to_it() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /proc tmpfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/proc/self")), Some("tmpfs".to_owned()));
        assert_eq!(file_system(mounts, Path::new("/")), Some("ext4".to_owned()));
    }

    #[test]
    fn this_machine_can_be_described() {
        let root = Path::new("/");
        let machine = Machine::here(Path::new("/nowhere"), root, root, 1, true);
        assert!(machine.processors > 0 && machine.memory > 0 && !machine.kernel.is_empty());
        assert!(machine.versions[0].1.starts_with("not installed"), "{:?}", machine.versions[0]);
    }
}

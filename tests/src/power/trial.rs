//! A migration in a VM whose disks keep logs, and the proof by replay that a loss of power at any of
//! their flushes takes nothing from the client that it had flushed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use blockferry_block::MIB;
use tokio::task::JoinHandle;

use super::ext4::{Ext4, files_in};
use super::log::WriteLog;
use super::outage::{Outage, Replay, Tail};
use super::side::{Records, Side};
use crate::cast::{Process, binary};
use crate::tree;

/// The first run downloads a kernel and QEMU.
const PREPARATION_MAX: Duration = Duration::from_secs(240);

/// The VM's whole life: half a minute on an idle machine, and its processor is emulated.
const VM_MAX: Duration = Duration::from_secs(240);

/// Of the volume.
const VOLUME_BYTES: u64 = 16 * MIB;

/// Of the disk of a side: its volume, its records, and its file system's own.
const SIDE_BYTES: u64 = 64 * MIB;

/// Room for a log; files with holes.
const LOG_BYTES: u64 = 1024 * MIB;

/// The guest's disks, in its order.
const DISKS: [(&str, u64); 5] = [
    ("source", SIDE_BYTES),
    ("source.log", LOG_BYTES),
    ("destination", SIDE_BYTES),
    ("destination.log", LOG_BYTES),
    ("client.log", LOG_BYTES),
];

const PROGRAMS: [&str; 4] = ["target-src", "target-dst", "switch-proxy", "controller"];

/// A migration's logs, in a folder in which replays may make files too.
#[derive(Clone, Debug)]
pub struct Logs(PathBuf);

/// Outages that were survived: of the client's device, and of each side while it served the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survived {
    /// Of the client's device.
    pub client: usize,
    /// Of the source.
    pub source: usize,
    /// Of the destination.
    pub destination: usize,
}

impl Logs {
    /// Those that an earlier run left, if it came to its end. The folder has to be where it was: the
    /// records on the disks name files in it.
    pub fn kept(folder: &Path) -> Option<Self> {
        let log = WriteLog::open(&folder.join("client.log")).ok()?;
        log.mark("end").map(|_| Self(folder.to_owned()))
    }

    /// Runs a migration in a VM.
    ///
    /// # Errors
    /// When the folder cannot be written.
    ///
    /// # Panics
    /// When the VM cannot be set up, or what happens in it goes wrong.
    pub async fn of_a_migration(folder: &Path) -> Result<Self> {
        let mut initramfs = Command::new(tree::root().join("dev/vm/initramfs"));
        let mut initramfs = Process::start("dev/vm/initramfs", &mut initramfs);
        let status = initramfs.end_within(PREPARATION_MAX).await;
        ensure!(status.success(), "the VM cannot be set up: {}", initramfs.log().join("\n"));
        let mut guest = Process::start_listening("the VM", &mut vm(folder)?);
        guest.said_within(VM_MAX, "BF:pass", 1).await;
        let status = guest.end_within(VM_MAX).await;
        ensure!(status.success(), "the guest did not pass: {status}");
        Ok(Self(folder.to_owned()))
    }

    /// Has the power go at every flush of every disk.
    ///
    /// # Errors
    /// When something that was flushed is gone, or two sides serve the volume.
    ///
    /// # Panics
    /// When a check does.
    pub async fn survive(&self, tail: Tail) -> Result<Survived> {
        let logs = Arc::new(self.clone());
        let at = |side| {
            let logs = Arc::clone(&logs);
            let runtime = tokio::runtime::Handle::current();
            // It waits for other programs.
            tokio::task::spawn_blocking(move || runtime.block_on(logs.side(side, tail)))
        };
        let (source, destination) = (at(Side::Source), at(Side::Destination));
        let logs = Arc::clone(&logs);
        let client = tokio::task::spawn_blocking(move || logs.client(tail));
        let count = async |ended: JoinHandle<Result<usize>>| ended.await?;
        let (client, source, destination) =
            tokio::try_join!(count(client), count(source), count(destination))?;
        Ok(Survived { client, source, destination })
    }

    /// A test of the test: has flushes of each disk not do their work, and gives what was found then at
    /// the client's device, the source and the destination.
    ///
    /// # Panics
    /// When nothing was.
    pub async fn found_without_flushes(&self) -> [String; 3] {
        let tail = Tail::FlushIgnored;
        let found = [
            self.client(tail),
            self.side(Side::Source, tail).await,
            self.side(Side::Destination, tail).await,
        ];
        found.map(|found| format!("{:#}", found.expect_err("a lost flush that is not found")))
    }

    /// The client's device.
    ///
    /// # Errors
    /// When something that was flushed is gone.
    fn client(&self, tail: Tail) -> Result<usize> {
        let log = WriteLog::open(&self.path("client.log"))?;
        let mut replay = Replay::new(&log, &self.path("client"), VOLUME_BYTES)?;
        let mut outages = Outage::all(&log, "fsynced-1");
        outages.retain(|outage| tail != Tail::FlushIgnored || has_flushed(outage));
        for outage in &outages {
            let disk = replay.after(outage, tail, &self.path("client.outage"))?;
            holds(disk.path(), &self.path("client.files"), outage.number("fsynced"))
                .with_context(|| format!("the client's device, {tail:?}, {outage:?}"))?;
        }
        Ok(outages.len())
    }

    /// One side: gives at how many outages it served the volume by itself.
    ///
    /// # Errors
    /// When something that was flushed is gone, or it serves a volume that is the other's.
    async fn side(&self, side: Side, tail: Tail) -> Result<usize> {
        let (name, first) = match side {
            Side::Source => ("source", "fsynced-1"),
            Side::Destination => ("destination", "migrating"),
        };
        let log = WriteLog::open(&self.path(&format!("{name}.log")))?;
        let mut replay = Replay::new(&log, &self.path(&format!("{name}.disk")), SIDE_BYTES)?;
        let (mut served, mut records) = (0, Records::default());
        let [image, left, files] =
            ["outage", "left", "files"].map(|what| self.path(&format!("{name}.{what}")));
        let is_of_interest =
            |outage: &&Outage| tail != Tail::FlushIgnored || relies_on(side, outage);
        for outage in Outage::all(&log, first).iter().filter(is_of_interest) {
            let told = || format!("{side:?}, {tail:?}, {outage:?}");
            let disk = replay.after(outage, tail, &image)?;
            let survivor = side.restarted(&disk, &left, &mut records).await.with_context(told)?;
            let serves = survivor.serves();
            ensure!(may_serve(side, outage).contains(&serves), "serves: {serves}, {}", told());
            if serves {
                served += 1;
                holds(&survivor.volume, &files, outage.number("fsynced")).with_context(told)?;
            }
        }
        Ok(served)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

fn vm(folder: &Path) -> Result<Command> {
    let mut command = Command::new(tree::root().join("dev/vm/run"));
    command.env("TMPDIR", folder).arg("--timeout").arg(VM_MAX.as_secs().to_string());
    command.args(["--env", &format!("VOLUME_BYTES={VOLUME_BYTES}")]);
    // The programs find their files where the records say.
    command.arg("--env").arg(format!("SIDES={}", folder.display()));
    for (name, size) in DISKS {
        std::fs::File::create(folder.join(name))?.set_len(size)?;
        command.arg("--disk").arg(folder.join(name));
    }
    for program in PROGRAMS {
        command.arg("--program").arg(binary(program));
    }
    command.arg(tree::root().join("dev/vm/guest-power.sh"));
    Ok(command)
}

/// Whether the client has just flushed a round that was not its first.
fn has_flushed(outage: &Outage) -> bool {
    let flushed = outage.marks.last().is_some_and(|mark| mark.starts_with("fsynced"));
    flushed && outage.number("fsynced") > Some(1)
}

/// Whether it was this side that had to make that durable.
fn relies_on(side: Side, outage: &Outage) -> bool {
    has_flushed(outage) && outage.after("committed") == (side == Side::Destination)
}

/// Whether a side may, must or must not serve the volume by itself (I1).
fn may_serve(side: Side, outage: &Outage) -> &'static [bool] {
    let is_source = side == Side::Source;
    match (outage.after("committing"), outage.after("committed")) {
        (true, false) => &[false, true],
        (_, moved) if moved != is_source => &[true],
        _ => &[false],
    }
}

/// Whether the file system in the image is sound and has every file that was flushed up to this round,
/// as `dev/vm/guest-power.sh` wrote them.
fn holds(image: &Path, folder: &Path, fsynced: Option<u64>) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    let image = Ext4(image);
    image.recover()?;
    image.check()?;
    image.extract(folder)?;
    let files = files_in(folder)?;
    let fsynced = fsynced.unwrap_or(0);
    for round in 1..=fsynced {
        let size = usize::try_from((round * 7 % 13 + 1) * 4096 + 123)?;
        let file = files.get(&format!("file-{round}"));
        ensure!(file == Some(&lines("file", round, size)), "file-{round} is not as it was flushed");
    }
    let last = files.get("last").map(Vec::as_slice).unwrap_or_default();
    // The next round may have begun.
    let found = [fsynced, fsynced + 1].iter().any(|round| last == lines("last", *round, 4096));
    let head = String::from_utf8_lossy(&last[..last.len().min(8)]);
    ensure!(found, "round {fsynced} had been flushed, and the file says {head:?}");
    Ok(())
}

/// What `yes` in the guest wrote.
fn lines(word: &str, round: u64, size: usize) -> Vec<u8> {
    format!("{word} {round}\n").into_bytes().into_iter().cycle().take(size).collect()
}

//! Power goes, at every flush of a migration: in a VM, where real disks keep a log of every write and
//! flush, a client's file system is moved under load. Then the logs are replayed to each flush, with
//! nothing of what came later and with a part of it, and whoever serves the volume at that moment holds
//! every file that the client had flushed (rows C8 and C9 of `docs/failures.md`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use blockferry_block::MIB;
use blockferry_tests::cast::{Process, Scratch, binary};
use blockferry_tests::power::{Ext4, Outage, Records, Replay, Side, Tail, WriteLog, files_in};
use blockferry_tests::tree;

/// The first run downloads a kernel and QEMU.
const PREPARATION_MAX: Duration = Duration::from_secs(240);

/// The VM's whole life: about 35 s on an idle machine, and its processor is emulated.
const VM_MAX: Duration = Duration::from_secs(150);

/// Of the volume, as `dev/vm/guest-power.sh` makes it.
const VOLUME_BYTES: u64 = 24 * MIB;

/// Of the disk of a side: its volume, its records, and its file system's own.
const SIDE_BYTES: u64 = 64 * MIB;

/// Room for a log; files with holes.
const LOG_BYTES: u64 = 1024 * MIB;

const TORN: [Tail; 2] = [Tail::Lost, Tail::Torn(1)];

/// The logs of a migration.
struct Logs {
    folder: PathBuf,
    scratch: Scratch,
}

impl Logs {
    /// Runs a migration in a VM. The destination gets these options more.
    async fn of_a_migration(options: &str) -> Self {
        let mut initramfs = Command::new(tree::root().join("dev/vm/initramfs"));
        let mut initramfs = Process::start("dev/vm/initramfs", &mut initramfs);
        let status = initramfs.end_within(PREPARATION_MAX).await;
        assert!(status.success(), "the VM cannot be set up: {}", initramfs.log().join("\n"));
        if let Ok(folder) = std::env::var("PWHACK") {
            return Self { scratch: Scratch::new(), folder: folder.into() };
        }
        let logs = {
            let scratch = Scratch::new();
            let folder = scratch.path().to_owned();
            Self { scratch, folder }
        };
        let mut guest = Process::start_listening("the VM", &mut logs.vm(options));
        guest.said_within(VM_MAX, "BF:pass", 1).await;
        let status = guest.end_within(VM_MAX).await;
        assert!(status.success(), "the guest did not pass: {status}");
        logs
    }

    fn vm(&self, options: &str) -> Command {
        let mut command = Command::new(tree::root().join("dev/vm/run"));
        command.env("TMPDIR", self.scratch.path());
        command.arg("--timeout").arg(VM_MAX.as_secs().to_string());
        command.args(["--env", &format!("DESTINATION_OPTIONS={options}")]);
        let disks = [("source", SIDE_BYTES), ("source.log", LOG_BYTES)];
        let others = [("destination", SIDE_BYTES), ("destination.log", LOG_BYTES)];
        for (name, size) in disks.into_iter().chain(others).chain([("client.log", LOG_BYTES)]) {
            let disk = std::fs::File::create(self.path(name)).expect("a file");
            disk.set_len(size).expect("a file with a hole");
            command.arg("--disk").arg(self.path(name));
        }
        for program in ["target-src", "target-dst", "switch-proxy", "controller"] {
            command.arg("--program").arg(binary(program));
        }
        command.arg(tree::root().join("dev/vm/guest-power.sh"));
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.ends_with(".log") { self.folder.join(name) } else { self.scratch.join(name) }
    }

    fn log(&self, name: &str) -> WriteLog {
        WriteLog::open(&self.path(&format!("{name}.log"))).expect("a whole log")
    }

    /// The client's device at each of its outages: gives how many there were.
    fn client(&self, tail: Tail) -> Result<usize> {
        let log = self.log("client");
        let mut replay = Replay::new(&log, &self.path("client"), VOLUME_BYTES)?;
        let outages = Outage::all(&log, Some("fsynced-1"));
        for outage in &outages {
            let disk = replay.after(outage, tail, &self.path("client.outage"))?;
            holds(disk.path(), &self.path("client.files"), outage.number("fsynced"))
                .with_context(|| format!("{tail:?}, {outage:?}"))?;
        }
        Ok(outages.len())
    }

    /// One side at each of its outages: gives at how many it served the volume by itself.
    async fn side(&self, side: Side, tail: Tail) -> Result<usize> {
        let (name, first) = match side {
            Side::Source => ("source", "fsynced-1"),
            Side::Destination => ("destination", "migrating"),
        };
        let log = self.log(name);
        let mut replay = Replay::new(&log, &self.path(name), SIDE_BYTES)?;
        let (mut served, mut records) = (0, Records::default());
        for outage in &Outage::all(&log, Some(first)) {
            let disk = replay.after(outage, tail, &self.path(&format!("{name}.outage")))?;
            let folder = self.path(&format!("{name}.left"));
            let survivor = side.restarted(&disk, &folder, &mut records).await;
            let survivor = survivor.with_context(|| format!("{tail:?}, {outage:?}"))?;
            let serves = survivor.serves();
            ensure!(may_serve(side, outage).contains(&serves), "serves: {serves}, {outage:?}");
            if serves {
                served += 1;
                let files = self.path(&format!("{name}.files"));
                holds(&survivor.volume, &files, outage.number("fsynced"))
                    .with_context(|| format!("{tail:?}, {outage:?}"))?;
            }
        }
        Ok(served)
    }
}

/// Whether a side may, must or must not serve the volume by itself (I1).
fn may_serve(side: Side, outage: &Outage) -> &'static [bool] {
    let (before, after): (&[bool], &[bool]) = match side {
        Side::Source => (&[true], &[false]),
        Side::Destination => (&[false], &[true]),
    };
    match (outage.after("committing"), outage.after("committed")) {
        (false, _) => before,
        (true, false) => &[false, true],
        (true, true) => after,
    }
}

/// Whether the file system in the image is sound and has every file that was flushed up to this round.
fn holds(image: &Path, folder: &Path, fsynced: Option<u64>) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    let image = Ext4(image);
    image.recover()?;
    image.extract(folder)?;
    let files = files_in(folder)?;
    let fsynced = fsynced.unwrap_or(0);
    for round in 1..=fsynced {
        let size = usize::try_from((round * 7 % 13 + 1) * 4096 + 123)?;
        let file = files.get(&format!("file-{round}")).map(Vec::as_slice);
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

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kernel_has_flushed_outlives_a_loss_of_power_at_every_flush_of_a_migration() {
    let logs = Logs::of_a_migration("").await;
    for tail in TORN {
        let at_client = logs.client(tail).expect("a sound file system with every flushed file");
        let at_source = logs.side(Side::Source, tail).await.expect("a source that keeps its word");
        let moved = logs.side(Side::Destination, tail).await;
        let at_destination = moved.expect("a destination that keeps its word");
        eprintln!("{tail:?}: {at_client} {at_source} {at_destination}");
        assert!(at_client >= 20 && at_source >= 10 && at_destination >= 10);
    }
}

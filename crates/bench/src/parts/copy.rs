//! Copying a volume that nobody uses from one server to another.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{MIB, OURS};
use crate::bench::{Place, Plan, Round};
use crate::child::{self, Server, free_port};
use crate::controller::Move;
use crate::image;
use crate::ours::{StorageSpec, VOLUME};
use crate::peers::Peer;
use crate::record::Measured;

/// A copy that takes longer is given up.
const LONGEST: Duration = Duration::from_secs(300);

/// Three programs that pass the bytes on and look at nothing.
pub(crate) const BARE_RELAY: &str = "bare relay";

/// Ours, where the destination carries the copy.
pub(crate) const CARRIED: &str = "blockferry --copier destination";

/// `cp` is the floor: two copies of each byte, and nothing between. The bare relay is that of any copy
/// between two servers which a third program carries.
const SYSTEMS: [&str; 6] = ["cp", BARE_RELAY, "nbdcopy", "qemu-img convert", OURS, CARRIED];

pub(super) fn round(round: &mut Round<'_>) -> Result<()> {
    for place in Place::ALL {
        let scratch = round.plan.scratch(place)?;
        let source = scratch.path().join("source");
        let size = round.plan.amount(2048, 256) * MIB;
        image::random(&source, size)?;
        for system in round.in_turn(&SYSTEMS) {
            // What the copy before has left goes first, with its pages.
            let folder = tempfile::tempdir_in(scratch.path())?;
            image::claim_memory(folder.path(), size)?;
            round.measure(place.name(), system, |plan| {
                copy(plan, system, &source, folder.path(), size)
            })?;
        }
    }
    Ok(())
}

fn copy(plan: &Plan, system: &str, source: &Path, folder: &Path, size: u64) -> Result<Measured> {
    let destination = folder.join("destination");
    match system {
        "cp" => {
            let mut command = Command::new("cp");
            command.args(["--sparse=never", "--reflink=never"]).arg(source).arg(&destination);
            timed(&mut command)
        }
        BARE_RELAY => bare_relay(source, &destination),
        OURS => ours(plan, source, folder, &[]),
        CARRIED => ours(plan, source, folder, &["--copier", "destination"]),
        _ => {
            image::empty(&destination, size)?;
            let (_from, from) = Peer::NbdkitFile.serve(source, &folder.join("from.log"))?;
            let (_to, to) = Peer::NbdkitFile.serve(&destination, &folder.join("to.log"))?;
            timed(&mut between_servers(system, from, to))
        }
    }
}

/// A peer's command that copies from one server to another.
pub(super) fn between_servers(system: &str, from: SocketAddr, to: SocketAddr) -> Command {
    let uris = [from, to].map(|server| format!("nbd://{server}"));
    let mut command = match system {
        "nbdcopy" => Command::new("nbdcopy"),
        _ => {
            let mut command = Command::new("qemu-img");
            command.args(["convert", "-n", "-f", "raw", "-O", "raw"]);
            command
        }
    };
    command.args(uris);
    command
}

pub(super) fn timed(command: &mut Command) -> Result<Measured> {
    let begun = Instant::now();
    child::run(command)?;
    Ok(Measured::default().with("seconds", begun.elapsed().as_secs_f64()))
}

fn bare_relay(source: &Path, destination: &Path) -> Result<Measured> {
    let bare = std::env::current_exe()?.with_file_name("examples").join("bare_relay");
    let (first, second) = (free_port()?.to_string(), free_port()?.to_string());
    let (source, destination) = (source.display().to_string(), destination.display().to_string());
    let programs =
        [["write", &second, &destination], ["pass", &first, &second], ["read", &source, &first]];
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let run = |arguments: [&str; 3]| child::run(Command::new(&bare).args(arguments)).map(drop);
        let running = programs.map(|arguments| scope.spawn(move || run(arguments)));
        running.into_iter().try_for_each(|program| {
            program.join().unwrap_or_else(|_| bail!("a program of the bare relay was lost"))
        })
    })?;
    Ok(Measured::default().with("seconds", begun.elapsed().as_secs_f64()))
}

fn ours(plan: &Plan, image: &Path, folder: &Path, more: &[&str]) -> Result<Measured> {
    let source = StorageSpec::source(&plan.bin, folder.join("a"), image).start()?;
    let destination = StorageSpec::destination(&plan.bin, folder.join("b")).start()?;
    let way = Move {
        bin: &plan.bin,
        volume: VOLUME,
        from: source.control,
        to: destination.control,
        switch: None,
        more,
        folder,
        longest: LONGEST,
    };
    let moved = way.run()?;
    let all: [Server; 2] = [source.server, destination.server];
    drop(all);
    Ok(moved.map_or_else(|| Measured::note(no_end(LONGEST)), |moved| moved.measured()))
}

/// The remark on what was given up.
pub(super) fn no_end(longest: Duration) -> String {
    format!("no end in {} s", longest.as_secs())
}

//! Serving a volume out of the page cache: requests a second, and the server's processor time for
//! each. Once with fio, whose client may be the limit, and once with a load that is not. And random
//! reads of a volume on a disk of which the page cache has nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::Result;

use super::MIB;
use crate::bench::{Place, Plan, Round};
use crate::child::Server;
use crate::fio::Fio;
use crate::image;
use crate::load::{Load, Pattern};
use crate::ours::{StorageSpec, VOLUME};
use crate::peers::Peer;
use crate::record::Measured;

/// A workload, for fio and for our own load.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    fio: &'static str,
    pattern: Pattern,
    block: u32,
    depth: usize,
    connections: usize,
}

/// The six of the table to beat.
pub(crate) const WORKLOADS: [Workload; 6] = [
    Workload::new(
        "4k random read, depth 1",
        "--rw=randread --bs=4k --iodepth=1",
        Pattern::RandomRead,
    )
    .shaped(4 << 10, 1, 1),
    Workload::new(
        "4k random read, depth 32",
        "--rw=randread --bs=4k --iodepth=32",
        Pattern::RandomRead,
    )
    .shaped(4 << 10, 32, 1),
    Workload::new(
        "4k random write, depth 32",
        "--rw=randwrite --bs=4k --iodepth=32",
        Pattern::RandomWrite,
    )
    .shaped(4 << 10, 32, 1),
    Workload::new(
        "4k mixed, 4 connections of depth 16",
        "--rw=randrw --bs=4k --iodepth=16 --numjobs=4 --group_reporting",
        Pattern::RandomMixed,
    )
    .shaped(4 << 10, 16, 4),
    Workload::new(
        "256k sequential read, depth 8",
        "--rw=read --bs=256k --iodepth=8",
        Pattern::Read,
    )
    .shaped(256 << 10, 8, 1),
    Workload::new(
        "256k sequential write, depth 8",
        "--rw=write --bs=256k --iodepth=8",
        Pattern::Write,
    )
    .shaped(256 << 10, 8, 1),
];

/// Those that are also measured with nothing in the page cache, by fio: it reads no block twice.
pub(crate) const UNCACHED: [&Workload; 2] = [&WORKLOADS[0], &WORKLOADS[1]];

/// Who serves.
#[derive(Clone, Copy)]
enum System {
    Peer(Peer),
    Ours,
}

const SYSTEMS: [System; 4] = [
    System::Peer(Peer::NbdkitNull),
    System::Peer(Peer::NbdkitFile),
    System::Peer(Peer::QemuNbd),
    System::Ours,
];

impl Workload {
    const fn new(name: &'static str, fio: &'static str, pattern: Pattern) -> Self {
        Self { name, fio, pattern, block: 0, depth: 1, connections: 1 }
    }

    const fn shaped(self, block: u32, depth: usize, connections: usize) -> Self {
        Self { block, depth, connections, ..self }
    }

    /// The load of our own.
    pub(crate) fn load(&self, server: SocketAddr, export: &str) -> Load {
        let load = Load::new(server, export, self.pattern, self.block);
        Load { depth: self.depth, connections: self.connections, ..load }
    }

    /// The load of fio.
    pub(crate) fn fio<'a>(&self, server: SocketAddr, export: &'a str, seconds: u64) -> Fio<'a> {
        Fio { server, export, pattern: self.fio, seconds }
    }
}

/// Name of the case of a workload and a place.
pub(crate) fn case(workload: &str, place: Place) -> String {
    format!("{workload}, {}", place.name())
}

/// Name of the case of a workload with nothing in the page cache.
pub(crate) fn uncached(workload: &str) -> String {
    format!("{workload}, not cached")
}

pub(super) fn round(round: &mut Round<'_>) -> Result<()> {
    for place in round.plan.serve_on.clone() {
        let scratch = round.plan.scratch(place)?;
        let image = scratch.path().join("volume");
        image::random(&image, round.plan.amount(1024, 128) * MIB)?;
        for workload in &WORKLOADS {
            for system in round.in_turn(&SYSTEMS) {
                let (case, folder) = (case(workload.name, place), scratch.path());
                round.measure(&case, system.name(), |plan| {
                    serve(plan, system, workload, folder, &image)
                })?;
            }
        }
        if place == Place::Disk {
            round_uncached(round, scratch.path(), &image)?;
        }
    }
    Ok(())
}

fn round_uncached(round: &mut Round<'_>, folder: &Path, image: &Path) -> Result<()> {
    for workload in UNCACHED {
        // Without the one that reads nothing.
        for system in round.in_turn(&SYSTEMS[1..]) {
            round.measure(&uncached(workload.name), system.name(), |plan| {
                image::forget(image)?;
                let Served { server, at, export } = system.start(plan, folder, image)?;
                let before = server.usage().cpu_seconds;
                let seen = workload.fio(at, export, plan.load_seconds()).run()?;
                let after = server.usage().cpu_seconds;
                server.stop()?;
                Ok(Measured::default().with_all("fio.", seen.values(after - before)))
            })?;
        }
    }
    Ok(())
}

impl System {
    const fn name(self) -> &'static str {
        match self {
            Self::Peer(peer) => peer.name(),
            Self::Ours => "target-src",
        }
    }

    fn start(self, plan: &Plan, folder: &Path, image: &Path) -> Result<Served> {
        match self {
            Self::Peer(peer) => {
                let (server, at) = peer.serve(image, &folder.join("peer.log"))?;
                Ok(Served { server, at, export: "" })
            }
            Self::Ours => {
                let folder = folder.join("ours");
                let storage = StorageSpec::source(&plan.bin, folder, image).start()?;
                Ok(Served { server: storage.server, at: storage.nbd, export: VOLUME })
            }
        }
    }
}

struct Served {
    server: Server,
    at: SocketAddr,
    export: &'static str,
}

fn serve(
    plan: &Plan,
    system: System,
    workload: &Workload,
    folder: &Path,
    image: &Path,
) -> Result<Measured> {
    let Served { server, at, export } = system.start(plan, folder, image)?;
    let before = server.usage().cpu_seconds;
    let seen = workload.fio(at, export, plan.load_seconds()).run()?;
    let between = server.usage().cpu_seconds;
    let outcome = plan.load(workload.load(at, export)).run(&AtomicBool::new(false))?;
    let after = server.usage().cpu_seconds;
    server.stop()?;
    Ok(Measured::default()
        .with_all("fio.", seen.values(between - before))
        .with_all("own.", outcome.values(after - between)))
}

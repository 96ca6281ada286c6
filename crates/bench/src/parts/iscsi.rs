//! Serving a volume over iSCSI out of the page cache, beside tgt: requests a second of two clients, and
//! the server's processor time for each.

use std::path::Path;

use anyhow::Result;

use super::MIB;
use crate::bench::{Place, Plan, Round};
use crate::child::{Server, free_port};
use crate::image;
use crate::initiators::{QemuImg, Requests, Seen, iscsi_perf};
use crate::ours::{StorageSpec, VOLUME};
use crate::record::{Measured, Values};
use crate::tgt::{self, Tgt};

/// The systems.
pub(crate) const OURS: &str = "target-src";
pub(crate) const TGT: &str = "tgt";

/// A workload.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) requests: Requests,
    /// So many requests of `qemu-img` take some seconds.
    count: u64,
}

/// What is measured; writes only by `qemu-img`, since iscsi-perf makes none.
pub(crate) const WORKLOADS: [Workload; 5] = [
    Workload::new("4k random read, depth 1", 4 << 10, 1, 30_000),
    Workload::new("4k random read, depth 32", 4 << 10, 32, 100_000),
    Workload::new("4k random write, depth 32", 4 << 10, 32, 100_000).writing(),
    Workload::new("256k sequential read, depth 8", 256 << 10, 8, 6_000),
    Workload::new("256k sequential write, depth 8", 256 << 10, 8, 6_000).writing(),
];

impl Workload {
    const fn new(name: &'static str, bytes: u64, depth: usize, count: u64) -> Self {
        let scattered = bytes < 256 << 10;
        Self { name, requests: Requests { write: false, bytes, depth, scattered }, count }
    }

    const fn writing(mut self) -> Self {
        self.requests.write = true;
        self
    }
}

/// Name of the case of a workload and a place.
pub(crate) fn case(workload: &str, place: Place) -> String {
    format!("{workload}, {}", place.name())
}

pub(super) fn round(round: &mut Round<'_>) -> Result<()> {
    for place in round.plan.serve_on.clone() {
        let scratch = round.plan.scratch(place)?;
        let image = scratch.path().join("volume");
        image::random(&image, round.plan.amount(1024, 128) * MIB)?;
        for workload in &WORKLOADS {
            for system in round.in_turn(&[TGT, OURS]) {
                let case = case(workload.name, place);
                round.measure(&case, system, |plan| {
                    let served = Served::start(plan, system, scratch.path(), &image)?;
                    measure(plan, &served, workload)
                })?;
            }
        }
    }
    Ok(())
}

/// A server, and where its volume is.
struct Served {
    server: Server,
    uri: String,
}

impl Served {
    fn start(plan: &Plan, system: &str, folder: &Path, image: &Path) -> Result<Self> {
        if system == TGT {
            let Tgt { server, at } = Tgt::start(&folder.join("peer"), image)?;
            return Ok(Self { server, uri: format!("iscsi://{at}/{}/{}", tgt::TARGET, tgt::LUN) });
        }
        let at = free_port()?;
        let spec = StorageSpec::source(&plan.bin, folder.join("ours"), image).with_iscsi(at);
        let uri = format!("iscsi://{at}/iqn.2026-01.io.blockferry:{VOLUME}/0");
        Ok(Self { server: spec.start()?.server, uri })
    }

    /// What a client saw, with the server's processor time.
    fn used_by(
        &self,
        requests: &Requests,
        client: impl FnOnce(&str) -> Result<Seen>,
    ) -> Result<Values> {
        let before = self.server.usage().cpu_seconds;
        let seen = client(&self.uri)?;
        Ok(seen.values(requests.bytes, self.server.usage().cpu_seconds - before))
    }
}

fn measure(plan: &Plan, served: &Served, workload: &Workload) -> Result<Measured> {
    let requests = &workload.requests;
    let mut measured = Measured::default();
    if !requests.write {
        let perf =
            served.used_by(requests, |uri| iscsi_perf(uri, requests, plan.load_seconds()))?;
        measured = measured.with_all("perf.", perf);
    }
    let Some(qemu) = QemuImg::find(&plan.peers) else {
        let note = "without qemu-img: dev/bench unpacks one that knows iSCSI".to_owned();
        return Ok(Measured { note: Some(note), ..measured });
    };
    let count = workload.count / plan.amount(1, 10);
    let seen = served.used_by(requests, |uri| qemu.bench(uri, requests, count))?;
    Ok(measured.with_all("qemu.", seen))
}

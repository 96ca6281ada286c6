//! The way through the switch against a direct connection to the same server: what it costs, what
//! each connection takes of memory, and whether equal clients get equal shares.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result};

use super::MIB;
use super::serve::WORKLOADS;
use crate::bench::{Place, Plan, Round};
use crate::child::{Server, Usage};
use crate::image;
use crate::load::{Load, Outcome, Pattern};
use crate::ours::{StorageSpec, Switch, VOLUME};
use crate::peers;
use crate::record::Measured;

/// Those workloads that the way is judged by.
pub(crate) const WAYS: [&str; 3] =
    ["4k random read, depth 1", "4k random read, depth 32", "256k sequential read, depth 8"];

/// The case of many clients at once, and how many.
pub(crate) const MANY: &str = "100 equal clients";
const CLIENTS: usize = 100;
/// Pause between two looks at their memory.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) const DIRECT: &str = "direct";
pub(crate) const SWITCH: &str = "switch-proxy";
pub(crate) const WITHOUT_KEEPER: &str = "switch-proxy --no-keeper";
pub(crate) const HAPROXY: &str = "haproxy";
pub(crate) const HAPROXY_SPLICE: &str = "haproxy with splice";
const SYSTEMS: [&str; 5] = [DIRECT, SWITCH, WITHOUT_KEEPER, HAPROXY, HAPROXY_SPLICE];

pub(super) fn round(round: &mut Round<'_>) -> Result<()> {
    let scratch = round.plan.scratch(Place::Tmpfs)?;
    let image = scratch.path().join("volume");
    image::random(&image, round.plan.amount(1024, 128) * MIB)?;
    let source = StorageSpec::source(&round.plan.bin, scratch.path().join("a"), &image).start()?;
    for workload in WORKLOADS.iter().filter(|workload| WAYS.contains(&workload.name)) {
        for system in round.in_turn(&SYSTEMS) {
            let folder = tempfile::tempdir_in(scratch.path())?;
            round.measure(workload.name, system, |plan| {
                let way = Way::start(plan, system, folder.path(), source.nbd)?;
                let before = way.usage().cpu_seconds;
                let seen = workload.fio(way.at, VOLUME, plan.load_seconds()).run()?;
                let between = way.usage().cpu_seconds;
                let load = plan.load(workload.load(way.at, VOLUME));
                let outcome = load.run(&AtomicBool::new(false))?;
                let after = way.usage().cpu_seconds;
                Ok(Measured::default()
                    .with_all("fio.", seen.values(between - before))
                    .with_all("own.", outcome.values(after - between)))
            })?;
        }
    }
    for system in round.in_turn(&SYSTEMS) {
        let folder = tempfile::tempdir_in(scratch.path())?;
        round.measure(MANY, system, |plan| many(plan, system, folder.path(), source.nbd))?;
    }
    Ok(())
}

/// What stands between the client and the server; nothing on the direct way.
struct Way {
    at: SocketAddr,
    between: Option<Server>,
}

impl Way {
    fn start(plan: &Plan, system: &str, folder: &Path, server: SocketAddr) -> Result<Self> {
        let through = |more: &[&str]| {
            let switch = Switch::start(&plan.bin, folder, server, more)?;
            Ok(Self { at: switch.nbd, between: Some(switch.server) })
        };
        match system {
            SWITCH => through(&[]),
            WITHOUT_KEEPER => through(&["--no-keeper"]),
            HAPROXY | HAPROXY_SPLICE => {
                let splice = system == HAPROXY_SPLICE;
                let (proxy, at) = peers::haproxy(folder, server, splice)?;
                Ok(Self { at, between: Some(proxy) })
            }
            _ => Ok(Self { at: server, between: None }),
        }
    }

    fn usage(&self) -> Usage {
        self.between.as_ref().map_or_else(Usage::default, Server::usage)
    }
}

/// Runs the load, and looks now and then how much memory the way takes, at most.
fn beside_looks(way: &Way, load: &Load) -> Result<(Outcome, u64)> {
    std::thread::scope(|scope| {
        let client = scope.spawn(|| load.run(&AtomicBool::new(false)));
        let mut most = 0;
        while !client.is_finished() {
            most = most.max(way.usage().resident);
            std::thread::sleep(LOOK);
        }
        let outcome = client.join().ok().context("the client panicked")?;
        Ok((outcome?, most))
    })
}

fn many(plan: &Plan, system: &str, folder: &Path, server: SocketAddr) -> Result<Measured> {
    let way = Way::start(plan, system, folder, server)?;
    let load = Load::new(way.at, VOLUME, Pattern::RandomRead, 4096);
    let load = plan.load(Load { depth: 4, connections: CLIENTS, ..load });
    let before = way.usage().resident;
    let (outcome, most) = beside_looks(&way, &load)?;
    let grown = most.saturating_sub(before) as f64;
    let slowest = outcome.requests.iter().min().copied().unwrap_or_default() as f64;
    let fastest = outcome.requests.iter().max().copied().unwrap_or_default().max(1) as f64;
    Ok(Measured::default()
        .with_all("own.", outcome.values(0.0))
        .with("kib_per_connection", grown / 1024.0 / CLIENTS as f64)
        .with("slowest_share", slowest / fastest))
}

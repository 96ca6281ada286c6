//! What the layer of volumes costs while nothing migrates: instructions for each request of the
//! storage program, against a server of the same sessions and the same store without that layer.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use anyhow::Result;

use super::MIB;
use crate::bench::{Place, Plan, Round};
use crate::callgrind;
use crate::child::{Server, free_port};
use crate::image;
use crate::load::{End, Load, Pattern};
use crate::ours::{StorageSpec, VOLUME, under};
use crate::record::Measured;

/// The systems: with the layer, and without.
pub(crate) const WITH: &str = "target-src";
pub(crate) const WITHOUT: &str = "bare server";

/// The cases.
pub(crate) const CASES: [(&str, Pattern); 2] = [
    ("4k random read, depth 32", Pattern::RandomRead),
    ("4k random write, depth 32", Pattern::RandomWrite),
];
const DEPTH: usize = 32;

pub(super) fn round(round: &mut Round<'_>) -> Result<()> {
    for (case, pattern) in CASES {
        for system in round.in_turn(&[WITH, WITHOUT]) {
            let scratch = round.plan.scratch(Place::Tmpfs)?;
            round.measure(case, system, |plan| cost(plan, system, pattern, scratch.path()))?;
        }
    }
    Ok(())
}

/// The difference of two runs: what they have in common, the start and the end, is not counted.
fn cost(plan: &Plan, system: &str, pattern: Pattern, folder: &Path) -> Result<Measured> {
    let image = folder.join("volume");
    image::random(&image, 64 * MIB)?;
    let few = plan.amount(4000, 1000);
    let many = few + plan.amount(40_000, 4000);
    let first = count(plan, system, pattern, folder, few)? as f64;
    let second = count(plan, system, pattern, folder, many)? as f64;
    Ok(Measured::default().with("instructions", (second - first) / (many - few) as f64))
}

fn count(plan: &Plan, system: &str, pattern: Pattern, folder: &Path, requests: u64) -> Result<u64> {
    let out = folder.join(format!("callgrind-{requests}"));
    let (server, at) = start(plan, system, folder, callgrind::wrapper(&out))?;
    let load = Load::new(at, VOLUME, pattern, 4096);
    let load = Load { depth: DEPTH, end: End::Requests(requests), ..load };
    load.run(&AtomicBool::new(false))?;
    server.stop()?;
    callgrind::instructions(&out)
}

fn start(
    plan: &Plan,
    system: &str,
    folder: &Path,
    wrapper: Vec<String>,
) -> Result<(Server, SocketAddr)> {
    let image = folder.join("volume");
    if system == WITH {
        let spec = StorageSpec::source(&plan.bin, folder.join("a"), &image);
        let storage = StorageSpec { under: wrapper, ..spec }.start()?;
        return Ok((storage.server, storage.nbd));
    }
    let at = free_port()?;
    let bare = std::env::current_exe()?.with_file_name("examples").join("bare_server");
    let mut command: Command = under(&wrapper, &bare);
    command.arg(at.to_string()).arg(VOLUME).arg(&image);
    Ok((Server::listening(system, &mut command, &folder.join("bare.log"), &[at])?, at))
}

//! Large volumes, many migrations, many clients: what grows with them, and what does not.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::copy::no_end;
use super::{GIB, MIB, OURS};
use crate::bench::{Place, Plan, Round};
use crate::child::Server;
use crate::controller::{Move, Moved};
use crate::image;
use crate::load::{Load, Outcome, Pattern};
use crate::ours::{StorageSpec, Switch, VOLUME};
use crate::record::Measured;

/// Sizes of volumes that have the same data, scattered over them.
pub(crate) const SIZES: [(&str, u64); 4] = [
    ("1 GiB volume", GIB),
    ("64 GiB volume", 64 * GIB),
    ("8 TiB volume", 8 << 40),
    ("64 TiB volume", 64 << 40),
];
/// The case of several migrations at once, and how many.
pub(crate) const MIGRATIONS: &str = "16 migrations at once";
const AT_ONCE: usize = 16;
/// The case of idle clients.
pub(crate) const IDLE: &str = "1,000 idle connections";
pub(super) fn round(round: &mut Round<'_>) -> Result<()> {
    for (case, size) in SIZES {
        let scratch = round.plan.scratch(Place::Tmpfs)?;
        round.measure(case, OURS, |plan| large(plan, size, scratch.path()))?;
    }
    let scratch = round.plan.scratch(Place::Tmpfs)?;
    round.measure(MIGRATIONS, OURS, |plan| at_once(plan, scratch.path()))?;
    for system in round.in_turn(&["target-src", "switch-proxy", "switch-proxy --no-keeper"]) {
        let scratch = round.plan.scratch(Place::Tmpfs)?;
        round.measure(IDLE, system, |plan| idle(plan, system, scratch.path()))?;
    }
    Ok(())
}

/// With data, and then the same without any: the time over nothing but holes.
fn large(plan: &Plan, size: u64, folder: &Path) -> Result<Measured> {
    let (full, empty) = (folder.join("full"), folder.join("empty"));
    let data = plan.amount(1024, 64) * MIB;
    image::scattered(&full, size, data)?;
    let measured = one(plan, &full, &folder.join("data"))?;
    std::fs::remove_file(&full)?;
    if measured.note.is_some() {
        return Ok(measured);
    }
    image::empty(&empty, size)?;
    let holes = one(plan, &empty, &folder.join("holes"))?;
    Ok(match holes.values.get("seconds") {
        Some(seconds) => measured.with("holes_seconds", *seconds),
        None => Measured { note: holes.note, ..measured },
    })
}

/// A move that takes longer is given up.
fn longest(plan: &Plan) -> Duration {
    Duration::from_secs(plan.amount(600, 120))
}

fn one(plan: &Plan, image: &Path, folder: &Path) -> Result<Measured> {
    let source = StorageSpec::source(&plan.bin, folder.join("a"), image).start()?;
    let destination = StorageSpec::destination(&plan.bin, folder.join("b")).start()?;
    let controls = (source.control, destination.control);
    let Some(moved) = way(plan, VOLUME, controls, folder).run()? else {
        return Ok(Measured::note(no_end(longest(plan))));
    };
    let measured = moved
        .measured()
        .with("source_mib", mib_max(&source.server))
        .with("destination_mib", mib_max(&destination.server))
        .with("controller_mib", moved.resident_max as f64 / MIB as f64);
    Ok(measured)
}

fn way<'a>(
    plan: &'a Plan,
    volume: &'a str,
    (from, to): (std::net::SocketAddr, std::net::SocketAddr),
    folder: &'a Path,
) -> Move<'a> {
    let longest = longest(plan);
    Move { bin: &plan.bin, volume, from, to, switch: None, more: &[], folder, longest }
}

fn mib_max(server: &Server) -> f64 {
    server.usage().resident_max as f64 / MIB as f64
}

fn at_once(plan: &Plan, folder: &Path) -> Result<Measured> {
    let names: Vec<String> = (0..AT_ONCE).map(|number| format!("vol{number}")).collect();
    let mut spec = StorageSpec::source(&plan.bin, folder.join("a"), Path::new("unused"));
    spec.volumes = names.iter().map(|name| (name.clone(), folder.join(name))).collect();
    for (_, image) in &spec.volumes {
        image::random(image, plan.amount(256, 16) * MIB)?;
    }
    let source = spec.start()?;
    let destination = StorageSpec::destination(&plan.bin, folder.join("b")).start()?;
    let controls = (source.control, destination.control);
    let begun = Instant::now();
    let moved: Vec<Moved> = std::thread::scope(|scope| {
        let running: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(move || way(plan, name, controls, folder).run()))
            .collect();
        let joined = running.into_iter().map(|one| match one.join() {
            Ok(moved) => moved?.context("one did not end"),
            Err(_) => bail!("a thread panicked"),
        });
        joined.collect::<Result<_>>()
    })?;
    let controllers: u64 = moved.iter().map(|one| one.resident_max).sum();
    Ok(Measured::default()
        .with("seconds", begun.elapsed().as_secs_f64())
        .with("source_mib", mib_max(&source.server))
        .with("destination_mib", mib_max(&destination.server))
        .with("controller_mib", controllers as f64 / MIB as f64 / AT_ONCE as f64))
}

/// What idle clients take, and what they leave to a busy one.
fn idle(plan: &Plan, system: &str, folder: &Path) -> Result<Measured> {
    let image = folder.join("volume");
    image::random(&image, plan.amount(256, 64) * MIB)?;
    let source = StorageSpec::source(&plan.bin, folder.join("a"), &image).start()?;
    let (at, server) = match system {
        "target-src" => (source.nbd, None),
        _ => {
            let more: &[&str] = if system == "switch-proxy" { &[] } else { &["--no-keeper"] };
            let switch = Switch::start(&plan.bin, &folder.join("switch"), source.nbd, more)?;
            (switch.nbd, Some(switch.server))
        }
    };
    let server = server.as_ref().unwrap_or(&source.server);
    let connections = plan.amount(1000, 200) as usize;
    let busy = Load::new(at, VOLUME, Pattern::RandomRead, 4096);
    let busy = plan.load(Load { depth: 32, ..busy });
    let alone = busy.run(&AtomicBool::new(false))?;
    let (beside, grown) = beside_idle(&busy, connections, server)?;
    Ok(Measured::default()
        .with("kib_per_connection", grown / 1024.0 / connections as f64)
        .with("alone_iops", alone.iops())
        .with("beside_iops", beside.iops())
        .with("beside_share", beside.iops() / alone.iops()))
}

/// The busy client beside connections that send nothing; and the memory that those take, in bytes.
fn beside_idle(busy: &Load, connections: usize, server: &Server) -> Result<(Outcome, f64)> {
    let before = server.usage().resident as f64;
    let idle = busy.connect_idle(connections)?;
    let grown = server.usage().resident as f64 - before;
    let outcome = busy.run(&AtomicBool::new(false))?;
    drop(idle);
    Ok((outcome, grown.max(0.0)))
}

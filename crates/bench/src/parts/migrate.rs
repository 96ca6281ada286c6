//! Moving a volume under a client's load: how long it takes, and what the client has left. fio's
//! clock and ours are the same, so its log tells which requests overlapped the migration.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::copy::{CARRIED, no_end};
use super::{MIB, OURS};
use crate::bench::{Place, Plan, Round};
use crate::child::Server;
use crate::controller::Move;
use crate::fio::{Fio, read_log};
use crate::image;
use crate::ours::{Storage, StorageSpec, Switch, VOLUME};
use crate::peers::Peer;
use crate::qmp::Daemon;
use crate::record::Measured;
use crate::requests::{Finished, Span, overlapping, series, window, worst_second};

/// The peer's two modes. A background mirror chases the client; one that blocks writes slows it.
pub(crate) const BACKGROUND: &str = "qemu background";
pub(crate) const WRITE_BLOCKING: &str = "qemu write-blocking";

/// Ours, where its clients are let to wait longer for the copy.
pub(crate) const PATIENT: &str = "blockferry --client-p99 20ms";

/// fio's options but for the rate.
const PATTERN: &str = "--rw=randwrite --bs=4k --iodepth=8 --randrepeat=0";
/// How long the client runs before the migration begins, and how much of that it is judged by.
const SETTLE: Duration = Duration::from_secs(4);
const BEFORE_SECONDS: f64 = 3.0;
/// How long it goes on after the migration has ended.
const AFTER: Duration = Duration::from_millis(1500);

/// A client's load.
#[derive(Clone, Copy)]
struct Rate {
    name: &'static str,
    /// fio's option; `None` without a client.
    option: Option<&'static str>,
    systems: &'static [&'static str],
}

const RATES: [Rate; 3] = [
    Rate { name: "no load", option: None, systems: &[BACKGROUND, WRITE_BLOCKING, OURS, CARRIED] },
    Rate {
        name: "2,000 writes/s",
        option: Some("--rate_iops=2000"),
        systems: &[BACKGROUND, WRITE_BLOCKING, OURS],
    },
    Rate {
        name: "full load",
        option: Some(""),
        systems: &[BACKGROUND, WRITE_BLOCKING, OURS, PATIENT],
    },
];

/// What its controller is told more.
fn flags(system: &str) -> &'static [&'static str] {
    match system {
        CARRIED => &["--copier", "destination"],
        PATIENT => &["--client-p99", "20ms"],
        _ => &[],
    }
}

/// Name of the case of a load and a place.
pub(crate) fn case(load: &str, place: Place) -> String {
    format!("{load}, {}", place.name())
}

pub(super) fn round(round: &mut Round<'_>) -> Result<()> {
    for place in Place::ALL {
        for rate in RATES {
            for system in round.in_turn(rate.systems) {
                let scratch = round.plan.scratch(place)?;
                round.measure(&case(rate.name, place), system, |plan| {
                    migrate(plan, system, rate, scratch.path())
                })?;
            }
        }
    }
    Ok(())
}

/// The programs of one migration, and where its client goes.
enum Cast {
    Qemu { daemon: Box<Daemon>, destination: SocketAddr, mode: &'static str, _devices: [Server; 2] },
    Ours { switch: Switch, source: Storage, destination: Storage },
}

/// How a volume is to be moved.
struct Order<'a> {
    bin: &'a Path,
    folder: &'a Path,
    longest: Duration,
    more: &'static [&'static str],
}

/// A migration that has ended, or was given up.
struct Ended {
    span: Span,
    cutover: Option<Span>,
    measured: Measured,
}

fn migrate(plan: &Plan, system: &str, rate: Rate, folder: &Path) -> Result<Measured> {
    let (image, size) = (folder.join("source"), plan.amount(1024, 128) * MIB);
    image::random(&image, size)?;
    image::claim_memory(folder, size)?;
    let mut cast = Cast::start(plan, system, folder, &image)?;
    let longest = Duration::from_secs(plan.amount(40, 10));
    let order = Order { bin: &plan.bin, folder, longest, more: flags(system) };
    let Some(option) = rate.option else {
        return cast.migrate(&order).map(|ended| ended.measured);
    };
    let mut client = Client::start(cast.nbd(), option, longest, folder)?;
    std::thread::sleep(SETTLE);
    let ended = cast.migrate(&order)?;
    std::thread::sleep(AFTER);
    ensure!(client.server.is_running(), "the client died");
    let requests = client.stop(folder)?;
    Ok(judge(ended, &requests))
}

fn judge(ended: Ended, requests: &[Finished]) -> Measured {
    let Ended { span, cutover, measured } = ended;
    let before = window(requests, Span { start: span.start - BEFORE_SECONDS, end: span.start });
    let during = window(requests, span);
    let full = before.iops.max(1.0);
    let shown = Span { start: span.start - BEFORE_SECONDS, end: span.end + AFTER.as_secs_f64() };
    let mut measured = measured
        .with("before_iops", before.iops)
        .with("before_p99_ms", before.p99_ms)
        .with("during_iops", during.iops)
        .with("during_p99_ms", during.p99_ms)
        .with("longest_ms", during.longest_ms)
        .with("client_share", during.iops / full)
        .with("worst_second_share", worst_second(requests, span) / full)
        .with("shown_before_seconds", BEFORE_SECONDS);
    if let Some(cutover) = cutover {
        let times = overlapping(requests, cutover);
        let longest = times.iter().copied().fold(0.0, f64::max);
        measured = measured
            .with("cutover_longest_ms", longest)
            .with("shown_cutover_seconds", cutover.start - span.start);
    }
    measured.series = series(requests, shown);
    measured
}

impl Cast {
    fn start(plan: &Plan, system: &str, folder: &Path, image: &Path) -> Result<Self> {
        if system.starts_with(OURS) {
            let source = StorageSpec::source(&plan.bin, folder.join("a"), image).start()?;
            let destination = StorageSpec::destination(&plan.bin, folder.join("b")).start()?;
            let switch = Switch::start(&plan.bin, &folder.join("switch"), source.nbd, &[])?;
            return Ok(Self::Ours { switch, source, destination });
        }
        let copy = folder.join("destination");
        image::empty(&copy, std::fs::metadata(image)?.len())?;
        let (from, source) = Peer::NbdkitFile.serve(image, &folder.join("from.log"))?;
        let (to, destination) = Peer::NbdkitFile.serve(&copy, &folder.join("to.log"))?;
        let daemon = Box::new(Daemon::start(folder, source)?);
        let mode = if system == BACKGROUND { "background" } else { "write-blocking" };
        Ok(Self::Qemu { daemon, destination, mode, _devices: [from, to] })
    }

    fn nbd(&self) -> SocketAddr {
        match self {
            Self::Qemu { daemon, .. } => daemon.nbd,
            Self::Ours { switch, .. } => switch.nbd,
        }
    }

    fn migrate(&mut self, order: &Order<'_>) -> Result<Ended> {
        let Order { bin, folder, longest, more } = *order;
        let start = now();
        let mut cutover = None;
        let measured = match self {
            Self::Qemu { daemon, destination, mode, .. } => {
                let completing = daemon.mirror(mode, *destination, longest)?;
                let end = now();
                completing.map(|told| {
                    cutover = Some(Span { start: end - told.elapsed().as_secs_f64(), end });
                    Measured::default().with("seconds", end - start)
                })
            }
            Self::Ours { switch, source, destination } => {
                let way = Move {
                    bin,
                    volume: VOLUME,
                    from: source.control,
                    to: destination.control,
                    switch: Some(switch.control),
                    more,
                    folder,
                    longest,
                };
                way.run()?.map(|moved| {
                    cutover = moved.cutover();
                    moved.measured()
                })
            }
        };
        let measured = measured.unwrap_or_else(|| Measured::note(no_end(longest)));
        Ok(Ended { span: Span { start, end: now() }, cutover, measured })
    }
}

/// fio in the background, with a log of every request.
struct Client {
    server: Server,
}

impl Client {
    fn start(nbd: SocketAddr, rate: &str, longest: Duration, folder: &Path) -> Result<Self> {
        let pattern = format!("{PATTERN} {rate}");
        let seconds = longest.as_secs() + 60;
        let mut command: Command =
            Fio { server: nbd, export: VOLUME, pattern: &pattern, seconds }.command();
        command.arg(format!("--write_lat_log={}", folder.join("lat").display()));
        command.arg("--log_unix_epoch=1").stdout(Stdio::null());
        Ok(Self { server: Server::start("fio", &mut command, &folder.join("fio.log"))? })
    }

    fn stop(mut self, folder: &Path) -> Result<Vec<Finished>> {
        self.server.signal(Signal::INT);
        self.server.wait(Duration::from_secs(60)).context("fio was told to end")?;
        read_log(&folder.join("lat_clat.1.log"))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_judged_by_what_it_had_before() {
        let span = Span { start: 103.0, end: 105.0 };
        // 100 requests a second before, 50 in the first second of the migration, 20 in the second.
        let at = |start: f64, count: u32| {
            (0..count).map(move |n| Finished {
                end: start + f64::from(n) / f64::from(count),
                took_ms: 2.0,
            })
        };
        let mut requests: Vec<Finished> = (100..103).flat_map(|s| at(f64::from(s), 100)).collect();
        requests.extend(at(103.0, 50).chain(at(104.0, 20)));
        requests.push(Finished { end: 104.99, took_ms: 30.0 });
        let cutover = Some(Span { start: 104.97, end: 104.98 });
        let values =
            judge(Ended { span, cutover, measured: Measured::default() }, &requests).values;
        assert!((values["client_share"] - 0.355).abs() < 1e-6, "{values:?}");
        assert!((values["worst_second_share"] - 0.21).abs() < 1e-6, "{values:?}");
        assert_eq!((values["longest_ms"], values["cutover_longest_ms"]), (30.0, 30.0));
    }
}

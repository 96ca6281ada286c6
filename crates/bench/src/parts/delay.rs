//! Copying over a long link: how much of it the copy uses. The destination alone is far away.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::copy::{between_servers, no_end, timed};
use super::{MIB, OURS};
use crate::bench::{Place, Plan, Round};
use crate::controller::Move;
use crate::image;
use crate::link::{Line, relay};
use crate::ours::{StorageSpec, VOLUME};
use crate::peers::Peer;
use crate::record::Measured;

/// The one case.
pub(crate) const CASE: &str = "1 Gbit/s, 20 ms there and back";
/// 1 Gbit/s and 10 ms in each direction.
const LINE: Line = Line { rate: 125e6, delay: Duration::from_millis(10) };
/// The far end of the link, under the same ports as what it leads to.
const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// A copy that takes longer is given up.
const LONGEST: Duration = Duration::from_secs(120);

/// Ours with what it does by default, and with writes under way beyond the one that is waited for.
pub(crate) const WINDOW: &str = "blockferry --window 8";
const SYSTEMS: [&str; 3] = ["nbdcopy", OURS, WINDOW];

pub(super) fn round(round: &mut Round<'_>) -> Result<()> {
    let scratch = round.plan.scratch(Place::Tmpfs)?;
    let image = scratch.path().join("source");
    let size = round.plan.amount(2048, 64) * MIB;
    image::random(&image, size)?;
    for system in round.in_turn(&SYSTEMS) {
        let folder = tempfile::tempdir_in(scratch.path())?;
        round.measure(CASE, system, |plan| {
            let measured = match system {
                OURS => ours(plan, &image, folder.path(), &[]),
                WINDOW => ours(plan, &image, folder.path(), &["--window", "8"]),
                _ => peer(&image, folder.path(), size),
            }?;
            Ok(with_share(measured, size))
        })?;
    }
    Ok(())
}

/// The share of the link that the copy used. A peer does nothing but copy.
fn with_share(measured: Measured, size: u64) -> Measured {
    let copy = measured.values.get("copy_seconds").or_else(|| measured.values.get("seconds"));
    match copy.copied() {
        Some(seconds) => measured.with("link_share", size as f64 / seconds / LINE.rate),
        None => measured,
    }
}

fn far(near: SocketAddr) -> SocketAddr {
    SocketAddr::new(FAR, near.port())
}

fn peer(image: &Path, folder: &Path, size: u64) -> Result<Measured> {
    let copy = folder.join("destination");
    image::empty(&copy, size)?;
    let (_from, from) = Peer::NbdkitFile.serve(image, &folder.join("from.log"))?;
    let (_to, to) = Peer::NbdkitFile.serve(&copy, &folder.join("to.log"))?;
    relay(far(to), to, LINE)?;
    timed(&mut between_servers("nbdcopy", from, far(to)))
}

fn ours(plan: &Plan, image: &Path, folder: &Path, more: &[&str]) -> Result<Measured> {
    let source = StorageSpec::source(&plan.bin, folder.join("a"), image).start()?;
    let spec = StorageSpec::destination(&plan.bin, folder.join("b"));
    let destination = StorageSpec { advertise: Some(FAR), ..spec }.start()?;
    relay(far(destination.nbd), destination.nbd, LINE)?;
    relay(far(destination.control), destination.control, LINE)?;
    let way = Move {
        bin: &plan.bin,
        volume: VOLUME,
        from: source.control,
        to: far(destination.control),
        switch: None,
        more,
        folder,
        longest: LONGEST,
    };
    Ok(way.run()?.map_or_else(|| Measured::note(no_end(LONGEST)), |moved| moved.measured()))
}

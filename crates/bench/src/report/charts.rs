//! Which pictures there are, and what is in them.

use std::collections::BTreeSet;

use super::bars::{self, Bar, Group};
use super::timeline::{self, Panel};
use super::{Chart, format};
use crate::bench::Place;
use crate::goals::{self, Against, Line, Target};
use crate::parts::{OURS, cutover, migrate, scale, switch};
use crate::record::{Part, Sample};
use crate::statistics::Spread;

/// Ours, and what the programs of ours are called where they are measured one by one.
const OUR_COLOR: &str = "#0969da";
const OUR_SYSTEMS: [&str; 5] =
    [OURS, "target-src", switch::SWITCH, switch::WITHOUT_KEEPER, "blockferry --window 8"];
/// What is no peer but a bound: nothing can be better.
const BOUND_COLOR: &str = "#afb8c1";
const BOUNDS: [&str; 4] = ["nbdkit-null", "cp", switch::DIRECT, "bare server"];
/// Peers, in the order of their names.
const PEER_COLORS: [&str; 3] = ["#bf8700", "#8250df", "#1a7f37"];

/// All for which there are results.
pub(super) fn all(samples: &[Sample]) -> Vec<Chart> {
    let lines = goals::lines();
    let view = |part| View { samples, lines: &lines, part };
    let (serve, iscsi) = (view(Part::Serve), view(Part::Iscsi));
    let (four_k, stream) =
        (|case: &str| case.starts_with("4k"), |case: &str| case.starts_with("256k"));
    let charts = [
        serve.bars(
            "serve-iops",
            "Serving 4 KiB requests, fio",
            "requests a second",
            "fio.iops",
            four_k,
        ),
        serve.bars(
            "serve-iops-own",
            "Serving 4 KiB requests, own load",
            "requests a second",
            "own.iops",
            four_k,
        ),
        serve.bars("serve-stream", "Serving 256 KiB requests, fio", "MB/s", "fio.mbps", stream),
        serve.bars(
            "serve-stream-own",
            "Serving 256 KiB requests, own load",
            "MB/s",
            "own.mbps",
            stream,
        ),
        serve.bars(
            "serve-cpu",
            "The server's processor time for a request of 4 KiB, fio",
            "microseconds",
            "fio.cpu_us",
            four_k,
        ),
        serve.bars(
            "serve-cpu-stream",
            "The server's processor time for a request of 256 KiB, fio",
            "microseconds",
            "fio.cpu_us",
            stream,
        ),
        iscsi.bars(
            "iscsi-iops",
            "4 KiB requests over iSCSI, iscsi-perf",
            "requests a second",
            "perf.iops",
            four_k,
        ),
        iscsi.bars(
            "iscsi-iops-qemu",
            "4 KiB requests over iSCSI, qemu-img",
            "requests a second",
            "qemu.iops",
            four_k,
        ),
        iscsi.bars(
            "iscsi-stream-qemu",
            "256 KiB requests over iSCSI, qemu-img",
            "MB/s",
            "qemu.mbps",
            stream,
        ),
        iscsi.bars(
            "iscsi-cpu-qemu",
            "The server's processor time for a request over iSCSI, qemu-img",
            "microseconds",
            "qemu.cpu_us",
            |_| true,
        ),
        view(Part::Copy).bars(
            "copy",
            "Copying 2 GiB between two servers",
            "seconds",
            "seconds",
            |_| true,
        ),
        view(Part::Migrate).bars("migrate-time", "Moving 1 GiB", "seconds", "seconds", |_| true),
        view(Part::Migrate).bars(
            "migrate-worst",
            "The client's worst second while its volume moves",
            "share of its requests a second before",
            "worst_second_share",
            |_| true,
        ),
        timeline(samples, "migrate-client-tmpfs", Place::Tmpfs),
        timeline(samples, "migrate-client-disk", Place::Disk),
        view(Part::Switch).bars(
            "switch-iops",
            "4 KiB random reads through the switch, fio",
            "requests a second",
            "fio.iops",
            four_k,
        ),
        view(Part::Switch).bars(
            "switch-stream",
            "256 KiB sequential reads through the switch, fio",
            "MB/s",
            "fio.mbps",
            stream,
        ),
        view(Part::Cutover).figures(
            "cutover",
            "Requests around a cutover",
            "p99, milliseconds",
            cutover::CASE,
            &[
                ("cutover_p99_ms", "overlap a cutover"),
                ("right_before_p99_ms", "right before it"),
                ("undisturbed_p99_ms", "before the move"),
            ],
        ),
        view(Part::Scale).bars(
            "scale",
            "The same data in larger volumes",
            "seconds",
            "seconds",
            |case| scale::SIZES.iter().any(|(name, _)| *name == case),
        ),
        view(Part::IdleCost).bars(
            "idle-cost",
            "The layer of volumes at rest",
            "instructions a request",
            "instructions",
            |_| true,
        ),
        view(Part::Delay).bars(
            "delay",
            "Copying over a long link",
            "share of the link",
            "link_share",
            |_| true,
        ),
    ];
    charts.into_iter().flatten().collect()
}

/// The results of a part.
struct View<'a> {
    samples: &'a [Sample],
    lines: &'a [Line],
    part: Part,
}

impl View<'_> {
    fn of_part(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| sample.part == self.part)
    }

    /// One figure, by case and system; `None` without any.
    fn bars(
        &self,
        name: &'static str,
        title: &str,
        axis: &str,
        figure: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Option<Chart> {
        let mut cases: Vec<&str> = Vec::new();
        for sample in self.of_part().filter(|sample| wanted(&sample.case)) {
            if sample.measured.values.contains_key(figure) && !cases.contains(&sample.case.as_str())
            {
                cases.push(&sample.case);
            }
        }
        let groups: Vec<Group> = cases.iter().map(|case| self.group(case, figure)).collect();
        let title = title.to_owned();
        let draw = || bars::picture(&title, axis, &groups);
        (!groups.is_empty()).then(|| Chart { name, title: title.clone(), document: draw() })
    }

    fn group(&self, case: &str, figure: &str) -> Group {
        let systems: BTreeSet<(u8, &str)> = self
            .of_part()
            .filter(|sample| sample.case == case)
            .map(|sample| (rank(&sample.system), sample.system.as_str()))
            .collect();
        let peers: Vec<&str> =
            systems.iter().filter(|(rank, _)| *rank == 1).map(|(_, s)| *s).collect();
        let bar = |&(_, system): &(u8, &str)| {
            let value = match self.spread(case, system, figure) {
                Some(spread) => Ok(spread),
                None => Err(self.why_not(case, system)?),
            };
            Some(Bar { label: system.to_owned(), value, color: color(system, &peers) })
        };
        let bars = systems.iter().filter_map(bar).collect();
        Group { label: case.to_owned(), bars, target: self.target(case, figure) }
    }

    fn spread(&self, case: &str, system: &str, figure: &str) -> Option<Spread> {
        let samples = self.of_part().filter(|s| s.case == case && s.system == system);
        Spread::of(samples.filter_map(|sample| sample.measured.values.get(figure).copied()))
    }

    /// The remark on a system that has no figure; what has failed says more in the table.
    fn why_not(&self, case: &str, system: &str) -> Option<String> {
        let mut samples = self.of_part().filter(|s| s.case == case && s.system == system);
        let note = samples.find_map(|sample| sample.measured.note.as_deref())?;
        Some(note.split_once(':').map_or(note, |(word, _)| word).to_owned())
    }

    /// Where the target of the case's line lies: it is a ratio to the median of the peer, or a figure.
    fn target(&self, case: &str, figure: &str) -> Option<f64> {
        let judged = |line: &&Line| {
            line.part == self.part
                && line.ours.case == case
                && line.ours.figure == figure
                && line.target != Target::Untold
        };
        let line = self.lines.iter().find(judged)?;
        let (Target::AtLeast(bound) | Target::AtMost(bound)) = line.target else { return None };
        match line.against {
            Against::Nothing => Some(bound),
            _ => line.outcome(self.samples).peer.map(|peer| peer.median * bound),
        }
    }

    /// Several figures of our own in one case.
    fn figures(
        &self,
        name: &'static str,
        title: &str,
        axis: &str,
        case: &str,
        figures: &[(&str, &str)],
    ) -> Option<Chart> {
        let bar = |&(figure, label): &(&str, &str)| {
            let value = Ok(self.spread(case, OURS, figure)?);
            Some(Bar { label: label.to_owned(), value, color: OUR_COLOR })
        };
        let bars: Vec<Bar> = figures.iter().filter_map(bar).collect();
        if bars.is_empty() {
            return None;
        }
        let target = figures.first().and_then(|(figure, _)| self.target(case, figure));
        let group = Group { label: case.to_owned(), bars, target };
        Some(Chart {
            name,
            title: title.to_owned(),
            document: bars::picture(title, axis, &[group]),
        })
    }
}

/// Bounds first, then peers, then ours.
fn rank(system: &str) -> u8 {
    if BOUNDS.contains(&system) {
        0
    } else if OUR_SYSTEMS.contains(&system) {
        2
    } else {
        1
    }
}

fn color(system: &str, peers: &[&str]) -> &'static str {
    match peers.iter().position(|peer| *peer == system) {
        Some(index) => PEER_COLORS[index % PEER_COLORS.len()],
        None if rank(system) == 0 => BOUND_COLOR,
        None => OUR_COLOR,
    }
}

/// The client of the round with the median time, of each system under full load.
fn timeline(samples: &[Sample], name: &'static str, place: Place) -> Option<Chart> {
    let case = migrate::case("full load", place);
    let systems = [migrate::BACKGROUND, migrate::WRITE_BLOCKING, OURS];
    let peers = [migrate::BACKGROUND, migrate::WRITE_BLOCKING];
    let panel = |system: &&'static str| {
        let of_it = |s: &&Sample| s.part == Part::Migrate && s.case == case && s.system == **system;
        let sample = median_round(samples.iter().filter(of_it).collect())?;
        let value = |figure: &str| sample.measured.values.get(figure).copied();
        let took = value("seconds");
        let ended = match (&sample.measured.note, took) {
            (Some(note), _) => note.clone(),
            (None, Some(took)) => format::figure("seconds", took),
            (None, None) => String::new(),
        };
        Some(Panel {
            label: format!("{system}: {ended}"),
            color: color(system, &peers),
            series: sample.measured.series.clone(),
            before: value("shown_before_seconds").unwrap_or(0.0),
            took,
            cutover: value("shown_cutover_seconds"),
        })
    };
    let panels: Vec<Panel> = systems.iter().filter_map(panel).collect();
    let title = format!("The client's requests while its volume of 1 GiB moves: {case}");
    let draw = || timeline::picture(&title, &panels);
    (!panels.is_empty()).then(|| Chart { name, title: title.clone(), document: draw() })
}

/// Of those with a series the one whose time is the median; one that never ended took longest.
fn median_round(mut samples: Vec<&Sample>) -> Option<&Sample> {
    samples.retain(|sample| !sample.measured.series.is_empty());
    let time = |sample: &Sample| sample.measured.values.get("seconds").copied().unwrap_or(f64::MAX);
    samples.sort_by(|a, b| time(a).total_cmp(&time(b)));
    samples.get(samples.len().saturating_sub(1) / 2).copied()
}

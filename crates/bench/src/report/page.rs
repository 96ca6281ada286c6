//! The page: where it was measured, every line with its target, and all figures by part.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use clap::ValueEnum;

use super::{CHARTS, Chart, Results, format};
use crate::goals::{self, Against, Line, Outcome, Verdict};
use crate::machine::Machine;
use crate::noise::BUSY;
use crate::record::{Part, Sample};
use crate::statistics::Spread;

/// What stands before everything else.
const HEAD: &str = "\
# Benchmarks

Made by `dev/bench`, which measures blockferry beside its peers on one machine, in interleaved rounds. Figures are
medians of the rounds, with the least and the greatest in brackets; a ratio is taken within each round, against the better
peer of that round. `dev/bench` makes the same page of any other machine; `blockferry-bench report RESULTS...` makes it
again from results, also of several runs.
";

/// The page as Markdown.
pub(super) fn page(results: &Results, charts: &[Chart]) -> String {
    let mut page = HEAD.to_owned();
    warn(&mut page, results);
    page.push_str("\n## Where\n");
    results.machines.iter().for_each(|machine| describe(&mut page, machine));
    page.push_str("\n## Targets\n");
    targets(&mut page, &results.samples);
    for part in Part::value_variants() {
        let samples: Vec<_> = results.samples.iter().filter(|s| s.part == *part).collect();
        if !samples.is_empty() {
            section(&mut page, *part, &samples, charts);
        }
    }
    page
}

/// Says whether the figures may be quoted.
fn warn(page: &mut String, results: &Results) {
    let others = results.others_max();
    if results.machines.iter().any(|machine| machine.quick) {
        page.push_str("\n**A smoke test (`--quick`) is among the runs: none of these figures is to be quoted.**\n");
    }
    if others > BUSY {
        put(
            page,
            format_args!(
                "\n**The machine was busy: others used up to {others:.1} processors before a round. Figures with a busy round \
             are not to be quoted.**\n"
            ),
        );
    }
}

fn describe(page: &mut String, machine: &Machine) {
    let Machine {
        run, rounds, processors, processor, kernel, memory, disk, tmpfs, versions, ..
    } = machine;
    let memory = *memory as f64 / f64::from(1 << 30);
    put(page, format_args!("\n| run of {run} | |\n| --- | --- |\n"));
    put(page, format_args!("| rounds | {rounds} |\n"));
    put(page, format_args!("| processors | {processors} ({processor}) |\n"));
    put(page, format_args!("| memory | {memory:.1} GiB |\n"));
    put(page, format_args!("| kernel | Linux {kernel} |\n"));
    put(page, format_args!("| volumes on disk, in memory | {disk}, {tmpfs} |\n"));
    for (name, version) in versions {
        put(page, format_args!("| {name} | {version} |\n"));
    }
}

fn targets(page: &mut String, samples: &[Sample]) {
    page.push_str("\n| line | peer | blockferry | ratio | target | reached | rounds |\n");
    page.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    for line in goals::lines() {
        let outcome = line.outcome(samples);
        put(page, format_args!("{}\n", row(&line, &outcome)));
    }
    page.push_str(
        "\nNo rate is asked for above 0.9 of the client's ceiling of the same round (nbdkit's null plugin, which does no \
         I/O): such a line is *at the ceiling*.\n",
    );
}

fn row(line: &Line, outcome: &Outcome) -> String {
    let cell = |spread: Option<Spread>, show: &dyn Fn(Spread) -> String| {
        spread.map_or_else(|| "–".to_owned(), show)
    };
    let figure = line.ours.figure.as_str();
    let show = |spread| format::spread(figure, spread);
    let peers = line.against.systems();
    let peer = match (&line.against, outcome.peer) {
        (Against::Nothing, _) | (_, None) => "–".to_owned(),
        (_, Some(peer)) => {
            // A figure of ours may be held against another one of ours.
            let peers = peers.into_iter().filter(|peer| *peer != line.ours.system);
            let names = peers.collect::<Vec<_>>().join(" or ");
            format!("{names} {}", show(peer)).trim().to_owned()
        }
    };
    let own_figure = (line.against == Against::Nothing).then_some(figure);
    let rounds = match outcome.busy {
        0 => outcome.rounds.to_string(),
        busy => format!("{} ({busy} busy)", outcome.rounds),
    };
    format!(
        "| {} | {peer} | {} | {} | {} | {} | {rounds} |",
        line.what,
        cell(outcome.ours, &show),
        cell(outcome.ratio, &format::ratio),
        format::target(line.target, own_figure),
        word(outcome.verdict),
    )
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reached => "yes",
        Verdict::AtCeiling => "at the ceiling",
        Verdict::NotReached => "**no**",
        Verdict::Told => "–",
        Verdict::NotMeasured => "not measured",
    }
}

fn section(page: &mut String, part: Part, samples: &[&Sample], charts: &[Chart]) {
    put(page, format_args!("\n## {}\n\n{}\n", title(part), about(part)));
    for chart in charts.iter().filter(|chart| chart.name.starts_with(&part.name())) {
        put(page, format_args!("\n![{}]({CHARTS}/{}.svg)\n", chart.title, chart.name));
    }
    let columns: Vec<_> = columns(part)
        .iter()
        .filter(|column| samples.iter().any(|s| s.measured.values.contains_key(**column)))
        .collect();
    page.push_str("\n| case | system |");
    columns.iter().for_each(|column| put(page, format_args!(" {} |", format::heading(column))));
    put(page, format_args!("\n| --- | --- |{}\n", " --- |".repeat(columns.len())));
    for (case, system) in rows(samples) {
        put(page, format_args!("| {case} | {system} |"));
        for column in &columns {
            let figures = samples.iter().filter(|s| s.case == case && s.system == system);
            let spread =
                Spread::of(figures.filter_map(|s| s.measured.values.get(**column).copied()));
            let text = spread.map_or_else(|| "–".to_owned(), |s| format::spread(column, s));
            put(page, format_args!(" {text} |"));
        }
        page.push('\n');
    }
    notes(page, samples);
}

/// Cases and systems in the order in which they were measured first; the systems of a case together.
fn rows<'a>(samples: &[&'a Sample]) -> Vec<(&'a str, &'a str)> {
    let mut order: BTreeMap<&str, usize> = BTreeMap::new();
    for sample in samples {
        let next = order.len();
        order.entry(&sample.case).or_insert(next);
    }
    let unique: BTreeSet<_> = samples
        .iter()
        .map(|s| (order[s.case.as_str()], s.case.as_str(), s.system.as_str()))
        .collect();
    unique.into_iter().map(|(_, case, system)| (case, system)).collect()
}

fn notes(page: &mut String, samples: &[&Sample]) {
    let mut counts: BTreeMap<(&str, &str, &str), u32> = BTreeMap::new();
    for sample in samples {
        if let Some(note) = &sample.measured.note {
            *counts.entry((&sample.case, &sample.system, note)).or_default() += 1;
        }
    }
    if !counts.is_empty() {
        page.push('\n');
    }
    for ((case, system, note), count) in counts {
        put(page, format_args!("- {case}, {system}: {note} ({count} times)\n"));
    }
}

const fn title(part: Part) -> &'static str {
    match part {
        Part::Serve => "Serving a volume",
        Part::Iscsi => "Serving a volume over iSCSI",
        Part::Copy => "Copying 2 GiB between two servers",
        Part::Migrate => "Moving a volume of 1 GiB under load",
        Part::Switch => "Through the switch",
        Part::Cutover => "Requests that overlap a cutover",
        Part::Scale => "Large volumes, many migrations, many clients",
        Part::IdleCost => "What the layer of volumes costs at rest",
        Part::Delay => "Over a long link",
    }
}

const fn about(part: Part) -> &'static str {
    match part {
        Part::Serve => {
            "A volume of 1 GiB in the page cache, over TCP on loopback. Each server is used by fio's nbd engine (libnbd), \
             and by a load of our own that is cheap enough not to be the limit. CPU is the server's, with all its children."
        }
        Part::Iscsi => {
            "The same volume over iSCSI. Both clients are libiscsi's: iscsi-perf, which only reads, and `qemu-img bench`, of \
             which the 4 KiB requests are not random but 1 MiB and 4 KiB apart. CPU is the server's; *client share* is the \
             client's, of one processor: it has no more than one."
        }
        Part::Copy => {
            "Nobody else uses the volume. Peers copy between two nbdkit file servers and flush nothing. Ours is \
             `controller migrate` from start to end, address-checked, digested and flushed; *copy* is its sweep alone, \
             *flush* the flush before Ready. With `--copier destination` the data goes over one connection instead of two. \
             The *bare relay* is three programs that read, pass on and write, and look at nothing."
        }
        Part::Migrate => {
            "4 KiB random writes by fio, one connection, depth 8. qemu-storage-daemon mirrors between two nbdkit servers; \
             blockferry's client goes through the switch, and its destination has the disk flush what was copied all along, \
             so that little is left for the *flush* at the end. With `--copier destination` the data goes over one connection \
             instead of two; with `--client-p99 20ms` clients are let to wait longer than by default. Shares are of the \
             client's IOPS in the 3 s before."
        }
        Part::Switch => {
            "All ways lead to one target-src. The switch runs as a user runs it, with its keeper, and without; haproxy in \
             TCP mode with one thread, copying and splicing (what comes near to the least that a relay can cost). CPU is that of what stands between."
        }
        Part::Cutover => {
            "One client, 2,000 writes of 4 KiB a second through the switch, while the volume moves from server to server. \
             Windows before are as long as the cutover: right before it (writes are mirrored then), and before the move \
             began."
        }
        Part::Scale => {
            "Sparse volumes on tmpfs with 1 GiB of data in pieces of 1 MiB all over them; *holes* is a whole migration of \
             a volume without data. Memory is the most that was resident; with several controllers, that of one."
        }
        Part::IdleCost => {
            "Instructions for a request as callgrind counts them, from two runs of different length, so that start and end \
             cancel out. The bare server has the same sessions and the same store, and nothing between them."
        }
        Part::Delay => {
            "The destination is at the far end of an emulated link (relays that delay and limit; what TCP makes of a long \
             link is not shown). The share is of the link's rate, during the copy."
        }
    }
}

const fn columns(part: Part) -> &'static [&'static str] {
    match part {
        Part::Serve => &[
            "fio.iops",
            "fio.mbps",
            "fio.cpu_us",
            "fio.p99_us",
            "own.iops",
            "own.mbps",
            "own.cpu_us",
            "own.p99_us",
        ],
        Part::Iscsi => &[
            "perf.iops",
            "perf.mbps",
            "perf.cpu_us",
            "perf.client_share",
            "qemu.iops",
            "qemu.mbps",
            "qemu.cpu_us",
            "qemu.client_share",
        ],
        Part::Copy => &["seconds", "copy_seconds", "flush_seconds"],
        Part::Migrate => &[
            "seconds",
            "copy_seconds",
            "flush_seconds",
            "before_iops",
            "during_iops",
            "client_share",
            "worst_second_share",
            "before_p99_ms",
            "during_p99_ms",
            "longest_ms",
            "cutover_ms",
            "cutover_longest_ms",
            "passes",
        ],
        Part::Switch => &[
            "fio.iops",
            "fio.mbps",
            "fio.p99_us",
            "fio.cpu_us",
            "own.iops",
            "own.mbps",
            "own.p99_us",
            "own.cpu_us",
            "kib_per_connection",
            "slowest_share",
        ],
        Part::Cutover => &[
            "moves",
            "overlapping_requests",
            "cutover_ms",
            "cutover_p99_ms",
            "cutover_longest_ms",
            "right_before_p99_ms",
            "undisturbed_p99_ms",
        ],
        Part::Scale => &[
            "seconds",
            "copy_seconds",
            "holes_seconds",
            "source_mib",
            "destination_mib",
            "controller_mib",
            "kib_per_connection",
            "alone_iops",
            "beside_iops",
            "beside_share",
        ],
        Part::IdleCost => &["instructions"],
        Part::Delay => &["seconds", "copy_seconds", "link_share"],
    }
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = page.write_fmt(text);
}

#[cfg(test)]
mod tests;
